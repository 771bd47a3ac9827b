package journal

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"
)

func TestAnchorEncoding(t *testing.T) {
	for _, a := range []Anchor{{}, {Created: 5}, {Created: -1, Sequence: 1 << 63, Stamp: 1 << 60, Hash: [16]byte{1, 15: 2}}} {
		data := a.Append(nil)
		if got, err := DecodeAnchor(data); err != nil || got != a {
			t.Errorf("%+v became %+v, %v", a, got, err)
		}
		if _, err := DecodeAnchor(data[:len(data)-1]); err == nil {
			t.Errorf("a truncated anchor was decoded")
		}
		if _, err := DecodeAnchor(append(data, 0)); err == nil {
			t.Errorf("an anchor with a tail was decoded")
		}
	}
}

func TestCheckContinues(t *testing.T) {
	l, s := newEventLog(t)
	ctx := within(t, 20*time.Second)
	fresh := Anchor{Created: infoOf(t, l).Created}
	fill(t, l, 1, 10)
	middle, last := anchorOf(t, l, 5), anchorOf(t, l, 10)
	unstamped := middle
	unstamped.Stamp = 0
	for _, a := range []Anchor{{}, fresh, middle, last, unstamped} {
		if err := l.Check(ctx, a); err != nil {
			t.Errorf("%v: %v", a, err)
		}
	}
	if err := s.Restart(); err != nil {
		t.Fatal(err)
	}
	waitUntil(t, 10*time.Second, func() bool { return l.Check(ctx, last) == nil })
	trim(t, l, 5)
	if err := l.Check(ctx, middle); err != nil {
		t.Errorf("trimmed up to the record: %v", err)
	}
	trim(t, l, 6)
	if err := l.Check(ctx, middle); err != nil {
		t.Errorf("trimmed including the record: %v", err)
	}
	trim(t, l, 11)
	if err := l.Check(ctx, last); err != nil {
		t.Errorf("trimmed altogether: %v", err)
	}
}

func TestCheckMissing(t *testing.T) {
	l, _ := newEventLog(t)
	ctx := within(t, 10*time.Second)
	fill(t, l, 1, 3)
	a := anchorOf(t, l, 3)
	deleteLog(t, l)
	wantBreak(t, l.Check(ctx, a), Missing)
	wantBreak(t, l.Check(ctx, Anchor{}), Missing)
}

func TestCheckRecreated(t *testing.T) {
	l, _ := newEventLog(t)
	ctx := within(t, 10*time.Second)
	none := Anchor{Created: infoOf(t, l).Created}
	fill(t, l, 1, 3)
	a := anchorOf(t, l, 3)
	deleteLog(t, l)
	create(t, l)
	wantBreak(t, l.Check(ctx, none), Recreated)
	fill(t, l, 1, 3)
	wantBreak(t, l.Check(ctx, a), Recreated)
	if err := l.Check(ctx, Anchor{}); err != nil {
		t.Errorf("who knows nothing of the log can begin: %v", err)
	}
}

// The store directory is set back to what it was before the last records.
func TestCheckRolledBack(t *testing.T) {
	l, s, backup := logWithBackup(t)
	ctx := within(t, 20*time.Second)
	fill(t, l, 4, 8)
	kept, lost := anchorOf(t, l, 3), anchorOf(t, l, 8)
	restoreBackup(t, s, l, backup)
	if err := l.Check(ctx, kept); err != nil {
		t.Errorf("a record that is still there: %v", err)
	}
	wantBreak(t, l.Check(ctx, lost), RolledBack)
}

// After the directory was set back others wrote records of the same sequence.
func TestCheckRewritten(t *testing.T) {
	l, s, backup := logWithBackup(t)
	ctx := within(t, 20*time.Second)
	fill(t, l, 4, 8)
	other, same := anchorOf(t, l, 4), anchorOf(t, l, 5)
	restoreBackup(t, s, l, backup)
	if _, err := l.Append(ctx, []byte("another"), ""); err != nil {
		t.Fatal(err)
	}
	fill(t, l, 5, 8)
	wantBreak(t, l.Check(ctx, other), Rewritten)
	wantBreak(t, l.Check(ctx, same), Rewritten) // the payload is the same, the time is not
}

func TestCheckTrimmed(t *testing.T) {
	l, _ := newEventLog(t)
	ctx := within(t, 10*time.Second)
	fill(t, l, 1, 8)
	a := anchorOf(t, l, 3)
	none := Anchor{Created: a.Created}
	trim(t, l, 5)
	wantBreak(t, l.Check(ctx, a), Trimmed)
	wantBreak(t, l.Check(ctx, none), Trimmed)
}

// Block files are damaged while the server is down. It starts without a word,
// and with State.Lost empty, but without the records: from the last block it
// drops what follows the damage, in an earlier one it leaves a hole.
func TestCheckDamagedBlock(t *testing.T) {
	for _, c := range []struct {
		name  string
		block string
		kind  Break
	}{{"last", "2.blk", RolledBack}, {"earlier", "1.blk", Lost}} {
		t.Run(c.name, func(t *testing.T) {
			l, s := newEventLog(t)
			payload := bytes.Repeat([]byte("x"), 3<<20) // two make a block
			for range 4 {
				if _, err := l.Append(within(t, 10*time.Second), payload, ""); err != nil {
					t.Fatal(err)
				}
			}
			a := anchorOf(t, l, 4)
			s.Shutdown()
			damage(t, s.opts.Dir, c.block)
			if err := s.Restart(); err != nil {
				t.Fatal(err)
			}
			waitForServer(t, l)
			wantBreak(t, l.Check(within(t, 10*time.Second), a), c.kind)
		})
	}
}

// A single record is gone from the middle, which no one of ours can do.
func TestCheckLostByDeletion(t *testing.T) {
	l, _ := newEventLog(t)
	ctx := within(t, 10*time.Second)
	deleteLog(t, l)
	config := l.config()
	config.DenyDelete = false
	stream, err := l.js.CreateStream(ctx, config)
	if err != nil {
		t.Fatal(err)
	}
	fill(t, l, 1, 8)
	a := anchorOf(t, l, 5)
	if err := stream.DeleteMsg(ctx, 3); err != nil {
		t.Fatal(err)
	}
	wantBreak(t, l.Check(ctx, a), Lost)
}

// An unreachable server says nothing about the log.
func TestCheckUnreachable(t *testing.T) {
	l, s := newEventLog(t)
	fill(t, l, 1, 1)
	a := anchorOf(t, l, 1)
	s.Shutdown()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	err := l.Check(ctx, a)
	if err == nil || reflect.TypeOf(err) == reflect.TypeFor[*Discontinuity]() {
		t.Errorf("check: %v", err)
	}
}

func deleteLog(t testing.TB, l *Log) {
	t.Helper()
	if err := l.js.DeleteStream(within(t, 10*time.Second), l.name); err != nil {
		t.Fatal(err)
	}
}

// logWithBackup returns a log with three records and a copy of its store.
func logWithBackup(t testing.TB) (*Log, *Server, string) {
	t.Helper()
	dir := t.TempDir()
	s := startServer(t, ServerOptions{Dir: dir})
	l := openJournal(t, coreOf(t, s), Options{}).EventLog(0)
	create(t, l)
	fill(t, l, 1, 3)
	s.Shutdown()
	backup := t.TempDir()
	if err := os.CopyFS(backup, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if err := s.Restart(); err != nil {
		t.Fatal(err)
	}
	waitForServer(t, l)
	return l, s, backup
}

func restoreBackup(t testing.TB, s *Server, l *Log, backup string) {
	t.Helper()
	s.Shutdown()
	if err := os.RemoveAll(s.opts.Dir); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(s.opts.Dir, os.DirFS(backup)); err != nil {
		t.Fatal(err)
	}
	if err := s.Restart(); err != nil {
		t.Fatal(err)
	}
	waitForServer(t, l)
}

// waitForServer waits until the log's connection is back.
func waitForServer(t testing.TB, l *Log) {
	t.Helper()
	waitUntil(t, 20*time.Second, func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := l.js.Stream(ctx, l.name)
		return err == nil
	})
}

// damage flips bytes in the middle of a block of the event log, and drops the
// index that would otherwise be believed.
func damage(t testing.TB, dir, block string) {
	t.Helper()
	folder := filepath.Join(dir, "jetstream", accountCore, "streams", "recharged_in_0", "msgs")
	path := filepath.Join(folder, block)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 64 {
		data[len(data)/2+i] ^= 0xff
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(folder, "index.db")); err != nil {
		t.Fatal(err)
	}
}
