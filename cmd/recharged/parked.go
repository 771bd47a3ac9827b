package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"recharged/cmd/recharged/api"
)

type parkedCommand struct {
	List    parkedListCommand    `cmd:"" default:"withargs" help:"List parked events and why."`
	Retry   parkedRetryCommand   `cmd:"" help:"Have parked events judged again."`
	Discard parkedDiscardCommand `cmd:"" help:"Drop parked events."`
}

// Help has the example.
func (*parkedCommand) Help() string {
	return example("recharged parked", "recharged parked retry 0-123-4")
}

type parkedListCommand struct {
	serverFlags
	Limit  int    `default:"50" help:"How many at most."`
	Before string `placeholder:"ID" help:"Go on from there: an earlier page ends with it."`
}

// Help has the example.
func (*parkedListCommand) Help() string { return example("recharged parked list") }

// Run lists parked events.
func (c *parkedListCommand) Run(s *session) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	query := url.Values{"limit": {strconv.Itoa(c.Limit)}}
	if c.Before != "" {
		query.Set("before", c.Before)
	}
	var raw json.RawMessage
	if err := client.get(s.ctx, "/v1/parked", query, &raw); err != nil {
		return err
	}
	if s.json {
		return printJSON(s.stdout, raw)
	}
	var page struct {
		Parked []api.Parked `json:"parked"`
		Next   string       `json:"next"`
	}
	if err := json.Unmarshal(raw, &page); err != nil {
		return fmt.Errorf("read the parked events: %w", err)
	}
	if len(page.Parked) == 0 {
		_, err = fmt.Fprintln(s.stdout, "no event is parked")
		return err
	}
	lines := []string{"id\tparked\tevent\tcustomer\treason\tdetail"}
	for _, p := range page.Parked {
		lines = append(lines, fmt.Sprintf("%s\t%s\t%s %s\t%s\t%s\t%s", p.ID, localTime(p.At), p.Event.Type, p.Event.ID, p.Event.Subject, p.Reason, p.Detail))
	}
	if page.Next != "" {
		lines = append(lines, "", "more with --before "+page.Next)
	}
	return table(s.stdout, lines...)
}

type parkedRetryCommand struct {
	serverFlags
	IDs []string `arg:"" name:"id" help:"As recharged parked list shows them."`
}

// Help has the example.
func (*parkedRetryCommand) Help() string { return example("recharged parked retry 0-123-4") }

// Run has events judged again.
func (c *parkedRetryCommand) Run(s *session) error {
	return c.order(s, c.IDs, "ordered to be judged again", func(id string) request {
		return request{method: http.MethodPost, path: "/v1/parked/" + url.PathEscape(id) + "/retry"}
	})
}

type parkedDiscardCommand struct {
	serverFlags
	IDs []string `arg:"" name:"id" help:"As recharged parked list shows them."`
}

// Help has the example.
func (*parkedDiscardCommand) Help() string { return example("recharged parked discard 0-123-4") }

// Run drops events.
func (c *parkedDiscardCommand) Run(s *session) error {
	return c.order(s, c.IDs, "ordered to be dropped", func(id string) request {
		return request{method: http.MethodDelete, path: "/v1/parked/" + url.PathEscape(id)}
	})
}

// order gives one order per event and stops at the first that is refused.
func (f *serverFlags) order(s *session, ids []string, done string, call func(id string) request) error {
	client, err := f.client()
	if err != nil {
		return err
	}
	for _, id := range ids {
		if err := client.call(s.ctx, call(id), nil); err != nil {
			return err
		}
		if s.json {
			err = printJSON(s.stdout, map[string]string{"id": id, "state": "ordered"})
		} else {
			_, err = fmt.Fprintf(s.stdout, "%s %s\n", id, done)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
