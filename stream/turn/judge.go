package turn

import (
	"fmt"
	"strconv"

	"recharged/rules"
	"recharged/state/charge"
	"recharged/state/ledger"
)

// Judge decides what one event does to one customer: the event's own effect,
// then the rules. It is pure: no clock, no dice, no I/O, nothing remembered
// from one event to the next but memory to reuse. It changes neither the
// customer nor what the rules remember; whoever keeps its answer does.
//
// Book must be set. One goroutine uses a Judge.
type Judge struct {
	Book    *rules.Book
	Version uint64
	Memory  rules.Memory // nil: every budget is whole and no rule is suspended

	// What the last event came to. They hold until the next one.
	After    charge.Customer // the customer as the event leaves it
	Effect   ledger.Effect
	Decision rules.Decision
}

// Said is what customers and operations are to hear of an event.
type Said struct {
	Notifications []charge.Notification
	Alerts        []charge.Alert
}

// Event judges e for the customer before, of whom nothing has expired by the
// clock. On success the outcome is complete and j.After holds the customer
// afterwards; on a refusal the event has no effect and j.After means nothing. If
// j.Decision.Short is not empty the event must wait: nothing else means anything.
func (j *Judge) Event(before *charge.Customer, e *charge.Event, clock charge.Instant) (charge.Outcome, Said, *ledger.Refusal) {
	j.Decision.Reset()
	if refusal := j.Book.Plan().Admit(e, clock); refusal != nil {
		return charge.Outcome{}, Said{}, refusal
	}
	if refusal := j.own(before, e, clock); refusal != nil {
		return charge.Outcome{}, Said{}, refusal
	}
	subject := j.subject(before, e, clock)
	j.Book.Decide(&subject, &j.Decision)
	if len(j.Decision.Short) > 0 {
		return charge.Outcome{}, Said{}, nil
	}
	j.give(clock, func() {
		if refusal := j.own(before, e, clock); refusal != nil {
			panic(fmt.Sprintf("turn: an event that took effect is refused the second time: %v", refusal))
		}
	})
	said := j.settle(&subject)
	j.Book.Arm(&j.After, e, clock)
	return j.applied(e, clock), said, nil
}

// Timer judges the rule timers of the customer before that are due at that
// instant, of whom nothing expires at or before it. On success j.After holds the
// customer afterwards; fired says whether there was anything to judge, and so an
// outcome. Like an event, it may have to wait.
func (j *Judge) Timer(before *charge.Customer, due, clock charge.Instant) (o charge.Outcome, said Said, fired bool) {
	e := timerEvent(before.MSISDN, due)
	j.Decision.Reset()
	if !j.lapse(before, due) {
		return charge.Outcome{}, Said{}, false
	}
	subject := j.subject(before, &e, clock)
	j.Book.Decide(&subject, &j.Decision)
	if len(j.Decision.Short) > 0 {
		return charge.Outcome{}, Said{}, true
	}
	j.give(clock, func() { j.lapse(before, due) })
	said = j.settle(&subject)
	return j.applied(&e, clock), said, true
}

// Expire posts what expired of a customer first, if anything has by the clock:
// then j.After holds the customer afterwards.
func (j *Judge) Expire(before *charge.Customer, clock charge.Instant) (charge.Outcome, bool) {
	due := before.NextExpiry()
	if due == 0 || due > clock {
		return charge.Outcome{}, false
	}
	plan := j.Book.Plan()
	j.After.CopyFrom(before)
	j.Effect.Reset()
	plan.Expire(&j.After, due, &j.Effect)
	return charge.Outcome{
		EventID:  "expiry-" + strconv.FormatInt(int64(due), 10),
		Source:   ownSource,
		Type:     charge.ExpiryType,
		MSISDN:   before.MSISDN,
		Time:     due,
		Accepted: clock,
		Result:   charge.Applied,
		Rulebook: j.Version,
		Money:    plan.Currency,
		Postings: append([]charge.Posting(nil), j.Effect.Postings...),
	}, true
}

// ownSource is the source of what no producer's event caused.
const ownSource = "/recharged"

// timerEvent is the event that a rule's timer makes.
func timerEvent(m charge.MSISDN, due charge.Instant) charge.Event {
	return charge.Event{
		ID: "timer-" + strconv.FormatInt(int64(due), 10), Source: ownSource, Type: charge.TimerType, MSISDN: m, Time: due,
	}
}

func (j *Judge) subject(before *charge.Customer, e *charge.Event, clock charge.Instant) rules.Subject {
	return rules.Subject{
		Event:     e,
		Before:    before,
		After:     &j.After,
		Charged:   j.Effect.Charged,
		Shortfall: j.Effect.Shortfall,
		Clock:     clock,
		Memory:    j.Memory,
	}
}

// own makes the event's own effect on a copy of the customer.
func (j *Judge) own(before *charge.Customer, e *charge.Event, clock charge.Instant) *ledger.Refusal {
	j.After.CopyFrom(before)
	j.Effect.Reset()
	return j.Book.Plan().Apply(&j.After, e, clock, &j.Effect)
}

// lapse takes the timers that are due off a copy of the customer.
func (j *Judge) lapse(before *charge.Customer, due charge.Instant) bool {
	j.After.CopyFrom(before)
	j.Effect.Reset()
	return j.Book.Lapse(&j.Decision, &j.After, due)
}

// give posts what the rules give. What a rule wants to give and cannot does not
// hold up the event: the rule is taken out, begin makes the customer anew, and
// the others give again.
func (j *Judge) give(clock charge.Instant, begin func()) {
	for rule, refusal := j.post(clock); refusal != nil; rule, refusal = j.post(clock) {
		j.Decision.Fail(rule, refusal.Detail)
		begin()
	}
}

// post posts the credits of the decision. On a refusal it names the rule.
func (j *Judge) post(clock charge.Instant) (rule string, refusal *ledger.Refusal) {
	for _, credit := range j.Decision.Credits {
		if refusal := j.Book.Plan().Credit(&j.After, credit.Credit, clock, &j.Effect); refusal != nil {
			return credit.Rule, refusal
		}
	}
	return "", nil
}

// settle leaves in the customer what the decision leaves there, and says what
// there is to say.
func (j *Judge) settle(s *rules.Subject) (said Said) {
	j.Book.Settle(&j.Decision, &j.After, s.Clock)
	said.Notifications, said.Alerts = j.Book.Render(s, &j.Decision)
	return said
}

// applied writes the outcome of an event that took effect.
func (j *Judge) applied(e *charge.Event, clock charge.Instant) charge.Outcome {
	o := j.outcome(e, clock, charge.Applied)
	o.Postings = append(o.Postings, j.Effect.Postings...)
	o.Rules = append(o.Rules, j.Decision.Results...)
	o.Shortfall = j.Effect.Shortfall
	return o
}

// outcome writes what is common to the outcomes of all events.
func (j *Judge) outcome(e *charge.Event, clock charge.Instant, result charge.Result) charge.Outcome {
	o := charge.Outcome{
		EventID:  e.ID,
		Source:   e.Source,
		Type:     e.Type,
		MSISDN:   e.MSISDN,
		Time:     e.Time,
		Accepted: clock,
		Result:   result,
		Rulebook: j.Version,
		Money:    j.Book.Plan().Currency,
		Channel:  e.Text("channel"),
		Service:  e.Text("service"),
	}
	if e.Type == charge.Recharge {
		o.Amount, _ = e.Money("amount")
	}
	return o
}

// unit names the unit of a balance, also of one the book no longer declares.
func (j *Judge) unit(balance string) string {
	if b, ok := j.Book.Plan().Balance(balance); ok {
		return b.Unit.Name
	}
	return balance
}
