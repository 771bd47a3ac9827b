package journal

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"recharged/state/charge"
)

// testLogger writes to the test's own log while the test runs.
func testLogger(t testing.TB) *slog.Logger {
	if !testing.Verbose() {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(logWriter{t}, nil))
}

type logWriter struct{ t testing.TB }

func (w logWriter) Write(line []byte) (int, error) {
	if w.t.Context().Err() == nil {
		w.t.Log(strings.TrimSpace(string(line)))
	}
	return len(line), nil
}

var _ io.Writer = logWriter{}

func within(t testing.TB, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func startServer(t testing.TB, opts ServerOptions) *Server {
	t.Helper()
	if opts.Dir == "" {
		opts.Dir = t.TempDir()
	}
	opts.Logger = testLogger(t)
	s, err := StartServer(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Shutdown)
	return s
}

func coreOf(t testing.TB, s *Server) *nats.Conn {
	t.Helper()
	conn, err := s.Core()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	return conn
}

func openJournal(t testing.TB, conn *nats.Conn, opts Options) *Journal {
	t.Helper()
	if opts.Partitions == 0 {
		opts.Partitions = 2
	}
	opts.Logger = testLogger(t)
	j, err := Open(within(t, 10*time.Second), conn, opts)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// newEventLog returns an empty log on a server of its own.
func newEventLog(t testing.TB) (*Log, *Server) {
	t.Helper()
	s := startServer(t, ServerOptions{})
	l := openJournal(t, coreOf(t, s), Options{}).EventLog(0)
	create(t, l)
	return l, s
}

func create(t testing.TB, l *Log) {
	t.Helper()
	ctx := within(t, 20*time.Second)
	err := l.Create(ctx)
	// The server answers a deletion before it has put the files away, and until
	// then it cannot make a stream of the same name.
	for err != nil && strings.Contains(err.Error(), "error creating store") && ctx.Err() == nil {
		err = l.Create(ctx)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// fill appends records r<from> to r<to>.
func fill(t testing.TB, l *Log, from, to int) {
	t.Helper()
	for i := from; i <= to; i++ {
		if _, err := l.Append(within(t, 20*time.Second), fmt.Appendf(nil, "r%d", i), ""); err != nil {
			t.Fatal(err)
		}
	}
}

func infoOf(t testing.TB, l *Log) Info {
	t.Helper()
	info, err := l.Info(within(t, 10*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	return info
}

func anchorOf(t testing.TB, l *Log, seq charge.Sequence) Anchor {
	t.Helper()
	record, err := l.Get(within(t, 10*time.Second), seq)
	if err != nil {
		t.Fatal(err)
	}
	return record.Anchor(infoOf(t, l).Created)
}

// startCluster starts three servers that know each other and returns a
// connection to them.
func startCluster(t testing.TB) (*nats.Conn, []*server.Server) {
	t.Helper()
	var routes []*url.URL
	var listeners []net.Listener
	for range 3 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		listeners = append(listeners, l)
		routes = append(routes, &url.URL{Scheme: "nats-route", Host: l.Addr().String()})
	}
	var servers []*server.Server
	for i, l := range listeners {
		port := l.Addr().(*net.TCPAddr).Port
		l.Close()
		opts := &server.Options{
			ServerName: fmt.Sprintf("n%d", i+1), Host: "127.0.0.1", Port: server.RANDOM_PORT,
			NoSigs: true, NoLog: true, JetStream: true, StoreDir: t.TempDir(), SyncAlways: true,
			JetStreamMaxStore: 1 << 30, JetStreamMaxMemory: 64 << 20,
			Cluster: server.ClusterOpts{Name: "test", Host: "127.0.0.1", Port: port},
			Routes:  routes,
		}
		s, err := server.NewServer(opts)
		if err != nil {
			t.Fatal(err)
		}
		s.Start()
		t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
		servers = append(servers, s)
	}
	var urls []string
	for _, s := range servers {
		if !s.ReadyForConnections(20 * time.Second) {
			t.Fatal("a server of the cluster is not ready")
		}
		urls = append(urls, s.ClientURL())
	}
	conn, err := nats.Connect(strings.Join(urls, ","), ConnectOptions("test", testLogger(t))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	waitUntil(t, 30*time.Second, func() bool { return servers[0].JetStreamIsCurrent() && clusterHasLeader(servers) })
	return conn, servers
}

func clusterHasLeader(servers []*server.Server) bool {
	for _, s := range servers {
		if s.JetStreamIsLeader() && len(s.JetStreamClusterPeers()) == len(servers) {
			return true
		}
	}
	return false
}

// waitUntil asks again and again; for what nobody sends a signal about.
func waitUntil(t testing.TB, d time.Duration, ok func() bool) {
	t.Helper()
	ctx := within(t, d)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-ctx.Done():
			t.Fatalf("it did not become true in %v", d)
		case <-tick.C:
		}
	}
}

func TestVersionAtLeast(t *testing.T) {
	for _, c := range []struct {
		have string
		want bool
	}{
		{"2.15.2", true}, {"2.15.3", true}, {"2.16.0-dev", true}, {"3.0.0", true}, {"2.15.10", true},
		{"2.15.1", false}, {"2.9.20", false}, {"", false}, {"2.15", false}, {"x.y.z", false},
	} {
		if got := versionAtLeast(c.have, serverVersionMin); got != c.want {
			t.Errorf("versionAtLeast(%q) = %v", c.have, got)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	ctx := within(t, 10*time.Second)
	s := startServer(t, ServerOptions{})
	conn := coreOf(t, s)
	_, err := Open(ctx, conn, Options{Partitions: 0, Replicas: 9, PublishTimeout: time.Hour})
	for _, want := range []string{"partitions", "replicas", "publish timeout"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("bad options: %v names no %s", err, want)
		}
	}
	plain, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true})
	if err != nil {
		t.Fatal(err)
	}
	plain.Start()
	defer plain.Shutdown()
	if !plain.ReadyForConnections(10 * time.Second) {
		t.Fatal("not ready")
	}
	without, err := nats.Connect(plain.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	defer without.Close()
	if _, err := Open(ctx, without, Options{Partitions: 1}); err == nil || !strings.Contains(err.Error(), "JetStream") {
		t.Errorf("server without JetStream: %v", err)
	}
}
