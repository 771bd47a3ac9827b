package accept

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/pubsub/gochannel"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// runSource runs a source until stop is called. It returns when the source has
// subscribed.
func runSource(t *testing.T, s *Source, g *Gateway) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	subscribed, done := make(chan struct{}), make(chan error, 1)
	s.Subscriber = announcer{s.Subscriber, subscribed}
	go func() { done <- s.Run(ctx, g) }()
	select {
	case <-subscribed:
	case err := <-done:
		t.Fatalf("source: %v", err)
	}
	return func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("source: %v", err)
		}
	}
}

// announcer tells when somebody has subscribed.
type announcer struct {
	message.Subscriber
	subscribed chan struct{}
}

func (a announcer) Subscribe(ctx context.Context, topic string) (<-chan *message.Message, error) {
	messages, err := a.Subscriber.Subscribe(ctx, topic)
	if err == nil {
		close(a.subscribed)
	}
	return messages, err
}

// newChannel is a broker in memory: Publish returns when the messages are
// acknowledged.
func newChannel(t *testing.T) *gochannel.GoChannel {
	t.Helper()
	ch := gochannel.NewGoChannel(gochannel.Config{BlockPublishUntilSubscriberAck: true}, watermill.NopLogger{})
	t.Cleanup(func() { _ = ch.Close() })
	return ch
}

func TestSourceAcksWhenDurable(t *testing.T) {
	l := &memoryLog{gate: make(chan struct{})}
	broker := newChannel(t)
	stop := runSource(t, &Source{Subscriber: broker, Topic: "orders"}, newGateway(t, nil, l))
	m := message.NewMessage("1", []byte("["+recharge("a", testMSISDN, "1")+","+recharge("b", testMSISDN, "1")+"]"))
	acked := make(chan error, 1)
	go func() { acked <- broker.Publish("orders", m) }() // It returns when the message is acknowledged.
	l.gate <- struct{}{}
	if err := <-acked; err != nil {
		t.Fatal(err)
	}
	if got := eventIDs(t, l); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("the log holds %v", got)
	}
	stop()
}

func TestSourceGivesBackWhatCannotBeDurable(t *testing.T) {
	l := &memoryLog{outcome: func(n int) (bool, error) {
		if n < 2 {
			return false, errors.New("no log")
		}
		return true, nil
	}}
	broker := newChannel(t)
	stop := runSource(t, &Source{Subscriber: broker, Topic: "orders", RetryWait: time.Millisecond}, newGateway(t, nil, l))
	if err := broker.Publish("orders", message.NewMessage("1", []byte(recharge("a", testMSISDN, "1")))); err != nil {
		t.Fatal(err)
	}
	if got := eventIDs(t, l); !slices.Equal(got, []string{"a"}) || l.calls != 3 {
		t.Errorf("the log holds %v after %d appends", got, l.calls)
	}
	stop()
}

func TestSourceSetsPoisonAside(t *testing.T) {
	l := &memoryLog{}
	broker := newChannel(t)
	poisoned, err := broker.Subscribe(t.Context(), "poison")
	if err != nil {
		t.Fatal(err)
	}
	s := &Source{Subscriber: broker, Topic: "orders", Poison: broker, PoisonTopic: "poison"}
	stop := runSource(t, s, newGateway(t, nil, l))
	body := "[" + recharge("a", testMSISDN, "1") + ",{}]"
	published := make(chan error, 1)
	go func() { published <- broker.Publish("orders", message.NewMessage("1", []byte(body))) }()
	m := <-poisoned
	var v Verdict
	if err := json.Unmarshal([]byte(m.Metadata.Get(poisonVerdict)), &v); err != nil || v.Accepted != 1 || len(v.Rejected) != 1 || string(m.Payload) != body {
		t.Errorf("set aside: %s, %v, %v", m.Payload, m.Metadata, err)
	}
	m.Ack()
	if err := <-published; err != nil {
		t.Fatal(err)
	}
	if got := eventIDs(t, l); !slices.Equal(got, []string{"a"}) {
		t.Errorf("the log holds %v", got)
	}
	stop()
}

func TestSourceReadsMetadata(t *testing.T) {
	l := &memoryLog{}
	broker := newChannel(t)
	stop := runSource(t, &Source{Subscriber: broker, Topic: "orders", Encoding: Lines}, newGateway(t, nil, l))
	binary := message.NewMessage("1", []byte(`{"channel":"call"}`))
	binary.Metadata = message.Metadata{"ce_specversion": "1.0", "ce_id": "binary", "ce_source": "/a", "ce_type": "contact",
		"ce_subject": testMSISDN, "ce_time": "2026-11-21T10:00:00Z"}
	array := message.NewMessage("2", []byte("["+recharge("array", testMSISDN, "1")+"]"))
	array.Metadata.Set("content-type", "application/cloudevents-batch+json")
	lines := message.NewMessage("3", []byte(recharge("x", testMSISDN, "1")+"\n"+recharge("y", testMSISDN, "1")))
	if err := broker.Publish("orders", binary, array, lines); err != nil {
		t.Fatal(err)
	}
	if got := eventIDs(t, l); !slices.Equal(got, []string{"binary", "array", "x", "y"}) {
		t.Errorf("the log holds %v", got)
	}
	stop()
}

func TestSourceReportsItsEnd(t *testing.T) {
	broker := newChannel(t)
	if err := broker.Close(); err != nil {
		t.Fatal(err)
	}
	s := &Source{Subscriber: endedSubscriber{}, Topic: "orders"}
	if err := s.Run(t.Context(), newGateway(t, nil, &memoryLog{})); !errors.Is(err, ErrSourceEnded) {
		t.Errorf("ended subscription: %v", err)
	}
	s.Subscriber = broker
	if err := s.Run(t.Context(), newGateway(t, nil, &memoryLog{})); err == nil {
		t.Error("closed subscriber: no error")
	}
}

type endedSubscriber struct{}

func (endedSubscriber) Subscribe(context.Context, string) (<-chan *message.Message, error) {
	ended := make(chan *message.Message)
	close(ended)
	return ended, nil
}

func (endedSubscriber) Close() error { return nil }

// streamSubscriber is the smallest Watermill subscriber of a JetStream stream:
// one message at a time, delivered again when it is given back.
type streamSubscriber struct {
	js    jetstream.JetStream
	acked chan struct{} // gets a token for each message that the server knows is done
}

func (s streamSubscriber) Subscribe(ctx context.Context, topic string) (<-chan *message.Message, error) {
	consumer, err := s.js.CreateOrUpdateConsumer(ctx, topic, jetstream.ConsumerConfig{Durable: "recharged", AckPolicy: jetstream.AckExplicitPolicy, MaxAckPending: 1})
	if err != nil {
		return nil, err
	}
	iterator, err := consumer.Messages(jetstream.PullMaxMessages(1))
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, iterator.Stop)
	output := make(chan *message.Message)
	go func() {
		defer close(output)
		for {
			in, err := iterator.Next()
			if err != nil {
				return
			}
			out := message.NewMessageWithContext(ctx, in.Subject(), in.Data())
			for name, values := range in.Headers() {
				out.Metadata.Set(name, values[0])
			}
			select {
			case output <- out:
			case <-ctx.Done():
				return
			}
			select {
			case <-out.Acked():
				if in.DoubleAck(ctx) == nil {
					s.acked <- struct{}{}
				}
			case <-out.Nacked():
				_ = in.Nak()
			case <-ctx.Done():
				return
			}
		}
	}()
	return output, nil
}

func (s streamSubscriber) Close() error { return nil }

// An operator's own stream, with events of several days in it, becomes a source
// through nothing but a Watermill subscriber.
func TestSourceReadsAnExistingStream(t *testing.T) {
	conn := connect(t, startServer(t, func(o *server.Options) { o.JetStream = true }))
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "ORDERS", Subjects: []string{"orders.>"}}); err != nil {
		t.Fatal(err)
	}
	binary := &nats.Msg{Subject: "orders.crm", Data: []byte(`{"channel":"call"}`), Header: nats.Header{"ce-specversion": {"1.0"},
		"ce-id": {"binary"}, "ce-source": {"/crm"}, "ce-type": {"contact"}, "ce-subject": {testMSISDN}, "ce-time": {"2026-11-21T10:00:00Z"}}}
	for _, m := range []*nats.Msg{
		{Subject: "orders.ussd", Data: []byte(recharge("one", testMSISDN, "350"))},
		{Subject: "orders.ussd", Data: []byte("not an event")},
		{Subject: "orders.app", Data: []byte("[" + recharge("two", testMSISDN, "1") + "," + recharge("three", testMSISDN, "2") + "]")},
		binary,
	} {
		if _, err := js.PublishMsg(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	l := &memoryLog{outcome: func(n int) (bool, error) {
		if n == 1 {
			return false, errors.New("no log for a moment")
		}
		return true, nil
	}}
	subscriber := streamSubscriber{js, make(chan struct{}, 4)}
	stop := runSource(t, &Source{Subscriber: subscriber, Topic: "ORDERS", RetryWait: time.Millisecond}, newGateway(t, nil, l))
	for range 4 {
		<-subscriber.acked
	}
	stop()
	if got := eventIDs(t, l); !slices.Equal(got, []string{"one", "two", "three", "binary"}) {
		t.Errorf("the log holds %v", got)
	}
}
