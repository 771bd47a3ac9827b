package state

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"

	"recharged/state/charge"
	"recharged/state/money"
)

// Volatile is a partition's state in memory and nowhere else: what a rulebook is
// tried on, millions of events a run. It gives the answers that Partition gives,
// but has no commits: what a turn changes is changed at once.
//
// Between turns a customer is its encoding, in a few large pieces of memory
// without a pointer in them: so the garbage collector has next to nothing to
// look at, and a customer is found with one jump. During a turn those are decoded
// whom it asks for.
//
// The zero Volatile is not ready for use; NewVolatile makes one. One goroutine
// uses it.
type Volatile struct {
	clock   charge.Instant
	numbers map[charge.MSISDN]int32 // of people
	people  []person
	last    int32 // who was asked for last
	slab    slab  // rows and ids of people
	crowds  map[int32]*crowd
	ids     int // that are remembered, of everybody

	touched []*touched // who was asked for in this turn; those beyond inUse wait to be used again
	inUse   int
	row     []byte // scratch

	parked map[charge.Position]ParkedEvent
	sums   sums
	tally  Tally
	notes  notes
	timers [charge.Slots]timerHeap
	next   charge.Instant // no timer is due before; zero: there is none

	book struct {
		version uint64
		source  []byte
	}
}

// person is what there is of a customer between turns. Its ids are those that are
// remembered, by age: the first is the one with ordinal Forgotten+1.
type person struct {
	msisdn  charge.MSISDN
	row     block          // the customer, encoded; empty: nobody has put it yet
	rowSize int32          // of which so many bytes
	ids     block          // see idBytes
	first   int32          // the oldest of them
	count   int32          // how many there are; those of a crowd are elsewhere
	due     charge.Instant // when something is due
	timer   charge.Instant // of which there is an entry in the heap; zero: none
	touched int32          // its place there, plus one; zero: it was not asked for
}

// touched is a customer as a turn knows it.
type touched struct {
	customer charge.Customer
	person   int32
	changed  bool
}

// crowd are the ids of a customer of whom there are many.
type crowd struct {
	ages  []aged
	index map[[16]byte]uint64 // content by identity
}

// crowdMin is how many ids make a crowd: fewer are looked through.
const crowdMin = 512

// NewVolatile returns a state without anybody in it.
func NewVolatile() *Volatile {
	return &Volatile{
		numbers: map[charge.MSISDN]int32{},
		crowds:  map[int32]*crowd{},
		parked:  map[charge.Position]ParkedEvent{},
		sums:    newSums(),
		tally:   Tally{Parked: map[string]uint64{}},
		notes:   newNotes(),
	}
}

// Clone returns a copy that shares nothing with v. It may be made between turns.
func (v *Volatile) Clone() *Volatile {
	v.settle()
	c := *v
	c.numbers, c.people, c.slab = maps.Clone(v.numbers), slices.Clone(v.people), v.slab.clone()
	c.crowds = make(map[int32]*crowd, len(v.crowds))
	for n, kept := range v.crowds {
		c.crowds[n] = &crowd{slices.Clone(kept.ages), maps.Clone(kept.index)}
	}
	c.touched, c.row = nil, nil
	c.parked = maps.Clone(v.parked)
	c.sums, c.tally, c.notes = v.sums.clone(), v.Tally(), v.notes.clone()
	for slot := range v.timers {
		c.timers[slot] = slices.Clone(v.timers[slot])
	}
	return &c
}

// What things take in memory besides the slab, estimated: a person with its
// number and timer, an id of a crowd, a parked event.
const (
	personMemory = 200
	idMemory     = 100
	parkedMemory = 600
)

// Memory estimates how many bytes the state takes.
func (v *Volatile) Memory() int {
	n := v.slab.memory() + personMemory*len(v.people) + parkedMemory*len(v.parked)
	for _, c := range v.crowds {
		n += idMemory * len(c.ages)
	}
	return n
}

// Begin starts a turn at that time of the log's clock.
func (v *Volatile) Begin(clock charge.Instant) {
	v.clock = clock
	v.settle()
	v.notes.begin()
}

// settle encodes the customers that the turn has changed.
func (v *Volatile) settle() {
	for _, t := range v.touched[:v.inUse] {
		p := &v.people[t.person]
		p.touched = 0
		if t.changed {
			v.row = charge.AppendCustomer(v.row[:0], &t.customer)
			p.row = v.slab.fit(p.row, len(v.row))
			p.rowSize = int32(copy(v.slab.bytes(p.row), v.row))
		}
	}
	v.inUse = 0
}

// Advance moves the log's clock on within the turn.
func (v *Volatile) Advance(clock charge.Instant) { v.clock = clock }

// number returns the number of a customer, who becomes one of the people.
func (v *Volatile) number(m charge.MSISDN) int32 {
	if len(v.people) > 0 && v.people[v.last].msisdn == m {
		return v.last
	}
	n, found := v.numbers[m]
	if !found {
		n = int32(len(v.people))
		v.numbers[m] = n
		v.people = append(v.people, person{msisdn: m})
	}
	v.last = n
	return n
}

// touch returns a customer as this turn knows it.
func (v *Volatile) touch(n int32) (*touched, error) {
	p := &v.people[n]
	if p.touched > 0 {
		return v.touched[p.touched-1], nil
	}
	if v.inUse == len(v.touched) {
		v.touched = append(v.touched, &touched{})
	}
	t := v.touched[v.inUse]
	v.inUse++
	p.touched = int32(v.inUse)
	t.person, t.changed = n, false
	if p.rowSize == 0 {
		t.customer.CopyFrom(&charge.Customer{MSISDN: p.msisdn})
		return t, nil
	}
	if err := charge.DecodeCustomer(v.slab.bytes(p.row)[:p.rowSize], &t.customer); err != nil {
		return nil, fmt.Errorf("read customer %s: %w: %w", p.msisdn.Masked(), ErrDamaged, err)
	}
	return t, nil
}

// Customer returns the customer, and whether it exists. The pointer holds until
// the next turn begins, what it points to until the next Put of that customer; it
// is changed through Put only.
func (v *Volatile) Customer(m charge.MSISDN) (*charge.Customer, bool, error) {
	t, err := v.touch(v.number(m))
	if err != nil {
		return nil, false, err
	}
	return &t.customer, t.changed || v.people[t.person].rowSize > 0, nil
}

// Put replaces the customer of that number, whom somebody has asked for in this
// turn, by *c and leaves the old one in *c. unit names the unit of a balance.
func (v *Volatile) Put(c *charge.Customer, unit func(balance string) string) {
	n := v.number(c.MSISDN)
	p := &v.people[n]
	if p.touched == 0 {
		panic(fmt.Sprintf("state: customer %s is put that nobody has asked for", c.MSISDN.Masked()))
	}
	kept := v.touched[p.touched-1]
	v.sums.move(&kept.customer, c, unit)
	if !kept.changed && p.rowSize == 0 {
		v.tally.Customers++
	}
	kept.customer, *c = *c, kept.customer
	kept.changed = true
	p.due = kept.customer.NextDue()
	v.schedule(n)
}

// schedule makes sure that there is an entry in the heap for what is due.
func (v *Volatile) schedule(n int32) {
	p := &v.people[n]
	if p.due == p.timer {
		return
	}
	p.timer = p.due
	if p.due != 0 {
		v.timers[p.msisdn.Slot()].push(timer{p.due, p.msisdn, n})
		v.next = charge.Sooner(v.next, p.due)
	}
}

// Post counts the other side of postings.
func (v *Volatile) Post(postings []charge.Posting) { v.sums.post(postings) }

// Ended counts events that ended.
func (v *Volatile) Ended(events int) { v.tally.Events += uint64(events) }

// An id of a person takes
//
//	identity(16) content(8) at(8) money(1)
const idBytes = 33

// idsOf returns the ids of a person, the oldest first.
func (v *Volatile) idsOf(p *person) []byte {
	if p.count == 0 {
		return nil
	}
	return v.slab.bytes(p.ids)[idBytes*p.first : idBytes*(p.first+p.count)]
}

func decodeID(b []byte) aged {
	a := aged{at: charge.Instant(binary.NativeEndian.Uint64(b[24:]))}
	copy(a.seen.Identity[:], b)
	a.seen.Content, a.seen.Money = binary.NativeEndian.Uint64(b[16:]), b[32] != 0
	return a
}

// Seen returns the content of the event that was remembered under that
// identity, and whether there was one.
func (v *Volatile) Seen(m charge.MSISDN, identity [16]byte) (content uint64, seen bool, err error) {
	n := v.number(m)
	p := &v.people[n]
	if p.count == 0 && len(v.crowds) > 0 && v.crowds[n] != nil {
		content, seen = v.crowds[n].index[identity]
		return content, seen, nil
	}
	half := binary.NativeEndian.Uint64(identity[:])
	for ids := v.idsOf(p); len(ids) > 0; ids = ids[idBytes:] {
		if binary.NativeEndian.Uint64(ids) == half && [16]byte(ids) == identity {
			return binary.NativeEndian.Uint64(ids[16:]), true, nil
		}
	}
	return 0, false, nil
}

// Remember records the id of an event of customer c, whose count it advances,
// and forgets ids that may be forgotten, as Partition.Remember does.
func (v *Volatile) Remember(c *charge.Customer, seen Seen, mayForget func(newer uint64, at charge.Instant, money bool) bool) error {
	n := v.number(c.MSISDN)
	c.Seen++
	v.remember(n, aged{seen, v.clock})
	v.ids++
	for range forgetMax {
		newer := c.Seen - c.Forgotten - 1
		if newer == 0 || !mayForget(newer, 0, false) {
			return nil // Too few are kept, whatever their age.
		}
		old := v.oldest(n)
		if !mayForget(newer, old.at, old.seen.Money) {
			return nil
		}
		v.forget(n)
		v.ids--
		c.Forgotten++
	}
	return nil
}

func (v *Volatile) remember(n int32, a aged) {
	if len(v.crowds) > 0 && v.crowds[n] != nil {
		v.crowds[n].add(a)
		return
	}
	p := &v.people[n]
	if p.count == crowdMin {
		v.crowd(n)
		v.crowds[n].add(a)
		return
	}
	if end := idBytes * int(p.first+p.count+1); end > p.ids.size() {
		v.makeRoom(p)
	}
	b := v.slab.bytes(p.ids)[idBytes*(p.first+p.count):]
	copy(b, a.seen.Identity[:])
	binary.NativeEndian.PutUint64(b[16:], a.seen.Content)
	binary.NativeEndian.PutUint64(b[24:], uint64(a.at))
	b[32] = boolByte(a.seen.Money)
	p.count++
}

// makeRoom makes room for another id behind the last one: where ids have been
// forgotten, or else in a larger block.
func (v *Volatile) makeRoom(p *person) {
	ids, old := v.idsOf(p), p.ids
	if 2*p.first <= p.count {
		p.ids = v.slab.take(2*len(ids) + idBytes)
	}
	copy(v.slab.bytes(p.ids), ids)
	p.first = 0
	if p.ids != old {
		v.slab.give(old)
	}
}

// crowd makes a crowd of a person's ids.
func (v *Volatile) crowd(n int32) {
	p := &v.people[n]
	c := &crowd{index: map[[16]byte]uint64{}}
	for ids := v.idsOf(p); len(ids) > 0; ids = ids[idBytes:] {
		c.add(decodeID(ids))
	}
	v.slab.give(p.ids)
	p.ids, p.first, p.count = block{}, 0, 0
	v.crowds[n] = c
}

func (c *crowd) add(a aged) {
	c.ages = append(c.ages, a)
	c.index[a.seen.Identity] = a.seen.Content
}

// oldest returns the id that was remembered first of those that still are.
func (v *Volatile) oldest(n int32) aged {
	if c := v.crowds[n]; c != nil {
		return c.ages[0]
	}
	return decodeID(v.idsOf(&v.people[n]))
}

// forget drops the oldest id.
func (v *Volatile) forget(n int32) {
	if c := v.crowds[n]; c != nil {
		delete(c.index, c.ages[0].seen.Identity)
		c.ages = c.ages[1:]
		return
	}
	v.people[n].first++
	v.people[n].count--
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
			t := timers.pop()
			if !v.stale(t) {
				v.people[t.person].timer = 0
				due = append(due, t.msisdn)
			}
		}
		if len(*timers) > 0 {
			v.next = charge.Sooner(v.next, (*timers)[0].due)
		}
	}
	return due, nil
}

// stale reports whether the customer's timer has been moved since.
func (v *Volatile) stale(t timer) bool { return v.people[t.person].timer != t.due }

// Postpone says that customers whom Due returned were not dealt with.
func (v *Volatile) Postpone(customers []charge.MSISDN) {
	for _, m := range customers {
		if n := v.number(m); v.people[n].timer == 0 {
			v.schedule(n)
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
// handed holds during the visit and is not to be changed. It may be called
// between turns.
func (v *Volatile) Customers(visit func(*charge.Customer) bool) {
	v.settle()
	var c charge.Customer
	for i := range v.people {
		p := &v.people[i]
		if p.rowSize == 0 {
			continue
		}
		if err := charge.DecodeCustomer(v.slab.bytes(p.row)[:p.rowSize], &c); err != nil {
			panic(fmt.Sprintf("state: a customer in memory is not one: %v", err))
		}
		if !visit(&c) {
			return
		}
	}
}
