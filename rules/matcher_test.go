package rules

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"recharged/rules/when"
	"recharged/state/charge"
	"recharged/state/ledger"
	"recharged/state/money"
)

// twinHead is a book whose segments, counters and attributes the random rules
// ask about: 66 segments, of which some fail for some customers.
func twinHead(timezone string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%stimezone: %s\ncounters:\n  recharges_7d: {on: recharge, window: 7d}\nsegments:\n", small, timezone)
	b.WriteString("  odd: customer.recharges % 2 == 1\n  bad: 6 / customer.recharges > 2\n  worse: customer.in(\"bad\") || customer.attributes.age < 26\n")
	for i := range 63 {
		fmt.Fprintf(&b, "  s%d: customer.recharges > %d\n", i, i)
	}
	b.WriteString("rules:\n")
	return b.String()
}

// twinConditions are atoms of every kind, what is none, and what fails.
var twinConditions = []string{
	"amount > 300", "amount >= 300", "300.10 > amount", "amount <= 300.10", "amount == 500", "amount != 500", "!(amount < 200)", "amount in [200, 300.1, 500.00]",
	`channel == "app"`, `channel != "app"`, `channel in ["app", "ussd"]`, `!(channel in ["app", "ussd"])`, `channel == "app" || channel == "pos"`, "has(channel)", "!has(channel)",
	"customer.attributes.age < 26", "customer.attributes.age >= 26", `customer.attributes.age == "old"`, `customer.attributes.age != 26`, "!(customer.attributes.age == 26)",
	"has(customer.attributes.age)", "customer.attributes.vip", "!customer.attributes.vip", "customer.attributes.vip == true", `customer.attributes.town in ["Oran", "Alger"]`,
	`customer.attributes.town < "M"`, `"film" in customer.attributes.likes`, `customer.attributes.likes.exists(x, x.startsWith("f"))`,
	`customer.in("odd")`, `!customer.in("odd")`, `customer.in("bad")`, `!customer.in("bad")`, `customer.in("worse")`, `before.in("bad")`, `customer.in("s5")`, `!customer.in("s62")`,
	`customer.tagged("vip")`, `!customer.tagged("vip")`, "customer.recharges_7d == 3", "customer.recharges_7d < 3", "customer.main >= 50", "before.main < 50", "customer.days_since_recharge > 3",
	"!(customer.days_since_recharge > 3)", `time >= timestamp("2026-10-25T01:30:00Z")`, `time.getHours() < 6`, "amount % 7 == 0", "1 / (amount - 300) > 0", "amount > 1000 / customer.recharges",
	"(amount > 300 ? customer.main : before.main) > 20", "true", "false",
}

func drawTwinRule(t *rapid.T, i int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "  - {name: r%d, on: recharge, priority: %d", i, rapid.IntRange(0, 3).Draw(t, "priority"))
	if parts := rapid.SliceOfN(rapid.SampledFrom(twinConditions), 0, 4).Draw(t, "when"); len(parts) > 0 {
		for j := range parts {
			parts[j] = "(" + parts[j] + ")"
		}
		fmt.Fprintf(&b, ", when: '%s'", strings.Join(parts, " && "))
	}
	if rapid.Bool().Draw(t, "scheduled") {
		b.WriteString(", schedule: {" + rapid.SampledFrom([]string{
			"from: 2026-10-25", "until: 2026-10-26", "from: 2026-03-29T01:00:00Z, until: 2026-10-25T01:00:00Z", "days: [sun]", "days: [sat, mon]", `hours: "02:00-03:00"`,
			`hours: "22:00-02:30"`, `days: [sat], hours: "22:00-02:30"`, `days: [sun], hours: "00:00-24:00"`, `from: 2026-10-24, days: [sun, sat], hours: "01:59-02:01"`,
		}).Draw(t, "schedule") + "}")
	}
	if rapid.IntRange(0, 3).Draw(t, "grouped") == 0 {
		fmt.Fprintf(&b, ", group: g%d", rapid.IntRange(0, 2).Draw(t, "group"))
	}
	if rapid.IntRange(0, 3).Draw(t, "limited") == 0 {
		b.WriteString(", limits: {per_customer: [{count: 1, per: day}]}")
	}
	then := "tag: t" + fmt.Sprint(i)
	switch rapid.IntRange(0, 3).Draw(t, "then") {
	case 0:
		fmt.Fprintf(&b, ", tiers: [{from: %s, percent: 10}, {from: 500, percent: 20}]", rapid.SampledFrom([]string{"0", "200", "300.10"}).Draw(t, "from"))
		then = "credit: {to: bonus}"
	case 1:
		then = `credit: {to: bonus, percent: 50, of: 'customer.in("bad") ? amount : customer.main'}`
	}
	return b.String() + ", then: [{" + then + "}]}\n"
}

func drawTwinSubject(t *rapid.T) *Subject {
	moments := []string{ // Around both changes of the clocks in Paris, and elsewhere.
		"2026-03-29T00:59:59Z", "2026-03-29T01:00:00Z", "2026-10-24T23:59:59Z", "2026-10-25T00:00:00Z", "2026-10-25T00:30:00Z", "2026-10-25T00:59:59Z",
		"2026-10-25T01:00:00Z", "2026-10-25T01:30:00Z", "2026-10-25T02:00:00Z", "2026-10-25T22:00:00Z", "2026-10-25T23:00:00Z", "1969-12-31T12:00:00Z",
	}
	moment, _ := time.Parse(time.RFC3339, rapid.SampledFrom(moments).Draw(t, "time"))
	at := charge.Instant(moment.UnixNano())
	e := &charge.Event{Type: charge.Recharge, Time: at}
	amount := rapid.SampledFrom([]int64{0, 1, 19999, 20000, 29999, 30000, 30009, 30010, 30011, 50000, 70000, 1 << 60, -100}).Draw(t, "amount")
	e.Fields = append(e.Fields, charge.Field{Name: "amount", Value: charge.NumberValue(money.Decimal{Coefficient: amount, Scale: 2})})
	if channel := rapid.SampledFrom([]string{"-", "", "app", "ussd", "pos"}).Draw(t, "channel"); channel != "-" {
		e.Fields = append(e.Fields, charge.Field{Name: "channel", Value: charge.TextValue(channel)})
	}
	if rapid.IntRange(0, 19).Draw(t, "foreign") == 0 {
		e.Fields[0].Value = charge.TextValue("much")
	}
	customer := func(name string) *charge.Customer {
		c := &charge.Customer{Recharges: rapid.SampledFrom([]int64{0, 1, 2, 3, 80}).Draw(t, name), LastRecharge: at.Add(-24 * time.Hour * time.Duration(rapid.IntRange(0, 9).Draw(t, "idle")))}
		c.OpenBalance("main").Parts = []charge.Part{{Amount: money.Amount(rapid.SampledFrom([]int64{0, 4999, 5000}).Draw(t, "main"))}}
		any := []charge.Value{
			{}, charge.NumberValue(money.Int(25)), charge.NumberValue(money.Decimal{Coefficient: 260, Scale: 1}), charge.TextValue("old"), charge.TextValue("Oran"),
			charge.BoolValue(true), charge.BoolValue(false), charge.ListValue([]string{"film"}), charge.ListValue(make([]string, 6_000)), charge.ListValue(make([]string, when.StepsMax+1)),
		}
		for _, attribute := range []string{"age", "vip", "town", "likes"} {
			if v := rapid.SampledFrom(any).Draw(t, attribute); v.Kind != charge.Missing {
				c.SetAttribute(attribute, v)
			}
		}
		if rapid.Bool().Draw(t, "tagged") {
			c.Tag("vip")
		}
		recent := c.OpenCounter(ledger.MemoryOf("recharges_7d", charge.Recharge, ""), 10080)
		recent.Buckets = append(recent.Buckets, charge.Bucket{Index: int64(at) / 10080e9, Value: rapid.Int64Range(0, 5).Draw(t, "recent")})
		return c
	}
	return &Subject{Event: e, Before: customer("before"), After: customer("after"), Clock: at}
}

// Decide and Scan say the same of every event: the index changes what a decision
// costs, nothing else.
func TestIndexIsScan(t *testing.T) { rapid.Check(t, indexIsScan()) }

func FuzzIndexIsScan(f *testing.F) { f.Fuzz(rapid.MakeFuzz(indexIsScan())) }

func indexIsScan() func(*rapid.T) {
	var got, want Decision // Reused from event to event and from book to book, as a turn does.
	return func(t *rapid.T) {
		var text strings.Builder
		text.WriteString(twinHead(rapid.SampledFrom([]string{"UTC", "Africa/Algiers", "Europe/Paris", "Australia/Lord_Howe"}).Draw(t, "timezone")))
		for i := range rapid.IntRange(1, 130).Draw(t, "rules") {
			text.WriteString(drawTwinRule(t, i))
		}
		book, problems := Load(File{"a", []byte(text.String())})
		if book == nil {
			t.Fatal(problems)
		}
		for range 8 {
			s := drawTwinSubject(t)
			book.Decide(s, &got)
			book.Scan(s, &want)
			if difference := got.differs(&want); difference != "" {
				t.Fatalf("%s\nevent %+v\nafter %+v\nbefore %+v\n%s", difference, s.Event, s.After, s.Before, text.String())
			}
		}
	}
}

// differs says in what the decision is another.
func (d *Decision) differs(o *Decision) string {
	all := func(d *Decision) string {
		return fmt.Sprintf("%+v\n%+v\n%+v\n%+v\n%+v\n%+v", d.Results, d.Credits, d.Tags, d.Uses, d.given, d.applied)
	}
	if a, b := all(d), all(o); a != b {
		return "decided\n" + a + "\none by one\n" + b
	}
	return ""
}

// A segment whose condition fails is an error of the rules that need its answer,
// of each, and loses against a conjunct that is false wherever that stands.
func TestFailingSegment(t *testing.T) {
	const fault = "segment bad: 6 / customer.recharges: division by zero"
	conditions := []struct{ when, want string }{
		{`customer.in("bad")`, fault},
		{`!customer.in("bad")`, fault},
		{`customer.in("worse")`, "segment worse: " + fault},
		{`customer.in("worse") && customer.in("bad")`, "segment worse: " + fault},
		{`customer.in("bad") && amount > 300`, "false"},
		{`amount > 300 && customer.in("bad")`, "false"},
		{`customer.in("bad") && amount < 300`, fault},
		{`customer.in("bad") || amount < 300`, "true"},
		{`amount < 300 || customer.in("bad")`, "true"},
		{`before.in("bad")`, "false"},
		{`amount > 1 / (amount - 200) && customer.in("bad")`, "1 / (amount - 200): division by zero"},
		{`customer.in("bad") && amount > 1 / (amount - 200)`, fault},
	}
	var text strings.Builder
	text.WriteString(twinHead("UTC"))
	for i, c := range conditions {
		fmt.Fprintf(&text, "  - {name: r%02d, on: recharge, when: '%s', then: [{tag: x}]}\n", i, c.when)
	}
	book := mustLoad(t, File{"a", []byte(text.String())})
	e := &charge.Event{Type: charge.Recharge, Fields: []charge.Field{{Name: "amount", Value: charge.NumberValue(money.Int(200))}}}
	s := &Subject{Event: e, Before: &charge.Customer{Recharges: 6}, After: &charge.Customer{}}
	for name, decide := range map[string]func(*Subject, *Decision){"Decide": book.Decide, "Scan": book.Scan} {
		var d Decision
		decide(s, &d)
		got := map[string]string{}
		for _, r := range d.Results {
			got[r.Name] = r.Detail
			if r.Verdict == charge.RuleApplied {
				got[r.Name] = "true"
			}
		}
		for i, c := range conditions {
			result, matched := got[fmt.Sprintf("r%02d", i)]
			if !matched {
				result = "false"
			}
			if result != c.want {
				t.Errorf("%s: %s: %s, want %s", name, c.when, result, c.want)
			}
		}
	}
}

// The steps of a condition are counted over all of it, whatever the index and
// other rules know already.
func TestStepsOfAWholeCondition(t *testing.T) {
	const twice = `"" in customer.attributes.likes && !("film" in customer.attributes.likes)`
	var text strings.Builder
	text.WriteString(small + "rules:\n")
	for i, condition := range []string{
		twice, twice + " && amount > 300", "amount > 300 && " + twice, "amount < 300 && " + twice, `"" in customer.attributes.likes`, `!("film" in customer.attributes.likes)`,
	} {
		fmt.Fprintf(&text, "  - {name: r%d, on: recharge, when: '%s', then: [{tag: x}]}\n", i, condition)
	}
	book := mustLoad(t, File{"a", []byte(text.String())})
	e := &charge.Event{Type: charge.Recharge, Fields: []charge.Field{{Name: "amount", Value: charge.NumberValue(money.Int(200))}}}
	c := &charge.Customer{}
	c.SetAttribute("likes", charge.ListValue(make([]string, when.StepsMax*6/10)))
	var d, scanned Decision
	book.Decide(&Subject{Event: e, Before: c, After: c}, &d)
	book.Scan(&Subject{Event: e, Before: c, After: c}, &scanned)
	if difference := d.differs(&scanned); difference != "" {
		t.Error(difference)
	}
	var got []string
	for _, r := range d.Results {
		got = append(got, r.Name+" "+r.Detail)
	}
	const fault = " more than 10000 steps over lists"
	if want := []string{"r0" + fault, "r1" + fault, "r3" + fault, "r4 ", "r5 "}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
