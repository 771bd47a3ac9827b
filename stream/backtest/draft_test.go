package backtest_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"recharged/rules"
	"recharged/state/charge"
	"recharged/stream/backtest"
	"recharged/stream/journal"
)

// past is an event log in the making.
type past struct {
	t     *testing.T
	logs  *journal.Journal
	count int
}

const pastPartitions = 2

func newPast(t *testing.T, book string) *past {
	t.Helper()
	p := &past{t: t, logs: openLogs(t, filepath.Join(t.TempDir(), "logs"), pastPartitions)}
	for _, log := range eventLogs(p.logs, pastPartitions) {
		if err := log.Create(t.Context()); err != nil {
			t.Fatal(err)
		}
		frame := journal.Frame{Kind: journal.FrameBook, Version: 1, Source: []byte(book)}
		if _, err := log.Append(t.Context(), frame.Append(nil), ""); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

func customer(t *testing.T, n int) charge.MSISDN {
	t.Helper()
	m, err := charge.ParseMSISDN(fmt.Sprintf("213770%06d", n))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// recharge appends a recharge of now to its partition's log, and returns the
// time at which it was accepted.
func (p *past) recharge(n int, amount int64) charge.Instant {
	p.t.Helper()
	p.count++
	e := charge.Event{
		ID: fmt.Sprint(p.count), Source: "/test", Type: charge.Recharge, MSISDN: customer(p.t, n), Time: charge.Instant(time.Now().UnixNano()),
		Fields: []charge.Field{{Name: "amount", Value: charge.Value{Kind: charge.Number, Bits: 100 * amount, Scale: 2}}},
	}
	log := p.logs.EventLog(e.MSISDN.Slot().PartitionOf(pastPartitions))
	frame := journal.Frame{Kind: journal.FrameEvents, Events: []charge.Event{e}}
	at, err := log.Append(p.t.Context(), frame.Append(nil), "")
	if err != nil {
		p.t.Fatal(err)
	}
	record, err := log.Get(p.t.Context(), at)
	if err != nil {
		p.t.Fatal(err)
	}
	return record.Stamp
}

func (p *past) replay(draft *rules.Book, change func(*backtest.Options)) (*backtest.Result, error) {
	opts := backtest.Options{Logs: eventLogs(p.logs, pastPartitions), Draft: draft, Compile: compile}
	if change != nil {
		change(&opts)
	}
	return backtest.Run(p.t.Context(), opts)
}

func (p *past) result(draft string, change func(*backtest.Options)) *backtest.Result {
	p.t.Helper()
	r, err := p.replay(load(p.t, draft), change)
	if err != nil {
		p.t.Fatal(err)
	}
	return r
}

const pastBook = `version: 1
currency: DZD
balances:
  main:   {unit: DZD, order: 100}
  bonus:  {unit: DZD, order: 10}
  points: {unit: point, spend: false}
templates:
  thanks: {fr: "Merci !", ar: "شكرا"}
rules:
  - {name: ten, on: recharge, then: [{credit: {to: bonus, percent: 10}}]}
  - {name: gone, on: recharge, when: amount >= 500, then: [{credit: {to: bonus, amount: 7}}]}
  - {name: once, on: recharge, limits: {per_customer: [{count: 1, per: campaign}]}, then: [{credit: {to: points, amount: 3}}]}
`

// What a draft comes to, to the last figure: a rule that gives more to some and
// less to others, one that goes, one that comes and whose budget does not last,
// one that stays.
func TestADraftIsComparedWithTheLiveRulebook(t *testing.T) {
	p := newPast(t, pastBook)
	for i, amount := range []int64{100, 200, 300, 400, 500} {
		p.recharge(i, amount)
	}
	exhausted := p.recharge(0, 600)
	last := p.recharge(1, 50)
	draft := strings.NewReplacer(
		"percent: 10", "percent: 20, max: 45",
		"{name: gone, on: recharge, when: amount >= 500, then: [{credit: {to: bonus, amount: 7}}]}",
		"{name: fresh, title: Fresh, on: recharge, when: amount >= 400, limits: {budget: 50}, then: [{credit: {to: bonus, amount: 25}}, {notify: {template: thanks, channel: sms}}]}",
	).Replace(pastBook)
	r := p.result(draft, nil)
	if to := last.Time().UTC().Format(time.RFC3339Nano); r.From == "" || r.To != to {
		t.Errorf("the window is from %s to %s, want to %s", r.From, r.To, to)
	}
	if want := exhausted.Time().UTC().Format(time.RFC3339Nano); r.Rules[0].Budget == nil || r.Rules[0].Budget.Exhausted != want {
		t.Errorf("the budget is exhausted at %+v, want %s", r.Rules[0].Budget, want)
	}
	day := last.Time().UTC().Format(time.DateOnly)
	r.From, r.To, r.Rules[0].Budget.Exhausted = "", "", ""
	got, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"from":"","to":"","events":7,"parked":0,"duplicates":0,"customers":5,"reached":5,"notifications":2,"sms_parts":2,` +
		`"rules":[` +
		`{"name":"fresh","title":"Fresh","results":{"applied":2,"budget":1},"matches":3,"credited":{"bonus":"50.00"},"customers":2,"notifications":2,"sms_parts":2,"alerts":0,` +
		`"budget":{"unit":"DZD","total":"50.00","before":"0.00","spent":"50.00","left":"0.00"}},` +
		`{"name":"once","results":{"applied":5,"limit":2},"matches":7,"credited":{"points":"15"},"customers":5,"notifications":0,"sms_parts":0,"alerts":0},` +
		`{"name":"ten","results":{"applied":7},"matches":7,"credited":{"bonus":"250.00"},"customers":5,"notifications":0,"sms_parts":0,"alerts":0}],` +
		`"gifts":[` +
		`{"unit":"DZD","total":"300.00","customers":5,"p50":"65.00","p95":"70.00","max":"70.00","winners":[` +
		`{"msisdn":"213*******03","amount":"70.00"},{"msisdn":"213*******04","amount":"70.00"},{"msisdn":"213*******00","amount":"65.00"},` +
		`{"msisdn":"213*******01","amount":"50.00"},{"msisdn":"213*******02","amount":"45.00"}]},` +
		`{"unit":"point","total":"15","customers":5,"p50":"3","p95":"3","max":"3","winners":[` +
		`{"msisdn":"213*******00","amount":"3"},{"msisdn":"213*******01","amount":"3"},{"msisdn":"213*******02","amount":"3"},` +
		`{"msisdn":"213*******03","amount":"3"},{"msisdn":"213*******04","amount":"3"}]}],` +
		`"days":[{"day":"` + day + `","events":7,"rules":{"fresh":{"bonus":"50.00"},"once":{"points":"15"},"ten":{"bonus":"250.00"}},` +
		`"cost":{"DZD":"300.00","point":"15"},"live":{"DZD":"229.00","point":"15"}}],` +
		`"difference":{"events":0,"parked":0,"reached":0,"notifications":2,"sms_parts":2,"units":[` +
		`{"unit":"DZD","draft":"300.00","live":"229.00","change":"71.00","customers":{"more":4,"new":0,"less":1,"lose":0}},` +
		`{"unit":"point","draft":"15","live":"15","change":"0","customers":{"more":0,"new":0,"less":0,"lose":0}}],` +
		`"rules":[` +
		`{"name":"fresh","only":"draft","applied":2,"credited":{"bonus":"50.00"},"notifications":2,"customers":{"more":2,"new":2,"less":0,"lose":0}},` +
		`{"name":"once","applied":0,"credited":{"points":"0"},"notifications":0,"customers":{"more":0,"new":0,"less":0,"lose":0}},` +
		`{"name":"ten","applied":0,"credited":{"bonus":"35.00"},"notifications":0,"customers":{"more":3,"new":0,"less":2,"lose":0}},` +
		`{"name":"gone","only":"live","applied":-2,"credited":{"bonus":"-14.00"},"notifications":0,"customers":{"more":0,"new":0,"less":2,"lose":2}}]}}`
	if string(got) != want {
		t.Errorf("the result is\n%s\nwant\n%s", got, want)
	}
}

// A draft that is the live rulebook changes nothing, whatever the window: limits
// and budgets go on from where they are at its beginning.
func TestTheLiveRulebookAsADraftChangesNothing(t *testing.T) {
	book := strings.Replace(pastBook, "{name: ten, on: recharge,", "{name: ten, on: recharge, holdout: 30%,", 1)
	p := newPast(t, book)
	random := rand.New(rand.NewPCG(5, 6))
	var middle, end charge.Instant
	for i := range 120 {
		at := p.recharge(random.IntN(20), 50+50*random.Int64N(12))
		switch i {
		case 60:
			middle = at
		case 100:
			end = at
		}
	}
	for _, window := range []struct {
		from, to charge.Instant
		events   uint64
	}{{0, 0, 120}, {middle, 0, 60}, {0, end, 100}, {middle, end, 40}, {end + charge.Instant(time.Hour), 0, 0}} {
		r := p.result(book, func(o *backtest.Options) { o.From, o.To = window.from, window.to })
		d := &r.Difference
		if r.Events != window.events || d.Events != 0 || d.Reached != 0 || d.Notifications != 0 {
			t.Errorf("window %+v: %d events, difference %+v", window, r.Events, d)
		}
		for _, u := range d.Units {
			if u.Draft != u.Live || u.Changed != (backtest.Counts{}) {
				t.Errorf("window %+v: %+v", window, u)
			}
		}
		for _, rule := range d.Rules {
			if rule.Applied != 0 || rule.Only != "" || rule.Changed != (backtest.Counts{}) {
				t.Errorf("window %+v: %+v", window, rule)
			}
		}
	}
}

// A budget goes on from what its rule has spent when the window begins.
func TestABudgetGoesOn(t *testing.T) {
	dir := t.TempDir()
	live(t, dir)
	logs := openLogs(t, filepath.Join(dir, "logs"), livePartitions)
	info, err := logs.EventLog(0).Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	middle, err := logs.EventLog(0).Get(t.Context(), info.Last/2)
	if err != nil {
		t.Fatal(err)
	}
	draft := load(t, strings.Replace(liveBook, "budget: 2000", "budget: 2500", 1))
	r, err := backtest.Run(t.Context(), backtest.Options{Logs: eventLogs(logs, livePartitions), Draft: draft, Compile: compile, From: middle.Stamp})
	if err != nil {
		t.Fatal(err)
	}
	for _, rule := range r.Rules {
		if b := rule.Budget; rule.Name == "scarce" && (b == nil || b.Total != "2500.00" || b.Before < "1000.00" || b.Spent > "2500.00" || b.Spent < "2490.00" || b.Exhausted == "") {
			t.Errorf("the budget is %+v", b)
		}
	}
}

func TestABacktestIsGivenUp(t *testing.T) {
	p := newPast(t, pastBook)
	for i := range 10 {
		p.recharge(i, 100)
	}
	book := load(t, pastBook)
	var large *backtest.TooLarge
	if _, err := p.replay(book, func(o *backtest.Options) { o.BytesMax = 1000 }); !errors.As(err, &large) || large.Bytes <= large.Max {
		t.Errorf("too large: %v", err)
	}
	stop := errors.New("stop")
	ctx, cancel := context.WithCancelCause(t.Context())
	opts := backtest.Options{Logs: eventLogs(p.logs, pastPartitions), Draft: book, Compile: compile, Yield: func() { cancel(stop) }}
	if _, err := backtest.Run(ctx, opts); !errors.Is(err, stop) {
		t.Errorf("cancelled: %v", err)
	}
	if _, err := p.replay(book, func(o *backtest.Options) { o.Yield = func() { panic("defect") } }); err == nil || !strings.Contains(err.Error(), "a defect") {
		t.Errorf("a panic: %v", err)
	}
	frame := journal.Frame{Kind: journal.FrameLetter, From: 1, Number: 9, Body: []byte{9}}
	if _, err := p.logs.EventLog(0).Append(t.Context(), frame.Append(nil), ""); err != nil {
		t.Fatal(err)
	}
	if _, err := p.replay(book, nil); err == nil || !strings.Contains(err.Error(), "live side") {
		t.Errorf("a log that cannot be replayed: %v", err)
	}
}
