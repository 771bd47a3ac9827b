package stream

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync/atomic"
	"time"

	"recharged/rules"
	"recharged/state"
	"recharged/state/charge"
	"recharged/state/money"
	"recharged/stream/journal"
	"recharged/stream/turn"
)

// owner runs one partition: it alone reads the partition's event log, appends
// to its commit log, and changes its state. One goroutine runs it; others see
// it through its standing only.
//
// Opening a partition goes, in this order:
//
//  1. the stored position, from the same batch as the state;
//  2. the commit log must hold the commit that the position names: else halt;
//  3. the rest of the commit log is folded, each commit naming the hash of the
//     one before;
//  4. the event log must hold the record that was read last: else halt;
//  5. a claim with a higher epoch is appended behind the last commit: from here
//     on an older owner's commits are refused;
//  6. reading starts at the first event that no commit covers.
//
// Nothing is computed again: what was committed is folded as it was decided.
type owner struct {
	id      charge.Partition
	node    string
	count   int // of partitions
	store   *state.Store
	events  *journal.Log
	commits *journal.Log
	created struct{ events, commits charge.Instant } // when the two streams were
	logger  *slog.Logger
	metrics *Metrics
	payload int                                    // what a record may hold, in bytes
	newest  func() uint64                          // newest rulebook version that was published
	shelved atomic.Uint64                          // newest one that this process put into the event log
	room    func(context.Context) error            // waits until there is room on the disk for a turn
	watch   func(*journal.Commit, charge.Sequence) // told of each commit after it was folded

	compile func(version uint64, source []byte) (*rules.Book, error)

	position position
	state    *state.Partition
	machine  *turn.Machine
	reader   *journal.Reader
	record   journal.Record // that the machine was fed last
	buffer   []byte

	standing standing
}

// standing is what others may know of an owner, at any time.
type standing struct {
	health   atomic.Pointer[Health]
	next     atomic.Uint64 // sequence of the first record not yet read to its end
	events   atomic.Uint64 // events that ended, ever
	accepted atomic.Uint64 // events that were accepted here, and those that had ended before
	due      atomic.Int64  // when time alone brings something about
	held     atomic.Uint64 // events that wait for a budget
	heldFrom atomic.Uint64 // sequence of the first record of which one is held; zero: none is
	rulebook atomic.Uint64
	parked   atomic.Pointer[map[string]uint64]
	holding  atomic.Uint64 // customers

	imbalance atomic.Pointer[map[string]money.Sum]
}

// Health is how a partition is doing.
type Health struct {
	State  State
	Reason string // why it is not running, and what to do
	Since  time.Time
}

// State of a partition.
type State string

// The states. A halted partition stays so until somebody has dealt with the
// reason and restarted the process; a recovering one is tried again by itself.
const (
	Starting   State = "starting"
	Running    State = "running"
	Recovering State = "recovering"
	Halted     State = "halted"
)

// Bounds of the wait before a partition is opened again.
const (
	reopenMin = 100 * time.Millisecond
	reopenMax = 5 * time.Second
)

// run keeps the partition going until ctx ends or the partition must halt.
func (o *owner) run(ctx context.Context) {
	wait := reopenMin
	for {
		begin := time.Now()
		err := o.session(ctx)
		if ctx.Err() != nil {
			return
		}
		if halts(err) {
			o.report(Halted, err)
			o.logger.Error("partition halted; the others go on", "partition", o.id, "reason", err)
			return
		}
		if time.Since(begin) > reopenMax {
			wait = reopenMin
		}
		o.interrupt(err)
		o.logger.Warn("partition interrupted, opening it again", "partition", o.id, "reason", err, "wait", wait)
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		wait = min(2*wait, reopenMax)
	}
}

// Faults that need a person: tried again, they would be there again.
var (
	errChain    = errors.New("the commit log's hash chain is broken: restore the log from a backup")
	errBook     = errors.New("the rulebook in force does not load in this version: run the version that published it")
	errNoBook   = errors.New("the rulebook in force is newer than any that was published: the log of the rulebooks lost its end; restore it from a backup")
	errOversize = errors.New("what one event does is larger than a record may be: raise max_payload of the NATS server")
	errPanic    = errors.New("a defect of this program; report it with what follows. Nothing was committed")
)

// errEarly says that the log's clock is far ahead of this machine's. It passes.
var errEarly = errors.New("this record is stamped in the future: its effect waits, for it would make everything expire that is dated until then; check the clocks")

// clockAheadMax is how far a record's timestamp may be ahead of the clock here.
const clockAheadMax = time.Hour

// halts reports whether an error needs a person: the logs are not what the
// state knows, or somebody else owns the partition.
func halts(err error) bool {
	var discontinuity *journal.Discontinuity
	if errors.As(err, &discontinuity) {
		return true
	}
	for _, fault := range []error{
		journal.ErrConflict, state.ErrDamaged, errPosition, errChain, errBook, errNoBook, errOversize, errPanic,
		turn.ErrUnreadable, turn.ErrTimers, turn.ErrNotes, turn.ErrLetters,
	} {
		if errors.Is(err, fault) {
			return true
		}
	}
	return false
}

func (o *owner) report(s State, err error) {
	h := Health{State: s, Since: time.Now()}
	if err != nil {
		h.Reason = err.Error()
	}
	if errors.Is(err, journal.ErrConflict) {
		h.Reason = "another process has taken this partition over and this one has stopped working on it; stop one of the two and restart the other (" + h.Reason + ")"
	}
	o.standing.health.Store(&h)
}

// interrupt reports an error that may pass, keeping the time of the first one.
func (o *owner) interrupt(err error) {
	was := o.standing.health.Load()
	o.report(Recovering, err)
	if was.State == Recovering {
		h := *o.standing.health.Load()
		h.Since = was.Since
		o.standing.health.Store(&h)
	}
}

// session opens the partition and runs turns until something goes wrong. What
// a failed turn left in memory is given up with the session. A panic ends this
// partition and no other: it would come again at every start.
func (o *owner) session(ctx context.Context) (err error) {
	defer func() {
		if reason := recover(); reason != nil {
			err = fmt.Errorf("%w: %v\n%s", errPanic, reason, debug.Stack())
		}
	}()
	if err := o.openPartition(ctx); err != nil {
		return err
	}
	defer o.reader.Close()
	defer func() { err = errors.Join(err, o.state.Release()) }()
	o.report(Running, nil)
	for {
		if err := o.room(ctx); err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := o.turn(ctx); err != nil {
			return err
		}
	}
}

func (o *owner) openPartition(ctx context.Context) error {
	row, err := o.store.Position(o.id)
	if err != nil {
		return err
	}
	if o.position, err = decodePosition(row); err != nil {
		return fmt.Errorf("open partition %d: %w", o.id, err)
	}
	if o.created.commits, err = createLog(ctx, o.commits, o.position.Commit); err != nil {
		return err
	}
	if err := o.take(ctx); err != nil {
		return err
	}
	if o.position.Rulebook > o.newest() {
		return fmt.Errorf("partition %d has rulebook %d, the newest published is %d: %w", o.id, o.position.Rulebook, o.newest(), errNoBook)
	}
	if o.created.events, err = createLog(ctx, o.events, o.position.Read); err != nil {
		return err
	}
	if o.state, err = o.store.Own(o.id, o.count); err != nil {
		return err
	}
	if err := o.openMachine(); err != nil {
		return err
	}
	o.standing.accepted.CompareAndSwap(0, o.state.Tally().Events)
	o.showStanding()
	o.reader, err = o.events.Read(ctx, o.position.Next.Sequence)
	return err
}

// createLog makes sure that a log exists and goes on where the anchor says. A
// log of which something was read before is never created anew.
func createLog(ctx context.Context, log *journal.Log, known journal.Anchor) (created charge.Instant, err error) {
	if known.Sequence == 0 {
		if err := log.Create(ctx); err != nil {
			return 0, err
		}
	}
	if err := log.Check(ctx, known); err != nil {
		return 0, err
	}
	info, err := log.Info(ctx)
	return info.Created, err
}

// take folds what the state has not seen and claims the partition behind it. An
// owner before, who is still at work, may append in between: then there is more
// to fold.
func (o *owner) take(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, commitDeadline)
	defer cancel()
	for {
		if err := o.foldRest(ctx); err != nil {
			return err
		}
		epoch := o.position.Epoch
		err := o.claim(ctx)
		if !errors.Is(err, journal.ErrConflict) || ctx.Err() != nil {
			return err
		}
		o.position.Epoch = epoch
	}
}

// foldRest folds the commits that the state has not seen.
func (o *owner) foldRest(ctx context.Context) error {
	info, err := o.commits.Info(ctx)
	if err != nil {
		return err
	}
	from := o.position.Commit.Sequence + 1
	if info.Last < from {
		return nil
	}
	reader, err := o.commits.Read(ctx, from)
	if err != nil {
		return err
	}
	defer reader.Close()
	begin := time.Now()
	for sequence := from; sequence <= info.Last; sequence++ {
		record, err := reader.Next(ctx)
		if err != nil {
			return err
		}
		if err := o.fold(record); err != nil {
			return err
		}
	}
	o.logger.Info("folded the rest of the commit log", "partition", o.id,
		"commits", info.Last-from+1, "took", time.Since(begin).Round(time.Millisecond))
	return nil
}

// fold applies one commit that was decided earlier.
func (o *owner) fold(record journal.Record) error {
	commit, err := journal.DecodeCommit(record.Data)
	if err != nil {
		return fmt.Errorf("commit %d/%d: %w: %w", o.id, record.Sequence, turn.ErrUnreadable, err)
	}
	if commit.Previous != o.position.Chain {
		return fmt.Errorf("commit %d/%d: %w", o.id, record.Sequence, errChain)
	}
	o.position.Chain = sha256.Sum256(record.Data)
	o.position.Commit = commitAnchor(o.created.commits, record.Sequence, o.position.Chain)
	o.position.Next, o.position.Read = commit.To, commit.Read
	o.position.Clock, o.position.Rulebook = commit.Clock, commit.Rulebook
	o.position.Epoch = commit.Epoch
	return o.store.Fold(o.id, record.Sequence, commit.Delta, o.position.append(nil))
}

// claim appends a record of a higher epoch behind the last commit.
func (o *owner) claim(ctx context.Context) error {
	o.position.Epoch++
	record := journal.Commit{
		Kind: journal.CommitClaim, Partition: o.id, Epoch: o.position.Epoch, Node: o.node,
		Previous: o.position.Chain, From: o.position.Next, To: o.position.Next, Read: o.position.Read,
		Clock: o.position.Clock, Rulebook: o.position.Rulebook,
	}
	if err := o.appendCommit(ctx, &record); err != nil {
		return err
	}
	return o.store.Fold(o.id, o.position.Commit.Sequence, nil, o.position.append(nil))
}

// openMachine makes the machine that goes on where the commits end.
func (o *owner) openMachine() error {
	at := turn.Place{Next: o.position.Next, Clock: o.position.Clock}
	version, source, err := o.store.Book(o.id)
	if err != nil {
		return err
	}
	if version != 0 {
		if at.Book, err = o.compile(version, source); err != nil {
			return fmt.Errorf("rulebook %d: %w", version, err)
		}
		at.Version = version
	}
	o.machine, err = turn.New(turn.Options{
		Partition: o.id, Partitions: o.count, State: o.state, Compile: o.compile,
		BytesMax: turnBytes(o.payload), EventsMax: turnEventsMax,
	}, at)
	return err
}

// publish shows a commit that was made and folded.
func (o *owner) publish(commit *journal.Commit) {
	o.showStanding()
	o.metrics.commit(commit)
	o.watch(commit, o.position.Commit.Sequence)
}

// showStanding shows how far the partition has come. What is held goes first: who
// sees that a record was read must not miss that its events are held. For this to
// hold, who reads goes the other way round.
func (o *owner) showStanding() {
	tally := o.state.Tally()
	held, oldest := o.machine.Held()
	o.standing.held.Store(uint64(held))
	o.standing.heldFrom.Store(uint64(oldest.Sequence))
	o.standing.next.Store(uint64(o.position.Next.Sequence))
	o.standing.events.Store(tally.Events)
	o.standing.holding.Store(tally.Customers)
	o.standing.parked.Store(&tally.Parked)
	imbalance := o.state.Imbalance()
	o.standing.imbalance.Store(&imbalance)
	o.standing.due.Store(int64(o.machine.NextDue()))
	o.standing.rulebook.Store(o.position.Rulebook)
}

// tick appends a clock tick whenever something is due and no event comes to move
// the log's clock. It waits until the last tick was read: one is enough.
func (o *owner) tick(ctx context.Context) {
	ticker := time.NewTicker(tickEvery)
	defer ticker.Stop()
	frame := journal.Frame{Kind: journal.FrameTick}
	payload := frame.Append(nil)
	var last charge.Sequence
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		due := o.standing.due.Load()
		if due == 0 || due > time.Now().UnixNano() || o.standing.next.Load() <= uint64(last) {
			continue
		}
		if h := o.standing.health.Load(); h.State != Running {
			continue
		}
		if o.room(ctx) != nil {
			return
		}
		appended, err := o.events.Append(ctx, payload, "")
		if err == nil {
			last = appended
		} else if ctx.Err() == nil {
			o.logger.Warn("clock tick not written", "partition", o.id, "reason", err)
		}
	}
}

// tickEvery bounds how late an expiry is posted when no event comes.
const tickEvery = time.Second
