package when

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"

	"recharged/state/charge"
	"recharged/state/money"
)

// checker turns the parser's tree into typed nodes and collects the faults.
type checker struct {
	*script
	info       *ast.SourceInfo
	vocabulary Vocabulary
	location   *time.Location
	faults     []Fault
	nodes      int

	element     string // the name given by the exists or all around, or ""
	elementType Type
}

func (c *checker) fault(tokenIndex int, message, hint string) {
	f := c.faultAt(c.tokens[tokenIndex].start)
	f.Message, f.Hint = message, hint
	c.faults = append(c.faults, f)
}

// broken reports a fault and returns a node that causes no more of them.
func (c *checker) broken(n *node, tokenIndex int, message, hint string) *node {
	c.fault(tokenIndex, message, hint)
	n.typ = broken
	return n
}

func (c *checker) report() []Fault {
	slices.SortStableFunc(c.faults, func(a, b Fault) int { return cmp.Compare(a.Offset, b.Offset) })
	return c.faults[:min(len(c.faults), faultsMax)]
}

// demand reports a fault unless n yields the type, or may.
func (c *checker) demand(n *node, want Type) bool {
	switch n.typ {
	case broken:
		return false
	case want, Any:
		return true
	case numbers:
		c.fault(n.lo, n.text+" is a list of numbers", "it can stand after in and before size, exists and all")
		return false
	}
	if want == Any {
		return true
	}
	c.fault(n.lo, fmt.Sprintf("%s is %s, %s is needed", n.text, n.typ, want), "")
	return false
}

// check returns the node of an expression, never nil, with its extent.
func (c *checker) check(e ast.Expr) *node {
	r, _ := c.info.GetOffsetRange(e.ID())
	i, found := c.at(int(r.Start))
	if !found {
		i = 0 // Only && and || lie nowhere in particular.
	}
	n := &node{lo: i, hi: i}
	if c.nodes++; c.nodes > NodesMax {
		if c.nodes == NodesMax+1 {
			c.fault(i, fmt.Sprintf("the expression has more than %d parts", NodesMax), "name parts of it as segments")
		}
		n.typ = broken
		return n
	}
	switch e.Kind() {
	case ast.LiteralKind:
		n = c.literal(n, e)
	case ast.IdentKind, ast.SelectKind:
		n = c.name(n, e)
	case ast.CallKind:
		n = c.call(n, e.AsCall())
	case ast.ListKind:
		n = c.list(n, e.AsList())
	case ast.MapKind, ast.StructKind:
		n = c.broken(n, i, "maps and messages are not part of the rule language", "")
	default:
		n = c.broken(n, i, "this is not part of the rule language", "")
	}
	bare := c.span(n.lo, n.hi)
	n.lo, n.hi = c.widen(n.lo, n.hi)
	n.text = c.span(n.lo, n.hi)
	if n.op == opVariable {
		n.text = bare // A variable is known by its name, whatever stands around it.
	}
	return n
}

func (c *checker) literal(n *node, e ast.Expr) *node {
	i := n.lo
	if c.is(i, "-") {
		n.hi++
	}
	if c.tokens[n.hi].kind == number {
		text := c.text(c.tokens[n.hi])
		if n.hi > i {
			text = "-" + text
		}
		d, err := money.ParseDecimal(text)
		if err != nil {
			return c.broken(n, i, err.Error(), "write a number as 300 or 300.10")
		}
		n.typ, n.value = Number, charge.NumberValue(d)
		return n
	}
	switch v := e.AsLiteral().Value().(type) {
	case bool:
		n.typ, n.value = Bool, charge.BoolValue(v)
	case string:
		n.typ, n.value = Text, charge.TextValue(v)
	default:
		return c.broken(n, i, c.text(c.tokens[i])+" is not part of the rule language", "has(name) tells whether a value is there")
	}
	return n
}

// path returns the parts of a name such as customer.attributes.age.
func (c *checker) path(e ast.Expr) (parts []string, lo, hi int, ok bool) {
	r, _ := c.info.GetOffsetRange(e.ID())
	i, found := c.at(int(r.Start))
	if !found {
		return nil, 0, 0, false
	}
	switch e.Kind() {
	case ast.IdentKind:
		if c.is(i, ".") {
			return nil, i, i, false
		}
		return []string{e.AsIdent()}, i, i, true
	case ast.SelectKind:
		parts, lo, hi, ok = c.path(e.AsSelect().Operand())
		if !ok || i+1 >= len(c.tokens) {
			return nil, i, i, false
		}
		field := strings.Trim(c.text(c.tokens[i+1]), "`")
		lo, _ = c.widen(lo, hi)
		return append(parts, field), lo, i + 1, true
	}
	return nil, i, i, false
}

func (c *checker) name(n *node, e ast.Expr) *node {
	parts, lo, hi, ok := c.path(e)
	if !ok {
		return c.broken(n, n.lo, "only a name has fields, and it starts with a letter", "write customer.attributes.age")
	}
	n.lo, n.hi = lo, hi
	if parts[0] == c.element {
		if len(parts) > 1 {
			return c.broken(n, lo, fmt.Sprintf("%s is %s, it has no fields", c.element, c.elementType), "")
		}
		n.op, n.typ = opElement, c.elementType
		return n
	}
	v, err := c.vocabulary.Variable(parts)
	if refusal := (*Refusal)(nil); errors.As(err, &refusal) {
		return c.broken(n, lo, refusal.Message, refusal.Hint)
	}
	if err != nil {
		return c.broken(n, lo, err.Error(), c.unknown(parts))
	}
	return n.variable(v)
}

// unknown says what may have been meant by a name that there is not.
func (c *checker) unknown(parts []string) string {
	name := strings.Join(parts, ".")
	hint := c.didYouMean(name, append([]string{"true", "false"}, c.vocabulary.Names()...))
	if hint == "" && len(parts) == 1 {
		return `a text stands in quotes: "` + name + `"`
	}
	return hint
}

func (n *node) variable(v Variable) *node {
	n.op, n.ref, n.typ = opVariable, v.Ref, v.Type
	if v.Zero && v.Type != Any {
		n.value.Kind = charge.Kind(v.Type)
	}
	return n
}

func (c *checker) didYouMean(name string, candidates []string) string {
	best := charge.Nearest(name, candidates)
	if best == "" {
		return ""
	}
	return "did you mean " + best + "?"
}

// list checks a list literal: a constant if it holds constant text.
func (c *checker) list(n *node, l ast.ListExpr) *node {
	n.hi = max(n.lo, c.tokens[n.lo].match)
	n.op, n.typ = opList, List
	constant, ok := true, true
	for i, e := range l.Elements() {
		k := c.check(e)
		n.kids = append(n.kids, k)
		constant = constant && k.op == opConstant
		switch {
		case k.typ == broken || !ok:
			ok = false
		case k.typ != Text && k.typ != Number:
			c.fault(k.lo, fmt.Sprintf("%s is %s, a list holds either text or numbers", k.text, k.typ), "string(…) and double(…) convert")
			ok = false
		case i > 0 && k.typ != n.kids[0].typ:
			c.fault(k.lo, fmt.Sprintf("%s is %s, %s is %s: a list holds either text or numbers", n.kids[0].text, n.kids[0].typ, k.text, k.typ), "")
			ok = false
		}
	}
	switch {
	case !ok:
		n.typ = broken
	case len(n.kids) > 0 && n.kids[0].typ == Number:
		n.typ = numbers
	case constant:
		texts := make([]string, 0, len(n.kids))
		for _, k := range n.kids {
			texts = append(texts, k.value.Text)
		}
		n.op, n.kids, n.value = opConstant, nil, charge.ListValue(texts)
	}
	return n
}

// operatorOf maps the names of CEL's operators, which nobody can write.
func operatorOf(name string) (op, bool) {
	switch name {
	case operators.LogicalAnd:
		return opAnd, true
	case operators.LogicalOr:
		return opOr, true
	case operators.LogicalNot:
		return opNot, true
	case operators.Conditional:
		return opIf, true
	case operators.Equals:
		return opEqual, true
	case operators.NotEquals:
		return opNotEqual, true
	case operators.Less:
		return opLess, true
	case operators.LessEquals:
		return opLessEqual, true
	case operators.Greater:
		return opGreater, true
	case operators.GreaterEquals:
		return opGreaterEqual, true
	case operators.In:
		return opIn, true
	case operators.Add:
		return opAdd, true
	case operators.Subtract:
		return opSubtract, true
	case operators.Multiply:
		return opMultiply, true
	case operators.Divide:
		return opDivide, true
	case operators.Modulo:
		return opRemainder, true
	case operators.Negate:
		return opNegate, true
	}
	return 0, false
}

// operator checks an operator's operands and sets the node's type.
func (c *checker) operator(n *node, o op, args []ast.Expr) *node {
	n.op = o
	sign := n.lo // The operator's own token, for faults about both operands.
	for _, a := range args {
		n.kids = append(n.kids, c.check(a))
	}
	if o != opNot && o != opNegate {
		n.lo = n.kids[0].lo
	}
	n.hi = n.kids[len(n.kids)-1].hi
	for _, k := range n.kids {
		if k.typ == broken {
			n.typ = broken
		}
	}
	switch o {
	case opNot, opAnd, opOr:
		for _, k := range n.kids {
			c.demand(k, Bool)
		}
		n.typ = Bool
		return n
	case opIf:
		return c.choice(n)
	}
	if n.typ == broken {
		return n
	}
	left, right := n.kids[0], n.kids[len(n.kids)-1]
	ok := false
	switch o {
	case opEqual, opNotEqual:
		n.typ, ok = Bool, fits(left.typ, right.typ) && left.typ != numbers && right.typ != numbers
	case opLess, opLessEqual, opGreater, opGreaterEqual:
		n.typ, ok = Bool, fits(left.typ, right.typ)
		for _, k := range n.kids {
			if !ordered(k.typ) {
				return c.broken(n, sign, fmt.Sprintf("%s is %s, which has no order", k.text, k.typ), c.between(left, right, sign))
			}
		}
	case opIn:
		return c.in(n, left, right, sign)
	case opNegate:
		n.typ, ok = Number, fits(left.typ, Number)
	default:
		n.typ, ok = arithmetic(o, left.typ, right.typ)
	}
	if !ok {
		return c.mismatch(n, left, right, sign)
	}
	return n
}

// between says how to write 3 < amount < 5, which compares a truth with 5.
func (c *checker) between(left, right *node, sign int) string {
	if left.op < opLess || left.op > opGreaterEqual || len(left.kids) != 2 {
		return ""
	}
	return fmt.Sprintf("write %s && %s %s %s", left.text, left.kids[1].text, c.text(c.tokens[sign]), right.text)
}

// fits reports whether values of both types may be of one kind.
func fits(a, b Type) bool { return a == b || a == Any || b == Any }

func ordered(t Type) bool { return t != Bool && t != List && t != numbers }

// arithmetic returns the type of a result, and whether there is one.
func arithmetic(o op, a, b Type) (Type, bool) {
	if a == numbers || b == numbers {
		return broken, false
	}
	additive := o == opAdd || o == opSubtract
	switch {
	case a == Any && b == Any:
		if additive {
			return Any, true
		}
		return Number, true
	case fits(a, Number) && fits(b, Number):
		return Number, true
	case o == opAdd && fits(a, Text) && fits(b, Text):
		return Text, true
	case additive && a == Time && b == Span, o == opAdd && a == Span && b == Time:
		return Time, true
	case additive && a == Span && b == Span, o == opSubtract && a == Time && b == Time:
		return Span, true
	}
	return broken, false
}

// mismatch reports operands that do not go with an operator or one another.
func (c *checker) mismatch(n, left, right *node, sign int) *node {
	if left == right {
		return c.broken(n, sign, fmt.Sprintf("%s is %s, - needs a number", left.text, left.typ), "")
	}
	if left.typ == right.typ {
		return c.broken(n, sign, fmt.Sprintf("%s is %s, which %s does not take", left.text, left.typ, c.text(c.tokens[sign])), "")
	}
	hint := ""
	for _, pair := range [][2]*node{{left, right}, {right, left}} {
		a, b := pair[0], pair[1]
		if a.typ == Number && b.typ == Text && b.op == opConstant {
			if _, err := money.ParseDecimal(b.value.Text); err == nil {
				hint = "write " + b.value.Text + " without quotes"
			}
		}
		if b.typ == Text && b.op == opConstant {
			hint = cmp.Or(hint, c.quotedMoment(a.typ, b.value.Text))
		}
	}
	message := fmt.Sprintf("%s is %s, %s is %s", left.text, left.typ, right.text, right.typ)
	return c.broken(n, sign, message, hint)
}

// quotedMoment says how to write a time or a duration that stands in plain
// quotes.
func (c *checker) quotedMoment(t Type, text string) string {
	switch t {
	case Span:
		return `write duration("24h")`
	case Time:
		at, err := time.ParseInLocation(time.DateOnly, text[:min(len(text), len(time.DateOnly))], c.location)
		if exact, exactErr := time.Parse(time.RFC3339, text); exactErr == nil {
			at, err = exact, nil
		}
		if err != nil {
			return `write timestamp("2026-11-01T00:00:00Z")`
		}
		return "write timestamp(" + strconv.Quote(at.Format(time.RFC3339)) + ")"
	}
	return ""
}

func (c *checker) in(n, left, right *node, sign int) *node {
	n.typ = Bool
	switch {
	case right.typ == List && fits(left.typ, Text), right.typ == numbers && fits(left.typ, Number):
		return n
	case right.typ == Any && fits(left.typ, Text):
		return n
	case right.typ == List || right.typ == numbers:
		return c.broken(n, sign, fmt.Sprintf("%s is %s, %s is %s", left.text, left.typ, right.text, right.typ), "")
	case right.typ == Any:
		return c.broken(n, sign, fmt.Sprintf("%s is %s, a list of attributes holds text", left.text, left.typ), "")
	case right.typ == Text:
		return c.broken(n, sign, fmt.Sprintf("%s is text, in needs a list", right.text), `write text.contains("part"), or ["a", "b"]`)
	}
	return c.broken(n, sign, fmt.Sprintf("%s is %s, in needs a list", right.text, right.typ), "")
}

// choice checks c ? a : b.
func (c *checker) choice(n *node) *node {
	condition, then, otherwise := n.kids[0], n.kids[1], n.kids[2]
	ok := c.demand(condition, Bool)
	ok = c.demand(then, then.typ.value()) && ok
	ok = c.demand(otherwise, otherwise.typ.value()) && ok
	switch {
	case !ok:
		n.typ = broken
	case then.typ == otherwise.typ:
		n.typ = then.typ
	case fits(then.typ, otherwise.typ):
		n.typ = Any
	default:
		return c.broken(n, then.lo, fmt.Sprintf("%s is %s, %s is %s", then.text, then.typ, otherwise.text, otherwise.typ), "both sides of : are of one type")
	}
	return n
}

// value returns t if an evaluation can yield it, or else Any, for demand to
// refuse.
func (t Type) value() Type {
	if t == numbers {
		return Any
	}
	return t
}
