package turn

import (
	"fmt"
	"maps"
	"strings"

	"recharged/rules/budget"
	"recharged/state/money"
)

// Report adds up what partitions have noted of rules, for whoever reads. The zero
// Report is empty.
type Report struct {
	Rules   map[string]*RuleNote
	Budgets map[Budget]*BudgetNote
}

// Budget names a budget: a rule and the unit of what it gives.
type Budget struct{ Rule, Unit string }

// BudgetNote is what became of a budget.
type BudgetNote struct {
	Total money.Amount // as its home knows it
	Spent money.Amount // by all partitions
}

// Add adds the notes of a partition.
func (t *Report) Add(notes func(prefix string, visit func(name string, value []byte) bool) error) error {
	if t.Rules == nil {
		t.Rules, t.Budgets = map[string]*RuleNote{}, map[Budget]*BudgetNote{}
	}
	if err := each(notes, rulePrefix, t.addRule); err != nil {
		return err
	}
	if err := each(notes, fundPrefix, t.addFund); err != nil {
		return err
	}
	return each(notes, treasuryPrefix, t.addTreasury)
}

// each hands on the notes whose names begin with a prefix, without it.
func each(notes func(string, func(string, []byte) bool) error, prefix string, add func(name string, value []byte) error) error {
	var fault error
	err := notes(prefix, func(name string, value []byte) bool {
		if fault = add(strings.TrimPrefix(name, prefix), value); fault != nil {
			fault = fmt.Errorf("note %s: %w: %w", name, ErrNotes, fault)
		}
		return fault == nil
	})
	if err != nil {
		return err
	}
	return fault
}

func (t *Report) addRule(name string, value []byte) error {
	note, err := decodeRuleNote(value)
	if err != nil {
		return err
	}
	if all := t.Rules[name]; all != nil {
		all.add(note)
	} else {
		t.Rules[name] = note
	}
	return nil
}

func (t *Report) addFund(name string, value []byte) error {
	fund, err := budget.DecodeFund(value)
	if err == nil {
		t.budget(name).Spent += fund.Spent()
	}
	return err
}

func (t *Report) addTreasury(name string, value []byte) error {
	treasury, err := budget.DecodeTreasury(value)
	if err == nil {
		t.budget(name).Total = treasury.Total()
	}
	return err
}

func (t *Report) budget(name string) *BudgetNote {
	unit, rule, _ := strings.Cut(name, ":")
	note := t.Budgets[Budget{rule, unit}]
	if note == nil {
		note = &BudgetNote{}
		t.Budgets[Budget{rule, unit}] = note
	}
	return note
}

// add adds what another partition has noted of the same rule.
func (n *RuleNote) add(o *RuleNote) {
	if n.Results == nil {
		n.Results = maps.Clone(o.Results)
	} else {
		for result, count := range o.Results {
			n.Results[result] += count
		}
	}
	for i := range o.Credits {
		n.credit(&o.Credits[i])
	}
	n.Treated.add(&o.Treated)
	n.Held.add(&o.Held)
	n.Suspended = max(n.Suspended, o.Suspended)
}

func (a *ArmNote) add(b *ArmNote) {
	a.Customers += b.Customers
	a.Recharges += b.Recharges
	a.Amount.AddSum(b.Amount)
}
