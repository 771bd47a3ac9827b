package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"recharged/cmd/recharged/api"
)

type tailCommand struct {
	serverFlags
	What   string `arg:"" optional:"" enum:"all,notifications,alerts,outcomes" default:"all" help:"notifications, alerts or outcomes; all if left out."`
	MSISDN string `name:"msisdn" placeholder:"NUMBER" help:"Only what concerns this customer."`
}

// Help has the example.
func (*tailCommand) Help() string {
	return example("recharged tail notifications", "recharged tail outcomes --output json | jq .postings")
}

// How long to wait between two attempts to follow.
const (
	tailRetryMin = 500 * time.Millisecond
	tailRetryMax = 10 * time.Second
)

// Run follows until it is interrupted. A feed that breaks is followed again;
// one that was never there is an error.
func (c *tailCommand) Run(s *session) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	query := url.Values{"kinds": {"outcome,notification,alert"}}
	if c.What != "all" {
		query.Set("kinds", strings.TrimSuffix(c.What, "s"))
	}
	if c.MSISDN != "" {
		query.Set("msisdn", c.MSISDN)
	}
	wait, followed := tailRetryMin, false
	for {
		began, err := client.follow(s, query)
		var exit *exitError
		switch {
		case s.ctx.Err() != nil:
			return nil
		case !began && !followed, errors.As(err, &exit):
			return asExit(err)
		case began:
			followed, wait = true, tailRetryMin
		}
		fmt.Fprintf(s.stderr, "recharged: the feed ended (%v); following again\n", err)
		if !pause(s.ctx, wait) {
			return nil
		}
		wait = min(2*wait, tailRetryMax)
	}
}

// pause waits; false if ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// errFeedEnded says that the server ended the feed.
var errFeedEnded = errors.New("the server closed it")

// follow prints the feed until it ends, and says whether it began.
func (c *client) follow(s *session, query url.Values) (began bool, err error) {
	answer, err := c.send(s.ctx, request{method: http.MethodGet, path: "/v1/live", query: query})
	if err != nil {
		return false, err
	}
	defer answer.Body.Close()
	lines := bufio.NewReader(answer.Body)
	kind := ""
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			return true, errFeedEnded
		}
		name, value, _ := strings.Cut(strings.TrimRight(line, "\r\n"), ": ")
		switch name {
		case "event":
			kind = value
		case "data":
			if err := s.printItem(kind, value); err != nil {
				return true, &exitError{exitNo, err.Error()} // Nobody reads any more.
			}
		}
	}
}

// printItem prints an item of the feed: as it is, or as a line for people.
func (s *session) printItem(kind, data string) error {
	text := data
	if !s.json {
		text = itemLine(kind, data)
	}
	_, err := fmt.Fprintln(s.stdout, text)
	return err
}

// itemLine shows an item. One that is not understood is shown as it is.
func itemLine(kind, data string) string {
	const clock = "15:04:05"
	now := time.Now().Format(clock)
	var event struct {
		Subject string          `json:"subject"`
		Data    json.RawMessage `json:"data"`
	}
	switch kind {
	case "outcome":
		var o api.Outcome
		if json.Unmarshal([]byte(data), &o) == nil {
			return strings.Join([]string{now, o.MSISDN, outcomeText(&o)}, "  ")
		}
	case "notification":
		var n struct{ Template, Language, Text string }
		if json.Unmarshal([]byte(data), &event) == nil && json.Unmarshal(event.Data, &n) == nil {
			return fmt.Sprintf("%s  %s  ✉ %s", now, event.Subject, n.Text)
		}
	case "alert":
		var a api.Alert
		if json.Unmarshal([]byte(data), &event) == nil && json.Unmarshal(event.Data, &a) == nil {
			return fmt.Sprintf("%s  %s  ! %s: %s", now, strings.ToUpper(a.Severity), a.Name, a.Summary)
		}
	}
	return now + "  " + kind + "  " + data
}

// outcomeText shows an outcome in one line.
func outcomeText(o *api.Outcome) string {
	text := o.Type
	if o.Result != "applied" {
		text += " " + o.Result
	}
	if o.Reason != "" {
		text += ": " + o.Reason
	}
	for _, p := range o.Postings {
		text += "  " + p.Balance + " " + signed(p.Amount)
		if p.Cause != o.Type {
			text += " (" + p.Cause + ")"
		}
	}
	if !isZero(o.Shortfall) {
		text += "  not covered " + o.Shortfall
	}
	return text
}
