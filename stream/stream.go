// Package stream is the processor: it wires the ways in, the logs, the turns,
// the state and the ways out, and runs them.
//
// It promises that an event that was accepted takes effect exactly once,
// whatever dies, and that nothing is said that was not made durable first. It
// refuses to know how people talk to it: that is cmd's business.
package stream

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"

	"recharged/rules"
	"recharged/state"
	"recharged/state/charge"
	"recharged/stream/accept"
	"recharged/stream/emit"
	"recharged/stream/journal"
)

// Options of a Processor. The zero value of a field means its default.
type Options struct {
	// Dir holds the state and, with the embedded server, the logs.
	Dir string

	// NATSListen is the address of the embedded server for clients; empty: none.
	// NATSTLS and Authorize lock it.
	NATSListen string
	NATSTLS    *tls.Config
	Authorize  func(user, password, token string) (journal.Access, bool)

	// NATSURL, when set, is the NATS server or cluster to use instead of the
	// embedded one; NATSCredentials the credentials file for it. Replicas is the
	// number of copies of each log there, default 1; the embedded server has one.
	NATSURL         string
	NATSCredentials string
	Replicas        int

	// NATSPublicURL is the same server as seen by producers and consumers: with
	// the user of another account, which cannot reach the logs. Default: NATSURL.
	NATSPublicURL string

	// Partitions is the number of pairs of logs. It is fixed when the logs are
	// made. Default: the number of cores, 2 to 8.
	Partitions int

	// CacheBytes is the size of the customer cache in memory.
	CacheBytes int

	// Rulebook is published at start if this very text was never published
	// before. DefaultRulebook is published if there is no other.
	Rulebook        []rules.File
	DefaultRulebook []byte

	// Sources are streams of others to read events from.
	Sources []Source

	// Outcomes also puts every outcome on the subject recharged.outcomes.<partition>.
	Outcomes bool

	// OutputAge is for how long the output streams keep messages; default 30 days.
	OutputAge time.Duration

	// BacktestBytes is how much memory a backtest may take, estimated; one that
	// would take more fails. Default 2 GiB.
	BacktestBytes int

	// DiskReserveBytes is how much room must be left on the disk for events to be
	// accepted; default 3 % of it, 32 MiB to 1 GiB.
	DiskReserveBytes uint64

	// Waiting is told why the start has to wait, and nil when it goes on; nil: nobody is.
	Waiting func(reason error)

	Version, Revision string // of this program
	Registry          *prometheus.Registry
	Logger            *slog.Logger
}

// Processor runs all partitions of this process.
type Processor struct {
	opts    Options
	node    string
	logger  *slog.Logger
	metrics *Metrics

	server  *journal.Server // nil with an external NATS
	core    *nats.Conn      // for the logs
	public  *nats.Conn      // for events and outputs; with an external NATS the same
	journal *journal.Journal
	store   *state.Store
	owners  []*owner
	gateway *accept.Gateway
	byNATS  *accept.NATS
	emitter *emit.Emitter
	feed    *emit.Feed
	disk    *diskGuard
	shelf   shelf
	library library

	backtests backtests

	gauges prometheus.Collector // registered while the processor runs

	booked   atomic.Bool // every partition that runs has the newest rulebook in its log
	caughtUp atomic.Bool // what was accepted before the start has taken effect
	mute     atomic.Bool // the ways out have ended
	owed     atomic.Bool // the embedded server was stopped and has not started again
	stopping atomic.Bool
	stopped  chan struct{} // closed when Stop is done
	cancel   context.CancelFunc
	running  sync.WaitGroup // owners, tickers, emitter, sources, disk guard
}

// Start opens everything under opts.Dir and starts to process. When it returns
// the processor accepts events, unless Ready says why not yet.
func Start(ctx context.Context, opts Options) (*Processor, error) {
	p, err := newProcessor(&opts)
	if err != nil {
		return nil, err
	}
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	p.cancel = cancel
	started := context.AfterFunc(ctx, cancel) // until then ctx ends it
	steps := []func(context.Context) error{
		p.openDisk, p.connect, p.openState, p.openShelf, p.startOwners, p.openDoor, p.startEmitter, p.openSources, p.showGauges,
	}
	for _, step := range steps {
		if err := step(run); err != nil {
			p.Stop(run)
			return nil, err
		}
	}
	if !started() {
		p.Stop(run)
		return nil, ctx.Err()
	}
	p.running.Go(func() { p.settle(run) })
	return p, nil
}

func newProcessor(opts *Options) (*Processor, error) {
	if opts.Dir == "" {
		return nil, errors.New("start: no data directory given")
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.Registry == nil {
		opts.Registry = prometheus.NewRegistry()
	}
	if opts.Replicas == 0 {
		opts.Replicas = 1
	}
	host, err := os.Hostname()
	if err != nil {
		host = "node"
	}
	if len(opts.Rulebook) > 0 {
		if book, problems := rules.Load(opts.Rulebook...); book == nil {
			return nil, problems
		}
	}
	p := &Processor{
		opts:    *opts,
		node:    host + "-" + rand.Text()[:8],
		logger:  opts.Logger,
		metrics: newMetrics(opts.Registry),
		feed:    emit.NewFeed(),
		stopped: make(chan struct{}),
	}
	return p, nil
}

// openDisk makes the data directory and waits until there is room in it.
func (p *Processor) openDisk(ctx context.Context) error {
	if err := os.MkdirAll(p.opts.Dir, 0o700); err != nil {
		return fmt.Errorf("make data directory: %w", err)
	}
	p.disk = newDiskGuard(p.opts.Dir, p.opts.DiskReserveBytes, p.logger)
	if full := p.disk.full(); full != nil && p.opts.Waiting != nil {
		p.opts.Waiting(full)
		defer p.opts.Waiting(nil)
	}
	if err := p.disk.waitForRoom(ctx); err != nil {
		return err
	}
	p.running.Go(func() { p.disk.watch(ctx) })
	return nil
}

// connect starts the embedded server, or finds the external one, and opens the
// logs on it.
func (p *Processor) connect(ctx context.Context) error {
	err := p.connectNATS()
	if err != nil {
		return err
	}
	if p.opts.Partitions, err = partitions(ctx, p.core, p.opts.Partitions); err != nil {
		return err
	}
	options := journal.Options{Partitions: p.opts.Partitions, Replicas: p.opts.Replicas, Logger: p.logger}
	if p.server != nil {
		options.Health = p.server.Health
		mend := p.mendServer
		p.disk.mend.Store(&mend)
	}
	p.journal, err = journal.Open(ctx, p.core, options)
	return err
}

// Bounds of the default number of partitions. Few partitions on one machine
// batch best: each frame is a sync of its own.
const (
	partitionsMin = 2
	partitionsMax = 8
)

// partitions returns the number of partitions that the logs were made for, or
// the one to make them for.
func partitions(ctx context.Context, core *nats.Conn, wanted int) (int, error) {
	have, err := journal.Partitions(ctx, core)
	switch {
	case err != nil:
		return 0, err
	case have == 0 && wanted == 0:
		return min(max(runtime.NumCPU(), partitionsMin), partitionsMax), nil
	case have == 0:
		return wanted, nil
	case wanted != 0 && wanted != have:
		return 0, fmt.Errorf("the logs were made for %d partitions and cannot be run with %d: leave the setting out", have, wanted)
	}
	return have, nil
}

func (p *Processor) connectNATS() error {
	if p.opts.NATSURL != "" {
		return p.connectElsewhere()
	}
	server, err := journal.StartServer(journal.ServerOptions{
		Dir:       filepath.Join(p.opts.Dir, "logs"),
		Listen:    p.opts.NATSListen,
		TLS:       p.opts.NATSTLS,
		Authorize: p.opts.Authorize,
		Logger:    p.logger,
	})
	if err != nil {
		return err
	}
	p.server = server
	if p.core, err = server.Core(); err != nil {
		return err
	}
	p.public, err = server.Public()
	return err
}

// mendServer starts the embedded server anew if it gave a log up for want of
// room: it does not try such a log again by itself.
func (p *Processor) mendServer() error {
	if !p.owed.Load() && !errors.Is(p.server.Health(), journal.ErrNoSpace) {
		return nil
	}
	p.logger.Warn("the embedded NATS server ran out of disk space and is started anew")
	p.owed.Store(true)
	if err := p.server.Restart(); err != nil {
		return err
	}
	p.owed.Store(false)
	return nil
}

// connectElsewhere connects to a server that is not the embedded one.
func (p *Processor) connectElsewhere() error {
	options := journal.ConnectOptions("recharged", p.logger)
	var err error
	if p.core, err = connectExternal(p.opts.NATSURL, p.opts.NATSCredentials, options...); err != nil {
		return err
	}
	if p.opts.NATSPublicURL == "" {
		p.public = p.core
		return nil
	}
	p.public, err = connectExternal(p.opts.NATSPublicURL, "", options...)
	return err
}

func (p *Processor) openState(ctx context.Context) error {
	store, err := state.Open(state.Options{
		Dir:        filepath.Join(p.opts.Dir, "state"),
		CacheBytes: p.opts.CacheBytes,
		Room:       func() { p.disk.awaitAny(ctx) },
		Logger:     p.logger,
	})
	p.store = store
	return err
}

// showGauges lets scrapes read off the processor, now that all of it is there.
func (p *Processor) showGauges(context.Context) error {
	p.gauges = gauges{p}
	return p.opts.Registry.Register(p.gauges)
}

func (p *Processor) startOwners(ctx context.Context) error {
	for id := range charge.Partition(p.opts.Partitions) {
		o := &owner{
			id:      id,
			node:    p.node,
			count:   p.opts.Partitions,
			store:   p.store,
			events:  p.journal.EventLog(id),
			commits: p.journal.CommitLog(id),
			logger:  p.logger,
			metrics: p.metrics,
			payload: int(p.core.MaxPayload()),
			newest:  func() uint64 { return p.shelf.newest.Load().Version },
			compile: p.compile,
			room:    p.disk.await,
			watch:   p.show,
		}
		o.report(Starting, nil)
		p.owners = append(p.owners, o)
		p.running.Go(func() { o.run(ctx) })
		p.running.Go(func() { o.tick(ctx) })
	}
	return nil
}

// drainMax bounds how long Stop waits for what was accepted to take effect. The
// rest is not lost: it is in the event log.
const drainMax = 5 * time.Second

// Stop stops accepting, finishes what was accepted, and closes everything.
func (p *Processor) Stop(ctx context.Context) {
	if p.stopping.Swap(true) {
		<-p.stopped
		return
	}
	defer close(p.stopped)
	p.backtests.close()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainMax)
	defer cancel()
	if p.byNATS != nil {
		if err := p.byNATS.Close(ctx); err != nil {
			p.logger.Warn("not every NATS message was answered", "reason", err)
		}
	}
	if p.gateway != nil {
		if err := p.gateway.Close(ctx); err != nil {
			p.logger.Warn("not all of what was waiting at the door got in; its producers were not told yes", "reason", err)
		}
		p.drain(ctx)
	}
	p.cancel()
	if p.emitter != nil {
		if err := p.emitter.Close(); err != nil {
			p.logger.Warn("close outputs", "reason", err)
		}
	}
	p.running.Wait()
	if p.gauges != nil {
		p.opts.Registry.Unregister(p.gauges)
	}
	if p.store != nil {
		if err := p.store.Close(); err != nil {
			p.logger.Error("close state", "reason", err)
		}
	}
	for _, nc := range []*nats.Conn{p.public, p.core} {
		if nc != nil {
			nc.Close()
		}
	}
	if p.server != nil {
		p.server.Shutdown()
	}
}

// drain waits until everything that was accepted has taken effect.
func (p *Processor) drain(ctx context.Context) {
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for {
		behind := false
		for _, s := range p.Status().Partitions {
			behind = behind || s.State == Running && s.Lag > 0
		}
		if !behind {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}
