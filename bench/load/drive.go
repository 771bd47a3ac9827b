package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// outstandingMax is how many events may wait for their acknowledgement. It is
	// less than what the system's queues hold, so that it never has to refuse one;
	// a driver that reaches it stops, and the rate counts as too high.
	outstandingMax = 12_000

	lateAfter = time.Millisecond // a message sent so long after its time is late
	drainMax  = time.Minute      // for what was sent to be acknowledged and to come out
)

// errRefused says that a message was certainly not accepted.
var errRefused = errors.New("refused")

// way is a way into the system: it sends message m, which holds so many events,
// and later calls the function that was given to it, once.
type way interface {
	send(m int, t *traffic) error
	answers(func(m int, err error))
	close()
}

// record is what happened to the events of one measurement. Instants count from
// its begin; zero means never.
type record struct {
	*traffic
	rate    float64 // events a second, as intended
	patient bool    // it waits for answers rather than give up: no measurement
	begin   time.Time

	sent      int // messages
	late      []time.Duration
	acked     []time.Duration // by message
	notified  []time.Duration // by event
	saturated bool            // it stopped before its end

	acknowledged atomic.Int64 // events
	arrived      atomic.Int64 // notifications
	refused      atomic.Int64 // messages

	mu     sync.Mutex
	faults []error // guarded by mu
}

func newRecord(t *traffic, rate float64) *record {
	return &record{
		traffic:  t,
		rate:     rate,
		late:     make([]time.Duration, len(t.messages)),
		acked:    make([]time.Duration, len(t.messages)),
		notified: make([]time.Duration, len(t.events)),
	}
}

// intended is when a message was to be sent. Everything is measured from there:
// who comes late because the one before was late has waited, too.
func (r *record) intended(m int) time.Duration {
	return time.Duration(float64(m) * float64(r.batch) / r.rate * float64(time.Second))
}

// outstanding is how many events before message m have no answer yet.
func (r *record) outstanding(m int) int64 { return int64(m*r.batch) - r.acknowledged.Load() }

func (r *record) fault(err error) {
	const enough = 10
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.faults) < enough {
		r.faults = append(r.faults, err)
	}
}

// err returns what went wrong. It is nothing that a slow system may do.
func (r *record) err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return errors.Join(r.faults...)
}

// answer takes the system's answer to message m.
func (r *record) answer(m int, err error) {
	now := time.Since(r.begin)
	switch {
	case m < 0 || m >= len(r.acked) || r.acked[m] != 0:
		r.fault(fmt.Errorf("message %d was answered twice, or never sent", m))
		return
	case errors.Is(err, errRefused) && r.batch == 1:
		r.refused.Add(1)
		now = -1
	case err != nil:
		r.fault(fmt.Errorf("send message %d: %w", m, err))
	}
	r.acked[m] = now
	r.acknowledged.Add(int64(r.batch))
}

// notify takes the notification of event i.
func (r *record) notify(i int) {
	switch {
	case i < 0 || i >= len(r.events) || !r.events[i].doubled():
		r.fault(fmt.Errorf("notification of event %d, which calls for none", i))
	case r.notified[i] != 0:
		r.fault(fmt.Errorf("second notification of event %d", i))
	default:
		r.notified[i] = time.Since(r.begin)
		r.arrived.Add(1)
	}
}

// pace sends the messages, each at its time, and never waits for an answer
// unless the record is a patient one. mark is called once, before message
// number from.
func (r *record) pace(ctx context.Context, t target, from int, mark func()) error {
	startNapping()
	w := t.in()
	r.begin = time.Now()
	w.answers(r.answer)
	t.out().follow(r)
	for m := range r.messages {
		due := r.intended(m)
		now := time.Since(r.begin)
		for ; now < due; now = time.Since(r.begin) {
			nap(due - now)
		}
		if m == from {
			mark()
		}
		for r.patient && r.outstanding(m) > outstandingMax/2 && ctx.Err() == nil {
			nap(time.Millisecond)
		}
		if r.outstanding(m) > outstandingMax {
			r.saturated = true
			return nil
		}
		r.late[m] = now - due
		if err := w.send(m, r.traffic); err != nil {
			return fmt.Errorf("send message %d: %w", m, err)
		}
		r.sent = m + 1
		if m%1024 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return nil
}

// accepted calls f for each event that the system accepted, in their order.
func (r *record) accepted(f func(i int, e event)) {
	for m := range r.sent {
		if r.acked[m] < 0 {
			continue
		}
		for i := m * r.batch; i < (m+1)*r.batch; i++ {
			f(i, r.events[i])
		}
	}
}

// drain waits until everything that was sent is answered and every notification
// that is due has come.
func (r *record) drain(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, drainMax)
	defer cancel()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	want := int64(-1)
	for {
		if err := r.err(); err != nil {
			return err
		}
		if want < 0 && r.acknowledged.Load() == int64(r.sent*r.batch) {
			want = 0
			r.accepted(func(_ int, e event) {
				if e.doubled() {
					want++
				}
			})
		}
		if arrived := r.arrived.Load(); want >= 0 && arrived >= want {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d of %d events acknowledged, %d of %d notifications arrived after %v: %w",
				r.acknowledged.Load(), r.sent*r.batch, r.arrived.Load(), want, drainMax, ctx.Err())
		case <-tick.C:
		}
	}
}
