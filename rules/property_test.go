package rules

import (
	"fmt"
	"math/big"
	"testing"
	"time"

	"pgregory.net/rapid"

	"recharged/state/charge"
	"recharged/state/money"
)

// A rolling limit is never exceeded, in whatever order the events arrive, and
// refuses only what would exceed it.
func TestRollingLimitProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		window := time.Duration(rapid.IntRange(1, 7200).Draw(t, "seconds")) * time.Second
		count := rapid.IntRange(1, 4).Draw(t, "count")
		book, problems := Load(File{"a", fmt.Appendf(nil,
			"%srules:\n  - {name: r, on: recharge, limits: {per_customer: [{count: %d, per: %ds}]}, then: [{tag: x}]}\n", small, count, window/time.Second)})
		if book == nil {
			t.Fatal(problems)
		}
		start := charge.Instant(time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC).UnixNano())
		var c charge.Customer
		var d Decision
		var used []charge.Instant
		for _, seconds := range rapid.SliceOfN(rapid.IntRange(0, 20_000), 1, 30).Draw(t, "times") {
			at := start.Add(time.Duration(seconds) * time.Second)
			book.Decide(&Subject{Event: &charge.Event{Type: charge.Recharge, Time: at}, Before: &c, After: &c, Clock: at}, &d)
			book.Settle(&d, &c, start.Add(20_000*time.Second))
			applied := d.Results[0].Verdict == charge.RuleApplied
			if applied && busiest(used, at, window) >= count {
				t.Fatalf("%v and then %v applied: more than %d in %v", used, at, count, window)
			}
			if !applied && busiest(used, at, window) < count {
				t.Fatalf("%v was refused although only %v applied: less than %d in %v", at, used, count, window)
			}
			if applied {
				used = append(used, at)
			}
		}
	})
}

// A rolling limit of more uses than it remembers singly lets go late, never early.
func TestRollingLimitOfManyUses(t *testing.T) {
	const count = rollingSteps + 1
	book, problems := Load(File{"a", fmt.Appendf(nil,
		"%srules:\n  - {name: r, on: recharge, limits: {per_customer: [{count: %d, per: 24h}]}, then: [{tag: x}]}\n", small, count)})
	if book == nil {
		t.Fatal(problems)
	}
	start := charge.Instant(time.Date(2026, 11, 20, 10, 0, 0, 0, time.UTC).UnixNano())
	var c charge.Customer
	var d Decision
	use := func(after time.Duration) charge.RuleVerdict {
		at := start.Add(after)
		book.Decide(&Subject{Event: &charge.Event{Type: charge.Recharge, Time: at}, Before: &c, After: &c, Clock: at}, &d)
		book.Settle(&d, &c, at)
		return d.Results[0].Verdict
	}
	for i := range count {
		if got := use(time.Duration(i) * time.Second); got != charge.RuleApplied {
			t.Fatalf("use %d: %v", i, got)
		}
	}
	const day = 24 * time.Hour
	for _, step := range []struct {
		after time.Duration
		want  charge.RuleVerdict
	}{{day - 1, charge.RuleSkipped}, {day + day/(rollingSteps/2) + time.Minute, charge.RuleApplied}} {
		if got := use(step.after); got != step.want {
			t.Errorf("after %v: %v, want %v", step.after, got, step.want)
		}
	}
}

// busiest returns how many uses the busiest window that the instant is part of has.
func busiest(used []charge.Instant, at charge.Instant, window time.Duration) int {
	most := 0
	for _, last := range append(used[:len(used):len(used)], at) {
		if last < at || last >= at.Add(window) {
			continue // The window (last-window, last] does not contain at.
		}
		n := 0
		for _, u := range used {
			if last.Add(-window) < u && u <= last {
				n++
			}
		}
		most = max(most, n)
	}
	return most
}

// A share is the exact product, rounded down once.
func TestShareProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		base := money.Decimal{
			Coefficient: rapid.Int64Range(-1e15, 1e15).Draw(t, "base"), Scale: uint8(rapid.IntRange(0, 10).Draw(t, "scale")),
		}
		rate := money.Rate(rapid.Int64Range(1, int64(rateMax)).Draw(t, "rate"))
		digits := rapid.IntRange(0, 4).Draw(t, "digits")
		want := big.NewInt(base.Coefficient)
		want.Mul(want, big.NewInt(int64(rate)))
		want.Mul(want, new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(digits)), nil))
		divisor := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(base.Scale)), nil)
		divisor.Mul(divisor, big.NewInt(int64(money.RateWhole)))
		want.Div(want, divisor) // Euclidean: rounds down for a positive divisor.
		got, err := shareOf(base, rate, digits)
		fits := want.IsInt64() && money.Amount(want.Int64()).Valid()
		if fits != (err == nil) || fits && got != money.Amount(want.Int64()) {
			t.Fatalf("%v %v of %v with %d digits: %v %v, want %v", rate, money.RateWhole, base, digits, got, err, want)
		}
	})
}
