// Package accept is the door: it checks the events that come in, by HTTP, by
// NATS or from another broker, and puts them into the event logs.
//
// It promises that a producer is told yes only when its events are in their
// logs and on disk; that whatever it refuses is refused with a reason and
// counted; that the events of one customer enter the log in the order in which
// they were submitted; and that what waits here is bounded. It refuses to know
// what an event does: it reads the catalog of event types and nothing else of a
// rulebook, and it never looks at a customer.
//
// A batch may span partitions, and no write spans logs. So an error means that
// the batch is not all durable, not that none of it is: the producer sends it
// again, whole, and dedup gives what was durable already no second effect.
package accept

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"recharged/state/charge"
)

// Log is the event log of one partition.
type Log interface {
	// Append returns nil when the payload is durable. It repeats a payload whose
	// fate is unknown with the same id as long as the log would recognise it. So
	// an error is final: the payload is not in the log, or nobody can tell. The
	// payload is the caller's again when Append returns.
	Append(ctx context.Context, payload []byte, id string) (charge.Sequence, error)
}

// Options configure a Gateway.
type Options struct {
	// Logs has the event log of every partition, StreamNames their names, which
	// acknowledgements carry. Required.
	Logs        []Log
	StreamNames []string

	// Catalog returns what events are checked against, now. Required; never nil.
	Catalog func() *charge.Catalog

	// Node names this process among those that write to the same logs. It is
	// part of the frames' ids. Required.
	Node string

	// QueueEventsMax is how many events may wait in one partition, 16384 if it is
	// zero. Too few, and bursts are answered with ErrBusy; too many, and producers
	// wait long before they learn that the log is slow.
	QueueEventsMax int

	// Ready returns nil while events are to be accepted, else why they are not:
	// the daemon is starting or stopping, the disk is full. Halted is the same
	// question about one partition. Nil functions always say yes.
	Ready  func() error
	Halted func(charge.Partition) error

	Observe Observer
	Logger  *slog.Logger // nil: logs nothing
}

// Observer is told what happens. Its functions are called often, at the same
// time, and by those that write the logs: they must be quick. Any may be nil.
type Observer struct {
	// Accepted: a producer was told that its events are durable.
	Accepted func(events int)
	// Rejected: an event was refused. The type is one of the catalog's or "unknown".
	Rejected func(eventType string, reason charge.RejectReason)
	// Frame: a record became durable. It took that long from its first event's
	// arrival.
	Frame func(events, bytes int, took time.Duration)
	// Dropped: messages were lost on NATS that no producer is told about: they came
	// faster than they could be read, or they could not be made durable and asked
	// for no reply.
	Dropped func(messages int)
}

// Gateway is where events enter. It is for any number of goroutines.
type Gateway struct {
	opts       Options
	origin     string // begins the ids of all frames of this process
	partitions []*partition
	batches    sync.Pool // of *Batch
	frames     sync.Pool // of *frame

	hushed *hushedLog
	stop   context.CancelFunc // ends the appends that are under way
	runner sync.WaitGroup     // one goroutine per partition
}

// queueEventsDefault is QueueEventsMax when none is given.
const queueEventsDefault = 16384

// New starts a gateway: one goroutine per partition, which Close waits for. It
// panics if a required option is missing.
func New(opts Options) *Gateway {
	opts.fill()
	ctx, stop := context.WithCancel(context.Background())
	g := &Gateway{opts: opts, origin: opts.Node + "-" + rand.Text(), stop: stop, hushed: newHushedLog(opts.Logger)}
	for i, log := range opts.Logs {
		p := &partition{
			gateway: g,
			number:  charge.Partition(i),
			log:     log,
			stream:  opts.StreamNames[i],
			wake:    make(chan struct{}, 1),
		}
		g.partitions = append(g.partitions, p)
		g.runner.Go(func() { p.run(ctx) })
	}
	return g
}

// fill checks the options and puts the defaults in.
func (o *Options) fill() {
	if len(o.Logs) == 0 || len(o.StreamNames) != len(o.Logs) || o.Catalog == nil || o.Node == "" {
		panic(fmt.Sprintf("accept: %d logs, %d stream names, catalog given: %t, node %q",
			len(o.Logs), len(o.StreamNames), o.Catalog != nil, o.Node))
	}
	if o.QueueEventsMax == 0 {
		o.QueueEventsMax = queueEventsDefault
	}
	if o.Ready == nil {
		o.Ready = func() error { return nil }
	}
	if o.Halted == nil {
		o.Halted = func(charge.Partition) error { return nil }
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Observe.Accepted == nil {
		o.Observe.Accepted = func(int) {}
	}
	if o.Observe.Rejected == nil {
		o.Observe.Rejected = func(string, charge.RejectReason) {}
	}
	if o.Observe.Frame == nil {
		o.Observe.Frame = func(int, int, time.Duration) {}
	}
	if o.Observe.Dropped == nil {
		o.Observe.Dropped = func(int) {}
	}
}

// Accept submits the batch and waits until every event of it that is not
// rejected is durable. The error is ErrBusy, an *Unavailable, or ctx's: then
// nobody waits any longer for a batch that may still become durable. After any
// error the producer sends the whole batch again.
func (g *Gateway) Accept(ctx context.Context, b *Batch) (Verdict, error) {
	type answer struct {
		verdict Verdict
		err     error
	}
	answered := make(chan answer, 1)
	g.AcceptAsync(b, func(v Verdict, err error) { answered <- answer{v, err} })
	select {
	case a := <-answered:
		return a.verdict, a.err
	case <-ctx.Done():
		return Verdict{}, fmt.Errorf("wait until events are durable: %w", context.Cause(ctx))
	}
}

// AcceptAsync submits the batch and returns. It calls done once, with what
// Accept would return: at once if there is nothing to wait for, else from the
// goroutine that writes the log, so done must not block.
//
// Batches that are submitted one after the other enter each log in that order.
func (g *Gateway) AcceptAsync(b *Batch, done func(Verdict, error)) {
	t := &ticket{done: done, verdict: Verdict{Accepted: len(b.items), Rejected: b.rejected}}
	if t.verdict.Rejected == nil {
		t.verdict.Rejected = []Rejected{}
	}
	if len(b.items) == 0 {
		b.release()
		g.answer(t)
		return
	}
	err := g.submit(b, t) // From here on t is the log writers', unless it failed.
	b.release()
	if err != nil {
		t.err = err
		g.answer(t)
	}
}

// submit puts the batch's events into the queues of their partitions: all of
// them, or none. It holds the locks of all those partitions, taken in ascending
// order, while it copies the events.
func (g *Gateway) submit(b *Batch, t *ticket) error {
	if err := g.opts.Ready(); err != nil {
		return unavailable("events are not accepted now", retrySoon, err)
	}
	for p, n := range b.counts {
		if n == 0 {
			continue
		}
		if err := g.opts.Halted(charge.Partition(p)); err != nil {
			return unavailable(fmt.Sprintf("partition %d is halted", p), retryLate, err)
		}
	}
	g.lock(b.counts)
	defer g.unlock(b.counts)
	for p, n := range b.counts {
		if n == 0 {
			continue
		}
		if g.partitions[p].closed {
			return &Unavailable{Reason: "the daemon is stopping", RetryAfter: retrySoon}
		}
		if g.partitions[p].full() {
			return ErrBusy
		}
	}
	start := 0
	for _, it := range b.items {
		t.last = g.partitions[it.partition].add(t, b.encoded[start:it.end])
		start = it.end
	}
	for p, n := range b.counts {
		if n > 0 {
			g.partitions[p].rouse()
		}
	}
	return nil
}

func (g *Gateway) lock(counts []int) {
	for p, n := range counts {
		if n > 0 {
			g.partitions[p].mu.Lock()
		}
	}
}

func (g *Gateway) unlock(counts []int) {
	for p, n := range counts {
		if n > 0 {
			g.partitions[p].mu.Unlock()
		}
	}
}

// answer gives the producer its verdict and counts what it is told. After an
// error the batch comes again, so nothing is counted.
func (g *Gateway) answer(t *ticket) {
	if t.err != nil {
		t.done(Verdict{}, t.err)
		return
	}
	if t.verdict.Accepted > 0 {
		g.opts.Observe.Accepted(t.verdict.Accepted)
	}
	for i := range t.verdict.Rejected {
		g.opts.Observe.Rejected(t.verdict.Rejected[i].Type, t.verdict.Rejected[i].Reason)
	}
	t.done(t.verdict, nil)
}

// Close stops accepting, writes what is queued, and returns when that is done.
// If ctx ends first, what is not written fails; then the error says so.
func (g *Gateway) Close(ctx context.Context) error {
	for _, p := range g.partitions {
		p.mu.Lock()
		p.closed = true
		p.mu.Unlock()
		p.rouse()
	}
	written := make(chan struct{})
	go func() {
		g.runner.Wait()
		close(written)
	}()
	select {
	case <-written:
		g.stop()
		return nil
	case <-ctx.Done():
	}
	g.stop()
	<-written
	return fmt.Errorf("write the events that are waiting: %w", context.Cause(ctx))
}

func (g *Gateway) newFrame() *frame {
	if f, ok := g.frames.Get().(*frame); ok {
		return f
	}
	return &frame{}
}
