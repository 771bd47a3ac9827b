package emit

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// ErrClosed says that a Publisher or Subscriber was closed before the call.
var ErrClosed = errors.New("closed")

// reservedHeader begins the names of headers that the server gives a meaning.
const reservedHeader = "Nats-"

// PublisherOptions configures a Publisher.
type PublisherOptions struct {
	// Timeout is how long a message may wait for its acknowledgement before its
	// fate counts as unknown; default 5 s. Too short makes repeats, too long
	// delays the next attempt.
	Timeout time.Duration
	// InFlightMax bounds the messages that wait for their acknowledgement, of all
	// calls together; default 4,000. A call that would exceed it waits.
	InFlightMax int
}

// Publisher publishes Watermill messages to JetStream: the topic is the
// subject, the message's UUID its Nats-Msg-Id, the metadata its headers. It may
// be used by many goroutines.
type Publisher struct {
	js      jetstream.JetStream
	timeout time.Duration

	mu       sync.RWMutex // guards closed against calls that begin
	closed   bool
	inFlight sync.WaitGroup // calls
}

var _ message.Publisher = (*Publisher)(nil)

// NewPublisher returns a Publisher on a connection that stays the caller's.
func NewPublisher(nc *nats.Conn, opts PublisherOptions) (*Publisher, error) {
	if opts.Timeout == 0 {
		opts.Timeout = 5 * time.Second
	}
	if opts.InFlightMax == 0 {
		opts.InFlightMax = 4000
	}
	js, err := jetstream.New(nc,
		jetstream.WithPublishAsyncTimeout(opts.Timeout),
		jetstream.WithPublishAsyncMaxPending(opts.InFlightMax))
	if err != nil {
		return nil, fmt.Errorf("open JetStream for publishing: %w", err)
	}
	return &Publisher{js: js, timeout: opts.Timeout}, nil
}

// Publish sends all messages without waiting in between, then waits until all
// are acknowledged or the context of one that isn't ends, and returns the first
// error in the order of the messages. After an error the fate of every message
// of the call is open: publish all of them again with the same UUIDs, and the
// stream drops the ones it has, as far as its window for duplicates reaches.
func (p *Publisher) Publish(topic string, messages ...*message.Message) error {
	if err := p.begin(); err != nil {
		return err
	}
	defer p.inFlight.Done()
	if err := checkTopic(topic); err != nil {
		return err
	}
	outgoing := make([]*nats.Msg, len(messages))
	for i, m := range messages {
		var err error
		if outgoing[i], err = marshal(topic, m); err != nil {
			return fmt.Errorf("publish message %q to %s: %w", m.UUID, topic, err)
		}
	}
	futures := make([]jetstream.PubAckFuture, 0, len(messages))
	var first error
	for i, m := range outgoing {
		future, err := p.dispatch(m)
		if err != nil {
			first = fmt.Errorf("publish message %q to %s: %w", messages[i].UUID, topic, err)
			break
		}
		futures = append(futures, future)
	}
	for i, future := range futures {
		if _, err := await(messages[i].Context(), future); err != nil {
			return fmt.Errorf("publish message %q to %s: %w", messages[i].UUID, topic, err)
		}
	}
	return first
}

// Close waits for the calls that have begun. The connection stays open.
func (p *Publisher) Close() error {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.inFlight.Wait()
	return nil
}

// begin registers a call; without an error p.inFlight.Done must follow.
func (p *Publisher) begin() error {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if p.closed {
		return fmt.Errorf("publish: publisher %w", ErrClosed)
	}
	p.inFlight.Add(1)
	return nil
}

// dispatch sends one message. Nothing is retried out of sight: a hidden retry
// would overtake what was sent after it.
func (p *Publisher) dispatch(m *nats.Msg) (jetstream.PubAckFuture, error) {
	return p.js.PublishMsgAsync(m, jetstream.WithRetryAttempts(0), jetstream.WithStallWait(p.timeout))
}

// await waits for an acknowledgement.
func await(ctx context.Context, future jetstream.PubAckFuture) (*jetstream.PubAck, error) {
	select {
	case ack := <-future.Ok():
		return ack, nil
	case err := <-future.Err():
		return nil, err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func checkTopic(topic string) error {
	if topic == "" || strings.ContainsAny(topic, "*> \t\r\n") {
		return fmt.Errorf("publish to %q: a topic is a subject without wildcards and blanks", topic)
	}
	return nil
}

// marshal makes the NATS message of a Watermill message.
func marshal(topic string, m *message.Message) (*nats.Msg, error) {
	if m.UUID == "" {
		return nil, errors.New("a message needs a UUID")
	}
	header := make(nats.Header, len(m.Metadata)+1)
	for key, value := range m.Metadata {
		if err := checkHeader(key, value); err != nil {
			return nil, err
		}
		header[key] = []string{value}
	}
	if err := checkHeader("UUID", m.UUID); err != nil {
		return nil, err
	}
	header[jetstream.MsgIDHeader] = []string{m.UUID}
	return &nats.Msg{Subject: topic, Header: header, Data: m.Payload}, nil
}

// checkHeader refuses what would arrive as something else: a name that the
// server acts on, and text that breaks out of its line or is trimmed.
func checkHeader(key, value string) error {
	switch {
	case key == "" || strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r > '~' || r == ':' }):
		return fmt.Errorf("metadata key %q cannot be the name of a header", key)
	case len(key) >= len(reservedHeader) && strings.EqualFold(key[:len(reservedHeader)], reservedHeader):
		return fmt.Errorf("metadata key %q is reserved by the server", key)
	case strings.ContainsAny(value, "\r\n") || strings.Trim(value, " \t") != value:
		return fmt.Errorf("metadata %s: value %q cannot be carried in a header", key, value)
	}
	return nil
}

// unmarshal makes the Watermill message of a NATS message. Where the publisher
// gave no id, the place in the stream is the id.
func unmarshal(m jetstream.Msg, at *jetstream.MsgMetadata) (*message.Message, error) {
	id := fmt.Sprintf("%s-%d", at.Stream, at.Sequence.Stream)
	metadata := make(message.Metadata)
	for key, values := range m.Headers() {
		if len(values) != 1 {
			return nil, fmt.Errorf("header %s is there %d times, metadata holds one value a key", key, len(values))
		}
		switch {
		case key == jetstream.MsgIDHeader:
			id = values[0]
		case !strings.HasPrefix(key, reservedHeader):
			metadata[key] = values[0]
		}
	}
	out := message.NewMessage(id, m.Data())
	out.Metadata = metadata
	return out, nil
}
