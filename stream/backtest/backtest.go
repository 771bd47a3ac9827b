// Package backtest replays the event logs of all partitions under two rulebooks:
// the live one, as it was, and a draft. It says what the draft would have cost,
// whom it would have reached, and what would have been different.
//
// It promises that both sides are judged by the machine that judges the real
// events, turn.Machine, and so that the live side comes to what was committed,
// to the last bit: it obeys the versions of the rulebook and the letters between
// partitions that the log holds. The draft side has the customers that the live
// side has at the beginning of the window, and from there on the draft alone.
// The same logs, draft and window give the same result. It refuses to know the
// state of the running partitions, and it writes nothing.
//
// # How it runs
//
//	log of partition 0 ─ read, decode ─┐                ┌─ live side:  a machine a partition
//	log of partition 1 ─ read, decode ─┼─ merge by time ┤
//	…                                  ┘                └─ draft side: a machine a partition, one purse
//
// Each frame is decoded once; the sides share it and only read it. The logs are
// merged by the stamps of their records, then by partition: that is the order in
// which the draft's budgets are spent, of which there is one for all partitions.
// So no event of the draft side ever waits for a budget. Before the window the
// live side runs alone; then its state is copied.
//
// # What the draft side does not know
//
// What customers would have done otherwise: who gets a bonus uses more, who does
// not may leave. A rule that keeps failing is not suspended there; its failures
// are in its results.
package backtest

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"

	"recharged/rules"
	"recharged/state/charge"
	"recharged/stream/journal"
	"recharged/stream/turn"
)

// Options of Run. Logs, Draft and Compile must be set.
type Options struct {
	Logs  []*journal.Log // the event log of each partition
	Draft *rules.Book

	// Version is the number that the draft goes by: higher than any in the logs.
	// Default: the highest there is.
	Version uint64

	// Compile makes a book of the text of a version in the logs.
	Compile func(version uint64, source []byte) (*rules.Book, error)

	// OutcomeBytesMax is the bound of the live partitions on what one event may do
	// and say. It is part of the answer. Default 256 KiB.
	OutcomeBytesMax int

	// From and To bound the window by the time at which records were accepted:
	// what was accepted at From is the first that counts, what was accepted at To
	// is not read. Zero: the beginning and the present end of the logs.
	From, To charge.Instant

	// BytesMax is how much memory a run may take, estimated, before it is given up
	// with a *TooLarge. Too little refuses long windows and many customers; what
	// is too much is taken from the live partitions. Default 2 GiB.
	BytesMax int

	// Yield is called by several goroutines, each time when one has worked for a
	// part of a millisecond or a few. Default: runtime.Gosched, which lets others
	// go first who wait.
	Yield func()

	// Progress, if set, is kept up to date.
	Progress *Progress

	watch func(side string, p charge.Partition, t *turn.Turn) // of tests: is shown each turn
	leave func(live, draft *side)                             // of tests: is shown the sides at the end
}

const (
	bytesMaxDefault        = 2 << 30
	outcomeBytesMaxDefault = 256 << 10
)

// Progress is how far a run has come. It may be read while the run goes on.
type Progress struct {
	Total  atomic.Uint64 // records to be read; zero: not known yet
	Done   atomic.Uint64 // records that both sides are done with, or the live side before the window
	Events atomic.Uint64 // events in them
}

// TooLarge is the error of a run that takes more memory than it may.
type TooLarge struct{ Bytes, Max, Customers int }

func (e *TooLarge) Error() string {
	return fmt.Sprintf("the backtest takes more memory than it may: about %d MiB for %d customers, and the limit is %d MiB: choose an earlier end of the window, or raise the limit",
		e.Bytes>>20, e.Customers, e.Max>>20)
}

// ErrBegun says that a log has lost its beginning, and with it what customers
// had.
var ErrBegun = errors.New("the event log does not begin with its first record any more, so nobody knows what customers had then")

var errPanic = errors.New("a defect of this program; report it with what follows")

// Run replays the logs. It ends early when ctx does.
func Run(ctx context.Context, opts Options) (*Result, error) {
	if opts.Version == 0 {
		opts.Version = 1<<64 - 1
	}
	if opts.BytesMax == 0 {
		opts.BytesMax = bytesMaxDefault
	}
	if opts.OutcomeBytesMax == 0 {
		opts.OutcomeBytesMax = outcomeBytesMaxDefault
	}
	if opts.Yield == nil {
		opts.Yield = runtime.Gosched
	}
	if opts.Progress == nil {
		opts.Progress = &Progress{}
	}
	r := &run{opts: &opts, forked: make(chan struct{})}
	if err := r.execute(ctx); err != nil {
		return nil, err
	}
	if opts.leave != nil {
		opts.leave(r.live, r.draft)
	}
	return r.result()
}

// run is a backtest under way.
type run struct {
	opts        *Options
	live, draft *side
	forked      chan struct{} // closed when the draft side has its customers

	windows struct{ first, last charge.Instant } // of the records that count
}

// chunksAhead is how many chunks wait for a side.
const chunksAhead = 2

// execute runs the readers, the merger and the sides, each in a goroutine of its
// own, until all have ended.
func (r *run) execute(ctx context.Context) error {
	ranges, err := r.ranges(ctx)
	if err != nil {
		return err
	}
	if r.live, err = newSide(r.opts); err != nil {
		return err
	}
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	var all sync.WaitGroup
	start := func(what func() error) {
		all.Go(func() {
			defer func() {
				if reason := recover(); reason != nil { // It must not end the partitions that run beside it.
					fail(fmt.Errorf("%w: %v\n%s", errPanic, reason, debug.Stack()))
				}
			}()
			if err := what(); err != nil {
				fail(err)
			}
		})
	}
	readers := make([]*reader, len(ranges))
	for p := range ranges {
		readers[p] = newReader(charge.Partition(p), r.opts.Logs[p], ranges[p], r.opts.Yield)
		start(func() error { return readers[p].run(ctx) })
	}
	live, draft := make(chan *chunk, chunksAhead), make(chan *chunk, chunksAhead)
	start(func() error {
		defer close(live)
		defer close(draft)
		return r.merge(ctx, readers, live, draft)
	})
	start(func() error { return r.runLive(ctx, live) })
	start(func() error { return r.runDraft(ctx, draft) })
	all.Wait()
	return context.Cause(ctx)
}

// runLive takes the chunks of the live side, and makes the draft side where the
// window begins.
func (r *run) runLive(ctx context.Context, chunks <-chan *chunk) error {
	for c := range chunks {
		if c.opens {
			if err := r.fork(); err != nil {
				return err
			}
		}
		if err := r.live.take(ctx, c, r.weigh); err != nil {
			return fmt.Errorf("live side: %w", err)
		}
		if !r.live.counts {
			r.progress(c)
		}
	}
	return nil
}

// fork makes the draft side out of the live side.
func (r *run) fork() error {
	draft, err := r.live.fork()
	if err != nil {
		return err
	}
	r.live.counts = true
	r.draft = draft
	close(r.forked)
	return nil
}

func (r *run) runDraft(ctx context.Context, chunks <-chan *chunk) error {
	for c := range chunks {
		select {
		case <-r.forked:
		case <-ctx.Done():
			return nil
		}
		if err := r.draft.take(ctx, c, r.weigh); err != nil {
			return fmt.Errorf("draft side: %w", err)
		}
		r.progress(c)
	}
	return nil
}

// progress counts a chunk as done. In the window that is when the draft side is:
// the live side is at most a few chunks away.
func (r *run) progress(c *chunk) {
	r.opts.Progress.Done.Add(uint64(len(c.records)))
	r.opts.Progress.Events.Add(uint64(c.events))
}

// weigh returns a *TooLarge if the sides have grown too large together.
func (r *run) weigh() error {
	bytes, customers := r.live.bytes.Load(), r.live.customers.Load()
	select {
	case <-r.forked:
		bytes += r.draft.bytes.Load()
	default:
	}
	if bytes > int64(r.opts.BytesMax) {
		return &TooLarge{Bytes: int(bytes), Max: r.opts.BytesMax, Customers: int(customers)}
	}
	return nil
}
