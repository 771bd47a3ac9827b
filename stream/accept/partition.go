package accept

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"recharged/state/charge"
	"recharged/stream/journal"
)

// queueBytesMax is how many bytes of events may wait in one partition, so that
// large events can't fill the memory before QueueEventsMax does.
const queueBytesMax = 64 << 20

// partition packs the events of one partition into frames and writes them to
// its log, one frame at a time. The batching is natural: what comes while a
// frame is being written fills the next one. An event that finds the log idle
// doesn't wait for company.
//
//	submit ──► queue: [frame][frame][filling] ──► run: one frame ──► log
//	           under mu, by the callers               settle its tickets
//
// Invariants: what is queued keeps the order of the submits; a batch's events
// are next to each other; a frame that was handed to the log is not written to.
type partition struct {
	gateway *Gateway
	number  charge.Partition
	log     Log
	stream  string
	written uint64 // frames: the counter in their ids. Only run touches it.

	mu     sync.Mutex // guards what follows
	queue  []*frame   // oldest first; the last one may still be filled
	events int        // that are queued or being written
	bytes  int        // of those
	closed bool

	wake chan struct{} // of capacity 1: there is a frame, or closed was set
}

// frame is a record of the event log in the making.
type frame struct {
	writer  journal.FrameWriter
	bytes   int       // of the encoded events
	since   time.Time // when its first event came
	tickets []*ticket // of the batches that have events in it

	// rest says that the frame begins with the rest of a batch whose first part
	// is in the frame before.
	rest bool
}

// ticket is what a batch leaves behind in the frames that carry its events.
type ticket struct {
	done    func(Verdict, error)
	last    *frame // the one with the batch's last event
	mu      sync.Mutex
	frames  int // that are not settled yet
	verdict Verdict
	err     error // the first one
}

// full reports whether the queue takes no further batch. A batch is taken whole
// or not at all, so the limits may be exceeded by one batch. Called with mu held.
func (p *partition) full() bool {
	return p.events >= p.gateway.opts.QueueEventsMax || p.bytes >= queueBytesMax
}

// add puts one event of the ticket's batch into the frame that is being filled.
// Called with mu held, which is kept until all of the batch is in.
func (p *partition) add(t *ticket, encoded []byte) *frame {
	var f *frame
	if n := len(p.queue); n > 0 {
		f = p.queue[n-1]
	}
	if f == nil || !f.writer.Fits(len(encoded)) {
		rest := f != nil && f.holds(t)
		f = p.gateway.newFrame()
		f.since, f.rest = time.Now(), rest
		p.queue = append(p.queue, f)
	}
	if !f.holds(t) {
		f.tickets = append(f.tickets, t)
		t.frames++
	}
	f.writer.Add(encoded)
	f.bytes += len(encoded)
	p.events++
	p.bytes += len(encoded)
	return f
}

// holds reports whether events of the ticket are in the frame. Since a batch's
// events are next to each other, only the newest ticket can be asked about.
func (f *frame) holds(t *ticket) bool {
	n := len(f.tickets)
	return n > 0 && f.tickets[n-1] == t
}

// rouse tells run that there is something to do.
func (p *partition) rouse() {
	select {
	case p.wake <- struct{}{}:
	default: // It has been told already.
	}
}

// run writes frames until the partition is closed and its queue is empty. When
// ctx ends, what is still queued fails.
//
// A frame that fails is given up: its producers are told so and send again. The
// next frame is tried afresh, since the fault may have passed, except for one
// that goes on with a batch whose earlier part has just failed: it fails too,
// or the batch's events would change places when the producer repeats it.
func (p *partition) run(ctx context.Context) {
	var failed error // of the frame before
	for range p.wake {
		for {
			f, closed := p.next()
			if f == nil && closed {
				return
			}
			if f == nil {
				break
			}
			if failed == nil || !f.rest {
				failed = p.write(ctx, f)
			} else {
				p.settle(f, 0, failed)
			}
			p.recycle(f)
		}
	}
}

// next takes the oldest frame off the queue, nil if there is none.
func (p *partition) next() (f *frame, closed bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.queue) == 0 {
		return nil, p.closed
	}
	f = p.queue[0]
	copy(p.queue, p.queue[1:])
	p.queue[len(p.queue)-1] = nil
	p.queue = p.queue[:len(p.queue)-1]
	return f, false
}

// write appends the frame to the log and tells its producers what became of it.
// The id is the frame's for good: the log repeats an append whose outcome is
// unknown under it, so that the frame is in the log once.
func (p *partition) write(ctx context.Context, f *frame) error {
	p.written++
	id := p.gateway.origin + "-" + strconv.Itoa(int(p.number)) + "-" + strconv.FormatUint(p.written, 10)
	payload := f.writer.Bytes()
	sequence, err := p.log.Append(ctx, payload, id)
	if err != nil {
		p.gateway.opts.Logger.Error("event log refuses frame", "partition", p.number, "frame", id,
			"events", f.writer.Count(), "error", err)
		reason, retry := "the event log can't be written", retrySoon
		if errors.Is(err, journal.ErrNoSpace) {
			reason, retry = "the event log has no space left", retryLate
		}
		err = &Unavailable{reason, retry, fmt.Errorf("append frame %s: %w", id, err)}
	} else {
		p.gateway.opts.Observe.Frame(f.writer.Count(), len(payload), time.Since(f.since))
	}
	p.settle(f, sequence, err)
	return err
}

// settle tells the frame's tickets how it ended and makes room in the queue.
// Room is made first: who is told may submit at once.
func (p *partition) settle(f *frame, sequence charge.Sequence, err error) {
	p.mu.Lock()
	p.events -= f.writer.Count()
	p.bytes -= f.bytes
	p.mu.Unlock()
	for _, t := range f.tickets {
		if t.settle(f, p.stream, sequence, err) {
			p.gateway.answer(t)
		}
	}
}

// settle records the end of one frame and reports whether it was the last one.
func (t *ticket) settle(f *frame, stream string, sequence charge.Sequence, err error) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err != nil && t.err == nil {
		t.err = err
	}
	if f == t.last {
		t.verdict.Stream, t.verdict.Sequence = stream, sequence
	}
	t.frames--
	return t.frames == 0
}

// recycle gives the frame's memory to a later one.
func (p *partition) recycle(f *frame) {
	clear(f.tickets)
	f.writer.Reset()
	f.tickets, f.bytes, f.rest = f.tickets[:0], 0, false
	p.gateway.frames.Put(f)
}
