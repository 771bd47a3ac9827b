package kill

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"recharged/bench/workload"
)

// run is one workload that is sent to one server.
type run struct {
	options workload.Options
	server  *workload.Server
	oracle  *workload.Oracle
	events  []workload.Event

	acknowledged atomic.Int64  // events that the server has answered for good
	goal         atomic.Int64  // … and how many somebody waits for
	reached      chan struct{} // of capacity 1

	cut, refused, busy atomic.Int64 // attempts without an answer, by kind

	deaths []death // of the server, in order

	mu       sync.Mutex // guards what follows
	attempts map[string]int
	answered map[string]int
}

// newRun prepares a run of so many events, which may take about so long, on a
// server below dir. The seed comes from the environment or is a new one.
func newRun(t *testing.T, dir string, events int, length time.Duration, args ...string) *run {
	t.Helper()
	r := &run{
		options: workload.Options{
			Seed: rand.Uint64N(1_000_000), Events: events, Customers: max(100, events/8),
			Base: time.Now(), Expiries: length,
		},
		reached: make(chan struct{}, 1), attempts: map[string]int{}, answered: map[string]int{},
	}
	if text := os.Getenv("RECHARGED_SEED"); text != "" {
		var err error
		if r.options.Seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("RECHARGED_SEED: %v", err)
		}
	}
	t.Logf("seed %d", r.options.Seed)
	r.events = workload.Generate(r.options)
	r.oracle = workload.NewOracle(r.options.Base)
	for _, e := range r.events {
		if e.Reject == "" {
			r.oracle.Fold(e.Body)
		}
	}
	var err error
	if r.server, err = workload.NewServer(binary, dir, args...); err != nil {
		t.Fatal(err)
	}
	if err := r.server.UseBudgets(events); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.server.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// senders is how many clients there are, of each kind of transport.
var senders = []struct {
	name  string
	count int
	share int // of the customers, for each of them
	batch int // events in one request
	open  func(*workload.Server) (transport, error)
}{
	{"http one", 4, 1, 1, openHTTP("application/cloudevents+json")},
	{"http batch", 3, 1, 16, openHTTP("application/cloudevents-batch+json")},
	{"http ndjson", 2, 1, 40, openHTTP("application/x-ndjson")},
	{"http bulk", 1, 4, 1000, openHTTP("application/x-ndjson")}, // More than one turn takes from one record.
	{"nats request", 3, 1, 8, func(s *workload.Server) (transport, error) { return newNATS(s, false) }},
	{"nats jetstream", 4, 1, 1, func(s *workload.Server) (transport, error) { return newNATS(s, true) }},
}

func openHTTP(contentType string) func(*workload.Server) (transport, error) {
	return func(s *workload.Server) (transport, error) { return newHTTP(s, contentType), nil }
}

// sendAll sends all events, each customer's by one client and in order, and
// returns when everything is answered or something is wrong for good.
func (r *run) sendAll(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var clientOf []int // by the customer's number, modulo its length
	clients := 0
	for _, s := range senders {
		for range s.count {
			clientOf = append(clientOf, slices.Repeat([]int{clients}, s.share)...)
			clients++
		}
	}
	shares := make([][]workload.Event, clients)
	for _, e := range r.events {
		client := clientOf[e.Customer%len(clientOf)]
		shares[client] = append(shares[client], e)
	}
	var sending sync.WaitGroup
	for _, s := range senders {
		for range s.count {
			share := shares[0]
			shares = shares[1:]
			sending.Go(func() {
				if err := r.sendShare(ctx, s.open, s.batch, share); err != nil {
					cancel(fmt.Errorf("client %s: %w", s.name, err))
				}
			})
		}
	}
	sending.Wait()
	return context.Cause(ctx)
}

func (r *run) sendShare(ctx context.Context, open func(*workload.Server) (transport, error), batch int, share []workload.Event) error {
	client, err := open(r.server)
	if err != nil {
		return err
	}
	defer client.close()
	for len(share) > 0 {
		request := share[:min(batch, len(share))]
		share = share[len(request):]
		if err := r.deliver(ctx, client, request); err != nil {
			return err
		}
	}
	return nil
}

// retryWait is how long a client waits before it sends again what was refused.
const retryWait = 5 * time.Millisecond

// deliver sends one request, the same one again and again until it is answered.
func (r *run) deliver(ctx context.Context, client transport, request []workload.Event) error {
	keys := make([]string, len(request))
	for i, e := range request {
		keys[i] = keyOf(e)
	}
	for {
		a, err := client.send(ctx, request)
		if !errors.Is(err, errRefused) {
			r.count(r.attempts, keys)
		}
		switch {
		case err == nil:
			if err := check(request, a); err != nil {
				return err
			}
			r.count(r.answered, keys)
			if r.acknowledged.Add(int64(len(request))) >= r.goal.Load() {
				r.tell()
			}
			return nil
		case errors.Is(err, errCut):
			r.cut.Add(1)
		case errors.Is(err, errRefused):
			r.refused.Add(1)
		case errors.Is(err, errBusy):
			r.busy.Add(1)
		default:
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(retryWait):
		}
	}
}

// check compares an answer with what the generator says.
func check(request []workload.Event, a answer) error {
	reasons := map[int]string{}
	for _, rejected := range a.Rejected {
		reasons[rejected.Index] = rejected.Reason
	}
	accepted := 0
	for i, e := range request {
		if reasons[i] != e.Reject {
			return fmt.Errorf("%.300s: rejected %q, want %q", e.Body, reasons[i], e.Reject)
		}
		if e.Reject == "" {
			accepted++
		}
	}
	switch {
	case a.Accepted != accepted || len(a.Rejected) != len(request)-accepted:
		return fmt.Errorf("of %d events %d are accepted and %d rejected, want %d accepted", len(request), a.Accepted, len(a.Rejected), accepted)
	case accepted > 0 && (!strings.HasPrefix(a.Stream, "recharged_in_") || a.Sequence == 0):
		return fmt.Errorf("accepted without a place in a log: stream %q, sequence %d", a.Stream, a.Sequence)
	}
	return nil
}

// keyOf names an event as the oracle does; what was refused has no name.
func keyOf(e workload.Event) string {
	if e.Reject != "" {
		return ""
	}
	var envelope struct{ ID, Source string }
	_ = json.Unmarshal(e.Body, &envelope) // The generator's own JSON.
	return workload.Key(envelope.Source, envelope.ID)
}

func (r *run) count(into map[string]int, keys []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, key := range keys {
		into[key]++
	}
}

func (r *run) tell() {
	select {
	case r.reached <- struct{}{}:
	default: // It was told already.
	}
}

// await returns when that many events are acknowledged, when sending ended, or
// when the server did.
func (r *run) await(n int64, sent <-chan struct{}) {
	r.goal.Store(n)
	for r.acknowledged.Load() < n {
		select {
		case <-r.reached:
		case <-sent:
			return
		case <-r.server.Exited():
			return
		}
	}
}
