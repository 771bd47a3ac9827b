package stream

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"recharged/rules/sample"
)

// One backtest runs at a time, the last are kept, and one that runs ends with
// the processor or when somebody cancels it.
func TestBacktestsAreKeptAndCancelled(t *testing.T) {
	p := startProcessor(t, t.TempDir(), nil)
	for i := range 50 {
		send(t, p, "["+rechargeJSON(fmt.Sprint("r", i), i, "350")+"]")
	}
	settled(t, p)
	draft := book(t, sample.Rulebook)
	start := func() string {
		id, err := p.StartBacktest(draft, 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	ended := func(id string) (b Backtest) {
		waitFor(t, "the backtest to end", func() bool {
			var err error
			if b, err = p.Backtest(id); err != nil {
				t.Fatal(err)
			}
			return b.State != BacktestRunning
		})
		return b
	}
	first := start()
	if _, err := p.StartBacktest(draft, 0, 0); !errors.Is(err, ErrBacktestRunning) {
		t.Errorf("a second one beside it: %v", err)
	}
	if b := ended(first); b.State != BacktestDone || b.Result.Events != 50 || b.Result.Difference.Units[0].Change != "0.00" ||
		b.Progress() != 1 || b.Events != 50 || b.Records != b.Total || b.Rest() != 0 || b.Rate() == 0 {
		t.Errorf("the first: %+v", b)
	}
	cancelled := start()
	if err := p.CancelBacktest(cancelled); err != nil {
		t.Fatal(err)
	}
	if b := ended(cancelled); b.State != BacktestCancelled || b.Result != nil || b.Error != "" {
		t.Errorf("the cancelled one: %+v", b)
	}
	for range backtestsMax {
		ended(start())
	}
	if _, err := p.Backtest(first); !errors.Is(err, ErrNoBacktest) || len(p.Backtests()) != backtestsMax {
		t.Errorf("%d are kept, the first too: %v", len(p.Backtests()), err)
	}
	last := start()
	p.Stop(context.Background())
	if b, err := p.Backtest(last); err != nil || b.State == BacktestRunning || b.State == BacktestFailed {
		t.Errorf("the one that ran: %+v, %v", b, err)
	}
	if _, err := p.StartBacktest(draft, 0, 0); err == nil {
		t.Error("one was started while the processor stops")
	}
}

// A backtest that takes too much memory fails, and says so.
func TestABacktestIsBounded(t *testing.T) {
	p := startProcessor(t, t.TempDir(), func(o *Options) { o.BacktestBytes = 1 })
	send(t, p, "["+rechargeJSON("r", 1, "350")+"]")
	settled(t, p)
	id, err := p.StartBacktest(book(t, sample.Rulebook), 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the backtest to fail", func() bool {
		b, err := p.Backtest(id)
		return err == nil && b.State == BacktestFailed && b.Error != ""
	})
}
