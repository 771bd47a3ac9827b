package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"

	"recharged/cmd/recharged/api"
	"recharged/state/charge"
)

type explainCommand struct {
	serverFlags
	MSISDN string   `arg:"" name:"msisdn" help:"The customer's number."`
	Event  []string `arg:"" optional:"" name:"event" help:"File with the event as JSON, - for stdin; with --type, its data as name=value."`
	Type   string   `help:"Type of the event, instead of a file." placeholder:"TYPE"`
	Time   string   `help:"When the event happened, as 2026-11-20T18:30:00+01:00. Without it: now." placeholder:"TIME"`
	Past   string   `help:"Id of an event that happened, instead of a file." placeholder:"ID"`
	Source string   `help:"Source of the event." placeholder:"SOURCE"`
}

// Help has the example.
func (*explainCommand) Help() string {
	return example(
		"recharged explain 213770123456 event.json",
		"recharged explain 213770123456 --type recharge amount=200 channel=app",
		"recharged explain 213770123456 --past 3f1c-20261120-000123",
	) + `

Tells of each rule whether it would apply to the event and why not; with --past, whether it did. It changes nothing.`
}

// Run asks the server, and shows its answer.
func (c *explainCommand) Run(s *session) error {
	question, err := c.question(s.stdin)
	if err != nil {
		return err
	}
	body, err := json.Marshal(question)
	if err != nil {
		return fmt.Errorf("write the question: %w", err)
	}
	client, err := c.client()
	if err != nil {
		return err
	}
	var raw json.RawMessage
	call := request{method: http.MethodPost, path: "/v1/explain", header: map[string]string{"Content-Type": "application/json"}, body: body}
	if err := client.call(s.ctx, call, &raw); err != nil {
		return err
	}
	if s.json {
		return printJSON(s.stdout, raw)
	}
	var answer api.Explanation
	if err := json.Unmarshal(raw, &answer); err != nil {
		return fmt.Errorf("read the explanation: %w", err)
	}
	for _, part := range explanationParts(&answer) {
		if err := table(s.stdout, part...); err != nil {
			return err
		}
	}
	return nil
}

// question is what the command line asks.
func (c *explainCommand) question(stdin io.Reader) (*api.Question, error) {
	q := &api.Question{MSISDN: c.MSISDN}
	switch {
	case c.Past != "" && (c.Type != "" || c.Time != "" || len(c.Event) > 0):
		return nil, usagef("--past names an event that happened: leave --type, --time and the event out")
	case c.Past != "":
		q.Past = &api.PastEvent{ID: c.Past, Source: c.Source}
		return q, nil
	case c.Type != "":
		event, err := c.drafted()
		q.Event = event
		return q, err
	case c.Time != "" || c.Source != "":
		return nil, usagef("--time and --source go with --type or --past: a file says them itself")
	case len(c.Event) != 1:
		return nil, usagef("name one file with the event, - for stdin; or --type recharge amount=200; or --past ID")
	case c.Event[0] == "-":
		event, err := io.ReadAll(io.LimitReader(stdin, charge.EventBytesMax+1))
		if err != nil {
			return nil, fmt.Errorf("read the event: %w", err)
		}
		q.Event = event
	default:
		event, err := os.ReadFile(c.Event[0])
		if err != nil {
			return nil, usagef("%v", err)
		}
		q.Event = event
	}
	if !json.Valid(q.Event) {
		return nil, &exitError{exitNo, "the event is not valid JSON"}
	}
	return q, nil
}

// drafted makes an event of the flags and of the arguments, name=value.
func (c *explainCommand) drafted() (json.RawMessage, error) {
	texts := textFields(c.Type)
	data := map[string]any{}
	for _, arg := range c.Event {
		name, value, given := strings.Cut(arg, "=")
		if !given || name == "" {
			return nil, usagef("%q is not name=value", arg)
		}
		if _, twice := data[name]; twice {
			return nil, usagef("%s is given twice", name)
		}
		data[name] = value
		if raw := json.RawMessage(value); !slices.Contains(texts, name) && json.Valid(raw) {
			data[name] = raw
		}
	}
	event := map[string]any{"type": c.Type, "data": data}
	if c.Time != "" {
		event["time"] = c.Time
	}
	if c.Source != "" {
		event["source"] = c.Source
	}
	return json.Marshal(event)
}

// textFields are the fields of a built-in event type that are text even if what
// is in them looks like a number.
func textFields(eventType string) []string {
	var names []string
	for _, schema := range charge.BuiltinSchemas() {
		for _, f := range schema.Fields {
			text := f.Kind == charge.TextField || f.Kind == charge.CurrencyField || f.Kind == charge.ServiceField
			if schema.Type == eventType && text {
				names = append(names, f.Name)
			}
		}
	}
	return names
}

// explanationParts are the tables of an explanation: what the event comes to,
// the rules, and what is posted and said.
func explanationParts(x *api.Explanation) [][]string {
	would, posted := "would be", "would be posted"
	if x.Past {
		would, posted = "was", "posted"
	}
	head := []string{
		fmt.Sprintf("%s %s of %s at %s %s %s by rulebook %d", x.Event.Type, x.Event.ID, x.MSISDN, localTime(x.Event.Time), would, x.Result, x.Rulebook),
	}
	if x.Reason != "" || x.Detail != "" {
		head = append(head, strings.TrimPrefix(x.Reason+": "+x.Detail, ": "))
	}
	if x.Doubt != "" {
		head = append(head, "only the record is shown: "+x.Doubt)
	}
	parts := [][]string{head}
	if rules := ruleLines(x.Rules); len(rules) > 0 {
		parts = append(parts, append([]string{"", "rule\tverdict\twhy"}, rules...))
	}
	if len(x.Postings) > 0 {
		lines := []string{"", posted + "\tamount\tafter\texpires\twhy"}
		for _, p := range x.Postings {
			expires := ""
			if p.Expires != "" {
				expires = localTime(p.Expires)
			}
			amount := strings.TrimSpace(signed(p.Amount) + " " + x.Balances[p.Balance].Unit)
			lines = append(lines, strings.Join([]string{p.Balance, amount, p.After, expires, p.Cause}, "\t"))
		}
		if !isZero(x.Shortfall) {
			lines = append(lines, "not covered\t"+x.Shortfall)
		}
		parts = append(parts, lines)
	}
	var said []string
	for _, m := range x.Messages {
		said = append(said, fmt.Sprintf("%s by %s:\t%s", m.Channel, m.Rule, m.Text))
	}
	for _, a := range x.Alerts {
		said = append(said, fmt.Sprintf("%s alert by %s:\t%s", a.Severity, a.Rule, a.Summary))
	}
	if len(said) > 0 {
		parts = append(parts, append([]string{""}, said...))
	}
	return parts
}

// ruleLines shows the rules: what applies, what was passed over, what does not
// match, and in one line how many are of other event types.
func ruleLines(rules []api.RuleExplanation) []string {
	lines := map[string][]string{}
	others, types := 0, []string{}
	for i := range rules {
		r := &rules[i]
		if r.Reason == "type" && r.On != "" {
			others++
			types = append(types, r.On)
			continue
		}
		verdict := verdictOf(r)
		lines[verdict] = append(lines[verdict], r.Name+"\t"+verdict+"\t"+r.Detail)
	}
	all := slices.Concat(lines[applies], lines[passedOver], lines[noMatch], lines[waits])
	if others > 0 {
		slices.Sort(types)
		all = append(all, fmt.Sprintf("%d more\t%s\tanother event type: %s", others, noMatch, strings.Join(slices.Compact(types), ", ")))
	}
	return all
}

// The verdicts on rules as they are shown.
const (
	applies    = "applies"
	passedOver = "passed over"
	noMatch    = "no match"
	waits      = "waits"
)

func verdictOf(r *api.RuleExplanation) string {
	switch {
	case r.Applies:
		return applies
	case r.Reason == "type":
		return waits
	case r.Reason == "schedule" || r.Reason == "tiers" || r.Reason == "condition":
		return noMatch
	}
	return passedOver
}
