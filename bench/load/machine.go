package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// usage is what processes have used so far.
type usage struct {
	target   time.Duration // CPU, user and system
	driver   time.Duration
	rssBytes int64 // of the target, now
}

// ticksPerSecond is the unit of /proc/*/stat on Linux.
const ticksPerSecond = 100

// usageOf reads the usage of the target with that process id, and of the driver.
func usageOf(pid int) (usage, error) {
	fields, err := procStat(pid)
	if err != nil {
		return usage{}, err
	}
	const user, system, rssPages = 11, 12, 21 // counted behind the name
	var n [3]int64
	for i, field := range [...]int{user, system, rssPages} {
		if n[i], err = strconv.ParseInt(fields[field], 10, 64); err != nil {
			return usage{}, fmt.Errorf("read the usage of process %d: %w", pid, err)
		}
	}
	var self syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &self); err != nil {
		return usage{}, fmt.Errorf("read the driver's usage: %w", err)
	}
	return usage{
		target:   time.Duration(n[0]+n[1]) * time.Second / ticksPerSecond,
		driver:   time.Duration(self.Utime.Nano() + self.Stime.Nano()),
		rssBytes: n[2] * int64(os.Getpagesize()),
	}, nil
}

// procStat returns the fields of /proc/<pid>/stat behind the name, which may
// hold blanks.
func procStat(pid int) ([]string, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil, fmt.Errorf("read the usage of process %d: %w", pid, err)
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	if len(fields) < 22 {
		return nil, fmt.Errorf("read the usage of process %d: %d fields", pid, len(fields))
	}
	return fields, nil
}

// environment is the record of where a table was measured.
type environment struct {
	cpu, kernel, revision string
	syncP50, syncP99      time.Duration
	stolen, total         int64 // ticks of all cores, at the begin
}

func readEnvironment(ctx context.Context, dir string) (environment, error) {
	e := environment{
		cpu:      "unknown",
		kernel:   firstLine("/proc/sys/kernel/osrelease"),
		revision: "unknown",
	}
	if info, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		if _, rest, ok := strings.Cut(string(info), "model name"); ok {
			line, _, _ := strings.Cut(rest, "\n")
			e.cpu = strings.Trim(line, "\t :")
		}
	}
	if out, err := exec.CommandContext(ctx, "git", "describe", "--always", "--dirty").Output(); err == nil {
		e.revision = strings.TrimSpace(string(out))
	}
	e.stolen, e.total = stolen()
	var err error
	e.syncP50, e.syncP99, err = syncLatency(dir)
	return e, err
}

func firstLine(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return "unknown"
	}
	line, _, _ := strings.Cut(string(text), "\n")
	return line
}

// stolen returns the ticks that the hypervisor gave to others, and all ticks.
func stolen() (steal, total int64) {
	for i, field := range strings.Fields(firstLine("/proc/stat")) {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil || i > 8 {
			continue // the name; guests, who are counted as users already
		}
		total += n
		if i == 8 {
			steal = n
		}
	}
	return steal, total
}

// syncLatency measures what the folder's disk needs to write and sync a page.
func syncLatency(dir string) (p50, p99 time.Duration, err error) {
	const rounds, size = 200, 4096
	file, err := os.Create(filepath.Join(dir, "fsync"))
	if err != nil {
		return 0, 0, err
	}
	defer os.Remove(file.Name())
	defer file.Close()
	page := make([]byte, size)
	took := make([]time.Duration, rounds)
	for i := range took {
		begin := time.Now()
		if _, err := file.Write(page); err != nil {
			return 0, 0, fmt.Errorf("measure fsync: %w", err)
		}
		if err := file.Sync(); err != nil {
			return 0, 0, fmt.Errorf("measure fsync: %w", err)
		}
		took[i] = time.Since(begin)
	}
	slices.Sort(took)
	return took[rounds/2], took[rounds*99/100], nil
}

// String writes the record, at the end of the run.
func (e environment) String() string {
	steal, total := stolen()
	var b strings.Builder
	line := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "- %s: %s\n", name, fmt.Sprintf(format, args...))
	}
	line("revision", "%s", e.revision)
	line("command", "`%s`", strings.Join(append([]string{"go run ./bench/load"}, os.Args[1:]...), " "))
	line("machine", "%s, %d cores, shared by driver and target; steal %.2f %% of all time",
		e.cpu, runtime.NumCPU(), 100*float64(steal-e.stolen)/float64(max(1, total-e.total)))
	line("kernel", "%s", e.kernel)
	line("versions", "%s, nats-server %s", runtime.Version(), server.VERSION)
	line("GOGC, GOMEMLIMIT, GOMAXPROCS", "%s, %s, %s", setting("GOGC"), setting("GOMEMLIMIT"), setting("GOMAXPROCS"))
	line("write and fsync of 4 KiB", "p50 %v, p99 %v", e.syncP50.Round(time.Microsecond), e.syncP99.Round(time.Microsecond))
	return b.String()
}

func setting(name string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return "default"
}
