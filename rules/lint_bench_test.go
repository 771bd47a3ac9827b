package rules

import (
	"fmt"
	"strings"
	"testing"

	"recharged/state/charge"
)

// BenchmarkLint is the loading of a large book, all of whose rules are in one
// group, with and without lint.
func BenchmarkLint(b *testing.B) {
	var text strings.Builder
	text.WriteString(small + "rules:\n")
	for i := range 4000 {
		fmt.Fprintf(&text, "  - {name: r%d, on: recharge, group: g, when: amount > %d && cell == \"c%d\", then: [{tag: t}]}\n", i, i+1, i)
	}
	book := File{"a", []byte(text.String())}
	for _, lint := range []bool{false, true} {
		b.Run(fmt.Sprintf("lint=%v", lint), func(b *testing.B) {
			for b.Loop() {
				var r report
				l := &loader{report: &r, doc: readDocument(&r, []File{book}), book: &Book{}}
				l.book.document = l.doc
				if !lint {
					l.failed = true // Lint looks at no book that fails.
				}
				l.load()
				if len(r.problems) != 0 {
					b.Fatal(r.problems)
				}
			}
		})
	}
}

// BenchmarkCondition is what a condition costs that is evaluated, by its class:
// the figures behind Class.times.
func BenchmarkCondition(b *testing.B) {
	for _, test := range []struct{ class, condition string }{
		{"comparison", `amount > 300`},
		{"two-values", `customer.main > amount`},
		{"arithmetic", `amount * 2 > customer.main + 5`},
		{"either", `amount > 3000 || customer.recharges == 3`},
		{"call", `channel.startsWith("ap")`},
		{"call-time", `time.getHours() >= 18`},
		{"list", `customer.attributes.ten.exists(x, x == "none")`},
		{"list-long", `customer.attributes.long.exists(x, x == "none")`},
		{"in-long", `"none" in customer.attributes.long`},
		{"call-contains", `customer.attributes.text.contains("none")`},
		{"pattern", `channel.matches("^a.*p$")`},
		{"pattern-long", `customer.attributes.text.matches("a.*b.*c")`},
	} {
		b.Run("class="+test.class, func(b *testing.B) {
			book := mustLoad(b, File{"a", fmt.Appendf(nil, "%srules:\n  - {name: r, on: recharge, when: '%s', then: [{tag: x}]}\n", small, test.condition)})
			s, d := benchSubject(), new(Decision)
			entries := strings.Split(strings.Repeat("entry ", 256), " ")[:256]
			s.After.SetAttribute("ten", charge.ListValue(entries[:10]))
			s.After.SetAttribute("long", charge.ListValue(entries))
			s.After.SetAttribute("text", charge.TextValue(strings.Repeat("some text ", 10)))
			book.Decide(s, d)
			for b.Loop() {
				if _, err := book.rules[0].when.Holds(&d.picture.after); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
