// Command backtest measures how fast a backtest replays event logs, and prints
// the table of bench/README.md.
//
// It writes the logs through the journal, as the door does, frame by frame, and
// replays them under the sample rulebook and a draft of it. What must come of it
// is known without the rules: the sum of the recharges that a rule doubles.
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"runtime"
	"runtime/pprof"
	"syscall"
	"time"

	"recharged/rules"
	"recharged/rules/sample"
	"recharged/state/money"
	"recharged/stream/backtest"
	"recharged/stream/journal"
)

type options struct {
	events, customers, frame, partitions int
	dir, profile                         string

	rate   int // of live events beside the replay; zero: there are none
	length time.Duration
}

func main() {
	var o options
	flag.IntVar(&o.events, "events", 1_000_000, "events in the logs")
	flag.IntVar(&o.customers, "customers", 100_000, "customers whose they are")
	flag.IntVar(&o.frame, "frame", 1000, "events in a frame")
	flag.IntVar(&o.partitions, "partitions", 2, "event logs")
	flag.StringVar(&o.dir, "dir", "", "where the logs are written; empty: a folder that is removed afterwards")
	flag.StringVar(&o.profile, "cpuprofile", "", "file for a CPU profile of the replay")
	flag.IntVar(&o.rate, "live", 0, "measure instead how long live events take at so many a second, without a backtest and beside one")
	flag.DurationVar(&o.length, "length", 10*time.Second, "of each measurement of live events")
	flag.Parse()
	if err := run(o); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(o options) error {
	if o.dir == "" {
		dir, err := os.MkdirTemp("", "backtest-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		o.dir = dir
	}
	if o.rate > 0 {
		return beside(context.Background(), &o)
	}
	server, err := journal.StartServer(journal.ServerOptions{Dir: o.dir})
	if err != nil {
		return err
	}
	defer server.Shutdown()
	core, err := server.Core()
	if err != nil {
		return err
	}
	defer core.Close()
	ctx := context.Background()
	logs, err := journal.Open(ctx, core, journal.Options{Partitions: o.partitions})
	if err != nil {
		return err
	}
	begin := time.Now()
	w, err := write(ctx, logs, &o)
	if err != nil {
		return err
	}
	fmt.Printf("%s, %d CPUs; %d events of %d customers, %d in a frame, %d partitions, written in %s\n", runtime.Version(),
		runtime.NumCPU(), o.events, o.customers, o.frame, o.partitions, time.Since(begin).Round(time.Millisecond))
	return replay(ctx, logs, &o, w)
}

// replay runs the backtest, checks what it came to, and prints the figures.
func replay(ctx context.Context, logs *journal.Journal, o *options, w *writer) error {
	draft := bytes.Replace(sample.Rulebook, []byte("when: amount > 300"), []byte("when: amount > 250"), 1)
	book, problems := rules.Load(rules.File{Name: "draft", Data: draft})
	if book == nil {
		return problems
	}
	opts := backtest.Options{
		Draft: book, BytesMax: 64 << 30,
		Compile: func(_ uint64, source []byte) (*rules.Book, error) {
			book, problems := rules.Load(rules.File{Name: "live", Data: source})
			if book == nil {
				return nil, problems
			}
			return book, nil
		},
	}
	for p := range o.partitions {
		opts.Logs = append(opts.Logs, logs.EventLog(partition(p)))
	}
	if o.profile != "" {
		f, err := os.Create(o.profile)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
	}
	begin, cpu := time.Now(), cpuTime()
	result, err := backtest.Run(ctx, opts)
	took, cpu := time.Since(begin), cpuTime()-cpu
	pprof.StopCPUProfile()
	if err != nil {
		return err
	}
	if err := w.check(result, int64(o.events)); err != nil {
		return err
	}
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	fmt.Printf("replayed under both rulebooks in %s: %.0f events/s, %.2f µs of CPU an event, %d MiB taken from the system, %d collections\n",
		took.Round(time.Millisecond), float64(o.events)/took.Seconds(), float64(cpu.Microseconds())/float64(o.events), memory.Sys>>20, memory.NumGC)
	return nil
}

// check compares the result with what the recharges add up to.
func (w *writer) check(r *backtest.Result, events int64) error {
	unit, _ := money.Currency("DZD")
	want := map[string]string{"draft": unit.FormatSum(w.over250), "live": unit.FormatSum(w.over300)}
	more := w.over250
	more.Sub(w.over300)
	got := map[string]string{}
	for _, rule := range r.Rules {
		if rule.Name == "double-300" {
			got["draft"] = rule.Credited["bonus"]
		}
	}
	for _, rule := range r.Difference.Rules {
		if rule.Name == "double-300" && rule.Credited["bonus"] != unit.FormatSum(more) {
			return fmt.Errorf("the draft doubles %s more than the live rulebook, not %s", rule.Credited["bonus"], unit.FormatSum(more))
		}
	}
	if int64(r.Events) != events || r.Parked != 0 || r.Duplicates != 0 || got["draft"] != want["draft"] {
		return fmt.Errorf("%d events ended, %d parked, %d duplicates, doubled %s: want %d, 0, 0, %s",
			r.Events, r.Parked, r.Duplicates, got["draft"], events, want["draft"])
	}
	return nil
}

// cpuTime is what this process, the server included, has used so far.
func cpuTime() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
