package trial

import (
	"errors"
	"fmt"
	"slices"

	"recharged/rules"
	"recharged/state"
	"recharged/state/charge"
	"recharged/stream/journal"
	"recharged/stream/turn"
)

// stage is the processor without its logs: one partition, in memory, whose
// records are written as they are read.
type stage struct {
	state    *state.Volatile
	machine  *turn.Machine
	sequence charge.Sequence // of the last record
}

// open opens a stage for a book and puts customers on it. The rulebook takes
// effect with the first record, as it does in a new log.
func open(book *rules.Book, customers []charge.Customer, at charge.Instant) (*stage, error) {
	s := &stage{state: state.NewVolatile()}
	compile := func(uint64, []byte) (*rules.Book, error) { return book, nil }
	var err error
	if s.machine, err = turn.New(turn.Options{Partitions: 1, State: s.state, Compile: compile}, turn.Place{}); err != nil {
		return nil, err
	}
	s.state.Begin(at)
	for i := range customers {
		if _, _, err := s.state.Customer(customers[i].MSISDN); err != nil { // Put replaces whom it has shown.
			return nil, err
		}
		var own charge.Customer
		own.CopyFrom(&customers[i])
		s.state.Put(&own, func(balance string) string { return unitOf(book, balance) })
	}
	_, err = s.record(&journal.Frame{Kind: journal.FrameBook, Version: 1, Source: book.Source()}, at)
	return s, err
}

func unitOf(book *rules.Book, balance string) string {
	plan, ok := book.Plan().Balance(balance)
	if !ok {
		return balance
	}
	return plan.Unit.Name
}

// due is an instant before which time alone brings nothing about; zero: never.
func (s *stage) due() charge.Instant { return s.machine.NextDue() }

// customer returns what there is of a customer. It holds until the next record.
func (s *stage) customer(m charge.MSISDN) (*charge.Customer, error) {
	c, _, err := s.state.Customer(m)
	return c, err
}

// tick lets time pass up to an instant.
func (s *stage) tick(at charge.Instant) (happened, error) {
	return s.record(&journal.Frame{Kind: journal.FrameTick}, at)
}

// event lets an event happen.
func (s *stage) event(e *charge.Event, at charge.Instant) (happened, error) {
	return s.record(&journal.Frame{Kind: journal.FrameEvents, Events: []charge.Event{*e}}, at)
}

// lettersMax bounds how many letters one record may bring about, directly or
// not. Nothing known does; it keeps a test from running for ever.
const lettersMax = 10_000

var errLetters = errors.New("the letters that a record brings about do not come to an end")

// record brings a record to its end, and then the letters that it brings about:
// they come before anything else happens.
func (s *stage) record(frame *journal.Frame, at charge.Instant) (happened, error) {
	var all happened
	frames := []*journal.Frame{frame}
	for n := 0; n < len(frames); n++ {
		if n > lettersMax {
			return all, errLetters
		}
		s.sequence++
		if err := s.machine.Feed(turn.Record{Sequence: s.sequence, Stamp: at, Frame: frames[n]}); err != nil {
			return all, err
		}
		for finished := false; !finished; {
			s.machine.Begin()
			var err error
			if finished, err = s.machine.Run(); err != nil {
				return all, fmt.Errorf("record %d: %w", s.sequence, err)
			}
			t := s.machine.End()
			all.add(happened{t.Outcomes, t.Notifications, t.Alerts})
			for _, l := range t.Letters {
				frames = append(frames, &journal.Frame{Kind: journal.FrameLetter, From: 0, Number: l.Number, Body: slices.Clone(l.Body)})
			}
		}
	}
	return all, nil
}
