package backtest

import (
	"cmp"
	"fmt"
	"slices"

	"recharged/state/charge"
	"recharged/state/money"
)

// people compares what customers get on the two sides.
type people struct {
	currency             money.Unit
	reached, reachedLive uint64
	byRule               map[string]uint64 // customers whom the draft's rule reaches
	changedByRule        map[string]Counts
	changed              map[money.Unit]*Counts
	amounts              map[money.Unit][]winner // of the draft: who gets something

	err error
}

type winner struct {
	customer charge.MSISDN
	amount   money.Amount
}

// share is what one customer gets as one gift.
type share struct {
	customer charge.MSISDN
	gift     *gift
	amount   money.Amount
}

// shares lists what customers get, sorted by customer, the shares of a rule
// together.
func (t *tally) shares() []share {
	list := make([]share, 0, len(t.given))
	for key, amount := range t.given {
		list = append(list, share{key.customer, &t.gifts[key.gift], amount})
	}
	slices.SortFunc(list, func(a, b share) int {
		if a.customer != b.customer {
			return cmp.Compare(a.customer, b.customer)
		}
		return cmp.Compare(a.gift.rule.name, b.gift.rule.name)
	})
	return list
}

// comparePeople walks over the customers of both sides at once.
func comparePeople(d, l *tally, currency money.Unit) *people {
	p := &people{
		currency: currency, byRule: map[string]uint64{}, changedByRule: map[string]Counts{},
		changed: map[money.Unit]*Counts{}, amounts: map[money.Unit][]winner{},
	}
	drafted, lived := d.shares(), l.shares()
	for len(drafted) > 0 || len(lived) > 0 {
		var customer charge.MSISDN
		switch {
		case len(drafted) == 0:
			customer = lived[0].customer
		case len(lived) == 0:
			customer = drafted[0].customer
		default:
			customer = min(drafted[0].customer, lived[0].customer)
		}
		mine, yours := ofCustomer(drafted, customer), ofCustomer(lived, customer)
		drafted, lived = drafted[len(mine):], lived[len(yours):]
		if len(mine) > 0 {
			p.reached++
		}
		if len(yours) > 0 {
			p.reachedLive++
		}
		if err := p.compare(customer, mine, yours); err != nil {
			p.err = err
			return p
		}
	}
	return p
}

// ofCustomer is the beginning of the shares, as far as it is of the customer.
func ofCustomer(list []share, customer charge.MSISDN) []share {
	n := 0
	for n < len(list) && list[n].customer == customer {
		n++
	}
	return list[:n]
}

// compare compares what a customer gets on the two sides: of each rule, and in
// each unit.
func (p *people) compare(customer charge.MSISDN, mine, yours []share) error {
	var units pairs[money.Unit]
	var rules pairs[ruleUnit]
	for side, shares := range [][]share{mine, yours} {
		for i, s := range shares {
			name := s.gift.rule.name
			if side == 0 && (i == 0 || shares[i-1].gift.rule.name != name) {
				p.byRule[name]++
			}
			if s.gift.balance == "" {
				continue
			}
			if err := units.add(s.gift.unit, side, s.amount); err != nil {
				return fmt.Errorf("customer %s: %w", customer.Masked(), err)
			}
			if err := rules.add(ruleUnit{name, s.gift.unit}, side, s.amount); err != nil {
				return fmt.Errorf("customer %s: %w", customer.Masked(), err)
			}
		}
	}
	for _, u := range units {
		if p.changed[u.of] == nil {
			p.changed[u.of] = &Counts{}
		}
		p.changed[u.of].count(u.amounts[0], u.amounts[1])
		if u.amounts[0] != 0 {
			p.amounts[u.of] = append(p.amounts[u.of], winner{customer, u.amounts[0]})
		}
	}
	for _, r := range rules {
		if r.amounts[0] != r.amounts[1] {
			counts := p.changedByRule[r.of.rule]
			counts.count(r.amounts[0], r.amounts[1])
			p.changedByRule[r.of.rule] = counts
		}
	}
	return nil
}

type ruleUnit struct {
	rule string
	unit money.Unit
}

// pairs are amounts of the draft side and of the live side; there are few.
type pairs[K comparable] []pair[K]

type pair[K comparable] struct {
	of      K
	amounts [2]money.Amount
}

func (p *pairs[K]) add(of K, side int, amount money.Amount) (err error) {
	i := slices.IndexFunc(*p, func(x pair[K]) bool { return x.of == of })
	if i < 0 {
		i = len(*p)
		*p = append(*p, pair[K]{of: of})
	}
	a := &(*p)[i].amounts[side]
	*a, err = a.Add(amount)
	return err
}

// winnersMax is how many winners are shown.
const winnersMax = 20

// gifts describes what the draft's customers get.
func (p *people) gifts(d *tally) []Gift {
	totals := d.totals()
	list := []Gift{}
	for _, unit := range sortedUnits(p.currency, totals) {
		all := p.amounts[unit]
		if len(all) == 0 {
			continue
		}
		slices.SortFunc(all, func(a, b winner) int {
			return cmp.Or(cmp.Compare(a.amount, b.amount), cmp.Compare(b.customer, a.customer))
		})
		g := Gift{
			Unit: unit.Name, Total: unit.FormatSum(totals[unit]), Customers: uint64(len(all)),
			Half: unit.Format(percentile(all, 50)), Most: unit.Format(percentile(all, 95)), Max: unit.Format(percentile(all, 100)),
		}
		for i := len(all) - 1; i >= 0 && len(g.Winners) < winnersMax; i-- {
			g.Winners = append(g.Winners, Winner{all[i].customer.Masked(), unit.Format(all[i].amount)})
		}
		list = append(list, g)
	}
	return list
}

// percentile returns the least amount that so many percent do not exceed.
func percentile(sorted []winner, percent int) money.Amount {
	return sorted[(len(sorted)*percent+99)/100-1].amount
}

// units compares the two sides in each unit.
func (p *people) units(d, l *tally) []UnitDifference {
	drafted, lived := d.totals(), l.totals()
	both := map[money.Unit]money.Sum{}
	for unit := range lived {
		both[unit] = money.Sum{}
	}
	for unit := range drafted {
		both[unit] = money.Sum{}
	}
	list := []UnitDifference{}
	for _, unit := range sortedUnits(p.currency, both) {
		mine, yours := drafted[unit], lived[unit]
		change := mine
		change.Sub(yours)
		u := UnitDifference{Unit: unit.Name, Draft: unit.FormatSum(mine), Live: unit.FormatSum(yours), Change: unit.FormatSum(change)}
		if counts := p.changed[unit]; counts != nil {
			u.Changed = *counts
		}
		list = append(list, u)
	}
	return list
}

// totals adds up what all rules give.
func (t *tally) totals() map[money.Unit]money.Sum {
	totals := map[money.Unit]money.Sum{}
	for i := range t.gifts {
		if g := &t.gifts[i]; g.balance != "" {
			all := totals[g.unit]
			all.AddSum(g.amount)
			totals[g.unit] = all
		}
	}
	return totals
}

func sortedUnits(currency money.Unit, of map[money.Unit]money.Sum) []money.Unit {
	units := make([]money.Unit, 0, len(of))
	for unit := range of {
		units = append(units, unit)
	}
	slices.SortFunc(units, compareUnits(currency))
	return units
}
