package ledger

import (
	"slices"
	"time"

	"recharged/state/charge"
	"recharged/state/money"
)

// CounterPlan says what a counter counts: the events of one type in a window
// that slides with time, or the sum of one of their fields.
//
// A counter is a histogram over event time with buckets of one Step. Its value
// at t is the sum of the buckets that overlap (t-Window, t]. So it never misses
// an event of its window, and never includes one that is older than Window
// plus one Step; of events that happened after t, which a late event may find
// there, it may include those less than one Step later.
type CounterPlan struct {
	Name, On string
	Sum      string // "": how many; "charged" of a usage: Effect.Charged; else a number field of the event
	Window   time.Duration
	Digits   int // digits after the point of what is summed: the currency's for money, 0 for counts; what is finer is rounded down

	// Memory is the name under which customers keep it: MemoryOf what it counts.
	Memory string
}

// MemoryOf returns the name under which customers keep a counter. What it
// counts is part of it, so a counter that keeps its name and counts something
// else begins anew: what was messages is never read as money. Its window is not
// part of it. No rule's limit has such a name.
func MemoryOf(name, on, sum string) string {
	if sum == "" {
		return name + "=" + on
	}
	return name + "=" + on + ":" + sum
}

const (
	// stepsMin is how many buckets a window has at least, if that is possible
	// with buckets of whole seconds.
	stepsMin = 60

	// bucketsLateMax is how many buckets a counter keeps beyond those that one
	// window can have. Late events are counted at their own time and so need the
	// past of their window, but only that much of it: when it is more, the oldest
	// buckets are dropped, and a very late event of a very busy customer may find
	// a value that is too low. The present is not affected.
	bucketsLateMax = 256
)

// Step is the resolution of the counter: a sixtieth of its window in whole
// seconds, rounded down, but at least one second.
func (p *CounterPlan) Step() time.Duration {
	return max(time.Second, (p.Window / stepsMin).Truncate(time.Second))
}

// bucketsMax is how many buckets the counter keeps at most.
func (p *CounterPlan) bucketsMax() int {
	return int(p.Window/p.Step()) + 2 + bucketsLateMax
}

// CounterValue returns what the counter shows at that instant: how many, or the
// sum with plan.Digits digits after the point. If the window has changed and the
// customer had no event since, the value has the resolution of before.
func (p *Plan) CounterValue(c *charge.Customer, plan *CounterPlan, at charge.Instant) int64 {
	counter := c.Counter(plan.Memory)
	if counter == nil {
		return 0
	}
	step := time.Duration(counter.Step) * time.Second
	return counter.Sum(bucketOf(at.Add(-plan.Window), step), bucketOf(at, step))
}

// bucketOf returns the index of the bucket of that instant.
func bucketOf(at charge.Instant, step time.Duration) int64 {
	return floorDiv(int64(at), int64(step))
}

// floorDiv returns a/b rounded towards minus infinity; b is positive.
func floorDiv(a, b int64) int64 {
	quotient := a / b
	if a%b < 0 {
		quotient--
	}
	return quotient
}

// count adds the event to every counter of its type.
func (p *Plan) count(c *charge.Customer, e *charge.Event, clock charge.Instant, fx *Effect) *Refusal {
	for i := range p.Counters {
		plan := &p.Counters[i]
		if plan.On != e.Type {
			continue
		}
		value, err := p.summand(plan, e, fx)
		if err == nil && value != 0 {
			err = p.add(c, plan, value, e.Time, clock)
		}
		if err != nil {
			return refuse(charge.Overflow, "counter "+plan.Name+" would count "+err.Error())
		}
	}
	return nil
}

// summand returns what the event adds to the counter.
func (p *Plan) summand(plan *CounterPlan, e *charge.Event, fx *Effect) (money.Amount, error) {
	switch {
	case plan.Sum == "":
		return 1, nil
	case plan.Sum == "charged" && plan.On == charge.Usage:
		return p.Currency.Decimal(fx.Charged).MinorDown(plan.Digits)
	}
	v := e.Field(plan.Sum)
	if v.Kind != charge.Number {
		return 0, nil
	}
	return v.Decimal().MinorDown(plan.Digits)
}

// add puts the value into the bucket of that instant and forgets the buckets
// that no event can need any more. Every bucket stays within money.AmountMax,
// so that an int64 holds the sum of all: they are fewer than 1,000.
func (p *Plan) add(c *charge.Customer, plan *CounterPlan, value money.Amount, at, clock charge.Instant) error {
	step := plan.Step()
	counter := c.OpenCounter(plan.Memory, int64(step/time.Second))
	if counter.Step != int64(step/time.Second) {
		if err := rebucket(counter, int64(step/time.Second)); err != nil {
			return err
		}
	}
	index := bucketOf(at, step)
	i := len(counter.Buckets)
	for i > 0 && counter.Buckets[i-1].Index >= index {
		i--
	}
	if i == len(counter.Buckets) || counter.Buckets[i].Index != index {
		counter.Buckets = slices.Insert(counter.Buckets, i, charge.Bucket{Index: index})
	}
	sum, err := money.Amount(counter.Buckets[i].Value).Add(value)
	if err != nil {
		return err
	}
	counter.Buckets[i].Value = int64(sum)
	if sum == 0 {
		counter.Buckets = slices.Delete(counter.Buckets, i, i+1)
	}
	counter.Buckets = prune(counter.Buckets, bucketOf(clock.Add(-p.Lateness-plan.Window), step), plan.bucketsMax())
	return nil
}

// prune drops the buckets before oldest, and the oldest ones of more than limit.
func prune(buckets []charge.Bucket, oldest int64, limit int) []charge.Bucket {
	drop := max(0, len(buckets)-limit)
	for drop < len(buckets) && buckets[drop].Index < oldest {
		drop++
	}
	return slices.Delete(buckets, 0, drop)
}

// rebucket moves a counter's memory into buckets of another length, after the
// rulebook changed its window. What a bucket holds goes where that bucket
// began, so until the old buckets have left the window they have the resolution
// that they were counted with.
func rebucket(counter *charge.Counter, step int64) error {
	kept := counter.Buckets[:0]
	for _, b := range counter.Buckets {
		b.Index = floorDiv(b.Index*counter.Step, step)
		if last := len(kept) - 1; last >= 0 && kept[last].Index == b.Index {
			sum, err := money.Amount(kept[last].Value).Add(money.Amount(b.Value))
			if err != nil {
				return err
			}
			kept[last].Value = int64(sum)
			continue
		}
		kept = append(kept, b)
	}
	counter.Buckets = slices.DeleteFunc(kept, func(b charge.Bucket) bool { return b.Value == 0 })
	counter.Step = step
	return nil
}
