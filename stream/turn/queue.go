package turn

import (
	"cmp"
	"fmt"
	"slices"

	"recharged/rules"
	"recharged/state/charge"
	"recharged/state/money"
)

// queue holds the events that wait until a budget can tell whether it holds
// enough, and behind each the later events of the same customer, in order. Each
// is noted under its number, so that the next machine finds it.
//
// The first of a customer's items is its head. It alone is judged. A head stands
// either among those that the rulebook in force has not judged, or with each rule
// whose budget it falls short of: so nobody is looked at for whom nothing has
// changed, however many wait.
type queue struct {
	version  uint64  // of the rulebook in force
	items    []*item // by number
	of       map[charge.MSISDN][]*item
	unjudged []*item // heads, by number
	short    map[string]*shortage
	bytes    int // of the events
	judged   int // heads, again, in this turn
}

// shortage is what falls short of the budget of one rule.
type shortage struct {
	heads   []*item // by number
	stirred bool    // the budget has changed since nobody among them was ready
}

// open reads what an earlier machine has noted.
func (q *queue) open(s State, version uint64) (err error) {
	*q = queue{version: version, of: map[charge.MSISDN][]*item{}, short: map[string]*shortage{}}
	s.Notes(heldPrefix, func(name string, value []byte) bool {
		var it *item
		if it, err = decodeItem(value); err == nil {
			_, err = fmt.Sscanf(name, heldPrefix+"%d", &it.number)
		}
		if err != nil {
			err = fmt.Errorf("%s: %w", name, err)
			return false
		}
		q.add(it)
		return true
	})
	for _, of := range q.short {
		of.stirred = true // Nobody knows what has changed since they were judged.
	}
	return err
}

// add puts an item behind all others.
func (q *queue) add(it *item) {
	q.items = append(q.items, it)
	q.of[it.event.MSISDN] = append(q.of[it.event.MSISDN], it)
	q.bytes += eventBytes(&it.event)
	if q.head(it.event.MSISDN) == it {
		q.place(it)
	}
}

// remove takes a head out that does not stand anywhere. What was behind it is
// the next head.
func (q *queue) remove(it *item) {
	q.items = without(q.items, it)
	q.bytes -= eventBytes(&it.event)
	if rest := q.of[it.event.MSISDN][1:]; len(rest) > 0 {
		q.of[it.event.MSISDN] = rest
		q.place(rest[0])
	} else {
		delete(q.of, it.event.MSISDN)
	}
}

// place lets a head stand where it belongs. One that was judged by the rulebook in
// force was so just now: it is not ready.
func (q *queue) place(head *item) {
	if head.version != q.version {
		q.unjudged = with(q.unjudged, head)
		return
	}
	for _, s := range head.short {
		of := q.short[s.Rule]
		if of == nil {
			of = &shortage{}
			q.short[s.Rule] = of
		}
		of.heads = with(of.heads, head)
	}
}

// lift takes a head from where it stands.
func (q *queue) lift(head *item) {
	if head.version != q.version {
		q.unjudged = without(q.unjudged, head)
		return
	}
	for _, s := range head.short {
		of := q.short[s.Rule]
		if of.heads = without(of.heads, head); len(of.heads) == 0 {
			delete(q.short, s.Rule)
		}
	}
}

// adopt goes by another version of the rulebook, which has judged nobody.
func (q *queue) adopt(version uint64) {
	q.version, q.unjudged = version, nil
	clear(q.short)
	for _, it := range q.items {
		if q.head(it.event.MSISDN) == it {
			q.unjudged = append(q.unjudged, it)
		}
	}
}

// stir says that the budget of a rule has changed.
func (q *queue) stir(rule string) {
	if of := q.short[rule]; of != nil {
		of.stirred = true
	}
}

// room reports whether an item may be held.
func (q *queue) room(it *item) bool {
	return len(q.items) < holdItemsMax && q.bytes+eventBytes(&it.event) <= holdBytesMax
}

// full reports whether there may be no room for another item.
func (q *queue) full() bool { return len(q.items) >= holdItemsMax || q.bytes >= holdBytesMax-fullBytes }

// fullBytes is more than what the timers of rules take.
const fullBytes = 1 << 10

// holds reports whether something of a customer is held.
func (q *queue) holds(m charge.MSISDN) bool { return len(q.of[m]) > 0 }

// head is what comes first of a customer.
func (q *queue) head(m charge.MSISDN) *item { return q.of[m][0] }

// deadline is the first that is still to come; zero: nothing is held.
func (q *queue) deadline() charge.Instant {
	if len(q.items) == 0 {
		return 0
	}
	return q.items[0].deadline()
}

// events counts the events among the items, and tells where the oldest came from.
func (q *queue) events() (n int, oldest charge.Position) {
	for _, it := range q.items {
		if it.timers != nil {
			continue
		}
		if n++; n == 1 || it.at.Sequence < oldest.Sequence {
			oldest = it.at
		}
	}
	return n, oldest
}

// ready returns the first head that need not wait any more, nil if there is none:
// because its time is up, because another version of the rulebook is in force,
// or because each of the budgets that it fell short of holds enough now, or
// never will.
func (q *queue) ready(clock charge.Instant, funds rules.Memory) *item {
	if len(q.items) == 0 {
		return nil
	}
	if first := q.items[0]; first.deadline() <= clock {
		return first // It is a head, and nobody has waited longer.
	}
	var first *item
	if len(q.unjudged) > 0 {
		first = q.unjudged[0]
	}
	for rule, of := range q.short {
		if !of.stirred {
			continue
		}
		if it := of.ready(rule, funds); it == nil {
			of.stirred = false
		} else if first == nil || it.number < first.number {
			first = it
		}
	}
	return first
}

// ready returns the first of the heads that need not wait any more.
func (of *shortage) ready(rule string, funds rules.Memory) *item {
	fund := funds.Fund(rule)
	for _, it := range of.heads {
		if decided(it.shortOf(rule), fund) && (len(it.short) == 1 || !slices.ContainsFunc(it.short, func(s rules.Spend) bool {
			return !decided(s.Amount, funds.Fund(s.Rule))
		})) {
			return it
		}
	}
	return nil
}

// decided reports whether a fund holds the amount, or never will.
func decided(amount money.Amount, f rules.Fund) bool {
	return amount <= f.Slice || amount > f.Slice+f.Left
}

// need is what the item needs that has waited longest for the rule's budget.
func (q *queue) need(rule string) money.Amount {
	if of := q.short[rule]; of != nil {
		return of.heads[0].shortOf(rule)
	}
	return 0
}

// with and without put an item into a list by number, and take it out.
func with(list []*item, it *item) []*item {
	i, _ := place(list, it)
	return slices.Insert(list, i, it)
}

func without(list []*item, it *item) []*item {
	i, _ := place(list, it)
	return slices.Delete(list, i, i+1)
}

func place(list []*item, it *item) (int, bool) {
	return slices.BinarySearchFunc(list, it.number, func(it *item, number uint64) int { return cmp.Compare(it.number, number) })
}
