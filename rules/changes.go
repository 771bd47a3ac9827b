package rules

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// Changes tells a reader what is different in the new book, one difference a
// line: "rule double-300: percent 100 → 50", "rule friday added". The old book
// may be nil.
func Changes(old, new *Book) []string {
	var before []described
	if old != nil {
		before = old.document.describe()
	}
	gone := make(map[string]*described, len(before))
	for i := range before {
		gone[before[i].name] = &before[i]
	}
	var lines []string
	for _, d := range new.document.describe() {
		if was := gone[d.name]; was != nil {
			lines = append(lines, was.compare(d)...)
		} else {
			lines = append(lines, d.name+" added")
		}
		delete(gone, d.name)
	}
	for _, d := range before {
		if gone[d.name] != nil {
			lines = append(lines, d.name+" removed")
		}
	}
	return lines
}

// described is a part of a rulebook that has a name, as a list of facts.
type described struct {
	name  string // "rule double-300", "balance main", "currency"
	facts []fact
}

// fact is a key of a described thing, all that is nested flattened, and its
// value as it was written.
type fact struct{ key, value string }

// compare lists what is different in d.
func (was *described) compare(d described) []string {
	var lines []string
	for _, f := range d.facts {
		value, had := was.value(f.key)
		switch {
		case !had:
			lines = append(lines, d.line(f.key, brief(f.value)+" added"))
		case value != f.value:
			lines = append(lines, d.line(f.key, brief(value)+" → "+brief(f.value)))
		}
	}
	for _, f := range was.facts {
		if _, has := d.value(f.key); !has {
			lines = append(lines, was.line(f.key, brief(f.value)+" removed"))
		}
	}
	return lines
}

// line writes a difference; what has no keys of its own has an empty one.
func (d *described) line(key, change string) string {
	return d.name + ": " + strings.TrimSpace(key+" "+change)
}

func (d *described) value(key string) (string, bool) {
	for _, f := range d.facts {
		if f.key == key {
			return f.value, true
		}
	}
	return "", false
}

// singular is what one entry of a section is called.
var singular = map[string]string{
	"balances": "balance", "tariffs": "tariff", "counters": "counter", "segments": "segment", "templates": "template",
	"types": "type",
}

// describe takes the document apart.
func (d *document) describe() []described {
	var all []described
	for _, section := range d.root.entries {
		one, ofMany := singular[section.key]
		switch {
		case section.key == "rules":
			for _, r := range section.value.items {
				all = append(all, describeRule(r))
			}
		case ofMany:
			for _, e := range section.value.entries {
				all = append(all, described{one + " " + e.key, flatten(nil, "", e.value)})
			}
		default:
			all = append(all, described{section.key, flatten(nil, "", section.value)})
		}
	}
	return all
}

func describeRule(n *node) described {
	d := described{name: "rule " + n.get("name").text}
	for _, e := range n.entries {
		switch e.key {
		case "name":
		case "then":
			d.facts = flattenActions(d.facts, e.value)
		case "limits":
			d.facts = flattenLimits(d.facts, e.value)
		default:
			d.facts = flatten(d.facts, e.key, e.value)
		}
	}
	return d
}

// flattenLimits describes what bounds a rule, as "limit per day 1 → 2".
func flattenLimits(facts []fact, limits *node) []fact {
	for _, e := range limits.entries {
		if e.key != "per_customer" {
			facts = flatten(facts, e.key, e.value)
			continue
		}
		for _, item := range e.value.items {
			facts = flatten(facts, "limit per "+item.get("per").text, item.get("count"))
		}
	}
	return facts
}

// flattenActions describes what a rule does. The first action of a kind needs
// no name before its keys, so that a reader reads "percent 100 → 50".
func flattenActions(facts []fact, then *node) []fact {
	seen := map[string]int{}
	for _, item := range then.items {
		for _, action := range item.entries {
			seen[action.key]++
			switch nth := seen[action.key]; {
			case nth > 1:
				facts = flatten(facts, action.key+" "+strconv.Itoa(nth), action.value)
			case action.value.shape == mapping:
				facts = flatten(facts, "", action.value)
			default:
				facts = flatten(facts, action.key, action.value)
			}
		}
	}
	return facts
}

// flatten lists the scalars under a node. A list of scalars is one value.
func flatten(facts []fact, key string, n *node) []fact {
	switch n.shape {
	case mapping:
		for _, e := range n.entries {
			facts = flatten(facts, strings.TrimSpace(key+" "+e.key), e.value)
		}
		return facts
	case list:
		var values []string
		for i, item := range n.items {
			if item.shape != scalar {
				facts = flatten(facts, key+" "+strconv.Itoa(i+1), item)
				continue
			}
			values = append(values, item.text)
		}
		if values == nil {
			return facts
		}
		return append(facts, fact{key, "[" + strings.Join(values, ", ") + "]"})
	}
	return append(facts, fact{key, n.text})
}

// briefMax is how much of a long text a change shows, in characters.
const briefMax = 80

// brief writes a text on one line and not too long.
func brief(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if utf8.RuneCountInString(s) <= briefMax {
		return s
	}
	return string([]rune(s)[:briefMax]) + "…"
}
