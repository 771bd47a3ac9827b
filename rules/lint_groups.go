package rules

import (
	"slices"
	"strings"
)

// rivalry is where rules exclude each other: a group, of one event type.
type rivalry struct {
	group int
	on    string
}

// contender is a rule that may win its group.
type contender struct {
	rule   *rule
	region *region
	claims []claim
}

// beaten warns of a rule whose group is always taken when its turn comes, and
// reports whether it is one. The rivals are the rules before it that take their
// group whenever their condition holds.
func (n *linter) beaten(c *contender, rivals []*contender) bool {
	for _, rival := range rivals {
		if n.steps < 0 {
			return false
		}
		if !rival.rule.schedule.includes(c.rule.schedule) || !c.region.covers(rival.claims, 0) {
			continue
		}
		first := "it comes first by its name"
		if rival.rule.Priority > c.rule.Priority {
			first = "it has the higher priority"
		}
		n.warnf(n.nodes[c.rule.Name].get("name").place, "give it a priority above that of "+rival.rule.Name+", or leave it out",
			"rule %s can never win its group %s: rule %s applies whenever it would, and %s", c.rule.Name, c.rule.Group, rival.rule.Name, first)
		return true
	}
	return false
}

// steadfast reports whether nothing but its condition, its schedule and its
// tiers can keep a rule from applying.
func steadfast(r *rule) bool {
	fails := func(c credit) bool {
		if c.of == nil {
			return false
		}
		operands := c.of.Operands()
		return len(operands) != 1 || operands[0].Name != strings.TrimSpace(c.of.Source())
	}
	return len(r.limits) == 0 && r.Budget == 0 && r.Holdout == 0 && !slices.ContainsFunc(r.credits, fails)
}

// includes reports whether s has all the days and hours of o, for sure. Their
// first and last instants are not compared.
func (s *schedule) includes(o *schedule) bool {
	if s == nil || s.days == everyDay && s.open == 0 && s.close == dayMinutes {
		return true
	}
	return o != nil && s.days&o.days == o.days && (s.open == o.open && s.close == o.close ||
		s.open < s.close && o.open < o.close && s.open <= o.open && o.close <= s.close)
}
