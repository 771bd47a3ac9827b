package when

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"recharged/state/charge"
	"recharged/state/money"
)

// machine is one evaluation. It walks the tree: its state stays on the stack,
// which a chain of closures would not allow.
//
// A value is written where the caller wants it. Were it returned as a pointer,
// the compiler could not tell that the caller's variable stays on its stack.
type machine struct {
	reader  Reader
	element charge.Value // what exists or all is looking at
	steps   int          // elements of lists looked at
}

var (
	errSteps = fmt.Errorf("more than %d steps over lists", StepsMax)
	errZero  = errors.New("division by zero")
	errRange = errors.New("time or duration out of range")
	errText  = fmt.Errorf("text longer than %d bytes", textBytesMax)
)

// exhausted is asked at the end once more, because && and || may have absorbed
// the error.
func (m *machine) exhausted() error {
	if m.steps > StepsMax {
		return errSteps
	}
	return nil
}

// needs is the error of a value of the wrong kind.
func needs(n *node, kind charge.Kind, what string) error {
	return fmt.Errorf("%s is %s, %s is needed", n.text, kindName(kind), what)
}

func kindName(k charge.Kind) string {
	if k == charge.Object {
		return "an object"
	}
	return Type(k).String()
}

// truth evaluates a condition. What is absent is not true.
func (m *machine) truth(n *node) (bool, error) {
	switch n.op {
	case opNot:
		holds, err := m.truth(n.kids[0])
		return !holds && err == nil, err
	case opAnd:
		return m.decide(n, false)
	case opOr:
		return m.decide(n, true)
	case opIf:
		branch, err := m.branch(n)
		if err != nil {
			return false, err
		}
		return m.truth(branch)
	case opEqual, opNotEqual, opLess, opLessEqual, opGreater, opGreaterEqual:
		return m.compare(n)
	case opIn:
		return m.in(n)
	case opExists:
		return m.quantify(n, true)
	case opAll:
		return m.quantify(n, false)
	case opHas:
		v := m.reader.Read(n.ref)
		return v.Kind != charge.Missing, nil
	}
	var v charge.Value
	if err := m.eval(n, &v); err != nil || v.Kind == charge.Missing {
		return false, err
	}
	if v.Kind != charge.Bool {
		return false, needs(n, v.Kind, Bool.String())
	}
	return v.Bits == 1, nil
}

// decide evaluates && (which false decides) and || (which true decides). A
// deciding operand wins over the error of another, wherever it stands.
func (m *machine) decide(n *node, deciding bool) (bool, error) {
	var first error
	for _, k := range n.kids {
		holds, err := m.truth(k)
		if err == nil && holds == deciding {
			return deciding, nil
		}
		if first == nil {
			first = err
		}
	}
	return !deciding && first == nil, first
}

func (m *machine) branch(n *node) (*node, error) {
	holds, err := m.truth(n.kids[0])
	if holds {
		return n.kids[1], nil
	}
	return n.kids[2], err
}

// eval writes n's value to out.
func (m *machine) eval(n *node, out *charge.Value) error {
	switch n.op {
	case opConstant:
		*out = n.value
		return nil
	case opVariable:
		return m.read(n, out)
	case opElement:
		*out = m.element
		return nil
	case opIf:
		branch, err := m.branch(n)
		if err != nil {
			return err
		}
		return m.eval(branch, out)
	case opList:
		return m.list(n, out)
	case opAdd, opSubtract, opMultiply, opDivide, opRemainder:
		return m.arithmetic(n, out)
	case opNegate:
		return m.negate(n, out)
	case opCall:
		return m.call(n, out)
	}
	holds, err := m.truth(n)
	*out = charge.BoolValue(holds)
	return err
}

func (m *machine) read(n *node, out *charge.Value) error {
	*out = m.reader.Read(n.ref)
	switch {
	case out.Kind == charge.Missing:
		*out = n.value
	case n.typ != Any && out.Kind != charge.Kind(n.typ):
		if r, ok := m.reader.(FaultReader); ok {
			if err := r.Fault(n.ref); err != nil {
				return err
			}
		}
		return needs(n, out.Kind, n.typ.String())
	}
	return nil
}

func (m *machine) compare(n *node) (bool, error) {
	var left, rightOut charge.Value
	if err := m.eval(n.kids[0], &left); err != nil {
		return false, err
	}
	right := &n.kids[1].value // Mostly a constant, which need not be copied.
	if n.kids[1].op != opConstant {
		right = &rightOut
		if err := m.eval(n.kids[1], right); err != nil {
			return false, err
		}
	}
	if left.Kind == charge.Missing || right.Kind == charge.Missing {
		return false, nil
	}
	switch n.op {
	case opEqual:
		return same(&left, right), nil
	case opNotEqual:
		return !same(&left, right), nil
	}
	if left.Kind != right.Kind {
		return false, fmt.Errorf("%s is %s, compared with %s", n.kids[0].text, kindName(left.Kind), kindName(right.Kind))
	}
	order := 0
	switch left.Kind {
	case charge.Number:
		order = left.Decimal().Cmp(right.Decimal())
	case charge.Text:
		order = strings.Compare(left.Text, right.Text)
	case charge.Time, charge.Span:
		order = money.Int(left.Bits).Cmp(money.Int(right.Bits))
	default:
		return false, fmt.Errorf("%s is %s, which has no order", n.kids[0].text, kindName(left.Kind))
	}
	switch n.op {
	case opLess:
		return order < 0, nil
	case opLessEqual:
		return order <= 0, nil
	case opGreater:
		return order > 0, nil
	}
	return order >= 0, nil
}

// same is Value.Equal without copying what is mostly compared.
func same(a, b *charge.Value) bool {
	if a.Kind != b.Kind {
		return false
	}
	switch a.Kind {
	case charge.Number:
		return a.Decimal().Cmp(b.Decimal()) == 0
	case charge.Text:
		return a.Text == b.Text
	}
	return a.Equal(*b)
}

func (m *machine) in(n *node) (bool, error) {
	var v, listOut charge.Value
	if err := m.eval(n.kids[0], &v); err != nil {
		return false, err
	}
	if n.kids[1].op == opList {
		return m.inLiteral(&v, n.kids[1])
	}
	list := &n.kids[1].value
	if n.kids[1].op != opConstant {
		list = &listOut
		if err := m.eval(n.kids[1], list); err != nil {
			return false, err
		}
	}
	if list.Kind == charge.Missing || v.Kind == charge.Missing {
		return false, nil
	}
	if list.Kind != charge.List {
		return false, needs(n.kids[1], list.Kind, List.String())
	}
	if err := m.step(len(list.List)); err != nil {
		return false, err
	}
	return v.Kind == charge.Text && slices.Contains(list.List, v.Text), nil
}

func (m *machine) inLiteral(v *charge.Value, list *node) (bool, error) {
	if err := m.step(len(list.kids)); err != nil {
		return false, err
	}
	for _, k := range list.kids {
		var item charge.Value
		if err := m.eval(k, &item); err != nil {
			return false, err
		}
		if item.Kind != charge.Missing && same(v, &item) {
			return true, nil
		}
	}
	return false, nil
}

// step counts elements before they are looked at.
func (m *machine) step(elements int) error {
	m.steps += elements
	return m.exhausted()
}

// quantify evaluates exists (which a true condition decides) and all (which a
// false one decides), with errors as || and && treat them.
func (m *machine) quantify(n *node, deciding bool) (bool, error) {
	list, condition := n.kids[0], n.kids[1]
	var l charge.Value
	count := len(list.kids)
	if list.op != opList {
		if err := m.eval(list, &l); err != nil || l.Kind == charge.Missing {
			return false, err
		}
		if l.Kind != charge.List {
			return false, needs(list, l.Kind, List.String())
		}
		count = len(l.List)
	}
	var first error
	for i := range count {
		if err := m.step(1); err != nil {
			return false, err
		}
		if list.op == opList {
			var item charge.Value
			if err := m.eval(list.kids[i], &item); err != nil {
				return false, err
			}
			m.element = item
		} else {
			m.element = charge.TextValue(l.List[i])
		}
		holds, err := m.truth(condition)
		if err == nil && holds == deciding {
			return deciding, nil
		}
		if first == nil {
			first = err
		}
	}
	return !deciding && first == nil, first
}

// list makes a list of text that is not constant. A list of numbers is never
// made: what takes one walks the literal.
func (m *machine) list(n *node, out *charge.Value) error {
	texts := make([]string, 0, len(n.kids))
	for _, k := range n.kids {
		if err := m.eval(k, out); err != nil || out.Kind == charge.Missing {
			return err
		}
		texts = append(texts, out.Text)
	}
	*out = charge.ListValue(texts)
	return nil
}

func (m *machine) negate(n *node, out *charge.Value) error {
	if err := m.eval(n.kids[0], out); err != nil || out.Kind == charge.Missing {
		return err
	}
	if out.Kind != charge.Number {
		return needs(n.kids[0], out.Kind, Number.String())
	}
	d, err := out.Decimal().Neg()
	if err != nil {
		return fmt.Errorf("%s: %w", n.text, err)
	}
	*out = charge.NumberValue(d)
	return nil
}

func (m *machine) arithmetic(n *node, out *charge.Value) error {
	var left, right charge.Value
	if err := m.eval(n.kids[0], &left); err != nil {
		return err
	}
	err := m.eval(n.kids[1], &right)
	if err != nil {
		return err
	}
	var result charge.Value
	switch {
	case left.Kind == charge.Missing || right.Kind == charge.Missing:
	case left.Kind == charge.Number && right.Kind == charge.Number:
		var d money.Decimal
		d, err = calculate(n.op, left.Decimal(), right.Decimal())
		result = charge.NumberValue(d)
	case n.op == opAdd && left.Kind == charge.Text && right.Kind == charge.Text:
		result, err = join(left.Text, right.Text)
	case n.op == opAdd || n.op == opSubtract:
		var ok bool
		result, ok, err = shift(n.op, &left, &right)
		if ok {
			break
		}
		fallthrough
	default:
		return fmt.Errorf("%s is %s, %s is %s", n.kids[0].text, kindName(left.Kind), n.kids[1].text, kindName(right.Kind))
	}
	if err != nil {
		return fmt.Errorf("%s: %w", n.text, err)
	}
	*out = result
	return nil
}

func calculate(o op, a, b money.Decimal) (money.Decimal, error) {
	switch o {
	case opAdd:
		return a.Add(b)
	case opSubtract:
		return a.Sub(b)
	case opMultiply:
		return a.Mul(b)
	}
	if b.Coefficient == 0 {
		return money.Decimal{}, errZero
	}
	if o == opDivide {
		return a.Quo(b)
	}
	return remainder(a, b), nil
}

func join(a, b string) (charge.Value, error) {
	if len(a)+len(b) > textBytesMax {
		return charge.Value{}, errText
	}
	return charge.TextValue(a + b), nil
}

// shift adds and subtracts times and spans; false if the kinds do not go
// together.
func shift(o op, a, b *charge.Value) (charge.Value, bool, error) {
	kind := charge.Missing
	switch {
	case a.Kind == charge.Time && b.Kind == charge.Span:
		kind = charge.Time
	case a.Kind == charge.Span && b.Kind == charge.Time && o == opAdd:
		kind = charge.Time
	case a.Kind == charge.Span && b.Kind == charge.Span:
		kind = charge.Span
	case a.Kind == charge.Time && b.Kind == charge.Time && o == opSubtract:
		kind = charge.Span
	default:
		return charge.Value{}, false, nil
	}
	result, wrapped := a.Bits+b.Bits, (a.Bits+b.Bits > a.Bits) != (b.Bits > 0)
	if o == opSubtract {
		result, wrapped = a.Bits-b.Bits, (a.Bits-b.Bits < a.Bits) != (b.Bits > 0)
	}
	if wrapped && b.Bits != 0 {
		return charge.Value{}, true, errRange
	}
	return charge.Value{Kind: kind, Bits: result}, true, nil
}
