package rules

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	"recharged/rules/when"
	"recharged/state/charge"
	"recharged/state/ledger"
	"recharged/state/money"
)

// credit is one credit of a rule: where it goes, how long it lives, and the
// expression that its percentage is taken of. How much it is, its gift says,
// which depends on the tier.
type credit struct {
	place
	balance  *ledger.BalancePlan
	of       *when.Expression // nil: the event's own amount
	validity time.Duration    // zero: never expires
	gift     gift
	tiered   bool // the gift is the tier's
}

// gift is how much a credit gives: a share of a base or a fixed amount.
type gift struct {
	rate     money.Rate   // zero: fixed
	fixed    money.Amount // in the balance's unit
	min, max money.Amount // bounds of a share
}

// tier is what the credits of a rule give from an event's amount on. A rule
// without tiers has one that every event reaches.
type tier struct {
	from  money.Amount
	gifts []gift // one for each credit of the rule
}

// tierOf returns the highest tier that the amount reaches, or nil.
func (r *rule) tierOf(base money.Amount) *tier {
	for i := len(r.tiers) - 1; i >= 0; i-- {
		if base >= r.tiers[i].from {
			return &r.tiers[i]
		}
	}
	return nil
}

// base returns the money that tiers and percentages look at: what was
// recharged, or what a usage was charged.
func (s *Subject) base() money.Amount {
	switch s.Event.Type {
	case charge.Recharge:
		amount, _ := s.Event.Money("amount")
		return amount
	case charge.Usage:
		return s.Charged
	}
	return 0
}

// amount computes what a credit gives, rounded down to the minor unit. A share
// of less than nothing is nothing.
func (c *credit) amount(g gift, p *picture) (money.Amount, error) {
	if g.rate == 0 {
		return g.fixed, nil
	}
	base := p.book.plan.Currency.Decimal(p.subject.base())
	if c.of != nil {
		v, err := c.of.Eval(&p.after)
		if err != nil {
			return 0, fmt.Errorf("of: %w", err)
		}
		base = v.Decimal() // Of a missing value: zero.
	}
	share, err := shareOf(base, g.rate, c.balance.Unit.Digits)
	if err != nil {
		return 0, fmt.Errorf("credit to %s: %w", c.balance.Name, err)
	}
	return min(max(share, g.min, 0), g.max), nil
}

// shareOf returns rate × base in minor units of so many digits, rounded down once.
func shareOf(base money.Decimal, rate money.Rate, digits int) (money.Amount, error) {
	numerator, denominator := int64(rate), int64(money.RateWhole)
	for range digits - int(base.Scale) {
		numerator *= 10 // At most four digits: a rate of rateMax stays far below 2⁶³.
	}
	for range int(base.Scale) - digits {
		if denominator > math.MaxInt64/10 {
			return 0, money.ErrDigits
		}
		denominator *= 10
	}
	return money.Amount(base.Coefficient).MulDivDown(numerator, denominator)
}

// rateMax is the largest percentage: 100,000 %.
const rateMax = 1000 * money.RateWhole

// eventType returns the type of the events that the rule judges.
func (r *rule) eventType() string { return cmp.Or(r.On, charge.TimerType) }

// credit reads one credit of a rule.
func (l *loader) credit(n *node, v vocabulary) (credit, bool) {
	if !l.isMapping(n, "credit", creditForm) || !l.needs(n, "credit", []string{"to"}) {
		return credit{}, false
	}
	to, ok := l.text(n.get("to"))
	i, known := l.balanceIndex(to)
	if ok && !known {
		l.errorf(n.get("to").place, l.nearest(to, l.balanceNames), "there is no balance %q", to)
	}
	if !ok || !known {
		return credit{}, false
	}
	c := credit{place: n.place, balance: &l.book.plan.Balances[i]}
	c.validity = c.balance.Validity
	if n.get("validity") != nil {
		c.validity = l.span(n.get("validity"))
	}
	if of := n.get("of"); of != nil {
		c.of = l.expression(of, v, when.Number)
		l.checkBase(of, c.of, c.balance)
		if n.get("percent") == nil && n.get("amount") != nil {
			l.errorf(of.place, "give a percent instead of the amount", "of is what a percent is taken of")
		}
	}
	c.tiered = n.get("percent") == nil && n.get("amount") == nil
	c.gift = l.gift(n, c.balance.Unit)
	return c, true
}

// gift reads percent or amount with its bounds, the same in credits and tiers.
func (l *loader) gift(n *node, unit money.Unit) gift {
	g := gift{max: money.AmountMax}
	percent, amount := n.get("percent"), n.get("amount")
	switch {
	case percent != nil && amount != nil:
		l.errorf(amount.place, "keep one of the two", "percent and amount exclude each other")
	case percent != nil:
		g.rate = l.percent(percent)
	case amount != nil:
		g.fixed = l.positive(amount, unit, "leave the credit out, or give it more than 0")
		for _, key := range []string{"min", "max"} {
			if bound := n.get(key); bound != nil {
				l.errorf(bound.place, "leave it out", "%s bounds a percent, an amount is fixed", key)
			}
		}
	}
	if n.get("min") != nil {
		g.min = l.amount(n.get("min"), unit)
	}
	if n.get("max") != nil {
		g.max = l.positive(n.get("max"), unit, "leave max out, or make it more than 0")
	}
	if g.min > g.max {
		l.errorf(n.get("min").place, "", "min is more than max")
	}
	return g
}

// isService reports the units of services, which no money converts into.
func isService(unit money.Unit) bool {
	return unit == money.Byte || unit == money.Second || unit == money.Message
}

// checkBase refuses an expression whose share cannot be credited in the
// balance's unit. What counts without a unit may be meant as money or as
// things of the author's own, so that is allowed; into money with a warning.
func (l *loader) checkBase(n *node, of *when.Expression, balance *ledger.BalancePlan) {
	if of == nil {
		return
	}
	currency, target := l.book.plan.Currency, balance.Unit
	hint := "take it of something in " + target.Name + ", or give an amount"
	same, unitless := false, ""
	for _, operand := range of.Operands() {
		v := &l.book.variables[operand.Ref>>1]
		switch {
		case v.unit == target:
			same = true
		case v.unit.Name == "":
			unitless = operand.Name
		case v.unit != currency || isService(target):
			l.errorf(n.place, hint, "a share of %s cannot be credited in %s to %s", v.unit.Name, target.Name, balance.Name)
			return
		}
	}
	switch {
	case isService(target) && !same:
		l.errorf(n.place, hint, "the expression does not count %ss, which %s holds", target.Name, balance.Name)
	case target == currency && unitless != "":
		l.warnf(n.place, "make sure that it counts "+currency.Name, "%s has no unit, its share is credited as money", unitless)
	}
}

// checkShare refuses a percentage of what does not exist or cannot be counted
// in the credit's unit.
func (l *loader) checkShare(at place, c *credit, on string) {
	unit := c.balance.Unit
	switch {
	case c.of != nil: // What that counts was checked with it.
	case on != charge.Recharge && on != charge.Usage:
		l.errorf(at, "give an amount, or say of what: {of: customer.main}", "the event type %s has no amount to take a percent of", on)
	case isService(unit):
		l.errorf(at, "give an amount", "a percent of money cannot be credited in %ss", unit.Name)
	}
}

// tiers reads a rule's tiers and hands their gifts to the credits that have
// none of their own.
func (l *loader) tiers(n *node, r *rule) {
	own := make([]gift, len(r.credits))
	var tiered []*credit
	for i := range r.credits {
		c := &r.credits[i]
		if own[i] = c.gift; c.tiered {
			tiered = append(tiered, c)
		} else if c.gift.rate != 0 {
			l.checkShare(c.place, c, r.eventType())
		}
	}
	if n == nil {
		for _, c := range tiered {
			l.errorf(c.place, "add percent or amount, or give the rule tiers", "the credit does not say how much")
		}
		r.tiers = []tier{{from: math.MinInt64, gifts: own}}
		return
	}
	if !l.isList(n, "tiers") {
		return
	}
	switch {
	case len(n.items) == 0:
		l.errorf(n.place, "add {from: 200, percent: 20}", "the rule has no tier")
		return
	case r.On != charge.Recharge && r.On != charge.Usage:
		l.errorf(n.place, "", "tiers go by the amount of a recharge or the charge of a usage, the event type %s has neither", r.eventType())
		return
	case len(tiered) == 0:
		l.errorf(n.place, "leave percent and amount out of the credit that the tiers are for", "no credit of the rule takes its amount from the tiers")
		return
	}
	for _, c := range tiered[1:] {
		if c.balance.Unit != tiered[0].balance.Unit {
			l.errorf(c.place, "", "the tiers cannot give %ss and %ss", tiered[0].balance.Unit.Name, c.balance.Unit.Name)
			return
		}
	}
	for _, item := range n.items {
		l.tier(item, r, own, tiered[0])
	}
	slices.SortFunc(r.tiers, func(a, b tier) int { return cmp.Compare(a.from, b.from) })
}

// tier reads one tier.
func (l *loader) tier(n *node, r *rule, own []gift, sample *credit) {
	if !l.isMapping(n, "tier", tierForm) || !l.needs(n, "tier", []string{"from"}) {
		return
	}
	if n.get("percent") == nil && n.get("amount") == nil {
		l.errorf(n.place, "add percent or amount", "the tier does not say how much")
	}
	t := tier{from: l.amount(n.get("from"), l.book.plan.Currency), gifts: slices.Clone(own)}
	g := l.gift(n, sample.balance.Unit)
	for i := range r.credits {
		c := &r.credits[i]
		if !c.tiered {
			continue
		}
		if g.rate != 0 {
			l.checkShare(n.place, c, r.eventType())
		}
		t.gifts[i] = g
		if n.get("min") == nil {
			t.gifts[i].min = c.gift.min
		}
		if n.get("max") == nil {
			t.gifts[i].max = c.gift.max
		}
		if g.min <= g.max && t.gifts[i].min > t.gifts[i].max {
			l.errorf(n.place, "min and max of the credit hold for a tier that has none", "min is more than max")
		}
	}
	if slices.ContainsFunc(r.tiers, func(o tier) bool { return o.from == t.from }) {
		l.errorf(n.get("from").place, "", "two tiers begin at %s", l.book.plan.Currency.Short(t.from))
		return
	}
	r.tiers = append(r.tiers, t)
}
