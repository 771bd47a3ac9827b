// Package ledger is the pure machine of charging: it applies to one customer
// what an event does by itself, before any rule is asked. It credits and debits
// balances, lets parts of them expire, and counts.
//
// It promises that every change of a balance is a posting and every posting a
// change of a balance; that no balance falls below zero or grows beyond
// money.AmountMax; that parts are consumed in the order that state/README.md gives; and
// that the same customer, event and clock always give the same answer.
//
// It refuses to know the time, where customers are kept, and what rules give:
// the clock of the log is handed in, and a rule's credit arrives as a Credit.
package ledger

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"recharged/state/charge"
	"recharged/state/money"
)

// MainBalance is the balance that recharges credit. A plan that declares it
// counts it in the plan's currency.
const MainBalance = "main"

// Plan is what the ledger needs of a rulebook. It comes from a checked book and
// is immutable: any number of goroutines may use it.
type Plan struct {
	Currency money.Unit
	Location *time.Location
	Lateness time.Duration // how far an event's time may lie behind the clock; a book's default is 48h
	Ahead    time.Duration // how far an event's time may lie ahead of the clock: 5 minutes
	Balances []BalancePlan // sorted by name
	Tariffs  []TariffPlan  // sorted by service
	Counters []CounterPlan // sorted by name
	Services []string      // built in and declared
	Types    []string      // the declared event types, besides the built-in ones
	Dedup    DedupPlan
}

// BalancePlan is a kind of balance that customers may hold.
type BalancePlan struct {
	Name     string
	Unit     money.Unit
	Service  string        // whose units it holds, or, in the currency, the only service that it pays; empty: money for all
	Order    int           // lower is consumed first
	Validity time.Duration // default life of a credit, from event time; zero: it never expires
	Spend    bool          // whether usage may consume it
}

// TariffPlan is the price of a service: Price for every Per units that were
// started.
type TariffPlan struct {
	Service string
	Price   money.Amount // in the plan's currency
	Per     int64        // in the service's units, at least 1
}

// DedupPlan is how long the id of an event is remembered at least.
type DedupPlan struct {
	Money time.Duration // of events that IsMoney names; at least 72h
	Other time.Duration // of all others; at least 1h
	Keep  uint64        // how many of a customer's newest ids are kept however old they are; at least 256
}

// Refusal is why an event has no effect: it is to be parked for that reason. It
// is an outcome, not a fault of the ledger.
type Refusal struct {
	Reason charge.ParkReason
	Detail string
}

func (r *Refusal) Error() string { return string(r.Reason) + ": " + r.Detail }

// Balance returns the plan of the balance of that name.
func (p *Plan) Balance(name string) (*BalancePlan, bool) {
	i, ok := slices.BinarySearchFunc(p.Balances, name, func(b BalancePlan, name string) int {
		return strings.Compare(b.Name, name)
	})
	if !ok {
		return nil, false
	}
	return &p.Balances[i], true
}

// Counter returns the plan of the counter of that name.
func (p *Plan) Counter(name string) (*CounterPlan, bool) {
	i, ok := slices.BinarySearchFunc(p.Counters, name, func(c CounterPlan, name string) int {
		return strings.Compare(c.Name, name)
	})
	if !ok {
		return nil, false
	}
	return &p.Counters[i], true
}

// tariff returns the price of a service.
func (p *Plan) tariff(service string) (*TariffPlan, bool) {
	i, ok := slices.BinarySearchFunc(p.Tariffs, service, func(t TariffPlan, service string) int {
		return strings.Compare(t.Service, service)
	})
	if !ok {
		return nil, false
	}
	return &p.Tariffs[i], true
}

// Admit refuses an event that may not take effect at this clock under this
// plan: one that comes too late or from the future, and one whose type,
// service, currency or balance the plan does not know. The door checked the
// same against the book of its moment; this is the book that judges.
func (p *Plan) Admit(e *charge.Event, clock charge.Instant) *Refusal {
	switch {
	case e.Time < clock.Add(-p.Lateness):
		return refuse(charge.TooLate, "happened "+clock.Sub(e.Time).String()+" before the clock, at most "+p.Lateness.String()+" is allowed")
	case e.Time > clock.Add(p.Ahead):
		return refuse(charge.FromTheFuture, "happened "+e.Time.Sub(clock).String()+" after the clock, at most "+p.Ahead.String()+" is allowed")
	}
	switch e.Type {
	case charge.Recharge:
		if _, refusal := p.balance(MainBalance); refusal != nil {
			return refusal
		}
		return p.admitCurrency(e)
	case charge.Adjustment:
		_, refusal := p.balance(e.Text("balance"))
		return refusal
	case charge.Usage, charge.CDR:
		if service := e.Text("service"); !slices.Contains(p.Services, service) {
			return refuse(charge.Unsupported, "service "+strconv.Quote(service)+" is not in the rulebook")
		}
		return p.admitCurrency(e)
	case charge.Profile, charge.Contact, charge.Grievance, charge.Survey:
	default:
		if !slices.Contains(p.Types, e.Type) {
			return refuse(charge.Unsupported, "event type "+strconv.Quote(e.Type)+" is not in the rulebook")
		}
	}
	return nil
}

// admitCurrency refuses an event that names a currency other than the plan's.
func (p *Plan) admitCurrency(e *charge.Event) *Refusal {
	if currency := e.Text("currency"); currency != "" && currency != p.Currency.Name {
		return refuse(charge.Unsupported, "currency "+strconv.Quote(currency)+" is not the rulebook's "+p.Currency.Name)
	}
	return nil
}

// balance returns the plan of a balance that something is to be done with, or
// the refusal if there is none.
func (p *Plan) balance(name string) (*BalancePlan, *Refusal) {
	plan, ok := p.Balance(name)
	if !ok {
		return nil, refuse(charge.UnknownBalance, "balance "+strconv.Quote(name)+" is not in the rulebook")
	}
	return plan, nil
}

func refuse(reason charge.ParkReason, detail string) *Refusal {
	return &Refusal{Reason: reason, Detail: detail}
}

// IsMoney reports whether events of that type have the long dedup horizon,
// because their repetition would credit or debit a second time by itself.
func IsMoney(eventType string) bool {
	return eventType == charge.Recharge || eventType == charge.Adjustment
}

// MayForget reports whether the id of an event that was seen at that clock lies
// beyond the dedup horizon: more than Keep newer ids of the customer were seen
// since, and its age exceeds the horizon of its type.
func (p *Plan) MayForget(ordinalsAfter uint64, at, clock charge.Instant, ofMoney bool) bool {
	horizon := p.Dedup.Other
	if ofMoney {
		horizon = p.Dedup.Money
	}
	return ordinalsAfter > p.Dedup.Keep && clock.Sub(at) > horizon
}
