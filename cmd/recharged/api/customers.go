package api

import (
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-json-experiment/json/jsontext"

	"recharged/rules"
	"recharged/state/charge"
	"recharged/state/ledger"
	"recharged/state/money"
)

const (
	pageDefault = 50
	pageMax     = 500
)

// Page says which part of a list is wanted.
type Page struct {
	Limit  int    `query:"limit" default:"50" minimum:"0" doc:"How many at most; 0 is read as 50, more than 500 as 500."`
	Before string `query:"before" doc:"The value of next of the page before."`
}

func (p *Page) limit() int {
	if p.Limit == 0 {
		return pageDefault
	}
	return min(p.Limit, pageMax)
}

func (a *API) registerCustomers() {
	huma.Register(a.huma, huma.Operation{
		OperationID: "get-customer", Method: http.MethodGet, Path: "/v1/customers/{msisdn}", Tags: []string{"customers"},
		Summary: "What a customer has, at present", Security: needs(Read), Errors: []int{http.StatusNotFound},
	}, a.getCustomer)
	huma.Register(a.huma, huma.Operation{
		OperationID: "get-timeline", Method: http.MethodGet, Path: "/v1/customers/{msisdn}/timeline", Tags: []string{"customers"},
		Summary: "What happened to a customer and why, newest first", Security: needs(Read), Errors: []int{http.StatusNotFound},
	}, a.getTimeline)
}

// CustomerPath names the customer of an operation.
type CustomerPath struct {
	MSISDN string `path:"msisdn" example:"213770123456" doc:"6 to 15 digits; a leading + is dropped."`
}

type customerOutput struct{ Body Customer }

func (a *API) getCustomer(ctx context.Context, in *CustomerPath) (*customerOutput, error) {
	c, err := a.customer(ctx, in.MSISDN)
	if err != nil {
		return nil, err
	}
	at, ok := charge.InstantOf(a.now())
	if !ok {
		return nil, huma.NewError(http.StatusServiceUnavailable, "the clock of this machine is wrong")
	}
	book, _ := a.processor.Book()
	return &customerOutput{describeCustomer(book, c, at)}, nil
}

// customer reads the customer of a path, or says why there is none.
func (a *API) customer(ctx context.Context, digits string) (*charge.Customer, error) {
	m, err := charge.ParseMSISDN(digits)
	if err != nil {
		return nil, huma.NewError(http.StatusUnprocessableEntity, err.Error())
	}
	c, known, err := a.processor.Customer(m)
	if err != nil {
		return nil, a.failed(ctx, "reading the customer", err)
	}
	if !known {
		return nil, huma.NewError(http.StatusNotFound, "no event of this customer has taken effect yet")
	}
	return c, nil
}

// describeCustomer shows a customer at an instant. What has expired by then is
// not shown, whether its expiry was posted or not.
func describeCustomer(book *rules.Book, c *charge.Customer, at charge.Instant) Customer {
	plan := book.Plan()
	shown := Customer{
		MSISDN:     c.MSISDN.String(),
		Balances:   make(map[string]Balance, len(plan.Balances)),
		Counters:   make(map[string]any, len(plan.Counters)),
		Segments:   notNil(book.Segments(c, at)),
		Tags:       notNil(c.Tags),
		Attributes: make(map[string]any, len(c.Attributes)),
		Recharges:  c.Recharges,
		Tracking:   c.Tracking(at),
	}
	for i := range plan.Balances {
		b := &plan.Balances[i]
		shown.Balances[b.Name] = describeBalance(b.Unit, c.Balance(b.Name), at)
	}
	for i := range plan.Counters {
		shown.Counters[plan.Counters[i].Name] = describeCounter(plan, &plan.Counters[i], c, at)
	}
	for i := range c.Attributes {
		shown.Attributes[c.Attributes[i].Name] = describeValue(c.Attributes[i].Value)
	}
	if c.LastRecharge != 0 {
		shown.LastRecharge = timeText(c.LastRecharge)
	}
	return shown
}

func describeBalance(unit money.Unit, b *charge.Balance, at charge.Instant) Balance {
	shown := Balance{Unit: unit.Name, Parts: []Part{}}
	if b == nil {
		shown.Amount = unit.Format(0)
		return shown
	}
	shown.Amount = unit.Format(b.Total(at))
	live := slices.DeleteFunc(slices.Clone(b.Parts), func(p charge.Part) bool { return !p.Live(at) })
	slices.SortStableFunc(live, func(p, q charge.Part) int {
		switch {
		case p.Expires == q.Expires:
			return 0
		case q.Expires == 0 || p.Expires != 0 && p.Expires < q.Expires:
			return -1
		}
		return 1
	})
	for _, p := range live {
		part := Part{Amount: unit.Format(p.Amount)}
		if p.Expires != 0 {
			part.Expires = timeText(p.Expires)
		}
		shown.Parts = append(shown.Parts, part)
	}
	return shown
}

// describeCounter shows whole numbers as JSON numbers and what has digits after
// the point as an exact string, as amounts are everywhere.
func describeCounter(plan *ledger.Plan, counter *ledger.CounterPlan, c *charge.Customer, at charge.Instant) any {
	value := plan.CounterValue(c, counter, at)
	if counter.Digits == 0 {
		return value
	}
	return money.Unit{Digits: counter.Digits}.Format(money.Amount(value))
}

// describeValue shows an attribute as it was set: numbers with all their digits.
func describeValue(v charge.Value) any {
	switch v.Kind {
	case charge.Bool:
		return v.Bool()
	case charge.Number:
		return jsontext.Value(money.Unit{Digits: int(v.Scale)}.Append(nil, money.Amount(v.Bits)))
	case charge.List:
		return notNil(v.List)
	}
	return v.Text
}

func notNil(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

func timeText(i charge.Instant) string { return i.Time().Format(time.RFC3339Nano) }

type timelineInput struct {
	CustomerPath
	Page
}

type timelineOutput struct {
	Body struct {
		Outcomes []Raw[Outcome] `json:"outcomes"`
		Next     string         `json:"next" doc:"Where the next page begins; empty at the end."`
	}
}

func (a *API) getTimeline(ctx context.Context, in *timelineInput) (*timelineOutput, error) {
	c, err := a.customer(ctx, in.MSISDN)
	if err != nil {
		return nil, err
	}
	entries, err := a.processor.Timeline(ctx, c.MSISDN, in.Before, in.limit()+1)
	if err != nil {
		return nil, a.badPage(ctx, "reading the timeline", err)
	}
	out := &timelineOutput{}
	out.Body.Outcomes = []Raw[Outcome]{}
	if len(entries) > in.limit() {
		entries = entries[:in.limit()]
		out.Body.Next = entries[len(entries)-1].Ref
	}
	for i := range entries {
		out.Body.Outcomes = append(out.Body.Outcomes, charge.AppendOutcomeJSON(nil, &entries[i].Outcome))
	}
	return out, nil
}
