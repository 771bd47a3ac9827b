package accept

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"recharged/state/charge"
)

const testMSISDN = "213770123456"

// startServer runs a NATS server until the test ends.
func startServer(t *testing.T, adjust func(*server.Options)) *server.Server {
	t.Helper()
	opts := &server.Options{Host: "127.0.0.1", Port: -1, NoLog: true, NoSigs: true, StoreDir: t.TempDir()}
	if adjust != nil {
		adjust(opts)
	}
	s, err := server.NewServer(opts)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("the NATS server does not start")
	}
	return s
}

func connect(t *testing.T, s *server.Server) *nats.Conn {
	t.Helper()
	unheard := nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {})
	conn, err := nats.Connect(s.ClientURL(), unheard)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	return conn
}

// serve opens the way in of a gateway on its own connection and returns it with
// a producer's connection.
func serve(t *testing.T, g *Gateway) (*NATS, *nats.Conn) {
	t.Helper()
	s := startServer(t, nil)
	n, err := ServeNATS(t.Context(), connect(t, s), g)
	if err != nil {
		t.Fatal(err)
	}
	return n, connect(t, s)
}

func closeNATS(t *testing.T, n *NATS) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := n.Close(ctx); err != nil {
		t.Errorf("close: %v", err)
	}
}

// wireReply is a reply as a client library reads it.
type wireReply struct {
	Verdict
	Error *nats.APIError `json:"error"`
	Left  int            `json:"rejected_not_listed"`
}

func request(t *testing.T, conn *nats.Conn, m *nats.Msg) wireReply {
	t.Helper()
	answer, err := conn.RequestMsg(m, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	var r wireReply
	if err := json.Unmarshal(answer.Data, &r); err != nil {
		t.Fatalf("%s: %v", answer.Data, err)
	}
	return r
}

func TestNATSModes(t *testing.T) {
	m, err := charge.ParseMSISDN(testMSISDN)
	if err != nil {
		t.Fatal(err)
	}
	fromProtobuf := contact("protobuf", m)
	cases := []struct {
		subject string
		header  nats.Header
		body    string
		want    string // ids that are accepted; then index and reason of the rejected
	}{
		{"recharged.events", nil, recharge("one", testMSISDN, "350"), "one |"},
		{"recharged.events.ussd.1", nil, "[" + recharge("two", testMSISDN, "1") + "," + recharge("three", testMSISDN, "1") + "]", "two three |"},
		{"recharged.events", nil, "[" + recharge("four", testMSISDN, "1") + ",{},7," + recharge("five", testMSISDN, "1") + "]",
			"four five | 1:missing_attribute 2:malformed"},
		{"recharged.events", nats.Header{"CE-SpecVersion": {"1.0"}, "ce-id": {"binary"}, "Ce-Source": {"/a"}, "ce-type": {"contact"},
			"ce-subject": {testMSISDN}, "ce-time": {"2026-11-21T10:00:00Z"}, "content-type": {"application/json"}},
			`{"channel":"call"}`, "binary |"},
		{"recharged.events", nats.Header{"content-type": {"application/protobuf"}}, string(charge.AppendProtobuf(nil, &fromProtobuf)), "protobuf |"},
		{"recharged.events", nil, string(charge.AppendProtobuf(nil, &fromProtobuf)), "protobuf |"},
		{"recharged.events", nats.Header{"Content-Type": {"text/plain"}}, string(charge.AppendProtobuf(nil, &fromProtobuf)), "| 0:malformed"},
		{"recharged.events", nil, jsonLikeProtobuf(t), "json |"},
		{"recharged.events", nats.Header{"ce-specversion": {"1.0"}, "ce-id": {"caf%C3%A9"}, "ce-source": {"/a"}, "ce-type": {"contact"},
			"ce-subject": {testMSISDN}, "ce-time": {"2026-11-21T10:00:00Z"}}, `{"channel":"call"}`, "café |"},
		{"recharged.events", nats.Header{"Content-Type": {"application/x-ndjson"}}, recharge("line", testMSISDN, "1") + "\n", "line |"},
		{"recharged.events", nil, recharge("bad", testMSISDN, "x"), "| 0:bad_amount"},
		{"recharged.events", nil, strings.Repeat(" ", charge.EventBytesMax) + recharge("big", testMSISDN, "1"), "| 0:too_large"},
		{"recharged.events", nil, "[]", "|"},
	}
	for _, c := range cases {
		l := &memoryLog{}
		n, conn := serve(t, newGateway(t, nil, l))
		r := request(t, conn, &nats.Msg{Subject: c.subject, Header: c.header, Data: []byte(c.body)})
		words := append(eventIDs(t, l), "|")
		accepted := len(words) - 1
		for _, rejected := range r.Rejected {
			words = append(words, strconv.Itoa(rejected.Index)+":"+string(rejected.Reason))
		}
		if got := strings.Join(words, " "); got != c.want || r.Accepted != accepted {
			t.Errorf("%.60s: accepted %d, %s, want %s", c.body, r.Accepted, got, c.want)
		}
		if failed := r.Error != nil; failed != (accepted == 0) || failed && (r.Error.Code != 400 || r.Error.Description == "") {
			t.Errorf("%.60s: error %+v", c.body, r.Error)
		}
		closeNATS(t, n)
	}
}

// jsonLikeProtobuf returns an event in JSON that has the look of a Protobuf
// batch: line breaks pass for tags, a brace and a space for the lengths 123 and 32.
func jsonLikeProtobuf(t *testing.T) string {
	t.Helper()
	text := fmt.Sprintf("\n%-124s\n %-32s",
		`{"specversion":"1.0","id":"json","source":"/a","type":"contact","subject":"`+testMSISDN+`","data":{"channel":"x"},`,
		`"time":"2026-11-21T10:00:00Z"}`)
	if !charge.IsProtobuf([]byte(text)) {
		t.Fatalf("%q has not the look of Protobuf", text)
	}
	return text
}

// A JetStream publish of a client library takes our reply for an acknowledgement.
func TestNATSJetStreamPublish(t *testing.T) {
	g := newGateway(t, nil, &memoryLog{})
	n, conn := serve(t, g)
	defer closeNATS(t, n)
	good, bad := []byte(recharge("a", testMSISDN, "350")), []byte(recharge("b", testMSISDN, "-1"))

	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	ack, err := js.Publish(t.Context(), "recharged.events", good)
	if err != nil || ack.Stream != "recharged_in_0" || ack.Sequence != 1 {
		t.Errorf("publish: %+v, %v", ack, err)
	}
	var refused *jetstream.APIError
	if _, err := js.Publish(t.Context(), "recharged.events", bad); !errors.As(err, &refused) ||
		refused.Code != 400 || refused.ErrorCode != natsErrorRejected || !strings.Contains(refused.Description, "bad_amount") {
		t.Errorf("publish of a bad event: %v", err)
	}
	future, err := js.PublishAsync("recharged.events.x", good)
	if err != nil {
		t.Fatal(err)
	}
	select {
	case ack := <-future.Ok():
		if ack.Sequence != 2 {
			t.Errorf("asynchronous publish: %+v", ack)
		}
	case err := <-future.Err():
		t.Errorf("asynchronous publish: %v", err)
	}

	old, err := conn.JetStream()
	if err != nil {
		t.Fatal(err)
	}
	if ack, err := old.Publish("recharged.events", good); err != nil || ack.Sequence != 3 {
		t.Errorf("publish by the older interface: %+v, %v", ack, err)
	}
}

func TestNATSUnderPressure(t *testing.T) {
	l := &memoryLog{gate: make(chan struct{})}
	down := &Unavailable{Reason: "the disk is full", RetryAfter: time.Second}
	var mu sync.Mutex
	var ready error
	catalog, batches := testCatalog(), make(chan struct{}, 1000)
	g := newGateway(t, func(o *Options) {
		o.QueueEventsMax = 1
		o.Catalog = func() *charge.Catalog { // is asked once per batch
			batches <- struct{}{}
			return catalog
		}
		o.Ready = func() error {
			mu.Lock()
			defer mu.Unlock()
			return ready
		}
	}, l)
	n, conn := serve(t, g)
	waiting := submit(g, contact("waiting", customerOf(0, 1)))
	event := &nats.Msg{Subject: "recharged.events", Data: []byte(recharge("a", testMSISDN, "1"))}
	if r := request(t, conn, event); r.Error == nil || r.Error.Code != 503 || r.Error.ErrorCode != natsErrorBusy || r.Accepted != 0 {
		t.Errorf("full queue: %+v", r)
	}
	mu.Lock()
	ready = down
	mu.Unlock()
	if r := request(t, conn, event); r.Error == nil || r.Error.Code != 503 || r.Error.ErrorCode != natsErrorUnavailable ||
		r.Error.Description != down.Reason {
		t.Errorf("not ready: %+v", r)
	}
	mu.Lock()
	ready = nil
	mu.Unlock()
	// Who asks for no reply can't be told to come again: the message waits.
	for len(batches) > 0 {
		<-batches
	}
	if err := conn.Publish("recharged.events", event.Data); err != nil {
		t.Fatal(err)
	}
	for range 3 { // It is tried again and again.
		<-batches
	}
	close(l.gate)
	if err := <-waiting; err != nil {
		t.Fatal(err)
	}
	closeNATS(t, n)
	if err := g.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := eventIDs(t, l); !slices.Equal(got, []string{"waiting", "a"}) {
		t.Errorf("the log holds %v", got)
	}
}

// lockedBuffer is a log output that a test reads while it is written to.
type lockedBuffer struct {
	mu   sync.Mutex
	data bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.data.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.data.String()
}

// Published without a reply subject and without waiting, events keep their
// order, and what is rejected is counted and logged, some of it, masked.
func TestNATSWithoutReply(t *testing.T) {
	const good, bad = 1000, 50
	l, output := &memoryLog{}, &lockedBuffer{}
	var mu sync.Mutex
	rejected := 0
	g := newGateway(t, func(o *Options) {
		o.Logger = slog.New(slog.NewTextHandler(output, nil))
		o.Observe.Rejected = func(string, charge.RejectReason) {
			mu.Lock()
			defer mu.Unlock()
			rejected++
		}
	}, l)
	n, conn := serve(t, g)
	var want []string
	for i := range good {
		id := strconv.Itoa(i)
		want = append(want, id)
		if err := conn.Publish("recharged.events.bulk", []byte(recharge(id, testMSISDN, "1"))); err != nil {
			t.Fatal(err)
		}
	}
	for range bad {
		if err := conn.Publish("recharged.events.bulk", []byte(recharge(testMSISDN, testMSISDN, "none"))); err != nil {
			t.Fatal(err)
		}
	}
	if err := conn.Flush(); err != nil {
		t.Fatal(err)
	}
	closeNATS(t, n)
	if got := eventIDs(t, l); !slices.Equal(got, want) {
		t.Errorf("the log holds %d events, the first ones %v", len(got), got[:min(10, len(got))])
	}
	lines := strings.Count(output.String(), "event rejected")
	if rejected != bad || lines == 0 || lines > bad/2 {
		t.Errorf("%d counted, %d logged", rejected, lines)
	}
	if strings.Contains(output.String(), testMSISDN) || !strings.Contains(output.String(), "213*******56") {
		t.Errorf("an MSISDN is not masked:\n%s", output)
	}
}

func TestNATSReplyFitsIntoAMessage(t *testing.T) {
	const events = 2000
	g := newGateway(t, nil, &memoryLog{})
	s := startServer(t, func(o *server.Options) { o.MaxPayload = 16 << 10 })
	n, err := ServeNATS(t.Context(), connect(t, s), g)
	if err != nil {
		t.Fatal(err)
	}
	defer closeNATS(t, n)
	body := "[" + strings.Repeat("7,", events-1) + "7]"
	r := request(t, connect(t, s), &nats.Msg{Subject: "recharged.events", Data: []byte(body)})
	if r.Accepted != 0 || r.Left == 0 || len(r.Rejected)+r.Left != events {
		t.Errorf("%d listed, %d not", len(r.Rejected), r.Left)
	}
}

// While a message is being read, those behind it pile up; what is dropped is
// counted and logged.
func TestNATSDroppedIsCounted(t *testing.T) {
	const limit, published = 5, 20
	reading, proceed := make(chan struct{}, published), make(chan struct{})
	catalog := testCatalog()
	dropped := 0
	output := &lockedBuffer{}
	g := newGateway(t, func(o *Options) {
		o.Catalog = func() *charge.Catalog {
			reading <- struct{}{}
			<-proceed
			return catalog
		}
		o.Observe.Dropped = func(n int) { dropped += n }
		o.Logger = slog.New(slog.NewTextHandler(output, nil))
	}, &memoryLog{})
	conn := connect(t, startServer(t, nil))
	n := &NATS{gateway: g, conn: conn, stop: make(chan struct{})} // Without its goroutines: the test counts itself.
	if err := n.subscribe(natsSubject); err != nil {
		t.Fatal(err)
	}
	n.dropped = make([]int, 1)
	if err := n.subs[0].SetPendingLimits(limit, 1<<20); err != nil {
		t.Fatal(err)
	}
	for range published {
		if err := conn.Publish(natsSubject, []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	<-reading
	if err := conn.Flush(); err != nil { // The answer comes after the messages.
		t.Fatal(err)
	}
	n.countDropped()
	n.countDropped()
	if dropped < published-limit-1 || dropped >= published || !strings.Contains(output.String(), fmt.Sprintf("messages=%d", dropped)) {
		t.Errorf("%d counted; logged:\n%s", dropped, output)
	}
	close(proceed)
	n.drain()
}
