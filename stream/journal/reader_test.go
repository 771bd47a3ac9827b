package journal

import (
	"context"
	"errors"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"recharged/state/charge"
)

// externalServer starts a server as somebody else would run it.
func externalServer(t testing.TB, dir string, port int) *server.Server {
	t.Helper()
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: port, NoSigs: true, NoLog: true, JetStream: true, StoreDir: dir, SyncAlways: true})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	if !s.ReadyForConnections(20 * time.Second) {
		t.Fatal("the server is not ready")
	}
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	return s
}

// The server goes away and comes back on the same port: the reader goes on with
// the next record, with what was written meanwhile, once and in order.
func TestReaderSurvivesRestart(t *testing.T) {
	dir := t.TempDir()
	s := externalServer(t, dir, server.RANDOM_PORT)
	port := s.Addr().(*net.TCPAddr).Port
	conn, err := nats.Connect(s.ClientURL(), ConnectOptions("test", testLogger(t))...)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	l := openJournal(t, conn, Options{}).EventLog(0)
	create(t, l)
	fill(t, l, 1, 10)
	r, err := l.Read(within(t, 10*time.Second), 1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	wantRecords(t, r, 1, 7)
	for round := range 2 {
		s.Shutdown()
		s.WaitForShutdown()
		if ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond); round > 0 {
			if _, err := r.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Next without a server: %v", err)
			}
			cancel()
		} else {
			cancel()
		}
		s = externalServer(t, dir, port)
		waitForServer(t, l)
		from := 11 + 10*round
		fill(t, l, from, from+9)
		wantRecords(t, r, from-3*(1-round), from+9)
	}
}

// While the server is away its log is set back. Asked for record 9 of a log that
// ends at 3 the server would wait, then skip what is written anew.
func TestReaderNoticesRollback(t *testing.T) {
	l, s, backup := logWithBackup(t)
	fill(t, l, 4, 8)
	r, err := l.Read(within(t, 10*time.Second), 1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	wantRecords(t, r, 1, 8)
	restoreBackup(t, s, l, backup)
	_, err = r.Next(within(t, 20*time.Second))
	wantBreak(t, err, RolledBack)
	if _, _, again := r.TryNext(); again == nil {
		t.Error("TryNext after the end has no error")
	}
}

func TestReaderNoticesRewriting(t *testing.T) {
	l, s, backup := logWithBackup(t)
	fill(t, l, 4, 4)
	r, err := l.Read(within(t, 10*time.Second), 5)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	restoreBackup(t, s, l, backup)
	for i := range 8 {
		// The reader may already have found out that the log is shorter.
		if _, err := l.Append(within(t, 10*time.Second), fmt.Appendf(nil, "other %d", i), ""); err != nil {
			t.Fatal(err)
		}
	}
	_, err = r.Next(within(t, 20*time.Second))
	var d *Discontinuity
	if !errors.As(err, &d) || d.Kind != Rewritten && d.Kind != RolledBack {
		t.Errorf("Next: %v", err)
	}
}

func TestReaderNoticesDeletion(t *testing.T) {
	l, _ := newEventLog(t)
	fill(t, l, 1, 2)
	r, err := l.Read(within(t, 10*time.Second), 1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	wantRecords(t, r, 1, 2)
	deleteLog(t, l)
	_, err = r.Next(within(t, 20*time.Second))
	wantBreak(t, err, Missing)
}

func TestReadRefuses(t *testing.T) {
	l, _ := newEventLog(t)
	ctx := within(t, 10*time.Second)
	fill(t, l, 1, 5)
	_, err := l.Read(ctx, 7)
	wantBreak(t, err, RolledBack)
	trim(t, l, 4)
	_, err = l.Read(ctx, 3)
	wantBreak(t, err, Trimmed)
	if _, err := l.Read(ctx, 0); err == nil {
		t.Error("there is no record 0")
	}
	for _, from := range []charge.Sequence{4, 5, 6} {
		r, err := l.Read(ctx, from)
		if err != nil {
			t.Fatal(err)
		}
		wantRecords(t, r, int(from), 5)
		r.Close()
	}
}

// Records vanish in front of a reader that is behind: it delivers what comes
// before them, and then says what happened instead of skipping them.
func TestReaderNoticesGap(t *testing.T) {
	const records, gone = 2000, 1900
	for _, c := range []struct {
		name  string
		kind  Break
		strip func(context.Context, jetstream.Stream) error
	}{
		{"trimmed", Trimmed, func(ctx context.Context, s jetstream.Stream) error {
			return s.Purge(ctx, jetstream.WithPurgeSequence(gone+1))
		}},
		{"deleted", Lost, func(ctx context.Context, s jetstream.Stream) error { return s.DeleteMsg(ctx, gone) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			l, _ := newEventLog(t)
			ctx := within(t, 60*time.Second)
			deleteLog(t, l)
			config := l.config()
			config.DenyDelete = false
			stream, err := l.js.CreateStream(ctx, config)
			if err != nil {
				t.Fatal(err)
			}
			fill(t, l, 1, records)
			r, err := l.Read(ctx, 1)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			waitUntil(t, 10*time.Second, func() bool { return len(r.records) == readerRecordsMax })
			if err := c.strip(ctx, stream); err != nil {
				t.Fatal(err)
			}
			next := charge.Sequence(1)
			for {
				record, err := r.Next(ctx)
				if err != nil {
					wantBreak(t, err, c.kind)
					break
				}
				if record.Sequence != next {
					t.Fatalf("record %d came after %d", record.Sequence, next-1)
				}
				next++
			}
			if next < readerRecordsMax || next > gone {
				t.Errorf("%d was to come next", next)
			}
		})
	}
}

// Nobody takes records for a while: the queue is bounded, nothing is lost.
func TestReaderBackPressure(t *testing.T) {
	l, _ := newEventLog(t)
	const records = 3 * readerRecordsMax
	fill(t, l, 1, records)
	r, err := l.Read(within(t, 10*time.Second), 1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	waitUntil(t, 10*time.Second, func() bool { return len(r.records) == readerRecordsMax })
	wantRecords(t, r, 1, records)
}

// Records larger in sum than one request may bring still all come.
func TestReaderLargeRecords(t *testing.T) {
	l, _ := newEventLog(t)
	payload := make([]byte, 3<<20)
	for range 12 {
		if _, err := l.Append(within(t, 20*time.Second), payload, ""); err != nil {
			t.Fatal(err)
		}
	}
	r, err := l.Read(within(t, 10*time.Second), 1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for range 12 {
		if record, err := r.Next(within(t, 20*time.Second)); err != nil || len(record.Data) != len(payload) {
			t.Fatalf("record %d: %v", record.Sequence, err)
		}
	}
}

func TestReaderNextIsPrompt(t *testing.T) {
	l, s := newEventLog(t)
	r, err := l.Read(within(t, 10*time.Second), 1)
	if err != nil {
		t.Fatal(err)
	}
	for _, down := range []bool{false, true} {
		if down {
			s.Shutdown()
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		begin := time.Now()
		if _, err := r.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Next: %v", err)
		}
		cancel()
		if took := time.Since(begin); took > time.Second {
			t.Errorf("Next took %v", took)
		}
	}
	begin := time.Now()
	r.Close()
	if took := time.Since(begin); took > 2*time.Second {
		t.Errorf("Close took %v", took)
	}
	if _, err := r.Next(t.Context()); !errors.Is(err, ErrClosed) {
		t.Errorf("Next after Close: %v", err)
	}
}
