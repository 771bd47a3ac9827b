package stream

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"recharged/rules/sample"
	"recharged/state/charge"
	"recharged/stream/accept"
)

// start runs a processor on a folder; the test stops it at its end at the latest.
func startProcessor(t testing.TB, dir string, change func(*Options)) *Processor {
	t.Helper()
	opts := Options{
		Dir: dir, Partitions: 2, CacheBytes: 1, DiskReserveBytes: 1,
		DefaultRulebook: sample.Rulebook, Version: "test",
		Logger: slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelWarn})),
	}
	if change != nil {
		change(&opts)
	}
	p, err := Start(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Stop(context.Background()) })
	waitFor(t, "the processor to have caught up", func() bool { return p.caughtUp.Load() })
	return p
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(line []byte) (int, error) {
	w.t.Logf("%s", line)
	return len(line), nil
}

// waitFor polls where nothing can be waited for; a minute is failure.
func waitFor(t testing.TB, what string, done func() bool) {
	t.Helper()
	for begin := time.Now(); !done(); time.Sleep(time.Millisecond) {
		if time.Since(begin) > time.Minute {
			t.Fatalf("waited a minute for %s", what)
		}
	}
}

func send(t testing.TB, p *Processor, events string) accept.Verdict {
	t.Helper()
	b := p.Gateway().NewBatch()
	b.Decode(accept.JSON, []byte(events))
	verdict, err := p.Gateway().Accept(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	return verdict
}

func settled(t testing.TB, p *Processor) {
	t.Helper()
	waitFor(t, "everything accepted to take effect", func() bool {
		for _, s := range p.Status().Partitions {
			if s.Lag > 0 {
				return false
			}
		}
		return true
	})
}

func rechargeJSON(id string, msisdn int, amount string) string {
	return fmt.Sprintf(`{"specversion":"1.0","id":%q,"source":"/test","type":"recharge","subject":"213770%06d","time":%q,"data":{"amount":%s,"channel":"app"}}`,
		id, msisdn, time.Now().UTC().Format(time.RFC3339Nano), amount)
}

func total(t testing.TB, p *Processor, msisdn int, balance string) int64 {
	t.Helper()
	m, err := charge.ParseMSISDN(fmt.Sprintf("213770%06d", msisdn))
	if err != nil {
		t.Fatal(err)
	}
	c, _, err := p.Customer(m)
	if err != nil {
		t.Fatal(err)
	}
	return int64(c.Total(balance, charge.Instant(time.Now().UnixNano())))
}

func TestARechargeIsDoubledOnceAndSurvivesARestart(t *testing.T) {
	dir := t.TempDir()
	p := startProcessor(t, dir, nil)
	event := rechargeJSON("a", 1, "350")
	for range 3 {
		if v := send(t, p, event); v.Accepted != 1 {
			t.Fatalf("verdict %+v", v)
		}
	}
	settled(t, p)
	check := func() {
		t.Helper()
		if main, bonus := total(t, p, 1, "main"), total(t, p, 1, "bonus"); main != 35000 || bonus != 35000 {
			t.Fatalf("main %d, bonus %d; want 35000 each", main, bonus)
		}
	}
	check()
	p.Stop(context.Background())
	p = startProcessor(t, dir, nil)
	check()
	send(t, p, event)
	settled(t, p)
	check()
	m, _ := charge.ParseMSISDN("213770000001")
	entries, err := p.Timeline(t.Context(), m, "", 10)
	if err != nil {
		t.Fatal(err)
	}
	results := ""
	for _, e := range entries {
		results += e.Outcome.Result.String() + " "
	}
	if results != "duplicate duplicate duplicate applied " {
		t.Errorf("timeline: %s", results)
	}
}
