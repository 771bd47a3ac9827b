package rules

import (
	"slices"

	"recharged/rules/when"
	"recharged/state/charge"
	"recharged/state/money"
)

// reach is what one variable may be while some conditions hold. It may say too
// much, never too little: what is empty cannot happen, and what all of it
// answers with yes is always so.
type reach struct {
	zero    charge.Value // what absent reads as; Missing: as nothing
	present bool         // the value may be there
	absent  bool         // the value may be absent

	// The values: of this kind (Missing: of any), one of only if that is finite,
	// between the bounds if they are numbers, times or spans, and none of not.
	kind      charge.Kind
	only      []charge.Value
	finite    bool
	low, high edge
	not       []charge.Value
	digits    int // after the point that numbers can have; anyDigits: as many as they like
}

// edge is one end of an interval.
type edge struct {
	at   money.Decimal
	set  bool
	open bool // at itself is outside
}

const (
	anyDigits = -1

	// enumerateMax is the largest interval of numbers that is treated one by one.
	enumerateMax = 16
)

func closed(n int64) edge { return edge{at: money.Int(n), set: true} }

// decimal returns what orders a value: of a time or a span its nanoseconds.
func decimal(v charge.Value) (money.Decimal, bool) {
	switch v.Kind {
	case charge.Number:
		return v.Decimal(), true
	case charge.Time, charge.Span:
		return money.Int(v.Bits), true
	}
	return money.Decimal{}, false
}

// within reports whether d lies on the right side of both bounds.
func (r *reach) within(d money.Decimal) bool {
	if c := d.Cmp(r.low.at); r.low.set && (c < 0 || c == 0 && r.low.open) {
		return false
	}
	c := d.Cmp(r.high.at)
	return !r.high.set || c < 0 || c == 0 && !r.high.open
}

// has reports whether the value v is possible.
func (r *reach) has(v charge.Value) bool {
	equal := func(w charge.Value) bool { return w.Equal(v) }
	if !r.present && !equal(r.zero) || r.kind != charge.Missing && v.Kind != r.kind ||
		r.finite && !slices.ContainsFunc(r.only, equal) || slices.ContainsFunc(r.not, equal) {
		return false
	}
	d, ordered := decimal(v)
	return !ordered || r.within(d)
}

// empty reports whether there is nothing that the variable may be.
func (r *reach) empty() bool {
	switch {
	case r.absent && r.zero.Kind == charge.Missing:
		return false
	case r.absent && !r.present:
		return !r.has(r.zero)
	case !r.present:
		return true
	case r.finite:
		return !slices.ContainsFunc(r.only, r.has)
	}
	return r.low.set && r.high.set && (r.low.at.Cmp(r.high.at) > 0 ||
		r.low.at.Cmp(r.high.at) == 0 && (r.low.open || r.high.open))
}

// add takes a condition on the variable into the reach.
func (r *reach) add(a when.Atom) {
	switch a.Op {
	case when.Has:
		r.absent = false
		return
	case when.HasNot:
		r.present = false
		return
	case when.NoneOf, when.False: // True of what is absent.
	default:
		if r.zero.Kind == charge.Missing {
			r.absent = false
		}
	}
	switch a.Op {
	case when.Equal, when.OneOf:
		r.restrict(a.Values)
	case when.True:
		r.restrict([]charge.Value{charge.BoolValue(true)})
	case when.False:
		r.restrict([]charge.Value{charge.BoolValue(false)})
	case when.NotEqual, when.NoneOf:
		r.not = append(slices.Clip(r.not), a.Values...)
	default:
		r.order(a.Op, a.Values[0])
	}
	r.settle()
}

// restrict leaves those of the values that were possible before.
func (r *reach) restrict(values []charge.Value) {
	var left []charge.Value
	for _, v := range values {
		if r.has(v) {
			left = append(left, v)
		}
	}
	r.only, r.finite = left, true
}

// order takes a comparison into the bounds. Texts have an order, too, but
// nothing is concluded from it.
func (r *reach) order(o when.Op, v charge.Value) {
	r.kind = v.Kind // Another kind makes a comparison an error.
	at, ok := decimal(v)
	if !ok {
		return
	}
	b := edge{at: at, set: true, open: o == when.Less || o == when.Greater}
	tighter := func(old edge, sign int) bool {
		c := at.Cmp(old.at) * sign
		return !old.set || c > 0 || c == 0 && b.open
	}
	switch {
	case (o == when.Greater || o == when.GreaterEqual) && tighter(r.low, 1):
		r.low = b
	case (o == when.Less || o == when.LessEqual) && tighter(r.high, -1):
		r.high = b
	}
}

// settle draws the bounds in to what numbers of so many digits can be, writes a
// short interval out, and sees whether absence is still possible.
func (r *reach) settle() {
	if low, high, ok := r.minor(); ok && !r.finite {
		if scale := uint8(r.digits); high-low < enumerateMax {
			var values []charge.Value
			for n := low; n <= high; n++ {
				values = append(values, charge.Value{Kind: r.kind, Bits: n, Scale: scale})
			}
			r.restrict(values)
		}
	}
	if r.zero.Kind != charge.Missing && !r.has(r.zero) {
		r.absent = false
	}
}

// minor returns the bounds in the smallest steps that the numbers can make,
// both of them included; false if there are none or they are too large.
func (r *reach) minor() (low, high int64, ok bool) {
	if r.digits == anyDigits || !r.low.set || !r.high.set {
		return 0, 0, false
	}
	down := func(b edge) (int64, bool, error) {
		n, err := b.at.MinorDown(r.digits)
		exact := money.Decimal{Coefficient: int64(n), Scale: uint8(r.digits)}.Cmp(b.at) == 0
		return int64(n), exact, err
	}
	low, exactLow, errLow := down(r.low)
	if r.low.open || !exactLow {
		low++
	}
	high, exactHigh, errHigh := down(r.high)
	if r.high.open && exactHigh {
		high--
	}
	return low, high, errLow == nil && errHigh == nil
}

// implies reports whether a holds for sure, whatever the variable is of the
// reach.
func (r *reach) implies(a when.Atom) bool {
	switch a.Op {
	case when.Has:
		return !r.absent
	case when.HasNot:
		return !r.present
	case when.NoneOf, when.False:
	default:
		if r.absent && r.zero.Kind == charge.Missing {
			return false
		}
	}
	if !r.present && r.zero.Kind == charge.Missing {
		return true // Absent, of which the contraries are true; the others were told above.
	}
	if r.finite {
		return !slices.ContainsFunc(r.only, func(v charge.Value) bool { return r.has(v) && !answers(a, v) })
	}
	switch a.Op {
	case when.NotEqual, when.NoneOf:
		return !slices.ContainsFunc(a.Values, r.has)
	case when.Less, when.LessEqual:
		return r.kind == a.Values[0].Kind && r.high.set && beyond(r.high, a, -1)
	case when.Greater, when.GreaterEqual:
		return r.kind == a.Values[0].Kind && r.low.set && beyond(r.low, a, 1)
	}
	return false
}

// beyond reports whether an edge lies wholly on the side that a asks for.
func beyond(b edge, a when.Atom, sign int) bool {
	at, ok := decimal(a.Values[0])
	if !ok {
		return false
	}
	c := b.at.Cmp(at) * sign
	return c > 0 || c == 0 && (b.open || a.Op == when.LessEqual || a.Op == when.GreaterEqual)
}

// answers reports whether a holds for a value that is there.
func answers(a when.Atom, v charge.Value) bool {
	equal := func(w charge.Value) bool { return w.Equal(v) }
	switch a.Op {
	case when.Equal, when.OneOf:
		return slices.ContainsFunc(a.Values, equal)
	case when.NotEqual, when.NoneOf:
		return !slices.ContainsFunc(a.Values, equal)
	case when.True, when.False:
		return v.Kind == charge.Bool && v.Bool() == (a.Op == when.True)
	}
	d, ordered := decimal(v)
	at, _ := decimal(a.Values[0])
	if !ordered || v.Kind != a.Values[0].Kind {
		return false
	}
	c := d.Cmp(at)
	switch a.Op {
	case when.Less:
		return c < 0
	case when.LessEqual:
		return c <= 0
	case when.Greater:
		return c > 0
	}
	return c >= 0
}
