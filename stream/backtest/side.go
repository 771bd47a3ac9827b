package backtest

import (
	"context"
	"fmt"
	"sync/atomic"

	"recharged/rules"
	"recharged/state"
	"recharged/state/charge"
	"recharged/state/money"
	"recharged/stream/journal"
	"recharged/stream/turn"
)

// side is one of the two histories. One goroutine runs it; bytes and customers
// may be read by others.
type side struct {
	opts     *Options
	name     string
	states   []*state.Volatile
	machines []*turn.Machine
	purse    *purse // nil: this is the live side
	counts   bool   // the window has begun
	tally    *tally

	bytes, customers atomic.Int64
}

// eventsMax bounds a turn, and so how long a side works without yielding.
const eventsMax = 64

// newSide makes the live side, at the beginning of the logs.
func newSide(opts *Options) (*side, error) {
	s := &side{opts: opts, name: "live", tally: newTally(opts.Draft.Plan().Location)}
	for range opts.Logs {
		s.states = append(s.states, state.NewVolatile())
		if err := s.open(turn.Place{}); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// open makes the next machine.
func (s *side) open(at turn.Place) error {
	p := len(s.machines)
	o := turn.Options{
		Partition: charge.Partition(p), Partitions: len(s.opts.Logs), State: s.states[p], Compile: s.opts.Compile,
		EventsMax: eventsMax, OutcomeBytesMax: s.opts.OutcomeBytesMax,
	}
	if s.purse != nil {
		o.Purse = s.purse
	}
	m, err := turn.New(o, at)
	s.machines = append(s.machines, m)
	return err
}

// fork makes the draft side: customers and all that is remembered are as they
// are here, and the draft is in force.
func (s *side) fork() (*side, error) {
	d := &side{opts: s.opts, name: "draft", counts: true, tally: newTally(s.opts.Draft.Plan().Location)}
	var noted turn.Report
	for _, v := range s.states {
		d.states = append(d.states, v.Clone())
		err := noted.Add(func(prefix string, visit func(string, []byte) bool) error {
			v.Notes(prefix, visit)
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	d.purse = newPurse(s.opts.Draft, &noted)
	for _, m := range s.machines {
		at := turn.Place{Next: m.Next(), Clock: m.Clock(), Version: s.opts.Version, Book: s.opts.Draft}
		if err := d.open(at); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// take judges the records of a chunk.
func (s *side) take(ctx context.Context, c *chunk, weigh func() error) error {
	for i := range c.records {
		if err := s.judge(ctx, &c.records[i]); err != nil {
			return err
		}
	}
	bytes, customers := s.tally.memory(), 0
	for p, m := range s.machines {
		if m.Pending() {
			panic(fmt.Sprintf("backtest: a record of partition %d is left over at %+v", p, m.Next()))
		}
		bytes += s.states[p].Memory()
		customers += int(s.states[p].Tally().Customers)
	}
	s.bytes.Store(int64(bytes))
	s.customers.Store(int64(customers))
	return weigh()
}

// judge brings a record to its end. What the log says about rulebooks and
// budgets is not meant for the draft side, where only its time counts.
func (s *side) judge(ctx context.Context, r *record) error {
	m, record := s.machines[r.partition], r.Record
	if kind := record.Frame.Kind; s.purse != nil && (kind == journal.FrameBook || kind == journal.FrameLetter) {
		record.Frame = &journal.Frame{Kind: journal.FrameTick}
	}
	if err := m.Feed(record); err != nil {
		return err
	}
	for m.Pending() {
		m.Begin()
		if _, err := m.Run(); err != nil {
			return err
		}
		t := m.End()
		if s.opts.watch != nil {
			s.opts.watch(s.name, r.partition, t)
		}
		if s.counts {
			if err := s.tally.take(t); err != nil {
				return err
			}
		}
		s.opts.Yield()
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	return nil
}

// purse has the draft's budgets, one for all partitions. What a rule of the same
// name and unit had spent when the window began is spent.
type purse struct {
	book   *rules.Book
	before map[string]money.Amount // spent before the window
	spent  map[string]money.Amount // ever
}

func newPurse(book *rules.Book, noted *turn.Report) *purse {
	p := &purse{book: book, before: map[string]money.Amount{}, spent: map[string]money.Amount{}}
	for budget, note := range noted.Budgets {
		if _, unit, ok := book.Budget(budget.Rule); ok && unit.Name == budget.Unit {
			p.before[budget.Rule], p.spent[budget.Rule] = note.Spent, note.Spent
		}
	}
	return p
}

// Fund implements turn.Purse: all that is left may be spent at once.
func (p *purse) Fund(rule string) rules.Fund {
	total, _, ok := p.book.Budget(rule)
	if !ok {
		return rules.Fund{}
	}
	return rules.Fund{Slice: max(0, total-p.spent[rule])}
}

// Spend implements turn.Purse.
func (p *purse) Spend(rule string, amount money.Amount) { p.spent[rule] += amount }
