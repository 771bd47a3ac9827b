package stream

import (
	"fmt"
	"strconv"

	"recharged/rules"
	"recharged/state/charge"
	"recharged/state/ledger"
)

// judge decides what one event does to one customer: the event's own effect,
// then the rules. It is pure: no clock, no dice, no I/O, nothing remembered
// from one event to the next but memory to reuse.
type judge struct {
	book    *rules.Book
	version uint64

	after    charge.Customer // the customer as the event leaves it
	effect   ledger.Effect
	decision rules.Decision
}

// said is what customers and operations are to hear of an event.
type said struct {
	notifications []charge.Notification
	alerts        []charge.Alert
}

// event judges e for the customer before, of whom nothing has expired by the
// clock. On success the outcome is complete and j.after holds the customer
// afterwards; on a refusal the event has no effect and j.after means nothing.
func (j *judge) event(before *charge.Customer, e *charge.Event, clock charge.Instant) (charge.Outcome, said, *ledger.Refusal) {
	if refusal := j.book.Plan().Admit(e, clock); refusal != nil {
		return charge.Outcome{}, said{}, refusal
	}
	if refusal := j.own(before, e, clock); refusal != nil {
		return charge.Outcome{}, said{}, refusal
	}
	subject := rules.Subject{
		Event:     e,
		Before:    before,
		After:     &j.after,
		Charged:   j.effect.Charged,
		Shortfall: j.effect.Shortfall,
		Clock:     clock,
	}
	j.decision.Reset()
	j.book.Decide(&subject, &j.decision)
	for rule, refusal := j.give(clock); refusal != nil; rule, refusal = j.give(clock) {
		// What a rule wants to give cannot be given, but the event is charged: the
		// rule is taken out, and the others give again.
		j.decision.Fail(rule, refusal.Detail)
		if refusal := j.own(before, e, clock); refusal != nil {
			panic(fmt.Sprintf("stream: an event that took effect is refused the second time: %v", refusal))
		}
	}
	j.book.Settle(&j.decision, &j.after, clock)
	var s said
	s.notifications, s.alerts = j.book.Render(&subject, &j.decision)
	return j.applied(e, clock), s, nil
}

// own makes the event's own effect on a copy of the customer.
func (j *judge) own(before *charge.Customer, e *charge.Event, clock charge.Instant) *ledger.Refusal {
	j.after.CopyFrom(before)
	j.effect.Reset()
	return j.book.Plan().Apply(&j.after, e, clock, &j.effect)
}

// give posts what the rules give. On a refusal it names the rule.
func (j *judge) give(clock charge.Instant) (rule string, refusal *ledger.Refusal) {
	for _, credit := range j.decision.Credits {
		if refusal := j.book.Plan().Credit(&j.after, credit.Credit, clock, &j.effect); refusal != nil {
			return credit.Rule, refusal
		}
	}
	return "", nil
}

// applied writes the outcome of an event that took effect.
func (j *judge) applied(e *charge.Event, clock charge.Instant) charge.Outcome {
	o := j.outcome(e, clock, charge.Applied)
	o.Postings = append(o.Postings, j.effect.Postings...)
	o.Rules = append(o.Rules, j.decision.Results...)
	o.Shortfall = j.effect.Shortfall
	return o
}

// outcome writes what is common to the outcomes of all events.
func (j *judge) outcome(e *charge.Event, clock charge.Instant, result charge.Result) charge.Outcome {
	o := charge.Outcome{
		EventID:  e.ID,
		Source:   e.Source,
		Type:     e.Type,
		MSISDN:   e.MSISDN,
		Time:     e.Time,
		Accepted: clock,
		Result:   result,
		Rulebook: j.version,
		Money:    j.book.Plan().Currency,
		Channel:  e.Text("channel"),
		Service:  e.Text("service"),
	}
	if e.Type == charge.Recharge {
		o.Amount, _ = e.Money("amount")
	}
	return o
}

// expire posts what expired of a customer first, if anything has by the clock:
// then j.after holds the customer afterwards.
func (j *judge) expire(before *charge.Customer, clock charge.Instant) (charge.Outcome, bool) {
	due := before.NextExpiry()
	if due == 0 || due > clock {
		return charge.Outcome{}, false
	}
	plan := j.book.Plan()
	j.after.CopyFrom(before)
	j.effect.Reset()
	plan.Expire(&j.after, due, &j.effect)
	return charge.Outcome{
		EventID:  "expiry-" + strconv.FormatInt(int64(due), 10),
		Source:   expirySource,
		Type:     charge.ExpiryType,
		MSISDN:   before.MSISDN,
		Time:     due,
		Accepted: clock,
		Result:   charge.Applied,
		Rulebook: j.version,
		Money:    plan.Currency,
		Postings: append([]charge.Posting(nil), j.effect.Postings...),
	}, true
}

// expirySource is the source of outcomes that no producer's event caused.
const expirySource = "/recharged"

// unit names the unit of a balance, also of one the book no longer declares.
func (j *judge) unit(balance string) string {
	if b, ok := j.book.Plan().Balance(balance); ok {
		return b.Unit.Name
	}
	return balance
}
