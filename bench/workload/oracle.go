package workload

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Oracle folds accepted events, one after the other, into what they must come
// to: a second and deliberately simple implementation of the ledger
// and of the one rulebook. Amounts are centimes, bytes, seconds or points.
//
// It knows no clock but the instant at which the run begins, and needs none:
// Generate sees to that.
type Oracle struct {
	base      time.Time
	Customers map[string]*Customer // by MSISDN
	Stories   map[string]*Story    // by Key of the event
	Notes     []Note
	Alerts    []Alert
}

// Customer is what one customer must have in the end.
type Customer struct {
	MSISDN     string
	Balances   map[string][]Part
	Attributes map[string]any
	Tags       map[string]bool
	Recharges  int64
	Recharged  int64 // ever; all of it lies within thirty days
	Spent      int64

	// Tried is how often and for how much the customer has recharged since a
	// recharge first matched the rule trial; nil: none has.
	Tried *Tried

	rechargeTimes []time.Time
	uses          map[string]int // of limited rules, by rule and period
}

// Tried is what a rule with a holdout counts of a customer who met it.
type Tried struct {
	Recharges, Amount int64

	since time.Time
}

// Part is a share of a balance with its expiry; the zero time means never.
type Part struct {
	Amount  int64
	Expires time.Time
}

// Story is how an event must end, and the traces it must leave.
type Story struct {
	Event     *Incoming
	Result    string           // applied or parked
	Reason    string           // of parked
	Postings  map[string]int64 // by balance and cause, "main usage"
	Rules     []string         // "double-300 applied", "step-up skipped limit", or the name of a chance
	Chances   []Chance
	Shortfall int64
	Conflicts int // how many events of this id had other content
}

// Chance is a rule that matched and of which the oracle cannot know whether it
// applies: who gets the last of a budget, and who is held out. It applies and
// gives exactly this, or it is skipped for this reason and gives nothing.
type Chance struct {
	Rule, Balance string
	Amount        int64
	Otherwise     string
}

// Settled returns the rules and the postings of a story whose chances have come
// out as in these verdicts.
func (s *Story) Settled(verdicts []string) (rules []string, postings map[string]int64) {
	rules, postings = slices.Clone(s.Rules), maps.Clone(s.Postings)
	for _, c := range s.Chances {
		verdict := c.Rule + " skipped " + c.Otherwise
		if applied := c.Rule + " applied"; slices.Contains(verdicts, applied) {
			verdict = applied
			if c.Amount != 0 {
				postings[c.Balance+" "+c.Rule] += c.Amount
			}
		}
		rules[slices.Index(rules, c.Rule)] = verdict
	}
	return rules, postings
}

// Note is a notification that a customer must get.
type Note struct{ MSISDN, EventID, Rule, Channel, Template, Language, Text string }

// Alert is an alert that must be raised.
type Alert struct{ Name, Severity, Summary string }

// Incoming is an event as the oracle reads it.
type Incoming struct {
	ID, Source, Type, Subject string
	Time                      time.Time
	Data                      map[string]any // numbers are json.Number
}

// Key names an event: ids are unique per source.
func Key(source, id string) string { return source + " " + id }

// NewOracle returns an oracle for a run that begins at base.
func NewOracle(base time.Time) *Oracle {
	return &Oracle{base: base, Customers: map[string]*Customer{}, Stories: map[string]*Story{}}
}

// Fold takes the next accepted event of its customer.
func (o *Oracle) Fold(body []byte) {
	e := read(body)
	if first := o.Stories[Key(e.Source, e.ID)]; first != nil {
		if !first.Event.same(e) {
			first.Conflicts++
		}
		return
	}
	story := &Story{Event: e, Result: "applied", Postings: map[string]int64{}}
	o.Stories[Key(e.Source, e.ID)] = story
	switch {
	case e.Time.Before(o.base.Add(-48 * time.Hour)):
		story.Result, story.Reason = "parked", "too_late"
		return
	case e.Time.After(o.base.Add(time.Hour)): // Those meant to be accepted are minutes ahead, those not a day.
		story.Result, story.Reason = "parked", "from_the_future"
		return
	}
	c := o.customer(e.Subject)
	f := fold{oracle: o, customer: c, event: e, story: story, mainBefore: c.Total("main")}
	f.apply()
	if story.Result == "applied" {
		f.judge()
		f.give()
	}
}

func (o *Oracle) customer(msisdn string) *Customer {
	c := o.Customers[msisdn]
	if c == nil {
		c = &Customer{
			MSISDN: msisdn, Balances: map[string][]Part{}, Attributes: map[string]any{},
			Tags: map[string]bool{}, uses: map[string]int{},
		}
		o.Customers[msisdn] = c
	}
	return c
}

func read(body []byte) *Incoming {
	e := &Incoming{}
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	if err := d.Decode(e); err != nil {
		panic(fmt.Sprintf("oracle: %s: %v", body, err))
	}
	e.Subject = strings.TrimPrefix(e.Subject, "+")
	return e
}

// same reports whether two events of one id have one content. The generator
// changes type and data of a conflict, or nothing at all of a repeat.
func (e *Incoming) same(other *Incoming) bool {
	a, _ := json.Marshal(e)
	b, _ := json.Marshal(other)
	return bytes.Equal(a, b)
}

// text returns a text field, or "".
func (e *Incoming) text(name string) string {
	s, _ := e.Data[name].(string)
	return s
}

// number returns a field as minor units of so many digits, however it was written.
func (e *Incoming) number(name string, digits int) (int64, bool) {
	value, there := e.Data[name]
	if !there {
		return 0, false
	}
	return minor(fmt.Sprint(value), digits), true
}

// minor reads a plain decimal as minor units.
func minor(text string, digits int) int64 {
	whole, fraction, _ := strings.Cut(text, ".")
	n, err := strconv.ParseInt(whole+fraction+strings.Repeat("0", digits-len(fraction)), 10, 64)
	if err != nil {
		panic(fmt.Sprintf("oracle: amount %q: %v", text, err))
	}
	return n
}

// short writes centimes as texts show them: "350", "350.50".
func short(centimes int64) string {
	if centimes%100 == 0 {
		return strconv.FormatInt(centimes/100, 10)
	}
	return fmt.Sprintf("%d.%02d", centimes/100, centimes%100)
}

// digits returns how many digits after the point a balance's unit has.
func digits(balance string) int {
	switch balance {
	case "main", "bonus", "gifts", "rebates", "refunds":
		return 2
	}
	return 0
}

// Total returns all that a customer holds of a balance, expired or not: of what
// usage consumes, nothing expires during a run.
func (c *Customer) Total(balance string) int64 {
	var total int64
	for _, p := range c.Balances[balance] {
		total += p.Amount
	}
	return total
}

// Live returns the parts of a balance that are worth something at that instant,
// one for each expiry, by expiry.
func (c *Customer) Live(balance string, at time.Time) []Part {
	var live []Part
	for _, p := range c.Balances[balance] {
		if p.Amount == 0 || !p.Expires.IsZero() && !at.Before(p.Expires) {
			continue
		}
		i := slices.IndexFunc(live, func(q Part) bool { return q.Expires.Equal(p.Expires) })
		if i < 0 {
			live = append(live, p)
		} else {
			live[i].Amount += p.Amount
		}
	}
	slices.SortFunc(live, func(a, b Part) int { return a.Expires.Compare(b.Expires) })
	return live
}

// RechargesSince returns how many recharges happened in the window that ends at
// that instant.
func (c *Customer) RechargesSince(window time.Duration, at time.Time) int64 {
	var n int64
	for _, t := range c.rechargeTimes {
		if t.After(at.Add(-window)) && !t.After(at) {
			n++
		}
	}
	return n
}
