// Package kill tests the whole program as its users run it: the real binary,
// its real ports and disk, clients that send again what was not answered, and
// an oracle that knows what all of it must come to. The processor is killed,
// stopped and starved of disk while it works.
package kill

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"recharged/bench/workload"
)

// binary is the program under test, built once by TestMain.
var binary string

func TestMain(m *testing.M) { os.Exit(buildAndRun(m)) }

func buildAndRun(m *testing.M) int {
	dir, err := os.MkdirTemp("", "recharged-kill-")
	if err == nil {
		defer os.RemoveAll(dir)
		binary, err = workload.Build(dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

const (
	readyWithin   = 30 * time.Second // a start, the logs' recovery included
	stopWithin    = 5 * time.Second
	eventsPerKill = 600
	partitions    = "8" // so many that letters between them are on their way at many of the kills
)

// TestKill kills the processor again and again while clients send, and then
// compares everything with the oracle. RECHARGED_KILLS says how often,
// RECHARGED_SEED repeats the events and the moments of a run.
func TestKill(t *testing.T) {
	kills := 24
	if text := os.Getenv("RECHARGED_KILLS"); text != "" {
		var err error
		if kills, err = strconv.Atoi(text); err != nil || kills < 1 {
			t.Fatalf("RECHARGED_KILLS is %q: say how often, at least once", text)
		}
	}
	r := newRun(t, t.TempDir(), kills*eventsPerKill, time.Duration(kills)*time.Second, "--partitions", partitions)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute+time.Duration(kills)*15*time.Second)
	defer cancel()
	r.start(ctx, t)
	sent := r.begin(ctx)
	starts := r.killAndRestart(ctx, t, kills, sent)
	r.finish(t, sent)
	f := r.verify(t)
	r.stop(ctx, t)
	r.start(ctx, t)
	if again := r.verify(t); again != f {
		t.Errorf("after a stop and a start %+v, before %+v", again, f)
	}
	r.stop(ctx, t)
	a := r.audit(ctx, t)
	r.summarize(t, f, a, "kills", kills, starts)
	if r.cut.Load() == 0 {
		t.Error("no kill interrupted a request: the test proves nothing")
	}
	if a.interrupted == 0 {
		t.Error("no kill came while a letter was on its way: the test proves nothing about letters")
	}
}

// start starts the server and returns how long it took to be ready.
func (r *run) start(ctx context.Context, t *testing.T) time.Duration {
	t.Helper()
	begin := time.Now()
	if err := r.server.Start(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	if err := r.server.AwaitReady(ctx); err != nil {
		t.Fatal(err)
	}
	return time.Since(begin)
}

// stop stops the server as an operator does.
func (r *run) stop(ctx context.Context, t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, stopWithin)
	defer cancel()
	if _, err := r.server.Stop(ctx); err != nil {
		t.Fatal(err)
	}
}

// sending is the sending of all events, under way.
type sending struct {
	done chan struct{}
	err  error // valid once done is closed

	watched chan struct{} // closed when nobody looks at the budgets any more
	looks   int           // how often somebody did; valid once watched is closed
	overrun error         // what was wrong then
}

func (r *run) begin(ctx context.Context) *sending {
	s := &sending{done: make(chan struct{}), watched: make(chan struct{})}
	go func() {
		defer close(s.done)
		s.err = r.sendAll(ctx)
	}()
	go func() {
		defer close(s.watched)
		s.looks, s.overrun = r.watchBudgets(s.done)
	}()
	return s
}

// finish returns when everything is sent.
func (r *run) finish(t *testing.T, sent *sending) {
	t.Helper()
	select {
	case <-sent.done:
	case <-r.server.Exited():
		t.Fatalf("the server ended by itself\n%s", r.server.Tail())
	}
	if sent.err != nil {
		t.Fatalf("%v\n%s", sent.err, r.server.Tail())
	}
	if <-sent.watched; sent.overrun != nil {
		t.Errorf("during the run: %v", sent.overrun)
	}
	if sent.looks == 0 {
		t.Error("nobody saw the budgets during the run")
	}
}

// moments returns after how many acknowledged events something is to happen:
// once in each of n equal stretches, the last of which ends before the events do.
func (r *run) moments(random *rand.Rand, n int) []int64 {
	stretch := int64(len(r.events)) * 95 / 100 / int64(n)
	all := make([]int64, n)
	for i := range all {
		all[i] = int64(i)*stretch + 1 + random.Int64N(stretch)
	}
	return all
}

// killAndRestart kills the server that many times, each time after some
// progress and at a moment that falls anywhere in a request, a turn or a write.
// Every third kill comes on top of another one, while the server starts.
func (r *run) killAndRestart(ctx context.Context, t *testing.T, kills int, sent *sending) (starts []time.Duration) {
	t.Helper()
	random := rand.New(rand.NewPCG(r.options.Seed, 2))
	within := 300 * time.Millisecond // a start may take
	moments := r.moments(random, kills-kills/3)
	early := kills / 3
	for i, moment := range moments {
		r.await(moment, sent.done)
		<-time.After(time.Duration(random.Int64N(int64(5 * time.Millisecond))))
		r.kill(t)
		if early > 0 && (random.IntN(2) == 0 || len(moments)-i <= early) {
			early--
			if err := r.server.Start(); err != nil {
				t.Fatal(err)
			}
			<-time.After(time.Duration(random.Int64N(int64(within))))
			r.kill(t)
		}
		took := r.start(ctx, t)
		starts = append(starts, took)
		within = min(within, took)
	}
	return starts
}

func (r *run) kill(t *testing.T) {
	t.Helper()
	d := death{from: time.Now()}
	if err := r.server.Kill(); err != nil {
		t.Fatal(err)
	}
	d.until = time.Now()
	r.deaths = append(r.deaths, d)
}

// death is when the server was killed: it lived before, and did not after.
type death struct{ from, until time.Time }

// TestStop stops the processor under load as an operator does: it must end in
// time and with exit code 0, and everything it acknowledged must be there.
func TestStop(t *testing.T) {
	const stops = 4
	r := newRun(t, t.TempDir(), stops*eventsPerKill, 2*stops*time.Second,
		"--log-level", "debug") // What may not be printed must not be printed then either.
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	starts := []time.Duration{r.start(ctx, t)}
	sent := r.begin(ctx)
	for _, moment := range r.moments(rand.New(rand.NewPCG(r.options.Seed, 3)), stops) {
		r.await(moment, sent.done)
		r.stop(ctx, t)
		starts = append(starts, r.start(ctx, t))
	}
	r.finish(t, sent)
	f := r.verify(t)
	r.stop(ctx, t)
	r.summarize(t, f, r.audit(ctx, t), "stops", stops, starts)
}

// summarize prints what happened.
func (r *run) summarize(t *testing.T, f found, a audit, what string, times int, starts []time.Duration) {
	t.Helper()
	slices.Sort(starts)
	attempts, answered := 0, 0
	for key, n := range r.attempts {
		if key != "" {
			attempts += n
			answered += r.answered[key]
		}
	}
	var table strings.Builder
	row := func(name string, value any) { fmt.Fprintf(&table, "  %-34s %v\n", name, value) }
	row("seed", r.options.Seed)
	row("events sent", len(r.events))
	row("events accepted", answered)
	row("events applied or parked", len(r.oracle.Stories))
	row(what, times)
	row("requests cut in flight", r.cut.Load())
	row("requests refused", r.refused.Load())
	row("requests answered: not now", r.busy.Load())
	row("accepted events sent again", attempts-answered)
	row("duplicates recognised", f.duplicates)
	row("events parked", f.parked)
	row("outcomes in timelines", f.outcomes)
	row("notifications", f.notifications)
	row("alerts", f.alerts)
	row("silences", f.silences)
	row("budgets spent", len(workload.Budgets(len(r.events))))
	row("customers treated, held out", fmt.Sprintf("%d, %d", f.treated, f.heldOut))
	row("letters", a.letters)
	row("letters delivered twice", a.repeated)
	row("letters on their way at a kill", fmt.Sprintf("%d at %d kills", a.cut, a.interrupted))
	row("events that waited for a budget", a.waited)
	row("events that waited too long", a.expired)
	row("start to ready, least/median/most", fmt.Sprintf("%d/%d/%d ms",
		starts[0].Milliseconds(), starts[len(starts)/2].Milliseconds(), starts[len(starts)-1].Milliseconds()))
	t.Logf("\n%s", table.String())
}
