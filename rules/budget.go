package rules

import (
	"recharged/state/charge"
	"recharged/state/money"
)

// spend takes what the rule gives out of its budget: all of it or nothing. Of a
// rule whose slice is too small, but can grow, it notes how much is missing;
// such a rule keeps its place in the group, because it may yet apply.
func (d *Decision) spend(r *rule, first int) (reason string) {
	if r.Budget == 0 {
		return ""
	}
	var sum money.Amount
	for _, g := range d.given[first:] {
		sum += g.amount
		if sum > r.Budget {
			return charge.SkipBudget // Before more amounts can wrap.
		}
	}
	if sum == 0 {
		return ""
	}
	fund := Fund{Slice: r.Budget}
	if memory := d.picture.subject.Memory; memory != nil {
		fund = memory.Fund(r.Name)
	}
	switch {
	case sum <= fund.Slice:
		d.Spends = append(d.Spends, Spend{r.Name, sum})
	case sum <= fund.Slice+fund.Left:
		d.Short = append(d.Short, Spend{r.Name, sum})
	default:
		return charge.SkipBudget
	}
	return ""
}

// budget reads the budget of a rule, in the unit that all its credits have.
func (l *loader) budget(n *node, r *rule) {
	if n == nil {
		return
	}
	if len(r.credits) == 0 {
		l.errorf(n.place, "leave budget out, or add a credit", "a budget bounds credits, the rule has none")
		return
	}
	unit := r.credits[0].balance.Unit
	for i := range r.credits {
		if c := &r.credits[i]; c.balance.Unit != unit {
			l.errorf(n.place, "make two rules of it", "a budget has one unit, the rule credits %s in %s and %s in %s",
				r.credits[0].balance.Name, unit.Name, c.balance.Name, c.balance.Unit.Name)
			return
		}
	}
	r.Budget = l.positive(n, unit, "leave budget out for no bound")
	r.BudgetUnit = unit
}
