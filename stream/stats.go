package stream

import (
	"context"
	"fmt"

	"recharged/state/charge"
	"recharged/state/money"
	"recharged/stream/turn"
)

// RuleStat is what a rule of the newest rulebook has done, over all partitions and
// all versions that had a rule of its name, as of their last commits. Amounts are
// written with all digits of their unit.
type RuleStat struct {
	Rule     string
	Results  map[string]uint64 // verdicts where it matched: "applied", or why it was passed over
	Credited []CreditStat
	Budget   *BudgetStat // nil: the rule has none

	// Treated and Held are the arms of a rule with a holdout; nil without one.
	Treated, Held *ArmStat

	Suspended bool // it failed too often, and waits for a rulebook in which it is mended
}

// CreditStat is what a rule gave to a balance.
type CreditStat struct {
	Balance string
	Unit    string
	Amount  string
}

// BudgetStat is what is left of a rule's budget. Remaining is negative if more was
// spent before the budget was lowered.
type BudgetStat struct {
	Unit                    string
	Total, Spent, Remaining string

	left money.Amount
	unit money.Unit
}

// ArmStat counts one arm of a rule with a holdout: how many customers met the
// rule, and how often and for how much they have recharged since.
type ArmStat struct {
	Customers uint64
	Recharges uint64
	Amount    string // in the currency

	sum money.Sum
}

// RuleStats returns what the rules of the newest rulebook have done, in the order
// of the book.
func (p *Processor) RuleStats(ctx context.Context) ([]RuleStat, error) {
	var report turn.Report
	for _, o := range p.owners {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		err := report.Add(func(prefix string, visit func(name string, value []byte) bool) error {
			return p.store.Notes(o.id, prefix, visit)
		})
		if err != nil {
			return nil, fmt.Errorf("read what partition %d noted of rules: %w", o.id, err)
		}
	}
	book, version := p.Book()
	infos := book.Rules()
	stats := make([]RuleStat, 0, len(infos))
	for i := range infos {
		info := &infos[i]
		stat := RuleStat{Rule: info.Name, Results: map[string]uint64{}}
		note := report.Rules[info.Name]
		if note == nil {
			note = &turn.RuleNote{}
		}
		for result, n := range note.Results {
			stat.Results[result] = n
		}
		for _, c := range note.Credits {
			stat.Credited = append(stat.Credited, CreditStat{c.Balance, c.Unit.Name, c.Unit.FormatSum(c.Amount)})
		}
		if info.Budget != 0 {
			stat.Budget = budgetStat(info.BudgetUnit, info.Budget, report.Budgets[turn.Budget{Rule: info.Name, Unit: info.BudgetUnit.Name}])
		}
		if info.Holdout != 0 {
			currency := book.Plan().Currency
			stat.Treated, stat.Held = armStat(currency, &note.Treated), armStat(currency, &note.Held)
		}
		stat.Suspended = note.Suspended != 0 && note.Suspended >= version
		stats = append(stats, stat)
	}
	return stats, nil
}

// budgetStat goes by the total of the newest rulebook, which the budget's home may
// not know yet.
func budgetStat(unit money.Unit, total money.Amount, note *turn.BudgetNote) *BudgetStat {
	var spent money.Amount
	if note != nil {
		spent = note.Spent
	}
	return &BudgetStat{
		Unit: unit.Name, Total: unit.Format(total), Spent: unit.Format(spent), Remaining: unit.Format(total - spent),
		left: total - spent, unit: unit,
	}
}

func armStat(currency money.Unit, note *turn.ArmNote) *ArmStat {
	return &ArmStat{note.Customers, note.Recharges, currency.FormatSum(note.Amount), note.Amount}
}

// ruleResults are the verdicts that the book makes possible on a rule.
func ruleResults(budget, holdout bool) []string {
	results := []string{charge.RuleApplied.String(), charge.SkipLimit, charge.SkipGroup, charge.SkipError, charge.SkipSuspended}
	if budget {
		results = append(results, charge.SkipBudget)
	}
	if holdout {
		results = append(results, charge.SkipHoldout)
	}
	return results
}
