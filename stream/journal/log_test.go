package journal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"recharged/state/charge"
)

// TestLog runs what a log promises on a single stream of the embedded server and
// on a replicated one of a cluster: the two answer some requests differently.
func TestLog(t *testing.T) {
	t.Run("replicas=1", func(t *testing.T) {
		logSuite(t, coreOf(t, startServer(t, ServerOptions{})), 1)
	})
	t.Run("replicas=3", func(t *testing.T) {
		if testing.Short() {
			t.Skip("a cluster takes seconds to start")
		}
		conn, _ := startCluster(t)
		logSuite(t, conn, 3)
	})
}

func logSuite(t *testing.T, conn *nats.Conn, replicas int) {
	j := openJournal(t, conn, Options{Partitions: 16, Replicas: replicas})
	partition := charge.Partition(0)
	for _, c := range []struct {
		name string
		run  func(*testing.T, *Log)
	}{
		{"create", suiteCreate},
		{"append", suiteAppend},
		{"append repeats an id", suiteAppendRepeated},
		{"append at", suiteAppendAt},
		{"append at finds its own record", suiteAppendAtOwn},
		{"append at fences", suiteAppendAtFences},
		{"append at races", suiteAppendAtRaces},
		{"append at after a trim", suiteAppendAtTrimmed},
		{"append at a log rolled back", suiteAppendAtRolledBack},
		{"get", suiteGet},
		{"read", suiteRead},
		{"log is full", suiteFull},
		{"log is missing", suiteMissing},
	} {
		log := j.CommitLog(partition)
		partition++
		t.Run(c.name, func(t *testing.T) { c.run(t, log) })
	}
}

func suiteCreate(t *testing.T, l *Log) {
	ctx := within(t, 20*time.Second)
	if _, err := l.Info(ctx); !errors.Is(err, ErrNoLog) {
		t.Fatalf("info before: %v", err)
	}
	create(t, l)
	before := infoOf(t, l)
	if before.Created == 0 || before.First != 1 || before.Last != 0 || before.Lost {
		t.Errorf("info of an empty log: %+v", before)
	}
	create(t, l)
	if after := infoOf(t, l); after != before {
		t.Errorf("creating it again made %+v of %+v", after, before)
	}
	config := l.config()
	config.Discard, config.MaxAge = jetstream.DiscardOld, time.Hour
	if _, err := l.js.UpdateStream(ctx, config); err != nil {
		t.Fatal(err)
	}
	err := l.Create(ctx)
	for _, want := range []string{"discard is DiscardOld", "max age is 1h0m0s"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("another configuration: %v does not say %q", err, want)
		}
	}
}

func suiteAppend(t *testing.T, l *Log) {
	create(t, l)
	for want := charge.Sequence(1); want <= 5; want++ {
		got, err := l.Append(within(t, 10*time.Second), []byte{byte(want)}, fmt.Sprintf("id-%d", want))
		if err != nil || got != want {
			t.Fatalf("append %d: %d, %v", want, got, err)
		}
	}
	if info := infoOf(t, l); info.First != 1 || info.Last != 5 || info.Records != 5 || info.Bytes == 0 {
		t.Errorf("info: %+v", info)
	}
	huge := make([]byte, l.js.Conn().MaxPayload()+1)
	if _, err := l.Append(within(t, 10*time.Second), huge, "huge"); !errors.Is(err, nats.ErrMaxPayload) || errors.Is(err, ErrUnknown) {
		t.Errorf("append of too much: %v", err)
	}
}

func suiteAppendRepeated(t *testing.T, l *Log) {
	create(t, l)
	ctx := within(t, 10*time.Second)
	first, err := l.Append(ctx, []byte("a"), "same")
	if err != nil {
		t.Fatal(err)
	}
	again, err := l.Append(ctx, []byte("a"), "same")
	if err != nil || again != first {
		t.Errorf("again: %d, %v, first %d", again, err, first)
	}
	if info := infoOf(t, l); info.Records != 1 {
		t.Errorf("%d records", info.Records)
	}
}

func suiteAppendAt(t *testing.T, l *Log) {
	create(t, l)
	ctx := within(t, 10*time.Second)
	var after charge.Sequence
	for i := range 10 {
		record, err := l.AppendAt(ctx, fmt.Appendf(nil, "commit %d", i), after)
		if err != nil || record.Sequence != after+1 {
			t.Fatalf("append after %d: %d, %v", after, record.Sequence, err)
		}
		after = record.Sequence
	}
	if last, err := l.Last(ctx); err != nil || string(last.Data) != "commit 9" || last.Sequence != 10 || last.Stamp == 0 {
		t.Errorf("last: %+v, %v", last, err)
	}
}

// The acknowledgement was lost and the commit is sent again.
func suiteAppendAtOwn(t *testing.T, l *Log) {
	create(t, l)
	ctx := within(t, 10*time.Second)
	fill(t, l, 1, 3)
	if _, err := l.AppendAt(ctx, []byte("mine"), 3); err != nil {
		t.Fatal(err)
	}
	record, err := l.AppendAt(ctx, []byte("mine"), 3)
	if err != nil || record.Sequence != 4 || string(record.Data) != "mine" {
		t.Errorf("again: %+v, %v", record, err)
	}
	if info := infoOf(t, l); info.Last != 4 {
		t.Errorf("log ends at %d", info.Last)
	}
	// Another record behind it does not make it undone.
	fill(t, l, 5, 5)
	if record, err := l.AppendAt(ctx, []byte("mine"), 3); err != nil || record.Sequence != 4 {
		t.Errorf("once more: %+v, %v", record, err)
	}
}

func suiteAppendAtFences(t *testing.T, l *Log) {
	create(t, l)
	ctx := within(t, 10*time.Second)
	fill(t, l, 1, 2)
	if _, err := l.AppendAt(ctx, []byte("claim of B"), 2); err != nil {
		t.Fatal(err)
	}
	_, err := l.AppendAt(ctx, []byte("turn of A"), 2)
	var conflict *Conflict
	if !errors.Is(err, ErrConflict) || !errors.As(err, &conflict) {
		t.Fatalf("fenced append: %v", err)
	}
	if conflict.After != 2 || conflict.Last != 3 || string(conflict.Found.Data) != "claim of B" {
		t.Errorf("conflict: %+v", conflict)
	}
	if errors.Is(err, ErrUnknown) {
		t.Errorf("a fenced append is not in doubt: %v", err)
	}
	if info := infoOf(t, l); info.Last != 3 {
		t.Errorf("log ends at %d", info.Last)
	}
}

// Several writers append at the same place at once: one gets it, and each knows.
func suiteAppendAtRaces(t *testing.T, l *Log) {
	create(t, l)
	ctx := within(t, 20*time.Second)
	const writers, rounds = 4, 10
	for round := range charge.Sequence(rounds) {
		results := make(chan error, writers)
		for w := range writers {
			go func() {
				_, err := l.AppendAt(ctx, fmt.Appendf(nil, "round %d writer %d", round, w), round)
				results <- err
			}()
		}
		won := 0
		for range writers {
			if err := <-results; err == nil {
				won++
			} else if !errors.Is(err, ErrConflict) {
				t.Fatal(err)
			}
		}
		if won != 1 {
			t.Fatalf("round %d: %d writers won", round, won)
		}
	}
	if info := infoOf(t, l); info.Last != rounds {
		t.Errorf("log ends at %d", info.Last)
	}
}

func suiteAppendAtTrimmed(t *testing.T, l *Log) {
	create(t, l)
	ctx := within(t, 10*time.Second)
	fill(t, l, 1, 5)
	trim(t, l, 6)
	if info := infoOf(t, l); info.First != 6 || info.Last != 5 || info.Lost {
		t.Fatalf("info of a trimmed log: %+v", info)
	}
	if record, err := l.AppendAt(ctx, []byte("next"), 5); err != nil || record.Sequence != 6 {
		t.Errorf("append: %+v, %v", record, err)
	}
	var conflict *Conflict
	if _, err := l.AppendAt(ctx, []byte("late"), 3); !errors.As(err, &conflict) || conflict.Last != 6 || conflict.Found.Sequence != 0 {
		t.Errorf("append into what is trimmed: %v", err)
	}
}

func suiteAppendAtRolledBack(t *testing.T, l *Log) {
	create(t, l)
	fill(t, l, 1, 3)
	_, err := l.AppendAt(within(t, 10*time.Second), []byte("x"), 7)
	wantBreak(t, err, RolledBack)
}

func suiteGet(t *testing.T, l *Log) {
	create(t, l)
	ctx := within(t, 10*time.Second)
	if _, err := l.Last(ctx); !errors.Is(err, ErrNoRecord) {
		t.Errorf("last of an empty log: %v", err)
	}
	fill(t, l, 1, 3)
	record, err := l.Get(ctx, 2)
	if err != nil || string(record.Data) != "r2" || record.Sequence != 2 || record.Stamp == 0 {
		t.Errorf("get: %+v, %v", record, err)
	}
	if _, err := l.Get(ctx, 4); !errors.Is(err, ErrNoRecord) {
		t.Errorf("get beyond the end: %v", err)
	}
}

func suiteRead(t *testing.T, l *Log) {
	create(t, l)
	fill(t, l, 1, 20)
	r, err := l.Read(within(t, 10*time.Second), 5)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	wantRecords(t, r, 5, 20)
	if _, ok, err := r.TryNext(); ok || err != nil {
		t.Errorf("TryNext at the end: %v, %v", ok, err)
	}
	fill(t, l, 21, 30)
	wantRecords(t, r, 21, 30)
}

func suiteFull(t *testing.T, l *Log) {
	create(t, l)
	ctx := within(t, 10*time.Second)
	fill(t, l, 1, 1)
	config := l.config()
	config.MaxBytes = 4096
	if _, err := l.js.UpdateStream(ctx, config); err != nil {
		t.Fatal(err)
	}
	if err := l.Create(ctx); err != nil {
		t.Errorf("a size limit is the operator's: %v", err)
	}
	large := bytes.Repeat([]byte("x"), 5000)
	if _, err := l.Append(ctx, large, "large"); !errors.Is(err, ErrNoSpace) {
		t.Errorf("append to a full log: %v", err)
	}
	if _, err := l.AppendAt(ctx, large, 1); !errors.Is(err, ErrNoSpace) {
		t.Errorf("append at the end of a full log: %v", err)
	}
}

func suiteMissing(t *testing.T, l *Log) {
	ctx := within(t, 20*time.Second)
	_, err := l.Append(ctx, []byte("x"), "x")
	wantBreak(t, err, Missing)
	_, err = l.AppendAt(ctx, []byte("x"), 0)
	wantBreak(t, err, Missing)
	_, err = l.Read(ctx, 1)
	wantBreak(t, err, Missing)
	if _, err := l.Get(ctx, 1); !errors.Is(err, ErrNoLog) {
		t.Errorf("get: %v", err)
	}
}

// trim drops the records before first, as archiving does.
func trim(t testing.TB, l *Log, first charge.Sequence) {
	t.Helper()
	ctx := within(t, 10*time.Second)
	stream, err := l.js.Stream(ctx, l.name)
	if err == nil {
		err = stream.Purge(ctx, jetstream.WithPurgeSequence(uint64(first)))
	}
	if err != nil {
		t.Fatal(err)
	}
}

func wantBreak(t testing.TB, err error, kind Break) {
	t.Helper()
	var d *Discontinuity
	if !errors.As(err, &d) || d.Kind != kind {
		t.Fatalf("got %v, want a log that is %s", err, kind)
	}
	for _, part := range []string{d.Known, d.Found, d.Advice} {
		if part == "" || !strings.Contains(err.Error(), part) {
			t.Errorf("%q does not say %q", err, part)
		}
	}
}

func wantRecords(t testing.TB, r *Reader, from, to int) {
	t.Helper()
	ctx := within(t, 30*time.Second)
	for i := from; i <= to; i++ {
		record, err := r.Next(ctx)
		if err != nil || record.Sequence != charge.Sequence(i) || string(record.Data) != fmt.Sprintf("r%d", i) {
			t.Fatalf("record %d: %d %q, %v", i, record.Sequence, record.Data, err)
		}
	}
}

// A commit whose acknowledgement gets lost together with the leader is repeated
// until the new leader answers, and stands once.
func TestAppendAtSurvivesLeader(t *testing.T) {
	if testing.Short() {
		t.Skip("an election takes seconds")
	}
	conn, servers := startCluster(t)
	j := openJournal(t, conn, Options{Partitions: 1, Replicas: 3, PublishTimeout: time.Second})
	l := j.CommitLog(0)
	create(t, l)
	fill(t, l, 1, 5)
	leader := leaderOf(t, l, servers)
	if conn.ConnectedServerName() == leader.Name() {
		leader.Shutdown() // takes the connection down as well
	} else {
		go leader.Shutdown()
	}
	ctx := within(t, 60*time.Second)
	after := charge.Sequence(5)
	for i := range 20 {
		record, err := l.AppendAt(ctx, fmt.Appendf(nil, "commit %d", i), after)
		if err != nil {
			t.Fatal(err)
		}
		after = record.Sequence
	}
	if after != 25 {
		t.Errorf("20 commits after 5 end at %d", after)
	}
	if info := infoOf(t, l); info.Last != 25 || info.Lost {
		t.Errorf("info: %+v", info)
	}
}

func leaderOf(t testing.TB, l *Log, servers []*server.Server) *server.Server {
	t.Helper()
	ctx := within(t, 10*time.Second)
	stream, err := l.js.Stream(ctx, l.name)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range servers {
		if s.Name() == stream.CachedInfo().Cluster.Leader {
			return s
		}
	}
	t.Fatal("the stream has no leader")
	return nil
}

// An append of which nothing is known ends with ErrUnknown, one that was
// certainly not stored does not.
func TestAppendOutcomeUnknown(t *testing.T) {
	s := startServer(t, ServerOptions{})
	conn := coreOf(t, s)
	j := openJournal(t, conn, Options{PublishTimeout: 50 * time.Millisecond})
	l := j.EventLog(0)
	// A listener that never answers stands for a server that hangs.
	sub, err := conn.SubscribeSync("recharged.in.0")
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Unsubscribe()
	if _, err := l.Append(within(t, 10*time.Second), []byte("x"), ""); !errors.Is(err, ErrUnknown) {
		t.Errorf("without an id: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := l.Append(ctx, []byte("x"), "id"); !errors.Is(err, ErrUnknown) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("with an id: %v", err)
	}
	attempts, ids := 0, map[string]bool{}
	for msg, err := sub.NextMsg(time.Second); err == nil; msg, err = sub.NextMsg(time.Millisecond) {
		attempts++
		ids[msg.Header.Get(jetstream.MsgIDHeader)] = true
	}
	if attempts < 3 || len(ids) != 2 || !ids["id"] {
		t.Errorf("%d attempts with ids %v", attempts, ids)
	}
	s.Shutdown()
	waitUntil(t, 10*time.Second, func() bool { return !conn.IsConnected() })
	ctx, cancel = context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := l.Append(ctx, []byte("x"), "id"); err == nil || errors.Is(err, ErrUnknown) {
		t.Errorf("with no server nothing can have been stored: %v", err)
	}
}

// What Health says ends an append that gets no answer.
func TestAppendAsksHealth(t *testing.T) {
	s := startServer(t, ServerOptions{})
	conn := coreOf(t, s)
	sick := fmt.Errorf("%w: the disk is full", ErrNoSpace)
	j := openJournal(t, conn, Options{PublishTimeout: 20 * time.Millisecond, Health: func() error { return sick }})
	sub, err := conn.SubscribeSync("recharged.in.0")
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Unsubscribe()
	if _, err := j.EventLog(0).Append(t.Context(), []byte("x"), "id"); !errors.Is(err, ErrNoSpace) || !errors.Is(err, ErrUnknown) {
		t.Errorf("append: %v", err)
	}
}
