package main

import (
	"runtime"
	"syscall"
	"time"
)

const (
	// timerSlack is the prctl option of that name; the kernel's default lets each
	// sleep last 50 microseconds longer.
	timerSlack = 29

	// pacerNice is the priority of the thread that keeps the schedule: on shared
	// cores it must not queue behind what it measures.
	pacerNice = -10
)

// startNapping prepares the calling goroutine, which keeps its thread, for nap.
// What the user may not do is left out; then naps last a little longer.
func startNapping() {
	runtime.LockOSThread()
	_, _, _ = syscall.RawSyscall(syscall.SYS_PRCTL, timerSlack, 1, 0)
	_ = syscall.Setpriority(syscall.PRIO_PROCESS, 0, pacerNice) // On Linux: of this thread.
}

// nap sleeps in the kernel: the runtime's timers are rounded up to a millisecond
// when nothing else runs.
func nap(d time.Duration) {
	t := syscall.NsecToTimespec(int64(d))
	_ = syscall.Nanosleep(&t, nil) // Interrupted: the caller looks at the clock anyway.
}
