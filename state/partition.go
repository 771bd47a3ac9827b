package state

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"recharged/state/charge"
	"recharged/state/money"
)

// Partition is the owner's side of the state: it reads customers, gathers what
// a turn changes, encodes that as the delta of the turn's commit, and applies
// the delta when the commit is durable. One goroutine uses it.
//
//	Begin → Customer, Put, Seen, Remember, … → Delta → (commit) → Applied
//
// What a turn has gathered is visible to the rest of that turn and to nobody
// else. A turn whose commit did not come about is not undone: its partition is
// given up, and owned again from the store.
type Partition struct {
	store *Store
	id    charge.Partition
	clock charge.Instant // of the record being judged

	working map[charge.MSISDN]int // index in entries
	entries []entry               // customers touched in this turn, in order; reused
	used    int
	fresh   map[freshKey]freshID            // ids that this turn has remembered or forgotten
	ages    map[ageKey]aged                 // ids that this turn has remembered, by age
	parked  map[charge.Position]ParkedEvent // in this turn
	bytes   int                             // of the customers changed in this turn, estimated
	ids     *pebble.Iterator                // over the store as it was at the turn's first look-up of an id
	delta   deltaWriter
	key     []byte // scratch

	sums  sums // ledger totals, as of this turn
	tally Tally
	notes notes

	due  [charge.Slots]charge.Instant // no timer of the slot is due before, as earlier turns left them; zero: it has none
	next charge.Instant               // the first of them; zero: there is none
	soon charge.Instant               // no timer that this turn has set is due before; zero: it has set none
}

// entry is a customer in the working set of a turn.
type entry struct {
	customer charge.Customer
	known    bool           // the customer exists
	changed  bool           // in this turn
	bytes    int            // of its row, estimated, once it was changed
	timer    charge.Instant // the timer row that the store holds, zero: none
}

type freshKey struct {
	msisdn   charge.MSISDN
	identity [16]byte
}

type freshID struct {
	content   uint64
	forgotten bool
}

type ageKey struct {
	msisdn  charge.MSISDN
	ordinal uint64
}

type aged struct {
	seen Seen
	at   charge.Instant
}

// Own opens a partition for its one owner. The commit log must have been
// folded up to its end.
func (s *Store) Own(id charge.Partition, partitions int) (*Partition, error) {
	p := &Partition{
		store:   s,
		id:      id,
		working: map[charge.MSISDN]int{},
		fresh:   map[freshKey]freshID{},
		ages:    map[ageKey]aged{},
		parked:  map[charge.Position]ParkedEvent{},
		sums:    newSums(),
	}
	row, err := s.get(partitionKey(nil, id, tableTally))
	if err != nil {
		return nil, err
	}
	if p.tally, err = decodeTally(row); err != nil {
		return nil, fmt.Errorf("own partition %d: %w", id, err)
	}
	if err := p.loadTotals(); err != nil {
		return nil, fmt.Errorf("own partition %d: %w", id, err)
	}
	if err := p.loadNotes(); err != nil {
		return nil, fmt.Errorf("own partition %d: %w", id, err)
	}
	for slot := range charge.Slot(charge.Slots) {
		if slot.PartitionOf(partitions) != id {
			continue
		}
		if p.due[slot], err = s.firstTimer(slot); err != nil {
			return nil, fmt.Errorf("own partition %d: %w", id, err)
		}
		p.next = charge.Sooner(p.next, p.due[slot])
	}
	return p, nil
}

func (p *Partition) loadTotals() error {
	prefix := partitionKey(nil, p.id, tableTotal)
	return p.store.scan(prefix, func(key, row []byte) (bool, error) {
		unit, account, ok := bytes.Cut(key[len(prefix):], []byte{0})
		sum, err := decodeSum(row)
		if err != nil || !ok {
			return false, fmt.Errorf("ledger total %x: %w: %w", key, ErrDamaged, err)
		}
		p.sums.load(totalName{string(unit), charge.Account(account)}, sum)
		return true, nil
	})
}

func (p *Partition) loadNotes() error {
	p.notes = newNotes()
	return p.store.Notes(p.id, "", func(name string, value []byte) bool {
		p.notes.values[name] = bytes.Clone(value)
		return true
	})
}

// Begin starts a turn at that time of the log's clock.
func (p *Partition) Begin(clock charge.Instant) {
	p.clock = clock
	p.used, p.bytes, p.soon = 0, 0, 0
	p.notes.begin()
	clear(p.working)
	clear(p.fresh)
	clear(p.ages)
	clear(p.parked)
	p.delta.reset(p.id, clock)
}

// Advance moves the log's clock on within the turn.
func (p *Partition) Advance(clock charge.Instant) { p.clock = clock }

// Customer returns the customer as this turn sees it, and whether it exists.
// The pointer holds until the next call; it is changed through Put only.
func (p *Partition) Customer(m charge.MSISDN) (*charge.Customer, bool, error) {
	if i, ok := p.working[m]; ok {
		return &p.entries[i].customer, p.entries[i].known, nil
	}
	if p.used == len(p.entries) {
		p.entries = append(p.entries, entry{})
	}
	e := &p.entries[p.used]
	known, err := p.store.customer(m, &e.customer, true)
	if err != nil {
		return nil, false, err
	}
	if !known {
		e.customer.CopyFrom(&charge.Customer{MSISDN: m})
	}
	e.known, e.changed, e.bytes, e.timer = known, false, 0, e.customer.NextDue()
	p.working[m] = p.used
	p.used++
	return &e.customer, known, nil
}

// Put replaces the customer of that number by *c, which must have come from
// Customer in this turn, and leaves the old one in *c: memory changes hands,
// nothing is copied. unit names the unit of a balance.
func (p *Partition) Put(c *charge.Customer, unit func(balance string) string) {
	e := &p.entries[p.working[c.MSISDN]]
	p.sums.move(&e.customer, c, unit)
	if !e.known {
		p.tally.Customers++
	}
	e.customer, *c = *c, e.customer
	e.known, e.changed = true, true
	p.soon = charge.Sooner(p.soon, e.customer.NextDue())
	bytes := RowBytes(&e.customer) + customerKeyBytes + timerRowsBytes
	p.bytes += bytes - e.bytes
	e.bytes = bytes
}

// timerRowsBytes is what it takes to move a customer's timer.
const timerRowsBytes = 2 * (2 + 1 + 8 + 8 + 4)

// Bytes estimates, generously, how large the turn's delta is by now.
func (p *Partition) Bytes() int { return p.bytes + p.notes.bytes + len(p.delta.bytes) }

// Post counts the other side of postings.
func (p *Partition) Post(postings []charge.Posting) { p.sums.post(postings) }

// Ended counts events that ended.
func (p *Partition) Ended(events int) { p.tally.Events += uint64(events) }

// Seen returns the content of the event that was remembered under that
// identity, and whether there was one.
func (p *Partition) Seen(m charge.MSISDN, identity [16]byte) (content uint64, seen bool, err error) {
	if id, ok := p.fresh[freshKey{m, identity}]; ok {
		return id.content, !id.forgotten, nil
	}
	if p.ids == nil {
		// Most ids are new. Get would not ask the filters of the last level.
		if p.ids, err = p.store.db.NewIter(&pebble.IterOptions{UseL6Filters: true}); err != nil {
			return 0, false, fmt.Errorf("look up an id of %s: %w", m.Masked(), err)
		}
	}
	p.key = identityKey(p.key[:0], m, identity)
	if !p.ids.SeekPrefixGE(p.key) || !bytes.Equal(p.ids.Key(), p.key) {
		if err := p.ids.Error(); err != nil {
			return 0, false, fmt.Errorf("look up an id of %s: %w", m.Masked(), err)
		}
		return 0, false, nil
	}
	row, err := p.ids.ValueAndErr()
	if err != nil {
		return 0, false, fmt.Errorf("look up an id of %s: %w", m.Masked(), err)
	}
	if len(row) != 8 {
		return 0, false, fmt.Errorf("look up an id of %s: %w: row has %d bytes", m.Masked(), ErrDamaged, len(row))
	}
	return binary.BigEndian.Uint64(row), true, nil
}

// Release gives up the turn's view of the ids, which holds on to files: at the
// end of a turn, and of the ownership.
func (p *Partition) Release() error {
	if p.ids == nil {
		return nil
	}
	err := p.ids.Close()
	p.ids = nil
	return err
}

// forgetMax is how many old ids one new id may push out: two, so that what the
// long horizon has kept is worked off.
const forgetMax = 2

// Remember records the id of an event of customer c, whose count it advances,
// and forgets ids that may be forgotten: newer is how many ids were remembered
// after one, at when it was.
func (p *Partition) Remember(c *charge.Customer, seen Seen, mayForget func(newer uint64, at charge.Instant, money bool) bool) error {
	c.Seen++
	p.fresh[freshKey{c.MSISDN, seen.Identity}] = freshID{content: seen.Content}
	p.ages[ageKey{c.MSISDN, c.Seen}] = aged{seen, p.clock}
	p.delta.remember(c.MSISDN, c.Seen, seen, p.clock)
	for range forgetMax {
		oldest, newer := c.Forgotten+1, c.Seen-c.Forgotten-1
		if oldest >= c.Seen || !mayForget(newer, 0, false) {
			return nil // Too few are kept, whatever their age.
		}
		old, err := p.aged(c.MSISDN, oldest)
		if err != nil {
			return err
		}
		if !mayForget(newer, old.at, old.seen.Money) {
			return nil
		}
		p.fresh[freshKey{c.MSISDN, old.seen.Identity}] = freshID{forgotten: true}
		p.key = ordinalKey(p.key[:0], c.MSISDN, oldest)
		p.delta.delete(p.key)
		p.key = identityKey(p.key[:0], c.MSISDN, old.seen.Identity)
		p.delta.delete(p.key)
		c.Forgotten++
	}
	return nil
}

// aged finds the id of that ordinal.
func (p *Partition) aged(m charge.MSISDN, ordinal uint64) (aged, error) {
	if a, ok := p.ages[ageKey{m, ordinal}]; ok {
		return a, nil
	}
	row, err := p.store.get(ordinalKey(nil, m, ordinal))
	if err != nil {
		return aged{}, err
	}
	seen, at, err := decodeAge(row)
	if err != nil {
		return aged{}, fmt.Errorf("id %d of %s: %w", ordinal, m.Masked(), err)
	}
	return aged{seen, at}, nil
}

// Index makes the turn's outcome of that index part of the customer's timeline.
func (p *Partition) Index(m charge.MSISDN, outcome int) { p.delta.outcome(m, outcome) }

// Park sets an event aside.
func (p *Partition) Park(e *ParkedEvent) {
	p.key = parkedKey(p.key[:0], p.id, e.Position)
	p.delta.set(p.key, e.append(nil))
	p.parked[e.Position] = *e
	p.tally.Parked[string(e.Reason)]++
}

// Unpark takes a parked event out again; false if there is none of that name. It
// is called once in a turn.
func (p *Partition) Unpark(at charge.Position) (ParkedEvent, bool, error) {
	key := parkedKey(nil, p.id, at)
	e, found := p.parked[at]
	if !found {
		row, err := p.store.get(key)
		if err != nil || row == nil {
			return ParkedEvent{}, false, err
		}
		if e, err = decodeParked(key, row); err != nil {
			return ParkedEvent{}, false, err
		}
	}
	p.delta.delete(key)
	p.tally.unpark(e.Reason)
	return e, true, nil
}

// SetBook makes a rulebook the one in force.
func (p *Partition) SetBook(version uint64, source []byte) {
	p.delta.set(partitionKey(nil, p.id, tableBook), appendBook(nil, version, source))
}

// Delta encodes all that this turn changed. It holds until the next Begin.
func (p *Partition) Delta() []byte {
	var row []byte
	for i := range p.entries[:p.used] {
		e := &p.entries[i]
		if !e.changed {
			continue
		}
		row = charge.AppendCustomer(row[:0], &e.customer)
		p.key = customerKey(p.key[:0], e.customer.MSISDN)
		p.delta.set(p.key, row)
		if due := e.customer.NextDue(); due != e.timer {
			p.moveTimer(e, due)
		}
	}
	for _, name := range p.sums.changed() {
		row = appendSum(row[:0], p.sums.settle(name))
		p.delta.set(totalKey(p.key[:0], p.id, name.unit, name.account), row)
	}
	for _, name := range sortedKeys(p.notes.changed) {
		key := noteKey(p.key[:0], p.id, name)
		if value := p.notes.values[name]; value != nil {
			p.delta.set(key, value)
		} else {
			p.delta.delete(key)
		}
	}
	p.delta.set(partitionKey(p.key[:0], p.id, tableTally), p.tally.append(row[:0]))
	return p.delta.bytes
}

func (p *Partition) moveTimer(e *entry, due charge.Instant) {
	m := e.customer.MSISDN
	if e.timer != 0 {
		p.delta.delete(timerKey(p.key[:0], m, e.timer))
	}
	if due != 0 {
		p.delta.set(timerKey(p.key[:0], m, due), nil)
		slot := m.Slot()
		p.due[slot] = charge.Sooner(p.due[slot], due)
		p.next = charge.Sooner(p.next, due)
	}
}

// Applied folds the turn's delta into the store: its commit, at that sequence,
// is durable.
func (p *Partition) Applied(commit charge.Sequence, position []byte) error {
	if err := p.Release(); err != nil {
		return err
	}
	return p.store.Fold(p.id, commit, p.delta.bytes, position)
}

// NextDue returns an instant before which no timer is due, also none that this
// turn has set; zero if there is no timer at all.
func (p *Partition) NextDue() charge.Instant { return charge.Sooner(p.next, p.soon) }

// Due returns up to limit customers who have a timer that is due, in the order
// of slot, instant and number. It reads what earlier turns have set, and passes
// over customers whom this turn has changed. Whom the caller does not deal with
// in this turn, it hands back with Postpone.
func (p *Partition) Due(limit int) ([]charge.MSISDN, error) {
	if p.next == 0 || p.next > p.clock {
		return nil, nil
	}
	var due []charge.MSISDN
	p.next = 0
	for slot := range p.due {
		if at := p.due[slot]; at != 0 && at <= p.clock && len(due) < limit {
			var err error
			if due, err = p.dueOf(charge.Slot(slot), limit, due); err != nil {
				return nil, fmt.Errorf("read timers of slot %d: %w", slot, err)
			}
		}
		p.next = charge.Sooner(p.next, p.due[slot])
	}
	return due, nil
}

// dueOf appends the customers of one slot who have a timer that is due, up to
// the limit, and remembers which timer comes after theirs.
func (p *Partition) dueOf(slot charge.Slot, limit int, due []charge.MSISDN) ([]charge.MSISDN, error) {
	p.due[slot] = 0
	err := p.store.scan(slotKey(nil, slot, tableTimer), func(key, _ []byte) (bool, error) {
		at, m, err := timerOf(key)
		if err != nil {
			return false, err
		}
		if i, ok := p.working[m]; ok && p.entries[i].changed {
			p.due[slot] = charge.Sooner(p.due[slot], p.entries[i].customer.NextDue())
			return true, nil
		}
		if at > p.clock || len(due) == limit {
			p.due[slot] = charge.Sooner(p.due[slot], at)
			return false, nil
		}
		due = append(due, m)
		return true, nil
	})
	return due, err
}

// Postpone says that customers whom Due returned were not dealt with.
func (p *Partition) Postpone(customers []charge.MSISDN) {
	for _, m := range customers {
		p.due[m.Slot()] = charge.Sooner(p.due[m.Slot()], p.clock)
		p.next = charge.Sooner(p.next, p.clock)
	}
}

// Tally returns what the partition holds, as of this turn.
func (p *Partition) Tally() Tally {
	t := p.tally
	t.Parked = maps.Clone(t.Parked)
	return t
}

// Imbalance returns, for every unit, what customers hold minus what the
// accounts say they should: zero, always.
func (p *Partition) Imbalance() map[string]money.Sum { return maps.Clone(p.sums.imbalance) }

// Note returns what is noted under a name, nil if nothing is. It is not to be
// changed.
func (p *Partition) Note(name string) []byte { return p.notes.values[name] }

// SetNote notes a value under a name, nil to strike it out. It keeps the value.
func (p *Partition) SetNote(name string, value []byte) { p.notes.set(name, value) }

// Notes visits what is noted under names with a prefix, sorted by name, until
// visit returns false.
func (p *Partition) Notes(prefix string, visit func(name string, value []byte) bool) {
	p.notes.visit(prefix, visit)
}

func sortedKeys[V any](m map[string]V) []string {
	return slices.Sorted(maps.Keys(m))
}
