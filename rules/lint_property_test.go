package rules

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"recharged/state/charge"
	"recharged/state/money"
)

// lintedRules is a book of random rules whose conditions are made of few names
// and few values, so that they often have to do with each other.
func lintedRules(t *rapid.T) string {
	number := rapid.SampledFrom([]string{"0", "0.01", "1", "2", "2.99", "3", "3.01", "4"})
	word := rapid.SampledFrom([]string{`"a"`, `"b"`, `""`})
	order := rapid.SampledFrom([]string{"==", "!=", "<", "<=", ">", ">="})
	draw := func(g *rapid.Generator[string], label string) string { return g.Draw(t, label) }
	atom := func(segments bool) string {
		names := []string{"customer.attributes.age", "customer.main", "customer.attributes.age", "customer.recharges", "customer.days_since_recharge"}
		kinds := 5
		if segments {
			names, kinds = append(names, "amount", "amount", "before.main", "before.attributes.age"), 10
		}
		name := rapid.SampledFrom(names).Draw(t, "name")
		not := rapid.SampledFrom([]string{"", "", "!"}).Draw(t, "not")
		switch rapid.IntRange(0, kinds).Draw(t, "kind") {
		case 0:
			return not + "has(" + name + ")"
		case 1:
			return fmt.Sprintf("%s(%s in [%s, %s])", not, name, draw(number, "number"), draw(number, "number"))
		case 2:
			return not + `customer.tagged("x")`
		case 3:
			return not + "customer.attributes.vip"
		case 4:
			return fmt.Sprintf("customer.attributes.age %s %s", draw(order, "order"), draw(word, "word"))
		case 6:
			return fmt.Sprintf("%s(channel in [%s, %s])", not, draw(word, "word"), draw(word, "word"))
		case 7:
			return fmt.Sprintf("channel %s %s", draw(order, "order"), draw(word, "word"))
		case 8:
			return not + `customer.in("` + rapid.SampledFrom([]string{"s", "u"}).Draw(t, "segment") + `")`
		case 9:
			return not + `before.in("s")`
		case 10:
			return not + "has(channel)"
		}
		return fmt.Sprintf("%s(%s %s %s)", not, name, draw(order, "order"), draw(number, "number"))
	}
	condition := func(segments bool) string {
		parts := make([]string, rapid.IntRange(1, 4).Draw(t, "parts"))
		for i := range parts {
			parts[i] = atom(segments)
			if rapid.IntRange(0, 9).Draw(t, "or") == 0 {
				parts[i] = "(" + parts[i] + " || " + atom(segments) + ")"
			}
		}
		return strings.Join(parts, " && ")
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%ssegments:\n  s: '%s'\n  u: '%s && customer.in(\"s\")'\nrules:\n", small, condition(false), condition(false))
	for i := range rapid.IntRange(1, 5).Draw(t, "rules") {
		fmt.Fprintf(&b, "  - name: r%d\n    on: recharge\n    when: '%s'\n    then: [{credit: {to: bonus}}, {tag: t}]\n    tiers: [{from: %s, percent: 10}, {from: 10, percent: 20}]\n",
			i, condition(true), draw(number, "tier"))
		if rapid.Bool().Draw(t, "grouped") {
			fmt.Fprintf(&b, "    group: g\n    priority: %d\n", rapid.IntRange(0, 2).Draw(t, "priority"))
		}
		if rapid.IntRange(0, 3).Draw(t, "scheduled") == 0 {
			b.WriteString("    schedule: {from: 2026-11-20, days: [fri], hours: \"10:00-20:00\"}\n")
		}
		if rapid.IntRange(0, 4).Draw(t, "limited") == 0 {
			b.WriteString("    limits: {per_customer: [{count: 1, per: day}]}\n")
		}
	}
	return b.String()
}

// lintedSubject is a random recharge by a random customer.
func lintedSubject(t *rapid.T) *Subject {
	values := []charge.Value{{}, charge.TextValue("a"), charge.TextValue(""), charge.BoolValue(true), charge.BoolValue(false)}
	for _, n := range []int64{0, 1, 100, 200, 299, 300, 301, 400} {
		values = append(values, charge.NumberValue(money.Decimal{Coefficient: n, Scale: 2}))
	}
	customer := func() *charge.Customer {
		c := &charge.Customer{Recharges: rapid.Int64Range(0, 5).Draw(t, "recharges")}
		c.OpenBalance("main").Parts = []charge.Part{{Amount: money.Amount(rapid.SampledFrom([]int64{0, 1, 200, 299, 300, 301, 900}).Draw(t, "main"))}}
		for _, name := range []string{"age", "vip"} {
			if v := rapid.SampledFrom(values).Draw(t, name); v.Kind != charge.Missing {
				c.SetAttribute(name, v)
			}
		}
		if rapid.Bool().Draw(t, "tagged") {
			c.Tag("x")
		}
		return c
	}
	at := charge.Instant(time.Date(2026, 11, rapid.IntRange(19, 22).Draw(t, "day"), rapid.IntRange(0, 23).Draw(t, "hour"), 0, 0, 0, time.UTC).UnixNano())
	e := &charge.Event{Type: charge.Recharge, Time: at, Fields: []charge.Field{
		{Name: "amount", Value: charge.NumberValue(money.Decimal{Coefficient: rapid.SampledFrom([]int64{1, 2, 200, 299, 300, 301, 400, 2000}).Draw(t, "amount"), Scale: 2})},
	}}
	if channel := rapid.SampledFrom([]string{"none", "a", "b", ""}).Draw(t, "channel"); channel != "none" {
		e.Fields = append(e.Fields, charge.Field{Name: "channel", Value: charge.TextValue(channel)})
	}
	after := customer()
	if rapid.Bool().Draw(t, "recharged") {
		after.LastRecharge = at.Add(-time.Duration(rapid.IntRange(0, 4).Draw(t, "days")) * 24 * time.Hour)
	}
	return &Subject{Event: e, Before: customer(), After: after, Clock: at}
}

// A rule of which lint says that it can never apply, or never win its group,
// never does; a condition that is always true always is; a tier that no amount
// falls into never gives.
func TestLintIsSure(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := lintedRules(t)
		book, problems := Load(File{"a", []byte(text)})
		if book == nil {
			t.Fatalf("%v\n%s", problems, text)
		}
		var never []string
		var always []Problem
		for _, p := range problems {
			words := strings.Fields(p.Message)
			switch {
			case strings.Contains(p.Message, "can never"):
				never = append(never, words[1])
			case strings.Contains(p.Message, "is always true"):
				always = append(always, p)
			}
		}
		if len(never)+len(always) == 0 {
			return
		}
		var d Decision
		for range 40 {
			s := lintedSubject(t)
			book.Decide(s, &d)
			for _, r := range d.Results {
				if r.Verdict == charge.RuleApplied && slices.Contains(never, r.Name) {
					t.Fatalf("rule %s applied to %+v of %+v, although\n%v\n%s", r.Name, s.Event, s.After, problems, text)
				}
			}
			for _, p := range always {
				for _, r := range book.rules {
					for _, part := range r.when.Conjuncts() {
						if strings.HasPrefix(p.Message, excerpt(part.Source())+" is always true") {
							if holds, err := part.Holds(&d.picture.after); !holds || err != nil {
								t.Fatalf("%s: %v %v for %+v of %+v\n%s", p, holds, err, s.Event, s.After, text)
							}
						}
					}
				}
			}
		}
	})
}

// A limit that never bites can be left out: the rule applies to the same events.
func TestLintOfLimitsIsSure(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		periods := rapid.SampledFrom([]string{"hour", "day", "week", "month", "campaign", "90m", "24h", "36h", "7d", "30d"})
		var limits []string
		for _, per := range rapid.SliceOfNDistinct(periods, 2, 3, rapid.ID[string]).Draw(t, "periods") {
			limits = append(limits, fmt.Sprintf("{count: %d, per: %s}", rapid.IntRange(1, 12).Draw(t, "count"), per))
		}
		schedule := rapid.SampledFrom([]string{"", "schedule: {from: 2026-11-02, until: 2026-11-12}",
			"schedule: {days: [fri, sun], hours: \"22:00-02:00\"}", "schedule: {from: 2026-11-01, until: 2026-12-01, days: [fri], hours: \"18:00-20:30\"}",
		}).Draw(t, "schedule")
		load := func(limits []string) (*Book, Problems) {
			text := small + "rules:\n  - name: r\n    on: recharge\n    " + schedule + "\n    limits: {per_customer: [\n      " +
				strings.Join(limits, ",\n      ") + "]}\n    then: [{tag: x}]\n"
			book, problems := Load(File{"a", []byte(text)})
			if book == nil {
				t.Fatal(problems, text)
			}
			return book, problems
		}
		with, problems := load(limits)
		first := 1 + slices.Index(strings.Split(string(with.Source()), "\n"), "    limits: {per_customer: [") + 1
		var left []string
		for i, limit := range limits {
			if !slices.ContainsFunc(problems, func(p Problem) bool { return p.Line == first+i }) {
				left = append(left, limit)
			}
		}
		if len(left) == len(limits) {
			return
		}
		without, _ := load(left)
		var one, two charge.Customer
		var d1, d2 Decision
		at := charge.Instant(time.Date(2026, 10, 30, 0, 0, 0, 0, time.UTC).UnixNano())
		for range 300 {
			at = at.Add(time.Duration(rapid.SampledFrom([]int{1, 5, 20, 45, 90, 600, -30}).Draw(t, "minutes")) * time.Minute)
			e := &charge.Event{Type: charge.Recharge, Time: at}
			with.Decide(&Subject{Event: e, Before: &one, After: &one, Clock: at}, &d1)
			without.Decide(&Subject{Event: e, Before: &two, After: &two, Clock: at}, &d2)
			if len(d1.Results) != len(d2.Results) || len(d1.Results) == 1 && d1.Results[0].Verdict != d2.Results[0].Verdict {
				t.Fatalf("at %v %v of %v, but %v of %v", at, d1.Results, limits, d2.Results, left)
			}
			with.Settle(&d1, &one, at)
			without.Settle(&d2, &two, at)
		}
	})
}
