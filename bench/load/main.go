// Command load measures recharged under load, beside the bare transport, and
// prints a Markdown table.
//
// It promises an open loop: every message has an instant at which it is to be
// sent, nothing that the target does moves that instant, and every latency
// counts from it. It promises that no figure is printed for a wrong answer: the
// sums, the balances and the notifications are compared with an independent
// fold first. It refuses to know the insides of what it measures: the real
// binary runs as a process of its own and is spoken to as any client would.
//
// It reads /proc, so it measures on Linux only.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// The ways in.
const (
	viaNATS = "nats"
	viaHTTP = "http"
)

// driverProcs is how many of the driver's goroutines may run beyond one a core.
const driverProcs = 6

// options of a run.
type options struct {
	binary  string
	dir     string
	via     string
	lanes   int
	rates   []float64
	length  time.Duration
	warm    time.Duration
	step    time.Duration
	batches []int   // sizes of messages in searches
	limit   float64 // of searches; 0: none are made
	floor   bool
	seed    uint64
	zipf    float64
}

func main() {
	if len(os.Args) == 4 && os.Args[1] == floorCommand {
		exit(serveFloor(os.Args[2], os.Args[3]))
	}
	o, err := parseOptions(os.Args[1:], os.Stderr)
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(2)
	}
	// Enough that the schedule never waits for a goroutine to leave a processor.
	runtime.GOMAXPROCS(driverProcs + runtime.NumCPU())
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	exit(run(ctx, o, os.Stdout, os.Stderr))
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func parseOptions(args []string, help io.Writer) (*options, error) {
	o := &options{}
	set := flag.NewFlagSet("load", flag.ContinueOnError)
	set.SetOutput(help)
	set.StringVar(&o.binary, "binary", "", "the `program` to measure; it is built from this checkout by default")
	set.StringVar(&o.dir, "dir", "", "the `folder` for all data, on the disk to measure; a temporary one by default")
	set.StringVar(&o.via, "via", viaNATS, "how events go in: `nats or http`")
	set.IntVar(&o.lanes, "lanes", 0, "connections; a divisor of the number of customers (4 by NATS, 50 by HTTP)")
	rates := set.String("rates", "1000,5000,20000", "events a second of the rows, single events")
	set.DurationVar(&o.length, "duration", 30*time.Second, "of a row, without its warm-up")
	set.DurationVar(&o.warm, "warm", 3*time.Second, "of a row, not measured")
	set.DurationVar(&o.step, "step", 5*time.Second, "of one rate in the search for the sustainable one")
	batches := set.String("batches", "1,100", "events in a message, of each search")
	set.Float64Var(&o.limit, "limit", 1_000_000, "events a second at which the search ends; 0 makes none")
	set.BoolVar(&o.floor, "floor", true, "also measure the bare transport")
	set.Uint64Var(&o.seed, "seed", 1, "of the workload")
	set.Float64Var(&o.zipf, "zipf", 0, "exponent of the customers' popularity, above 1; 0: all alike")
	short := set.Bool("short", false, "a second a row: proves that it runs, measures nothing worth quoting")
	if err := set.Parse(args); err != nil {
		return nil, err
	}
	if *short {
		o.length, o.warm, o.step, o.limit = time.Second, 200*time.Millisecond, 600*time.Millisecond, 4000
		*rates = "200,1000"
	}
	for field := range strings.SplitSeq(*rates, ",") {
		rate, err := strconv.ParseFloat(strings.TrimSpace(field), 64)
		if err != nil || rate <= 0 {
			return nil, fmt.Errorf("rate %q is not a number above 0", field)
		}
		o.rates = append(o.rates, rate)
	}
	for field := range strings.SplitSeq(*batches, ",") {
		batch, err := strconv.Atoi(strings.TrimSpace(field))
		if err != nil || batch < 1 || batch > outstandingMax/2 {
			return nil, fmt.Errorf("batch %q is not a number from 1 to %d", field, outstandingMax/2)
		}
		o.batches = append(o.batches, batch)
	}
	return o, o.check()
}

func (o *options) check() error {
	if o.lanes == 0 {
		o.lanes = 4
		if o.via == viaHTTP {
			o.lanes = 50
		}
	}
	switch {
	case o.via != viaNATS && o.via != viaHTTP:
		return fmt.Errorf("via %q: must be %s or %s", o.via, viaNATS, viaHTTP)
	case o.lanes < 1 || customersMax%o.lanes != 0:
		return fmt.Errorf("%d lanes: must divide %d", o.lanes, customersMax)
	case o.zipf != 0 && o.zipf <= 1:
		return fmt.Errorf("zipf exponent %v: must be above 1", o.zipf)
	}
	return nil
}

// run measures everything and writes the tables.
func run(ctx context.Context, o *options, out, progress io.Writer) error {
	dir, err := os.MkdirTemp(o.dir, "load-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	where, err := readEnvironment(ctx, dir)
	if err != nil {
		return err
	}
	if o.binary == "" {
		if o.binary, err = buildSystem(ctx, dir); err != nil {
			return err
		}
	}
	t := &tables{options: o, where: where}
	report := func(format string, args ...any) { fmt.Fprintf(progress, format, args...) }
	if err := measureSystem(ctx, o, dir, t, report); err != nil {
		return err
	}
	if o.floor {
		for _, sync := range []bool{true, false} {
			if err := measureFloor(ctx, o, dir, sync, t, report); err != nil {
				return err
			}
		}
	}
	_, err = io.WriteString(out, t.String())
	return err
}

// Names of the targets in the tables.
const (
	nameSystem   = "recharged"
	nameFloor    = "floor, fsync per message"
	nameUnsynced = "floor, no fsync"
)

func measureSystem(ctx context.Context, o *options, dir string, t *tables, report func(string, ...any)) error {
	system, err := startSystem(ctx, o, o.binary, dir)
	if err != nil {
		return err
	}
	join := jsonArray
	if o.via == viaHTTP {
		join = jsonLines
	}
	s := &session{nameSystem, system, newGenerator(o.seed, o.zipf, o.lanes, join), newFold(), report}
	err = s.fill(ctx)
	if err == nil {
		err = s.all(ctx, o, t, o.batches)
	}
	if err == nil {
		err = system.customers(s.want, o.seed)
	}
	if err != nil {
		return errors.Join(err, system.stop(), system.lastWords())
	}
	return system.stop()
}

func measureFloor(ctx context.Context, o *options, dir string, sync bool, t *tables, report func(string, ...any)) error {
	name := nameUnsynced
	if sync {
		name = nameFloor
	}
	floor, err := startFloor(ctx, o, filepath.Join(dir, "floor-"+strconv.FormatBool(sync)), sync)
	if err != nil {
		return err
	}
	s := &session{name, floor, newGenerator(o.seed, o.zipf, o.lanes, jsonArray), newFold(), report}
	return errors.Join(s.all(ctx, o, t, []int{1}), floor.stop())
}

// all measures the rows of one target, then searches for its sustainable rate
// with messages of each of the sizes.
func (s *session) all(ctx context.Context, o *options, t *tables, batches []int) error {
	for _, rate := range o.rates {
		out, _, err := s.measure(ctx, rate, 1, o.warm, o.length)
		if err != nil {
			return err
		}
		t.rows = append(t.rows, out)
	}
	if o.limit == 0 {
		return nil
	}
	for _, batch := range batches {
		best, err := s.search(ctx, min(o.limit, o.rates[len(o.rates)-1]), o.limit, batch, o.step)
		if err != nil {
			return err
		}
		if best != nil {
			t.found = append(t.found, best)
		}
	}
	return nil
}
