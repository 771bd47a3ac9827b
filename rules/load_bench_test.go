package rules

import (
	"fmt"
	"strings"
	"testing"
)

// largeBook writes a book of so many rules as a busy marketing department has
// them, each with a template of its own.
func largeBook(n int) string {
	var b strings.Builder
	b.WriteString(small + `counters:
  recharges_7d: {on: recharge, window: 7d}
segments:
  youth: customer.attributes.age < 26
templates:
`)
	for i := range n {
		fmt.Fprintf(&b, "  t%d: {fr: \"Bonus de {credited} DA, valable jusqu'au {expires}. Merci !\"}\n", i)
	}
	b.WriteString("rules:\n")
	for i := range n {
		fmt.Fprintf(&b, `  - name: rule-%d
    on: recharge
    when: amount >= %d && channel in ["app", "ussd"] && customer.in("youth") && customer.recharges_7d < 50
    limits: {per_customer: [{count: 1, per: day}]}
    then: [{credit: {to: bonus, percent: 10, validity: 7d}}, {notify: {template: t%d}}]
`, i, 200+i, i)
	}
	return b.String()
}

func BenchmarkLoadLarge(b *testing.B) {
	for _, n := range []int{1_000, 10_000} {
		b.Run(fmt.Sprintf("rules=%d", n), func(b *testing.B) {
			data := []byte(largeBook(n))
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			for b.Loop() {
				mustLoad(b, File{"a", data})
			}
		})
	}
}
