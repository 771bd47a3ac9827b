package accept

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"recharged/state/charge"
)

// Source is a way in from any broker that Watermill has a subscriber for. One
// message holds one event or several, written as its metadata says, in the
// names and values of CloudEvents headers.
//
// A message is acknowledged to its broker when its events are durable. Messages
// are accepted one after the other, so that their order is kept whatever fails;
// for speed, put many events into a message, or run several sources.
type Source struct {
	Subscriber message.Subscriber
	Topic      string

	// Encoding of messages whose metadata doesn't tell.
	Encoding Encoding

	// Poison, if given, gets on PoisonTopic a copy of each message of which an
	// event was rejected, with the verdict as metadata. In any case the rejection
	// is counted and logged, and the message is acknowledged: to deliver it again
	// would be of no use.
	Poison      message.Publisher
	PoisonTopic string

	// RetryWait is how long a message that can't be made durable now is kept
	// before it is given back to the broker, one second if it is zero. Too little,
	// and the broker delivers the same message in a tight loop; more than the
	// broker waits for an acknowledgement, and it delivers it twice.
	RetryWait time.Duration
}

// poisonVerdict is the metadata that tells why a message is on the poison topic.
const poisonVerdict = "recharged-verdict"

// ErrSourceEnded says that a subscriber closed its channel of its own accord.
var ErrSourceEnded = errors.New("the subscription has ended")

// Run accepts messages until ctx ends, then it returns nil.
func (s *Source) Run(ctx context.Context, g *Gateway) error {
	messages, err := s.Subscriber.Subscribe(ctx, s.Topic)
	if err != nil {
		return fmt.Errorf("subscribe to %s: %w", s.Topic, err)
	}
	for {
		select {
		case m, open := <-messages:
			if open {
				s.handle(ctx, g, m)
				continue
			}
			if ctx.Err() == nil {
				return fmt.Errorf("read %s: %w", s.Topic, ErrSourceEnded)
			}
			return nil
		case <-ctx.Done():
			return nil
		}
	}
}

// handle ends with the message's Ack or Nack.
func (s *Source) handle(ctx context.Context, g *Gateway, m *message.Message) {
	b := g.NewBatch()
	b.decodeMessage(headerOf(m.Metadata), m.Payload, s.Encoding)
	verdict, err := g.Accept(ctx, b)
	if err == nil && len(verdict.Rejected) > 0 {
		g.hushed.rejected(s.Topic, verdict.Rejected)
		err = s.setAside(m, &verdict)
	}
	if err == nil {
		m.Ack()
		return
	}
	if ctx.Err() == nil {
		g.hushed.warn("message given back to its broker", "topic", s.Topic, "message", charge.Mask(m.UUID), "error", err)
		s.wait(ctx)
	}
	m.Nack()
}

// setAside publishes a message that has a rejected event to the poison topic.
func (s *Source) setAside(m *message.Message, v *Verdict) error {
	if s.Poison == nil {
		return nil
	}
	poison := m.CopyWithContext()
	poison.Metadata.Set(poisonVerdict, string(v.AppendJSON(nil)))
	if err := s.Poison.Publish(s.PoisonTopic, poison); err != nil {
		return fmt.Errorf("set message aside on %s: %w", s.PoisonTopic, err)
	}
	return nil
}

func (s *Source) wait(ctx context.Context) {
	wait := s.RetryWait
	if wait == 0 {
		wait = retrySoon
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

func headerOf(metadata message.Metadata) map[string][]string {
	header := make(map[string][]string, len(metadata))
	for name, value := range metadata {
		header[name] = []string{value}
	}
	return header
}
