package turn

import (
	"encoding/binary"

	"recharged/state"
	"recharged/state/charge"
	"recharged/state/ledger"
)

// customerBytesMax bounds a customer's row, estimated: an event that would make
// it larger is parked.
const customerBytesMax = 48 << 10

// event brings an event of the record to its end, or holds it. again says that
// it was parked before: it is not to be taken for its own repeat, and was counted.
func (m *Machine) event(e *charge.Event, seen state.Seen, at charge.Position, again bool) error {
	if _, err := m.fire(e.MSISDN); err != nil {
		return err
	}
	it := &item{since: m.clock, at: at, again: again, event: *e, seen: seen}
	for m.queue.holds(e.MSISDN) {
		if m.queue.room(it) {
			m.hold(it)
			return nil
		}
		if err := m.release(m.queue.head(e.MSISDN), true); err != nil {
			return err
		}
	}
	waits, err := m.try(it)
	if err != nil || !waits {
		return err
	}
	if m.queue.room(it) {
		m.hold(it)
		return nil
	}
	m.memory.final = true
	_, err = m.try(it)
	m.memory.final = false
	return err
}

// try brings an event to its end: applied, duplicate or parked. If a budget
// cannot tell yet whether it holds enough, the event waits instead and nothing
// has changed.
func (m *Machine) try(it *item) (waits bool, err error) {
	e := &it.event
	customer, _, err := m.state.Customer(e.MSISDN)
	if err != nil {
		return false, err
	}
	seen := it.seen
	content, known, err := m.state.Seen(e.MSISDN, seen.Identity)
	if err != nil {
		return false, err
	}
	if known && !it.again {
		m.events++
		return false, m.repeat(customer, it, seen, content == seen.Content)
	}
	outcome, said, refusal := m.judge.Event(customer, e, m.clock)
	if len(m.judge.Decision.Short) > 0 {
		it.wait(m.judge.Version, m.judge.Decision.Short)
		return true, nil
	}
	if refusal == nil {
		refusal = m.oversize(m.size(&outcome, said))
	}
	if !it.again {
		m.events++
	}
	if refusal != nil {
		outcome, said = m.park(it, refusal.Reason, refusal.Detail), Said{}
		m.judge.After.CopyFrom(customer)
	}
	if err := m.keep(outcome, said, it.at, seen, !known); err != nil {
		return false, err
	}
	if refusal == nil {
		m.learn(&outcome)
	}
	return false, nil
}

// size estimates what an outcome takes in a commit, with all that it says.
func (m *Machine) size(outcome *charge.Outcome, said Said) int {
	return outcomeBytes(outcome, said) + m.memory.size(outcome)
}

// oversize refuses what would not fit: into the customer's row, or into a
// record of the commit log.
func (m *Machine) oversize(bytes int) *ledger.Refusal {
	switch {
	case state.RowBytes(&m.judge.After) > customerBytesMax:
		return &ledger.Refusal{Reason: charge.Overflow, Detail: "the customer's record would grow beyond its limit"}
	case bytes > m.opts.OutcomeBytesMax:
		return &ledger.Refusal{Reason: charge.Overflow, Detail: "so many rules apply that what they do and say does not fit in one record"}
	}
	return nil
}

// keep puts the customer as the event left it, and its outcome, into the turn.
func (m *Machine) keep(outcome charge.Outcome, said Said, at charge.Position, seen state.Seen, remember bool) error {
	if remember {
		if err := m.state.Remember(&m.judge.After, seen, m.mayForget); err != nil {
			return err
		}
	}
	m.put()
	outcome.Position = at
	m.conclude(outcome, said)
	return nil
}

func (m *Machine) mayForget(newer uint64, at charge.Instant, ofMoney bool) bool {
	return m.judge.Book.Plan().MayForget(newer, at, m.clock, ofMoney)
}

// put makes the customer what the judge left it as.
func (m *Machine) put() { m.state.Put(&m.judge.After, m.judge.unit) }

// repeat ends an event whose id was seen before. With other content it is
// parked, once: its id and content together are remembered like an id.
func (m *Machine) repeat(customer *charge.Customer, it *item, seen state.Seen, same bool) error {
	outcome := m.judge.outcome(&it.event, m.clock, charge.Duplicate)
	outcome.Position = it.at
	if same {
		m.conclude(outcome, Said{})
		return nil
	}
	conflict := seen
	binary.BigEndian.PutUint64(conflict.Identity[8:], binary.BigEndian.Uint64(seen.Identity[8:])^seen.Content)
	_, known, err := m.state.Seen(it.event.MSISDN, conflict.Identity)
	if err != nil {
		return err
	}
	if known {
		m.conclude(outcome, Said{})
		return nil
	}
	outcome = m.park(it, charge.IDConflict, "an event of this source and id came before with other content; send corrections under an id of their own")
	m.judge.After.CopyFrom(customer)
	return m.keep(outcome, Said{}, it.at, conflict, true)
}

// park sets an event aside and returns its outcome.
func (m *Machine) park(it *item, reason charge.ParkReason, detail string) charge.Outcome {
	m.state.Park(&state.ParkedEvent{
		Partition: m.opts.Partition, Position: it.at, Event: it.event, Reason: reason, Detail: detail, At: m.clock,
	})
	m.bytes += eventBytes(&it.event)
	outcome := m.judge.outcome(&it.event, m.clock, charge.Parked)
	outcome.Reason, outcome.Detail = string(reason), detail
	return outcome
}

// conclude adds an outcome, and what is to be said, to the turn.
func (m *Machine) conclude(outcome charge.Outcome, said Said) {
	m.state.Post(outcome.Postings)
	m.state.Index(outcome.MSISDN, len(m.now.Outcomes))
	m.now.Outcomes = append(m.now.Outcomes, outcome)
	m.now.Notifications = append(m.now.Notifications, said.Notifications...)
	m.now.Alerts = append(m.now.Alerts, said.Alerts...)
	m.bytes += outcomeBytes(&outcome, said)
}

// fire lets happen what time has brought about for a customer by the clock, in
// the order of the instants: what expires, an outcome for each instant, and the
// timers of rules. While events of the customer are held, a timer waits with
// them in their order. All of it must fit in one record.
func (m *Machine) fire(msisdn charge.MSISDN) (fired bool, err error) {
	m.fired = 0
	for {
		customer, _, err := m.state.Customer(msisdn)
		if err != nil {
			return fired, err
		}
		due := customer.NextDue()
		if due == 0 || due > m.clock {
			return fired, nil
		}
		fired = true
		if customer.NextExpiry() == due {
			m.expire(customer)
		} else if err := m.fireTimers(customer, due); err != nil {
			return fired, err
		}
	}
}

// expire posts what expires next of a customer, if something has by the clock.
func (m *Machine) expire(customer *charge.Customer) bool {
	outcome, ok := m.judge.Expire(customer, m.clock)
	if ok {
		m.put()
		m.conclude(outcome, Said{})
	}
	return ok
}

// fireTimers judges the timers of rules that are due at that instant, or holds
// them.
func (m *Machine) fireTimers(customer *charge.Customer, due charge.Instant) error {
	it := &item{since: m.clock, event: timerEvent(customer.MSISDN, due)}
	for _, t := range customer.Timers {
		if t.Due <= due {
			it.timers = append(it.timers, t)
		}
	}
	if m.queue.holds(customer.MSISDN) {
		if !m.queue.room(it) {
			// What is released may change the timers: fire looks at them anew.
			return m.release(m.queue.head(customer.MSISDN), true)
		}
		m.setTimersAside(customer, it)
		return nil
	}
	if !m.tryTimers(customer, it) {
		return nil
	}
	if m.queue.room(it) {
		m.setTimersAside(customer, it)
		return nil
	}
	m.memory.final = true
	m.tryTimers(customer, it)
	m.memory.final = false
	return nil
}

// tryTimers judges the timers of an item, which the customer has.
func (m *Machine) tryTimers(customer *charge.Customer, it *item) (waits bool) {
	outcome, said, fired := m.judge.Timer(customer, it.event.Time, m.clock)
	if fired && len(m.judge.Decision.Short) > 0 {
		it.wait(m.judge.Version, m.judge.Decision.Short)
		return true
	}
	if !fired {
		m.put()
		return false
	}
	bytes := m.size(&outcome, said)
	if m.oversize(m.fired+bytes) != nil {
		// There is no event to park: the timers are passed over, and the outcome says why.
		outcome = m.pass(customer, it, outcome)
		m.put()
		m.conclude(outcome, Said{})
		return false
	}
	m.fired += bytes
	m.put()
	m.conclude(outcome, said)
	m.learn(&outcome)
	return false
}

// pass takes due timers off the customer without effect.
func (m *Machine) pass(customer *charge.Customer, it *item, outcome charge.Outcome) charge.Outcome {
	m.judge.lapse(customer, it.event.Time)
	outcome.Postings, outcome.Shortfall, outcome.Rules = nil, 0, nil
	outcome.Detail = "so much was due at once that it does not fit in one record"
	return outcome
}

// setTimersAside takes the timers of an item off the customer and holds them.
func (m *Machine) setTimersAside(customer *charge.Customer, it *item) {
	m.judge.lapse(customer, it.event.Time)
	m.put()
	m.hold(it)
}
