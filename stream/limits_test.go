package stream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"recharged/rules"
	"recharged/rules/sample"
	"recharged/state/charge"
)

func profileJSON(id string, msisdn int, attributes int) string {
	var set []string
	for i := range attributes {
		set = append(set, fmt.Sprintf(`"a%d":%q`, i, strings.Repeat("x", 1000)))
	}
	return fmt.Sprintf(`{"specversion":"1.0","id":%q,"source":"/test","type":"profile","subject":"213770%06d","time":%q,"data":{"set":{%s}}}`,
		id, msisdn, time.Now().UTC().Format(time.RFC3339Nano), strings.Join(set, ","))
}

// Many large customers in one batch: their rows do not fit in one commit, so
// the turn ends in time. The default server allows a fourth of ours.
func TestACommitFitsInARecord(t *testing.T) {
	for name, elsewhere := range map[string]bool{"embedded": false, "1 MiB": true} {
		t.Run(name, func(t *testing.T) {
			p := startProcessor(t, t.TempDir(), func(o *Options) {
				if elsewhere {
					o.NATSURL = externalNATS(t)
				}
			})
			const customers = 300
			var batch []string
			for i := range customers {
				send(t, p, profileJSON(fmt.Sprint("p", i), i, 30))
				batch = append(batch, rechargeJSON(fmt.Sprint("r", i), i, "350"))
			}
			settled(t, p)
			send(t, p, "["+strings.Join(batch, ",")+"]")
			settled(t, p)
			for i := range customers {
				if got := total(t, p, i, "bonus"); got != 35000 {
					t.Fatalf("customer %d: bonus %d", i, got)
				}
			}
		})
	}
}

// An event that sets off more than a record holds is parked, not retried for ever.
func TestAnEventThatDoesTooMuchIsParked(t *testing.T) {
	var book strings.Builder
	book.WriteString("version: 1\ncurrency: DZD\nbalances: {main: {unit: DZD, order: 1}}\n")
	fmt.Fprintf(&book, "templates: {long: {fr: %q}}\nrules:\n", strings.Repeat("x", 900))
	for i := range 900 {
		fmt.Fprintf(&book, "  - {name: r%d, on: recharge, then: [notify: {template: long}]}\n", i)
	}
	p := startProcessor(t, t.TempDir(), func(o *Options) { o.DefaultRulebook = []byte(book.String()) })
	send(t, p, rechargeJSON("a", 1, "350"))
	settled(t, p)
	parked, err := p.Parked("", 10)
	if err != nil || len(parked) != 1 || parked[0].Reason != charge.Overflow {
		t.Fatalf("parked %+v, %v", parked, err)
	}
	if got := total(t, p, 1, "main"); got != 0 {
		t.Errorf("main %d: a parked event has no effect", got)
	}
}

// The same id with other content, sent again and again and then retried, counts once.
func TestAConflictIsParkedOnceAndRetriedOnce(t *testing.T) {
	p := startProcessor(t, t.TempDir(), nil)
	send(t, p, rechargeJSON("a", 1, "100"))
	other := rechargeJSON("a", 1, "200")
	for range 3 {
		send(t, p, other)
	}
	settled(t, p)
	parked, err := p.Parked("", 10)
	if err != nil || len(parked) != 1 || parked[0].Reason != charge.IDConflict {
		t.Fatalf("parked %+v, %v; want one id_conflict", parked, err)
	}
	if err := p.RetryParked(t.Context(), ParkedID(&parked[0])); err != nil {
		t.Fatal(err)
	}
	settled(t, p)
	send(t, p, other)
	settled(t, p)
	if got := total(t, p, 1, "main"); got != 30000 {
		t.Errorf("main %d, want 30000", got)
	}
	if left, _ := p.Parked("", 10); len(left) != 0 {
		t.Errorf("still parked: %+v", left)
	}
}

func TestStopDoesNotWaitForAWaveOfExpiries(t *testing.T) {
	dir := t.TempDir()
	soon := func(o *Options) {
		o.DefaultRulebook = change(t, "percent: 100, validity: 7d", "percent: 100, validity: 20s")
	}
	p := startProcessor(t, dir, soon)
	const customers = 20_000
	for i := 0; i < customers; {
		var batch []string
		for ; len(batch) < 1000; i++ {
			batch = append(batch, fmt.Sprintf(`{"specversion":"1.0","id":"%d","source":"/t","type":"recharge","subject":"213770%06d","time":%q,"data":{"amount":350}}`,
				i, i, time.Now().Add(-19*time.Second).UTC().Format(time.RFC3339Nano)))
		}
		send(t, p, "["+strings.Join(batch, ",")+"]")
	}
	begin := time.Now()
	p.Stop(context.Background())
	if took := time.Since(begin); took > drainMax+5*time.Second {
		t.Errorf("stopping took %v", took)
	}
	p = startProcessor(t, dir, soon)
	waitFor(t, "all to expire", func() bool {
		settled(t, p)
		m, _ := charge.ParseMSISDN(fmt.Sprintf("213770%06d", customers-1))
		entries, err := p.Timeline(t.Context(), m, "", 1)
		return err == nil && len(entries) == 1 && entries[0].Outcome.Type == charge.ExpiryType
	})
	for i := range customers {
		if main, bonus := total(t, p, i, "main"), total(t, p, i, "bonus"); main != 35000 || bonus != 0 {
			t.Fatalf("customer %d: main %d, bonus %d", i, main, bonus)
		}
	}
	if !imbalanceIsZero(p) {
		t.Error("the ledger does not balance")
	}
}

func TestTheNumberOfPartitionsIsFixedWhereTheLogsAre(t *testing.T) {
	url := externalNATS(t)
	at := func(partitions int) func(*Options) {
		return func(o *Options) { o.NATSURL, o.Partitions = url, partitions }
	}
	first := startProcessor(t, t.TempDir(), at(4))
	first.Stop(context.Background())
	opts := Options{Dir: t.TempDir(), DefaultRulebook: sample.Rulebook}
	at(2)(&opts)
	p, err := Start(t.Context(), opts)
	if err == nil {
		p.Stop(context.Background())
		t.Fatal("2 partitions were run on logs made for 4")
	}
	t.Logf("it says: %v", err)
	if p := startProcessor(t, t.TempDir(), at(0)); len(p.owners) != 4 {
		t.Errorf("%d partitions, want the 4 of the logs", len(p.owners))
	}
}

// Whoever asked for a publication goes away: it is not left half done.
func TestAPublicationSurvivesItsPublisher(t *testing.T) {
	p := startProcessor(t, t.TempDir(), nil)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.Publish(gone, book(t, change(t, "percent: 100", "percent: 50")), "amina", 1); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Publish(t.Context(), book(t, change(t, "percent: 100", "percent: 60")), "karim", 2); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "version 3 to be in force", func() bool {
		for _, s := range p.Status().Partitions {
			if s.Rulebook != 3 {
				return false
			}
		}
		return true
	})
}

func TestTheRulebookOfAStartMustNotTakeAwayWhatIsHeld(t *testing.T) {
	dir := t.TempDir()
	p := startProcessor(t, dir, nil)
	recharges(t, p, "a", 1)
	p.Stop(context.Background())
	p = startProcessor(t, dir, func(o *Options) {
		o.Rulebook = append(o.Rulebook, rules.File{Name: "given.yaml", Data: bytes.ReplaceAll(sample.Rulebook, []byte("bonus"), []byte("gift"))})
	})
	if _, version := p.Book(); version != 1 {
		t.Errorf("version %d is in force, want 1", version)
	}
	recharges(t, p, "b", 1)
	if got := total(t, p, customerOf(t, 0), "bonus"); got != 70000 {
		t.Errorf("bonus %d", got)
	}
}

// A log of rulebooks that lost its end must not be followed silently.
func TestALostRulebookHaltsThePartitionsThatKnowIt(t *testing.T) {
	dir := t.TempDir()
	p := startProcessor(t, dir, nil)
	if _, err := p.Publish(t.Context(), book(t, change(t, "percent: 100", "percent: 50")), "", 0); err != nil {
		t.Fatal(err)
	}
	recharges(t, p, "a", 1)
	p.Stop(context.Background())
	tamper(t, dir, func(ctx context.Context, js jetstream.JetStream) error {
		return js.DeleteStream(ctx, "recharged_books")
	})
	p = startProcessor(t, dir, nil)
	for _, s := range p.Status().Partitions {
		if s.State != Halted || !strings.Contains(s.Reason, "rulebook") {
			t.Errorf("partition %d is %s: %s", s.ID, s.State, s.Reason)
		}
	}
}

// A panic ends its partition's session and not the process; it needs a person.
func TestADefectHaltsItsPartition(t *testing.T) {
	var o owner // without anything that it needs
	err := o.session(t.Context())
	if !errors.Is(err, errPanic) || !halts(err) {
		t.Errorf("a panic came out as %v", err)
	}
}

// What a rule wants to give does not fit: the rule is passed over, the customer
// is charged and credited all the same.
func TestARuleThatCannotGiveDoesNotHoldUpTheEvent(t *testing.T) {
	p := startProcessor(t, t.TempDir(), func(o *Options) {
		o.DefaultRulebook = []byte(`version: 1
currency: DZD
balances: {main: {unit: DZD, order: 1}, points: {unit: point, spend: false}, bonus: {unit: DZD, order: 2}}
rules:
  - {name: much, on: recharge, priority: 1, then: [credit: {to: points, amount: 9000000000000000}, tag: lucky]}
  - {name: some, on: recharge, then: [credit: {to: bonus, percent: 10}]}
`)
	})
	recharges(t, p, "a", 2)
	m, _ := charge.ParseMSISDN(fmt.Sprintf("213770%06d", customerOf(t, 0)))
	entries, err := p.Timeline(t.Context(), m, "", 1)
	if err != nil || len(entries) != 1 {
		t.Fatal(entries, err)
	}
	got := entries[0].Outcome
	if got.Result != charge.Applied || len(got.Rules) != 2 || got.Rules[0].Reason != charge.SkipError || got.Rules[1].Verdict != charge.RuleApplied {
		t.Errorf("outcome %+v", got)
	}
	wantBoth(t, p, 70000)
	if bonus := total(t, p, customerOf(t, 0), "bonus"); bonus != 7000 {
		t.Errorf("bonus %d", bonus)
	}
	if !imbalanceIsZero(p) {
		t.Error("the ledger does not balance")
	}
}
