package rules

import (
	"math"
	"slices"
	"time"

	"recharged/rules/index"
	"recharged/rules/when"
	"recharged/state/charge"
	"recharged/state/money"
)

// matcher finds the rules of one event type that match an event. The index
// answers what it can of schedules, tiers and conditions for all rules at once;
// what is left is asked of the candidates, and what several of them ask, once.
//
// It says what rule.match says of every rule, errors included:
//
//   - In a condition, false wins over an error. So a rule that the index excludes
//     has no error to tell, in whatever order its conjuncts stand.
//   - A value of a kind that a rule does not expect, or a segment whose condition
//     fails, puts the rules that ask for it in doubt: these are asked by match.
//   - A condition that loops over more elements than allowed fails, and may do so
//     before it comes to a conjunct that is false. So nothing behind a loop whose
//     length values decide is left to the index.
type matcher struct {
	rules []*rule // as they are judged
	index *index.Index
	rests []rest // by rule
}

// rest is what is left to ask of a candidate.
type rest struct {
	schedule bool
	parts    []part
}

// part is a conjunct of a rule's condition, or all of it.
type part struct {
	when   *when.Expression
	shared int // place in picture.asked; -1: no other rule asks this
}

// asked is the answer of a part that several rules share.
type asked struct {
	turn   uint32
	answer answer
}

type answer uint8

const (
	isFalse answer = iota
	isTrue
	isError
)

// References of what only the index reads.
const (
	refTime   = -1 - iota // of the event
	refMinute             // of the week, on the wall
	refBase               // what tiers look at, in minor units
)

// Read makes the picture the reader of the index: of the customer after the
// event, and of what no condition has a name for.
func (p *picture) Read(ref int) charge.Value {
	switch ref {
	case refTime:
		return charge.TimeValue(p.subject.Event.Time)
	case refMinute:
		return charge.NumberValue(money.Int(int64(minuteOfWeek(p.subject.Event.Time, p.book.plan.Location))))
	case refBase:
		return charge.NumberValue(money.Int(int64(p.subject.base())))
	}
	return p.after.Read(ref)
}

func minuteOfWeek(at charge.Instant, location *time.Location) int {
	local := at.Time().In(location)
	return int(local.Weekday())*dayMinutes + local.Hour()*60 + local.Minute()
}

// inquiry is what is to be asked of a rule.
type inquiry struct {
	*rule
	terms     []index.Term
	schedule  int // how many terms are of the schedule: the first
	conjuncts []conjunct
	loops     bool // the condition must be asked as a whole: see matcher
}

// conjunct is a part of a rule's condition.
type conjunct struct {
	when *when.Expression
	term int // that says the same; -1: none does
}

// makeMatchers makes the matchers of the rules of each event type.
func (b *Book) makeMatchers(byType map[string][]*rule) {
	b.matchers = make(map[string]*matcher, len(byType))
	for name, rules := range byType {
		m := newMatcher(rules)
		b.matchers[name] = m
		b.shared = max(b.shared, m.share())
	}
}

// newMatcher makes the matcher of rules, which are in the order in which they
// are judged.
func newMatcher(rules []*rule) *matcher {
	m := &matcher{rules: rules, rests: make([]rest, len(rules))}
	inquiries := make([]inquiry, len(rules))
	terms := make([][]index.Term, len(rules))
	for i, r := range rules {
		inquiries[i] = newInquiry(r)
		terms[i] = inquiries[i].terms
	}
	m.index = index.Build(terms)
	for i := range rules {
		m.rests[i] = inquiries[i].rest(func(term int) bool { return m.index.Answers(i, term) })
	}
	return m
}

func newInquiry(r *rule) inquiry {
	q := inquiry{rule: r, terms: r.schedule.terms()}
	q.schedule = len(q.terms)
	if from := r.tiers[0].from; from != math.MinInt64 {
		q.ask(refBase, when.Number, when.GreaterEqual, charge.NumberValue(money.Int(int64(from))))
	}
	if r.when == nil {
		return q
	}
	most, bounded := r.when.Steps()
	q.loops = !bounded || most > when.StepsMax
	indexed := !bounded || most <= when.StepsMax
	for _, x := range r.when.Conjuncts() {
		c := conjunct{x, -1}
		if _, bounded := x.Steps(); !bounded {
			indexed = false
		}
		if a, ok := x.Atom(); ok && indexed {
			c.term = len(q.terms)
			q.terms = append(q.terms, index.Term{Atom: a})
		}
		q.conjuncts = append(q.conjuncts, c)
	}
	return q
}

func (q *inquiry) ask(ref int, t when.Type, o when.Op, v charge.Value) {
	q.terms = append(q.terms, index.Term{Atom: when.Atom{Ref: ref, Type: t, Op: o, Values: []charge.Value{v}}})
}

// rest returns what is left to ask after the terms that are answered.
func (q *inquiry) rest(answered func(term int) bool) rest {
	var left rest
	for term := range q.schedule {
		left.schedule = left.schedule || !answered(term)
	}
	for _, c := range q.conjuncts {
		if c.term < 0 || !answered(c.term) {
			left.parts = append(left.parts, part{c.when, -1})
		}
	}
	if q.loops && len(left.parts) > 0 {
		left.parts = []part{{q.when, -1}}
	}
	return left
}

// terms says to the index what covers says of an instant.
func (s *schedule) terms() []index.Term {
	if s == nil {
		return nil
	}
	bound := func(o when.Op, at charge.Instant) index.Term {
		return index.Term{Atom: when.Atom{Ref: refTime, Type: when.Time, Op: o, Values: []charge.Value{charge.TimeValue(at)}}}
	}
	terms := []index.Term{bound(when.GreaterEqual, s.from)}
	if s.until != 0 {
		terms = append(terms, bound(when.Less, s.until))
	}
	if s.days == everyDay && s.open == 0 && s.close == dayMinutes {
		return terms
	}
	week := index.Term{Atom: when.Atom{Ref: refMinute, Type: when.Number}, Spans: []index.Span{}}
	for day := range 7 {
		if s.days>>day&1 == 0 {
			continue
		}
		midnight := int64(day * dayMinutes)
		opens, closes := midnight+int64(s.open), midnight+int64(s.close)
		if s.open < s.close {
			week.Spans = append(week.Spans, index.Span{From: opens, Until: closes})
			continue
		}
		next := int64((day + 1) % 7 * dayMinutes)
		week.Spans = append(week.Spans, index.Span{From: opens, Until: midnight + dayMinutes}, index.Span{From: next, Until: next + int64(s.close)})
	}
	return append(terms, week)
}

// share gives the parts that several rules ask a place in picture.asked, and
// returns how many there are.
func (m *matcher) share() int {
	first := map[string]*part{}
	shared := 0
	for i := range m.rests {
		for j := range m.rests[i].parts {
			p := &m.rests[i].parts[j]
			text := p.when.Canonical()
			other, twice := first[text]
			switch {
			case !twice:
				first[text] = p
				continue
			case other.shared < 0:
				other.shared = shared
				shared++
			}
			p.shared = other.shared
		}
	}
	for i, r := range m.rules {
		// To ask for a whole condition is cheaper than to ask for its parts.
		left := &m.rests[i]
		alone := !slices.ContainsFunc(left.parts, func(p part) bool { return p.shared >= 0 })
		if alone && len(left.parts) > 1 && len(left.parts) == len(r.when.Conjuncts()) {
			left.parts = []part{{r.when, -1}}
		}
	}
	return shared
}

// match is rule.match of a candidate that find found.
func (m *matcher) match(candidate int, doubt bool, p *picture) (*tier, bool, error) {
	r, left := m.rules[candidate], &m.rests[candidate]
	if doubt {
		return r.match(p)
	}
	if left.schedule && !r.schedule.covers(p.subject.Event.Time, p.book.plan.Location) {
		return nil, false, nil
	}
	t := r.tierOf(p.subject.base())
	if t == nil {
		return nil, false, nil
	}
	for i := range left.parts {
		switch p.ask(&left.parts[i]) {
		case isFalse:
			return nil, false, nil
		case isError:
			return r.match(p) // The whole condition says whether the error counts, and words it.
		}
	}
	return t, true, nil
}

// ask answers a part; of several rules that share it, once.
func (p *picture) ask(q *part) answer {
	if q.shared < 0 {
		return p.answer(q.when)
	}
	a := &p.asked[q.shared]
	if a.turn != p.turn {
		a.turn, a.answer = p.turn, p.answer(q.when)
	}
	return a.answer
}

func (p *picture) answer(x *when.Expression) answer {
	switch holds, err := x.Holds(&p.after); {
	case err != nil:
		return isError
	case holds:
		return isTrue
	}
	return isFalse
}
