package rules

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"recharged/rules/when"
	"recharged/state/charge"
)

// What lint says of a book is about books that load: nothing in it gives what
// was not meant to be given, but its author may have meant something else. It
// concludes from conditions on one variable and a constant alone, and is silent
// where it is not sure.

// lintStepsMax bounds how many conditions are compared with each other. A group
// of thousands of rules would need many times more; what lies beyond is not
// looked at.
const lintStepsMax = 500_000

// linter is one pass over a book that loads.
type linter struct {
	*loader
	nodes    map[string]*node // of the rules, by name
	unasked  []variable       // that lint asks about and no condition does
	segments []segmentClaims
	steps    int // comparisons left
}

// lint warns of what loads and is hardly meant.
func (l *loader) lint() { l.linter().run() }

func (l *loader) linter() *linter {
	n := &linter{loader: l, nodes: map[string]*node{}, segments: make([]segmentClaims, len(l.drafts)), steps: lintStepsMax}
	if rules := l.doc.root.get("rules"); rules != nil {
		for _, item := range rules.items {
			n.nodes[item.get("name").text] = item
		}
	}
	return n
}

func (n *linter) run() {
	n.unused()
	n.tags()
	n.conditions()
	for _, r := range n.book.rules {
		n.limitsOf(r)
	}
	n.languages()
	n.messages()
	n.costs()
}

// unused warns of what was declared and is not used.
func (n *linter) unused() {
	for i := range n.drafts {
		if d := &n.drafts[i]; !d.used {
			n.warnf(d.place, "leave it out, or ask for customer.in(\""+d.key+"\")", "no rule and no segment uses the segment %s", d.key)
		}
	}
	for _, c := range n.book.plan.Counters {
		if !n.usedCounters[c.Name] {
			n.warnf(n.places["counter "+c.Name], "leave it out: it costs memory for every customer", "nothing uses the counter %s", c.Name)
		}
	}
	for _, t := range n.allTemplates {
		if !t.used {
			n.warnf(t.place, "leave it out, or send it by - notify: {template: "+t.name+"}", "no rule uses the template %s", t.name)
		}
	}
}

// tags warns of tags that are asked for and that no rule puts on. A tag may
// stand on customers since an older book; nobody gets it any more.
func (n *linter) tags() {
	given := map[string]bool{}
	for _, r := range n.book.rules {
		for _, t := range r.tags {
			given[t.Name] = given[t.Name] || !t.Off
		}
	}
	maps.DeleteFunc(given, func(_ string, put bool) bool { return !put })
	names := slices.Sorted(maps.Keys(given))
	for i := range n.book.variables {
		v := &n.book.variables[i]
		if v.source != fromTag || given[v.name] {
			continue
		}
		at, hint := place{}, ""
		if n.shown[Warning] < problemsMax { // Else nobody sees them.
			at, hint = n.whereAsked(i), cmp.Or(nearestHint(v.name, names), "add - tag: "+v.name+" to a rule")
		}
		n.warnf(at, hint, "no rule puts the tag %s on a customer", v.name)
	}
}

// whereAsked returns the place of the first condition that asks for a variable,
// on whichever side.
func (n *linter) whereAsked(index int) place {
	asks := func(x *when.Expression) bool {
		return slices.ContainsFunc(x.Refs(), func(ref int) bool { return ref>>1 == index })
	}
	for i := range n.drafts {
		if x := n.book.segments[i].when; asks(x) {
			return conjunctPlace(n.drafts[i].value, x, asks)
		}
	}
	for _, r := range n.book.rules {
		if r.when != nil && asks(r.when) {
			return conjunctPlace(n.nodes[r.Name].get("when"), r.when, asks)
		}
	}
	return n.doc.top // Of a base or a text: its place is nowhere in particular.
}

// conjunctPlace returns where the first conjunct begins of which is is true.
func conjunctPlace(at *node, x *when.Expression, is func(*when.Expression) bool) place {
	i := slices.IndexFunc(x.Conjuncts(), is)
	return at.locate(conjunctOffsets(x)[max(i, 0)])
}

// conjunctOffsets returns where in the condition's text its conjuncts begin.
// Between two of them stand only parentheses, && and blanks.
func conjunctOffsets(x *when.Expression) []int {
	source, from := x.Source(), 0
	parts := x.Conjuncts()
	offsets := make([]int, len(parts))
	for i, part := range parts {
		text := part.Source()
		if at := strings.Index(source[from:], text); at >= 0 {
			offsets[i] = from + at
			from = offsets[i] + len(text)
		}
	}
	return offsets
}

// conditions looks at what segments and rules ask for.
func (n *linter) conditions() {
	for i := range n.drafts {
		d := &n.drafts[i]
		n.judge(judged{what: "nobody can be in the segment " + d.key, at: d.value, when: n.book.segments[i].when}, nil)
	}
	rivals := map[rivalry][]*contender{}
	for _, r := range n.book.rules {
		item, schema := n.nodes[r.Name], n.schemas[r.On]
		claims := slices.Clip(n.frame(r, schema))
		region := n.judge(judged{what: "rule " + r.Name + " can never apply", at: item.get("when"), when: r.when, schema: schema}, claims)
		if region == nil {
			continue
		}
		n.unreachedTiers(r, region)
		if r.group < 0 || r.On == "" {
			continue // Timers fire one rule at a time.
		}
		key := rivalry{r.group, r.On}
		c := &contender{rule: r, region: region, claims: append(claims, n.claimsOf(r.when)...)}
		if !n.beaten(c, rivals[key]) && steadfast(r) {
			rivals[key] = append(rivals[key], c)
		}
	}
}

// judged is a condition that is judged, and what to say if it never holds.
type judged struct {
	what   string
	at     *node // nil without a condition
	when   *when.Expression
	schema *charge.Schema // nil: of a segment, or of a timer
}

// judge warns of a condition that never holds and of parts of it that always
// do, and returns what it leaves possible beside what is claimed already; nil
// if that is nothing.
func (n *linter) judge(s judged, claims []claim) *region {
	g := n.newRegion(s.schema)
	own := n.claimsOf(s.when)
	for _, c := range own {
		if g.always(c) {
			n.warnf(s.at.locate(conjunctOffsets(s.when)[c.conjunct]), "leave it out", "%s is always true, %s", c.text, g.bounds(c.atom))
		}
	}
	found := g.contradiction(append(claims, own...))
	if found == nil {
		return g
	}
	at := s.at.place
	if found.conjunct != frameClaim {
		at = s.at.locate(conjunctOffsets(s.when)[found.conjunct])
	}
	n.warnf(at, found.hint, "%s: %s", s.what, found.why)
	return nil
}

// unreachedTiers warns of tiers that the rule's condition leaves no amount for.
func (n *linter) unreachedTiers(r *rule, g *region) {
	tiers := n.nodes[r.Name].get("tiers")
	base, ok := n.baseRef(r.On)
	if tiers == nil || !ok {
		return
	}
	reach := g.reach(base)
	for _, item := range tiers.items {
		from := n.amount(item.get("from"), n.book.plan.Currency)
		i := slices.IndexFunc(r.tiers, func(t tier) bool { return t.from == from })
		above := *reach
		above.add(n.atLeast(base, from))
		next := i+1 < len(r.tiers) && reach.implies(n.atLeast(base, r.tiers[i+1].from))
		if next || above.empty() {
			n.warnf(item.get("from").place, "leave the tier out, or change the condition", "no amount that rule %s applies to falls into the tier from %s",
				r.Name, n.book.plan.Currency.Short(from))
		}
	}
}
