// Package turn is the processor as a pure machine: it takes the records of one
// partition's event log, in their order, and says what they do: outcomes,
// notifications, alerts, letters to other partitions, and changes of its state.
// The live partition runs it, and so does whoever tries a rulebook out.
//
// It promises that the answer is a function of the records alone. A turn may end
// after any event, and the next one may be run by another process: what comes
// out is the same. It refuses to know the time, logs, and where its state is
// kept: time is the stamp of a record, and state is what State offers.
//
// # A record
//
// What a record does, it does in this order:
//
//  1. the clock moves on to the record's stamp, and never back;
//  2. what time and other partitions' answers have brought about takes effect
//     (see settle): events that were held and need not wait any more, then
//     whatever is due by the clock;
//  3. the record's own events are judged, or the order that it gives is carried
//     out;
//  4. after a letter or a rulebook, step 2 once more.
//
// Each of these is a sequence of steps that depend on the state and the record
// only. The position, which is stored with the state, says how far a record has
// come: 0 until its own effect begins, then the number of its events that have
// ended, or the steps of its order that were carried out. So a record can be
// left at any step and taken up again there. Step 2 ends when nothing is left to
// do, so it may be begun anew.
package turn

import (
	"errors"
	"fmt"

	"recharged/rules"
	"recharged/state"
	"recharged/state/charge"
	"recharged/state/ledger"
	"recharged/state/money"
	"recharged/stream/journal"
)

// State is what a machine remembers. *state.Partition keeps it on the disk,
// *state.Volatile in memory.
type State interface {
	// Begin starts a turn, Advance moves its clock on.
	Begin(clock charge.Instant)
	Advance(clock charge.Instant)

	Customer(m charge.MSISDN) (*charge.Customer, bool, error)
	Put(c *charge.Customer, unit func(balance string) string)
	Post(postings []charge.Posting)
	Index(m charge.MSISDN, outcome int)
	Ended(events int)

	Seen(m charge.MSISDN, identity [16]byte) (content uint64, seen bool, err error)
	Remember(c *charge.Customer, seen state.Seen, mayForget func(newer uint64, at charge.Instant, money bool) bool) error

	Park(e *state.ParkedEvent)
	Unpark(at charge.Position) (state.ParkedEvent, bool, error)

	SetBook(version uint64, source []byte)
	Note(name string) []byte
	SetNote(name string, value []byte)
	Notes(prefix string, visit func(name string, value []byte) bool)

	// NextDue is an instant before which no timer is due, zero if there is none.
	// Due returns customers who have a timer that is due, in a fixed order, and
	// Postpone hands those back that were not dealt with.
	NextDue() charge.Instant
	Due(limit int) ([]charge.MSISDN, error)
	Postpone(customers []charge.MSISDN)

	// Bytes estimates what the turn's changes take in a commit.
	Bytes() int
}

var (
	_ State = (*state.Partition)(nil)
	_ State = (*state.Volatile)(nil)
)

// Options of a Machine. All fields but the bounds must be set.
type Options struct {
	Partition  charge.Partition
	Partitions int // how many there are
	State      State

	// Compile makes a book of the text of a version. Machines may share what it
	// returns, and should: it is immutable, and large.
	Compile func(version uint64, source []byte) (*rules.Book, error)

	// Purse has the budgets of rules, if it is set: then no event waits for one,
	// and there are no letters about them. Default: each partition has its share,
	// which grows and shrinks by letters.
	Purse Purse

	// BytesMax and EventsMax bound a turn: its commit, estimated, and how many
	// events it brings to their end. A turn goes beyond by one event at most.
	// Default: no bound worth the name.
	BytesMax  int
	EventsMax int

	// OutcomeBytesMax bounds what one event may do and say, estimated: one that
	// does more is parked. It is part of the answer. Default: BytesMax.
	OutcomeBytesMax int
}

// Purse is where the budgets of rules are if one process judges the events of all
// partitions in one order, as who tries a rulebook out does.
type Purse interface {
	Fund(rule string) rules.Fund
	Spend(rule string, amount money.Amount)
}

// Place is where a machine goes on: how far it has come in the event log, the
// log's clock there, and the rulebook in force.
type Place struct {
	Next    charge.Position // zero: the beginning
	Clock   charge.Instant
	Version uint64
	Book    *rules.Book // nil before the first version
}

// Record is one record of the event log.
type Record struct {
	Sequence charge.Sequence
	Stamp    charge.Instant
	Frame    *journal.Frame

	// Seen are the ids of the frame's events, if somebody has worked them out:
	// they are what takes longest, and may be shared.
	Seen []state.Seen
}

// SeenOf is what a partition remembers of an event to know it again.
func SeenOf(e *charge.Event) state.Seen {
	return state.Seen{Identity: e.Identity(), Content: e.Content(), Money: ledger.IsMoney(e.Type)}
}

// Turn is what a turn came to. It holds until the next one begins.
type Turn struct {
	From, To charge.Position
	Clock    charge.Instant // at its end
	Rulebook uint64         // in force at its end

	Outcomes      []charge.Outcome
	Notifications []charge.Notification
	Alerts        []charge.Alert
	Letters       []journal.Letter
}

// Faults that need a person: tried again, they would be there again.
var (
	ErrTimers     = errors.New("state and timers disagree: stop the program, move the state folder away, and start it again; the state is built from the commit logs")
	ErrNotes      = errors.New("what the partition has noted cannot be read: stop the program, move the state folder away, and start it again; the state is built from the commit logs")
	ErrUnreadable = errors.New("this record is none that this version writes: find out who else writes to the log, or run the version that wrote it")
	ErrLetters    = errors.New("a letter between partitions is missing: restore the commit log of its sender and the event log of its receiver from one backup")
	ErrOrder      = errors.New("the records of the event log are not in order")
)

// Machine runs the turns of one partition. One goroutine uses it:
//
//	Feed → Begin → Run, Feed, Run, … → End → (commit) → Feed → …
//
// After an error it is in no usable state: what it was doing is given up with
// it, and a new one begins where the last commit ended.
type Machine struct {
	opts    Options
	state   State
	judge   Judge
	memory  memory
	queue   queue
	letters map[charge.Partition]*correspondence

	next   charge.Position
	clock  charge.Instant
	record Record
	fed    bool // there is a record, and it has not come to its end

	now     Turn
	joined  bool            // the record is part of this turn
	records int             // that are part of this turn
	steps   int             // of this turn
	events  int             // that ended in this turn
	bytes   int             // estimate of what the turn takes in the commit besides the delta
	fired   int             // estimate of what timers of one customer do and say in a row
	due     []charge.MSISDN // who is due, as far as the turn has asked
}

// commitOverhead is what a commit takes that says nothing.
const commitOverhead = 1 << 10

// New returns a machine that goes on at a place.
func New(opts Options, at Place) (*Machine, error) {
	if opts.BytesMax == 0 {
		opts.BytesMax = 1 << 30
	}
	if opts.EventsMax == 0 {
		opts.EventsMax = 1 << 30
	}
	if opts.OutcomeBytesMax == 0 {
		opts.OutcomeBytesMax = opts.BytesMax
	}
	if at.Next.Sequence == 0 {
		at.Next.Sequence = 1
	}
	m := &Machine{
		opts: opts, state: opts.State, next: at.Next, clock: at.Clock,
		judge: Judge{Book: at.Book, Version: at.Version},
	}
	m.judge.Memory = &m.memory
	if err := errors.Join(m.memory.open(m), m.queue.open(m.state, at.Version), m.openLetters()); err != nil {
		return nil, fmt.Errorf("partition %d: %w: %w", opts.Partition, ErrNotes, err)
	}
	return m, nil
}

// Pending reports whether a record was fed that has not come to its end.
func (m *Machine) Pending() bool { return m.fed }

// Next is the first event that has not been read, as of now.
func (m *Machine) Next() charge.Position { return m.next }

// Clock is the log's clock, as of now.
func (m *Machine) Clock() charge.Instant { return m.clock }

// Book returns the rulebook in force and its version.
func (m *Machine) Book() (*rules.Book, uint64) { return m.judge.Book, m.judge.Version }

// Memory is what the partition remembers of rules, for whoever judges an event
// to see what it would do. It may be read between turns only.
func (m *Machine) Memory() rules.Memory { return &m.memory }

// Held counts the events that wait for an answer, and tells where the oldest of
// them is in the event log.
func (m *Machine) Held() (events int, oldest charge.Position) { return m.queue.events() }

// NextDue is an instant before which time alone brings nothing about; zero if it
// never does. What is due takes effect with the next record.
func (m *Machine) NextDue() charge.Instant {
	return charge.Sooner(m.state.NextDue(), m.queue.deadline())
}

// Feed makes a record the current one. The one before has come to its end.
func (m *Machine) Feed(r Record) error {
	if m.fed || r.Sequence != m.next.Sequence {
		return fmt.Errorf("event log record %d/%d read where %d was expected: %w", m.opts.Partition, r.Sequence, m.next.Sequence, ErrOrder)
	}
	m.record, m.fed, m.joined = r, true, false
	return nil
}

// Begin begins a turn.
func (m *Machine) Begin() {
	t := &m.now
	*t = Turn{
		From: m.next, Outcomes: t.Outcomes[:0], Notifications: t.Notifications[:0], Alerts: t.Alerts[:0], Letters: t.Letters[:0],
	}
	m.joined, m.records, m.steps, m.events, m.bytes = false, 0, 0, 0, commitOverhead
	m.due = m.due[:0]
	m.queue.judged = 0
	m.state.Begin(max(m.clock, m.stamp()))
}

// stamp is the time of the current record, if there is one.
func (m *Machine) stamp() charge.Instant {
	if m.fed {
		return m.record.Stamp
	}
	return 0
}

// End ends the turn: the state holds all that it changed.
func (m *Machine) End() *Turn {
	m.postpone()
	m.state.Ended(m.events)
	m.memory.note(m.state)
	m.now.To, m.now.Clock, m.now.Rulebook = m.next, m.clock, m.judge.Version
	return &m.now
}

// full reports whether the turn has no room for another step.
func (m *Machine) full() bool {
	return m.steps > 0 && (m.steps >= m.opts.EventsMax || m.bytes+m.memory.bytes+m.state.Bytes() >= m.opts.BytesMax)
}

// Run goes on with the current record as far as the turn has room. It returns
// whether the record has come to its end: then the next one may be fed, to this
// turn or another. Otherwise the turn is to be ended.
func (m *Machine) Run() (finished bool, err error) {
	if !m.joined {
		if !m.mayJoin() {
			return false, nil
		}
		m.joined = true
		m.records++
		m.clock = max(m.clock, m.record.Stamp)
		m.state.Advance(m.clock)
	}
	if m.next.Offset == 0 {
		if settled, err := m.settle(); err != nil || !settled {
			return false, err
		}
	}
	switch m.record.Frame.Kind {
	case journal.FrameEvents:
		return m.runEvents()
	case journal.FrameTick: // It moved the clock, that was all.
	case journal.FrameBook:
		return m.runBook()
	case journal.FrameLetter:
		return m.runLetter()
	case journal.FrameRetry, journal.FrameDiscard:
		if m.full() {
			return false, nil
		}
		if err := m.unpark(); err != nil {
			return false, err
		}
	default:
		return false, fmt.Errorf("event log record %d/%d of kind %d: %w", m.opts.Partition, m.record.Sequence, m.record.Frame.Kind, ErrUnreadable)
	}
	m.finish()
	return true, nil
}

// mayJoin reports whether the record may become part of the turn. The first one
// may. One by whose time something is due begins a turn of its own, because the
// state finds those who are due among what earlier turns have set; so does an
// order, which sees the state as it was committed.
func (m *Machine) mayJoin() bool {
	if m.records == 0 {
		return true
	}
	clock := max(m.clock, m.record.Stamp)
	if due := m.NextDue(); due != 0 && due <= clock {
		return false
	}
	switch m.record.Frame.Kind {
	case journal.FrameBook, journal.FrameRetry, journal.FrameDiscard:
		return false
	}
	return !m.full()
}

// finish brings the record to its end.
func (m *Machine) finish() {
	m.tellFailures()
	m.next = charge.Position{Sequence: m.record.Sequence + 1}
	m.record, m.fed = Record{}, false
}

// settle carries out what needs no event: of what is held, the first that need
// not wait any more; if there is none, what is due for the first customer for
// whom something is; and so on until nothing is left, or false: the turn is full.
// While nothing more can be held, what is due stays so until a later record: it
// would be judged as if it had waited for budgets that can still be had.
func (m *Machine) settle() (settled bool, err error) {
	for {
		held := m.queue.ready(m.clock, &m.memory)
		if held == nil && m.queue.full() {
			m.postpone()
			return true, nil
		}
		if held == nil && len(m.due) == 0 {
			if m.due, err = m.state.Due(min(m.opts.EventsMax, dueMax)); err != nil {
				return false, err
			}
			if len(m.due) == 0 {
				return true, nil
			}
		}
		if m.full() {
			return false, nil
		}
		m.steps++
		if held != nil {
			err = m.release(held, held.deadline() <= m.clock)
		} else {
			err = m.fireNext()
		}
		if err != nil {
			return false, err
		}
	}
}

// postpone hands those back for whom something is due, and was not done.
func (m *Machine) postpone() {
	m.state.Postpone(m.due)
	m.due = m.due[:0]
}

// dueMax is how many customers for whom something is due are asked for at a time.
const dueMax = 1024

// fireNext lets happen what is due for the next customer of the list.
func (m *Machine) fireNext() error {
	msisdn := m.due[0]
	m.due = m.due[1:]
	fired, err := m.fire(msisdn)
	if err == nil && !fired && m.queue.judged == 0 { // With what was held goes what is due for its customer.
		err = fmt.Errorf("a timer of %s is due, but nothing happens: %w", msisdn.Masked(), ErrTimers)
	}
	return err
}

// runEvents judges the events of a frame.
func (m *Machine) runEvents() (finished bool, err error) {
	events := m.record.Frame.Events
	if m.judge.Book == nil {
		return false, fmt.Errorf("event log record %d/%d comes before the first rulebook: %w", m.opts.Partition, m.record.Sequence, ErrOrder)
	}
	for int(m.next.Offset) < len(events) {
		if m.full() {
			return false, nil
		}
		m.steps++
		e := &events[m.next.Offset]
		if err := m.event(e, m.seen(e), m.next, false); err != nil {
			return false, err
		}
		m.next.Offset++
	}
	m.finish()
	return true, nil
}

// seen is what makes an event of the record known again.
func (m *Machine) seen(e *charge.Event) state.Seen {
	if m.record.Seen != nil {
		return m.record.Seen[m.next.Offset]
	}
	return SeenOf(e)
}

// runBook puts a rulebook in force, if it is newer than the one that is: first
// the book, then its budgets one by one, then what was held is judged by it.
func (m *Machine) runBook() (finished bool, err error) {
	frame := m.record.Frame
	if m.next.Offset == 0 {
		if frame.Version <= m.judge.Version {
			m.finish()
			return true, nil
		}
		if m.full() {
			return false, nil
		}
		m.steps++
		book, err := m.opts.Compile(frame.Version, frame.Source)
		if err != nil {
			return false, fmt.Errorf("rulebook %d: %w", frame.Version, err)
		}
		m.tellFailures() // They were of the version before.
		m.judge.Book, m.judge.Version = book, frame.Version
		m.memory.adopt(book, frame.Version)
		m.queue.adopt(frame.Version)
		m.state.SetBook(frame.Version, frame.Source)
		m.next.Offset = 1
	}
	for int(m.next.Offset) <= len(m.memory.budgets) {
		if m.full() {
			return false, nil
		}
		m.steps++
		m.adoptBudget(m.memory.budgets[m.next.Offset-1])
		m.next.Offset++
	}
	if settled, err := m.settle(); err != nil || !settled {
		return false, err
	}
	m.finish()
	return true, nil
}

// unpark retries or drops a parked event.
func (m *Machine) unpark() error {
	m.steps++
	parked, found, err := m.state.Unpark(m.record.Frame.Parked)
	if err != nil || !found || m.record.Frame.Kind == journal.FrameDiscard {
		return err
	}
	return m.event(&parked.Event, SeenOf(&parked.Event), parked.Position, true)
}
