// Package trial runs the unit tests of rulebooks: stories of customers in YAML,
// told by whoever wrote the rules, played on the machine that judges the real
// events, and compared with what the storyteller expects.
//
// It promises that a test knows no clock but its own and so ends the same way
// every time; that what passes here is what the processor does, because it is
// the same turn.Machine; that a test file is read strictly, every fault with its
// line and column; and that a failure shows what was expected beside what came.
// It refuses to know where files are: its caller reads them.
//
// # The format
//
//	rulebook: rulebook.yaml       # or a list of them; relative to this file
//	tests:
//	  - name: a recharge over 300 is doubled
//	    customer: {attributes: {language: en}, balances: {main: 100}, tags: [vip]}
//	    steps:
//	      - at: 2026-11-20 10:00
//	        event: {type: recharge, amount: 350, channel: app}
//	        expect:
//	          postings: [main +350, bonus +350]
//	          rules: {double-300: applied, friday-tiers: unmatched}
//	      - after: 7d
//	        expect:
//	          postings: [bonus -350 by expiry]
//	    finally: {balances: {main: 450, bonus: 0}}
//
// What an expectation does not mention is not checked; what it mentions must be
// as it says.
//
// A test has a name, steps, what is true of its customer at the first of them
// (customer, or customers, a list), and of the customer at the end (finally, or
// a list of them with an msisdn each). Nobody need be described: a customer of
// whom nothing is said is new, and the number is 213770000001 where none is
// given. A customer may have
//
//	msisdn         "213770000017"
//	attributes     {age: 22, language: fr}
//	balances       {main: 100, data: 500MB, bonus: {amount: 50, until: 2026-12-01}}, or a list of such parts
//	tags           [vip, lapsed]
//	counters       {recharges_7d: 2, spent_30d: 1999.50}: as if it had happened just before the first step
//	recharges      how many there were, ever
//	last_recharge  2026-10-01 09:30
//
// A step happens at a time (at, on the clocks of the rulebook's timezone, or
// with an offset of its own) or after the step before (after: 2h). What falls due
// in between, expiries and rules that wait for silence, happens at its own time.
// Its event has a type and the fields of that type's data, and may have an id, a
// source, an msisdn and a time, if it came later than it happened; counts may be
// written as sizes and durations (units: 10MB). A step without an event lets time
// pass; its msisdn says whom it is about. An event of which a step expects
// something is answered for alone; of a step without one it is everything that
// time did to its customer on the way to that instant. Expected may be
//
//	result         applied, duplicate or parked
//	reason         why it was parked: too_late
//	shortfall      what a usage could not be charged
//	postings       [main +350, bonus +350 by double-300 until 2026-11-27 10:00]; all of them, in any order; by and until may be left out
//	rules          {double-300: applied, friday-tiers: group}, of each rule that is named: applied, why it was passed over
//	               (limit, budget, group, holdout, suspended, error) or unmatched; {} if no rule matched
//	notifications  [{template: doubled, text: "…", language, channel, rule, send_after}], or templates alone; all of them
//	alerts         [{name: recharge-velocity, severity, summary, labels}], or names alone; all of them
//
// and of the customer, there and at the end,
//
//	balances, counters, attributes   those that are named; an attribute without a value is absent
//	tags, segments                   all of them, in any order
//	recharges, tracking              a number
//
// A budget is shared by all customers of a test, and whole at its begin. Which
// customers a holdout passes over depends on their numbers: expect holdout of a
// number, and if it is in the other arm the failure names some that are not.
package trial

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"recharged/rules"
	"recharged/state/charge"
)

// Report is what came of all tests that were run.
type Report struct {
	Tests    []Result    `json:"tests"`
	Coverage []*Coverage `json:"coverage"`
}

// Result is what came of one test.
type Result struct {
	Name     string    `json:"name"`
	File     string    `json:"file"`
	Line     int       `json:"line"`
	Failures []Failure `json:"failures"`
}

// Passed reports whether everything was as expected.
func (r *Result) Passed() bool { return len(r.Failures) == 0 }

// Failure is one expectation that did not come true.
type Failure struct {
	Line int    `json:"line"`
	Step string `json:"step"` // what happened, in words
	Key  string `json:"key"`  // of the expectation
	Diff []Line `json:"diff"`
}

// Coverage tells which rules of a book were applied by at least one test.
type Coverage struct {
	Rulebook string   `json:"rulebook"` // digest
	Applied  []string `json:"applied"`
	Never    []string `json:"never"`
}

// Percent is the share of rules that were applied, rounded down.
func (c *Coverage) Percent() int {
	all := len(c.Applied) + len(c.Never)
	if all == 0 {
		return 100
	}
	return 100 * len(c.Applied) / all
}

// apply notes that a rule was applied.
func (c *Coverage) apply(rule string) {
	if i := slices.Index(c.Never, rule); i >= 0 {
		c.Never = slices.Delete(c.Never, i, i+1)
		c.Applied = append(c.Applied, rule)
		slices.Sort(c.Applied)
	}
}

// coverage returns the report's coverage of a book.
func (r *Report) coverage(book *rules.Book) *Coverage {
	for _, c := range r.Coverage {
		if c.Rulebook == book.Digest() {
			return c
		}
	}
	c := &Coverage{Rulebook: book.Digest(), Applied: []string{}, Never: []string{}}
	for _, rule := range book.Rules() {
		c.Never = append(c.Never, rule.Name)
	}
	slices.Sort(c.Never)
	r.Coverage = append(r.Coverage, c)
	return c
}

// Run plays the tests of a suite whose names the pattern matches, nil for all,
// and adds what came of them.
func (r *Report) Run(s *Suite, only *regexp.Regexp) {
	coverage := r.coverage(s.book)
	for i := range s.tests {
		t := &s.tests[i]
		if only != nil && !only.MatchString(t.name) {
			continue
		}
		p := play{book: s.book, applied: func(o *charge.Outcome) {
			for _, rule := range o.Rules {
				if rule.Verdict == charge.RuleApplied {
					coverage.apply(rule.Name)
				}
			}
		}}
		r.Tests = append(r.Tests, Result{Name: t.name, File: s.file, Line: t.line, Failures: p.test(t)})
	}
}

// Failed counts the tests that failed.
func (r *Report) Failed() int {
	failed := 0
	for i := range r.Tests {
		if !r.Tests[i].Passed() {
			failed++
		}
	}
	return failed
}

// Covered reports whether of every rulebook at least so many percent of the
// rules were applied.
func (r *Report) Covered(percent int) bool {
	return !slices.ContainsFunc(r.Coverage, func(c *Coverage) bool {
		return 100*len(c.Applied) < percent*(len(c.Applied)+len(c.Never))
	})
}

// MarshalJSON writes the report with its sums.
func (r *Report) MarshalJSON() ([]byte, error) {
	type plain Report
	failed := r.Failed()
	return json.Marshal(struct {
		OK     bool `json:"ok"`
		Passed int  `json:"passed"`
		Failed int  `json:"failed"`
		*plain
	}{failed == 0, len(r.Tests) - failed, failed, (*plain)(r)})
}

// Text writes the report for people: failures as differences, sums, and the
// rules that no test applies. With all it names the tests that passed, too.
func (r *Report) Text(all bool) string {
	var b strings.Builder
	for i := range r.Tests {
		t := &r.Tests[i]
		switch {
		case !t.Passed():
			fmt.Fprintf(&b, "FAIL %s:%d: %s\n", t.File, t.Line, t.Name)
		case all:
			fmt.Fprintf(&b, "ok   %s:%d: %s\n", t.File, t.Line, t.Name)
		}
		for i, f := range t.Failures {
			if i == 0 || t.Failures[i-1].Step != f.Step {
				fmt.Fprintf(&b, "  %s\n", f.Step)
			}
			fmt.Fprintf(&b, "    %s:%d: %s\n", t.File, f.Line, f.Key)
			for _, l := range f.Diff {
				fmt.Fprintf(&b, "      %c %s\n", l.Mark, l.Text)
			}
		}
	}
	failed := r.Failed()
	fmt.Fprintf(&b, "%d passed, %d failed\n", len(r.Tests)-failed, failed)
	for _, c := range r.Coverage {
		fmt.Fprintf(&b, "%d of %d rules applied by a test (%d %%)\n", len(c.Applied), len(c.Applied)+len(c.Never), c.Percent())
		if len(c.Never) > 0 {
			fmt.Fprintf(&b, "  never: %s\n", strings.Join(c.Never, ", "))
		}
	}
	return b.String()
}
