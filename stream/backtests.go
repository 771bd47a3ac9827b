package stream

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"recharged/rules"
	"recharged/state/charge"
	"recharged/stream/backtest"
	"recharged/stream/journal"
)

// BacktestState is how far a backtest has come.
type BacktestState string

// The states of a backtest. All but the first are final.
const (
	BacktestRunning   BacktestState = "running"
	BacktestDone      BacktestState = "done"
	BacktestFailed    BacktestState = "failed"
	BacktestCancelled BacktestState = "cancelled"
)

// Errors of the backtests.
var (
	ErrBacktestRunning = errors.New("a backtest is running already: wait until it is done, or cancel it")
	ErrNoBacktest      = errors.New("there is no such backtest; the last 16 are kept until the program stops")
	ErrStopping        = errors.New("the processor stops")
)

// backtestsMax is how many backtests are kept, the one that runs included.
const backtestsMax = 16

// backtests are the backtests of this process. One runs at a time: it takes as
// much memory and of the cores as the live partitions can spare, not twice.
type backtests struct {
	mu      sync.Mutex     // guards the rest
	all     []*backtestRun // the oldest first
	closed  bool
	running sync.WaitGroup
}

// backtestRun is one backtest.
type backtestRun struct {
	id       string
	digest   string // of the draft
	from, to charge.Instant
	begun    time.Time
	progress backtest.Progress
	cancel   context.CancelCauseFunc

	// Guarded by backtests.mu.
	state  BacktestState
	ended  time.Time
	err    error
	result *backtest.Result
}

// Backtest is how a backtest is doing.
type Backtest struct {
	ID       string
	State    BacktestState
	Draft    string // the digest of its rulebook
	From, To charge.Instant
	Begun    time.Time
	Ended    time.Time // zero: it runs

	Records, Total uint64 // that were replayed, and that are to be
	Events         uint64 // in those that were
	Error          string // why it failed
	Result         *backtest.Result
}

// errCancelled is why a backtest ends that somebody has cancelled.
var errCancelled = errors.New("cancelled")

// StartBacktest begins to replay the logs under a draft of the rulebook, off the
// live path, and returns its id. What was accepted from one instant up to another
// counts; zero: from the beginning, up to now. It refuses a draft that could not
// be published, and a second backtest while one runs.
func (p *Processor) StartBacktest(draft *rules.Book, from, to charge.Instant) (id string, err error) {
	if err := p.CheckHeld(draft); err != nil {
		return "", err
	}
	b := &p.backtests
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return "", ErrStopping
	}
	if slices.ContainsFunc(b.all, func(r *backtestRun) bool { return r.state == BacktestRunning }) {
		return "", ErrBacktestRunning
	}
	if len(b.all) == backtestsMax {
		b.all = b.all[1:]
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	r := &backtestRun{
		id: strings.ToLower(rand.Text()[:12]), digest: draft.Digest(), from: from, to: to,
		begun: time.Now(), cancel: cancel, state: BacktestRunning,
	}
	b.all = append(b.all, r)
	b.running.Go(func() {
		defer cancel(nil)
		result, err := p.backtest(ctx, r, draft)
		if cause := context.Cause(ctx); err != nil && cause != nil {
			err = cause // Not what of it broke off.
		}
		b.end(r, result, err)
		p.logger.Info("backtest ended", "id", r.id, "state", r.state, "records", r.progress.Done.Load(),
			"took", time.Since(r.begun).Round(time.Millisecond), "reason", err)
	})
	p.logger.Info("backtest started", "id", r.id, "draft", r.digest)
	return r.id, nil
}

// end notes what came of a backtest.
func (b *backtests) end(r *backtestRun, result *backtest.Result, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	r.ended, r.result, r.err = time.Now(), result, err
	switch {
	case errors.Is(err, errCancelled), errors.Is(err, ErrStopping):
		r.state = BacktestCancelled
	case err != nil:
		r.state = BacktestFailed
	default:
		r.state = BacktestDone
	}
}

// backtest runs a backtest, on a connection of its own.
func (p *Processor) backtest(ctx context.Context, r *backtestRun, draft *rules.Book) (*backtest.Result, error) {
	for _, o := range p.owners {
		if h := o.standing.health.Load(); h.State == Halted {
			return nil, fmt.Errorf("partition %d is halted, so its log is not to be trusted: %s", o.id, h.Reason)
		}
	}
	core, err := p.connectCore()
	if err != nil {
		return nil, err
	}
	defer core.Close()
	logs, err := journal.Open(ctx, core, journal.Options{Partitions: p.opts.Partitions, Replicas: p.opts.Replicas, Logger: p.logger})
	if err != nil {
		return nil, err
	}
	opts := backtest.Options{
		Draft: draft, Version: p.shelf.newest.Load().Version + 1, Compile: p.compile,
		OutcomeBytesMax: turnBytes(int(core.MaxPayload())),
		From:            r.from, To: r.to, BytesMax: p.opts.BacktestBytes, Progress: &r.progress, Yield: p.giveWay(),
	}
	for id := range charge.Partition(p.opts.Partitions) {
		opts.Logs = append(opts.Logs, logs.EventLog(id))
	}
	return backtest.Run(ctx, opts)
}

// How a backtest gives way: while live events have come within courtesySpan it
// pauses after each of its pieces of work, several times as long as that took. So
// a core is free for them in time, and what waits on the network is looked after,
// which the runtime else does every 10 ms only when all cores are busy. Pauses of
// 1 ms let it replay three times as fast beside live events, and let these take
// four times as long at the median.
const (
	courtesySpan  = time.Second
	courtesyPause = 5 * time.Millisecond
)

// giveWay returns what both sides of a backtest call between two pieces of work.
func (p *Processor) giveWay() func() {
	var ended, last atomic.Int64 // how many live events had ended when it was looked last, and when there were new ones
	return func() {
		now, events := time.Now().UnixNano(), int64(0)
		for _, o := range p.owners {
			events += int64(o.standing.events.Load())
		}
		if ended.Swap(events) != events {
			last.Store(now)
		}
		if time.Duration(now-last.Load()) < courtesySpan {
			time.Sleep(courtesyPause)
		} else {
			runtime.Gosched()
		}
	}
}

// connectCore makes another connection to the logs.
func (p *Processor) connectCore() (*nats.Conn, error) {
	if p.server != nil {
		return p.server.Core()
	}
	return connectExternal(p.opts.NATSURL, p.opts.NATSCredentials, journal.ConnectOptions("recharged backtest", p.logger)...)
}

// close cancels what runs, and waits for it. Nothing is started any more.
func (b *backtests) close() {
	b.mu.Lock()
	b.closed = true
	for _, r := range b.all {
		r.cancel(ErrStopping)
	}
	b.mu.Unlock()
	b.running.Wait()
}

// Backtests returns the backtests of this process, newest first, without their
// results.
func (p *Processor) Backtests() []Backtest {
	b := &p.backtests
	b.mu.Lock()
	defer b.mu.Unlock()
	list := make([]Backtest, 0, len(b.all))
	for _, r := range slices.Backward(b.all) {
		shown := r.describe()
		shown.Result = nil
		list = append(list, shown)
	}
	return list
}

// Backtest returns a backtest, or ErrNoBacktest.
func (p *Processor) Backtest(id string) (Backtest, error) {
	b := &p.backtests
	b.mu.Lock()
	defer b.mu.Unlock()
	r, err := b.find(id)
	if err != nil {
		return Backtest{}, err
	}
	return r.describe(), nil
}

// CancelBacktest ends a backtest, if it runs still, or returns ErrNoBacktest. It
// does not wait until it has ended.
func (p *Processor) CancelBacktest(id string) error {
	b := &p.backtests
	b.mu.Lock()
	defer b.mu.Unlock()
	r, err := b.find(id)
	if err == nil {
		r.cancel(errCancelled)
	}
	return err
}

func (b *backtests) find(id string) (*backtestRun, error) {
	for _, r := range b.all {
		if r.id == id {
			return r, nil
		}
	}
	return nil, ErrNoBacktest
}

// describe shows a backtest. The lock is held.
func (r *backtestRun) describe() Backtest {
	shown := Backtest{
		ID: r.id, State: r.state, Draft: r.digest, From: r.from, To: r.to, Begun: r.begun, Ended: r.ended,
		Records: r.progress.Done.Load(), Total: r.progress.Total.Load(), Events: r.progress.Events.Load(), Result: r.result,
	}
	if r.state == BacktestFailed {
		shown.Error = r.err.Error()
	}
	return shown
}

// Progress is the share of the work that is done, from 0 to 1.
func (b *Backtest) Progress() float64 {
	switch {
	case b.State == BacktestDone:
		return 1
	case b.Total == 0:
		return 0
	}
	return float64(b.Records) / float64(b.Total)
}

// Rate is how many events are replayed a second.
func (b *Backtest) Rate() float64 {
	return float64(b.Events) / max(b.took().Seconds(), 1e-3)
}

// Rest is for how long it goes on at this rate; zero if nobody knows.
func (b *Backtest) Rest() time.Duration {
	if b.State != BacktestRunning || b.Records == 0 {
		return 0
	}
	return time.Duration(float64(b.took()) * float64(b.Total-b.Records) / float64(b.Records))
}

func (b *Backtest) took() time.Duration {
	if b.Ended.IsZero() {
		return time.Since(b.Begun)
	}
	return b.Ended.Sub(b.Begun)
}

// turnBytes is what a turn may come to, estimated, where records may be that
// large.
func turnBytes(payload int) int { return min(turnBytesMax, payload/turnPayloadShare) }
