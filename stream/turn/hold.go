package turn

import (
	"fmt"
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
}

// wait remembers what an item falls short of.
func (it *item) wait(version uint64, short []rules.Spend) {
	it.version, it.short = version, append(it.short[:0], short...)
}

// shortOf returns what an item needs of the budget of a rule that it falls short of.
func (it *item) shortOf(rule string) money.Amount {
	for i := range it.short {
		if it.short[i].Rule == rule {
			return it.short[i].Amount
		}
	}
	return 0
}

// deadline is when an item has waited long enough.
func (it *item) deadline() charge.Instant { return it.since.Add(holdMax) }

const (
	heldPrefix = "held:"
	itemFormat = 1
)

func heldNote(number uint64) string { return fmt.Sprintf(heldPrefix+"%020d", number) }

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
	m.state.SetNote(heldNote(it.number), it.append(nil))
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
	m.queue.lift(it) // While it is judged, it is not among those who need something.
	m.queue.judged++
	m.fired = 0
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
	if waits {
		m.state.SetNote(heldNote(it.number), it.append(nil))
		m.queue.place(it)
		m.askFor(it.short)
	} else {
		m.state.SetNote(heldNote(it.number), nil)
		m.queue.remove(it)
	}
	_, err = m.fire(it.event.MSISDN)
	return err
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
