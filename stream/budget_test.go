package stream

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"recharged/state/charge"
)

// budgeted is a book with one rule that gives 100 a time out of a budget.
func budgeted(budget int, more string) []byte {
	return fmt.Appendf(nil, `version: 1
currency: DZD
balances: {main: {unit: DZD, order: 2}, bonus: {unit: DZD, order: 1}}
rules:
  - {name: gift, on: recharge, limits: {budget: %d}, then: [credit: {to: bonus, amount: 100}]}
%s`, budget, more)
}

// race sends one recharge each of that many customers, all at once.
func race(t *testing.T, p *Processor, label string, customers int) {
	t.Helper()
	var batch []string
	for i := range customers {
		batch = append(batch, rechargeJSON(fmt.Sprint(label, i), i, "50"))
	}
	if v := send(t, p, "["+strings.Join(batch, ",")+"]"); v.Accepted != customers {
		t.Fatalf("verdict %+v", v)
	}
}

func statOf(t *testing.T, p *Processor, rule string) RuleStat {
	t.Helper()
	stats, err := p.RuleStats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range stats {
		if s.Rule == rule {
			return s
		}
	}
	t.Fatalf("no statistics of rule %s: %+v", rule, stats)
	return RuleStat{}
}

// wantGiven checks what came of the gifts to so many customers: how many got one
// each, and that what the customers hold, what the rule counted and what its
// budget spent are the same.
func wantGiven(t *testing.T, p *Processor, customers, applied, refused int, remaining string) {
	t.Helper()
	settled(t, p)
	held := int64(0)
	for i := range customers {
		held += total(t, p, i, "bonus")
	}
	s := statOf(t, p, "gift")
	if held != int64(applied)*10000 || s.Results["applied"] != uint64(applied) || s.Results["budget"] != uint64(refused) {
		t.Errorf("customers hold %d, results %v; want %d gifts of 100 and %d refused", held, s.Results, applied, refused)
	}
	spent := fmt.Sprintf("%d.00", applied*100)
	if s.Budget.Spent != spent || s.Budget.Remaining != remaining {
		t.Errorf("budget %+v; want %s spent, %s remaining", *s.Budget, spent, remaining)
	}
	if applied > 0 && (len(s.Credited) != 1 || s.Credited[0] != CreditStat{"bonus", "DZD", spent}) {
		t.Errorf("credited %+v", s.Credited)
	}
	if !imbalanceIsZero(p) {
		t.Error("the ledger does not balance")
	}
}

func TestPartitionsRaceForTheLastDinar(t *testing.T) {
	registry := prometheus.NewRegistry()
	p := startProcessor(t, t.TempDir(), func(o *Options) {
		o.Partitions, o.DefaultRulebook, o.Registry = 4, budgeted(1000, ""), registry
	})
	race(t, p, "a", 64)
	wantGiven(t, p, 64, 10, 54, "0.00")
	series := gathered(t, registry)
	if got := fmt.Sprint(series["recharged_rule_budget_remaining"]); !strings.Contains(got, "gift") || !strings.Contains(got, "value:0") {
		t.Errorf("recharged_rule_budget_remaining: %s", got)
	}
	if got := len(series["recharged_held_events"]); got != 4 {
		t.Errorf("recharged_held_events has %d series", got)
	}
}

// Whatever is under way when the processor stops, or is cut off, goes on after
// it: events that are held, asks and answers.
func TestABudgetSurvivesRestarts(t *testing.T) {
	dir := t.TempDir()
	change := func(o *Options) { o.Partitions, o.DefaultRulebook = 4, budgeted(1000, "") }
	for round := range 4 {
		p := startProcessor(t, dir, change)
		race(t, p, fmt.Sprint("r", round, "-"), 16)
		p.cancel() // The owners stop in the middle of it; Stop then waits for nothing.
		p.Stop(context.Background())
	}
	p := startProcessor(t, dir, change)
	wantGiven(t, p, 16, 10, 54, "0.00")
}

func TestABudgetIsRaisedAndLoweredByPublishing(t *testing.T) {
	p := startProcessor(t, t.TempDir(), func(o *Options) { o.Partitions, o.DefaultRulebook = 4, budgeted(500, "") })
	race(t, p, "a", 16)
	wantGiven(t, p, 16, 5, 11, "0.00")

	publish := func(source []byte) {
		t.Helper()
		if _, err := p.Publish(t.Context(), book(t, source), "amina", 0); err != nil {
			t.Fatal(err)
		}
	}
	publish(budgeted(800, ""))
	race(t, p, "b", 16)
	wantGiven(t, p, 16, 8, 24, "0.00")

	publish(budgeted(300, ""))
	race(t, p, "c", 16)
	wantGiven(t, p, 16, 8, 40, "-500.00")

	// A rule that is gone and comes back knows what it has spent.
	publish([]byte("version: 1\ncurrency: DZD\nbalances: {main: {unit: DZD, order: 2}, bonus: {unit: DZD, order: 1}}\n"))
	race(t, p, "d", 16)
	settled(t, p)
	publish(budgeted(1000, ""))
	race(t, p, "e", 16)
	wantGiven(t, p, 16, 10, 54, "0.00")
}

// An event that waits holds back the later ones of its customer: a repeat of it
// is a repeat, and order is kept.
func TestWhatComesBehindAHeldEventWaits(t *testing.T) {
	p := startProcessor(t, t.TempDir(), func(o *Options) { o.Partitions, o.DefaultRulebook = 4, budgeted(1000, "") })
	first := rechargeJSON("first", 1, "50")
	other := strings.Replace(first, `"amount":50`, `"amount":60`, 1)
	send(t, p, "["+strings.Join([]string{first, first, other, rechargeJSON("second", 1, "70")}, ",")+"]")
	settled(t, p)
	m, _ := charge.ParseMSISDN("213770000001")
	entries, err := p.Timeline(t.Context(), m, "", 10)
	if err != nil {
		t.Fatal(err)
	}
	got := ""
	for _, e := range entries {
		got = e.Outcome.EventID + " " + e.Outcome.Result.String() + ", " + got
	}
	if got != "first applied, first duplicate, first parked, second applied, " {
		t.Errorf("timeline %s", got)
	}
	if main, bonus := total(t, p, 1, "main"), total(t, p, 1, "bonus"); main != 12000 || bonus != 20000 {
		t.Errorf("main %d, bonus %d", main, bonus)
	}
	// Letters about the shares of a budget may still be on their way: a record that
	// waits counts as one accepted event at least.
	waitFor(t, "nothing to be held, and as many applied as accepted", func() bool {
		for _, s := range p.Status().Partitions {
			if s.Held != 0 || s.Accepted != s.Applied {
				return false
			}
		}
		return true
	})
}

// A rule that keeps failing is suspended everywhere, says so, and comes back with
// the next rulebook. The events are charged all the same.
func TestARuleThatKeepsFailingIsSuspended(t *testing.T) {
	const failing = `  - {name: much, on: recharge, then: [credit: {to: bonus, amount: %d}]}
`
	p := startProcessor(t, t.TempDir(), func(o *Options) {
		o.Partitions, o.DefaultRulebook = 4, budgeted(1000, fmt.Sprintf(failing, 89999999999999))
	})
	for i := range 3 {
		race(t, p, fmt.Sprint("a", i, "-"), 64)
		settled(t, p)
	}
	waitFor(t, "the rule to be suspended", func() bool {
		race(t, p, fmt.Sprint("w", statOf(t, p, "much").Results, "-"), 4)
		settled(t, p)
		return statOf(t, p, "much").Suspended && statOf(t, p, "much").Results[charge.SkipSuspended] > 0
	})
	waitFor(t, "both alerts", func() bool {
		alerts, err := p.Alerts(t.Context(), "", 10)
		if err != nil {
			t.Fatal(err)
		}
		var all strings.Builder
		for _, a := range alerts {
			all.Write(a.Event)
		}
		return strings.Contains(all.String(), "rule_failing") && strings.Contains(all.String(), "rule_suspended")
	})
	before := statOf(t, p, "much")
	if _, err := p.Publish(t.Context(), book(t, budgeted(1000, fmt.Sprintf(failing, 1))), "amina", 0); err != nil {
		t.Fatal(err)
	}
	race(t, p, "b", 8)
	settled(t, p)
	after := statOf(t, p, "much")
	if after.Suspended || after.Results["applied"] != before.Results["applied"]+8 {
		t.Errorf("before %+v, after %+v", before, after)
	}
	if !imbalanceIsZero(p) {
		t.Error("the ledger does not balance")
	}
}
