package stream

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"syscall"
	"time"
)

// diskGuard closes the door before the disk is full: what is accepted must be
// stored, and neither the logs nor the state can do anything useful without
// room. What was accepted goes on as long as there is a part of the reserve.
// Both begin again by themselves.
type diskGuard struct {
	dir     string
	reserve uint64 // bytes that must be free
	logger  *slog.Logger

	// mend is called before the door opens again; nil: nothing is to mend.
	mend atomic.Pointer[func() error]

	closed atomic.Pointer[diskFull]
}

// diskFull says how much room there is and how much is wanted.
type diskFull struct{ free, reserve uint64 }

func (e *diskFull) Error() string {
	return fmt.Sprintf("disk full: %d MiB are free in the data directory, %d MiB are kept in reserve; make room, it goes on by itself", e.free>>20, e.reserve>>20)
}

const (
	diskReserveMin   = 32 << 20
	diskReserveMax   = 1 << 30
	diskReserveShare = 33 // one part in so many of the disk
	diskTurnShare    = 4  // one part in so many of the reserve is enough for turns
	diskCheckEvery   = 50 * time.Millisecond
	diskMendLooks    = 40
	diskWriteMin     = 8 << 20 // for a write that found no room
)

func newDiskGuard(dir string, reserve uint64, logger *slog.Logger) *diskGuard {
	g := &diskGuard{dir: dir, reserve: reserve, logger: logger}
	if _, all, err := diskSpace(dir); err == nil && reserve == 0 {
		g.reserve = min(max(all/diskReserveShare, diskReserveMin), diskReserveMax)
	}
	g.check()
	return g
}

// full returns nil, or why nothing is accepted.
func (g *diskGuard) full() error {
	if closed := g.closed.Load(); closed != nil {
		return closed
	}
	return nil
}

// check looks at the disk. To open the door again takes a quarter more room
// than to keep it open.
func (g *diskGuard) check() {
	free, _, err := diskSpace(g.dir)
	if err != nil {
		g.logger.Warn("free space on the disk is not known", "dir", g.dir, "reason", err)
		return
	}
	was := g.closed.Load()
	switch {
	case was == nil && free < g.reserve:
		closed := &diskFull{free, g.reserve}
		g.closed.Store(closed)
		g.logger.Error("no events are accepted", "reason", closed)
	case was != nil && free >= g.reserve+g.reserve/4:
		if err := g.mended(); err != nil {
			g.logger.Error("there is room on the disk again, but the logs cannot be written yet", "reason", err)
			return
		}
		g.closed.Store(nil)
		g.logger.Info("there is room on the disk again, events are accepted")
	case was != nil:
		g.closed.Store(&diskFull{free, g.reserve})
	}
}

func (g *diskGuard) mended() error {
	if mend := g.mend.Load(); mend != nil {
		return (*mend)()
	}
	return nil
}

// await returns when there is room for a turn.
func (g *diskGuard) await(ctx context.Context) error {
	return g.waitUntil(ctx, func() bool {
		closed := g.closed.Load()
		return closed == nil || closed.free >= closed.reserve/diskTurnShare
	})
}

// awaitAny returns when there is some room at all, for a write that found none.
func (g *diskGuard) awaitAny(ctx context.Context) {
	g.logger.Error("the disk is full, a write to the state waits", "dir", g.dir)
	// An error is the end of ctx; then whoever waits finds out by trying.
	_ = g.waitUntil(ctx, func() bool {
		free, _, err := diskSpace(g.dir)
		return err != nil || free >= diskWriteMin
	})
}

// watch looks at the disk again and again. Now and then it mends although the
// door was never closed: a disk may be full and have room again between two
// looks.
func (g *diskGuard) watch(ctx context.Context) {
	ticker := time.NewTicker(diskCheckEvery)
	defer ticker.Stop()
	for look := 1; ; look++ {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		g.check()
		if look%diskMendLooks == 0 && g.full() == nil {
			if err := g.mended(); err != nil {
				g.logger.Error("the logs cannot be written", "reason", err)
			}
		}
	}
}

// waitForRoom returns when there is room to start. Nobody watches yet.
func (g *diskGuard) waitForRoom(ctx context.Context) error {
	return g.waitUntil(ctx, func() bool {
		g.check()
		return g.full() == nil
	})
}

func (g *diskGuard) waitUntil(ctx context.Context, enough func() bool) error {
	if enough() {
		return nil
	}
	ticker := time.NewTicker(diskCheckEvery)
	defer ticker.Stop()
	for !enough() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
	}
	return nil
}

func diskSpace(dir string) (free, all uint64, err error) {
	var stat syscall.Statfs_t
	if err := syscall.Statfs(dir, &stat); err != nil {
		return 0, 0, err
	}
	size := uint64(stat.Bsize)
	return stat.Bavail * size, stat.Blocks * size, nil
}
