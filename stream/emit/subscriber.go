package emit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Source says where a topic is read from.
type Source struct {
	Stream  string // the stream that holds the topic
	Subject string // the part of the stream that is read; empty: all of it
	Durable string // the name of the position; subscribers of one name share the work
	// Create is how to create the stream when it does not exist; nil: somebody
	// else creates it.
	Create *jetstream.StreamConfig
}

// SubscriberOptions configures a Subscriber. Source is required.
type SubscriberOptions struct {
	Source func(topic string) Source

	// Window is how many messages may be with the reader at once; default 1,
	// which is strict order. With more, a reader that handles messages in
	// parallel gets them in order but finishes them in any.
	Window int
	// AckWait is after how long without a sign of life from this subscriber the
	// server gives its messages to another one; default 30 s. A message that is
	// being handled is renewed at half of it, so it does not bound the handler.
	AckWait time.Duration
	// NackDelay is the pause after the nth Nack of one message in a row; nil: none.
	NackDelay func(n int) time.Duration
	// Exclusive says that nobody else reads at this durable's position: what a
	// predecessor left unacknowledged then comes at once, and in order, instead
	// of after AckWait.
	Exclusive bool
	// Patient makes Subscribe succeed before the stream exists: it waits.
	Patient bool
	// Grace is how long the reader may finish what it has when the subscription
	// ends, before the contexts of those messages are cancelled; default none.
	Grace time.Duration

	Logger *slog.Logger
}

func (o *SubscriberOptions) setDefaults() error {
	if o.Source == nil {
		return errors.New("subscriber options: Source is missing")
	}
	if o.Window < 0 || o.AckWait < 0 || o.Grace < 0 {
		return fmt.Errorf("subscriber options: window %d, ack wait %v, grace %v: must not be negative", o.Window, o.AckWait, o.Grace)
	}
	if o.Window == 0 {
		o.Window = 1
	}
	if o.AckWait == 0 {
		o.AckWait = 30 * time.Second
	}
	if o.NackDelay == nil {
		o.NackDelay = func(int) time.Duration { return 0 }
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return nil
}

// Subscriber reads JetStream streams as Watermill topics, from durable
// positions that are acknowledged message by message, at least once.
type Subscriber struct {
	js   jetstream.JetStream
	opts SubscriberOptions

	closing context.Context // ends with Close
	close   context.CancelFunc

	mu      sync.RWMutex // guards closed against subscriptions that begin
	closed  bool
	running sync.WaitGroup // subscriptions
}

var (
	_ message.Subscriber           = (*Subscriber)(nil)
	_ message.SubscribeInitializer = (*Subscriber)(nil)
)

// NewSubscriber returns a Subscriber on a connection that stays the caller's.
func NewSubscriber(nc *nats.Conn, opts SubscriberOptions) (*Subscriber, error) {
	if err := opts.setDefaults(); err != nil {
		return nil, err
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, fmt.Errorf("open JetStream for subscribing: %w", err)
	}
	s := &Subscriber{js: js, opts: opts}
	s.closing, s.close = context.WithCancel(context.Background())
	return s, nil
}

// SubscribeInitialize creates the topic's stream, where its Source says how,
// and the durable position, so that nothing published from now on is missed.
func (s *Subscriber) SubscribeInitialize(topic string) error {
	ctx, cancel := context.WithTimeout(s.closing, apiTimeout)
	defer cancel()
	_, err := s.prepare(ctx, s.opts.Source(topic))
	return err
}

// Subscribe returns the topic's messages. The channel is closed when ctx ends
// or the Subscriber is closed; what was not acknowledged until then is given
// back to the stream. The messages' contexts carry ctx's values.
func (s *Subscriber) Subscribe(ctx context.Context, topic string) (<-chan *message.Message, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return nil, fmt.Errorf("subscribe to %s: subscriber %w", topic, ErrClosed)
	}
	sub := newSubscription(ctx, s, topic)
	if !s.opts.Patient {
		if err := sub.attach(apiTimeout); err != nil {
			sub.cancel()
			return nil, fmt.Errorf("subscribe to %s: %w", topic, err)
		}
	}
	s.running.Add(1)
	go func() {
		defer s.running.Done()
		sub.run()
	}()
	return sub.out, nil
}

// Close ends all subscriptions, waits for them and closes their channels. The
// connection stays open.
func (s *Subscriber) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.close()
	s.running.Wait()
	return nil
}

// apiTimeout bounds one call of the server's API.
const apiTimeout = 5 * time.Second

// prepare makes sure of the stream and of the durable position in it.
func (s *Subscriber) prepare(ctx context.Context, from Source) (jetstream.Consumer, error) {
	if from.Create != nil {
		if _, err := s.js.CreateStream(ctx, *from.Create); err != nil && !errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
			return nil, fmt.Errorf("create stream %s: %w", from.Create.Name, err)
		}
	}
	consumer, err := s.js.CreateOrUpdateConsumer(ctx, from.Stream, jetstream.ConsumerConfig{
		Durable:       from.Durable,
		FilterSubject: from.Subject,
		DeliverPolicy: jetstream.DeliverAllPolicy,
		AckPolicy:     jetstream.AckExplicitPolicy,
		AckWait:       s.opts.AckWait,
		MaxAckPending: s.opts.Window, // Over all subscribers of this durable.
		MaxDeliver:    -1,
	})
	if err != nil {
		return nil, fmt.Errorf("open position %s in stream %s: %w", from.Durable, from.Stream, err)
	}
	return consumer, nil
}
