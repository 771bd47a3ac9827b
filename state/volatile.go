package state

import (
	"cmp"
	"container/heap"
	"maps"
	"slices"

	"recharged/state/charge"
	"recharged/state/money"
)

// Volatile is a partition's state in memory and nowhere else: what a rulebook is
// tried on, millions of events a run. It gives the answers that Partition gives,
// but has no commits: what a turn changes is changed at once.
//
// The zero Volatile is not ready for use; NewVolatile makes one. One goroutine
// uses it.
type Volatile struct {
	clock     charge.Instant
	customers map[charge.MSISDN]*volatileCustomer
	last      *volatileCustomer // whom somebody asked for last
	ids       int               // that are remembered, of everybody
	parked    map[charge.Position]ParkedEvent
	sums      sums
	tally     Tally
	notes     notes
	timers    [charge.Slots]timerHeap
	next      charge.Instant // no timer is due before; zero: there is none

	book struct {
		version uint64
		source  []byte
	}
}

// volatileCustomer is a customer, and what is remembered of its ids by age: the
// first is the one with ordinal Forgotten+1. Few are looked through; of many
// there is an index.
type volatileCustomer struct {
	customer charge.Customer
	known    bool
	timer    charge.Instant // of which there is an entry in the heap; zero: none
	ages     []aged
	index    map[[16]byte]uint64 // content by identity; nil: there are few
}

// idsScanned is how many ids are looked through without an index.
const idsScanned = 64

// find returns the content of the event of that identity.
func (c *volatileCustomer) find(identity [16]byte) (content uint64, found bool) {
	if c.index != nil {
		content, found = c.index[identity]
		return content, found
	}
	for i := range c.ages {
		if c.ages[i].seen.Identity == identity {
			return c.ages[i].seen.Content, true
		}
	}
	return 0, false
}

func (c *volatileCustomer) remember(seen Seen, at charge.Instant) {
	c.ages = append(c.ages, aged{seen, at})
	if c.index == nil && len(c.ages) > idsScanned {
		c.index = make(map[[16]byte]uint64, 2*idsScanned)
		for i := range c.ages {
			c.index[c.ages[i].seen.Identity] = c.ages[i].seen.Content
		}
	}
	if c.index != nil {
		c.index[seen.Identity] = seen.Content
	}
}

// forget drops the oldest id.
func (c *volatileCustomer) forget() {
	if c.index != nil {
		delete(c.index, c.ages[0].seen.Identity)
	}
	c.ages = c.ages[1:]
}

// clone returns a copy that shares nothing.
func (c *volatileCustomer) clone() *volatileCustomer {
	d := &volatileCustomer{known: c.known, timer: c.timer, ages: slices.Clone(c.ages), index: maps.Clone(c.index)}
	d.customer.CopyFrom(&c.customer)
	return d
}

// NewVolatile returns a state without anybody in it.
func NewVolatile() *Volatile {
	return &Volatile{
		customers: map[charge.MSISDN]*volatileCustomer{},
		parked:    map[charge.Position]ParkedEvent{},
		sums:      newSums(),
		tally:     Tally{Parked: map[string]uint64{}},
		notes:     newNotes(),
	}
}

// Clone returns a copy that shares nothing with v.
func (v *Volatile) Clone() *Volatile {
	c := *v
	c.last = nil
	c.customers = make(map[charge.MSISDN]*volatileCustomer, len(v.customers))
	for m, kept := range v.customers {
		c.customers[m] = kept.clone()
	}
	c.parked = maps.Clone(v.parked)
	c.sums, c.tally, c.notes = v.sums.clone(), v.Tally(), v.notes.clone()
	for slot := range v.timers {
		c.timers[slot] = slices.Clone(v.timers[slot])
	}
	return &c
}

// Estimates of what things take in memory.
const (
	customerMemory = 1000
	idMemory       = 60
	parkedMemory   = 600
)

// Memory estimates how many bytes the state takes.
func (v *Volatile) Memory() int {
	return customerMemory*len(v.customers) + idMemory*v.ids + parkedMemory*len(v.parked)
}

// of returns a customer, a new one if there is none.
func (v *Volatile) of(m charge.MSISDN) *volatileCustomer {
	if v.last != nil && v.last.customer.MSISDN == m {
		return v.last
	}
	c := v.customers[m]
	if c == nil {
		c = &volatileCustomer{customer: charge.Customer{MSISDN: m}}
		v.customers[m] = c
	}
	v.last = c
	return c
}

// Begin starts a turn at that time of the log's clock.
func (v *Volatile) Begin(clock charge.Instant) {
	v.clock = clock
	v.notes.begin()
}

// Advance moves the log's clock on within the turn.
func (v *Volatile) Advance(clock charge.Instant) { v.clock = clock }

// Customer returns the customer, and whether it exists. The pointer holds until
// the next Put of that customer; it is changed through Put only.
func (v *Volatile) Customer(m charge.MSISDN) (*charge.Customer, bool, error) {
	c := v.of(m)
	return &c.customer, c.known, nil
}

// Put replaces the customer of that number by *c and leaves the old one in *c.
// unit names the unit of a balance.
func (v *Volatile) Put(c *charge.Customer, unit func(balance string) string) {
	kept := v.of(c.MSISDN)
	v.sums.move(&kept.customer, c, unit)
	if !kept.known {
		kept.known = true
		v.tally.Customers++
	}
	kept.customer, *c = *c, kept.customer
	if due := kept.customer.NextDue(); due != kept.timer {
		kept.timer = due
		if due != 0 {
			heap.Push(&v.timers[kept.customer.MSISDN.Slot()], timer{due, kept.customer.MSISDN})
			v.next = sooner(v.next, due)
		}
	}
}

// Post counts the other side of postings.
func (v *Volatile) Post(postings []charge.Posting) { v.sums.post(postings) }

// Ended counts events that ended.
func (v *Volatile) Ended(events int) { v.tally.Events += uint64(events) }

// Seen returns the content of the event that was remembered under that
// identity, and whether there was one.
func (v *Volatile) Seen(m charge.MSISDN, identity [16]byte) (content uint64, seen bool, err error) {
	content, seen = v.of(m).find(identity)
	return content, seen, nil
}

// Remember records the id of an event of customer c, whose count it advances,
// and forgets ids that may be forgotten, as Partition.Remember does.
func (v *Volatile) Remember(c *charge.Customer, seen Seen, mayForget func(newer uint64, at charge.Instant, money bool) bool) error {
	kept := v.of(c.MSISDN)
	c.Seen++
	kept.remember(seen, v.clock)
	v.ids++
	for range forgetMax {
		newer := c.Seen - c.Forgotten - 1
		if newer == 0 || !mayForget(newer, 0, false) {
			return nil // Too few are kept, whatever their age.
		}
		old := kept.ages[0]
		if !mayForget(newer, old.at, old.seen.Money) {
			return nil
		}
		kept.forget()
		v.ids--
		c.Forgotten++
	}
	return nil
}

// Index does nothing: outcomes are not found again here.
func (v *Volatile) Index(charge.MSISDN, int) {}

// Park sets an event aside.
func (v *Volatile) Park(e *ParkedEvent) {
	v.parked[e.Position] = *e
	v.tally.Parked[string(e.Reason)]++
}

// Unpark takes a parked event out again; false if there is none of that name.
func (v *Volatile) Unpark(at charge.Position) (ParkedEvent, bool, error) {
	e, found := v.parked[at]
	if !found {
		return ParkedEvent{}, false, nil
	}
	delete(v.parked, at)
	v.tally.unpark(e.Reason)
	return e, true, nil
}

// SetBook makes a rulebook the one in force.
func (v *Volatile) SetBook(version uint64, source []byte) {
	v.book.version, v.book.source = version, source
}

// Note returns what is noted under a name, nil if nothing is.
func (v *Volatile) Note(name string) []byte { return v.notes.values[name] }

// SetNote notes a value under a name, nil to strike it out. It keeps the value.
func (v *Volatile) SetNote(name string, value []byte) { v.notes.set(name, value) }

// Notes visits what is noted under names with a prefix, sorted by name, until
// visit returns false.
func (v *Volatile) Notes(prefix string, visit func(name string, value []byte) bool) {
	v.notes.visit(prefix, visit)
}

// Bytes returns zero: there is no delta that could get too large.
func (v *Volatile) Bytes() int { return 0 }

// NextDue returns an instant before which no timer is due; zero if there is no
// timer at all.
func (v *Volatile) NextDue() charge.Instant { return v.next }

// Due returns up to limit customers who have a timer that is due, in the order
// of slot, instant and number.
func (v *Volatile) Due(limit int) ([]charge.MSISDN, error) {
	if v.next == 0 || v.next > v.clock {
		return nil, nil
	}
	var due []charge.MSISDN
	v.next = 0
	for slot := range v.timers {
		timers := &v.timers[slot]
		for len(*timers) > 0 && (v.stale((*timers)[0]) || (*timers)[0].due <= v.clock && len(due) < limit) {
			t := heap.Pop(timers).(timer)
			if !v.stale(t) {
				v.customers[t.msisdn].timer = 0
				due = append(due, t.msisdn)
			}
		}
		if len(*timers) > 0 {
			v.next = sooner(v.next, (*timers)[0].due)
		}
	}
	return due, nil
}

// stale reports whether the customer's timer has been moved since.
func (v *Volatile) stale(t timer) bool { return v.customers[t.msisdn].timer != t.due }

// Postpone says that customers whom Due returned were not dealt with.
func (v *Volatile) Postpone(customers []charge.MSISDN) {
	for _, m := range customers {
		kept := v.customers[m]
		if due := kept.customer.NextDue(); due != 0 && kept.timer == 0 {
			kept.timer = due
			heap.Push(&v.timers[m.Slot()], timer{due, m})
			v.next = sooner(v.next, due)
		}
	}
}

// Tally returns what there is.
func (v *Volatile) Tally() Tally {
	t := v.tally
	t.Parked = maps.Clone(t.Parked)
	return t
}

// Imbalance returns, for every unit, what customers hold minus what the
// accounts say they should: zero, always.
func (v *Volatile) Imbalance() map[string]money.Sum { return maps.Clone(v.sums.imbalance) }

// Customers visits everybody, in no order, until visit returns false. What it is
// handed is not to be changed.
func (v *Volatile) Customers(visit func(*charge.Customer) bool) {
	for _, c := range v.customers {
		if c.known && !visit(&c.customer) {
			return
		}
	}
}

// timer says when a customer is due.
type timer struct {
	due    charge.Instant
	msisdn charge.MSISDN
}

// timerHeap is a heap of timers by instant and number.
type timerHeap []timer

func (h timerHeap) Len() int { return len(h) }

func (h timerHeap) Less(i, j int) bool {
	return cmp.Or(cmp.Compare(h[i].due, h[j].due), cmp.Compare(h[i].msisdn, h[j].msisdn)) < 0
}

func (h timerHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }

// Push implements heap.Interface.
func (h *timerHeap) Push(t any) { *h = append(*h, t.(timer)) }

// Pop implements heap.Interface.
func (h *timerHeap) Pop() any {
	last := len(*h) - 1
	t := (*h)[last]
	*h = (*h)[:last]
	return t
}
