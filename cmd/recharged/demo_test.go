package main

import (
	"encoding/json"
	"log/slog"
	"testing"
	"time"

	"recharged/rules"
	"recharged/rules/sample"
	"recharged/state/charge"
)

// TestDemoEventsAreAccepted reads what the demonstration sends as the door does,
// and looks for the kinds of event that there is something to see of.
func TestDemoEventsAreAccepted(t *testing.T) {
	book, problems := rules.Load(rules.File{Name: "sample", Data: sample.Rulebook})
	if book == nil {
		t.Fatal(problems)
	}
	now := time.Now()
	body, err := json.Marshal(newDemo(nil, 50, now, slog.New(slog.DiscardHandler)).events(5000, now))
	if err != nil {
		t.Fatal(err)
	}
	again, err := json.Marshal(newDemo(nil, 50, now, slog.New(slog.DiscardHandler)).events(5000, now))
	if err != nil || string(again) != string(body) {
		t.Error("the same seed gives other events")
	}
	types, ids, customers := map[string]int{}, map[string]bool{}, map[charge.MSISDN]bool{}
	fault := charge.NewDecoder(book.Catalog()).Batch(body, func(i int, e charge.Event, r *charge.Rejection) {
		if r != nil {
			t.Errorf("event %d: %v", i, r)
		}
		if len(e.MSISDN.String()) != len("213770123456") || ids[e.ID] {
			t.Errorf("event %d: customer %s, id %s", i, e.MSISDN, e.ID)
		}
		types[e.Type]++
		ids[e.ID], customers[e.MSISDN] = true, true
	})
	if fault != nil {
		t.Fatal(fault)
	}
	for _, kind := range []string{charge.Recharge, charge.Usage, charge.Profile, charge.Contact, charge.Grievance, charge.Survey} {
		if types[kind] == 0 {
			t.Errorf("no %s among %v", kind, types)
		}
	}
	if n := len(customers); n < 200 || n > demoCustomers {
		t.Errorf("%d customers", n)
	}
}
