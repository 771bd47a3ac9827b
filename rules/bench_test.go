package rules

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"recharged/rules/sample"
	"recharged/state/charge"
	"recharged/state/ledger"
	"recharged/state/money"
)

// manyRules writes a book of so many rules for one event type that share their
// variables as campaigns do; three of them hold for the event of benchSubject.
func manyRules(n int) string {
	var b strings.Builder
	b.WriteString(small + `counters:
  recharges_7d: {on: recharge, window: 7d}
  recharged_30d: {on: recharge, sum: amount, window: 30d}
segments:
  youth: customer.attributes.age < 26
rules:
`)
	for i := range n {
		fmt.Fprintf(&b, `  - name: rule-%d
    on: recharge
    when: amount >= %d && channel in ["app", "ussd"] && customer.in("youth") && customer.recharges_7d < 50
    limits: {per_customer: [{count: 1000, per: day}]}
    then: [{credit: {to: bonus, percent: 10}}]
`, i, 200+100*i)
	}
	return b.String()
}

func benchSubject() *Subject {
	at := charge.Instant(time.Date(2026, 11, 20, 18, 30, 0, 0, time.UTC).UnixNano())
	c := &charge.Customer{Recharges: 3, LastRecharge: at}
	c.OpenBalance("main").Parts = []charge.Part{{Amount: 40000}}
	c.SetAttribute("age", charge.NumberValue(money.Int(22)))
	recent := c.OpenCounter(ledger.MemoryOf("recharges_7d", charge.Recharge, ""), 10080)
	for i := range int64(20) {
		recent.Buckets = append(recent.Buckets, charge.Bucket{Index: int64(at)/10080e9 - 20 + i, Value: 1})
	}
	return &Subject{
		Event: &charge.Event{Type: charge.Recharge, Time: at, Fields: []charge.Field{
			{Name: "amount", Value: charge.NumberValue(money.Decimal{Coefficient: 45000, Scale: 2})},
			{Name: "channel", Value: charge.TextValue("app")},
		}},
		Before: c, After: c, Clock: at,
	}
}

func BenchmarkDecide(b *testing.B) {
	for _, n := range []int{10, 100} {
		b.Run(fmt.Sprintf("rules=%d", n), func(b *testing.B) {
			book := mustLoad(b, File{"a", []byte(manyRules(n))})
			s, d := benchSubject(), new(Decision)
			b.ReportAllocs()
			for b.Loop() {
				book.Decide(s, d)
			}
			if len(d.Credits) != 3 || d.Credits[0].Amount != 4500 {
				b.Fatalf("credits %v", d.Credits)
			}
		})
	}
}

func BenchmarkLoad(b *testing.B) {
	for b.Loop() {
		mustLoad(b, File{"a", sample.Rulebook})
	}
}

// promises writes a book of rules with everything that a rule can promise.
func promises(n int) string {
	return strings.ReplaceAll(strings.ReplaceAll(manyRules(n),
		"limits: {per_customer", "holdout: 5%\n    limits: {budget: 5000000, per_customer"), "percent: 10}", "percent: 10, of: customer.main}")
}

// Judging an event reuses the decision's memory.
func TestDecideDoesNotAllocate(t *testing.T) {
	for name, text := range map[string]string{"many": manyRules(10), "promises": promises(10)} {
		book := mustLoad(t, File{"a", []byte(text)})
		s, d := benchSubject(), new(Decision)
		s.Memory = &memory{funds: map[string]Fund{"rule-0": {Slice: 1_000_000}, "rule-1": {Slice: 1_000_000}}}
		book.Decide(s, d)
		book.Settle(d, s.After, s.Clock)
		book.Decide(s, d)
		if len(d.Results) == 0 {
			t.Fatalf("%s: no rule matched", name)
		}
		if n := testing.AllocsPerRun(100, func() { book.Decide(s, d) }); n != 0 {
			t.Errorf("%s: %v allocations an event", name, n)
		}
	}
}

// oneLine writes a book of JSON on one line, of about that many bytes, with a
// fault in each of its last conditions.
func oneLine(bytes, faults int) []byte {
	var b strings.Builder
	b.WriteString(`{"version": 1, "currency": "DZD", "balances": {"main": {"unit": "DZD"}}, "rules": [`)
	const size = 500 // of a rule
	rules := bytes / size
	for i := range rules {
		name := "amount"
		if i >= rules-faults {
			name = "amuont"
		}
		rule := fmt.Sprintf(`{"name": "r%d", "on": "recharge", "when": "channel == \"é\" && %s > 3", "then": [{"tag": "x"}], "title": "`, i, name)
		if b.WriteString(rule); i < rules-1 {
			b.WriteString(strings.Repeat("x", max(0, size-len(rule)-4)) + `"}, `)
		}
	}
	b.WriteString(`"}]}`)
	return []byte(b.String())
}

// A check costs time in proportion to the book, however it is laid out.
func BenchmarkLoadOneLine(b *testing.B) {
	for _, size := range []int{60_000, 120_000, 240_000, 480_000} {
		b.Run(fmt.Sprintf("bytes=%d", size), func(b *testing.B) {
			data := oneLine(size, 100)
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				if _, problems := Load(File{"a", data}); len(problems) != 100 {
					b.Fatalf("%d problems", len(problems))
				}
			}
		})
	}
}
