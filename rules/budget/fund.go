package budget

import (
	"fmt"

	"recharged/state/money"
)

// Fund is a partition's side of a budget. The zero value is a fund that knows of
// nothing and may spend nothing; Adopt tells it the total.
//
// Whoever judges an event that needs an amount does one of three things:
//
//	amount <= Slice          it may be spent: Spend
//	amount <= Slice + Left   the event waits
//	otherwise                it does not fit in the budget: refused
//
// After it, and after each Receive, when what waits was judged again, Ask with
// the amount of what has waited longest tells what to send.
type Fund struct {
	terms  Terms
	slice  money.Amount // granted, neither spent nor given back
	spent  money.Amount // ever
	left   money.Amount // bound by these terms of what may be had beyond the slice; negative after the total was lowered
	low    money.Amount // a slice below this asks ahead
	asking bool         // an ask has not been answered yet
}

// Slice is how much may be spent at once.
func (f *Fund) Slice() money.Amount { return f.slice }

// Spent is how much was ever spent.
func (f *Fund) Spent() money.Amount { return f.spent }

// Left is how much more than the slice may at most be had for the asking.
func (f *Fund) Left() money.Amount { return max(0, f.left) }

// Adopt takes over the terms of the rulebook that the partition has adopted.
// Terms that are not newer than those known change nothing.
func (f *Fund) Adopt(terms Terms) {
	if !terms.supersede(f.terms) {
		return
	}
	f.left += terms.Total - f.terms.Total
	if terms.Total > f.terms.Total {
		f.low = max(f.low, 1) // There is more than before: the empty have reason to ask.
	}
	f.terms = terms
}

// Spend spends a part of the slice.
func (f *Fund) Spend(amount money.Amount) {
	if amount < 0 || amount > f.slice {
		panic(fmt.Sprintf("budget: spend %d of %+v", amount, *f))
	}
	f.slice -= amount
	f.spent += amount
	if amount > f.low {
		f.low = 0 // Grants of this size hold too few such spends to keep any in reserve.
	}
}

// Ask returns the ask that is due, if one is: because something that waits needs
// more than the slice, or because the slice is low. It is asked for once; while
// the answer is awaited there is nothing more to ask.
func (f *Fund) Ask(need money.Amount) (Message, bool) {
	switch {
	case f.asking:
		return Message{}, false
	case need > f.slice: // Also beyond what is left: whatever waits gets an answer.
	case f.slice < f.low && f.left > 0:
		need = 0
	default:
		return Message{}, false
	}
	f.asking = true
	return Message{Kind: Ask, Terms: f.terms, Amount: need}, true
}

// Receive takes in a message of the treasury and returns the reply, if there is
// one: all that is unspent, after a recall.
func (f *Fund) Receive(m Message) (Message, bool) {
	switch {
	case m.Kind == Grant && f.asking && m.Amount >= 0:
		f.asking = false
		f.slice += m.Amount
		f.low = m.Amount / 2
		if m.Terms.supersede(f.terms) || m.Terms == f.terms {
			f.terms, f.left = m.Terms, m.Bound
		} else {
			f.left -= m.Amount // The bound is of older terms.
		}
		return Message{}, false
	case m.Kind == Recall:
		yield := Message{Kind: Yield, Amount: f.slice, Spent: f.spent}
		f.left += f.slice
		f.slice, f.low = 0, 0
		return yield, true
	default:
		panic(fmt.Sprintf("budget: message %+v to %+v", m, *f))
	}
}
