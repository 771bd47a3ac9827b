package rules

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"recharged/rules/when"
	"recharged/state/charge"
	"recharged/state/money"
)

// claim is one thing that a rule or a segment asks for: a conjunct of its
// condition, a bound of its schedule or its lowest tier.
type claim struct {
	atom      when.Atom
	simple    bool   // atom says all of it
	canonical string // of a conjunct: the same text is the same condition
	text      string // as written
	via       string // the question for the segment that asks for it; empty: the condition itself
	conjunct  int    // which one it is or comes from; frameClaim: none
}

// frameClaim marks what a rule asks for beside its condition.
const frameClaim = -1

// String writes a claim as messages do.
func (c claim) String() string {
	if c.via == "" {
		return c.text
	}
	return c.via + ", which asks for " + c.text + ","
}

// claimsOf returns the conjuncts of a condition.
func (n *linter) claimsOf(x *when.Expression) []claim {
	if x == nil {
		return nil
	}
	parts := x.Conjuncts()
	claims := make([]claim, len(parts))
	for i, part := range parts {
		c := &claims[i]
		c.text, c.canonical, c.conjunct = excerpt(part.Source()), part.Canonical(), i
		c.atom, c.simple = part.Atom()
	}
	return claims
}

// excerpt writes a part of a condition on one line, as much as a message bears.
func excerpt(source string) string {
	const charactersMax = 80
	text := []rune(strings.Join(strings.Fields(source), " "))
	if len(text) > charactersMax {
		text = append(text[:charactersMax-1], '…')
	}
	return string(text)
}

// frame returns what a rule asks for beside its condition.
func (n *linter) frame(r *rule, schema *charge.Schema) []claim {
	var claims []claim
	add := func(a when.Atom, text string) {
		claims = append(claims, claim{atom: a, simple: true, text: text, conjunct: frameClaim})
	}
	if base, ok := n.baseRef(r.On); ok && n.nodes[r.Name].get("tiers") != nil {
		from := r.tiers[0].from
		add(n.atLeast(base, from), "the tiers, which begin at "+n.book.plan.Currency.Short(from))
	}
	if s := r.schedule; s != nil {
		ref := n.refOf(variable{source: fromTime, Variable: when.Variable{Type: when.Time}})
		bound := func(at charge.Instant, o when.Op, text string) {
			if at != 0 {
				local := at.Time().In(n.book.plan.Location).Format("2006-01-02 15:04")
				add(when.Atom{Ref: ref, Type: when.Time, Op: o, Values: []charge.Value{charge.TimeValue(at)}}, text+local)
			}
		}
		bound(s.from, when.GreaterEqual, "the schedule, which begins at ")
		bound(s.until, when.Less, "the schedule, which ends at ")
	}
	return claims
}

// baseRef returns the reference of the money that tiers look at.
func (n *linter) baseRef(on string) (int, bool) {
	name, ok := map[string]string{charge.Recharge: "amount", charge.Usage: "charged"}[on]
	if !ok {
		return 0, false
	}
	v, err := vocabulary{n.loader, n.schemas[on]}.ofEvent([]string{name}, nil)
	return n.refOf(v), err == nil
}

func (n *linter) atLeast(ref int, a money.Amount) when.Atom {
	return when.Atom{Ref: ref, Type: when.Number, Op: when.GreaterEqual, Values: []charge.Value{charge.NumberValue(n.book.plan.Currency.Decimal(a))}}
}

// refOf returns the reference of a variable, which no condition may ask for:
// then it is a negative one that only lint knows.
func (n *linter) refOf(v variable) int {
	if i, ok := n.interned[v]; ok {
		return reference(i, false)
	}
	i := slices.Index(n.unasked, v)
	if i < 0 {
		i = len(n.unasked)
		n.unasked = append(n.unasked, v)
	}
	return -2 * (i + 1)
}

func (n *linter) variableOf(ref int) *variable {
	if ref < 0 {
		return &n.unasked[-ref/2-1]
	}
	return &n.book.variables[ref>>1]
}

// segmentClaims is what a segment asks for, with what the segments ask for that
// it asks for.
type segmentClaims struct {
	claims []claim
	known  bool
	whole  bool // nothing was left out
	dead   bool // nobody can be in it
}

// claimsMax bounds what is known of one segment.
const claimsMax = 64

// segment returns what a segment asks for.
func (n *linter) segment(i int) *segmentClaims {
	s := &n.segments[i]
	if s.known {
		return s
	}
	s.known, s.whole = true, true
	for _, c := range n.claimsOf(n.book.segments[i].when) {
		s.claims = append(s.claims, c)
		if inner, _ := n.asksSegment(c, when.True); inner >= 0 {
			part := n.segment(inner)
			s.claims, s.whole = append(s.claims, part.claims...), s.whole && part.whole
		}
	}
	if len(s.claims) > claimsMax {
		s.claims, s.whole = s.claims[:claimsMax], false
	}
	g := n.newRegion(nil)
	for _, c := range s.claims {
		s.dead = s.dead || c.simple && !g.add(c.atom)
	}
	return s
}

// asksSegment returns the segment that the claim asks for, with that answer, and
// the side; -1 if it asks for none.
func (n *linter) asksSegment(c claim, answer when.Op) (index, side int) {
	if !c.simple || c.atom.Op != answer || c.atom.Ref < 0 {
		return -1, 0
	}
	if v := n.variableOf(c.atom.Ref); v.source == fromSegment {
		return v.index, c.atom.Ref & 1
	}
	return -1, 0
}

// onSide returns a segment's claim as it is on one side of the event.
func (c claim) onSide(side int) claim {
	if side == 1 {
		c.canonical = "before " + c.canonical
		c.atom.Ref |= side
	}
	return c
}

// region is what several claims together leave possible.
type region struct {
	*linter
	schema  *charge.Schema
	reaches map[int]*reach
	asked   map[string]bool // the conditions, as Canonical writes them
}

func (n *linter) newRegion(schema *charge.Schema) *region {
	return &region{linter: n, schema: schema, reaches: map[int]*reach{}, asked: map[string]bool{}}
}

// reach returns what a variable may be.
func (g *region) reach(ref int) *reach {
	r := g.reaches[ref]
	if r == nil {
		domain := g.domain(ref)
		r = &domain
		g.reaches[ref] = r
	}
	return r
}

// add takes a condition into the region, and reports whether anything is left.
func (g *region) add(a when.Atom) bool {
	r := g.reach(a.Ref)
	r.add(a)
	return !r.empty()
}

// always reports whether a claim holds whatever comes.
func (g *region) always(c claim) bool {
	if !c.simple {
		return false
	}
	r := g.domain(c.atom.Ref)
	return r.implies(c.atom)
}

// conflict is why claims leave nothing.
type conflict struct {
	conjunct  int // the one to blame
	why, hint string
}

// contradiction takes the claims into the region, and returns why they leave
// nothing; nil if they leave something, or nobody knows.
func (g *region) contradiction(claims []claim) *conflict {
	for i, c := range claims {
		parts := g.expand(c)
		for j, part := range parts {
			if part.canonical != "" {
				g.asked[part.canonical] = true
			}
			if !part.simple {
				continue
			}
			if !g.add(part.atom) {
				found := g.conflict(g.before(claims[:i], parts[:j]), part)
				found.conjunct = c.conjunct
				return found
			}
		}
		if i, _ := g.asksSegment(c, when.True); i >= 0 && g.segment(i).dead {
			return &conflict{c.conjunct, "nobody can be in the segment " + g.drafts[i].key, "change the segment"}
		}
	}
	for _, c := range claims {
		if i, side := g.asksSegment(c, when.False); i >= 0 && g.coversSegment(i, side) {
			return &conflict{c.conjunct, "whoever the rest of the condition lets through is in the segment " + g.drafts[i].key, "change one of the two"}
		}
	}
	return nil
}

// before returns what the region was told, of claims and of the parts of one more.
func (g *region) before(claims, parts []claim) []claim {
	var told []claim
	for _, c := range claims {
		told = append(told, g.expand(c)...)
	}
	told = append(told, parts...)
	return slices.DeleteFunc(told, func(c claim) bool { return !c.simple })
}

// expand returns a claim and, if it asks for a segment, what that asks for.
func (g *region) expand(c claim) []claim {
	parts := []claim{c}
	i, side := g.asksSegment(c, when.True)
	if i < 0 || g.segment(i).dead {
		return parts
	}
	for _, inner := range g.segment(i).claims {
		inner = inner.onSide(side)
		inner.via = c.text
		parts = append(parts, inner)
	}
	return parts
}

// conflict says with what the last claim is at odds.
func (g *region) conflict(before []claim, last claim) *conflict {
	r := g.domain(last.atom.Ref)
	if r.add(last.atom); r.empty() {
		return &conflict{why: fmt.Sprintf("%s is never true, %s", last.text, g.bounds(last.atom)), hint: "change it"}
	}
	for _, c := range before {
		if c.atom.Ref != last.atom.Ref {
			continue
		}
		r := g.domain(last.atom.Ref)
		r.add(c.atom)
		if r.add(last.atom); r.empty() {
			return &conflict{why: strings.TrimSuffix(fmt.Sprintf("%s contradicts %s", last, c), ","), hint: instead(c, last)}
		}
	}
	return &conflict{why: fmt.Sprintf("%s contradicts the rest of what it asks of %s", last, last.atom.Name), hint: "change one of them"}
}

// instead says how to write two claims of which either may be meant.
func instead(a, b claim) string {
	const change = "change one of the two"
	switch {
	case a.via != "" || b.via != "" || a.conjunct == frameClaim:
	case a.atom.Op == when.Equal && b.atom.Op == when.Equal && a.atom.Values[0].Kind == b.atom.Values[0].Kind:
		return fmt.Sprintf("%s, or write %s in [%s, %s] for either", change, a.atom.Name, literal(a.atom.Values[0]), literal(b.atom.Values[0]))
	case when.Less <= min(a.atom.Op, b.atom.Op) && max(a.atom.Op, b.atom.Op) <= when.GreaterEqual:
		return change + ", or write || between them for either"
	}
	return change
}

// literal writes a text or a number as a condition does.
func literal(v charge.Value) string {
	if v.Kind == charge.Text {
		return strconv.Quote(v.Text)
	}
	return v.Decimal().String()
}

// covers reports whether everything within the region meets all of the claims,
// for sure.
func (g *region) covers(claims []claim, side int) bool {
	for _, c := range claims {
		if g.steps--; g.steps < 0 || !g.meets(c.onSide(side)) {
			return false
		}
	}
	return true
}

func (g *region) meets(c claim) bool {
	if c.canonical != "" && g.asked[c.canonical] {
		return true
	}
	if !c.simple {
		return false
	}
	r := g.reaches[c.atom.Ref]
	if r == nil {
		r = new(reach)
		*r = g.domain(c.atom.Ref)
	}
	g.steps -= len(r.only) * len(c.atom.Values) / 8 // Comparing lists takes its time.
	if r.implies(c.atom) {
		return true
	}
	i, side := g.asksSegment(c, when.True)
	return i >= 0 && g.coversSegment(i, side)
}

// coversSegment reports whether everybody within the region is in the segment,
// for sure.
func (g *region) coversSegment(i, side int) bool {
	s := g.segment(i)
	return s.whole && g.covers(s.claims, side)
}
