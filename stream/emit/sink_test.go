package emit

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"recharged/state/charge"
	"recharged/stream/journal"
)

// world is a server with commit logs, and the outputs that the commits written
// to them must have.
type world struct {
	t       testing.TB
	server  *journal.Server
	journal *journal.Journal
	core    func() *nats.Conn
	public  func() *nats.Conn

	written []charge.Sequence // last commit of each partition
	want    map[Sink][]string // ids, in the order in which they were committed
	order   map[string]string // id → what its order is kept for
	letters map[string]uint64 // sender and receiver → number of the last letter
}

const testPartitions = 2

func newWorld(t testing.TB) *world {
	t.Helper()
	srv, err := journal.StartServer(journal.ServerOptions{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(srv.Shutdown)
	open := func(connect func() (*nats.Conn, error)) func() *nats.Conn {
		return func() *nats.Conn {
			nc, err := connect()
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(nc.Close)
			return nc
		}
	}
	w := &world{
		t: t, server: srv, core: open(srv.Core), public: open(srv.Public),
		written: make([]charge.Sequence, testPartitions),
		want:    make(map[Sink][]string), order: make(map[string]string), letters: make(map[string]uint64),
	}
	if w.journal, err = journal.Open(t.Context(), w.core(), journal.Options{Partitions: testPartitions, Replicas: 1}); err != nil {
		t.Fatal(err)
	}
	for p := range charge.Partition(testPartitions) {
		if err := w.journal.EventLog(p).Create(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

// commit writes a commit to partition p, every fifth of them a claim.
func (w *world) commit(p charge.Partition) {
	w.t.Helper()
	seq := w.written[p] + 1
	c := journal.Commit{Kind: journal.CommitTurn, Partition: p, Node: "test", Clock: 1_700_000_000_000_000_000}
	if seq%5 == 1 {
		c.Kind = journal.CommitClaim
	} else {
		w.fill(&c, seq)
	}
	record, err := w.journal.CommitLog(p).AppendAt(w.t.Context(), c.Append(nil), w.written[p])
	if err != nil {
		w.t.Fatal(err)
	}
	w.written[p] = record.Sequence
}

// fill puts notifications to three customers, two alerts, three outcomes and a
// letter to each partition into a commit, every other time two. The notifications
// of every third one go as a batch.
func (w *world) fill(c *journal.Commit, seq charge.Sequence) {
	expect := func(s Sink, id, order string) {
		w.want[s] = append(w.want[s], id)
		w.order[id] = order
	}
	notifications := 6
	if seq%3 == 0 {
		notifications = batchMin + 8
	}
	for n := range notifications {
		m := customer(c.Partition, n%3)
		c.Notifications = append(c.Notifications, charge.Notification{
			MSISDN: m, EventID: fmt.Sprint(seq), Rule: "rule", Template: "t", Language: "fr",
			Channel: []string{"sms", "app"}[n%2], Text: fmt.Sprintf("commit %d, number %d", seq, n), Time: c.Clock,
		})
		expect(Notifications, NotificationID(c.Partition, seq, n), m.String())
	}
	for n := range 2 {
		name := fmt.Sprintf("velocity-%d", c.Partition)
		c.Alerts = append(c.Alerts, charge.Alert{Name: name, Severity: "warning", Summary: "many", StartsAt: c.Clock})
		expect(Alerts, AlertID(c.Partition, seq, n), name)
	}
	for n := range 3 {
		m := customer(c.Partition, 0)
		c.Outcomes = append(c.Outcomes, charge.Outcome{
			EventID: fmt.Sprintf("%d-%d", seq, n), Source: "/test", Type: charge.Recharge, MSISDN: m,
			Time: c.Clock, Accepted: c.Clock, Result: charge.Applied, Rulebook: 1,
		})
		expect(Outcomes, OutcomeID(c.Partition, seq, n), m.String())
	}
	for n := range testPartitions * (1 + int(seq%2)) {
		to := charge.Partition(n % testPartitions)
		route := fmt.Sprintf("%d-%d", c.Partition, to)
		w.letters[route]++
		number := w.letters[route]
		c.Letters = append(c.Letters, journal.Letter{To: to, Number: number, Body: fmt.Appendf(nil, "%s-%d", route, number)})
		expect(Letters, fmt.Sprintf("letter-%s-%d", route, number), route)
	}
}

func customer(p charge.Partition, n int) charge.MSISDN {
	m, err := charge.ParseMSISDN(fmt.Sprintf("2137701%02d%03d", p, n))
	if err != nil {
		panic(err)
	}
	return m
}

// running is an Emitter at work.
type running struct {
	*Emitter
	t       testing.TB
	stopped chan error

	mu      sync.Mutex
	moved   chan struct{} // closed when emitted has changed
	emitted map[string]charge.Sequence
	errors  map[Sink]int
	results map[string]int
	durable int // outcomes
}

func (w *world) emitter(core, public *nats.Conn) *running {
	w.t.Helper()
	r := &running{
		t: w.t, stopped: make(chan error, 1), moved: make(chan struct{}),
		emitted: make(map[string]charge.Sequence), errors: make(map[Sink]int), results: make(map[string]int),
	}
	var err error
	r.Emitter, err = New(w.t.Context(), Options{
		Core: core, Public: public, Partitions: testPartitions, Outcomes: true,
		Streams:   func(p charge.Partition) string { return w.journal.CommitLog(p).Name() },
		EventLogs: w.journal.EventLog,
		Observe:   r.observer(),
		Logger:    slog.New(slog.NewTextHandler(w.t.Output(), nil)),
	})
	if err != nil {
		w.t.Fatal(err)
	}
	go func() { r.stopped <- r.Run(w.t.Context()) }()
	<-r.Running()
	w.t.Cleanup(func() {
		if err := r.Close(); err != nil {
			w.t.Error(err)
		}
	})
	return r
}

func (r *running) observer() Observer {
	changed := func(change func()) {
		r.mu.Lock()
		defer r.mu.Unlock()
		change()
		close(r.moved)
		r.moved = make(chan struct{})
	}
	return Observer{
		Emitted: func(s Sink, p charge.Partition, seq charge.Sequence, _ int, _ time.Time) {
			changed(func() { r.emitted[fmt.Sprint(s, p)] = seq })
		},
		SinkError: func(s Sink, _ charge.Partition, err error) {
			r.t.Logf("%s: %v", s, err)
			changed(func() { r.errors[s]++ })
		},
		Notification: func(channel, result string) { changed(func() { r.results[channel+" "+result]++ }) },
		Durable:      func(c *journal.Commit, _ time.Time) { changed(func() { r.durable += len(c.Outcomes) }) },
	}
}

// await waits until the observations are as wanted.
func (r *running) await(what string, reached func() bool) {
	r.t.Helper()
	deadline := time.After(30 * time.Second)
	for {
		r.mu.Lock()
		done, moved := reached(), r.moved
		r.mu.Unlock()
		if done {
			return
		}
		select {
		case <-moved:
		case <-deadline:
			r.t.Fatalf("%s: did not come; emitted %v, errors %v", what, r.emitted, r.errors)
		}
	}
}

// reached reports whether sinks have emitted everything that was written, or at
// least so many commits of each partition.
func (r *running) reached(w *world, least charge.Sequence, sinks ...Sink) func() bool {
	return func() bool {
		for _, s := range sinks {
			for p, last := range w.written {
				if r.emitted[fmt.Sprint(s, p)] < min(least, last) {
					return false
				}
			}
		}
		return true
	}
}

// all is every commit, for reached. The tests end each log with a turn.
const all = charge.Sequence(1 << 62)

// verify compares what the output streams and the event logs hold with what was
// committed.
func (w *world) verify(public *nats.Conn) {
	w.t.Helper()
	out := map[Sink][]string{Letters: w.delivered()}
	for s, stream := range map[Sink]string{Notifications: NotificationStream, Alerts: AlertStream, Outcomes: OutcomeStream} {
		out[s] = held(w.t, public, stream)
	}
	for s, ids := range out {
		byOrder := func(ids []string) map[string][]string {
			m := make(map[string][]string)
			for _, id := range ids {
				m[w.order[id]] = append(m[w.order[id]], id)
			}
			return m
		}
		got, want := byOrder(ids), byOrder(w.want[s])
		for order := range want {
			if !slices.Equal(got[order], want[order]) {
				w.t.Errorf("%s for %s: got %v, want %v", s, order, got[order], want[order])
			}
		}
		if len(got) != len(want) {
			w.t.Errorf("%s: for %d got, for %d wanted", s, len(got), len(want))
		}
	}
}

// held returns the ids in a stream, in its order.
func held(t testing.TB, nc *nats.Conn, name string) []string {
	t.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := js.Stream(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	state := stream.CachedInfo().State
	var ids []string
	for seq := state.FirstSeq; seq <= state.LastSeq; seq++ {
		m, err := stream.GetMsg(t.Context(), seq)
		if err != nil {
			t.Fatal(err)
		}
		var event struct{ ID, Type string }
		if err := json.Unmarshal(m.Data, &event); err != nil {
			t.Fatalf("%s: %v", m.Data, err)
		}
		id := m.Header.Get(jetstream.MsgIDHeader)
		if event.ID != id || !strings.HasPrefix(event.Type, "recharged.") {
			t.Errorf("message %s holds %s", id, m.Data)
		}
		ids = append(ids, id)
	}
	return ids
}

// TestEveryOutputOnce runs one emitter after another over logs that grow, the
// second after the first one lost its connections in the middle of its work.
func TestEveryOutputOnce(t *testing.T) {
	w := newWorld(t)
	first := w.emitter(w.core(), w.public()) // Before there are any logs.
	write := func(commits int) {
		for range commits {
			for p := range charge.Partition(testPartitions) {
				w.commit(p)
			}
		}
	}
	for p := range charge.Partition(testPartitions) {
		if err := w.journal.CommitLog(p).Create(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	write(15)
	first.await("some commits", first.reached(w, 6, Notifications, Alerts, Outcomes, Letters))
	first.opts.Core.Close()
	first.opts.Public.Close()
	if err := first.Close(); err != nil {
		t.Error(err)
	}
	if err := <-first.stopped; err != nil {
		t.Error(err)
	}

	write(15)
	second := w.emitter(w.core(), w.public())
	write(15)
	second.await("the end", second.reached(w, all, Notifications, Alerts, Outcomes, Letters))
	w.verify(w.public())
	lag, err := second.Lag(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(lag) != 4 || len(lag[Alerts]) != testPartitions {
		t.Errorf("lag of %d sinks and %d partitions: %v", len(lag), len(lag[Alerts]), lag)
	}
	if second.results["sms "+ResultSent] == 0 || second.durable == 0 {
		t.Errorf("observed %v and %d durable outcomes", second.results, second.durable)
	}
}

// TestPublicGoesAway stops the server that takes the outputs, and starts it
// again on the same port, in the middle of the work.
func TestPublicGoesAway(t *testing.T) {
	w := newWorld(t)
	dir := t.TempDir()
	srv := startServer(t, dir, -1)
	url, port := srv.ClientURL(), srv.Addr().(*net.TCPAddr).Port
	if err := w.journal.CommitLog(0).Create(t.Context()); err != nil {
		t.Fatal(err)
	}
	r := w.emitter(w.core(), dial(t, url)) // Partition 1 has no log: that delays nobody.
	for range 20 {
		w.commit(0)
	}
	r.await("some commits", r.reached(w, 5, Notifications))
	stopServer(srv)
	for range 20 {
		w.commit(0)
	}
	r.await("errors", func() bool { return r.errors[Notifications] > 0 && r.errors[Alerts] > 0 })
	startServer(t, dir, port)
	r.await("the end", r.reached(w, all, Notifications, Alerts, Outcomes, Letters))
	w.verify(dial(t, url))
}

// TestServerRestarts restarts the server that has it all in the middle of the work.
func TestServerRestarts(t *testing.T) {
	w := newWorld(t)
	if err := w.journal.CommitLog(0).Create(t.Context()); err != nil {
		t.Fatal(err)
	}
	r := w.emitter(w.core(), w.public())
	for range 20 {
		w.commit(0)
	}
	r.await("some commits", r.reached(w, 5, Notifications))
	if err := w.server.Restart(); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		w.commit(0)
	}
	r.await("the end", r.reached(w, all, Notifications, Alerts, Outcomes, Letters))
	w.verify(w.public())
}

// TestOneSinkDown takes one output stream away: its sink waits, the others go on.
func TestOneSinkDown(t *testing.T) {
	w := newWorld(t)
	if err := w.journal.CommitLog(0).Create(t.Context()); err != nil {
		t.Fatal(err)
	}
	public := w.public()
	r := w.emitter(w.core(), public)
	js, err := jetstream.New(public)
	if err != nil {
		t.Fatal(err)
	}
	if err := js.DeleteStream(t.Context(), NotificationStream); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		w.commit(0)
	}
	r.await("the other sinks", r.reached(w, all, Alerts, Outcomes, Letters))
	r.await("an error", func() bool { return r.errors[Notifications] > 0 })
	if r.errors[Alerts]+r.errors[Outcomes] > 0 || r.emitted[fmt.Sprint(Notifications, 0)] > 0 {
		t.Errorf("errors %v, emitted %v", r.errors, r.emitted)
	}
	if err := EnsureOutputs(t.Context(), public, OutputOptions{Outcomes: true}); err != nil {
		t.Fatal(err)
	}
	r.await("the end", r.reached(w, all, Notifications))
	w.verify(public)
}

// TestUnreadableCommit: what cannot be read is not skipped.
func TestUnreadableCommit(t *testing.T) {
	w := newWorld(t)
	log := w.journal.CommitLog(0)
	if err := log.Create(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.commit(0)
	w.commit(0)
	for _, payload := range [][]byte{
		[]byte("no commit"),
		(&journal.Commit{Kind: journal.CommitTurn, Partition: 1}).Append(nil),
	} {
		if _, err := log.Append(t.Context(), payload, ""); err != nil {
			t.Fatal(err)
		}
	}
	r := w.emitter(w.core(), w.public())
	position := func(partition int) Position {
		lag, err := r.Lag(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return lag[Alerts][partition]
	}
	// What comes before it goes out, though it may have been packed with it.
	want := Position{Sequence: 2, Pending: 2}
	seen := 0
	r.await("what comes before", func() bool {
		seen = r.errors[Alerts]
		return position(0) == want
	})
	r.await("further attempts", func() bool { return r.errors[Alerts] > seen+1 && r.errors[Notifications] > 1 })
	if got := position(0); got != want {
		t.Errorf("the position is %+v, want %+v", got, want)
	}
	if got := position(1); got != (Position{}) {
		t.Errorf("the position in a log that does not exist is %+v", got)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	_, err := New(t.Context(), Options{})
	for _, want := range []string{"connection", "0 partitions", "names of the commit logs"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want an error with %q", err, want)
		}
	}
}

// TestRunEndsWithContext: what Run returns is not the context's error, and a
// second Run is refused.
func TestRunEndsWithContext(t *testing.T) {
	w := newWorld(t)
	e, err := New(t.Context(), Options{
		Core: w.core(), Public: w.public(), Partitions: 1,
		Streams: func(charge.Partition) string { return "missing" },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := e.Run(ctx); err != nil {
		t.Error(err)
	}
	if err := e.Run(t.Context()); err == nil {
		t.Error("it ran twice")
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
}

func TestWaves(t *testing.T) {
	for _, test := range []struct{ orders, want string }{
		{"a", "0"},
		{"abc", "012"},
		{"aab", "02|1"},
		{"aabab", "02|14|3"}, // b's second waits for b's first, not for a's third.
		{"aaa", "0|1|2"},
	} {
		var outputs []output
		var left []int
		for i, order := range test.orders {
			outputs, left = append(outputs, output{order: string(order)}), append(left, i)
		}
		var waves []string
		for len(left) > 0 {
			var wave []int
			wave, left = split(outputs, left)
			waves = append(waves, strings.Trim(strings.ReplaceAll(fmt.Sprint(wave), " ", ""), "[]"))
		}
		if got := strings.Join(waves, "|"); got != test.want {
			t.Errorf("%s: got %s, want %s", test.orders, got, test.want)
		}
	}
}

func TestToken(t *testing.T) {
	for name, want := range map[string]string{"sms": "sms", "": "_", "a.b": "a_b", "*": "_", "x >": "x__", "été": "_t_"} {
		if got := token(name); got != want {
			t.Errorf("%q: got %q, want %q", name, got, want)
		}
	}
}
