package backtest

import (
	"fmt"
	"strings"
	"time"

	"recharged/rules"
	"recharged/state/charge"
	"recharged/state/money"
	"recharged/stream/turn"
)

// tally adds up what one side comes to in the window.
type tally struct {
	location *time.Location
	events   [charge.Parked + 1]uint64 // by result
	rules    map[string]*ruleTally
	gifts    []gift
	given    map[givenKey]money.Amount // to whom what; also nothing, to those who were told
	days     map[time.Time]*dayTally
	today    *dayTally
	begin    charge.Instant // of the day
	end      charge.Instant
}

// gift is what a rule gives to one balance. Of a rule that tells customers
// something there is one more, of no balance.
type gift struct {
	rule    *ruleTally
	balance string
	unit    money.Unit
	amount  money.Sum
}

// givenKey is a customer and one of the gifts.
type givenKey struct {
	customer charge.MSISDN
	gift     uint32
}

// ruleTally is what one rule did.
type ruleTally struct {
	name          string
	results       map[string]uint64
	gifts         []uint32
	told          uint32 // the gift of no balance, plus one; zero: there is none
	notifications uint64
	parts         uint64 // short messages that those take
	alerts        uint64
	exhausted     charge.Instant // when something first did not fit in the budget; zero: never
}

// dayTally is one day, by the clock of the draft's timezone.
type dayTally struct {
	events uint64
	gifts  []money.Sum // by gift, as many as there were
}

func newTally(location *time.Location) *tally {
	return &tally{
		location: location, rules: map[string]*ruleTally{},
		given: map[givenKey]money.Amount{}, days: map[time.Time]*dayTally{},
	}
}

// givenMemory is what an entry of tally.given takes, here and when the result is
// made of it.
const givenMemory = 100

func (t *tally) memory() int { return givenMemory * len(t.given) }

// take adds a turn.
func (t *tally) take(turn *turn.Turn) error {
	for i := range turn.Outcomes {
		if err := t.outcome(&turn.Outcomes[i]); err != nil {
			return err
		}
	}
	for i := range turn.Notifications {
		n := &turn.Notifications[i]
		r := t.rule(n.Rule)
		r.notifications++
		if n.Channel == smsChannel {
			parts, _ := rules.Parts(n.Text)
			r.parts += uint64(parts)
		}
		if r.told == 0 {
			r.told = t.newGift(r, "", money.Unit{}) + 1
		}
		t.given[givenKey{n.MSISDN, r.told - 1}] += 0
	}
	for i := range turn.Alerts {
		if r := t.rules[turn.Alerts[i].Name]; r != nil { // Others are the processor's own.
			r.alerts++
		}
	}
	return nil
}

// smsChannel is the channel whose messages are cut into parts.
const smsChannel = "sms"

func (t *tally) outcome(o *charge.Outcome) error {
	if o.Accepted < t.begin || o.Accepted >= t.end {
		t.turnTo(o.Accepted)
	}
	if o.Type != charge.ExpiryType && o.Type != charge.TimerType {
		t.events[o.Result]++
		t.today.events++
	}
	for i := range o.Rules {
		result := &o.Rules[i]
		r := t.rule(result.Name)
		if result.Verdict == charge.RuleApplied {
			r.results[result.Verdict.String()]++
			continue
		}
		r.results[result.Reason]++
		if result.Reason == charge.SkipBudget && r.exhausted == 0 {
			r.exhausted = o.Accepted
		}
	}
	for i := range o.Postings {
		if err := t.posting(o.MSISDN, &o.Postings[i]); err != nil {
			return err
		}
	}
	return nil
}

// posting adds what a rule gives.
func (t *tally) posting(m charge.MSISDN, p *charge.Posting) error {
	if !strings.HasPrefix(string(p.Account), charge.PromoPrefix) {
		return nil
	}
	id := t.gift(t.rule(p.Cause), p.Balance, p.Unit)
	t.gifts[id].amount.Add(p.Amount)
	for len(t.today.gifts) <= int(id) {
		t.today.gifts = append(t.today.gifts, money.Sum{})
	}
	t.today.gifts[id].Add(p.Amount)
	key := givenKey{m, id}
	all, err := t.given[key].Add(p.Amount)
	if err != nil {
		return fmt.Errorf("rule %s gives customer %s more than can be counted: %w", p.Cause, m.Masked(), err)
	}
	t.given[key] = all
	return nil
}

// rule returns the tally of a rule.
func (t *tally) rule(name string) *ruleTally {
	r := t.rules[name]
	if r == nil {
		r = &ruleTally{name: name, results: map[string]uint64{}}
		t.rules[name] = r
	}
	return r
}

// gift returns the number of a rule's gift to a balance.
func (t *tally) gift(r *ruleTally, balance string, unit money.Unit) uint32 {
	for _, id := range r.gifts {
		if g := &t.gifts[id]; g.balance == balance && g.unit == unit {
			return id
		}
	}
	return t.newGift(r, balance, unit)
}

func (t *tally) newGift(r *ruleTally, balance string, unit money.Unit) uint32 {
	id := uint32(len(t.gifts))
	t.gifts = append(t.gifts, gift{rule: r, balance: balance, unit: unit})
	if balance != "" {
		r.gifts = append(r.gifts, id)
	}
	return id
}

// turnTo makes the day of an instant the one that is added to.
func (t *tally) turnTo(at charge.Instant) {
	year, month, day := at.Time().In(t.location).Date()
	begin := time.Date(year, month, day, 0, 0, 0, 0, t.location)
	t.begin = charge.Instant(begin.UnixNano())
	t.end = charge.Instant(time.Date(year, month, day+1, 0, 0, 0, 0, t.location).UnixNano())
	t.today = t.days[begin]
	if t.today == nil {
		t.today = &dayTally{}
		t.days[begin] = t.today
	}
}
