package rules

import (
	"fmt"
	"regexp"
	"strings"

	"recharged/rules/when"
)

// manyRulesMin is how many rules an event type must have before it matters that
// one of them is asked at every event.
const manyRulesMin = 100

// costs warns of rules that the index leaves to be asked at every event of
// their type, because no part of their condition is one variable beside
// constants: of each of them if there are many rules, or if asking is dear.
func (n *linter) costs() {
	many := map[string]int{}
	for _, r := range n.book.rules {
		many[r.On]++
	}
	for _, r := range n.book.rules {
		if r.On == "" || r.when == nil || r.schedule != nil || n.nodes[r.Name].get("tiers") != nil || served(r.when) {
			continue
		}
		parts := r.when.Conjuncts()
		for i, part := range parts {
			why := whyUnserved(part)
			if why.dear || many[r.On] >= manyRulesMin {
				at := n.nodes[r.Name].get("when").locate(conjunctOffsets(r.when)[i])
				n.warnf(at, why.hint, "rule %s is asked at every %s: the index cannot answer %s, which %s and costs about as much as %d comparisons",
					r.Name, r.On, excerpt(part.Source()), why.reason, why.times)
			}
		}
	}
}

// served reports whether the index answers a part of a condition. It leaves
// alone what stands behind a loop: the loop may fail first.
func served(x *when.Expression) bool {
	for _, part := range x.Conjuncts() {
		if _, ok := part.Atom(); ok {
			return true
		}
		if _, bounded := part.Steps(); !bounded {
			return false
		}
	}
	return false
}

// unserved is why the index cannot answer a condition, and what it costs to ask
// it, in comparisons of a variable with a constant. BenchmarkCondition measures
// that.
type unserved struct {
	reason, hint string
	times        int
	dear         bool
}

var (
	quoted     = regexp.MustCompile(`"(\\.|[^"\\])*"|'(\\.|[^'\\])*'`)
	calls      = regexp.MustCompile(`([a-zA-Z_]+)\s*\(`)
	calculates = regexp.MustCompile(`[*/%+]|-\s*[a-z(]|[a-z0-9_)]\s*-`)
)

// listEntriesMax is how many entries the door lets a list have.
const listEntriesMax = 256

// whyUnserved classifies a condition that is no atom by what its text has.
func whyUnserved(x *when.Expression) unserved {
	const narrow = `put a condition such as channel == "app" before it, joined by &&`
	text := quoted.ReplaceAllString(x.Source(), `""`)
	call := ""
	for _, match := range calls.FindAllStringSubmatch(text, -1) {
		if name := match[1]; name == "matches" || call == "" && name != "in" && name != "tagged" && name != "has" {
			call = name
		}
		if call == "matches" {
			break // The dearest.
		}
	}
	steps, bounded := x.Steps()
	switch {
	case call == "matches":
		return unserved{"looks for a pattern", narrow, 5, true}
	case !bounded && call != "":
		return unserved{fmt.Sprintf("goes through a list of up to %d", listEntriesMax), narrow, listEntriesMax / 2, true}
	case !bounded:
		return unserved{fmt.Sprintf("looks into a list of up to %d", listEntriesMax), narrow, listEntriesMax / 16, false}
	case steps > 0 && call != "":
		return unserved{"goes through a list", narrow, 1 + steps/2, steps >= listEntriesMax}
	case call != "":
		return unserved{"calls " + call, narrow, 2, false}
	case strings.Contains(text, "||"):
		return unserved{"asks for one of several things", "make a rule of each side of ||, or " + narrow, 3, false}
	case calculates.MatchString(text):
		return unserved{"calculates", narrow, 5, false}
	}
	return unserved{"compares two values", narrow, 2, false}
}
