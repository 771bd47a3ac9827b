package stream

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"strconv"
	"time"

	"recharged/rules"
	"recharged/state"
	"recharged/state/charge"
	"recharged/state/ledger"
	"recharged/stream/journal"
)

// Bounds of one turn. A turn ends when it reaches one of them; what it has not
// read yet, also the rest of a frame, is the next turn's. One event more than
// the budget must still fit in a record: what it does takes a budget at most, its
// customer's row customerBytesMax, and turnPayloadShare leaves the room.
const (
	turnEventsMax    = 1024
	turnTimersMax    = 128       // few, so that a wave of expiries leaves room for events
	turnBytesMax     = 384 << 10 // estimated, of the commit record
	turnPayloadShare = 4         // one part in so many of what a record may hold, if that is less
	payloadHeadroom  = 4 << 10   // of a record, for its headers
	customerBytesMax = 48 << 10  // estimated; an event that would make a customer's row larger is parked
	commitOverhead   = 1 << 10
	commitDeadline   = 30 * time.Second
	commitGrace      = 2 * time.Second // of commitDeadline, once the processor stops
)

// turn is what one turn has decided so far.
type turn struct {
	outcomes      []charge.Outcome
	notifications []charge.Notification
	alerts        []charge.Alert
	events        int // that ended in this turn
	bytes         int // estimate of what the outcomes and outputs take in the commit
	from          charge.Position
}

func (t *turn) reset(from charge.Position) {
	t.outcomes = t.outcomes[:0]
	t.notifications = t.notifications[:0]
	t.alerts = t.alerts[:0]
	t.events, t.bytes, t.from = 0, commitOverhead, from
}

// full reports whether the turn has no room for another event.
func (o *owner) full() bool {
	return o.now.events >= turnEventsMax || o.now.bytes+o.state.Bytes() >= o.budget
}

// turn runs one turn: it waits for a record unless timers are overdue, judges
// what has arrived, commits, and folds the commit.
func (o *owner) turn(ctx context.Context) error {
	if !o.overdue() && o.frame == nil {
		if err := o.await(ctx); err != nil {
			return err
		}
	}
	decideStart := time.Now()
	o.now.reset(o.position.Next)
	if o.frame != nil {
		o.advance()
	}
	o.state.Begin(o.position.Clock)
	if err := o.fireTimers(); err != nil {
		return err
	}
	if err := o.judgeArrived(); err != nil {
		return err
	}
	o.metrics.stage("decide", time.Since(decideStart))
	return o.commit(ctx)
}

// overdue reports whether timers are due that the last turn had no room for.
func (o *owner) overdue() bool {
	due := o.state.NextDue()
	return due != 0 && due <= o.position.Clock
}

// await waits for the next record and makes it the current frame.
func (o *owner) await(ctx context.Context) error {
	record, err := o.reader.Next(ctx)
	if err != nil {
		return err
	}
	return o.open(record)
}

// open makes a record the current frame.
func (o *owner) open(record journal.Record) error {
	frame, err := journal.DecodeFrame(record.Data)
	if err != nil {
		return fmt.Errorf("event log record %d/%d: %w: %w", o.id, record.Sequence, errUnreadable, err)
	}
	if record.Sequence != o.position.Next.Sequence {
		return fmt.Errorf("event log record %d/%d read where %d was expected", o.id, record.Sequence, o.position.Next.Sequence)
	}
	if ahead := time.Until(record.Stamp.Time()); ahead > clockAheadMax {
		return fmt.Errorf("event log record %d/%d, %v ahead: %w", o.id, record.Sequence, ahead.Round(time.Second), errEarly)
	}
	o.frame, o.record = &frame, record
	o.metrics.stage("read", max(0, time.Since(record.Stamp.Time())))
	return nil
}

// advance moves the log's clock on to the current record; it never goes back.
func (o *owner) advance() {
	if o.record.Stamp > o.position.Clock {
		o.position.Clock = o.record.Stamp
	}
	o.state.Advance(o.position.Clock)
}

// fireTimers posts what has expired by the clock, as far as there is room.
func (o *owner) fireTimers() error {
	if !o.overdue() {
		return nil
	}
	due, err := o.state.Due(turnTimersMax)
	if err != nil {
		return err
	}
	for i, m := range due {
		if o.full() {
			o.state.Postpone(due[i:])
			return nil
		}
		expired, err := o.expire(m)
		if err != nil {
			return err
		}
		if !expired {
			return fmt.Errorf("a timer of %s is due, but nothing expires: %w", m.Masked(), errTimers)
		}
	}
	return nil
}

// expire posts what has expired of a customer by the clock, an outcome for each
// instant at which something did: so it does not matter when a turn looks.
func (o *owner) expire(m charge.MSISDN) (expired bool, err error) {
	for {
		customer, _, err := o.state.Customer(m)
		if err != nil {
			return expired, err
		}
		outcome, ok := o.judge.expire(customer, o.position.Clock)
		if !ok {
			return expired, nil
		}
		o.state.Put(&o.judge.after, o.judge.unit)
		o.conclude(outcome, said{})
		expired = true
	}
}

// judgeArrived judges what has arrived, frame by frame, until nothing is left
// or the turn is full. A frame that is no events begins a turn of its own, so
// that it sees the state as committed.
func (o *owner) judgeArrived() error {
	for first := true; ; first = false {
		if o.frame == nil {
			record, ok, err := o.reader.TryNext()
			if err != nil || !ok {
				return err
			}
			if err := o.open(record); err != nil {
				return err
			}
		}
		if o.frame.Kind != journal.FrameEvents {
			if !first || len(o.now.outcomes) > 0 {
				return nil
			}
			o.advance()
			return o.control()
		}
		o.advance()
		if o.judge.book == nil {
			return fmt.Errorf("event log record %d/%d comes before the first rulebook", o.id, o.record.Sequence)
		}
		for int(o.position.Next.Offset) < len(o.frame.Events) {
			if o.full() {
				return nil
			}
			e := &o.frame.Events[o.position.Next.Offset]
			if err := o.judgeEvent(e, o.position.Next, false); err != nil {
				return err
			}
			o.position.Next.Offset++
		}
		o.finishFrame()
	}
}

// finishFrame moves the position behind the current record.
func (o *owner) finishFrame() {
	o.position.Next = charge.Position{Sequence: o.record.Sequence + 1}
	o.touch()
	o.frame = nil
}

// touch remembers the current record as the last one read.
func (o *owner) touch() { o.position.Read = o.record.Anchor(o.created.events) }

// judgeEvent brings one event to its end: applied, duplicate or parked. again
// says that it was parked before, and is not to be taken for its own repeat.
func (o *owner) judgeEvent(e *charge.Event, at charge.Position, again bool) error {
	if _, err := o.expire(e.MSISDN); err != nil {
		return err
	}
	customer, _, err := o.state.Customer(e.MSISDN)
	if err != nil {
		return err
	}
	o.now.events++
	seen := state.Seen{Identity: e.Identity(), Content: e.Content(), Money: ledger.IsMoney(e.Type)}
	content, known, err := o.state.Seen(e.MSISDN, seen.Identity)
	if err != nil {
		return err
	}
	if known && !again {
		return o.repeat(customer, e, at, seen, content == seen.Content)
	}
	outcome, s, refusal := o.judge.event(customer, e, o.position.Clock)
	if refusal == nil {
		refusal = o.oversize(&outcome, s)
	}
	if refusal != nil {
		outcome, s = o.park(e, at, refusal.Reason, refusal.Detail), said{}
		o.judge.after.CopyFrom(customer)
	}
	return o.keep(outcome, s, at, seen, !known)
}

// oversize refuses what would not fit: into the customer's row, or into a
// record of the commit log.
func (o *owner) oversize(outcome *charge.Outcome, s said) *ledger.Refusal {
	switch {
	case state.RowBytes(&o.judge.after) > customerBytesMax:
		return &ledger.Refusal{Reason: charge.Overflow, Detail: "the customer's record would grow beyond its limit"}
	case outcomeBytes(outcome, s) > o.budget:
		return &ledger.Refusal{Reason: charge.Overflow, Detail: "so many rules apply that what they do and say does not fit in one record"}
	}
	return nil
}

// keep puts the customer as the event left it, and its outcome, into the turn.
func (o *owner) keep(outcome charge.Outcome, s said, at charge.Position, seen state.Seen, remember bool) error {
	if remember {
		if err := o.state.Remember(&o.judge.after, seen, o.mayForget); err != nil {
			return err
		}
	}
	o.state.Put(&o.judge.after, o.judge.unit)
	outcome.Position = at
	o.conclude(outcome, s)
	return nil
}

// repeat ends an event whose id was seen before. With other content it is
// parked, once: its id and content together are remembered like an id.
func (o *owner) repeat(customer *charge.Customer, e *charge.Event, at charge.Position, seen state.Seen, same bool) error {
	outcome := o.judge.outcome(e, o.position.Clock, charge.Duplicate)
	outcome.Position = at
	if same {
		o.conclude(outcome, said{})
		return nil
	}
	conflict := seen
	binary.BigEndian.PutUint64(conflict.Identity[8:], binary.BigEndian.Uint64(seen.Identity[8:])^seen.Content)
	_, known, err := o.state.Seen(e.MSISDN, conflict.Identity)
	if err != nil {
		return err
	}
	if known {
		o.conclude(outcome, said{})
		return nil
	}
	outcome = o.park(e, at, charge.IDConflict, "an event of this source and id came before with other content; send corrections under an id of their own")
	o.judge.after.CopyFrom(customer)
	return o.keep(outcome, said{}, at, conflict, true)
}

// park sets an event aside and returns its outcome.
func (o *owner) park(e *charge.Event, at charge.Position, reason charge.ParkReason, detail string) charge.Outcome {
	o.state.Park(&state.ParkedEvent{
		Partition: o.id, Position: at, Event: *e, Reason: reason, Detail: detail, At: o.position.Clock,
	})
	o.now.bytes += eventBytes(e)
	outcome := o.judge.outcome(e, o.position.Clock, charge.Parked)
	outcome.Reason, outcome.Detail = string(reason), detail
	return outcome
}

// conclude adds an outcome, and what is to be said, to the turn.
func (o *owner) conclude(outcome charge.Outcome, s said) {
	o.state.Post(outcome.Postings)
	o.state.Index(outcome.MSISDN, len(o.now.outcomes))
	o.now.outcomes = append(o.now.outcomes, outcome)
	o.now.notifications = append(o.now.notifications, s.notifications...)
	o.now.alerts = append(o.now.alerts, s.alerts...)
	o.now.bytes += outcomeBytes(&outcome, s)
}

func (o *owner) mayForget(newer uint64, at charge.Instant, ofMoney bool) bool {
	return o.judge.book.Plan().MayForget(newer, at, o.position.Clock, ofMoney)
}

// control carries out a record that is no event.
func (o *owner) control() error {
	switch o.frame.Kind {
	case journal.FrameTick: // It moved the clock, that was all.
	case journal.FrameBook:
		if err := o.adopt(o.frame.Version, o.frame.Source); err != nil {
			return err
		}
	case journal.FrameRetry, journal.FrameDiscard:
		parked, found, err := o.state.Unpark(o.frame.Parked)
		if err != nil {
			return err
		}
		if found && o.frame.Kind == journal.FrameRetry {
			if err := o.judgeEvent(&parked.Event, parked.Position, true); err != nil {
				return err
			}
			o.now.events-- // It was counted when it was parked.
		}
	default:
		return fmt.Errorf("event log record %d/%d of kind %d: %w", o.id, o.record.Sequence, o.frame.Kind, errUnreadable)
	}
	o.finishFrame()
	return nil
}

// adopt puts a rulebook in force, if it is newer than the one that is.
func (o *owner) adopt(version uint64, source []byte) error {
	if version <= o.judge.version {
		return nil
	}
	book, problems := rules.Load(rules.File{Name: "rulebook-" + strconv.FormatUint(version, 10), Data: source})
	if book == nil {
		return fmt.Errorf("rulebook %d: %w: %w", version, errBook, problems)
	}
	o.judge.book, o.judge.version = book, version
	o.position.Rulebook = version
	o.state.SetBook(version, source)
	return nil
}

// commit makes the turn durable, then visible: the commit log first, then the
// state, then whoever watches. A turn that changed nothing but the position is
// committed as well: it is the position.
func (o *owner) commit(ctx context.Context) error {
	begin := time.Now()
	if o.frame != nil && o.position.Next.Offset > 0 {
		o.touch() // The turn ends within this record.
	}
	o.state.Ended(o.now.events)
	record := journal.Commit{
		Kind: journal.CommitTurn, Partition: o.id, Epoch: o.position.Epoch, Node: o.node,
		Previous: o.position.Chain, From: o.now.from, To: o.position.Next, Read: o.position.Read,
		Clock: o.position.Clock, Rulebook: o.position.Rulebook,
		Outcomes: o.now.outcomes, Notifications: o.now.notifications, Alerts: o.now.alerts,
		Delta: o.state.Delta(),
	}
	if err := o.appendCommit(ctx, &record); err != nil {
		return err
	}
	if err := o.state.Applied(o.position.Commit.Sequence, o.position.append(nil)); err != nil {
		return err
	}
	o.metrics.stage("commit", time.Since(begin))
	o.publish(&record)
	return nil
}

// appendCommit appends a commit record behind the last one, and nowhere else. A
// turn that was decided is brought to its end also when the processor stops, as
// far as that takes no time to speak of.
func (o *owner) appendCommit(ctx context.Context, record *journal.Commit) error {
	commit, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitDeadline)
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(commitGrace, cancel) })()
	o.buffer = record.Append(o.buffer[:0])
	if len(o.buffer) > o.payload-payloadHeadroom {
		return fmt.Errorf("commit %d/%d has %d bytes, %d are allowed: %w", o.id, o.position.Commit.Sequence+1, len(o.buffer), o.payload, errOversize)
	}
	appended, err := o.commits.AppendAt(commit, o.buffer, o.position.Commit.Sequence)
	if err != nil {
		return fmt.Errorf("append commit %d/%d: %w", o.id, o.position.Commit.Sequence+1, err)
	}
	o.position.Chain = sha256.Sum256(o.buffer)
	o.position.Commit = commitAnchor(o.created.commits, appended.Sequence, o.position.Chain)
	return nil
}

// commitAnchor names a commit. Its hash says enough: it covers the epoch and
// the whole chain before.
func commitAnchor(created charge.Instant, sequence charge.Sequence, chain [32]byte) journal.Anchor {
	a := journal.Anchor{Created: created, Sequence: sequence}
	copy(a.Hash[:], chain[:])
	return a
}

// Estimates of encoded sizes: generous, so that a turn stops in time.

func outcomeBytes(o *charge.Outcome, s said) int {
	const outcome, posting, result, message = 160, 64, 24, 96
	n := outcome + len(o.EventID) + len(o.Source) + len(o.Detail) +
		posting*len(o.Postings)
	for i := range o.Postings {
		n += len(o.Postings[i].Balance) + len(o.Postings[i].Account) + len(o.Postings[i].Cause)
	}
	for i := range o.Rules {
		n += result + len(o.Rules[i].Name) + len(o.Rules[i].Detail)
	}
	for i := range s.notifications {
		m := &s.notifications[i]
		n += message + len(m.Text) + len(m.EventID) + len(m.Source) + len(m.Rule) + len(m.Template)
	}
	for i := range s.alerts {
		a := &s.alerts[i]
		n += message + len(a.Name) + len(a.Summary)
		for _, l := range a.Labels {
			n += 4 + len(l.Name) + len(l.Value)
		}
	}
	return n
}

func eventBytes(e *charge.Event) int {
	n := 64 + len(e.ID) + len(e.Source) + len(e.Extra)
	for i := range e.Fields {
		n += state.FieldBytes(&e.Fields[i])
	}
	return n
}
