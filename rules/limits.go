package rules

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"recharged/state/charge"
)

// limit is how often a rule may apply to one customer in a period. Its uses are
// remembered in a counter of the customer that is named after the rule and the
// period, so a rule that is edited and keeps its name keeps its memory.
type limit struct {
	count   int64
	counter string
	period  period
	rolling time.Duration // of rollingWindow: its length
}

// period is the kind of time that a limit counts in.
type period uint8

const (
	hourly period = iota
	daily
	weekly
	monthly
	wholeCampaign
	rollingWindow
)

// periods are the names of the calendar periods, by their number.
var periods = [...]string{"hour", "day", "week", "month", "campaign"}

const (
	// rollingSteps is up to how many uses a rolling window remembers the instant of
	// each. One that allows more has so many steps and rounds a use up to the end of
	// its step: it lets go up to two steps late, never early.
	rollingSteps = 240

	// limitBucketsMax bounds how many periods, or instants of a rolling window, are
	// remembered of one limit; it exceeds what one rolling window can have. A late
	// event from before the oldest of so many is passed over, because nobody can
	// tell any more whether it fits.
	limitBucketsMax = 512

	limitPrefix = "limit:"
)

// Use is one use of a limited rule, to be remembered by Settle.
type Use struct {
	Rule    string
	Counter string // of the customer
	Index   int64  // of the counter's bucket

	limit *limit
}

// step is to what a rolling window rounds its instants.
func (m *limit) step() time.Duration {
	if m.count <= rollingSteps {
		return 1
	}
	return m.rolling / rollingSteps
}

// reach is how far from a use of a rolling window another one still counts.
func (m *limit) reach() time.Duration {
	if step := m.step(); step > 1 {
		return m.rolling + step
	}
	return m.rolling - 1 // A window contains one of its two ends.
}

// index returns the bucket of an instant: the period's ordinal in local time; of
// a rolling window the instant itself, rounded.
func (m *limit) index(at charge.Instant, location *time.Location, weekStart time.Weekday) int64 {
	local := at.Time().In(location)
	_, offset := local.Zone()
	seconds := local.Unix() + int64(offset)
	switch m.period {
	case hourly:
		return floorDiv(seconds, 3600)
	case daily:
		return floorDiv(seconds, 86400)
	case weekly:
		return floorDiv(floorDiv(seconds, 86400)+int64(time.Thursday-weekStart), 7) // Day 0 was a Thursday.
	case monthly:
		return int64(local.Year())*12 + int64(local.Month()) - 1
	case rollingWindow:
		step := int64(m.step())
		return (floorDiv(int64(at), step)+1)*step - 1
	}
	return 0
}

// allows reports whether one more use at that bucket keeps every period within
// the count. A late event finds uses after it: each rolling window that it
// would be part of must have room.
func (m *limit) allows(c *charge.Customer, index int64) bool {
	counter := c.Counter(m.counter)
	if counter == nil || len(counter.Buckets) == 0 {
		return true
	}
	if len(counter.Buckets) >= limitBucketsMax && index < counter.Buckets[0].Index {
		return false
	}
	return m.used(counter, index) < m.count
}

// used returns how many uses there are in the period of that bucket; of a
// rolling window, in the busiest that the bucket is part of. Each ends with
// it or with a use after it.
func (m *limit) used(counter *charge.Counter, index int64) int64 {
	if m.period != rollingWindow {
		return counter.Sum(index, index)
	}
	reach := int64(m.reach())
	most := counter.Sum(index-reach, index)
	for i := len(counter.Buckets) - 1; i >= 0 && counter.Buckets[i].Index > index; i-- {
		if last := counter.Buckets[i].Index; last <= index+reach {
			most = max(most, counter.Sum(last-reach, last))
		}
	}
	return most
}

// forgets returns the first bucket that an event can still need at that clock.
func (m *limit) forgets(b *Book, clock charge.Instant) int64 {
	if m.period == wholeCampaign {
		return 0
	}
	return m.index(clock.Add(-b.plan.Lateness-m.rolling), b.plan.Location, b.weekStart)
}

// remember adds a use to the customer's memory and drops the buckets before
// oldest, and the oldest ones of too many.
func (u *Use) remember(c *charge.Customer, oldest int64) {
	counter := c.OpenCounter(u.Counter, 0)
	i, found := slices.BinarySearchFunc(counter.Buckets, u.Index, func(b charge.Bucket, index int64) int {
		return cmp.Compare(b.Index, index)
	})
	if !found {
		counter.Buckets = slices.Insert(counter.Buckets, i, charge.Bucket{Index: u.Index})
	}
	counter.Buckets[i].Value++
	drop := max(0, len(counter.Buckets)-limitBucketsMax)
	for drop < len(counter.Buckets) && counter.Buckets[drop].Index < oldest {
		drop++
	}
	counter.Buckets = slices.Delete(counter.Buckets, 0, drop)
}

// floorDiv returns a/b rounded towards minus infinity; b is positive.
func floorDiv(a, b int64) int64 {
	quotient := a / b
	if a%b < 0 {
		quotient--
	}
	return quotient
}

// limits reads a rule's limits. Its credits must have been read.
func (l *loader) limits(n *node, r *rule) {
	if n == nil || !l.isMapping(n, "limits", limitsForm) {
		return
	}
	l.budget(n.get("budget"), r)
	const hint = "add per_customer: [{count: 1, per: day}], or leave limits out"
	if len(n.entries) == 0 {
		l.errorf(n.place, hint, "limits is empty")
	}
	perCustomer := n.get("per_customer")
	if perCustomer == nil || !l.isList(perCustomer, "per_customer") {
		return
	}
	if len(perCustomer.items) == 0 {
		l.errorf(perCustomer.place, hint, "per_customer is empty")
	}
	for _, item := range perCustomer.items {
		if !l.isMapping(item, "limit", limitForm) || !l.needs(item, "limit", []string{"count", "per"}) {
			continue
		}
		m := limit{count: l.integer(item.get("count"), 1, limitCountMax)}
		per := item.get("per")
		if !l.period(per, &m) {
			continue
		}
		m.counter = limitPrefix + r.Name + ":" + m.name()
		if slices.ContainsFunc(r.limits, func(o limit) bool { return o.counter == m.counter }) {
			l.errorf(per.place, "keep the smaller one", "two limits per %s", per.text)
			continue
		}
		r.limits = append(r.limits, m)
	}
}

// limitCountMax is the largest number of uses that a limit may allow.
const limitCountMax = 1_000_000_000

func (l *loader) period(n *node, m *limit) bool {
	text, ok := l.text(n)
	if !ok {
		return false
	}
	if i := slices.Index(periods[:], text); i >= 0 {
		m.period = period(i)
		return true
	}
	length, err := parseSpan(text)
	if err != nil || length < time.Second {
		l.errorf(n.place, "write "+strings.Join(periods[:], ", ")+" or a duration such as 24h", "%q is not a period", text)
		return false
	}
	m.period, m.rolling = rollingWindow, length
	return true
}

// name returns the period as it is part of the counter's name.
func (m *limit) name() string {
	if m.period == rollingWindow {
		return m.rolling.String()
	}
	return periods[m.period]
}
