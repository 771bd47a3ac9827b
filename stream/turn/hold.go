package turn

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"recharged/rules"
	"recharged/state"
	"recharged/state/charge"
	"recharged/state/money"
)

// Bounds of what is held. An event waits for two seconds of the log's clock at
// most; when so many wait, one that would have to is judged at once, as if it
// had waited.
const (
	holdMax      = 2 * time.Second
	holdItemsMax = 4096
	holdBytesMax = 8 << 20
)

// queue holds the events that wait until a budget can tell whether it holds
// enough, and behind each the later events of the same customer, in order. Each
// is noted under its number, so that the next machine finds it.
//
// The first of a customer's items is its head. It alone is judged.
type queue struct {
	items    []*item // by number
	of       map[charge.MSISDN][]*item
	bytes    int
	released int  // in this turn
	calm     bool // nothing was ready the last time, and nothing but the clock has changed since
}

// item is an event that is held, or what the timers of rules make: then it has
// the timers, which the customer has not.
type item struct {
	number uint64
	since  charge.Instant  // the log's clock when it began to wait
	at     charge.Position // of the event in the event log
	again  bool            // it was parked before
	event  charge.Event
	seen   state.Seen // of the event
	timers []charge.Timer

	// Of a head: which version of the rulebook judged it last, and what it fell
	// short of then. No version: it was not judged yet.
	version uint64
	short   []rules.Spend

	bytes int // of its note
}

// wait remembers what an item falls short of.
func (it *item) wait(version uint64, short []rules.Spend) {
	it.version, it.short = version, append(it.short[:0], short...)
}

// deadline is when an item has waited long enough.
func (it *item) deadline() charge.Instant { return it.since.Add(holdMax) }

const (
	heldPrefix = "held:"
	itemFormat = 1
)

func heldNote(number uint64) string { return fmt.Sprintf(heldPrefix+"%020d", number) }

// open reads what an earlier machine has noted.
func (q *queue) open(s State) (err error) {
	q.of = map[charge.MSISDN][]*item{}
	s.Notes(heldPrefix, func(name string, value []byte) bool {
		var it *item
		if it, err = decodeItem(value); err != nil {
			err = fmt.Errorf("%s: %w", name, err)
			return false
		}
		if _, err = fmt.Sscanf(name, heldPrefix+"%d", &it.number); err != nil {
			return false
		}
		it.bytes = len(value)
		q.add(it)
		return true
	})
	return err
}

func (q *queue) add(it *item) {
	q.items = append(q.items, it)
	q.of[it.event.MSISDN] = append(q.of[it.event.MSISDN], it)
	q.bytes += it.bytes
	q.calm = false
}

// room reports whether an item may be held.
func (q *queue) room(it *item) bool {
	return len(q.items) < holdItemsMax && q.bytes+eventBytes(&it.event) <= holdBytesMax
}

// holds reports whether something of a customer is held.
func (q *queue) holds(m charge.MSISDN) bool { return len(q.of[m]) > 0 }

// head is what comes first of a customer.
func (q *queue) head(m charge.MSISDN) *item { return q.of[m][0] }

// deadline is the first that is still to come; zero: nothing is held.
func (q *queue) deadline() charge.Instant {
	if len(q.items) == 0 {
		return 0
	}
	return q.items[0].deadline()
}

// events counts the events among the items, and tells where the oldest came from.
func (q *queue) events() (n int, oldest charge.Position) {
	for _, it := range q.items {
		if it.timers != nil {
			continue
		}
		if n++; n == 1 || it.at.Sequence < oldest.Sequence {
			oldest = it.at
		}
	}
	return n, oldest
}

// ready returns the first head that need not wait any more, nil if there is none:
// because its time is up, because another version of the rulebook is in force,
// or because each of the budgets that it fell short of holds enough now, or
// never will.
func (q *queue) ready(clock charge.Instant, version uint64, funds rules.Memory) *item {
	if q.calm && (len(q.items) == 0 || q.items[0].deadline() > clock) {
		return nil
	}
	for _, it := range q.items {
		if q.head(it.event.MSISDN) == it && (it.version != version || it.deadline() <= clock || decided(it.short, funds)) {
			return it
		}
	}
	q.calm = true
	return nil
}

func decided(short []rules.Spend, funds rules.Memory) bool {
	for _, s := range short {
		if f := funds.Fund(s.Rule); s.Amount > f.Slice && s.Amount <= f.Slice+f.Left {
			return false
		}
	}
	return true
}

// need is what the item needs that has waited longest for the rule's budget.
func (q *queue) need(rule string) money.Amount {
	for _, it := range q.items {
		if q.head(it.event.MSISDN) != it {
			continue
		}
		for _, s := range it.short {
			if s.Rule == rule {
				return s.Amount
			}
		}
	}
	return 0
}

// askFor asks for more of each budget that falls short.
func (m *Machine) askFor(short []rules.Spend) {
	for _, s := range short {
		m.ask(s.Rule)
	}
}

// hold puts an item behind the others and asks for what it falls short of.
func (m *Machine) hold(it *item) {
	it.number = 1
	if n := len(m.queue.items); n > 0 {
		it.number = m.queue.items[n-1].number + 1
	}
	note := it.append(nil)
	it.bytes = len(note)
	m.state.SetNote(heldNote(it.number), note)
	m.queue.add(it)
	m.askFor(it.short)
}

// release judges a head again. final says that it is not to wait any longer: what
// a budget does not hold now is not given. What is due for its customer by the
// clock comes behind the last of its items.
func (m *Machine) release(it *item, final bool) error {
	customer, _, err := m.state.Customer(it.event.MSISDN)
	for err == nil && m.expire(customer) {
		customer, _, err = m.state.Customer(it.event.MSISDN)
	}
	if err != nil {
		return err
	}
	m.memory.final = final
	waits := false
	if it.timers != nil {
		waits = m.tryTimers(it.rearmed(customer), it)
	} else {
		waits, err = m.try(it)
	}
	m.memory.final = false
	if err != nil {
		return err
	}
	m.queue.calm = false
	if waits {
		m.state.SetNote(heldNote(it.number), it.append(nil))
		m.askFor(it.short)
		return nil
	}
	m.remove(it)
	_, err = m.fire(it.event.MSISDN)
	return err
}

// remove takes a head out: it has come to its end.
func (m *Machine) remove(it *item) {
	q := &m.queue
	i, _ := slices.BinarySearchFunc(q.items, it.number, func(it *item, number uint64) int {
		return int(it.number) - int(number)
	})
	q.items = slices.Delete(q.items, i, i+1)
	if rest := q.of[it.event.MSISDN][1:]; len(rest) > 0 {
		q.of[it.event.MSISDN] = rest
	} else {
		delete(q.of, it.event.MSISDN)
	}
	q.bytes -= it.bytes
	q.released++
	m.state.SetNote(heldNote(it.number), nil)
}

// rearmed returns the customer with the item's timers, but for those of rules
// that what came before the item has armed anew.
func (it *item) rearmed(customer *charge.Customer) *charge.Customer {
	var c charge.Customer
	c.CopyFrom(customer)
	for _, t := range it.timers {
		if c.Timer(t.Rule) == nil {
			*c.OpenTimer(t.Rule) = t
		}
	}
	return &c
}

// append encodes all but the number:
//
//	format(1) since(8) sequence offset again(1) version
//	count of shorts, each: rule length, bytes, amount
//	count of timers, each: rule length, bytes, armed(8) due(8)
//	event
//
// Other numbers are varints; those of 8 bytes are big endian.
func (it *item) append(dst []byte) []byte {
	w := writer{append(dst, itemFormat)}
	w.instant(it.since)
	w.uint(uint64(it.at.Sequence))
	w.uint(uint64(it.at.Offset))
	w.flag(it.again)
	w.uint(it.version)
	w.uint(uint64(len(it.short)))
	for _, s := range it.short {
		w.text(s.Rule)
		w.int(int64(s.Amount))
	}
	w.uint(uint64(len(it.timers)))
	for _, t := range it.timers {
		w.text(t.Rule)
		w.instant(t.Armed)
		w.instant(t.Due)
	}
	return charge.AppendEvent(w.data, &it.event)
}

func decodeItem(data []byte) (*item, error) {
	r := reader{rest: data}
	r.format(itemFormat)
	it := &item{since: r.instant()}
	it.at = charge.Position{Sequence: charge.Sequence(r.uint()), Offset: uint32(r.uint())}
	it.again = r.flag()
	it.version = r.uint()
	for range r.count() {
		it.short = append(it.short, rules.Spend{Rule: r.text(), Amount: money.Amount(r.int())})
	}
	for range r.count() {
		it.timers = append(it.timers, charge.Timer{Rule: r.text(), Armed: r.instant(), Due: r.instant()})
	}
	if r.err != nil {
		return nil, r.err
	}
	event, rest, err := charge.DecodeEvent(r.rest)
	if err == nil && len(rest) > 0 {
		err = errCorrupt
	}
	it.event, it.seen = event, SeenOf(&event)
	return it, err
}

// writer and reader are the encoding of notes and letters.
type writer struct{ data []byte }

func (w *writer) byte(b byte)              { w.data = append(w.data, b) }
func (w *writer) uint(n uint64)            { w.data = binary.AppendUvarint(w.data, n) }
func (w *writer) int(n int64)              { w.data = binary.AppendVarint(w.data, n) }
func (w *writer) instant(i charge.Instant) { w.data = binary.BigEndian.AppendUint64(w.data, uint64(i)) }
func (w *writer) text(s string)            { w.uint(uint64(len(s))); w.data = append(w.data, s...) }

func (w *writer) flag(b bool) {
	if b {
		w.byte(1)
	} else {
		w.byte(0)
	}
}

var errCorrupt = errors.New("the encoding is corrupt")

// reader reads what writer wrote. After its first fault it reads zeros only, so
// the fault is looked at once, at the end.
type reader struct {
	rest []byte
	err  error
}

func (r *reader) fail() {
	if r.err == nil {
		r.err = errCorrupt
	}
	r.rest = nil
}

// close returns the fault; bytes left over are one.
func (r *reader) close() error {
	if len(r.rest) > 0 {
		r.fail()
	}
	return r.err
}

func (r *reader) take(n int) []byte {
	if n < 0 || n > len(r.rest) {
		r.fail()
		return nil
	}
	b := r.rest[:n]
	r.rest = r.rest[n:]
	return b
}

func (r *reader) byte() byte {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) flag() bool { return r.byte() != 0 }

// format reads the version of an encoding.
func (r *reader) format(known byte) {
	if f := r.byte(); r.err == nil && f != known {
		r.err, r.rest = fmt.Errorf("format %d is not known to this version", f), nil
	}
}

func (r *reader) uint() uint64 {
	n, size := binary.Uvarint(r.rest)
	if size <= 0 {
		r.fail()
		return 0
	}
	r.rest = r.rest[size:]
	return n
}

func (r *reader) int() int64 {
	n, size := binary.Varint(r.rest)
	if size <= 0 {
		r.fail()
		return 0
	}
	r.rest = r.rest[size:]
	return n
}

// count reads a number of elements, each of which takes a byte at least.
func (r *reader) count() int {
	n := r.uint()
	if n > uint64(len(r.rest)) {
		r.fail()
		return 0
	}
	return int(n)
}

func (r *reader) instant() charge.Instant {
	if b := r.take(8); b != nil {
		return charge.Instant(binary.BigEndian.Uint64(b))
	}
	return 0
}

func (r *reader) text() string { return string(r.take(r.count())) }
