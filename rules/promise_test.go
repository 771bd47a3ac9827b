package rules

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"recharged/state/charge"
	"recharged/state/money"
)

var friday = charge.Instant(time.Date(2026, 11, 20, 18, 30, 0, 0, time.UTC).UnixNano())

// subjectOf is a recharge of a customer.
func subjectOf(c *charge.Customer, amount int64) *Subject {
	return &Subject{
		Event: &charge.Event{Type: charge.Recharge, MSISDN: c.MSISDN, Time: friday, Fields: []charge.Field{
			{Name: "amount", Value: charge.NumberValue(money.Decimal{Coefficient: amount, Scale: 2})},
		}},
		Before: c, After: c, Clock: friday,
	}
}

// memory is what a partition remembers, in tests.
type memory struct {
	funds     map[string]Fund
	suspended []string
}

func (m *memory) Fund(rule string) Fund      { return m.funds[rule] }
func (m *memory) Suspended(rule string) bool { return slices.Contains(m.suspended, rule) }

// A holdout takes its share of any numbers, in sequence as operators give them
// out, and of two rules independently.
func TestHoldoutIsUniform(t *testing.T) {
	const customers, tenth = 200_000, money.RateWhole / 10
	var held, both int
	tenths := make([]int, 10)
	for i := range customers {
		m, err := charge.ParseMSISDN(fmt.Sprintf("2137%08d", 70_000_000+i))
		if err != nil {
			t.Fatal(err)
		}
		a, b := share("double-300", m), share("double-500", m)
		tenths[a/tenth]++
		if a < money.RateWhole/20 {
			held++
			if b < money.RateWhole/20 {
				both++
			}
		}
	}
	for i, n := range tenths {
		if n < 19_500 || n > 20_500 {
			t.Errorf("tenth %d has %d of %d customers", i, n, customers)
		}
	}
	if held < 9_700 || held > 10_300 {
		t.Errorf("5%% of %d customers are %d", customers, held)
	}
	if both < 400 || both > 600 {
		t.Errorf("two rules hold back %d customers together, about 500 are to be expected", both)
	}
	m, _ := charge.ParseMSISDN("213770123456")
	if got := share("double-300", m); got != 794_497 {
		t.Errorf("the place of a customer has changed to %d: every running campaign gets other arms", got)
	}
}

// The arms of a holdout are met at the same point, whatever becomes of the rule
// then, and a customer keeps the arm that it was met in.
func TestHoldoutRemembersTheArm(t *testing.T) {
	book := func(percent int) *Book {
		return mustLoad(t, File{"a", fmt.Appendf(nil, "%srules:\n  - {name: r, on: recharge, holdout: %d%%, limits: {budget: 1}, then: [{credit: {to: bonus, percent: 100}}]}\n", small, percent)})
	}
	m, _ := charge.ParseMSISDN("213770123456")
	c := &charge.Customer{MSISDN: m}
	var d Decision
	few, most := book(1), book(99)
	few.Decide(subjectOf(c, 20000), &d)
	if d.Results[0].Reason != charge.SkipBudget || len(d.Arms) != 1 || d.Arms[0].Held || d.Arms[0].Customers != 1 {
		t.Fatalf("decided %+v, learned %+v", d.Results, d.Arms)
	}
	d.Fail("r", "nothing was posted")
	few.Settle(&d, c, friday)
	most.Decide(subjectOf(c, 20000), &d)
	want := []Arm{{Rule: "r", Recharges: 1, Amount: 20000}}
	if d.Results[0].Reason != charge.SkipHoldout || !reflect.DeepEqual(d.Arms, want) {
		t.Errorf("decided %+v, learned %+v", d.Results, d.Arms)
	}
	most.Settle(&d, c, friday)
	if len(c.Counters) != 1 || c.Counters[0].Name != "arm:r" {
		t.Errorf("remembered %+v", c.Counters)
	}
	without := mustLoad(t, File{"a", []byte(small + "rules:\n  - {name: r, on: recharge, then: [{tag: x}]}\n")})
	if without.Decide(subjectOf(c, 20000), &d); len(d.Arms) > 0 {
		t.Errorf("a rule without a holdout learned %+v", d.Arms)
	}
}

// What stands in a rule's way is told in a fixed order.
func TestOrderOfVerdicts(t *testing.T) {
	book := mustLoad(t, File{"a", []byte(small + `rules:
  - name: r
    on: recharge
    when: 100 / amount < 100
    group: g
    holdout: 99%
    limits: {per_customer: [{count: 1, per: day}], budget: 1}
    then: [{credit: {to: bonus, percent: 100, of: 100 / (amount - 5)}}, {credit: {to: bonus, amount: 3}}]
  - {name: rival, on: recharge, priority: 9, group: g, when: amount == 7, then: [{tag: x}]}
`)})
	held, _ := charge.ParseMSISDN("213770123456")
	treated := held
	for n := 0; share("r", treated) < money.RateWhole*99/100; n++ {
		treated, _ = charge.ParseMSISDN(fmt.Sprintf("2137701%05d", n))
	}
	used := func(c *charge.Customer) {
		c.OpenCounter("limit:r:day", 0).Buckets = []charge.Bucket{{Index: int64(friday) / 86400e9, Value: 1}}
	}
	for _, step := range []struct {
		want      string
		amount    int64
		msisdn    charge.MSISDN
		suspended bool
		prepare   func(*charge.Customer)
	}{
		{charge.SkipError, 0, held, false, used},
		{charge.SkipSuspended, 0, held, true, used},
		{charge.SkipGroup, 700, held, true, used},
		{charge.SkipSuspended, 500, held, true, used},
		{charge.SkipHoldout, 500, held, false, used},
		{charge.SkipLimit, 500, treated, false, used},
		{charge.SkipError, 500, treated, false, nil},
		{charge.SkipBudget, 600, treated, false, nil},
	} {
		c, mem := &charge.Customer{MSISDN: step.msisdn}, &memory{}
		if step.prepare != nil {
			step.prepare(c)
		}
		if step.suspended {
			mem.suspended = []string{"r"}
		}
		s := subjectOf(c, step.amount)
		s.Memory = mem
		var d Decision
		book.Decide(s, &d)
		result := d.Results[len(d.Results)-1]
		if result.Name != "r" || result.Verdict != charge.RuleSkipped || result.Reason != step.want {
			t.Errorf("an amount of %d: %+v, want %s", step.amount, d.Results, step.want)
		}
		if len(d.Spends)+len(d.Short)+len(d.Uses)+len(d.Credits) > 0 {
			t.Errorf("%s left %+v", step.want, d)
		}
	}
}

// A rule spends its slice to the last unit; what is missing and may be had makes
// the event wait; failing gives back.
func TestBudget(t *testing.T) {
	book := mustLoad(t, File{"a", []byte(small + `rules:
  - {name: r, on: recharge, limits: {budget: 1000}, then: [{credit: {to: bonus, percent: 100}}, {credit: {to: main, amount: 1}}]}
  - {name: free, on: recharge, then: [{tag: x}]}
`)})
	if total, unit, ok := book.Budget("r"); total != 100000 || unit.Name != "DZD" || !ok {
		t.Errorf("budget %v %v %v", total, unit, ok)
	}
	for _, rule := range []string{"free", "nobody"} {
		if _, _, ok := book.Budget(rule); ok {
			t.Errorf("%s has a budget", rule)
		}
	}
	var d Decision
	decide := func(m Memory, amount int64) string {
		s := subjectOf(&charge.Customer{}, amount)
		s.Memory = m
		book.Decide(s, &d)
		return fmt.Sprint(d.Results[len(d.Results)-1].Reason, d.Spends, d.Short)
	}
	fund := func(slice, left money.Amount) Memory {
		return &memory{funds: map[string]Fund{"r": {slice, left}}}
	}
	for _, step := range []struct {
		memory Memory
		amount int64
		want   string
	}{
		{nil, 99900, "[{r 100000}] []"},
		{nil, 99901, "budget[] []"},
		{fund(500, 0), 400, "[{r 500}] []"},
		{fund(500, 0), 401, "budget[] []"},
		{fund(500, 100), 500, "[] [{r 600}]"},
		{fund(500, 100), 501, "budget[] []"},
		{fund(0, 0), 1, "budget[] []"},
	} {
		if got := decide(step.memory, step.amount); got != step.want {
			t.Errorf("%d of %+v: %s, want %s", step.amount, step.memory, got, step.want)
		}
	}
	if decide(nil, 100); len(d.Spends) != 1 {
		t.Fatalf("spends %v", d.Spends)
	}
	if d.Fail("r", "the balance is full"); len(d.Spends) > 0 {
		t.Errorf("what failed still spends %v", d.Spends)
	}
}

// A timer follows the rulebook that is in force when it is due.
func TestTimerUnderAnotherBook(t *testing.T) {
	book := func(rule string) *Book {
		return mustLoad(t, File{"a", []byte(small + "rules:\n  - {name: r, " + rule + ", then: [{tag: x}]}\n  - {name: a, after: recharge, quiet: 20d, then: [{tag: x}]}\n")})
	}
	const day = 24 * time.Hour
	first := book("after: recharge, quiet: 10d")
	for rule, want := range map[string]struct {
		judged bool
		left   []charge.Timer
	}{
		"after: recharge, quiet: 10d": {true, []charge.Timer{}},
		"after: usage, quiet: 10d":    {true, []charge.Timer{}},
		"after: recharge, quiet: 5d":  {true, []charge.Timer{}},
		"after: recharge, quiet: 15d": {false, []charge.Timer{{Rule: "r", Armed: friday, Due: friday.Add(15 * day)}}},
		"on: recharge":                {false, []charge.Timer{}},
	} {
		var c charge.Customer
		var d Decision
		first.Arm(&c, &charge.Event{Type: charge.Usage, Time: friday}, friday)
		if c.NextDue() != 0 {
			t.Fatalf("a usage armed %+v", c.Timers)
		}
		first.Arm(&c, &charge.Event{Type: charge.Recharge, Time: friday}, friday)
		due := friday.Add(10 * day)
		if c.NextDue() != due || len(c.Timers) != 2 {
			t.Fatalf("armed %+v", c.Timers)
		}
		if judged := book(rule).Lapse(&d, &c, due); judged != want.judged {
			t.Errorf("%s: judged %v", rule, judged)
		}
		left := slices.DeleteFunc(c.Timers, func(t charge.Timer) bool { return t.Rule == "a" })
		if !slices.Equal(left, want.left) {
			t.Errorf("%s: left %+v", rule, left)
		}
	}
}

// Rules whose timers are due at once are judged in the order of rules.
func TestTimersAtOnce(t *testing.T) {
	book := mustLoad(t, File{"a", []byte(small + `rules:
  - {name: a, after: recharge, quiet: 1d, group: g, then: [{tag: a}]}
  - {name: b, after: recharge, quiet: 1d, group: g, priority: 5, then: [{tag: b}]}
  - {name: c, after: recharge, quiet: 2d, then: [{tag: c}]}
`)})
	var c charge.Customer
	var d Decision
	book.Arm(&c, &charge.Event{Type: charge.Recharge, Time: friday}, friday)
	due := friday.Add(24 * time.Hour)
	if !book.Lapse(&d, &c, due) {
		t.Fatal("nothing is judged")
	}
	s := &Subject{Event: &charge.Event{Type: charge.TimerType, Time: due}, Before: &c, After: &c, Clock: due}
	book.Decide(s, &d)
	want := []charge.RuleResult{
		{Name: "b", Verdict: charge.RuleApplied},
		{Name: "a", Verdict: charge.RuleSkipped, Reason: charge.SkipGroup},
	}
	if !slices.Equal(d.Results, want) {
		t.Errorf("results %+v", d.Results)
	}
	if book.Decide(s, &d); !slices.Equal(d.Results, want) {
		t.Errorf("decided again: %+v", d.Results)
	}
}

// Where clocks are put forward or back, a notification still goes out in time.
func TestNextTimeAcrossClockChanges(t *testing.T) {
	paris, err := time.LoadLocation("Europe/Paris")
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		from   string
		minute int
		want   string
	}{
		{"2026-11-20T17:59:59+01:00", 18 * 60, "2026-11-20T18:00:00+01:00"},
		{"2026-11-20T18:00:00+01:00", 18 * 60, "2026-11-20T18:00:00+01:00"},
		{"2026-11-20T18:00:01+01:00", 18 * 60, "2026-11-21T18:00:00+01:00"},
		{"2026-11-20T18:00:01+01:00", dayMinutes, "2026-11-21T00:00:00+01:00"},
		{"2026-03-29T01:50:00+01:00", 2*60 + 30, "2026-03-29T03:30:00+02:00"}, // 02:30 is left out
		{"2026-03-28T22:00:00+01:00", 8 * 60, "2026-03-29T08:00:00+02:00"},
		{"2026-10-25T02:10:00+02:00", 2*60 + 30, "2026-10-25T02:30:00+02:00"}, // comes twice
		{"2026-10-25T02:10:00+01:00", 2*60 + 30, "2026-10-25T02:30:00+01:00"},
	} {
		from, err := time.Parse(time.RFC3339, test.from)
		if err != nil {
			t.Fatal(err)
		}
		got := nextTime(from.In(paris), test.minute)
		if got.Format(time.RFC3339) != test.want {
			t.Errorf("minute %d from %s: %s, want %s", test.minute, test.from, got.Format(time.RFC3339), test.want)
		}
	}
}

// Declared event types are known to the door and to the ledger.
func TestDeclaredTypes(t *testing.T) {
	book := mustLoad(t, File{"a", []byte(small + "types:\n  roaming: {country: text, note: {type: text, required: true}, at: time}\n  bare:\n  com.example.x: {paid: {type: money}}\n")})
	if got := book.Plan().Types; !slices.Equal(got, []string{"bare", "com.example.x", "roaming"}) {
		t.Errorf("types %v", got)
	}
	want := &charge.Schema{Type: "roaming", Fields: []charge.FieldSpec{
		{Name: "country", Kind: charge.TextField}, {Name: "note", Kind: charge.TextField, Required: true}, {Name: "at", Kind: charge.TimeField},
	}}
	if got := book.Catalog().Types["roaming"]; !reflect.DeepEqual(got, want) {
		t.Errorf("schema %+v", got)
	}
	decoder := charge.NewDecoder(book.Catalog())
	event := func(data string) *charge.Rejection {
		_, rejection := decoder.Event([]byte(`{"specversion":"1.0","id":"1","source":"/x","type":"roaming","subject":"213770123456","time":"2026-11-20T10:00:00Z","data":` + data + `}`))
		return rejection
	}
	if rejection := event(`{"note":"x","country":"FR"}`); rejection != nil {
		t.Error(rejection)
	}
	if rejection := event(`{"country":"FR"}`); rejection == nil || rejection.Reason != charge.MissingAttribute {
		t.Errorf("without a required field: %v", rejection)
	}
	if rejection := event(`{"note":5}`); rejection == nil || rejection.Reason != charge.Malformed {
		t.Errorf("a number as text: %v", rejection)
	}
}

// An event that was accepted under a book in which a field was of another kind
// makes a rule fail, at worst; it is charged.
func TestFieldOfAnotherKind(t *testing.T) {
	book := mustLoad(t, File{"a", []byte(small + "types: {roaming: {price: money, zone: text}}\ncounters: {paid: {on: roaming, sum: price, window: 1d}}\nrules:\n  - {name: r, on: roaming, when: price > 5, then: [{tag: x}]}\n  - {name: s, on: roaming, when: 'zone == \"a\"', then: [{credit: {to: bonus, percent: 5, of: price}}]}\n")})
	var c charge.Customer
	var d Decision
	e := &charge.Event{Type: "roaming", Time: friday, Fields: []charge.Field{{Name: "price", Value: charge.TextValue("7")}, {Name: "zone", Value: charge.TextValue("a")}}}
	book.Decide(&Subject{Event: e, Before: &c, After: &c, Clock: friday}, &d)
	for _, r := range d.Results {
		if r.Verdict != charge.RuleSkipped || r.Reason != charge.SkipError {
			t.Errorf("result %+v", r)
		}
	}
	if len(d.Results) != 2 || len(d.Credits) > 0 {
		t.Errorf("decided %+v", d)
	}
}

func TestChangesOfPromises(t *testing.T) {
	book := func(rule string) *Book {
		return mustLoad(t, File{"a", []byte(small + "templates: {t: {fr: t}}\ntypes: {roaming: {country: text}}\nrules:\n  - {name: double-300, " + rule + "}\n")})
	}
	old := book("on: recharge, limits: {budget: 5000000, per_customer: [{count: 1, per: day}, {count: 4, per: month}]}, holdout: 5%, then: [{credit: {to: bonus, percent: 50}}, {notify: {template: t, send_after: 2h}}]")
	young := book("after: recharge, quiet: 30d, limits: {budget: 6000000, per_customer: [{count: 2, per: day}]}, holdout: 10%, then: [{credit: {to: bonus, amount: 50}}, {notify: {template: t, send_after: 3h, quiet_hours: none}}]")
	want := []string{
		"rule double-300: after recharge added",
		"rule double-300: quiet 30d added",
		"rule double-300: budget 5000000 → 6000000",
		"rule double-300: limit per day 1 → 2",
		"rule double-300: holdout 5% → 10%",
		"rule double-300: amount 50 added",
		"rule double-300: send_after 2h → 3h",
		"rule double-300: quiet_hours none added",
		"rule double-300: on recharge removed",
		"rule double-300: limit per month 4 removed",
		"rule double-300: percent 50 removed",
	}
	if got := Changes(old, young); !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	types := mustLoad(t, File{"a", []byte(small + "types: {roaming: {country: text, price: money}}\n")})
	if got := Changes(old, types); !slices.Contains(got, "type roaming: price money added") {
		t.Errorf("got %s", strings.Join(got, "\n"))
	}
}
