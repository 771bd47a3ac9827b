package rules

import (
	"slices"
	"strings"
	"time"

	"recharged/state/charge"
	"recharged/state/money"
)

// Arm is what a rule with a holdout learns of a customer: that the customer
// meets the rule for the first time, or recharges after having met it. The two
// arms, those who may get what the rule gives and those who are held back, are
// counted at the same point, before limits and budget, so that they compare.
type Arm struct {
	Rule      string
	Held      bool
	Customers int64 // 1 at the first meeting
	Recharges int64 // 1 for each later recharge
	Amount    money.Amount

	met charge.Instant // when the first meeting happened
}

// A customer remembers the first meeting with a holdout rule in a counter of the
// name armPrefix + rule with one bucket: its index is the second in which it
// happened, its value the arm. The arm stays, even if the share is changed.
const (
	armPrefix = "arm:"

	armTreated = 1
	armHeld    = 2
)

// heldOut reports whether the customer is one of those that the rule passes
// over, and notes the first meeting of the two.
func (d *Decision) heldOut(r *rule) bool {
	if r.Holdout == 0 {
		return false
	}
	s := d.picture.subject
	held := share(r.Name, s.Event.MSISDN) < r.Holdout
	if s.After.Counter(r.arm) == nil {
		d.Arms = append(d.Arms, Arm{Rule: r.Name, Held: held, Customers: 1, met: s.Event.Time})
	}
	return held
}

// share places a customer between nothing and the whole, for each rule in
// another order: FNV-1a of the rule's name, a zero byte and the digits, mixed so
// that numbers in sequence do not fall next to each other.
func share(rule string, m charge.MSISDN) money.Rate {
	const offset, prime = 14695981039346656037, 1099511628211 // FNV-1a in 64 bits.
	hash := uint64(offset)
	for i := range len(rule) {
		hash = (hash ^ uint64(rule[i])) * prime
	}
	hash *= prime
	var room [16]byte
	for _, digit := range m.Append(room[:0]) {
		hash = (hash ^ uint64(digit)) * prime
	}
	hash = (hash ^ hash>>33) * 0xff51afd7ed558ccd // The finalizer of MurmurHash3.
	hash = (hash ^ hash>>33) * 0xc4ceb9fe1a85ec53
	return money.Rate((hash ^ hash>>33) % uint64(money.RateWhole))
}

// follow counts a recharge for the holdout rules that the customer met before
// it happened.
func (b *Book) follow(s *Subject, d *Decision) {
	counters := s.After.Counters
	i, _ := slices.BinarySearchFunc(counters, armPrefix, func(c charge.Counter, prefix string) int {
		return strings.Compare(c.Name, prefix)
	})
	for ; i < len(counters) && strings.HasPrefix(counters[i].Name, armPrefix); i++ {
		r, buckets := b.byName[counters[i].Name[len(armPrefix):]], counters[i].Buckets
		if r == nil || r.Holdout == 0 || len(buckets) == 0 || secondOf(s.Event.Time) < buckets[0].Index {
			continue
		}
		d.Arms = append(d.Arms, Arm{Rule: r.Name, Held: buckets[0].Value == armHeld, Recharges: 1, Amount: s.base()})
	}
}

// remember puts a first meeting into the customer.
func (a *Arm) remember(c *charge.Customer) {
	if a.Customers == 0 {
		return
	}
	arm := int64(armTreated)
	if a.Held {
		arm = armHeld
	}
	c.OpenCounter(armPrefix+a.Rule, 0).Buckets = []charge.Bucket{{Index: secondOf(a.met), Value: arm}}
}

func secondOf(i charge.Instant) int64 { return floorDiv(int64(i), int64(time.Second)) }

// holdout reads the share of the customers that a rule passes over.
func (l *loader) holdout(n *node, r *rule) {
	if n == nil {
		return
	}
	r.Holdout = l.percent(n)
	if r.Holdout >= money.RateWhole {
		l.errorf(n.place, "write less than 100%, such as 5%", "a holdout of %s leaves nobody to give to", n.text)
	}
	r.arm, l.book.holdouts = armPrefix+r.Name, true
}
