package journal

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"recharged/state/charge"
)

// The disk runs full. The server freezes the stream that it could not write,
// says nothing to the writer, and stays frozen when there is room again, until
// it is started anew. Nothing that it acknowledged is missing then.
func TestDiskFull(t *testing.T) {
	disk := t.TempDir()
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=16m"); err != nil {
		t.Skipf("this user may not mount a small disk: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(disk, syscall.MNT_DETACH) })
	ballast := filepath.Join(disk, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 10<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	s := startServer(t, ServerOptions{Dir: filepath.Join(disk, "js")})
	j := openJournal(t, coreOf(t, s), Options{PublishTimeout: 300 * time.Millisecond, Health: s.Health})
	l, other := j.EventLog(0), j.EventLog(1)
	create(t, l)
	create(t, other)
	if err := s.Health(); err != nil {
		t.Fatalf("health at first: %v", err)
	}
	acknowledged := fillUp(t, l)
	if err := s.Health(); !errors.Is(err, ErrNoSpace) {
		t.Errorf("health: %v", err)
	}
	if _, err := l.AppendAt(within(t, 10*time.Second), []byte("x"), acknowledged); !errors.Is(err, ErrNoSpace) {
		t.Errorf("AppendAt: %v", err)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Append(within(t, 10*time.Second), []byte("x"), "x"); !errors.Is(err, ErrNoSpace) {
		t.Errorf("append when there is room again: %v", err)
	}
	if err := s.Restart(); err != nil {
		t.Fatal(err)
	}
	waitForServer(t, l)
	if err := s.Health(); err != nil {
		t.Errorf("health after the restart: %v", err)
	}
	r, err := l.Read(within(t, 10*time.Second), 1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for seq := range acknowledged {
		if record, err := r.Next(within(t, 10*time.Second)); err != nil || record.Sequence != seq+1 {
			t.Fatalf("record %d: %d, %v", seq+1, record.Sequence, err)
		}
	}
	for _, log := range []*Log{l, other} {
		if _, err := log.Append(within(t, 10*time.Second), []byte("after"), "after"); err != nil {
			t.Errorf("append to %s after the restart: %v", log.Name(), err)
		}
	}
}

// fillUp appends until there is no space, and returns how many records were
// acknowledged.
func fillUp(t *testing.T, l *Log) (acknowledged charge.Sequence) {
	payload := bytes.Repeat([]byte("x"), 300<<10)
	for {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		seq, err := l.Append(ctx, payload, "")
		cancel()
		if err != nil {
			if !errors.Is(err, ErrNoSpace) {
				t.Fatalf("append to a full disk: %v", err)
			}
			return acknowledged
		}
		acknowledged = seq
	}
}
