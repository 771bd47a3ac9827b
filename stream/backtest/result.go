package backtest

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"recharged/state/charge"
	"recharged/state/money"
)

// Result is what a backtest came to. Amounts are texts with all digits of their
// unit. What does not name a side is of the draft.
type Result struct {
	From string `json:"from" format:"date-time" doc:"When the first record of the window was accepted; empty: there is none."`
	To   string `json:"to" format:"date-time" doc:"When the last one was."`

	Events     uint64 `json:"events" doc:"That ended in the window."`
	Parked     uint64 `json:"parked"`
	Duplicates uint64 `json:"duplicates"`
	Customers  uint64 `json:"customers" doc:"Known at the end of the window."`
	Reached    uint64 `json:"reached" doc:"Customers whom a rule gave or told something."`

	Notifications uint64 `json:"notifications"`
	SMSParts      uint64 `json:"sms_parts" doc:"Short messages that the notifications take."`

	Rules      []Rule     `json:"rules" doc:"Of the draft, in the order in which they are judged."`
	Gifts      []Gift     `json:"gifts" doc:"What customers get, by unit, the currency first."`
	Days       []Day      `json:"days"`
	Difference Difference `json:"difference"`
}

// Rule is what one rule of the draft does.
type Rule struct {
	Name          string            `json:"name"`
	Title         string            `json:"title,omitempty"`
	Results       map[string]uint64 `json:"results" doc:"Verdicts where it matched: applied, or why it was passed over."`
	Matches       uint64            `json:"matches" doc:"All of them."`
	Credited      map[string]string `json:"credited" doc:"By balance."`
	Customers     uint64            `json:"customers" doc:"To whom it gave or told something."`
	Notifications uint64            `json:"notifications"`
	SMSParts      uint64            `json:"sms_parts"`
	Alerts        uint64            `json:"alerts"`
	Budget        *Spending         `json:"budget,omitempty"`
}

// Spending is what becomes of a rule's budget.
type Spending struct {
	Unit      string `json:"unit"`
	Total     string `json:"total"`
	Before    string `json:"before" doc:"Spent before the window by the rule of that name."`
	Spent     string `json:"spent" doc:"Ever, with that."`
	Left      string `json:"left"`
	Exhausted string `json:"exhausted,omitempty" format:"date-time" doc:"When a credit first did not fit; absent: all did."`
}

// Gift is what the customers get in one unit, who get something in it.
type Gift struct {
	Unit      string   `json:"unit"`
	Total     string   `json:"total"`
	Customers uint64   `json:"customers"`
	Half      string   `json:"p50" doc:"Half of them get at most that."`
	Most      string   `json:"p95" doc:"95 of 100 get at most that."`
	Max       string   `json:"max"`
	Winners   []Winner `json:"winners" doc:"Who get most, at most 20."`
}

// Winner is a customer and what they get.
type Winner struct {
	MSISDN string `json:"msisdn" doc:"Masked." example:"213*******56"`
	Amount string `json:"amount"`
}

// Day is one day of the window, by the time at which events were accepted and
// the clock of the draft's timezone.
type Day struct {
	Day    string                       `json:"day" format:"date"`
	Events uint64                       `json:"events"`
	Rules  map[string]map[string]string `json:"rules" doc:"What each rule gives, by balance."`
	Cost   map[string]string            `json:"cost" doc:"What all rules give, by unit."`
	Live   map[string]string            `json:"live" doc:"What all rules of the live side gave, by unit."`
}

// Difference is what the draft side has more than the live side; less is
// negative.
type Difference struct {
	Events        int64            `json:"events" doc:"That ended: other rules may wait for budgets."`
	Parked        int64            `json:"parked"`
	Reached       int64            `json:"reached"`
	Notifications int64            `json:"notifications"`
	SMSParts      int64            `json:"sms_parts"`
	Units         []UnitDifference `json:"units" doc:"By unit, the currency first."`
	Rules         []RuleDifference `json:"rules" doc:"Of the rules of both sides, those of the draft first."`
}

// UnitDifference compares what all rules give in a unit.
type UnitDifference struct {
	Unit    string `json:"unit"`
	Draft   string `json:"draft"`
	Live    string `json:"live"`
	Change  string `json:"change"`
	Changed Counts `json:"customers"`
}

// RuleDifference compares a rule of the two sides.
type RuleDifference struct {
	Name          string            `json:"name"`
	Only          string            `json:"only,omitempty" enum:"draft,live" doc:"The side that has the rule; absent: both do."`
	Applied       int64             `json:"applied"`
	Credited      map[string]string `json:"credited" doc:"By balance."`
	Notifications int64             `json:"notifications"`
	Changed       Counts            `json:"customers"`
}

// Counts are customers by what becomes of what they get.
type Counts struct {
	More uint64 `json:"more" doc:"Get more than under the live rulebook."`
	New  uint64 `json:"new" doc:"Of those, got nothing."`
	Less uint64 `json:"less" doc:"Get less."`
	Lose uint64 `json:"lose" doc:"Of those, get nothing any more."`
}

// count adds a customer who gets one thing instead of another.
func (c *Counts) count(draft, live money.Amount) {
	switch {
	case draft > live:
		c.More++
		if live == 0 {
			c.New++
		}
	case draft < live:
		c.Less++
		if draft == 0 {
			c.Lose++
		}
	}
}

// result makes the result of what the two sides come to.
func (r *run) result() (*Result, error) {
	d, l := r.draft.tally, r.live.tally
	book := r.opts.Draft
	people := comparePeople(d, l, book.Plan().Currency)
	if people.err != nil {
		return nil, people.err
	}
	out := &Result{
		From: instantText(r.windows.first), To: instantText(r.windows.last),
		Events: d.ended(), Parked: d.events[charge.Parked], Duplicates: d.events[charge.Duplicate],
		Customers: uint64(r.draft.customers.Load()), Reached: people.reached,
		Rules: []Rule{}, Gifts: people.gifts(d), Days: days(d, l),
	}
	for _, info := range book.Rules() {
		t := d.rule(info.Name)
		rule := Rule{
			Name: info.Name, Title: info.Title, Results: t.results, Credited: d.credited(t, nil),
			Customers: people.byRule[info.Name], Notifications: t.notifications, SMSParts: t.parts, Alerts: t.alerts,
		}
		for _, n := range t.results {
			rule.Matches += n
		}
		if info.Budget != 0 {
			rule.Budget = r.draft.purse.describe(info.Name, t.exhausted)
		}
		out.Notifications += t.notifications
		out.SMSParts += t.parts
		out.Rules = append(out.Rules, rule)
	}
	out.Difference = r.difference(out, people)
	return out, nil
}

// ended counts the events that came to an end.
func (t *tally) ended() (n uint64) {
	for _, count := range t.events {
		n += count
	}
	return n
}

func (p *purse) describe(rule string, exhausted charge.Instant) *Spending {
	total, unit, _ := p.book.Budget(rule)
	return &Spending{
		Unit: unit.Name, Total: unit.Format(total), Before: unit.Format(p.before[rule]), Spent: unit.Format(p.spent[rule]),
		Left: unit.Format(total - p.spent[rule]), Exhausted: instantText(exhausted),
	}
}

// instantText writes an instant; the one that is not set is empty.
func instantText(i charge.Instant) string {
	if i == 0 {
		return ""
	}
	return i.Time().UTC().Format(time.RFC3339Nano)
}

// credited writes what a rule gives, by balance; without, if any, is taken off.
func (t *tally) credited(r *ruleTally, without map[balanceUnit]money.Sum) map[string]string {
	sums := map[balanceUnit]money.Sum{}
	for of, sum := range without {
		var negative money.Sum
		negative.Sub(sum)
		sums[of] = negative
	}
	for of, sum := range t.sums(r) {
		all := sums[of]
		all.AddSum(sum)
		sums[of] = all
	}
	texts := make(map[string]string, len(sums))
	for of, sum := range sums {
		name := of.balance
		for other := range sums {
			if other != of && other.balance == of.balance { // Its unit was changed: these are two.
				name = of.balance + " (" + of.unit.Name + ")"
			}
		}
		texts[name] = of.unit.FormatSum(sum)
	}
	return texts
}

// balanceUnit is a balance and the unit that it had.
type balanceUnit struct {
	balance string
	unit    money.Unit
}

// sums returns what a rule gives.
func (t *tally) sums(r *ruleTally) map[balanceUnit]money.Sum {
	sums := map[balanceUnit]money.Sum{}
	for _, id := range r.gifts {
		g := &t.gifts[id]
		sums[balanceUnit{g.balance, g.unit}] = g.amount
	}
	return sums
}

// days lists the days of both sides.
func days(d, l *tally) []Day {
	all := map[time.Time]bool{}
	for day := range d.days {
		all[day] = true
	}
	for day := range l.days {
		all[day] = true
	}
	list := []Day{}
	for _, day := range slices.SortedFunc(maps.Keys(all), time.Time.Compare) {
		shown := Day{Day: day.Format(time.DateOnly), Rules: map[string]map[string]string{}, Cost: d.cost(d.days[day]), Live: l.cost(l.days[day])}
		if t := d.days[day]; t != nil {
			shown.Events = t.events
			for id, sum := range t.gifts {
				if g := &d.gifts[id]; !sum.IsZero() {
					if shown.Rules[g.rule.name] == nil {
						shown.Rules[g.rule.name] = map[string]string{}
					}
					shown.Rules[g.rule.name][g.balance] = g.unit.FormatSum(sum)
				}
			}
		}
		list = append(list, shown)
	}
	return list
}

// cost adds up what a day gives, by unit.
func (t *tally) cost(day *dayTally) map[string]string {
	texts := map[string]string{}
	if day == nil {
		return texts
	}
	sums := map[money.Unit]money.Sum{}
	for id, sum := range day.gifts {
		if g := &t.gifts[id]; g.balance != "" {
			all := sums[g.unit]
			all.AddSum(sum)
			sums[g.unit] = all
		}
	}
	for unit, sum := range sums {
		texts[unit.Name] = unit.FormatSum(sum)
	}
	return texts
}

// difference compares the two sides.
func (r *run) difference(out *Result, people *people) Difference {
	d, l := r.draft.tally, r.live.tally
	diff := Difference{
		Events: change(d.ended(), l.ended()), Parked: change(d.events[charge.Parked], l.events[charge.Parked]),
		Reached: change(people.reached, people.reachedLive), Units: people.units(d, l), Rules: []RuleDifference{},
	}
	var names []string
	drafted, lived := map[string]bool{}, map[string]bool{}
	for i := range out.Rules {
		names = append(names, out.Rules[i].Name)
		drafted[out.Rules[i].Name] = true
	}
	for name := range l.rules {
		lived[name] = true
	}
	for _, m := range r.live.machines {
		if book, _ := m.Book(); book != nil {
			for _, info := range book.Rules() {
				lived[info.Name] = true
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(lived)) {
		if !drafted[name] {
			names = append(names, name)
		}
	}
	for _, name := range names {
		dr, lr := d.rule(name), l.rule(name)
		rule := RuleDifference{
			Name: name, Applied: change(dr.applied(), lr.applied()),
			Credited:      d.credited(dr, l.sums(lr)),
			Notifications: change(dr.notifications, lr.notifications),
			Changed:       people.changedByRule[name],
		}
		switch {
		case !lived[name]:
			rule.Only = "draft"
		case !drafted[name]:
			rule.Only = "live"
		}
		diff.Notifications += rule.Notifications
		diff.SMSParts += change(dr.parts, lr.parts)
		diff.Rules = append(diff.Rules, rule)
	}
	return diff
}

func (r *ruleTally) applied() uint64 { return r.results[charge.RuleApplied.String()] }

func change(draft, live uint64) int64 { return int64(draft) - int64(live) }

// compareUnits puts the currency first.
func compareUnits(currency money.Unit) func(a, b money.Unit) int {
	return func(a, b money.Unit) int {
		if (a == currency) != (b == currency) {
			if a == currency {
				return -1
			}
			return 1
		}
		return cmp.Or(strings.Compare(a.Name, b.Name), cmp.Compare(a.Digits, b.Digits))
	}
}
