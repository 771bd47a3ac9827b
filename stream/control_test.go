package stream

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"time"

	"recharged/rules"
	"recharged/rules/sample"
	"recharged/state/charge"
)

func book(t testing.TB, source []byte) *rules.Book {
	t.Helper()
	b, problems := rules.Load(rules.File{Name: "book.yaml", Data: source})
	if b == nil {
		t.Fatal(problems)
	}
	return b
}

func change(t testing.TB, old, with string) []byte {
	t.Helper()
	changed := bytes.Replace(sample.Rulebook, []byte(old), []byte(with), 1)
	if bytes.Equal(changed, sample.Rulebook) {
		t.Fatalf("the sample rulebook has no %q", old)
	}
	return changed
}

func TestARulebookTakesEffectForWhatComesAfterIt(t *testing.T) {
	dir := t.TempDir()
	p := startProcessor(t, dir, nil)
	recharges(t, p, "before", 1)
	half := book(t, change(t, "percent: 100", "percent: 50"))
	e, err := p.Publish(t.Context(), half, "amina", 1)
	if err != nil || e.Version != 2 {
		t.Fatalf("publish: %+v, %v", e, err)
	}
	if _, err := p.Publish(t.Context(), half, "karim", 1); !errors.Is(err, ErrOutdated) {
		t.Errorf("publish over version 1: %v", err)
	}
	recharges(t, p, "after", 1)
	for id := range charge.Partition(2) {
		if got := total(t, p, customerOf(t, id), "bonus"); got != 35000+17500 {
			t.Errorf("partition %d: bonus %d, want %d", id, got, 35000+17500)
		}
		m, _ := charge.ParseMSISDN(fmt.Sprintf("213770%06d", customerOf(t, id)))
		entries, err := p.Timeline(t.Context(), m, "", 10)
		if err != nil || len(entries) != 2 || entries[0].Outcome.Rulebook != 2 || entries[1].Outcome.Rulebook != 1 {
			t.Errorf("timeline %+v, %v", entries, err)
		}
	}
	if _, err := p.Publish(t.Context(), book(t, change(t, "percent: 100", "percent: 60")), "amina", 2); err != nil {
		t.Fatal(err)
	}
	p.Stop(t.Context())

	// The text of a start is published only when it is new.
	given := func(o *Options) { o.Rulebook = []rules.File{{Name: "given.yaml", Data: half.Source()}} }
	p = startProcessor(t, dir, given)
	if _, version := p.Book(); version != 3 {
		t.Errorf("version %d after a start with an old text, want 3", version)
	}
}

func TestABalanceThatIsHeldCannotBeTakenAway(t *testing.T) {
	p := startProcessor(t, t.TempDir(), nil)
	source := bytes.ReplaceAll(sample.Rulebook, []byte("bonus"), []byte("gift"))
	if _, err := p.Publish(t.Context(), book(t, source), "", 0); err != nil {
		t.Fatalf("nobody holds a bonus yet: %v", err)
	}
	recharges(t, p, "a", 1)
	_, err := p.Publish(t.Context(), book(t, sample.Rulebook), "", 0)
	if !errors.Is(err, ErrHeld) {
		t.Fatalf("publish without the balance gift: %v", err)
	}
	t.Logf("it says: %v", err)
	if _, version := p.Book(); version != 2 {
		t.Errorf("version %d, want 2", version)
	}
}

func TestParkedEventsAreRetriedAndDiscarded(t *testing.T) {
	p := startProcessor(t, t.TempDir(), nil)
	old := time.Now().Add(-72 * time.Hour).UTC().Format(time.RFC3339)
	for _, id := range []string{"late-1", "late-2"} {
		send(t, p, fmt.Sprintf(`{"specversion":"1.0","id":%q,"source":"/t","type":"recharge","subject":"213770000001","time":%q,"data":{"amount":100}}`, id, old))
	}
	settled(t, p)
	parked, err := p.Parked("", 10)
	if err != nil || len(parked) != 2 || parked[0].Reason != charge.TooLate {
		t.Fatalf("parked %+v, %v", parked, err)
	}
	if _, err := p.Publish(t.Context(), book(t, change(t, "lateness: 48h", "lateness: 96h")), "", 0); err != nil {
		t.Fatal(err)
	}
	for i := range parked {
		order := p.RetryParked
		if i == 1 {
			order = p.DiscardParked
		}
		if err := order(t.Context(), ParkedID(&parked[i])); err != nil {
			t.Fatal(err)
		}
	}
	settled(t, p)
	if got := total(t, p, 1, "main"); got != 10000 {
		t.Errorf("main %d, want the 10000 of one of the two", got)
	}
	if left, err := p.Parked("", 10); err != nil || len(left) != 0 {
		t.Errorf("still parked: %+v, %v", left, err)
	}
	if err := p.RetryParked(t.Context(), ParkedID(&parked[0])); !errors.Is(err, ErrNotParked) {
		t.Errorf("retry again: %v", err)
	}
	if !imbalanceIsZero(p) {
		t.Error("the ledger does not balance")
	}
}

func TestWhatExpiresIsPostedWithoutAnyEvent(t *testing.T) {
	p := startProcessor(t, t.TempDir(), func(o *Options) {
		o.DefaultRulebook = change(t, "percent: 100, validity: 7d", "percent: 100, validity: 2s")
	})
	recharges(t, p, "a", 1)
	m, _ := charge.ParseMSISDN(fmt.Sprintf("213770%06d", customerOf(t, 0)))
	waitFor(t, "the bonus to expire", func() bool {
		entries, err := p.Timeline(t.Context(), m, "", 1)
		return err == nil && len(entries) == 1 && entries[0].Outcome.Type == charge.ExpiryType
	})
	entries, err := p.Timeline(t.Context(), m, "", 1)
	if err != nil {
		t.Fatal(err)
	}
	postings := entries[0].Outcome.Postings
	if len(postings) != 1 || postings[0].Amount != -35000 || postings[0].Account != charge.AccountExpiry || postings[0].After != 0 {
		t.Errorf("postings %+v", postings)
	}
	if !imbalanceIsZero(p) {
		t.Error("the ledger does not balance")
	}
}
