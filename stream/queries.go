package stream

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"recharged/state"
	"recharged/state/charge"
	"recharged/state/money"
	"recharged/stream/journal"
)

// Status is how the processor is doing.
type Status struct {
	Rulebook   uint64
	Partitions []PartitionStatus
}

// PartitionStatus is how one partition is doing. Lag counts records of the event
// log that have not been read, and events that were read and are held until it is
// known whether a budget holds enough; it is zero exactly when everything accepted
// has taken effect. Applied counts events that ended since the first one ever; Accepted adds
// those that wait, where they were accepted by another process at least one a
// record.
type PartitionStatus struct {
	ID       charge.Partition
	State    State
	Reason   string
	Owner    string
	Accepted uint64
	Applied  uint64
	Lag      uint64
	Held     uint64        // of the lag: events that wait for a budget
	LagTime  time.Duration // for how long the oldest record has been waiting; zero without lag
	Rulebook uint64        // in force
}

// statusTimeout bounds how long a status waits for the logs' server.
const statusTimeout = 2 * time.Second

// Status returns the present state of every partition.
func (p *Processor) Status() Status {
	ctx, cancel := context.WithTimeout(context.Background(), statusTimeout)
	defer cancel()
	_, version := p.Book()
	status := Status{Rulebook: version}
	for _, o := range p.owners {
		s := o.status(ctx)
		s.Owner = p.node
		status.Partitions = append(status.Partitions, s)
	}
	return status
}

// status returns the present state of the partition. A log that cannot be asked
// is taken to hold something new: nobody must believe that all is done.
func (o *owner) status(ctx context.Context) PartitionStatus {
	health := o.standing.health.Load()
	s := PartitionStatus{ID: o.id, State: health.State, Reason: health.Reason, Rulebook: o.standing.rulebook.Load()}
	// The end of the log is asked for first: what is appended meanwhile must not
	// hide a lag.
	info, err := o.events.Info(ctx)
	next := max(1, o.standing.next.Load())
	s.Held = o.standing.held.Load()
	oldest := next
	if from := o.standing.heldFrom.Load(); from != 0 {
		oldest = min(oldest, from)
	}
	s.Applied = o.standing.events.Load()
	switch {
	case errors.Is(err, journal.ErrNoLog) && health.State != Halted: // It is not made yet.
	case err != nil:
		s.Lag = 1
		if s.Reason == "" {
			s.Reason = "how much is waiting is not known: " + err.Error()
		}
	case uint64(info.Last) >= next || s.Held > 0:
		s.Lag = s.Held
		if end := uint64(info.Last) + 1; end > next { // More may have been read since the end was asked for.
			s.Lag += end - next
		}
		if waiting, err := o.events.Get(ctx, charge.Sequence(oldest)); err == nil {
			s.LagTime = max(0, time.Since(waiting.Stamp.Time()))
		}
	}
	s.Accepted = max(s.Applied+s.Lag, o.standing.accepted.Load())
	if s.Lag == 0 {
		s.Accepted = s.Applied
	}
	return s
}

// totals adds up what the partitions hold.
func (p *Processor) totals() (parked map[string]uint64, imbalance map[string]money.Sum, customers uint64) {
	parked, imbalance = map[string]uint64{}, map[string]money.Sum{}
	for _, o := range p.owners {
		customers += o.standing.holding.Load()
		if of := o.standing.parked.Load(); of != nil {
			for reason, n := range *of {
				parked[reason] += n
			}
		}
		if of := o.standing.imbalance.Load(); of != nil {
			for unit, sum := range *of {
				all := imbalance[unit]
				all.AddSum(sum)
				imbalance[unit] = all
			}
		}
	}
	return parked, imbalance, customers
}

// Customer reads a customer as of the last commit; false if unknown.
func (p *Processor) Customer(m charge.MSISDN) (*charge.Customer, bool, error) {
	var c charge.Customer
	known, err := p.store.Customer(m, &c)
	return &c, known, err
}

// TimelineEntry is one outcome and the name it is paged by.
type TimelineEntry struct {
	Ref     string
	Outcome charge.Outcome
}

// Timeline returns up to limit outcomes of a customer, the newest first, from
// before the entry of that ref (empty: from the newest on).
func (p *Processor) Timeline(ctx context.Context, m charge.MSISDN, before string, limit int) ([]TimelineEntry, error) {
	ref, err := parseRef(before)
	if err != nil {
		return nil, err
	}
	refs, err := p.store.Timeline(m, ref, limit)
	if err != nil {
		return nil, err
	}
	entries := make([]TimelineEntry, 0, len(refs))
	var commit journal.Commit
	var have state.OutcomeRef
	for _, ref := range refs {
		if ref.Partition != have.Partition || ref.Commit != have.Commit {
			if commit, err = p.readCommit(ctx, ref.Partition, ref.Commit); err != nil {
				return nil, err
			}
			have = ref
		}
		if int(ref.Index) >= len(commit.Outcomes) {
			return nil, fmt.Errorf("timeline of %s: commit %d/%d has no outcome %d", m.Masked(), ref.Partition, ref.Commit, ref.Index)
		}
		entries = append(entries, TimelineEntry{formatRef(ref), commit.Outcomes[ref.Index]})
	}
	return entries, nil
}

func (p *Processor) readCommit(ctx context.Context, id charge.Partition, sequence charge.Sequence) (journal.Commit, error) {
	if int(id) >= len(p.owners) {
		return journal.Commit{}, fmt.Errorf("commit %d/%d: there is no such partition", id, sequence)
	}
	record, err := p.owners[id].commits.Get(ctx, sequence)
	if err != nil {
		return journal.Commit{}, err
	}
	return journal.DecodeCommit(record.Data)
}

// ErrRef says that a page's or a parked event's name is none of ours.
var ErrRef = errors.New("not a name that was given out here")

// A ref is partition, commit and index, or partition, sequence and offset,
// joined by hyphens.
func formatRef(r state.OutcomeRef) string {
	return fmt.Sprintf("%d-%d-%d", r.Partition, r.Commit, r.Index)
}

func parseRef(text string) (state.OutcomeRef, error) {
	if text == "" {
		return state.OutcomeRef{}, nil
	}
	numbers, err := parseNumbers(text, 16, 64, 16)
	return state.OutcomeRef{
		Partition: charge.Partition(numbers[0]),
		Commit:    charge.Sequence(numbers[1]),
		Index:     uint16(numbers[2]),
	}, err
}

// parseNumbers reads three numbers of that many bits.
func parseNumbers(text string, bits ...int) (numbers [3]uint64, err error) {
	parts := strings.Split(text, "-")
	if len(parts) != len(numbers) {
		return numbers, fmt.Errorf("%q: %w", text, ErrRef)
	}
	for i := range parts {
		if numbers[i], err = strconv.ParseUint(parts[i], 10, bits[i]); err != nil {
			return numbers, fmt.Errorf("%q: %w", text, ErrRef)
		}
	}
	return numbers, nil
}

// ParkedID names a parked event.
func ParkedID(e *state.ParkedEvent) string {
	return fmt.Sprintf("%d-%d-%d", e.Partition, e.Position.Sequence, e.Position.Offset)
}

func parseParkedID(id string) (charge.Partition, charge.Position, error) {
	numbers, err := parseNumbers(id, 16, 64, 32)
	return charge.Partition(numbers[0]), charge.Position{Sequence: charge.Sequence(numbers[1]), Offset: uint32(numbers[2])}, err
}

// Parked returns up to limit parked events from before the one of that id, by
// partition and within one the newest first.
func (p *Processor) Parked(before string, limit int) ([]state.ParkedEvent, error) {
	var from charge.Partition
	var at charge.Position
	if before != "" {
		var err error
		if from, at, err = parseParkedID(before); err != nil {
			return nil, err
		}
	}
	var parked []state.ParkedEvent
	for id := from; int(id) < len(p.owners) && len(parked) < limit; id++ {
		err := p.store.Parked(id, at, func(e state.ParkedEvent) bool {
			parked = append(parked, e)
			return len(parked) < limit
		})
		if err != nil {
			return nil, err
		}
		at = charge.Position{}
	}
	return parked, nil
}

// ErrNotParked says that no parked event has that id.
var ErrNotParked = errors.New("no event is parked under this id")

// RetryParked has a parked event judged again; DiscardParked drops it. Both are
// records of the event log: they return when the order is durable, and it takes
// effect like an event.
func (p *Processor) RetryParked(ctx context.Context, id string) error {
	return p.orderParked(ctx, id, journal.FrameRetry)
}

// DiscardParked drops a parked event.
func (p *Processor) DiscardParked(ctx context.Context, id string) error {
	return p.orderParked(ctx, id, journal.FrameDiscard)
}

func (p *Processor) orderParked(ctx context.Context, id string, kind journal.FrameKind) error {
	partition, at, err := parseParkedID(id)
	if err != nil || int(partition) >= len(p.owners) {
		return ErrNotParked
	}
	_, found, err := p.store.ParkedAt(partition, at)
	if err != nil {
		return err
	}
	if !found {
		return ErrNotParked
	}
	frame := journal.Frame{Kind: kind, Parked: at}
	_, err = p.owners[partition].events.Append(ctx, frame.Append(nil), "")
	return err
}
