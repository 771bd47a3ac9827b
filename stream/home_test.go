package stream

import (
	"fmt"
	"testing"
	"time"

	"recharged/state/charge"
	"recharged/stream/journal"
)

// While a rule's home is halted, the others charge what would have to wait for its
// budget, without the rule: after two seconds, and also if no event comes.
func TestAHaltedHomeHoldsUpNobody(t *testing.T) {
	p := startProcessor(t, t.TempDir(), func(o *Options) { o.Partitions, o.DefaultRulebook = 2, budgeted(1000, "") })
	settled(t, p)
	home := homeOf(t, p)
	if _, err := p.owners[home].events.Append(t.Context(), []byte("this is no frame"), ""); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the home to halt", func() bool { return p.Status().Partitions[home].State == Halted })
	other := 1 - home
	const events = 20 // Of 100 each: more than its share of the budget.
	begin := time.Now()
	for i := range events {
		send(t, p, rechargeJSON(fmt.Sprint("a", i), customerOf(t, other), "50"))
	}
	waitFor(t, "the other to charge everything", func() bool { return p.Status().Partitions[other].Lag == 0 })
	if took := time.Since(begin); took > 20*time.Second {
		t.Errorf("it took %v", took)
	}
	results := statOf(t, p, "gift").Results
	if main, bonus := total(t, p, customerOf(t, other), "main"), total(t, p, customerOf(t, other), "bonus"); main != events*5000 || bonus != 10000*int64(results["applied"]) {
		t.Errorf("main %d, bonus %d", main, bonus)
	}
	if results["budget"] == 0 || results["applied"]+results["budget"] != events {
		t.Errorf("results %v", results)
	}
	if err := p.closed(other); err != nil {
		t.Error(err)
	}
}

// homeOf tells where the letters about the budget of the rule gift go.
func homeOf(t *testing.T, p *Processor) charge.Partition {
	t.Helper()
	for _, o := range p.owners {
		info, err := o.commits.Info(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for sequence := charge.Sequence(1); sequence <= info.Last; sequence++ {
			record, err := o.commits.Get(t.Context(), sequence)
			if err != nil {
				t.Fatal(err)
			}
			commit, err := journal.DecodeCommit(record.Data)
			if err != nil {
				t.Fatal(err)
			}
			if len(commit.Letters) > 0 {
				return commit.Letters[0].To
			}
		}
	}
	t.Fatal("nobody has asked for anything")
	return 0
}
