package journal

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"math/big"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

func TestServerRestartsOnItsDirectory(t *testing.T) {
	dir := t.TempDir()
	s := startServer(t, ServerOptions{Dir: dir})
	l := openJournal(t, coreOf(t, s), Options{}).EventLog(1)
	create(t, l)
	fill(t, l, 1, 50)
	before := infoOf(t, l)
	begin := time.Now()
	s.Shutdown()
	if took := time.Since(begin); took > 3*time.Second {
		t.Errorf("shutdown took %v", took)
	}
	s.Shutdown() // twice is no harm
	if s.Health() == nil {
		t.Error("a server that was stopped is healthy")
	}
	again := startServer(t, ServerOptions{Dir: dir})
	l = openJournal(t, coreOf(t, again), Options{}).EventLog(1)
	if after := infoOf(t, l); after != before {
		t.Errorf("after the restart: %+v, before: %+v", after, before)
	}
	r, err := l.Read(within(t, 10*time.Second), 1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	wantRecords(t, r, 1, 50)
}

func TestServerWithoutListener(t *testing.T) {
	s := startServer(t, ServerOptions{})
	if addr := s.Addr(); addr != "" {
		t.Errorf("address %q", addr)
	}
	if s.current().Addr() != nil {
		t.Errorf("it listens on %v", s.current().Addr())
	}
	if !s.current().JetStreamConfig().SyncAlways {
		t.Error("records are acknowledged before they are synced")
	}
}

func TestServerKeepsItsPort(t *testing.T) {
	s := startServer(t, ServerOptions{Listen: "127.0.0.1:0"})
	addr := s.Addr()
	if err := s.Restart(); err != nil {
		t.Fatal(err)
	}
	if again := s.Addr(); again != addr {
		t.Errorf("address %s became %s", addr, again)
	}
}

func TestStartServerRefuses(t *testing.T) {
	for _, opts := range []ServerOptions{
		{},
		{Dir: t.TempDir(), Listen: "127.0.0.1"},
		{Dir: t.TempDir(), Listen: "127.0.0.1:nats"},
		{Dir: t.TempDir(), Listen: "127.0.0.1:70000"},
	} {
		if s, err := StartServer(opts); err == nil {
			s.Shutdown()
			t.Errorf("%+v was accepted", opts)
		}
	}
}

func TestServerTLS(t *testing.T) {
	config, pool := selfSigned(t)
	s := startServer(t, ServerOptions{Listen: "127.0.0.1:0", TLS: config})
	conn, err := nats.Connect("tls://"+s.Addr(), nats.Secure(&tls.Config{RootCAs: pool}))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.TLSConnectionState(); err != nil {
		t.Errorf("no TLS: %v", err)
	}
	raw, err := net.Dial("tcp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	_ = raw.SetDeadline(time.Now().Add(10 * time.Second))
	_, _ = raw.Write([]byte("CONNECT {}\r\nPING\r\n"))
	answer := make([]byte, 64<<10)
	var all strings.Builder
	for {
		n, err := raw.Read(answer)
		all.Write(answer[:n])
		if err != nil {
			break
		}
	}
	if strings.Contains(all.String(), "PONG") {
		t.Error("a client without TLS was served")
	}
	// In-process connections need none.
	openJournal(t, coreOf(t, s), Options{})
}

func selfSigned(t *testing.T) (*tls.Config, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, MinVersion: tls.VersionTLS13}, pool
}

// publicSide is a server with a listener and the output streams, as a running
// processor has it.
func publicSide(t *testing.T, authorize func(user, password, token string) (Access, bool)) (*Server, jetstream.JetStream) {
	t.Helper()
	s := startServer(t, ServerOptions{Listen: "127.0.0.1:0", Authorize: authorize})
	create(t, openJournal(t, coreOf(t, s), Options{}).EventLog(0))
	conn, err := s.Public()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	ctx := within(t, 20*time.Second)
	for name, subject := range outputs() {
		if _, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: name, Subjects: []string{subject}, Storage: jetstream.FileStorage}); err != nil {
			t.Fatal(err)
		}
	}
	for subject, stream := range map[string]string{
		"recharged.notifications.sms": "recharged_notifications",
		"recharged.alerts.warning":    "recharged_alerts",
		"recharged.outcomes.0":        "recharged_outcomes",
	} {
		if _, err := js.Publish(ctx, subject, []byte("output"), jetstream.WithExpectStream(stream), jetstream.WithMsgID("0-1-0")); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := conn.QueueSubscribe("recharged.events", "accept", func(m *nats.Msg) {
		_ = m.Respond([]byte(`{"accepted":1,"rejected":[],"stream":"recharged","seq":7}`))
	}); err != nil {
		t.Fatal(err)
	}
	if err := conn.Flush(); err != nil {
		t.Fatal(err)
	}
	return s, js
}

// outside is a connection over TCP; refusals arrives what the server refuses.
func outside(t *testing.T, s *Server, opts ...nats.Option) (*nats.Conn, chan error) {
	t.Helper()
	refusals := make(chan error, 16)
	opts = append(opts, nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { refusals <- err }))
	conn, err := nats.Connect("nats://"+s.Addr(), opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	return conn, refusals
}

func wantRefusal(t *testing.T, refusals <-chan error, subject string) {
	t.Helper()
	select {
	case err := <-refusals:
		if !errors.Is(err, nats.ErrPermissionViolation) || !strings.Contains(err.Error(), subject) {
			t.Errorf("%s: refused with %v", subject, err)
		}
	case <-time.After(10 * time.Second):
		t.Errorf("%s was not refused", subject)
	}
}

// deniedSubjects are what no outside client may publish to.
func deniedSubjects() []string {
	return []string{
		"recharged.in.0", "recharged.tx.0", "recharged.books",
		"recharged.notifications.sms", "recharged.alerts.critical", "recharged.outcomes.0",
		"$JS.API.STREAM.PURGE.recharged_notifications", "$JS.API.STREAM.DELETE.recharged_notifications",
		"$JS.API.STREAM.CREATE.mine", "$JS.API.STREAM.UPDATE.recharged_notifications",
		"$JS.API.STREAM.MSG.DELETE.recharged_notifications", "$JS.API.STREAM.RESTORE.recharged_notifications",
		"$JS.API.STREAM.SNAPSHOT.recharged_notifications", "$JS.API.STREAM.LIST",
		"$JS.API.STREAM.INFO.recharged_in_0", "$JS.API.CONSUMER.CREATE.recharged_in_0.x",
		"$JS.API.CONSUMER.MSG.NEXT.recharged_tx_0.x", "$JS.API.SERVER.REMOVE", "$SYS.REQ.SERVER.PING", "anything.else",
	}
}

func TestOutsideIsRefused(t *testing.T) {
	s, js := publicSide(t, nil)
	conn, refusals := outside(t, s)
	for _, subject := range deniedSubjects() {
		if err := conn.Publish(subject, []byte("{}")); err != nil {
			t.Fatal(err)
		}
		wantRefusal(t, refusals, subject)
	}
	for _, subject := range []string{"recharged.in.>", ">", "$JS.>", "recharged.events", "recharged.>", "$SYS.>"} {
		if _, err := conn.SubscribeSync(subject); err != nil {
			t.Fatal(err)
		}
		wantRefusal(t, refusals, subject)
	}
	// What is refused does not look like a success to whoever waits for an answer.
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	client, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Publish(ctx, "recharged.notifications.sms", []byte("forged")); err == nil {
		t.Error("a forged notification was acknowledged")
	}
	for name := range outputs() {
		stream, err := js.Stream(within(t, 10*time.Second), name)
		if err != nil {
			t.Fatal(err)
		}
		if messages := stream.CachedInfo().State.Msgs; messages != 1 {
			t.Errorf("%s has %d messages", name, messages)
		}
	}
}

func TestOutsideReadsAndIngests(t *testing.T) {
	s, _ := publicSide(t, nil)
	conn, refusals := outside(t, s)
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	ctx := within(t, 30*time.Second)
	ack, err := js.Publish(ctx, "recharged.events", []byte("{}"))
	if err != nil || ack.Sequence != 7 {
		t.Errorf("publish an event: %+v, %v", ack, err)
	}
	name, err := js.StreamNameBySubject(ctx, "recharged.notifications.>")
	if err != nil || name != "recharged_notifications" {
		t.Errorf("look up the stream: %q, %v", name, err)
	}
	for stream := range outputs() {
		ordered, err := js.OrderedConsumer(ctx, stream, jetstream.OrderedConsumerConfig{})
		if err != nil {
			t.Fatal(err)
		}
		wantOutput(t, ordered)
		durable, err := js.CreateOrUpdateConsumer(ctx, stream, jetstream.ConsumerConfig{Durable: "gateway", AckPolicy: jetstream.AckExplicitPolicy})
		if err != nil {
			t.Fatal(err)
		}
		wantOutput(t, durable)
		if info, err := durable.Info(ctx); err != nil || info.NumAckPending != 0 || info.AckFloor.Stream != 1 {
			t.Errorf("%s: after the acknowledgement %+v, %v", stream, info, err)
		}
		if err := js.DeleteConsumer(ctx, stream, "gateway"); err != nil {
			t.Errorf("%s: delete a consumer: %v", stream, err)
		}
	}
	select {
	case err := <-refusals:
		t.Errorf("something was refused: %v", err)
	default:
	}
}

// wantOutput consumes and acknowledges the one message of an output.
func wantOutput(t *testing.T, consumer jetstream.Consumer) {
	t.Helper()
	messages, err := consumer.Messages()
	if err != nil {
		t.Fatal(err)
	}
	defer messages.Stop()
	msg, err := messages.Next(jetstream.NextContext(within(t, 10*time.Second)))
	if err != nil || string(msg.Data()) != "output" {
		t.Fatalf("consume: %v", err)
	}
	if consumer.CachedInfo().Config.AckPolicy == jetstream.AckExplicitPolicy {
		if err := msg.DoubleAck(within(t, 10*time.Second)); err != nil {
			t.Errorf("acknowledge: %v", err)
		}
	}
}

func TestOutsideScopes(t *testing.T) {
	s, _ := publicSide(t, func(user, password, token string) (Access, bool) {
		switch {
		case user == "gateway" && password == "g":
			return Access{Ingest: true}, true
		case token == "reader":
			return Access{Read: true}, true
		case user == "nobody":
			return Access{}, true
		}
		return Access{}, false
	})
	gateway, refusedGateway := outside(t, s, nats.UserInfo("gateway", "g"))
	reader, refusedReader := outside(t, s, nats.Token("reader"))
	nobody, refusedNobody := outside(t, s, nats.UserInfo("nobody", ""))

	answer, err := gateway.Request("recharged.events", []byte("{}"), 10*time.Second)
	if err != nil || !strings.Contains(string(answer.Data), `"accepted":1`) {
		t.Errorf("the gateway's event: %v", err)
	}
	for _, c := range []struct {
		conn     *nats.Conn
		refusals chan error
		subjects []string
	}{
		{gateway, refusedGateway, append(deniedSubjects(), "$JS.API.STREAM.INFO.recharged_notifications", "$JS.API.STREAM.NAMES")},
		{reader, refusedReader, append(deniedSubjects(), "recharged.events", "recharged.events.x")},
		{nobody, refusedNobody, append(deniedSubjects(), "recharged.events", "$JS.API.STREAM.NAMES")},
	} {
		for _, subject := range c.subjects {
			if err := c.conn.Publish(subject, nil); err != nil {
				t.Fatal(err)
			}
			wantRefusal(t, c.refusals, subject)
		}
	}
	js, err := jetstream.New(reader)
	if err != nil {
		t.Fatal(err)
	}
	// Who only ingests may listen to inboxes, but not to a reader's.
	spy, err := gateway.SubscribeSync("_INBOX.>")
	if err == nil {
		err = gateway.Flush()
	}
	if err != nil {
		t.Fatal(err)
	}
	consumer, err := js.OrderedConsumer(within(t, 10*time.Second), "recharged_notifications", jetstream.OrderedConsumerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	wantOutput(t, consumer)
	if err := gateway.Flush(); err != nil {
		t.Fatal(err)
	}
	if msg, err := spy.NextMsg(50 * time.Millisecond); err == nil {
		t.Errorf("the gateway saw %q", msg.Data)
	}
}

// A reader has the server deliver an output onto the subjects of outputs, by a
// consumer that pushes and by the reply subject of a fetch. The headers with
// which outputs are published stay with the copies: the expected stream keeps
// them out of the other outputs, the id out of their own.
func TestOutputsAreNotCopied(t *testing.T) {
	s, public := publicSide(t, nil)
	conn, _ := outside(t, s)
	ctx := within(t, 30*time.Second)
	for i, target := range []string{"recharged.alerts.critical", "recharged.notifications.sms"} {
		js, err := jetstream.New(conn)
		if err != nil {
			t.Fatal(err)
		}
		name := "thief" + strconv.Itoa(i)
		if _, err := js.CreateConsumer(ctx, "recharged_notifications", jetstream.ConsumerConfig{Durable: name, AckPolicy: jetstream.AckNonePolicy}); err != nil {
			t.Fatal(err)
		}
		if err := conn.PublishRequest("$JS.API.CONSUMER.MSG.NEXT.recharged_notifications."+name, target, []byte(`{"batch":1,"no_wait":true}`)); err != nil {
			t.Fatal(err)
		}
		waitUntil(t, 10*time.Second, func() bool {
			consumer, err := public.Consumer(ctx, "recharged_notifications", name)
			return err == nil && consumer.CachedInfo().Delivered.Stream == 1
		})
	}
	if _, err := conn.SubscribeSync("recharged.alerts.warning"); err != nil { // without a listener nothing is pushed
		t.Fatal(err)
	}
	push := `{"stream_name":"recharged_notifications","config":{"durable_name":"push","deliver_subject":"recharged.alerts.warning","ack_policy":"none","deliver_policy":"all"}}`
	if answer, err := conn.Request("$JS.API.CONSUMER.DURABLE.CREATE.recharged_notifications.push", []byte(push), 10*time.Second); err != nil || strings.Contains(string(answer.Data), `"error"`) {
		t.Fatalf("create a consumer that pushes: %v %s", err, answer.Data)
	}
	waitUntil(t, 10*time.Second, func() bool {
		consumer, err := public.PushConsumer(ctx, "recharged_notifications", "push")
		return err == nil && consumer.CachedInfo().Delivered.Stream == 1
	})
	// What is published behind the copies shows that they have been looked at.
	publish := func(subject, stream string) uint64 {
		ack, err := public.Publish(ctx, subject, []byte("end"), jetstream.WithExpectStream(stream))
		if err != nil {
			t.Fatal(err)
		}
		return ack.Sequence
	}
	if seq := publish("recharged.notifications.end", "recharged_notifications"); seq != 2 {
		t.Errorf("a notification was copied: the next one is %d", seq)
	}
	if seq := publish("recharged.alerts.end", "recharged_alerts"); seq != 2 {
		t.Errorf("a notification was copied to the alerts: the next one is %d", seq)
	}
	// An output published without the header would be copied.
	if _, err := public.Publish(ctx, "recharged.notifications.bare", []byte("bare")); err != nil {
		t.Fatal(err)
	}
	waitUntil(t, 10*time.Second, func() bool {
		stream, err := public.Stream(ctx, "recharged_alerts")
		return err == nil && stream.CachedInfo().State.LastSeq == 3
	})
}

// Neither a wrong token nor our own names let anyone in from outside.
func TestOutsideIsTurnedAway(t *testing.T) {
	s := startServer(t, ServerOptions{Listen: "127.0.0.1:0", Authorize: func(_, _, token string) (Access, bool) {
		return Access{Read: true}, token == "t"
	}})
	for _, opt := range []nats.Option{
		nats.Token("x"), nats.Name("no credentials"),
		nats.UserInfo(userCore, ""), nats.UserInfo(userCore, "guess"),
		nats.UserInfo(userCore, s.guard.secret), nats.UserInfo(userPublic, s.guard.secret),
	} {
		conn, err := nats.Connect("nats://"+s.Addr(), opt)
		if !errors.Is(err, nats.ErrAuthorization) {
			t.Errorf("connect: %v", err)
		}
		if conn != nil {
			conn.Close()
		}
	}
}

// The accounts do not see each other's subjects.
func TestAccountsAreApart(t *testing.T) {
	s := startServer(t, ServerOptions{})
	core := coreOf(t, s)
	public, err := s.Public()
	if err != nil {
		t.Fatal(err)
	}
	defer public.Close()
	create(t, openJournal(t, core, Options{}).EventLog(0))
	js, err := jetstream.New(public)
	if err != nil {
		t.Fatal(err)
	}
	ctx := within(t, 10*time.Second)
	if _, err := js.Stream(ctx, "recharged_in_0"); !errors.Is(err, jetstream.ErrStreamNotFound) {
		t.Errorf("PUBLIC sees the event log: %v", err)
	}
	if _, err := public.Request("recharged.in.0", []byte("forged"), time.Second); !errors.Is(err, nats.ErrNoResponders) {
		t.Errorf("PUBLIC reaches the event log: %v", err)
	}
}
