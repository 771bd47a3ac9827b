package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"

	"recharged/cmd/recharged/api"
	"recharged/rules"
	"recharged/stream/backtest"
)

type backtestCommand struct {
	serverFlags
	Rulebook []string `required:"" help:"The draft: a file, several, or a folder." placeholder:"DRAFT"`
	From     string   `help:"Count what was accepted from then on: 2026-11-01, or 2026-11-01T18:00:00+01:00. Without it: from the beginning." placeholder:"TIME"`
	To       string   `help:"Count what was accepted before then. Without it: all there is." placeholder:"TIME"`
}

// Help has the example.
func (*backtestCommand) Help() string {
	return example(
		"recharged backtest --rulebook draft.yaml",
		"recharged backtest --rulebook draft.yaml --from 2026-11-01 --to 2026-11-08 --output json",
	) + `

The server judges everything once more, by the draft and by the rulebooks that were in force, and compares:
what the draft costs, whom it reaches, what changes. Customers do in it what they did. It changes nothing.`
}

// backtestAskEvery is how often the server is asked how far it is.
const backtestAskEvery = 200 * time.Millisecond

// Run has the server replay, waits, and shows what came of it.
func (c *backtestCommand) Run(s *session) error {
	order, err := c.order(s)
	if err != nil {
		return err
	}
	client, err := c.client()
	if err != nil {
		return err
	}
	body, err := json.Marshal(order)
	if err != nil {
		return fmt.Errorf("write the order: %w", err)
	}
	var started api.BacktestStarted
	call := request{method: http.MethodPost, path: "/v1/backtests", header: map[string]string{"Content-Type": "application/json"}, body: body}
	if err := client.call(s.ctx, call, &started); err != nil {
		return err
	}
	raw, b, err := client.awaitBacktest(s, started.ID)
	switch {
	case err != nil:
		return err
	case b.State != "done":
		return &exitError{exitNo, strings.TrimSuffix(fmt.Sprintf("the backtest has %s: %s", b.State, b.Error), ": ")}
	case s.json:
		return printJSON(s.stdout, raw)
	}
	for _, part := range backtestParts(b.Result) {
		if err := table(s.stdout, part...); err != nil {
			return err
		}
	}
	return nil
}

// order checks the draft and the window.
func (c *backtestCommand) order(s *session) (*api.BacktestOrder, error) {
	files, err := readRulebook(c.Rulebook...)
	if err != nil {
		return nil, err
	}
	book, problems := rules.Load(files...)
	if book == nil {
		if _, err := fmt.Fprint(s.stderr, problemLines(api.DescribeProblems(problems))); err != nil {
			return nil, err
		}
		return nil, &exitError{exitNo, "not replayed: the draft has errors"}
	}
	order := &api.BacktestOrder{Rulebook: string(book.Source())}
	for _, end := range []struct {
		flag, text string
		at         **time.Time
	}{{"--from", c.From, &order.From}, {"--to", c.To, &order.To}} {
		if end.text == "" {
			continue
		}
		at, err := parseMoment(end.text, book.Plan().Location)
		if err != nil {
			return nil, usagef("%s %q is no time such as 2026-11-01 or 2026-11-01T18:00:00+01:00", end.flag, end.text)
		}
		*end.at = &at
	}
	return order, nil
}

// parseMoment reads a time; one without an offset is by the clock of the
// rulebook.
func parseMoment(text string, location *time.Location) (time.Time, error) {
	at, err := time.Parse(time.RFC3339Nano, text)
	for _, layout := range []string{time.DateOnly, "2006-01-02T15:04", "2006-01-02 15:04", time.DateTime} {
		if err != nil {
			at, err = time.ParseInLocation(layout, text, location)
		}
	}
	return at, err
}

// awaitBacktest waits until a backtest has ended. An interrupt cancels it.
func (c *client) awaitBacktest(s *session, id string) (raw json.RawMessage, b *api.Backtest, err error) {
	var bar *progressbar.ProgressBar
	if isTerminal(s.stderr) {
		bar = progressbar.NewOptions64(progressSteps, progressbar.OptionSetWriter(s.stderr), progressbar.OptionSetDescription("replaying"),
			progressbar.OptionSetPredictTime(true), progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionClearOnFinish())
		defer func() { _ = bar.Finish() }() // It is decoration.
	}
	ticker := time.NewTicker(backtestAskEvery)
	defer ticker.Stop()
	for {
		err := c.get(s.ctx, "/v1/backtests/"+id, nil, &raw)
		if s.ctx.Err() != nil {
			return nil, nil, c.cancelBacktest(s, id)
		}
		if err != nil {
			return nil, nil, err
		}
		b = &api.Backtest{}
		if err := json.Unmarshal(raw, b); err != nil {
			return nil, nil, fmt.Errorf("read the backtest: %w", err)
		}
		if b.State != "running" {
			return raw, b, nil
		}
		if bar != nil {
			bar.Describe(fmt.Sprintf("replaying, %.0f events/s", b.Rate))
			_ = bar.Set64(int64(b.Progress * progressSteps))
		}
		select {
		case <-s.ctx.Done():
			return nil, nil, c.cancelBacktest(s, id)
		case <-ticker.C:
		}
	}
}

const progressSteps = 10_000

// cancelBacktest tells the server that nobody waits any more.
func (c *client) cancelBacktest(s *session, id string) error {
	err := c.call(context.WithoutCancel(s.ctx), request{method: http.MethodDelete, path: "/v1/backtests/" + id}, nil)
	return errors.Join(&exitError{exitNo, "interrupted: the backtest is cancelled"}, err)
}

// backtestParts are the tables of a result: what it comes to, what changes, rule
// by rule, who gets how much, day by day.
func backtestParts(r *backtest.Result) [][]string {
	if r.Events == 0 {
		return [][]string{{"In this time nothing was accepted."}}
	}
	head := []string{fmt.Sprintf("Events: %d, customers: %d, accepted from %s to %s", r.Events, r.Customers, localTime(r.From), localTime(r.To))}
	parts := [][]string{head, backtestSums(r), backtestChanges(r), backtestRules(r)}
	if len(r.Gifts) > 0 {
		parts = append(parts, backtestGifts(r))
	}
	return append(parts, backtestDays(r))
}

// backtestSums compares the two sides in total.
func backtestSums(r *backtest.Result) []string {
	d := &r.Difference
	lines := []string{"", "in total\tlive\tdraft\tchange"}
	for _, u := range d.Units {
		lines = append(lines, fmt.Sprintf("given, %s\t%s\t%s\t%s", u.Unit, u.Live, u.Draft, signed(u.Change)))
	}
	count := func(name string, draft uint64, change int64) {
		lines = append(lines, fmt.Sprintf("%s\t%d\t%d\t%+d", name, int64(draft)-change, draft, change))
	}
	count("customers reached", r.Reached, d.Reached)
	count("notifications", r.Notifications, d.Notifications)
	count("short messages", r.SMSParts, d.SMSParts)
	if r.Parked > 0 || d.Parked != 0 {
		count("events parked", r.Parked, d.Parked)
	}
	return lines
}

// backtestChanges says how many customers would get more and how many less.
func backtestChanges(r *backtest.Result) []string {
	lines := []string{"", "customers\tget more\twho got nothing\tget less\twho get nothing now"}
	for _, u := range r.Difference.Units {
		if c := &u.Changed; c.More+c.Less > 0 {
			lines = append(lines, fmt.Sprintf("%s\t%d\t%d\t%d\t%d", u.Unit, c.More, c.New, c.Less, c.Lose))
		}
	}
	if len(lines) == 2 {
		return []string{"", "Nobody would get more or less."}
	}
	return lines
}

// backtestRules shows the rules of both sides.
func backtestRules(r *backtest.Result) []string {
	lines := []string{"", "rule\tapplied\tgives\tcustomers\tagainst live\tpassed over\tbudget"}
	rules := map[string]*backtest.Rule{}
	for i := range r.Rules {
		rules[r.Rules[i].Name] = &r.Rules[i]
	}
	for i := range r.Difference.Rules {
		d := &r.Difference.Rules[i]
		rule := rules[d.Name]
		if rule == nil {
			lines = append(lines, fmt.Sprintf("%s\t\t\t\t%s\tnot in the draft", d.Name, againstLive(d)))
			continue
		}
		lines = append(lines, strings.TrimRight(strings.Join([]string{
			rule.Name, fmt.Sprint(rule.Results["applied"]), amounts(rule.Credited, strings.Clone), fmt.Sprint(rule.Customers),
			againstLive(d), skippedOver(rule), budgetText(rule.Budget),
		}, "\t"), "\t"))
	}
	return lines
}

// againstLive says what a rule does otherwise.
func againstLive(d *backtest.RuleDifference) string {
	if d.Only == "draft" {
		return "new"
	}
	text := amounts(d.Credited, signed)
	if d.Applied != 0 {
		text = strings.TrimPrefix(fmt.Sprintf("%s, %+d times", text, d.Applied), ", ")
	}
	if text == "" {
		return "same"
	}
	return text
}

// amounts writes amounts by balance, but for those that are nothing.
func amounts(of map[string]string, write func(string) string) string {
	var texts []string
	for _, balance := range slices.Sorted(maps.Keys(of)) {
		if !isZero(of[balance]) {
			texts = append(texts, write(of[balance])+" "+balance)
		}
	}
	return strings.Join(texts, ", ")
}

// skippedOver says why a rule that matched was not applied, and how often.
func skippedOver(rule *backtest.Rule) string {
	var texts []string
	for _, reason := range slices.Sorted(maps.Keys(rule.Results)) {
		if n := rule.Results[reason]; reason != "applied" {
			texts = append(texts, fmt.Sprintf("%s %.1f %%", reason, 100*float64(n)/float64(rule.Matches)))
		}
	}
	return strings.Join(texts, ", ")
}

func budgetText(b *backtest.Spending) string {
	switch {
	case b == nil:
		return ""
	case b.Exhausted != "":
		return fmt.Sprintf("exhausted %s, %s of %s left", localTime(b.Exhausted), b.Left, b.Total)
	}
	return fmt.Sprintf("%s of %s left", b.Left, b.Total)
}

// winnersShown is how many winners the table has; the JSON has them all.
const winnersShown = 5

// backtestGifts shows how much customers get.
func backtestGifts(r *backtest.Result) []string {
	lines := []string{"", "who gets\tcustomers\thalf get up to\t95 % get up to\tmost\twinners"}
	for _, g := range r.Gifts {
		var winners []string
		for _, w := range g.Winners[:min(len(g.Winners), winnersShown)] {
			winners = append(winners, w.MSISDN+" "+w.Amount)
		}
		lines = append(lines, fmt.Sprintf("%s\t%d\t%s\t%s\t%s\t%s", g.Unit, g.Customers, g.Half, g.Most, g.Max, strings.Join(winners, ", ")))
	}
	return lines
}

// backtestDays shows what each day costs.
func backtestDays(r *backtest.Result) []string {
	head := "day\tevents"
	for _, u := range r.Difference.Units {
		head += fmt.Sprintf("\t%s, live\tdraft", u.Unit)
	}
	lines := []string{"", head}
	for _, d := range r.Days {
		line := fmt.Sprintf("%s\t%d", d.Day, d.Events)
		for _, u := range r.Difference.Units {
			line += "\t" + orNothing(d.Live[u.Unit]) + "\t" + orNothing(d.Cost[u.Unit])
		}
		lines = append(lines, line)
	}
	return lines
}

func orNothing(amount string) string {
	if amount == "" {
		return "-"
	}
	return amount
}
