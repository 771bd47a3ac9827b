package when

import (
	"slices"
	"strconv"

	"recharged/state/charge"
)

// Op is the question that an Atom asks.
type Op uint8

// The questions. An absent value makes comparisons, OneOf and True false and
// their contraries NoneOf and False true, unless it reads as a zero value. A
// value of a kind that is not the constants' can make an error of any of them.
const (
	Equal Op = iota
	NotEqual
	Less
	LessEqual
	Greater
	GreaterEqual
	OneOf
	NoneOf // also what !(x == 3) asks: true of what is absent, which x != 3 is not
	True
	False
	Has
	HasNot
)

// Atom is a condition on one variable that an index can answer: the variable
// compared with constants of one kind, its truth, or its presence.
type Atom struct {
	Ref    int    // the variable
	Name   string // as written
	Type   Type   // of the variable; Any for attributes
	Zero   bool   // absent reads as the zero value of Type (see Variable)
	Op     Op
	Values []charge.Value // constants of kind Bool, Number, Text, Time or Span: one for comparisons, any number for OneOf and NoneOf
}

// Atom returns the condition as an atom, if it is one: of every value of the
// constants' kind and of an absent one both have the same answer. The expression
// is meant to be one of the Conjuncts.
func (x *Expression) Atom() (Atom, bool) {
	if x.want != Bool {
		return Atom{}, false
	}
	return x.root.atom()
}

func (n *node) atom() (Atom, bool) {
	switch n.op {
	case opVariable:
		return n.ask(True), true
	case opHas:
		a := n.kids[0].ask(Has)
		a.Zero = false // Presence is asked of the value itself.
		return a, true
	case opNot:
		a, ok := n.kids[0].atom()
		return a.contrary(), ok && a.hasContrary()
	case opOr:
		return n.anyOf()
	case opIn:
		return n.memberOf()
	case opEqual, opNotEqual, opLess, opLessEqual, opGreater, opGreaterEqual:
		return n.comparison()
	}
	return Atom{}, false
}

// ask makes an atom on the variable n.
func (n *node) ask(o Op, values ...charge.Value) Atom {
	return Atom{Ref: n.ref, Name: n.text, Type: n.typ, Zero: n.value.Kind != charge.Missing, Op: o, Values: values}
}

// comparison is a variable and a constant, in either order.
func (n *node) comparison() (Atom, bool) {
	variable, constant := n.kids[0], n.kids[1]
	question := Equal + Op(n.op-opEqual) // Both name them in one order.
	if variable.op == opConstant {
		variable, constant = constant, variable
		switch question {
		case Less:
			question = Greater
		case LessEqual:
			question = GreaterEqual
		case Greater:
			question = Less
		case GreaterEqual:
			question = LessEqual
		}
	}
	if variable.op != opVariable || constant.op != opConstant || constant.value.Kind == charge.List {
		return Atom{}, false
	}
	return variable.ask(question, constant.value), true
}

// memberOf is a variable in a list of constants.
func (n *node) memberOf() (Atom, bool) {
	variable, list := n.kids[0], n.kids[1]
	if variable.op != opVariable || variable.typ == List {
		return Atom{}, false
	}
	var values []charge.Value
	switch list.op {
	case opConstant:
		for _, text := range list.value.List {
			values = append(values, charge.TextValue(text))
		}
	case opList:
		for _, k := range list.kids {
			if k.op != opConstant {
				return Atom{}, false
			}
			values = append(values, k.value)
		}
	default:
		return Atom{}, false
	}
	return variable.ask(OneOf, values...), true
}

// anyOf is one variable, equal to this or to that.
func (n *node) anyOf() (Atom, bool) {
	var all Atom
	for i, k := range n.kids {
		a, ok := k.atom()
		if !ok || a.Op != Equal && a.Op != OneOf || len(a.Values) == 0 {
			return Atom{}, false
		}
		if i == 0 {
			all = a
			all.Op, all.Values = OneOf, slices.Clone(a.Values)
			continue
		}
		if a.Ref != all.Ref || a.Values[0].Kind != all.Values[0].Kind {
			return Atom{}, false
		}
		all.Values = append(all.Values, a.Values...)
	}
	return all, true
}

// hasContrary reports whether the contrary of a is an atom, too. Of what may be
// absent, the contrary of an order is none: !(x < 3) is true of what is absent,
// x >= 3 is not.
func (a Atom) hasContrary() bool {
	switch a.Op {
	case NotEqual, Less, LessEqual, Greater, GreaterEqual:
		return a.Zero
	}
	return true
}

func (a Atom) contrary() Atom {
	a.Op = [...]Op{
		Equal: NoneOf, NotEqual: Equal, Less: GreaterEqual, LessEqual: Greater, Greater: LessEqual, GreaterEqual: Less,
		OneOf: NoneOf, NoneOf: OneOf, True: False, False: True, Has: HasNot, HasNot: Has,
	}[a.Op]
	return a
}

// Steps returns how many elements of lists an evaluation looks at, at most, and
// false if that depends on values.
func (x *Expression) Steps() (most int, bounded bool) { return x.root.steps() }

func (n *node) steps() (most int, bounded bool) {
	bounded = true
	for _, k := range n.kids {
		inner, ok := k.steps()
		most, bounded = most+inner, bounded && ok
	}
	switch n.op {
	case opIn:
		list := n.kids[1]
		return most + len(list.value.List) + len(list.kids), bounded && (list.op == opConstant || list.op == opList)
	case opExists, opAll:
		list := n.kids[0]
		elements := len(list.value.List) + len(list.kids)
		return elements * (1 + most), bounded && (list.op == opConstant || list.op == opList)
	}
	return most, bounded
}

// Canonical writes the expression in one way: two expressions of one vocabulary
// with the same text here have the same value of every Reader, but for the
// wording of errors.
func (x *Expression) Canonical() string { return string(x.root.canonical(nil)) }

func (n *node) canonical(b []byte) []byte {
	switch n.op {
	case opConstant:
		return appendConstant(b, n.value)
	case opVariable:
		return strconv.AppendInt(append(b, '$'), int64(n.ref), 10)
	case opHas:
		return strconv.AppendInt(append(b, '?'), int64(n.ref), 10)
	case opElement:
		return append(b, '@')
	}
	b = append(b, '(')
	b = strconv.AppendInt(b, int64(n.op), 10)
	if n.op == opCall {
		b = append(b, signatures[n.fn].name...)
		if n.pattern != nil {
			b = strconv.AppendQuote(b, n.pattern.String())
		}
		if n.location != nil {
			b = strconv.AppendQuote(b, n.location.String())
		}
	}
	for _, k := range n.kids {
		b = k.canonical(append(b, ' '))
	}
	return append(b, ')')
}

func appendConstant(b []byte, v charge.Value) []byte {
	switch v.Kind {
	case charge.Number:
		return append(append(b, 'n'), v.Decimal().String()...)
	case charge.Text:
		return strconv.AppendQuote(b, v.Text)
	case charge.List:
		b = append(b, '[')
		for _, text := range v.List {
			b = strconv.AppendQuote(b, text)
		}
		return append(b, ']')
	}
	b = strconv.AppendInt(append(b, 'k'), int64(v.Kind), 10)
	return strconv.AppendInt(append(b, ':'), v.Bits, 10)
}
