package budget

import (
	"testing"

	"pgregory.net/rapid"

	"recharged/state/money"
)

// simulate lets anything happen in any order, and then nothing any more.
func simulate(t *rapid.T, lowering bool) *world {
	partitions := rapid.IntRange(1, 16).Draw(t, "partitions")
	totals := rapid.OneOf(
		rapid.Custom(func(t *rapid.T) money.Amount { return money.Amount(rapid.Int64Range(0, 100).Draw(t, "few")) }),
		rapid.Custom(func(t *rapid.T) money.Amount { return money.Amount(rapid.Int64Range(0, 100_000).Draw(t, "many")) }),
	)
	w := newWorld(t, partitions, totals.Draw(t, "total"))
	largest := rapid.SampledFrom([]int64{1, 10, 200, 5000}).Draw(t, "largest spend")
	partition := rapid.IntRange(0, partitions-1)
	steps := rapid.IntRange(1, 400).Draw(t, "steps")
	for range steps {
		p := partition.Draw(t, "partition")
		switch rapid.IntRange(0, 19).Draw(t, "what") {
		case 0:
			w.restart()
		case 1:
			w.adopt(p)
		case 2:
			total := w.books[len(w.books)-1].Total + totals.Draw(t, "raise")/4
			if lowering && rapid.Bool().Draw(t, "lower") {
				total = totals.Draw(t, "other total")
			}
			if len(w.books) < 6 {
				w.publish(total)
			}
		case 3:
			w.giveUp(p)
		case 4, 5, 6, 7, 8, 9:
			if w.sides[p].adopted > 0 {
				w.event(p, money.Amount(rapid.Int64Range(0, largest).Draw(t, "amount")))
			}
		case 10, 11, 12, 13, 14:
			w.deliverUp(p)
		default:
			w.deliverDown(p)
		}
		w.checkFlight()
	}
	for p := range w.sides {
		w.adopt(p)
	}
	w.quiet()
	w.checkFlight()
	w.checkQuiet()
	return w
}

// exhaust spends all that is left at one partition, to the last unit, and then
// nothing anywhere; in the end a refusal costs no message.
func exhaust(t *rapid.T, w *world) {
	total := w.treasury.Total()
	p := rapid.IntRange(0, len(w.sides)-1).Draw(t, "last partition")
	if rest := total - w.twin.spent; rest > 0 {
		w.event(p, rest)
		w.quiet()
		if w.twin.spent != total {
			t.Fatalf("%d of %d could not be spent at partition %d", rest, total, p)
		}
	}
	for range 2 {
		for p := range w.sides {
			w.event(p, 1)
			w.quiet()
		}
	}
	before, refusals := w.sent, w.refusals
	for p := range w.sides {
		w.event(p, 1)
	}
	if w.sent != before || w.refusals != refusals+len(w.sides) {
		t.Fatalf("%d refusals cost messages: %v, then %v", len(w.sides), before, w.sent)
	}
	w.checkQuiet()
}

// The budget is one counter to the outside: every event that is judged gets the
// answer that the naive twin gives at that moment, and nothing is stranded.
func TestSharedBudgetIsOneCounter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) { exhaust(t, simulate(t, false)) })
}

// A total may be lowered, below what is spent too.
func TestLoweredTotals(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := simulate(t, true)
		if w.twin.spent > w.treasury.Total() {
			before := w.spends
			for p := range w.sides {
				w.event(p, 1)
			}
			w.quiet()
			if w.spends != before {
				t.Fatalf("%d were spent of a total that was lowered to %d, and still there was more", w.twin.spent, w.treasury.Total())
			}
			w.publish(w.twin.spent + 3)
			for p := range w.sides {
				w.adopt(p)
			}
			w.quiet()
		}
		exhaust(t, w)
	})
}
