// Package emit is the ways out: it reads the commit log of each partition and
// publishes what the commits say must be said, as CloudEvents on NATS. It also
// delivers the letters in them, to the event logs of other partitions.
//
// It promises that every notification, alert, outcome and letter of every commit
// is published at least once, with the same id each time, in order per customer,
// letters per sender and receiver, and that a commit is behind a sink only when
// all that the sink makes of it is durable. A sink that cannot publish waits and
// tries again for ever, and holds up nobody else. It refuses to know what a
// commit means: it decides nothing.
//
// The sinks are handlers of a Watermill Router, one for each sink and
// partition, each with a durable position of its own, over the package's own
// JetStream Publisher and Subscriber. Feed is the live feed inside the process.
package emit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/message/router/middleware"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"recharged/state/charge"
	"recharged/stream/journal"
)

// Options configures an Emitter. The zero value of everything but Core, Public,
// Partitions and Streams is its default.
type Options struct {
	Core       *nats.Conn                      // where the commit logs are
	Public     *nats.Conn                      // where the outputs go; may be Core
	Partitions int                             // partitions 0 … Partitions-1 are read
	Streams    func(p charge.Partition) string // name of the stream of p's commit log

	// EventLogs is where p's letters go. A log may not exist yet. Default: there is
	// no sink of letters, for those whose commits have none.
	EventLogs func(p charge.Partition) *journal.Log

	Outcomes bool          // publish every event's outcome too; several times the traffic
	Replicas int           // of the output streams; default 1
	MaxAge   time.Duration // how long outputs are kept; default 30 days. Consumers that are away for longer miss some.

	Observe Observer
	Logger  *slog.Logger
}

func (o *Options) setDefaults() error {
	var faults []error
	if o.Core == nil || o.Public == nil {
		faults = append(faults, errors.New("a connection is missing"))
	}
	if o.Partitions < 1 || o.Partitions > charge.Slots {
		faults = append(faults, fmt.Errorf("%d partitions: must be 1 to %d", o.Partitions, charge.Slots))
	}
	if o.Streams == nil {
		faults = append(faults, errors.New("the names of the commit logs are missing"))
	}
	if len(faults) > 0 {
		return fmt.Errorf("emitter options: %w", errors.Join(faults...))
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return nil
}

// packMax is how many commits a sink publishes at once, at most.
const packMax = 64

// How long a sink waits for what, and tries how often before it waits longer.
const (
	ackWait      = 5 * time.Second
	closeGrace   = 5 * time.Second
	closeTimeout = 2 * closeGrace
	retriesMax   = 3 // in one delivery, retryMin … retryMax apart
	retryMin     = 20 * time.Millisecond
	retryMax     = 200 * time.Millisecond
	redeliverMin = 500 * time.Millisecond // the pause after the first Nack, which doubles
	redeliverMax = 10 * time.Second
	letterMin    = 100 * time.Millisecond // the same for letters: somebody may be waiting for the answer
	letterMax    = 2 * time.Second
)

// doubling returns pauses that double from shortest to longest.
func doubling(shortest, longest time.Duration) func(n int) time.Duration {
	return func(n int) time.Duration { return min(longest, shortest<<min(n-1, 10)) }
}

// Emitter runs the sinks.
type Emitter struct {
	opts      Options
	core      jetstream.JetStream
	publisher *Publisher
	router    *message.Router
	sinks     []sink

	mu      sync.Mutex // guards the two below
	started bool
	closed  bool
	stopped chan struct{} // closed when Run returns
}

// New makes sure of the output streams and returns an Emitter that is ready to
// Run. The connections stay the caller's.
func New(ctx context.Context, opts Options) (*Emitter, error) {
	if err := opts.setDefaults(); err != nil {
		return nil, err
	}
	if err := EnsureOutputs(ctx, opts.Public, OutputOptions{Replicas: opts.Replicas, MaxAge: opts.MaxAge, Outcomes: opts.Outcomes}); err != nil {
		return nil, err
	}
	core, err := jetstream.New(opts.Core)
	if err != nil {
		return nil, fmt.Errorf("open JetStream for the commit logs: %w", err)
	}
	e := &Emitter{opts: opts, core: core, stopped: make(chan struct{})}
	e.sinks = []sink{notificationSink, alertSink}
	if opts.Outcomes {
		e.sinks = append(e.sinks, outcomeSink)
	}
	if opts.EventLogs != nil {
		e.sinks = append(e.sinks, letterSink)
	}
	if e.publisher, err = NewPublisher(opts.Public, PublisherOptions{}); err != nil {
		return nil, err
	}
	if err := e.route(); err != nil {
		return nil, err
	}
	return e, nil
}

// route wires a handler for each sink and partition.
func (e *Emitter) route() error {
	// The router's life is for those who debug it.
	logger := watermill.NewSlogLoggerWithLevelMapping(e.opts.Logger, map[slog.Level]slog.Level{slog.LevelInfo: slog.LevelDebug})
	var err error
	if e.router, err = message.NewRouter(message.RouterConfig{CloseTimeout: closeTimeout}, logger); err != nil {
		return fmt.Errorf("make the router of the sinks: %w", err)
	}
	commits := make([]decoder, e.opts.Partitions)
	for i := range e.sinks {
		if err := e.routeSink(&e.sinks[i], commits); err != nil {
			return err
		}
	}
	return nil
}

// routeSink wires the handlers of a sink, which share the decoded commits of
// their partition with those of the other sinks.
func (e *Emitter) routeSink(s *sink, commits []decoder) error {
	sources := make(map[string]Source)
	var send sender = e.publisher
	delay := doubling(redeliverMin, redeliverMax)
	if s.name == Letters {
		send, delay = postman{e.opts.EventLogs, e.opts.Partitions}, doubling(letterMin, letterMax)
	}
	subscriber, err := NewSubscriber(e.opts.Core, SubscriberOptions{
		Source:    func(topic string) Source { return sources[topic] },
		Window:    packMax,
		AckWait:   ackWait,
		NackDelay: delay,
		Exclusive: true,
		Patient:   true,
		Grace:     closeGrace,
		Logger:    e.opts.Logger,
	})
	if err != nil {
		return err
	}
	retry := middleware.Retry{MaxRetries: retriesMax, InitialInterval: retryMin, MaxInterval: retryMax, Multiplier: 2}
	for p := range charge.Partition(e.opts.Partitions) {
		h := &handler{sink: s, partition: p, commits: &commits[p], sender: send, observe: &e.opts.Observe}
		topic := fmt.Sprintf("%s/%d", s.name, p)
		sources[topic] = Source{Stream: e.opts.Streams(p), Durable: string(s.name)}
		// The first one is the outermost: an error, also one that was a panic,
		// is reported for each attempt, then tried again.
		e.router.AddConsumerHandler(topic, topic, packer{subscriber}, h.handle).
			AddMiddleware(retry.Middleware, h.report, middleware.Recoverer)
	}
	return nil
}

// Run runs the sinks until ctx ends or Close is called, and returns when they
// have stopped.
func (e *Emitter) Run(ctx context.Context) error {
	e.mu.Lock()
	if e.started || e.closed {
		e.mu.Unlock()
		return errors.New("run emitter: it was run or closed before")
	}
	e.started = true
	e.mu.Unlock()

	unlink := context.AfterFunc(ctx, func() {
		if err := e.Close(); err != nil {
			e.opts.Logger.Warn("the sinks did not stop in time; what they had in hand will be published again", "error", err)
		}
	})
	defer unlink()
	defer close(e.stopped)
	// The sinks outlive ctx by what they have in hand.
	if err := e.router.Run(context.WithoutCancel(ctx)); err != nil {
		return fmt.Errorf("run the sinks: %w", err)
	}
	return nil
}

// Running is closed when all sinks have begun to read, or to wait for their
// commit log.
func (e *Emitter) Running() <-chan struct{} { return e.router.Running() }

// Close stops the sinks. What they have in hand is finished within a bound;
// what isn't will be published again, with the same ids, by the next Emitter.
func (e *Emitter) Close() error {
	e.mu.Lock()
	started := e.started
	e.closed = true
	e.mu.Unlock()
	var err error
	if started {
		select {
		case <-e.router.Running(): // Before that the router would wait for handlers that never began.
			err = e.router.Close()
		case <-e.stopped:
		}
		<-e.stopped
	}
	return errors.Join(err, e.publisher.Close())
}

// Position is how far a sink has come in a partition's commit log.
type Position struct {
	Sequence charge.Sequence // all commits up to this one are behind the sink
	Pending  uint64          // commits that are not
}

// Lag returns the positions of each sink, by partition. A commit log that does
// not exist counts as read.
func (e *Emitter) Lag(ctx context.Context) (map[Sink][]Position, error) {
	lag := make(map[Sink][]Position, len(e.sinks))
	for _, s := range e.sinks {
		positions := make([]Position, e.opts.Partitions)
		for p := range positions {
			var err error
			if positions[p], err = e.position(ctx, s.name, charge.Partition(p)); err != nil {
				return nil, fmt.Errorf("position of sink %s in partition %d: %w", s.name, p, err)
			}
		}
		lag[s.name] = positions
	}
	return lag, nil
}

func (e *Emitter) position(ctx context.Context, name Sink, p charge.Partition) (Position, error) {
	log, err := e.core.Stream(ctx, e.opts.Streams(p))
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return Position{}, nil
	}
	if err != nil {
		return Position{}, err
	}
	consumer, err := log.Consumer(ctx, string(name))
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		return Position{Pending: log.CachedInfo().State.Msgs}, nil
	}
	if err != nil {
		return Position{}, err
	}
	info := consumer.CachedInfo()
	return Position{
		Sequence: charge.Sequence(info.AckFloor.Stream),
		Pending:  info.NumPending + uint64(info.NumAckPending),
	}, nil
}
