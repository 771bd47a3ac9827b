package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"recharged/cmd/recharged/api"
	"recharged/rules"
)

type rulesCommand struct {
	serverFlags
}

// Help has the example.
func (*rulesCommand) Help() string { return example("recharged rules") }

// Run shows what the rules have done.
func (c *rulesCommand) Run(s *session) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	var stats struct {
		Rules []api.RuleStat `json:"rules"`
	}
	if err := client.get(s.ctx, "/v1/rules/stats", nil, &stats); err != nil {
		return err
	}
	if s.json {
		return printJSON(s.stdout, stats)
	}
	lines := []string{"rule\tapplied\tpassed over\tcredited\tbudget left\trecharged since, by customer"}
	for i := range stats.Rules {
		r := &stats.Rules[i]
		lines = append(lines, strings.Join([]string{
			ruleTitle(r), fmt.Sprint(r.Results["applied"]), skipped(r.Results), byName(r.Credited), budgetLeft(r.Budget), arms(r.Holdout),
		}, "\t"))
	}
	return table(s.stdout, lines...)
}

func ruleTitle(r *api.RuleStat) string {
	if r.Suspended {
		return r.Name + " (suspended)"
	}
	return r.Name
}

// skipped lists why a rule that matched did not apply, and how often.
func skipped(results map[string]uint64) string {
	var parts []string
	for _, reason := range slices.Sorted(maps.Keys(results)) {
		if reason != "applied" {
			parts = append(parts, fmt.Sprintf("%s %d", reason, results[reason]))
		}
	}
	return strings.Join(parts, ", ")
}

func byName(amounts map[string]string) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(amounts)) {
		parts = append(parts, name+" "+amounts[name])
	}
	return strings.Join(parts, ", ")
}

func budgetLeft(b *api.Budget) string {
	if b == nil {
		return ""
	}
	return fmt.Sprintf("%s of %s %s", b.Remaining, b.Total, b.Unit)
}

// arms shows both arms of a holdout as what is to be compared.
func arms(h *api.Holdout) string {
	if h == nil {
		return ""
	}
	text := fmt.Sprintf("treated %s of %d, held out %s of %d",
		cmp.Or(h.Treated.Average, "-"), h.Treated.Customers, cmp.Or(h.Holdout.Average, "-"), h.Holdout.Customers)
	if h.Uplift != "" {
		text += ": uplift " + h.Uplift
	}
	return text
}

type rulebookSchemaCommand struct{}

// Help has the example.
func (*rulebookSchemaCommand) Help() string {
	return example("recharged rulebook schema > rulebook.schema.json")
}

// Run prints the JSON Schema of a rulebook.
func (*rulebookSchemaCommand) Run(s *session) error {
	_, err := s.stdout.Write(rules.Schema())
	return err
}
