package backtest

import (
	"context"
	"errors"
	"fmt"
	"sort"

	"recharged/state"
	"recharged/state/charge"
	"recharged/stream/journal"
	"recharged/stream/turn"
)

// record is a record of the event log of a partition. The sides share what it
// points to, and change none of it.
type record struct {
	partition charge.Partition
	turn.Record
}

// chunk is some records that follow each other.
type chunk struct {
	records []record
	events  int
	opens   bool // the window begins with it
}

// Bounds of a chunk: handing it over must cost little for each event, and what
// waits must stay small. A chunk goes beyond by one frame.
const (
	chunkRecordsMax = 512
	chunkEventsMax  = 2048
)

func (c *chunk) add(r record) {
	c.records = append(c.records, r)
	c.events += len(r.Frame.Events)
}

func (c *chunk) full() bool {
	return len(c.records) >= chunkRecordsMax || c.events >= chunkEventsMax
}

// ranges returns the last record to be read of each log, and notes how many
// there are.
func (r *run) ranges(ctx context.Context) ([]charge.Sequence, error) {
	lasts := make([]charge.Sequence, len(r.opts.Logs))
	total := uint64(0)
	for p, log := range r.opts.Logs {
		info, err := log.Info(ctx)
		if errors.Is(err, journal.ErrNoLog) {
			continue // Its partition has not begun yet.
		}
		if err != nil {
			return nil, err
		}
		if info.First > 1 {
			return nil, fmt.Errorf("%s: %w", info, ErrBegun)
		}
		lasts[p] = info.Last
		if r.opts.To != 0 {
			if lasts[p], err = lastBefore(ctx, log, info.Last, r.opts.To); err != nil {
				return nil, err
			}
		}
		total += uint64(lasts[p])
	}
	r.opts.Progress.Total.Store(total)
	return lasts, nil
}

// lastBefore finds the last record that was accepted before an instant, among
// those up to a sequence; zero if there is none. Stamps only grow, but for the
// corrections of a clock.
func lastBefore(ctx context.Context, log *journal.Log, last charge.Sequence, to charge.Instant) (charge.Sequence, error) {
	var fault error
	n := sort.Search(int(last), func(i int) bool {
		if fault != nil {
			return true
		}
		record, err := log.Get(ctx, charge.Sequence(i+1))
		if err != nil {
			fault = err
			return true
		}
		return record.Stamp >= to
	})
	return charge.Sequence(n), fault
}

// reader reads and decodes the log of a partition.
type reader struct {
	partition charge.Partition
	log       *journal.Log
	last      charge.Sequence
	yield     func()
	chunks    chan *chunk
	head      *chunk // the merger's: what it is taking records from
	at        int    // and how many it took
}

func newReader(p charge.Partition, log *journal.Log, last charge.Sequence, yield func()) *reader {
	return &reader{partition: p, log: log, last: last, yield: yield, chunks: make(chan *chunk, chunksAhead)}
}

// run reads up to the last record.
func (r *reader) run(ctx context.Context) error {
	defer close(r.chunks)
	if r.last == 0 {
		return nil
	}
	records, err := r.log.Read(ctx, 1)
	if err != nil {
		return err
	}
	defer records.Close()
	filling := &chunk{}
	for sequence := charge.Sequence(1); sequence <= r.last; sequence++ {
		raw, err := records.Next(ctx)
		if err != nil {
			return err
		}
		frame, err := journal.DecodeFrame(raw.Data)
		if err != nil {
			return fmt.Errorf("record %d of log %s: %w: %w", sequence, r.log.Name(), turn.ErrUnreadable, err)
		}
		filling.add(record{r.partition, turn.Record{Sequence: raw.Sequence, Stamp: raw.Stamp, Frame: &frame, Seen: seen(&frame)}})
		if filling.full() || sequence == r.last {
			r.yield()
			if err := hand(ctx, r.chunks, filling); err != nil {
				return err
			}
			filling = &chunk{}
		}
	}
	return nil
}

// seen works the ids of a frame's events out, once for both sides.
func seen(frame *journal.Frame) []state.Seen {
	if frame.Kind != journal.FrameEvents {
		return nil
	}
	ids := make([]state.Seen, len(frame.Events))
	for i := range frame.Events {
		ids[i] = turn.SeenOf(&frame.Events[i])
	}
	return ids
}

// hand hands a chunk over, unless ctx ends.
func hand(ctx context.Context, to chan<- *chunk, c *chunk) error {
	select {
	case to <- c:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// peek returns the next record of the reader without taking it; nil at the end.
func (r *reader) peek(ctx context.Context) (*record, error) {
	for r.head == nil || r.at == len(r.head.records) {
		select {
		case next, more := <-r.chunks:
			if !more {
				return nil, ctx.Err()
			}
			r.head, r.at = next, 0
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return &r.head.records[r.at], nil
}

// merge brings the records of all logs into one order, and hands them to the
// sides: to the draft side only what is in the window.
func (r *run) merge(ctx context.Context, readers []*reader, live, draft chan<- *chunk) error {
	opened := false
	filling := &chunk{}
	flush := func() error {
		full := filling
		filling = &chunk{}
		if err := hand(ctx, live, full); err != nil || !opened {
			return err
		}
		return hand(ctx, draft, full)
	}
	for {
		from, next, err := earliest(ctx, readers)
		if err != nil {
			return err
		}
		if next == nil && opened {
			return flush()
		}
		if !opened && (next == nil || next.Stamp >= r.opts.From) {
			if err := flush(); err != nil {
				return err
			}
			opened = true
			filling.opens = true
		}
		if next == nil {
			return flush()
		}
		r.span(next)
		filling.add(*next)
		from.at++
		if filling.full() {
			if err := flush(); err != nil {
				return err
			}
		}
	}
}

// span widens what the result covers by a record of the window.
func (r *run) span(next *record) {
	if next.Stamp < r.opts.From {
		return
	}
	if r.windows.first == 0 {
		r.windows.first = next.Stamp
	}
	r.windows.last = max(r.windows.last, next.Stamp)
}

// earliest returns the reader whose next record is the first of all; of two of
// one stamp that is the one of the lower partition.
func earliest(ctx context.Context, readers []*reader) (from *reader, next *record, err error) {
	for _, r := range readers {
		record, err := r.peek(ctx)
		if err != nil {
			return nil, nil, err
		}
		if record != nil && (next == nil || record.Stamp < next.Stamp) {
			from, next = r, record
		}
	}
	return from, next, nil
}
