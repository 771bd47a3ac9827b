package kill

import (
	"context"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"recharged/bench/workload"
	"recharged/state/charge"
	"recharged/stream/journal"
)

// The rulebook and the processor promise these.
const (
	quiet   = time.Second     // of the rule that waits for silence
	holdMax = 2 * time.Second // for which an event waits for a budget
)

// audit is what the logs tell that nothing else does.
type audit struct {
	letters     int // between partitions, and of one to itself
	repeated    int // of them came twice into the event log
	cut         int // were on their way when the server was killed
	interrupted int // kills that came while a letter was on its way
	waited      int // events that were held because of a budget
	expired     int // and so long that it was given up
}

// letter is a letter on its way: when its commit was stored, and when it was in
// its receiver's log.
type letter struct{ committed, delivered charge.Instant }

type letterID struct {
	from, to charge.Partition
	number   uint64
}

// auditor reads the logs of all partitions, after the server has stopped.
type auditor struct {
	run      *run
	faults   *faults
	found    audit
	letters  map[letterID]*letter
	clocks   map[charge.Sequence]charge.Instant // of a partition's event log, at each record
	silences map[charge.MSISDN]charge.Instant   // when the silence is over that has begun

	// By rule with a budget: what it was to give, but for what waited too long;
	// what it gave; and the least for which it had not enough.
	wanted, given, refused map[string]int64
}

// audit reads the logs that the stopped server left: which letters were on their
// way when it was killed, whether all arrived, whether every silence ended
// exactly when the log's clock says, and whether a budget refused what it held.
func (r *run) audit(ctx context.Context, t *testing.T) audit {
	t.Helper()
	server, err := journal.StartServer(journal.ServerOptions{Dir: filepath.Join(r.server.Data, "logs")})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Shutdown()
	core, err := server.Core()
	if err != nil {
		t.Fatal(err)
	}
	defer core.Close()
	count, err := journal.Partitions(ctx, core)
	if err != nil {
		t.Fatal(err)
	}
	logs, err := journal.Open(ctx, core, journal.Options{Partitions: count})
	if err != nil {
		t.Fatal(err)
	}
	a := &auditor{
		run: r, faults: &faults{t: t}, letters: map[letterID]*letter{},
		silences: map[charge.MSISDN]charge.Instant{},
		wanted:   map[string]int64{}, given: map[string]int64{}, refused: map[string]int64{},
	}
	for p := range charge.Partition(count) {
		a.clocks = map[charge.Sequence]charge.Instant{}
		each(ctx, t, logs.EventLog(p), func(record journal.Record) { a.event(t, p, record) })
		each(ctx, t, logs.CommitLog(p), func(record journal.Record) { a.commit(t, record) })
	}
	a.concludeLetters()
	a.concludeBudgets()
	a.concludeSilences()
	a.faults.report()
	return a.found
}

// each reads a log from its beginning to its end.
func each(ctx context.Context, t *testing.T, log *journal.Log, visit func(journal.Record)) {
	t.Helper()
	info, err := log.Info(ctx)
	if err != nil {
		t.Fatal(err)
	}
	reader, err := log.Read(ctx, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	for range info.Records {
		record, err := reader.Next(ctx)
		if err != nil {
			t.Fatal(err)
		}
		visit(record)
	}
}

func (a *auditor) of(id letterID) *letter {
	if a.letters[id] == nil {
		a.letters[id] = &letter{}
	}
	return a.letters[id]
}

// event takes a record of the event log of a partition.
func (a *auditor) event(t *testing.T, p charge.Partition, record journal.Record) {
	t.Helper()
	a.clocks[record.Sequence] = max(record.Stamp, a.clocks[record.Sequence-1])
	frame, err := journal.DecodeFrame(record.Data)
	if err != nil {
		t.Fatal(err)
	}
	if frame.Kind != journal.FrameLetter {
		return
	}
	if l := a.of(letterID{frame.From, p, frame.Number}); l.delivered == 0 {
		l.delivered = record.Stamp
	} else {
		a.found.repeated++
	}
}

// commit takes a record of the commit log of the partition whose event log was
// read last.
func (a *auditor) commit(t *testing.T, record journal.Record) {
	t.Helper()
	commit, err := journal.DecodeCommit(record.Data)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range commit.Letters {
		a.of(letterID{commit.Partition, l.To, l.Number}).committed = record.Stamp
	}
	for i := range commit.Outcomes {
		o := &commit.Outcomes[i]
		arrived := a.clocks[o.Position.Sequence] // 0: it is no event that arrived
		a.silence(o, arrived)
		if arrived == 0 {
			continue
		}
		late := o.Accepted.Sub(arrived) >= holdMax
		if a.budgets(o, late); late {
			a.found.expired++
		}
		if o.Accepted != arrived {
			a.found.waited++
		}
	}
}

// silence follows the silence after the recharges of a customer. All recharges of
// a workload happened long ago: so the silence begins by the clock. It is over
// before the first event that arrives at its end or later.
func (a *auditor) silence(o *charge.Outcome, arrived charge.Instant) {
	over := a.silences[o.MSISDN]
	switch {
	case o.Type == charge.TimerType && o.Time != over:
		a.faults.add("the silence of %s ended at %s, want %s", o.MSISDN.Masked(), o.Time.Time(), over.Time())
	case o.Type == charge.TimerType:
		delete(a.silences, o.MSISDN)
	case o.Type == charge.Recharge && o.Result == charge.Applied:
		if over != 0 && over <= arrived {
			a.faults.add("the silence of %s was over at %s, a recharge came at %s, and nothing had happened",
				o.MSISDN.Masked(), over.Time(), arrived.Time())
		}
		a.silences[o.MSISDN] = o.Accepted.Add(quiet)
	}
}

// budgets remembers what budgets gave, and what they had not enough for. An event
// that has waited too long says nothing about the budget.
func (a *auditor) budgets(o *charge.Outcome, late bool) {
	story := a.run.oracle.Stories[workload.Key(o.Source, o.EventID)]
	if story == nil || o.Result != charge.Applied {
		return
	}
	for _, rule := range o.Rules {
		i := slices.IndexFunc(story.Chances, func(c workload.Chance) bool { return c.Rule == rule.Name })
		if i < 0 || late && rule.Verdict == charge.RuleSkipped {
			continue
		}
		amount := story.Chances[i].Amount
		a.wanted[rule.Name] += amount
		if rule.Verdict == charge.RuleApplied {
			a.given[rule.Name] += amount
		} else if least, before := a.refused[rule.Name]; !before || amount < least {
			a.refused[rule.Name] = amount
		}
	}
}

// concludeLetters demands that every letter has arrived, and counts those that a
// kill held up.
func (a *auditor) concludeLetters() {
	for id, l := range a.letters {
		if l.committed == 0 || l.delivered < l.committed {
			a.faults.add("letter %+v was committed at %s and delivered at %s", id, l.committed.Time(), l.delivered.Time())
		}
	}
	a.found.letters = len(a.letters)
	for _, d := range a.run.deaths {
		cut := 0
		for _, l := range a.letters {
			if l.committed.Time().Before(d.from) && l.delivered.Time().After(d.until) {
				cut++
			}
		}
		if a.found.cut += cut; cut > 0 {
			a.found.interrupted++
		}
	}
}

// concludeBudgets demands that a budget refused only what it did not hold. If all
// its credits are equal and it holds some number of them, it is spent to the
// last centime, unless too much of what was wanted has waited too long.
func (a *auditor) concludeBudgets() {
	for rule, budget := range workload.Budgets(len(a.run.events)) {
		given, left := a.given[rule], budget.Total-a.given[rule]
		if least, refused := a.refused[rule]; refused && least <= left {
			a.faults.add("%d are left of the budget of %s, and it refused %d", left, rule, least)
		}
		if want := min(budget.Total, a.wanted[rule]); budget.Equal != 0 && given != want {
			a.faults.add("%s gave %d to all customers together, want %d, all of its budget", rule, given, want)
		}
	}
}

// concludeSilences demands that all silences have ended.
func (a *auditor) concludeSilences() {
	for msisdn, over := range a.silences {
		a.faults.add("the silence of %s was over at %s, and nothing happened", msisdn.Masked(), over.Time())
	}
}
