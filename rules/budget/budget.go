// Package budget is the protocol by which the partitions of a processor share
// the budget of a rule without a lock. It promises that to the outside the
// shared budget is one counter: nothing is ever spent that the total does not
// hold, and nothing is refused that it still holds; some spends have to wait
// for an answer, that is all. It refuses to know what a rule is, how messages
// travel and where memory is kept: it is a pure machine, and the same input
// gives the same output.
//
// # The picture
//
// One partition, the home of the rule, keeps the Treasury; every partition, the
// home too, keeps a Fund.
//
//	 Fund of partition p                      Treasury at the home
//	┌─────────────────────────┐              ┌──────────────────────────────┐
//	│ slice  may be spent now │   ask need   │ remaining  granted to nobody │
//	│ spent  ever             │ ───────────► │ granted[p] ever, less yields │
//	│ left   at most this     │ ◄─────────── │ spent[p]   known to be spent │
//	│        much more may be │ grant amount │            of what is granted│
//	│        had for the      │       bound  │ owes[p]    was recalled      │
//	│        asking           │              │ waiting    asks, in order of │
//	│ low    below this, ask  │    recall    │            arrival           │
//	│        ahead            │ ◄─────────── │                              │
//	│ asking one ask is out   │ ───────────► │                              │
//	└─────────────────────────┘ yield amount └──────────────────────────────┘
//	                                  spent
//
// Messages between two partitions arrive exactly once and in the order in which
// they were sent, however late.
//
// # What always holds
//
//  1. remaining + Σ granted = total.
//  2. Once the messages between home and p have arrived, granted[p] is what p
//     holds and has spent. A yield states both, and the treasury compares.
//  3. Nothing is negative, except remaining, and bounds, after the total was
//     lowered below what is granted; and then nothing is granted.
//  4. slice + left of a fund is never less than total - Σ spent of all
//     partitions, nor more than the total. So what exceeds slice + left does not
//     fit in the whole budget, and is refused on the spot, without a message.
//  5. A need is granted whole or refused, and it is refused only when nobody holds
//     anything that is not known to be spent. So a refusal states exactly what is
//     left, and it is less than the need.
//
// From 1 and 2 follows that Σ (slice + spent) + what is under way never exceeds
// a total that was never lowered. What is broken panics with the values.
//
// # The messages
//
//	ask     "I need so much, whatever my slice is"; nothing: for later, ahead of
//	        the need. A fund has one ask out at a time.
//	grant   answers an ask, with nothing too, and states the bound: how much more
//	        the fund may have for the asking.
//	recall  "give back all that you hold".
//	yield   answers a recall: what was given back, and what was spent ever.
//
// An ask is for the whole of what is needed, not for what the slice lacks: others
// may spend the slice before the answer comes. A grant therefore always covers
// the need, if the waiting is judged as soon as the grant is received.
//
// # The algorithm
//
// While there is plenty, an ask gets its need or a share, whichever is more. What
// remains after all needs that wait is shared equally by those who hold nothing:
// so all begin with the same, and spend it however late letters come. When all
// hold something, a share is 1/(2·partitions) of it. As money dwindles so do the
// shares, and at last an ask gets its need and no more. Half a grant is the mark
// below which a fund asks ahead. A single spend of more than that shows that such
// grants make no reserve: then nothing is asked ahead until the next grant.
//
// When an ask needs more than remains, while others hold what they may not have
// spent, the treasury recalls from all of them, the asker included. It grants
// nothing until all have answered, and tells at once those who ask ahead; then it
// serves the asks that wait in order of arrival. What it took back is plenty
// again, or it is not: the rule above tells. A fund that was recalled asks again
// only when it needs to.
//
// # The terms
//
// The total stands in the rulebook, of which each partition adopts a version
// when its log says so. Ask and grant carry the terms, the total and the version
// that states it, and whoever hears of newer ones goes by them. So the treasury
// knows the total at the latest from the first ask, and never refuses what only
// the asker's version allows. A fund moves its bound by what the total moved, so
// a raised total needs no message to be known. A rule that is gone leaves the
// memory as it is.
package budget

import (
	"fmt"

	"recharged/state/money"
)

// Terms are what a version of the rulebook says about a budget. Before any is
// known they are zero.
type Terms struct {
	Version uint64
	Total   money.Amount
}

// supersede reports whether t is newer than old. It panics if one version is said
// to state two totals, or a total that is none.
func (t Terms) supersede(old Terms) bool {
	if t.Total < 0 || !t.Total.Valid() || t.Version == old.Version && t.Total != old.Total {
		panic(fmt.Sprintf("budget: terms %+v after %+v", t, old))
	}
	return t.Version > old.Version
}

// Kind is what a message says.
type Kind uint8

// The kinds of messages. Their numbers are part of the encoding.
const (
	Ask    Kind = 1 // fund to treasury
	Grant  Kind = 2 // treasury to fund, for each ask one
	Recall Kind = 3 // treasury to fund
	Yield  Kind = 4 // fund to treasury, for each recall one
)

// Message is what a fund and the treasury say to each other.
type Message struct {
	Kind   Kind
	Terms  Terms        // ask, grant: that the sender goes by
	Amount money.Amount // ask: what is needed, 0 for ahead; grant; yield: what is given back
	Bound  money.Amount // grant: at most this much more may be had for the asking; negative: so much is missing
	Spent  money.Amount // yield: by this partition, ever
}

// ForTreasury tells which side the message is for: the treasury or the fund.
func (m Message) ForTreasury() bool { return m.Kind == Ask || m.Kind == Yield }
