package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"recharged/cmd/recharged/api"
)

type customerCommand struct {
	serverFlags
	MSISDN string `arg:"" name:"msisdn" help:"The customer's number."`
}

// Help has the example.
func (*customerCommand) Help() string { return example("recharged customer 213770123456") }

// Run shows a customer.
func (c *customerCommand) Run(s *session) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	var customer api.Customer
	var raw json.RawMessage
	if err := client.get(s.ctx, "/v1/customers/"+url.PathEscape(c.MSISDN), nil, &raw); err != nil {
		return err
	}
	if s.json {
		return printJSON(s.stdout, raw)
	}
	if err := json.Unmarshal(raw, &customer); err != nil {
		return fmt.Errorf("read the customer: %w", err)
	}
	return table(s.stdout, customerLines(&customer)...)
}

func customerLines(c *api.Customer) []string {
	last := "never"
	if c.LastRecharge != "" {
		last = localTime(c.LastRecharge)
	}
	lines := []string{
		"customer\t" + c.MSISDN,
		fmt.Sprintf("recharges\t%d, last %s", c.Recharges, last),
		fmt.Sprintf("tracking\t%d", c.Tracking),
	}
	list := func(name string, values []string) {
		if len(values) > 0 {
			lines = append(lines, name+"\t"+strings.Join(values, ", "))
		}
	}
	list("segments", c.Segments)
	list("tags", c.Tags)
	lines = append(lines, "", "balance\tamount\texpires")
	for _, name := range slices.Sorted(maps.Keys(c.Balances)) {
		lines = append(lines, balanceLines(name, c.Balances[name])...)
	}
	section := func(name string, values map[string]any) {
		if len(values) == 0 {
			return
		}
		lines = append(lines, "", name)
		for _, key := range slices.Sorted(maps.Keys(values)) {
			lines = append(lines, key+"\t"+showValue(values[key]))
		}
	}
	section("counters", c.Counters)
	section("attributes", c.Attributes)
	return lines
}

// balanceLines shows a balance: its one part on the same line, several below it.
func balanceLines(name string, b api.Balance) []string {
	expires := func(p api.Part) string {
		if p.Expires == "" {
			return "never"
		}
		return localTime(p.Expires)
	}
	total := b.Amount + " " + b.Unit
	switch len(b.Parts) {
	case 0:
		return []string{name + "\t" + total}
	case 1:
		return []string{name + "\t" + total + "\t" + expires(b.Parts[0])}
	}
	lines := []string{name + "\t" + total}
	for _, p := range b.Parts {
		lines = append(lines, "\t  "+p.Amount+"\t"+expires(p))
	}
	return lines
}

func showValue(value any) string {
	switch v := value.(type) {
	case string:
		return v
	case []any:
		texts := make([]string, len(v))
		for i := range v {
			texts[i] = showValue(v[i])
		}
		return strings.Join(texts, ", ")
	}
	text, err := json.Marshal(value)
	if err != nil {
		return "?"
	}
	return string(text)
}

type timelineCommand struct {
	serverFlags
	MSISDN string `arg:"" name:"msisdn" help:"The customer's number."`
	Limit  int    `default:"20" help:"How many events at most."`
	Before string `placeholder:"PLACE" help:"Go on from there: an earlier page ends with it."`
}

// Help has the example.
func (*timelineCommand) Help() string {
	return example("recharged timeline 213770123456 --limit 5")
}

// Run shows a page of a customer's timeline, newest first.
func (c *timelineCommand) Run(s *session) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	var raw json.RawMessage
	query := url.Values{"limit": {strconv.Itoa(c.Limit)}}
	if c.Before != "" {
		query.Set("before", c.Before)
	}
	if err := client.get(s.ctx, "/v1/customers/"+url.PathEscape(c.MSISDN)+"/timeline", query, &raw); err != nil {
		return err
	}
	if s.json {
		return printJSON(s.stdout, raw)
	}
	var page api.Timeline
	if err := json.Unmarshal(raw, &page); err != nil {
		return fmt.Errorf("read the timeline: %w", err)
	}
	var customer api.Customer // for the units
	if err := client.get(s.ctx, "/v1/customers/"+url.PathEscape(c.MSISDN), nil, &customer); err != nil {
		return err
	}
	lines := []string{"time\twhat\tposting\tafter\texpires\twhy"}
	for i := range page.Outcomes {
		lines = append(lines, outcomeLines(&page.Outcomes[i], customer.Balances)...)
	}
	if page.Next != "" {
		lines = append(lines, "", "more with --before "+page.Next)
	}
	return table(s.stdout, lines...)
}

// outcomeLines shows an outcome: its postings one a line, then what else is to
// be said.
func outcomeLines(o *api.Outcome, balances map[string]api.Balance) []string {
	what := o.Type
	if o.Result != "applied" {
		what += ", " + o.Result
	}
	head := localTime(o.Time) + "\t" + what
	var lines []string
	add := func(rest string) {
		lines = append(lines, head+"\t"+rest)
		head = "\t"
	}
	for _, p := range o.Postings {
		unit, expires := balances[p.Balance].Unit, ""
		if p.Expires != "" {
			expires = localTime(p.Expires)
		}
		add(fmt.Sprintf("%s %s %s\t%s\t%s\t%s", p.Balance, signed(p.Amount), unit, p.After, expires, p.Cause))
	}
	remark := func(text string) { add("\t\t\t" + text) }
	if o.Reason != "" {
		remark(o.Reason + ": " + o.Detail)
	}
	if !isZero(o.Shortfall) {
		remark("not covered: " + o.Shortfall)
	}
	for _, r := range o.Rules {
		if r.Result != "applied" {
			remark(r.Name + " passed over: " + strings.TrimSpace(r.Reason+" "+r.Detail))
		}
	}
	if len(lines) == 0 {
		add("")
	}
	return lines
}

// signed writes an amount with its sign.
func signed(amount string) string {
	if strings.HasPrefix(amount, "-") {
		return amount
	}
	return "+" + amount
}

func isZero(amount string) bool { return strings.Trim(amount, "0.") == "" }
