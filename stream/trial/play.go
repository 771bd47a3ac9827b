package trial

import (
	"fmt"
	"slices"

	"recharged/rules"
	"recharged/state/charge"
)

// play is one test under way.
type play struct {
	book    *rules.Book
	stage   *stage
	clock   charge.Instant
	passed  happened              // what time alone did on the way to the clock
	applied func(*charge.Outcome) // is told of every outcome
}

// test plays a test and returns what was not as expected. A story that cannot
// go on ends with that as its last failure.
func (p *play) test(t *test) []Failure {
	failures := []Failure{} // In JSON none is a list, too.
	broken := func(line int, step string, err error) []Failure {
		return append(failures, Failure{line, step, "the machine", []Line{{Extra, err.Error()}}})
	}
	var err error
	if p.stage, err = open(p.book, t.customers, t.steps[0].at); err != nil {
		return broken(t.line, "at the beginning", err)
	}
	for i := range t.steps {
		s := &t.steps[i]
		title := fmt.Sprintf("step %d, %s, %s: %s", i+1, local(s.at, p.book.Plan().Location), s.customer, s.title)
		found, err := p.step(s, title)
		if err != nil {
			return broken(s.line, title, err)
		}
		failures = append(failures, found...)
	}
	for i := range t.finally {
		x := &t.finally[i]
		customer, err := p.stage.customer(x.customer)
		if err != nil {
			return broken(t.line, "finally", err)
		}
		s := seen{book: p.book, clock: p.clock, customer: customer}
		failures = append(failures, x.compare(&s, fmt.Sprintf("finally, %s", x.customer))...)
	}
	return failures
}

// step lets time pass up to a step and its event happen, and compares.
func (p *play) step(s *step, title string) ([]Failure, error) {
	if err := p.pass(s.at); err != nil {
		return nil, err
	}
	var err error
	var before charge.Customer
	saw := seen{book: p.book, clock: s.at}
	if s.event == nil {
		saw.take(p.passed, func(m charge.MSISDN, _ string) bool { return m == s.customer })
	} else {
		customer, err := p.stage.customer(s.customer)
		if err != nil {
			return nil, err
		}
		before.CopyFrom(customer)
		done, err := p.happen(func() (happened, error) { return p.stage.event(s.event, s.at) })
		if err != nil {
			return nil, err
		}
		saw.take(done, func(m charge.MSISDN, event string) bool { return m == s.customer && event == s.event.ID })
	}
	if s.expect == nil {
		return nil, nil
	}
	if saw.customer, err = p.stage.customer(s.customer); err != nil {
		return nil, err
	}
	failures := s.expect.compare(&saw, title)
	if s.event != nil {
		p.why(failures, &saw, &before, s)
	}
	return failures, nil
}

// ticksMax bounds how often something may fall due between two steps.
const ticksMax = 100_000

// pass lets time pass up to an instant: what falls due on the way happens when
// it does, as it does where a clock ticks.
func (p *play) pass(until charge.Instant) error {
	if until > p.clock {
		p.passed = happened{}
	}
	for range ticksMax {
		at := p.stage.due()
		last := at == 0 || at > until
		if last {
			at = until
		}
		p.clock = max(p.clock, at)
		h, err := p.happen(func() (happened, error) { return p.stage.tick(p.clock) })
		if p.passed.add(h); err != nil || last {
			return err
		}
	}
	return fmt.Errorf("more than %d times something fell due between two steps", ticksMax)
}

// happen lets something happen, and tells of its outcomes.
func (p *play) happen(what func() (happened, error)) (happened, error) {
	h, err := what()
	for i := range h.outcomes {
		p.applied(&h.outcomes[i])
	}
	return h, err
}

// take keeps of what happened what the step is about. What alerts are about is
// in their words only, so all of them count.
func (s *seen) take(h happened, about func(m charge.MSISDN, event string) bool) {
	for _, o := range h.outcomes {
		if about(o.MSISDN, o.EventID) {
			s.outcomes = append(s.outcomes, o)
		}
	}
	for _, n := range h.notifications {
		if about(n.MSISDN, n.EventID) {
			s.notifications = append(s.notifications, n)
		}
	}
	s.alerts = append(s.alerts, h.alerts...)
}

// compare returns what is not as expected.
func (x *expectation) compare(s *seen, title string) []Failure {
	var failures []Failure
	for _, c := range x.checks {
		if diff := c.diff(s); diff != nil {
			failures = append(failures, Failure{c.line, title, c.key, diff})
		}
	}
	return failures
}

// happened is what came of a record of the log.
type happened struct {
	outcomes      []charge.Outcome
	notifications []charge.Notification
	alerts        []charge.Alert
}

func (h *happened) add(more happened) {
	h.outcomes = slices.Concat(h.outcomes, more.outcomes)
	h.notifications = slices.Concat(h.notifications, more.notifications)
	h.alerts = slices.Concat(h.alerts, more.alerts)
}
