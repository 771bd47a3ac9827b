package charge

import (
	"slices"
	"time"

	"recharged/state/money"
)

// Customer is all that the processor remembers of one MSISDN. It is changed by
// its partition's turn alone; its slices are sorted by name so that one
// customer has one encoding.
type Customer struct {
	MSISDN     MSISDN
	Balances   []Balance
	Attributes []Field
	Tags       []string
	Counters   []Counter
	Timers     []Timer // sorted by rule

	Recharges    int64 // how many, ever
	LastRecharge Instant

	// Seen counts the ids that were remembered for this customer, and Forgotten
	// how many of them, the oldest first, were dropped again: the ids with
	// ordinals Forgotten+1 … Seen are kept.
	Seen, Forgotten uint64
}

// Balance is what a customer holds under one name of the rulebook.
type Balance struct {
	Name  string
	Parts []Part // in the order in which they were credited
}

// Part is a share of a balance with an expiry of its own. Its amount is
// positive: a part that is used up is removed.
type Part struct {
	Amount  money.Amount
	Expires Instant // zero: never. From this instant on the part is worth nothing.
}

// Live reports whether the part is worth something at that instant.
func (p Part) Live(at Instant) bool { return p.Expires == 0 || at < p.Expires }

// Total returns what the balance is worth at that instant.
func (b *Balance) Total(at Instant) money.Amount {
	var total money.Amount
	for _, p := range b.Parts {
		if p.Live(at) {
			total += p.Amount // The ledger keeps the sum of all parts within AmountMax.
		}
	}
	return total
}

// Counter is a sparse histogram over time: how many, or how much, fell into
// each step. Windows and limits read it.
type Counter struct {
	Name    string
	Step    int64    // length of a bucket in seconds; 0 when buckets are calendar periods or instants
	Buckets []Bucket // sorted by index, values not zero
}

// Bucket is one step of a counter.
type Bucket struct {
	Index int64
	Value int64
}

// Timer is what a rule that waits for silence waits for: at most one for each
// rule. Nothing but the rulebook knows how long it waits, so the timer remembers
// since when.
type Timer struct {
	Rule  string
	Armed Instant // when the silence began
	Due   Instant // when it has lasted long enough
}

// Sum adds the buckets from first to last, both included.
func (c *Counter) Sum(first, last int64) int64 {
	var sum int64
	for _, b := range c.Buckets {
		if first <= b.Index && b.Index <= last {
			sum += b.Value
		}
	}
	return sum
}

// Balance returns the balance of that name, or nil.
func (c *Customer) Balance(name string) *Balance {
	if i, ok := find(c.Balances, name, func(b *Balance) string { return b.Name }); ok {
		return &c.Balances[i]
	}
	return nil
}

// OpenBalance returns the balance of that name, a new empty one if there is none.
// The pointer holds until the next balance is opened.
func (c *Customer) OpenBalance(name string) *Balance {
	i, ok := find(c.Balances, name, func(b *Balance) string { return b.Name })
	if !ok {
		c.Balances = slices.Insert(c.Balances, i, Balance{Name: name})
	}
	return &c.Balances[i]
}

// Total returns what the customer holds of a balance at that instant.
func (c *Customer) Total(name string, at Instant) money.Amount {
	if b := c.Balance(name); b != nil {
		return b.Total(at)
	}
	return 0
}

// Counter returns the counter of that name, or nil.
func (c *Customer) Counter(name string) *Counter {
	if i, ok := find(c.Counters, name, func(c *Counter) string { return c.Name }); ok {
		return &c.Counters[i]
	}
	return nil
}

// OpenCounter returns the counter of that name, a new empty one if there is
// none. The pointer holds until the next counter is opened.
func (c *Customer) OpenCounter(name string, step int64) *Counter {
	i, ok := find(c.Counters, name, func(c *Counter) string { return c.Name })
	if !ok {
		c.Counters = slices.Insert(c.Counters, i, Counter{Name: name, Step: step})
	}
	return &c.Counters[i]
}

// Timer returns the timer of that rule, or nil.
func (c *Customer) Timer(rule string) *Timer {
	if i, ok := find(c.Timers, rule, func(t *Timer) string { return t.Rule }); ok {
		return &c.Timers[i]
	}
	return nil
}

// OpenTimer returns the timer of that rule, a new one that is not armed if there
// is none. The pointer holds until the next timer is opened.
func (c *Customer) OpenTimer(rule string) *Timer {
	i, ok := find(c.Timers, rule, func(t *Timer) string { return t.Rule })
	if !ok {
		c.Timers = slices.Insert(c.Timers, i, Timer{Rule: rule})
	}
	return &c.Timers[i]
}

// Attribute returns the attribute of that name, or a Missing value.
func (c *Customer) Attribute(name string) Value { return Find(c.Attributes, name) }

// SetAttribute sets an attribute.
func (c *Customer) SetAttribute(name string, v Value) {
	i, ok := find(c.Attributes, name, func(f *Field) string { return f.Name })
	if !ok {
		c.Attributes = slices.Insert(c.Attributes, i, Field{Name: name})
	}
	c.Attributes[i].Value = v
}

// UnsetAttribute removes an attribute.
func (c *Customer) UnsetAttribute(name string) {
	if i, ok := find(c.Attributes, name, func(f *Field) string { return f.Name }); ok {
		c.Attributes = slices.Delete(c.Attributes, i, i+1)
	}
}

// Tagged reports whether the customer bears the tag.
func (c *Customer) Tagged(tag string) bool {
	_, ok := slices.BinarySearch(c.Tags, tag)
	return ok
}

// Tag puts a tag on the customer.
func (c *Customer) Tag(tag string) {
	if i, ok := slices.BinarySearch(c.Tags, tag); !ok {
		c.Tags = slices.Insert(c.Tags, i, tag)
	}
}

// Untag takes a tag off the customer.
func (c *Customer) Untag(tag string) {
	if i, ok := slices.BinarySearch(c.Tags, tag); ok {
		c.Tags = slices.Delete(c.Tags, i, i+1)
	}
}

// NextExpiry returns the first instant at which a part expires, or zero.
func (c *Customer) NextExpiry() Instant {
	var next Instant
	for i := range c.Balances {
		for _, p := range c.Balances[i].Parts {
			next = Sooner(next, p.Expires)
		}
	}
	return next
}

// NextDue returns the first instant at which the passing of time alone does
// something to the customer, because a part expires or a timer is due, or zero.
func (c *Customer) NextDue() Instant {
	next := c.NextExpiry()
	for _, t := range c.Timers {
		next = Sooner(next, t.Due)
	}
	return next
}

// Tracking is the customer's tracking intensity: 70 on the day of a recharge,
// falling in a straight line to 0 at day 120, rounded down.
func (c *Customer) Tracking(at Instant) int64 {
	const full, daysMax = 70, 120
	days := c.DaysSinceRecharge(at)
	if days < 0 || days >= daysMax {
		return 0
	}
	return full * (daysMax - days) / daysMax
}

// DaysSinceRecharge returns the whole days since the last recharge; -1 when
// there was none.
func (c *Customer) DaysSinceRecharge(at Instant) int64 {
	if c.LastRecharge == 0 {
		return -1
	}
	return max(0, int64(at.Sub(c.LastRecharge)/(24*time.Hour)))
}

// CopyFrom makes c an independent copy of src, reusing c's memory. Attribute
// values are shared: they are replaced, never changed in place.
func (c *Customer) CopyFrom(src *Customer) {
	balances, counters := c.Balances, c.Counters
	attributes := append(c.Attributes[:0], src.Attributes...)
	tags := append(c.Tags[:0], src.Tags...)
	timers := append(c.Timers[:0], src.Timers...)
	*c = *src
	c.Attributes, c.Tags, c.Timers = attributes, tags, timers
	c.Balances = resize(balances, len(src.Balances))
	for i := range src.Balances {
		parts := append(c.Balances[i].Parts[:0], src.Balances[i].Parts...)
		c.Balances[i] = Balance{src.Balances[i].Name, parts}
	}
	c.Counters = resize(counters, len(src.Counters))
	for i := range src.Counters {
		buckets := append(c.Counters[i].Buckets[:0], src.Counters[i].Buckets...)
		c.Counters[i] = src.Counters[i]
		c.Counters[i].Buckets = buckets
	}
}

// resize returns s with length n, its old elements kept for their memory, also
// those beyond its length. So an element is removed with slices.Delete only,
// which clears what it leaves behind: no two elements may share memory.
func resize[T any](s []T, n int) []T {
	s = s[:cap(s)]
	if len(s) < n {
		s = append(s, make([]T, n-len(s))...)
	}
	return s[:n]
}

// find searches a slice that is sorted by name. It hands out pointers into the
// slice, because a copied element would move to the heap at each step.
func find[T any](s []T, name string, nameOf func(*T) string) (int, bool) {
	low, high := 0, len(s)
	for low < high {
		middle := int(uint(low+high) >> 1)
		if nameOf(&s[middle]) < name {
			low = middle + 1
		} else {
			high = middle
		}
	}
	return low, low < len(s) && nameOf(&s[low]) == name
}
