package budget

import (
	"fmt"
	"slices"

	"recharged/state/charge"
	"recharged/state/money"
)

// Treasury is the home's side of a budget: what remains, and who has the rest.
type Treasury struct {
	terms     Terms
	remaining money.Amount // granted to nobody; negative after the total was lowered below what is granted
	accounts  []account    // by partition
	waiting   []wait       // asks not answered yet, in order of arrival; one of a partition at most
}

// account is what a partition was granted.
type account struct {
	granted money.Amount // ever, less what was given back
	spent   money.Amount // of it, known from the partition's last yield
	owes    bool         // a yield to the last recall
}

// held is what the partition may still hold: granted, and not known to be spent.
func (a *account) held() money.Amount { return a.granted - a.spent }

// wait is an ask that waits.
type wait struct {
	from charge.Partition
	need money.Amount
}

// Reply is a message of the treasury to the fund of a partition.
type Reply struct {
	To      charge.Partition
	Message Message
}

// NewTreasury returns the treasury of a budget that so many partitions share. It
// has nothing until it knows the total.
func NewTreasury(partitions int) *Treasury {
	if partitions < 1 || partitions > charge.Slots {
		panic(fmt.Sprintf("budget: a treasury of %d partitions", partitions))
	}
	return &Treasury{accounts: make([]account, partitions)}
}

// Total is the budget over the rule's life, as far as it is known.
func (t *Treasury) Total() money.Amount { return t.terms.Total }

// Remaining is what is granted to nobody. It is negative after the total was
// lowered below what is granted.
func (t *Treasury) Remaining() money.Amount { return t.remaining }

// Adopt takes over the terms of the rulebook that the home has adopted, and
// returns what is to be said about it. Terms that are not newer than those known
// change nothing.
func (t *Treasury) Adopt(terms Terms) []Reply {
	if !t.adopt(terms) {
		return nil
	}
	return t.serve()
}

// adopt takes over newer terms, and reports whether these are.
func (t *Treasury) adopt(terms Terms) bool {
	if !terms.supersede(t.terms) {
		return false
	}
	t.remaining += terms.Total - t.terms.Total
	t.terms = terms
	return true
}

// Receive takes in a message of a partition's fund and returns what is to be
// said to whom.
func (t *Treasury) Receive(from charge.Partition, m Message) []Reply {
	if int(from) >= len(t.accounts) {
		panic(fmt.Sprintf("budget: message %+v of partition %d to a treasury of %d", m, from, len(t.accounts)))
	}
	a := &t.accounts[from]
	asks := slices.ContainsFunc(t.waiting, func(w wait) bool { return w.from == from })
	switch {
	case m.Kind == Ask && !asks && m.Amount >= 0 && m.Amount.Valid():
		t.adopt(m.Terms)
		t.waiting = append(t.waiting, wait{from, m.Amount})
	case m.Kind == Yield && a.owes && 0 <= m.Amount && m.Amount <= a.held() && m.Spent == a.granted-m.Amount:
		a.granted -= m.Amount
		a.spent, a.owes = m.Spent, false
		t.remaining += m.Amount
	default:
		panic(fmt.Sprintf("budget: message %+v of partition %d to %+v", m, from, *t))
	}
	return t.serve()
}

// serve answers, in order of arrival, the asks that can be answered, and recalls
// what is held if one of them needs it.
func (t *Treasury) serve() []Reply {
	var replies []Reply
	recalling := slices.ContainsFunc(t.accounts, func(a account) bool { return a.owes })
	recall := func() {
		recalling = true
		replies = t.recall(replies)
	}
	if t.remaining < 0 && !recalling && t.held() {
		recall()
	}
	for i := 0; i < len(t.waiting); {
		w := t.waiting[i]
		amount := t.grant(w.need)
		switch {
		case !recalling && amount > 0:
		case w.need == 0 || !recalling && !t.held():
			amount = 0 // Nothing to spare, or nothing at all.
		default:
			if !recalling {
				recall()
			}
			i++
			continue
		}
		t.waiting = slices.Delete(t.waiting, i, i+1)
		t.remaining -= amount
		t.accounts[w.from].granted += amount
		replies = append(replies, Reply{w.from, Message{Kind: Grant, Terms: t.terms, Amount: amount, Bound: t.bound(w.from)}})
	}
	if err := t.check(); err != nil {
		panic(fmt.Sprintf("budget: %v: %+v", err, *t))
	}
	return replies
}

// grant returns what an ask gets of what remains: its need or a share, whichever
// is more, but nothing if the need does not fit. All waiting needs go before
// shares: a share that had to be recalled for one of them would help nobody.
func (t *Treasury) grant(need money.Amount) money.Amount {
	if need > t.remaining {
		return 0
	}
	spare := t.remaining
	for _, w := range t.waiting {
		if spare -= w.need; spare <= 0 {
			return need
		}
	}
	return max(need, spare/money.Amount(t.shares()))
}

// shares is into how many parts to cut what is to be shared: one for each
// partition that holds nothing; two for each, when all hold something.
func (t *Treasury) shares() int {
	without := 0
	for i := range t.accounts {
		if t.accounts[i].held() <= 0 {
			without++
		}
	}
	if without == 0 {
		return 2 * len(t.accounts)
	}
	return without
}

// held reports whether anybody may hold anything.
func (t *Treasury) held() bool {
	return slices.ContainsFunc(t.accounts, func(a account) bool { return a.held() > 0 })
}

// recall asks for everything back that anybody may hold.
func (t *Treasury) recall(replies []Reply) []Reply {
	for p := range t.accounts {
		if a := &t.accounts[p]; a.held() > 0 {
			a.owes = true
			replies = append(replies, Reply{charge.Partition(p), Message{Kind: Recall}})
		}
	}
	return replies
}

// bound returns what a partition may at most have beyond its slice: what remains
// and what the others may still hold. What it was recalled itself may be on its
// way here, and then is no part of its slice. After the total was lowered the
// bound may be negative: so much is missing.
func (t *Treasury) bound(to charge.Partition) money.Amount {
	bound := t.remaining
	for p := range t.accounts {
		if a := &t.accounts[p]; p != int(to) || a.owes {
			bound += a.held()
		}
	}
	return bound
}

// check returns which invariant is broken, if one is.
func (t *Treasury) check() error {
	sum := t.remaining
	for p := range t.accounts {
		a := &t.accounts[p]
		if a.spent < 0 || a.granted < a.spent || !a.granted.Valid() {
			return fmt.Errorf("partition %d spent %d of %d that it was granted", p, a.spent, a.granted)
		}
		if sum += a.granted; sum > t.terms.Total {
			break // It only grows from here; and it must not wrap.
		}
	}
	if sum != t.terms.Total {
		return fmt.Errorf("remaining and granted are %d, the total is %d", sum, t.terms.Total)
	}
	return nil
}
