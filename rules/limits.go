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
	// rollingSteps is how many buckets a rolling window has at least, if whole
	// seconds allow. It lets go of a use up to one step late, never early.
	rollingSteps = 240

	// limitBucketsMax bounds how many periods, or steps of a rolling window, are
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

// step returns the length of a rolling window's buckets; a calendar period has none.
func (m *limit) step() int64 {
	if m.period != rollingWindow {
		return 0
	}
	return max(1, int64(m.rolling/rollingSteps/time.Second))
}

// width is how many buckets before its own a rolling window reaches into.
func (m *limit) width() int64 {
	step := m.step()
	return (int64(m.rolling/time.Second) + step - 1) / step
}

// index returns the bucket of an instant: the period's ordinal in local time.
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
		return floorDiv(local.Unix(), m.step())
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
	first, newest := counter.Buckets[0].Index, counter.Buckets[len(counter.Buckets)-1].Index
	switch {
	case len(counter.Buckets) >= limitBucketsMax && index < first:
		return false
	case m.period != rollingWindow:
		return counter.Sum(index, index) < m.count
	}
	width := m.width()
	for last := index; last <= max(index, min(newest, index+width)); last++ {
		if counter.Sum(last-width, last) >= m.count {
			return false
		}
	}
	return true
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
	counter := c.OpenCounter(u.Counter, u.limit.step())
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
	if err != nil || length < time.Minute {
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
