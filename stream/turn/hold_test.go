package turn

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"recharged/rules"
	"recharged/state"
	"recharged/state/charge"
	"recharged/stream/journal"
)

// post is one machine, alone or with partners who never answer, and the letters
// that it wrote.
type post struct {
	t       testing.TB
	opts    Options
	state   *state.Volatile
	machine *Machine
	clock   charge.Instant
	next    charge.Sequence
	turn    Turn // all that the last record came to
	letters []journal.Letter
	events  int
}

const postHead = `version: 1
currency: DZD
balances: {main: {unit: DZD, order: 100}, bonus: {unit: DZD, order: 10}}
rules:
`

func newPost(t testing.TB, partitions int, rules string, change func(*Options)) *post {
	t.Helper()
	p := &post{t: t, state: state.NewVolatile(), clock: dawn, next: 1}
	p.opts = Options{Partitions: partitions, State: p.state, Compile: load}
	if change != nil {
		change(&p.opts)
	}
	p.reopen(Place{})
	p.publish(1, rules)
	return p
}

func load(_ uint64, source []byte) (*rules.Book, error) {
	book, problems := rules.Load(rules.File{Name: "book.yaml", Data: source})
	if book == nil {
		return nil, problems
	}
	return book, nil
}

func (p *post) reopen(at Place) {
	p.t.Helper()
	m, err := New(p.opts, at)
	if err != nil {
		p.t.Fatal(err)
	}
	p.machine = m
}

// add has a record judged, in as many turns as it takes.
func (p *post) add(f journal.Frame) {
	p.t.Helper()
	if err := p.machine.Feed(Record{Sequence: p.next, Stamp: p.clock, Frame: &f}); err != nil {
		p.t.Fatal(err)
	}
	p.next++
	p.turn = Turn{}
	for finished := false; !finished; {
		p.machine.Begin()
		var err error
		if finished, err = p.machine.Run(); err != nil {
			p.t.Fatal(err)
		}
		turn := p.machine.End()
		p.turn.Outcomes = append(p.turn.Outcomes, turn.Outcomes...)
		p.turn.Alerts = append(p.turn.Alerts, turn.Alerts...)
		p.turn.Letters = append(p.turn.Letters, turn.Letters...)
	}
	p.letters = append(p.letters, p.turn.Letters...)
}

func (p *post) publish(version uint64, rules string) {
	p.t.Helper()
	p.add(journal.Frame{Kind: journal.FrameBook, Version: version, Source: []byte(postHead + rules)})
}

func (p *post) tick(after time.Duration) {
	p.t.Helper()
	p.clock = p.clock.Add(after)
	p.add(journal.Frame{Kind: journal.FrameTick})
}

func (p *post) recharge(m charge.MSISDN, amounts ...int) {
	p.t.Helper()
	f := journal.Frame{Kind: journal.FrameEvents}
	for _, amount := range amounts {
		p.events++
		f.Events = append(f.Events, charge.Event{
			ID: fmt.Sprint(p.events), Source: "/test", Type: charge.Recharge, MSISDN: m, Time: p.clock,
			Fields: []charge.Field{{Name: "amount", Value: charge.Value{Kind: charge.Number, Bits: int64(amount), Scale: 0}}},
		})
	}
	p.add(f)
}

// deliver brings the letters to itself, until there are none.
func (p *post) deliver() {
	p.t.Helper()
	for len(p.letters) > 0 {
		l := p.letters[0]
		p.letters = p.letters[1:]
		if l.To == p.opts.Partition {
			p.add(journal.Frame{Kind: journal.FrameLetter, From: l.To, Number: l.Number, Body: l.Body})
		}
	}
}

func (p *post) wantHeld(want int) {
	p.t.Helper()
	if held, _ := p.machine.Held(); held != want {
		p.t.Errorf("%d events are held, want %d", held, want)
	}
}

// someone returns customers in the order of their slots.
func someone(t testing.TB, n int) []charge.MSISDN {
	t.Helper()
	people := make([]charge.MSISDN, n)
	for i := range people {
		var err error
		if people[i], err = charge.ParseMSISDN(fmt.Sprintf("213770%06d", i)); err != nil {
			t.Fatal(err)
		}
	}
	slices.SortFunc(people, func(a, b charge.MSISDN) int { return int(a.Slot()) - int(b.Slot()) })
	return people
}

// What is held is judged by the next rulebook at once, also by one that has no
// budget at all.
func TestARulebookWithoutBudgetsSetsFree(t *testing.T) {
	p := newPost(t, 1, "  - {name: gift, on: recharge, limits: {budget: 50}, then: [credit: {to: bonus, amount: 5}]}\n", nil)
	p.recharge(someone(t, 1)[0], 100)
	p.wantHeld(1)
	p.tick(0)
	p.publish(2, "  - {name: gift, on: recharge, then: [credit: {to: bonus, amount: 5}]}\n")
	p.wantHeld(0)
	if len(p.turn.Outcomes) != 1 || p.turn.Outcomes[0].Rulebook != 2 {
		t.Errorf("outcomes %+v", p.turn.Outcomes)
	}
}

// An event that has got what it waited for needs nothing more: nobody is asked
// again, and nobody has to give back anything.
func TestWhatIsSetFreeAsksForNothing(t *testing.T) {
	p := newPost(t, 1, "  - {name: gift, on: recharge, limits: {budget: 50}, then: [credit: {to: bonus, amount: 50}]}\n", nil)
	p.recharge(someone(t, 1)[0], 100)
	p.wantHeld(1)
	written := 0
	for ; len(p.letters) > 0 && written < 100; written++ {
		l := p.letters[0]
		p.letters = p.letters[1:]
		p.add(journal.Frame{Kind: journal.FrameLetter, Number: l.Number, Body: l.Body})
	}
	p.wantHeld(0)
	if written != 2 {
		t.Errorf("%d letters were written, want an ask and a grant", written)
	}
}

// A customer's head may be judged again and wait on while something else is due
// for the customer.
func TestAHeadThatWaitsOnWhileSomethingIsDue(t *testing.T) {
	p := newPost(t, 2, `
  - {name: brief, on: recharge, when: amount == 90, then: [credit: {to: bonus, amount: 1, validity: 61s}]}
  - {name: double, after: recharge, quiet: 1m, group: g, priority: 1, limits: {budget: 100}, then: [credit: {to: bonus, percent: 100, of: customer.main}]}
  - {name: little, after: recharge, quiet: 1m, group: g, limits: {budget: 9}, then: [credit: {to: bonus, amount: 5}]}
`, func(o *Options) { o.Partition = (&Machine{opts: *o}).home("double") })
	people := someone(t, 3)
	first, small, large := people[0], people[1], people[2]
	p.recharge(first, 10)
	p.clock = p.clock.Add(10 * time.Second)
	p.recharge(large, 90)
	p.clock = p.clock.Add(time.Second)
	p.recharge(small, 20)
	p.tick(50 * time.Second) // The first has waited a minute, and brings a share of the budget here.
	p.deliver()
	p.clock = dawn.Add(70 * time.Second)
	p.add(journal.Frame{Kind: journal.FrameTick}) // What is double for the large one has to be asked for.
	if p.machine.queue.items == nil {
		t.Fatal("nothing is held: the test has lost its point")
	}
	p.tick(1500 * time.Millisecond) // Less for the small one is there; then there is not enough for the large one, ever.
	if len(p.machine.queue.items) != 1 || p.machine.queue.items[0].shortOf("little") != 500 {
		t.Fatalf("held %+v: the test has lost its point", p.machine.queue.items)
	}
	p.deliver()
	p.tick(time.Hour)
	for _, m := range people {
		c, _, err := p.state.Customer(m)
		if err != nil || len(c.Timers) != 0 || c.NextDue() != 0 {
			t.Errorf("%s: %v, timers %v, next due %d", m, err, c.Timers, c.NextDue())
		}
	}
}

// When so many timers wait for a budget that nothing more can be held, the others
// are not judged as if there were nothing left: they stay due.
func TestAStormWaitsForTheBudget(t *testing.T) {
	p := newPost(t, 1, "  - {name: back, after: recharge, quiet: 1m, limits: {budget: 100000}, then: [credit: {to: bonus, amount: 1}]}\n", nil)
	const customers = holdItemsMax + 100
	for i := range customers {
		m, err := charge.ParseMSISDN(fmt.Sprintf("213771%06d", i))
		if err != nil {
			t.Fatal(err)
		}
		p.recharge(m, 1)
	}
	p.tick(time.Minute)
	if n := len(p.machine.queue.items); n != holdItemsMax || len(p.turn.Outcomes) != 0 {
		t.Errorf("%d are held, %d outcomes", n, len(p.turn.Outcomes))
	}
	if due := p.machine.NextDue(); due == 0 || due > p.clock {
		t.Errorf("the next is due at %d, want by now", due)
	}
	p.deliver()
	if n := p.machine.memory.rules["back"].Results["applied"]; n != customers || p.machine.NextDue() != 0 {
		t.Errorf("%d of %d got it, the next is due at %d", n, customers, p.machine.NextDue())
	}
}

// Whether there is room for another event does not depend on when the process
// was started.
func TestTheQueueIsAsLargeAfterARestart(t *testing.T) {
	p := newPost(t, 1, "  - {name: gift, on: recharge, limits: {budget: 50}, then: [credit: {to: bonus, amount: 5}]}\n", nil)
	m := someone(t, 1)[0]
	p.recharge(m, 100)
	p.clock = p.clock.Add(time.Second)
	p.recharge(m, 200, 300)
	p.tick(time.Second) // The first has waited long enough. The second is judged for the first time.
	p.wantHeld(2)
	bytes := p.machine.queue.bytes
	at := Place{Next: charge.Position{Sequence: p.next}, Clock: p.clock}
	at.Book, at.Version = p.machine.Book()
	p.reopen(at)
	if p.machine.queue.bytes != bytes || bytes == 0 {
		t.Errorf("%d bytes are held after the restart, %d before", p.machine.queue.bytes, bytes)
	}
}

// However much is due for one customer at once, it fits in a record.
func TestTimersOfOneCustomerFitInARecord(t *testing.T) {
	const count = 200
	var book strings.Builder
	for i := range count {
		fmt.Fprintf(&book, "  - {name: r%d, after: recharge, quiet: %dm, then: [alert: {severity: info, summary: %q}]}\n", i, i+1, strings.Repeat("long ", 40))
	}
	p := newPost(t, 1, book.String(), func(o *Options) { o.BytesMax = 16 << 10 })
	m := someone(t, 1)[0]
	p.recharge(m, 100)
	p.clock = p.clock.Add(24 * time.Hour)
	if err := p.machine.Feed(Record{Sequence: p.next, Stamp: p.clock, Frame: &journal.Frame{Kind: journal.FrameTick}}); err != nil {
		t.Fatal(err)
	}
	p.machine.Begin()
	if _, err := p.machine.Run(); err != nil {
		t.Fatal(err)
	}
	turn := p.machine.End()
	commit := journal.Commit{Kind: journal.CommitTurn, Outcomes: turn.Outcomes, Alerts: turn.Alerts}
	if n := len(commit.Append(nil)); n > 48<<10 {
		t.Errorf("the turn takes %d bytes", n)
	}
	if len(turn.Outcomes) != count || len(turn.Alerts) == 0 || len(turn.Alerts) == count {
		t.Errorf("%d outcomes, %d alerts", len(turn.Outcomes), len(turn.Alerts))
	}
	if c, _, err := p.state.Customer(m); err != nil || len(c.Timers) != 0 {
		t.Errorf("timers %v, %v", c.Timers, err)
	}
}
