package state

import (
	"bytes"
	"maps"
	"slices"

	"recharged/state/charge"
	"recharged/state/money"
)

// sums are the ledger totals of a partition.
type sums struct {
	totals    map[totalName]*total
	imbalance map[string]money.Sum // their sum per unit
}

// totalName names one ledger total. The account "" is all customers together,
// taken from the balances themselves and not from postings: that the two agree
// is what the imbalance shows.
type totalName struct {
	unit    string
	account charge.Account
}

type total struct {
	sum     money.Sum
	changed bool
}

func newSums() sums {
	return sums{totals: map[totalName]*total{}, imbalance: map[string]money.Sum{}}
}

// clone returns a copy that shares nothing with s.
func (s *sums) clone() sums {
	c := sums{totals: make(map[totalName]*total, len(s.totals)), imbalance: maps.Clone(s.imbalance)}
	for name, t := range s.totals {
		kept := *t
		c.totals[name] = &kept
	}
	return c
}

// load takes over a total that was stored.
func (s *sums) load(name totalName, sum money.Sum) {
	s.totals[name] = &total{sum: sum}
	all := s.imbalance[name.unit]
	all.AddSum(sum)
	s.imbalance[name.unit] = all
}

// move counts what a customer holds now instead of what was held before.
func (s *sums) move(before, now *charge.Customer, unit func(balance string) string) {
	for i := range before.Balances {
		b := &before.Balances[i]
		s.add(totalName{unit: unit(b.Name)}, -held(b))
	}
	for i := range now.Balances {
		b := &now.Balances[i]
		s.add(totalName{unit: unit(b.Name)}, held(b))
	}
}

// held is all that a balance holds, expired or not, until its expiry is posted.
func held(b *charge.Balance) money.Amount {
	var all money.Amount
	for _, part := range b.Parts {
		all += part.Amount
	}
	return all
}

// post counts the other side of postings.
func (s *sums) post(postings []charge.Posting) {
	for i := range postings {
		s.add(totalName{postings[i].Unit.Name, postings[i].Account}, -postings[i].Amount)
	}
}

func (s *sums) add(name totalName, amount money.Amount) {
	if amount == 0 {
		return
	}
	t := s.totals[name]
	if t == nil {
		t = &total{}
		s.totals[name] = t
	}
	t.sum.Add(amount)
	t.changed = true
	all := s.imbalance[name.unit]
	all.Add(amount)
	s.imbalance[name.unit] = all
}

// changed returns the names of the totals that changed, in a fixed order.
func (s *sums) changed() []totalName {
	var names []totalName
	for name, t := range s.totals {
		if t.changed {
			names = append(names, name)
		}
	}
	slices.SortFunc(names, func(a, b totalName) int {
		return bytes.Compare(totalKey(nil, 0, a.unit, a.account), totalKey(nil, 0, b.unit, b.account))
	})
	return names
}

// settle returns a total, which is no longer changed.
func (s *sums) settle(name totalName) money.Sum {
	t := s.totals[name]
	t.changed = false
	return t.sum
}
