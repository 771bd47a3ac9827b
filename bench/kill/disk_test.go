package kill

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestDiskFull takes all room on the disk away while clients send, again and
// again. The processor lives through it, or is killed in the middle of it; it must
// say no to what it cannot store, stay alive, and go on by itself when there is
// room again.
func TestDiskFull(t *testing.T) {
	const (
		events = 12000    // so many that most are still to be sent when it gets scarce for the last time
		scarce = 64 << 20 // enough for the processor to go on, and taken in a moment
	)
	dir := t.TempDir()
	mount(t, dir)
	r := newRun(t, dir, events, 10*time.Second)
	r.server.Logs = filepath.Join(t.TempDir(), "server.log") // They need room, too.
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	starts := []time.Duration{r.start(ctx, t)}
	sent := r.begin(ctx)
	ballast := filepath.Join(dir, "ballast")
	for round, moment := range []int64{events / 12, events * 2 / 12, events * 3 / 12, events * 4 / 12} {
		fill(t, ballast, scarce)
		r.await(moment, sent.done)
		fill(t, ballast, 0)
		r.awaitRefusal(t)
		if round%2 == 1 {
			r.kill(t)
			if err := r.server.Start(); err != nil {
				t.Fatal(err)
			}
			r.awaitAlive(t)
		}
		acknowledged := r.acknowledged.Load()
		if err := os.Remove(ballast); err != nil {
			t.Fatal(err)
		}
		ready, done := context.WithTimeout(ctx, readyWithin)
		if err := r.server.AwaitReady(ready); err != nil {
			t.Fatal(err)
		}
		done()
		r.await(acknowledged+1, sent.done)
	}
	r.finish(t, sent)
	f := r.verify(t)
	r.stop(ctx, t)
	r.summarize(t, f, r.audit(ctx, t), "times without room", 4, starts)
}

// mount puts a small file system on dir, so that filling it hurts nobody else.
func mount(t *testing.T, dir string) {
	t.Helper()
	err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=256M")
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EACCES) {
		t.Skipf("a small file system cannot be mounted here, which takes root: %v", err)
	}
	if err != nil {
		t.Fatalf("mount a small file system: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
}

// fill takes the room on the disk until no more is left than that, in as few
// steps as possible: so fast that writes fail before anybody has looked.
func fill(t *testing.T, path string, left int64) {
	t.Helper()
	file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	end, err := file.Seek(0, io.SeekEnd)
	if err != nil {
		t.Fatal(err)
	}
	const page = 4096
	for {
		var disk syscall.Statfs_t
		if err := syscall.Fstatfs(int(file.Fd()), &disk); err != nil {
			t.Fatal(err)
		}
		step := int64(disk.Bavail)*disk.Bsize - left
		if step < page {
			return
		}
		switch err := syscall.Fallocate(int(file.Fd()), 0, end, step); {
		case err == nil:
			end += step
		case !errors.Is(err, syscall.ENOSPC): // Somebody else took some of it: look again.
			t.Fatalf("fill the disk: %v", err)
		}
	}
}

// awaitRefusal returns when the server has refused events for lack of room, says
// that it is not ready, and takes nothing any more.
func (r *run) awaitRefusal(t *testing.T) {
	t.Helper()
	const refusals = 100 // enough that every client has been told no several times
	busy, acknowledged := r.busy.Load(), r.acknowledged.Load()
	err := poll(20*time.Second, func() error {
		r.mustRun(t)
		if n := r.acknowledged.Load(); n != acknowledged {
			busy, acknowledged = r.busy.Load(), n
		}
		if n := r.busy.Load() - busy; n < refusals {
			return fmt.Errorf("%d requests were refused since the last one was accepted, want %d", n, refusals)
		}
		return nil
	})
	if err != nil {
		t.Fatalf("%v\n%s", err, r.server.Tail())
	}
	if err := r.server.Ready(t.Context()); err == nil || !strings.Contains(err.Error(), "503") {
		t.Fatalf("without room: %v, want 503", err)
	}
	r.awaitAlive(t)
}

// awaitAlive returns when the server says that it is alive.
func (r *run) awaitAlive(t *testing.T) {
	t.Helper()
	err := poll(readyWithin, func() error {
		r.mustRun(t)
		_, err := r.read("/healthz")
		return err
	})
	if err != nil {
		t.Fatalf("%v\n%s", err, r.server.Tail())
	}
}

// mustRun fails the test if the server has ended by itself.
func (r *run) mustRun(t *testing.T) {
	t.Helper()
	select {
	case <-r.server.Exited():
		t.Fatalf("the server ended by itself\n%s", r.server.Tail())
	default:
	}
}
