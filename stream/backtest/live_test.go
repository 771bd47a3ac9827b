package backtest_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"recharged/rules"
	"recharged/state"
	"recharged/state/charge"
	"recharged/stream"
	"recharged/stream/accept"
	"recharged/stream/backtest"
	"recharged/stream/journal"
	"recharged/stream/turn"
)

// liveBook has a rule for everything that makes one answer depend on another.
const liveBook = `version: 1
currency: DZD
timezone: Africa/Algiers
lateness: 48h
balances:
  main:  {unit: DZD, order: 100}
  bonus: {unit: DZD, order: 10, validity: 1m}
  data:  {unit: byte, service: data, order: 10}
tariffs:
  voice: {price: 4.00, per: 60s}
  data:  {price: 0.50, per: 1MB}
counters:
  recharges_7d: {on: recharge, window: 7d}
templates:
  doubled: {fr: "Bonus : {credited.bonus} DA, {customer.main}."}
rules:
  - {name: double, on: recharge, when: amount > 300, group: best, priority: 2, then: [{credit: {to: bonus, percent: 100}}, {notify: {template: doubled}}]}
  - {name: tiered, on: recharge, group: best, tiers: [{from: 200, percent: 20}, {from: 400, percent: 30}], then: [{credit: {to: bonus, validity: 1s}}]}
  - {name: daily, on: recharge, limits: {per_customer: [{count: 2, per: day}]}, then: [{credit: {to: data, amount: 5MB}}]}
  - {name: scarce, on: recharge, limits: {budget: 2000}, then: [{credit: {to: main, amount: 30}}]}
  - {name: held, on: recharge, holdout: 50%, then: [{tag: treated}]}
  - {name: broken, on: recharge, when: '1 / (customer.recharges - customer.recharges) > 0', then: [{tag: never}]}
  - {name: low, on: usage, when: before.main >= 50 && customer.main < 50, then: [{alert: {severity: info, summary: "{msisdn} is low"}}]}
  - {name: silent, after: recharge, quiet: 1s, limits: {per_customer: [{count: 1, per: campaign}], budget: 300}, then: [{tag: silent}, {credit: {to: main, amount: 20}}]}
`

const (
	livePartitions = 3
	liveCustomers  = 40
)

func compile(_ uint64, source []byte) (*rules.Book, error) {
	book, problems := rules.Load(rules.File{Name: "book.yaml", Data: source})
	if book == nil {
		return nil, problems
	}
	return book, nil
}

func load(t *testing.T, source string) *rules.Book {
	t.Helper()
	book, err := compile(0, []byte(source))
	if err != nil {
		t.Fatal(err)
	}
	return book
}

// The live side comes to what a real processor has committed: every outcome,
// notification and alert, byte for byte, and every customer, whatever happened:
// repeats, events that were parked, retried and discarded, expiries, silence,
// budgets that partitions ask each other for, a suspended rule, another rulebook,
// a restart.
func TestTheLiveSideIsWhatWasCommitted(t *testing.T) {
	dir := t.TempDir()
	live(t, dir)
	logs := openLogs(t, filepath.Join(dir, "logs"), livePartitions)
	committed := commits(t, logs)

	var replayed [livePartitions]said
	var customers []*state.Volatile
	opts := backtest.Options{Logs: eventLogs(logs, livePartitions), Draft: load(t, liveBook), Compile: compile}
	opts.Spy(func(side string, p charge.Partition, turn *turn.Turn) {
		if side == "live" {
			replayed[p].add(turn.Outcomes, turn.Notifications, turn.Alerts)
		}
	}, func(live, _ []*state.Volatile) { customers = live })
	result, err := backtest.Run(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	for p := range replayed {
		replayed[p].same(t, p, &committed[p])
	}
	sameCustomers(t, dir, customers)
	if result.Events == 0 || result.Parked == 0 || result.Duplicates == 0 || result.Notifications == 0 {
		t.Errorf("the draft side came to nothing: %+v", result)
	}
	for _, what := range []string{
		"applied", "duplicate", "parked", "expiry", "timer", "budget", "holdout", "suspended", "error", "limit", "group",
		"rulebook 1", "rulebook 2", "alert low", "alert " + turn.AlertSuspended,
	} {
		if !slices.ContainsFunc(committed[:], func(s said) bool { return s.seen[what] > 0 }) {
			t.Errorf("the test has seen too little: no %s", what)
		}
	}
}

// live runs a processor through everything.
func live(t *testing.T, dir string) {
	random := rand.New(rand.NewPCG(3, 4))
	p := begin(t, dir)
	for round := range 4 {
		accepted(t, p, liveEvents(random, fmt.Sprint("a", round), 80))
		settled(t, p)
	}
	second := strings.NewReplacer("amount > 300", "amount > 100", "budget: 2000", "budget: 3000", "lateness: 48h", "lateness: 480h").Replace(liveBook)
	if _, err := p.Publish(t.Context(), load(t, second), "amina", 0); err != nil {
		t.Fatal(err)
	}
	parked, err := p.Parked("", 30)
	if err != nil || len(parked) < 10 {
		t.Fatalf("parked %d, %v", len(parked), err)
	}
	for i := range parked {
		order := p.RetryParked
		if i%3 == 0 {
			order = p.DiscardParked
		}
		if err := order(t.Context(), stream.ParkedID(&parked[i])); err != nil {
			t.Fatal(err)
		}
	}
	accepted(t, p, liveEvents(random, "b", 150))
	p.Stop(context.Background())

	p = begin(t, dir)
	for round := range 3 {
		accepted(t, p, liveEvents(random, fmt.Sprint("c", round), 100))
	}
	stat := func(what string, holds func(s *stream.RuleStat) bool) {
		waitFor(t, what, func() bool {
			stats, err := p.RuleStats(t.Context())
			return err == nil && slices.ContainsFunc(stats, func(s stream.RuleStat) bool { return holds(&s) })
		})
	}
	round := 0
	stat("a rule to be suspended", func(s *stream.RuleStat) bool {
		if s.Rule == "broken" && s.Suspended && s.Results["suspended"] == 0 { // One partition hears of it before another.
			round++
			accepted(t, p, liveEvents(random, fmt.Sprint("d", round), 20))
			settled(t, p)
		}
		return s.Results["suspended"] > 0
	})
	accepted(t, p, liveEvents(random, "e", 100))
	stat("silence to be noticed", func(s *stream.RuleStat) bool { return s.Rule == "silent" && s.Results["budget"] > 0 })
	settled(t, p)
	p.Stop(context.Background())
}

func begin(t *testing.T, dir string) *stream.Processor {
	t.Helper()
	p, err := stream.Start(t.Context(), stream.Options{
		Dir: dir, Partitions: livePartitions, CacheBytes: 1, DiskReserveBytes: 1, DefaultRulebook: []byte(liveBook), Version: "test",
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Stop(context.Background()) })
	waitFor(t, "the processor to be ready", func() bool { return p.Ready() == nil })
	return p
}

func waitFor(t *testing.T, what string, done func() bool) {
	t.Helper()
	for begin := time.Now(); !done(); time.Sleep(time.Millisecond) {
		if time.Since(begin) > time.Minute {
			t.Fatalf("waited a minute for %s", what)
		}
	}
}

func settled(t *testing.T, p *stream.Processor) {
	t.Helper()
	waitFor(t, "everything to take effect", func() bool {
		for _, s := range p.Status().Partitions {
			if s.State != stream.Running || s.Lag > 0 {
				return false
			}
		}
		return true
	})
}

func accepted(t *testing.T, p *stream.Processor, events string) {
	t.Helper()
	b := p.Gateway().NewBatch()
	b.Decode(accept.JSON, []byte(events))
	if _, err := p.Gateway().Accept(t.Context(), b); err != nil {
		t.Fatal(err)
	}
}

// liveEvents writes events of all types: of now, of two minutes ago and too late
// ones, with repeats and with ids that come with other content.
func liveEvents(random *rand.Rand, prefix string, n int) string {
	events := make([]string, n)
	for i := range events {
		kind, data := "recharge", fmt.Sprintf(`{"amount":%d}`, 50*random.IntN(10)+50)
		switch random.IntN(16) {
		case 0, 1, 2:
			kind, data = "usage", fmt.Sprintf(`{"service":"voice","units":%d}`, 60*random.IntN(60))
		case 3:
			kind, data = "usage", fmt.Sprintf(`{"service":"data","units":%d}`, random.IntN(9_000_000))
		case 4:
			kind, data = "profile", fmt.Sprintf(`{"set":{"age":%d,"language":"fr"}}`, 20+random.IntN(10))
		case 5:
			kind, data = "contact", `{"channel":"app"}`
		case 6:
			kind, data = "survey", `{"nps":3}`
		case 7:
			kind, data = "adjustment", `{"balance":"main","amount":"-10.00","reason":"test"}`
		case 8:
			kind, data = "grievance", `{"topic":"bill"}`
		case 9:
			kind, data = "cdr", `{"service":"voice","units":60,"ref":"r"}`
		}
		id := fmt.Sprintf("%s-%d", prefix, i)
		if random.IntN(10) == 0 {
			id = fmt.Sprintf("%s-%d", prefix, random.IntN(i+1))
		}
		if i > 0 && random.IntN(12) == 0 {
			events[i] = events[random.IntN(i)]
			continue
		}
		ago := []time.Duration{0, 0, 0, 2 * time.Minute, 100 * time.Hour}[min(4, random.IntN(24)%5)]
		events[i] = fmt.Sprintf(`{"specversion":"1.0","id":%q,"source":"/test","type":%q,"subject":"213770%06d","time":%q,"data":%s}`,
			id, kind, random.IntN(liveCustomers), time.Now().Add(-ago).UTC().Format(time.RFC3339Nano), data)
	}
	return "[" + strings.Join(events, ",") + "]"
}

// openLogs opens the logs that a processor has left.
func openLogs(t *testing.T, dir string, partitions int) *journal.Journal {
	t.Helper()
	server, err := journal.StartServer(journal.ServerOptions{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Shutdown)
	core, err := server.Core()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(core.Close)
	logs, err := journal.Open(t.Context(), core, journal.Options{Partitions: partitions})
	if err != nil {
		t.Fatal(err)
	}
	return logs
}

func eventLogs(logs *journal.Journal, partitions int) (list []*journal.Log) {
	for p := range charge.Partition(partitions) {
		list = append(list, logs.EventLog(p))
	}
	return list
}

// said is all that a partition has said, and how often what.
type said struct {
	outcomes, notifications, alerts []byte
	seen                            map[string]int
}

func (s *said) add(outcomes []charge.Outcome, notifications []charge.Notification, alerts []charge.Alert) {
	if s.seen == nil {
		s.seen = map[string]int{}
	}
	for i := range outcomes {
		o := &outcomes[i]
		s.outcomes = charge.AppendOutcome(s.outcomes, o)
		s.seen[o.Result.String()]++
		s.seen[o.Type]++
		s.seen[fmt.Sprint("rulebook ", o.Rulebook)]++
		for _, r := range o.Rules {
			s.seen[r.Reason]++
		}
	}
	for i := range notifications {
		s.notifications = charge.AppendNotification(s.notifications, &notifications[i])
	}
	for i := range alerts {
		s.alerts = charge.AppendAlert(s.alerts, &alerts[i])
		s.seen["alert "+alerts[i].Name]++
	}
}

func (s *said) same(t *testing.T, p int, want *said) {
	t.Helper()
	if !bytes.Equal(s.outcomes, want.outcomes) || !bytes.Equal(s.notifications, want.notifications) || !bytes.Equal(s.alerts, want.alerts) {
		t.Errorf("partition %d: replayed %d, %d, %d bytes of outcomes, notifications and alerts, committed were other %d, %d, %d\n%v\n%v", p,
			len(s.outcomes), len(s.notifications), len(s.alerts), len(want.outcomes), len(want.notifications), len(want.alerts), s.seen, want.seen)
	}
}

// commits reads what the partitions have committed.
func commits(t *testing.T, logs *journal.Journal) (all [livePartitions]said) {
	t.Helper()
	for p := range all {
		log := logs.CommitLog(charge.Partition(p))
		info, err := log.Info(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for sequence := info.First; sequence <= info.Last; sequence++ {
			record, err := log.Get(t.Context(), sequence)
			if err != nil {
				t.Fatal(err)
			}
			commit, err := journal.DecodeCommit(record.Data)
			if err != nil {
				t.Fatal(err)
			}
			all[p].add(commit.Outcomes, commit.Notifications, commit.Alerts)
		}
	}
	return all
}

// sameCustomers compares the customers of the store with the replayed ones.
func sameCustomers(t *testing.T, dir string, replayed []*state.Volatile) {
	t.Helper()
	store, err := state.Open(state.Options{Dir: filepath.Join(dir, "state"), CacheBytes: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	n := 0
	for p, v := range replayed {
		v.Customers(func(c *charge.Customer) bool {
			var stored charge.Customer
			known, err := store.Customer(c.MSISDN, &stored)
			if err != nil {
				t.Fatal(err)
			}
			if !known || !bytes.Equal(charge.AppendCustomer(nil, c), charge.AppendCustomer(nil, &stored)) {
				t.Errorf("customer %s of partition %d is %+v, stored is %+v", c.MSISDN, p, c, stored)
			}
			n++
			return true
		})
		for unit, sum := range v.Imbalance() {
			if !sum.IsZero() {
				t.Errorf("partition %d: %s do not balance: %+v", p, unit, sum)
			}
		}
	}
	if n != liveCustomers {
		t.Errorf("%d customers, want %d", n, liveCustomers)
	}
}
