package rules

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"recharged/rules/when"
	"recharged/state/charge"
)

// domain returns what a variable can be at all: what the door lets in and the
// ledger keeps.
func (g *region) domain(ref int) reach {
	v := g.variableOf(ref)
	r := reach{present: true, kind: charge.Kind(v.Type), digits: anyDigits}
	if v.Zero && v.Type != when.Any {
		r.zero = charge.Value{Kind: r.kind}
	}
	if r.kind == charge.Bool {
		r.restrict([]charge.Value{charge.BoolValue(false), charge.BoolValue(true)})
	}
	switch v.source {
	case fromField:
		g.fieldDomain(&r, v.name)
	case fromSet, fromAttribute:
		r.absent = true
	case fromType:
		name := charge.TimerType
		if g.schema != nil {
			name = g.schema.Type
		}
		r.restrict([]charge.Value{charge.TextValue(name)})
	case fromCharged, fromShortfall, fromBalance:
		r.low, r.digits = closed(0), v.unit.Digits
	case fromCounter:
		r.digits = g.book.plan.Counters[v.index].Digits
		if g.addsUp(v.index) {
			r.low = closed(0)
		}
	case fromRecharges:
		r.low, r.digits = closed(0), 0
	case fromDaysSinceRecharge:
		r.low, r.digits, r.absent = closed(0), 0, true
	case fromTracking:
		r.low, r.high, r.digits = closed(0), closed(trackingMax), 0
	}
	return r
}

// trackingMax is what customer.tracking is on the day of a recharge.
const trackingMax = 70

// fieldDomain narrows a reach to what the door lets into a field.
func (g *region) fieldDomain(r *reach, name string) {
	r.absent = true
	if g.schema == nil {
		return
	}
	i := slices.IndexFunc(g.schema.Fields, func(f charge.FieldSpec) bool { return f.Name == name })
	if i < 0 {
		return
	}
	f := &g.schema.Fields[i]
	r.absent = !f.Required
	switch f.Kind {
	case charge.MoneyField:
		r.low, r.digits = closed(0), g.book.plan.Currency.Digits
		r.low.open = f.Positive && f.Required // Absent reads as 0.
	case charge.CountField:
		r.low, r.digits = closed(f.Min), 0
		if !f.Required {
			r.low = closed(min(f.Min, 0))
		}
		if f.Max != 0 {
			r.high = closed(f.Max)
		}
	case charge.CurrencyField, charge.ServiceField:
		names := []string{g.book.plan.Currency.Name}
		if f.Kind == charge.ServiceField {
			names = g.book.plan.Services
		}
		values := make([]charge.Value, 0, len(names)+1)
		for _, name := range names {
			values = append(values, charge.TextValue(name))
		}
		if !f.Required {
			values = append(values, charge.TextValue(""))
		}
		r.restrict(values)
	}
}

// addsUp reports whether a counter never falls below nothing.
func (g *region) addsUp(counter int) bool {
	c := &g.book.plan.Counters[counter]
	for _, f := range g.schemas[c.On].Fields {
		if f.Name == c.Sum {
			return f.Kind == charge.MoneyField || f.Min >= 0
		}
	}
	return true
}

// bounds says what a variable can be at all, for whoever asked for more.
func (g *region) bounds(a when.Atom) string {
	r := g.domain(a.Ref)
	switch {
	case a.Op == when.Has || a.Op == when.HasNot:
		return a.Name + " is always there"
	case r.finite:
		var names []string
		for _, v := range r.only {
			names = append(names, strconv.Quote(v.Text))
		}
		if len(names) == 1 {
			return a.Name + " is " + names[0]
		}
		return a.Name + " is one of " + strings.Join(names, ", ")
	case r.low.set && r.high.set:
		return fmt.Sprintf("%s is from %s to %s", a.Name, r.low.at, r.high.at)
	case r.low.open:
		return fmt.Sprintf("%s is more than %s", a.Name, r.low.at)
	case r.low.set:
		return fmt.Sprintf("%s is never less than %s", a.Name, r.low.at)
	case r.digits == 0:
		return a.Name + " is a whole number"
	case r.digits > 0:
		return fmt.Sprintf("%s has at most %d digits after the point", a.Name, r.digits)
	}
	return a.Name + " cannot be that"
}
