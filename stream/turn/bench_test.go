package turn

import (
	"fmt"
	"testing"

	"recharged/state/charge"
	"recharged/stream/journal"
)

// fill lets so many customers wait for a gift, one event each.
func fill(b *testing.B, gifts string) *post {
	b.Helper()
	p := newPost(b, 1, `
  - {name: gift, on: recharge, when: amount >= 100, limits: {budget: 50000000}, then: [credit: {to: bonus, `+gifts+`}]}
  - {name: other, on: recharge, when: amount < 100, limits: {budget: 50000000}, then: [credit: {to: bonus, amount: 1}]}
`, nil)
	for i := range holdItemsMax {
		m, err := charge.ParseMSISDN(fmt.Sprintf("213771%06d", i))
		if err != nil {
			b.Fatal(err)
		}
		p.recharge(m, 100+i)
	}
	p.wantHeld(holdItemsMax)
	return p
}

// BenchmarkOneAnswer sets as many events free as can be held, by one letter.
func BenchmarkOneAnswer(b *testing.B) {
	for _, gifts := range []string{"amount: 5", "percent: 10"} {
		b.Run(gifts, func(b *testing.B) {
			for range b.N {
				b.StopTimer()
				p := fill(b, gifts)
				b.StartTimer()
				p.deliver()
				p.wantHeld(0)
			}
		})
	}
}

// BenchmarkPastTheHeld judges an event that spends while as many as can wait for
// another budget.
func BenchmarkPastTheHeld(b *testing.B) {
	p := fill(b, "amount: 5")
	for i := 0; i < len(p.letters); i++ { // Only those about the other budget are delivered, numbered anew.
		r := reader{rest: p.letters[i].Body}
		if kind, _, rule := r.byte(), r.text(), r.text(); kind == letterBudget && rule == "other" {
			p.add(journal.Frame{Kind: journal.FrameLetter, Number: p.machine.with(0).received + 1, Body: p.letters[i].Body})
		}
	}
	m := someone(b, 1)[0]
	b.ResetTimer()
	for range b.N {
		p.recharge(m, 50)
	}
	b.StopTimer()
	p.wantHeld(holdItemsMax)
}
