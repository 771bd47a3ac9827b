package emit

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/pubsub/tests"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// topicSource reads each topic from a stream of its own.
func topicSource(durable string) func(topic string) Source {
	return func(topic string) Source {
		stream := strings.ReplaceAll(topic, ".", "_")
		return Source{
			Stream: stream, Subject: topic, Durable: durable,
			Create: &jetstream.StreamConfig{Name: stream, Subjects: []string{topic}, Storage: jetstream.FileStorage},
		}
	}
}

func newPublisher(t testing.TB, nc *nats.Conn) *Publisher {
	t.Helper()
	p, err := NewPublisher(nc, PublisherOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func newSubscriber(t testing.TB, nc *nats.Conn, opts SubscriberOptions) *Subscriber {
	t.Helper()
	s, err := NewSubscriber(nc, opts)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestCompliance runs the suite that every Watermill Pub/Sub must pass. With a
// window of one the order is strict and nothing comes before the acknowledgement.
func TestCompliance(t *testing.T) {
	for _, window := range []int{1, 16} {
		t.Run(fmt.Sprintf("window=%d", window), func(t *testing.T) {
			t.Parallel()
			nc := connect(t, startServer(t, t.TempDir(), -1))
			group := func(t *testing.T, durable string) (message.Publisher, message.Subscriber) {
				return newPublisher(t, nc), newSubscriber(t, nc, SubscriberOptions{Source: topicSource(durable), Window: window})
			}
			tests.TestPubSub(t, tests.Features{
				ConsumerGroups:  true,
				GuaranteedOrder: window == 1,
				Persistent:      true,
				ForceShort:      testing.Short(),
			}, func(t *testing.T) (message.Publisher, message.Subscriber) { return group(t, "reader") }, group)
		})
	}
}

// TestReconnect restarts the server twice, on the same port, under a publisher
// and a subscriber that are at work. Nothing is lost.
func TestReconnect(t *testing.T) {
	const count = 600
	dir := t.TempDir()
	srv := startServer(t, dir, -1)
	url, port := srv.ClientURL(), srv.Addr().(*net.TCPAddr).Port
	pub := newPublisher(t, dial(t, url))
	sub := newSubscriber(t, dial(t, url), SubscriberOptions{Source: topicSource("reader"), Window: 8, AckWait: time.Second})
	messages, err := sub.Subscribe(t.Context(), "reconnect")
	if err != nil {
		t.Fatal(err)
	}

	halfway := make(chan struct{}, 2)
	var publishing sync.WaitGroup
	publishing.Go(func() {
		for i := range count {
			m := message.NewMessage(strconv.Itoa(i), []byte("x"))
			for pub.Publish("reconnect", m) != nil && t.Context().Err() == nil {
				continue // Again until it is acknowledged.
			}
			if i%(count/3) == count/6 && len(halfway) < cap(halfway) {
				halfway <- struct{}{}
			}
		}
	})
	seen := make(map[string]bool)
	deadline := time.After(60 * time.Second)
	for len(seen) < count {
		select {
		case m := <-messages:
			seen[m.UUID] = true
			m.Ack()
		case <-halfway:
			stopServer(srv)
			srv = startServer(t, dir, port)
		case <-deadline:
			t.Fatalf("%d of %d messages arrived", len(seen), count)
		}
	}
	publishing.Wait()
	if err := sub.Close(); err != nil {
		t.Error(err)
	}
	if err := pub.Close(); err != nil {
		t.Error(err)
	}
}

// TestNackKeepsOrder nacks messages in the middle of a window while the others
// are with the reader. Whatever comes again, the last time that each message
// comes is in order.
func TestNackKeepsOrder(t *testing.T) {
	const count = 40
	nc := connect(t, startServer(t, t.TempDir(), -1))
	pub := newPublisher(t, nc)
	sub := newSubscriber(t, nc, SubscriberOptions{Source: topicSource("reader"), Window: 5})
	defer sub.Close()
	if err := sub.SubscribeInitialize("nack"); err != nil {
		t.Fatal(err)
	}
	for i := range count {
		if err := pub.Publish("nack", message.NewMessage(strconv.Itoa(i), nil)); err != nil {
			t.Fatal(err)
		}
	}
	messages, err := sub.Subscribe(t.Context(), "nack")
	if err != nil {
		t.Fatal(err)
	}
	nacked := make(map[string]int)
	var order []string // by the last copy that was acknowledged
	for len(order) < count || order[count-1] != strconv.Itoa(count-1) {
		select {
		case m := <-messages:
			if n, _ := strconv.Atoi(m.UUID); n%7 == 3 && nacked[m.UUID] < 2 {
				nacked[m.UUID]++
				m.Nack()
				continue
			}
			order = slices.DeleteFunc(order, func(id string) bool { return id == m.UUID })
			order = append(order, m.UUID)
			m.Ack()
		case <-time.After(20 * time.Second):
			t.Fatalf("stuck after %v", order)
		}
	}
	for i, id := range order {
		if id != strconv.Itoa(i) {
			t.Fatalf("at %d came %s: %v", i, id, order)
		}
	}
}

// TestMalformed: a message that Watermill cannot hold is set aside, and the one
// behind it arrives.
func TestMalformed(t *testing.T) {
	nc := connect(t, startServer(t, t.TempDir(), -1))
	sub := newSubscriber(t, nc, SubscriberOptions{Source: topicSource("reader")})
	defer sub.Close()
	messages, err := sub.Subscribe(t.Context(), "malformed")
	if err != nil {
		t.Fatal(err)
	}
	repeated := &nats.Msg{Subject: "malformed", Header: nats.Header{"Key": {"one", "two"}}}
	if err := nc.PublishMsg(repeated); err != nil {
		t.Fatal(err)
	}
	if err := newPublisher(t, nc).Publish("malformed", message.NewMessage("good", nil)); err != nil {
		t.Fatal(err)
	}
	m := <-messages
	place, ok := PlaceOf(m)
	if m.UUID != "good" || !ok || place.Sequence != 2 {
		t.Errorf("got %q at %+v (%v), want the good one at 2", m.UUID, place, ok)
	}
	m.Ack()
}

// TestSameUUIDTwice: the UUID is the message's id, so the stream holds it once.
func TestSameUUIDTwice(t *testing.T) {
	nc := connect(t, startServer(t, t.TempDir(), -1))
	sub := newSubscriber(t, nc, SubscriberOptions{Source: topicSource("reader")})
	defer sub.Close()
	if err := sub.SubscribeInitialize("twice"); err != nil {
		t.Fatal(err)
	}
	pub := newPublisher(t, nc)
	for range 2 {
		if err := pub.Publish("twice", message.NewMessage("one", nil), message.NewMessage("one", nil)); err != nil {
			t.Fatal(err)
		}
	}
	if got := streamLength(t, nc, "twice"); got != 1 {
		t.Errorf("the stream holds %d messages, want 1", got)
	}
}

func streamLength(t testing.TB, nc *nats.Conn, name string) uint64 {
	t.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := js.Stream(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return stream.CachedInfo().State.Msgs
}

func TestPublishRefuses(t *testing.T) {
	nc := connect(t, startServer(t, t.TempDir(), -1))
	with := func(key, value string) *message.Message {
		m := message.NewMessage("id", nil)
		m.Metadata.Set(key, value)
		return m
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	late := message.NewMessage("id", nil)
	late.SetContext(ended)
	for _, test := range []struct {
		name, topic string
		m           *message.Message
		want        string
	}{
		{"wildcard", "a.*", message.NewMessage("id", nil), "without wildcards"},
		{"empty topic", "", message.NewMessage("id", nil), "without wildcards"},
		{"no UUID", "a", message.NewMessage("", nil), "needs a UUID"},
		{"header in the UUID", "a", message.NewMessage("id\r\nX: y", nil), "cannot be carried"},
		{"header in a value", "a", with("key", "v\nX: y"), "cannot be carried"},
		{"value that would be trimmed", "a", with("key", " v"), "cannot be carried"},
		{"key with a colon", "a", with("k:", "v"), "cannot be the name"},
		{"key of the server's", "a", with("nats-expected-last-sequence", "1"), "reserved"},
		{"nobody listens", "nowhere", message.NewMessage("id", nil), "no response from stream"},
		{"context ended", "a", late, "context canceled"},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := newPublisher(t, nc).Publish(test.topic, test.m)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want an error with %q", err, test.want)
			}
		})
	}
}

func TestClosed(t *testing.T) {
	nc := connect(t, startServer(t, t.TempDir(), -1))
	pub, sub := newPublisher(t, nc), newSubscriber(t, nc, SubscriberOptions{Source: topicSource("reader")})
	for range 2 {
		if err := pub.Close(); err != nil {
			t.Error(err)
		}
		if err := sub.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := pub.Publish("closed", message.NewMessage(watermill.NewUUID(), nil)); err == nil {
		t.Error("a closed publisher published")
	}
	if _, err := sub.Subscribe(t.Context(), "closed"); err == nil {
		t.Error("a closed subscriber subscribed")
	}
	if nc.IsClosed() {
		t.Error("the connection is not theirs to close")
	}
}

// TestPositionDeleted: a position that somebody deletes is made again, and what
// is published arrives.
func TestPositionDeleted(t *testing.T) {
	nc := connect(t, startServer(t, t.TempDir(), -1))
	sub := newSubscriber(t, nc, SubscriberOptions{Source: topicSource("reader")})
	defer sub.Close()
	messages, err := sub.Subscribe(t.Context(), "deleted")
	if err != nil {
		t.Fatal(err)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if err := js.DeleteConsumer(t.Context(), "deleted", "reader"); err != nil {
		t.Fatal(err)
	}
	if err := newPublisher(t, nc).Publish("deleted", message.NewMessage("one", nil)); err != nil {
		t.Fatal(err)
	}
	(<-messages).Ack()
}

// TestExclusive: what a predecessor held when it died comes at once, before
// what is behind it, however long AckWait is.
func TestExclusive(t *testing.T) {
	srv := startServer(t, t.TempDir(), -1)
	opts := SubscriberOptions{Source: topicSource("reader"), Window: 4, AckWait: time.Hour, Exclusive: true}
	dying := connect(t, srv)
	first := newSubscriber(t, dying, opts)
	messages, err := first.Subscribe(t.Context(), "exclusive")
	if err != nil {
		t.Fatal(err)
	}
	pub := newPublisher(t, connect(t, srv))
	for i := range 4 {
		if err := pub.Publish("exclusive", message.NewMessage(strconv.Itoa(i), nil)); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		<-messages
	}
	dying.Close()
	defer first.Close()

	second := newSubscriber(t, connect(t, srv), opts)
	defer second.Close()
	if messages, err = second.Subscribe(t.Context(), "exclusive"); err != nil {
		t.Fatal(err)
	}
	for i := range 4 {
		m := <-messages
		if m.UUID != strconv.Itoa(i) {
			t.Errorf("at %d came %s", i, m.UUID)
		}
		m.Ack()
	}
}

// TestRenewal: a message that is handled for longer than AckWait stays with who
// has it.
func TestRenewal(t *testing.T) {
	nc := connect(t, startServer(t, t.TempDir(), -1))
	opts := SubscriberOptions{Source: topicSource("reader"), AckWait: 200 * time.Millisecond}
	var both [2]<-chan *message.Message
	for i := range both {
		sub := newSubscriber(t, nc, opts)
		defer sub.Close()
		var err error
		if both[i], err = sub.Subscribe(t.Context(), "renewal"); err != nil {
			t.Fatal(err)
		}
	}
	if err := newPublisher(t, nc).Publish("renewal", message.NewMessage("one", nil)); err != nil {
		t.Fatal(err)
	}
	var held *message.Message
	select {
	case held = <-both[0]:
	case held = <-both[1]:
	}
	select {
	case <-both[0]:
		t.Error("the message came again")
	case <-both[1]:
		t.Error("the message came again")
	case <-time.After(800 * time.Millisecond):
	}
	held.Ack()
}

// TestGrace: what the reader has when the subscription ends may still be
// acknowledged, with its context alive, and does not come again.
func TestGrace(t *testing.T) {
	nc := connect(t, startServer(t, t.TempDir(), -1))
	opts := SubscriberOptions{Source: topicSource("reader"), Grace: 20 * time.Second}
	sub := newSubscriber(t, nc, opts)
	messages, err := sub.Subscribe(t.Context(), "grace")
	if err != nil {
		t.Fatal(err)
	}
	pub := newPublisher(t, nc)
	for _, id := range []string{"one", "two"} {
		if err := pub.Publish("grace", message.NewMessage(id, nil)); err != nil {
			t.Fatal(err)
		}
	}
	m := <-messages
	closed := make(chan struct{})
	go func() {
		sub.Close()
		close(closed)
	}()
	<-sub.closing.Done()
	if err := m.Context().Err(); err != nil {
		t.Error(err)
	}
	m.Ack()
	<-closed

	again := newSubscriber(t, nc, opts)
	defer again.Close()
	if messages, err = again.Subscribe(t.Context(), "grace"); err != nil {
		t.Fatal(err)
	}
	m = <-messages
	if m.UUID != "two" {
		t.Errorf("got %s, want two", m.UUID)
	}
	m.Ack()
}
