package main

import (
	"context"
	"fmt"
	"math"
	"runtime"
	"slices"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Histograms count microseconds, with three significant digits. What is longer
// than the longest counts as that.
const (
	longest = time.Minute
	digits  = 3
)

// lateShareMax is the share of late messages from which on a row is void: it
// then shows the driver, or its neighbours, rather than the target.
const lateShareMax = 0.001

// row is one line of a table.
type row struct {
	target string
	rate   float64
	batch  int
	events int64 // measured, which is those after the warm-up

	acked     *hdrhistogram.Histogram // intended → acknowledged
	notified  *hdrhistogram.Histogram // intended → notification
	said      *hdrhistogram.Histogram // acknowledged → notification
	lateShare float64
	lateP999  time.Duration
	saturated bool
	refused   int64

	cpu, driverCPU time.Duration
	rssBytes       int64
}

func (r *row) void() bool { return r.lateShare > lateShareMax }

// perMillion is CPU seconds per million events; not a number if there are none.
func (r *row) perMillion(cpu time.Duration) float64 {
	if r.events == 0 {
		return math.NaN()
	}
	return cpu.Seconds() / float64(r.events) * 1e6
}

// session is one target under load, and what its answer must be.
type session struct {
	name   string
	target target
	gen    *generator
	want   *fold
	report func(format string, args ...any) // progress
}

// fill gives every customer a first recharge, outside of all measurements and as
// fast as the target takes them.
func (s *session) fill(ctx context.Context) error {
	const batch, rate = 100, 1e6
	r := newRecord(s.gen.everyone(batch), rate)
	r.patient = true
	if _, err := s.run(ctx, r, 0); err != nil {
		return fmt.Errorf("make the customers: %w", err)
	}
	return nil
}

// measure sends events at a rate for warm-up and length, in messages of batch,
// checks the answer and returns the row of what came after the warm-up.
func (s *session) measure(ctx context.Context, rate float64, batch int, warm, length time.Duration) (*row, *record, error) {
	t := s.gen.make(int(rate*(warm+length).Seconds()), batch)
	r := newRecord(t, rate)
	from := int(rate*warm.Seconds()) / batch
	out, err := s.run(ctx, r, from)
	if err != nil {
		return nil, nil, fmt.Errorf("%s at %.0f events/s: %w", s.name, rate, err)
	}
	s.report("%-28s %8.0f ev/s, batch %d: notification p50 %s p99 %s ms, %.1f CPU-s/M%s\n", s.name, rate, batch,
		millis(out.notified, 50), millis(out.notified, 99), out.perMillion(out.cpu), out.remark())
	return out, r, nil
}

// run sends a record's traffic and checks the answer.
func (s *session) run(ctx context.Context, r *record, from int) (*row, error) {
	runtime.GC() // The driver's own, now rather than while it measures.
	before, usageErr := usageOf(s.target.pid())
	var after usage
	paced := make(chan error, 1)
	go func() { // pace keeps its thread, which ends with this goroutine.
		paced <- r.pace(ctx, s.target, from, func() { before, usageErr = usageOf(s.target.pid()) })
	}()
	if err := <-paced; err != nil {
		return nil, err
	}
	if r.sent <= from {
		from = 0 // It gave up while it warmed up: that is all there is to show.
	}
	if err := r.drain(ctx); err != nil {
		return nil, err
	}
	if usageErr == nil {
		after, usageErr = usageOf(s.target.pid())
	}
	if usageErr != nil {
		return nil, usageErr
	}
	r.accepted(func(_ int, e event) { s.want.apply(e) })
	if err := s.target.settled(ctx, s.want); err != nil {
		return nil, fmt.Errorf("wrong answer: %w", err)
	}
	if err := r.err(); err != nil {
		return nil, err
	}
	out := r.summary(from)
	out.target = s.name
	out.cpu, out.driverCPU = after.target-before.target, after.driver-before.driver
	out.rssBytes = after.rssBytes
	return out, nil
}

// summary puts a record into histograms, without its warm-up.
func (r *record) summary(from int) *row {
	histogram := func() *hdrhistogram.Histogram {
		return hdrhistogram.New(1, longest.Microseconds(), digits)
	}
	out := &row{
		rate: r.rate, batch: r.batch, saturated: r.saturated, refused: r.refused.Load(),
		acked: histogram(), notified: histogram(), said: histogram(),
	}
	late := histogram()
	lates := 0
	for m := from; m < r.sent; m++ {
		observe(late, r.late[m])
		if r.late[m] > lateAfter {
			lates++
		}
		if r.acked[m] > 0 {
			observe(out.acked, r.acked[m]-r.intended(m))
		}
	}
	r.accepted(func(i int, _ event) {
		m := i / r.batch
		if m < from {
			return
		}
		out.events++
		if r.notified[i] != 0 {
			observe(out.notified, r.notified[i]-r.intended(m))
			observe(out.said, r.notified[i]-r.acked[m])
		}
	})
	out.lateShare = float64(lates) / float64(max(1, r.sent-from))
	out.lateP999 = time.Duration(late.ValueAtQuantile(99.9)) * time.Microsecond
	return out
}

// observe counts a duration. A notification may overtake the acknowledgement,
// which comes on another connection; that counts as no time.
func observe(h *hdrhistogram.Histogram, d time.Duration) {
	_ = h.RecordValue(min(max(1, d.Microseconds()), longest.Microseconds())) // It is within the bounds.
}

// Bounds of what counts as sustained.
const (
	sustainedGrowth  = 1.5                   // of the median from the second third to the last
	sustainedMargin  = time.Millisecond      // on top, so that small medians may tremble
	sustainedBacklog = 0.05                  // of the time it lasted, in which the rest must come out
	searchStep       = 1.1                   // the found rate and the lowest that failed are this close
	backlogMin       = 50 * time.Millisecond // always allowed
)

// sustained returns "" if the target kept up: neither the median latency nor the
// backlog grew. Else it returns what did.
func (r *record) sustained() string {
	if r.saturated {
		return fmt.Sprintf("%d events waited for their acknowledgement", outstandingMax)
	}
	if n := r.refused.Load(); n > 0 {
		return fmt.Sprintf("%d events refused", n)
	}
	second, last := r.median(1), r.median(2)
	if limit := time.Duration(sustainedGrowth*float64(second)) + sustainedMargin; last > limit {
		return fmt.Sprintf("the median grew from %v to %v", second.Round(time.Microsecond), last.Round(time.Microsecond))
	}
	end := r.intended(r.sent - 1)
	backlog := max(slices.Max(r.acked), slices.Max(r.notified)) - end
	if limit := max(backlogMin, time.Duration(sustainedBacklog*float64(end))); backlog > limit {
		return fmt.Sprintf("the rest took %v to come out", backlog.Round(time.Millisecond))
	}
	return ""
}

// median returns the median from intended to notification in a third of the record.
func (r *record) median(third int) time.Duration {
	n := len(r.events)
	var took []time.Duration
	for i := third * n / 3; i < (third+1)*n/3; i++ {
		if r.notified[i] != 0 {
			took = append(took, r.notified[i]-r.intended(i/r.batch))
		}
	}
	if len(took) == 0 {
		return 0
	}
	slices.Sort(took)
	return took[len(took)/2]
}

// search finds the highest rate that is sustained for a step: it doubles the rate
// until that fails, then halves the interval. A rate fails if it fails twice.
func (s *session) search(ctx context.Context, start, limit float64, batch int, step time.Duration) (*row, error) {
	var best *row
	try := func(rate float64) (bool, error) {
		for range 2 {
			out, r, err := s.measure(ctx, rate, batch, step/3, step-step/3)
			if err != nil {
				return false, err
			}
			why := r.sustained()
			if why == "" {
				best = out
				return true, nil
			}
			s.report("    not sustained: %s\n", why)
		}
		return false, nil
	}
	low, high, rate := 0.0, 0.0, start
	for high == 0 || low == 0 || high/low > searchStep {
		ok, err := try(rate)
		if err != nil {
			return nil, err
		}
		if ok {
			low = rate
		} else {
			high = rate
		}
		switch {
		case high == 0 && rate >= limit, low == 0 && rate < 100:
			return best, nil
		case high == 0:
			rate = min(limit, 2*rate)
		case low == 0:
			rate /= 2
		default:
			rate = (low + high) / 2
		}
	}
	return best, nil
}
