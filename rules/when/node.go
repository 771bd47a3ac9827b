package when

import (
	"regexp"
	"slices"
	"strings"
	"time"

	"recharged/state/charge"
)

// op is what a node does.
type op uint8

const (
	opConstant op = iota
	opVariable
	opElement // the name that exists or all gives to an element
	opHas
	opNot
	opAnd
	opOr
	opIf
	opEqual
	opNotEqual
	opLess
	opLessEqual
	opGreater
	opGreaterEqual
	opIn
	opList
	opExists
	opAll
	opAdd
	opSubtract
	opMultiply
	opDivide
	opRemainder
	opNegate
	opCall
)

// node is a checked sub-expression. A tree of nodes is immutable once compiled.
type node struct {
	op       op
	fn       function // of opCall
	typ      Type
	ref      int // of opVariable and opHas
	kids     []*node
	value    charge.Value // of opConstant; of opVariable what absent reads as
	pattern  *regexp.Regexp
	location *time.Location

	lo, hi int    // tokens of the source that it covers
	text   string // what they read
}

// variables appends to vs the variables that n reads, each once, in order of
// appearance.
func (n *node) variables(vs []*node) []*node {
	if n.op == opVariable || n.op == opHas {
		for _, v := range vs {
			if v.ref == n.ref {
				return vs
			}
		}
		if n.op == opHas {
			return append(vs, n.kids[0])
		}
		return append(vs, n)
	}
	for _, k := range n.kids {
		vs = k.variables(vs)
	}
	return vs
}

// operands appends to all the variables that make up n's value.
func (n *node) operands(all []Operand) []Operand {
	switch {
	case n.typ == Bool:
		return all
	case n.op == opVariable && (n.typ == Number || n.typ == Any):
		if !slices.ContainsFunc(all, func(o Operand) bool { return o.Ref == n.ref }) {
			all = append(all, Operand{n.ref, n.text})
		}
		return all
	}
	for _, k := range n.kids {
		all = k.operands(all)
	}
	return all
}

// conjuncts splits a condition at the && of its top, however parenthesised.
func (s *script) conjuncts(root *node) []*Expression {
	if root.op != opAnd {
		return nil
	}
	var all []*Expression
	for _, k := range root.kids {
		if parts := s.conjuncts(k); parts != nil {
			all = append(all, parts...)
		} else {
			all = append(all, newExpression(s.span(k.lo, k.hi), k, Bool))
		}
	}
	return all
}

// text returns the source without the space around it.
func (x *Expression) text() string { return strings.TrimSpace(x.source) }
