package stream

import (
	"context"
	"crypto/sha256"
	"fmt"
	"time"

	"recharged/state/charge"
	"recharged/stream/journal"
	"recharged/stream/turn"
)

// Bounds of one turn. A turn ends when it reaches one of them; what it has not
// read yet, also the rest of a frame, is the next turn's. One event more than
// the budget must still fit in a record: what it does takes a budget at most, its
// customer's row what the machine allows, and turnPayloadShare leaves the room.
const (
	turnEventsMax    = 1024
	turnBytesMax     = 384 << 10 // estimated, of the commit record
	turnPayloadShare = 4         // one part in so many of what a record may hold, if that is less
	payloadHeadroom  = 4 << 10   // of a record, for its headers
	commitDeadline   = 30 * time.Second
	commitGrace      = 2 * time.Second // of commitDeadline, once the processor stops
)

// turn runs one turn: it waits for a record unless the last one was not read to
// its end, has what has arrived judged, commits, and folds the commit.
func (o *owner) turn(ctx context.Context) error {
	if !o.machine.Pending() {
		record, err := o.reader.Next(ctx)
		if err != nil {
			return err
		}
		if err := o.feed(record); err != nil {
			return err
		}
	}
	begin := time.Now()
	o.machine.Begin()
	if err := o.judgeArrived(); err != nil {
		return err
	}
	t := o.machine.End()
	o.metrics.stage("decide", time.Since(begin))
	return o.commit(ctx, t)
}

// judgeArrived has what has arrived judged, record by record, until nothing is
// left or the turn is full.
func (o *owner) judgeArrived() error {
	for {
		finished, err := o.machine.Run()
		if err != nil {
			return err
		}
		if finished || o.machine.Next().Offset > 0 {
			o.position.Read = o.record.Anchor(o.created.events) // The last one that was touched.
		}
		if !finished {
			return nil
		}
		record, ok, err := o.reader.TryNext()
		if err != nil || !ok {
			return err
		}
		if err := o.feed(record); err != nil {
			return err
		}
	}
}

// feed makes a record the machine's current one.
func (o *owner) feed(record journal.Record) error {
	frame, err := journal.DecodeFrame(record.Data)
	if err != nil {
		return fmt.Errorf("event log record %d/%d: %w: %w", o.id, record.Sequence, turn.ErrUnreadable, err)
	}
	if ahead := time.Until(record.Stamp.Time()); ahead > clockAheadMax {
		return fmt.Errorf("event log record %d/%d, %v ahead: %w", o.id, record.Sequence, ahead.Round(time.Second), errEarly)
	}
	o.record = record
	o.metrics.stage("read", max(0, time.Since(record.Stamp.Time())))
	return o.machine.Feed(turn.Record{Sequence: record.Sequence, Stamp: record.Stamp, Frame: &frame})
}

// commit makes the turn durable, then visible: the commit log first, then the
// state, then whoever watches. A turn that changed nothing but the position is
// committed as well: it is the position.
func (o *owner) commit(ctx context.Context, t *turn.Turn) error {
	begin := time.Now()
	o.position.Next, o.position.Clock, o.position.Rulebook = t.To, t.Clock, t.Rulebook
	record := journal.Commit{
		Kind: journal.CommitTurn, Partition: o.id, Epoch: o.position.Epoch, Node: o.node,
		Previous: o.position.Chain, From: t.From, To: t.To, Read: o.position.Read,
		Clock: t.Clock, Rulebook: t.Rulebook,
		Outcomes: t.Outcomes, Notifications: t.Notifications, Alerts: t.Alerts, Letters: t.Letters,
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
