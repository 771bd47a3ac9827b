package accept

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"recharged/state/charge"
	"recharged/state/money"
	"recharged/stream/journal"
)

// memoryLog is an event log in memory whose appends fail as the test says.
type memoryLog struct {
	gate    chan struct{} // if not nil, each append waits for a token
	entered chan struct{} // if not nil, gets a token when an append begins
	// outcome says what becomes of the n-th append, from 0; nil: all are stored.
	outcome func(n int) (stored bool, err error)

	mu      sync.Mutex
	calls   int
	ids     []string
	records [][]byte
}

func (l *memoryLog) Append(ctx context.Context, payload []byte, id string) (charge.Sequence, error) {
	if l.entered != nil {
		l.entered <- struct{}{}
	}
	if l.gate != nil {
		select {
		case <-l.gate:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	n := l.calls
	l.calls++
	l.ids = append(l.ids, id)
	stored, err := true, error(nil)
	if l.outcome != nil {
		stored, err = l.outcome(n)
	}
	if stored {
		l.records = append(l.records, slices.Clone(payload))
	}
	return charge.Sequence(len(l.records)), err
}

// frames decodes what the log holds.
func (l *memoryLog) frames(t testing.TB) [][]charge.Event {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	var frames [][]charge.Event
	for i, record := range l.records {
		f, err := journal.DecodeFrame(record)
		if err != nil {
			t.Fatalf("record %d: %v", i, err)
		}
		frames = append(frames, f.Events)
	}
	return frames
}

// eventIDs lists the ids of all events in the logs, log by log.
func eventIDs(t testing.TB, logs ...*memoryLog) []string {
	t.Helper()
	ids := []string{}
	for _, l := range logs {
		for _, frame := range l.frames(t) {
			for i := range frame {
				ids = append(ids, frame[i].ID)
			}
		}
	}
	return ids
}

var dinar, _ = money.Currency("DZD")

func testCatalog() *charge.Catalog {
	c := &charge.Catalog{Currency: dinar, Services: charge.BuiltinServices(), Types: map[string]*charge.Schema{},
		Balances: map[string]money.Unit{"main": dinar}}
	for _, s := range charge.BuiltinSchemas() {
		c.Types[s.Type] = s
	}
	return c
}

// newGateway starts a gateway over the logs; the test's end closes it.
func newGateway(t testing.TB, adjust func(*Options), logs ...*memoryLog) *Gateway {
	t.Helper()
	catalog := testCatalog()
	opts := Options{Node: "n1", Catalog: func() *charge.Catalog { return catalog }}
	for i, l := range logs {
		opts.Logs = append(opts.Logs, l)
		opts.StreamNames = append(opts.StreamNames, fmt.Sprintf("recharged_in_%d", i))
	}
	if adjust != nil {
		adjust(&opts)
	}
	g := New(opts)
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel() // What still waits at a gate is given up.
		_ = g.Close(ctx)
	})
	return g
}

// customerOf returns a customer of partition p out of n.
func customerOf(p, n int) charge.MSISDN { return customersOf(p, n, 1)[0] }

// customersOf returns some customers of partition p out of n.
func customersOf(p, n, count int) []charge.MSISDN {
	var customers []charge.MSISDN
	for i := 0; len(customers) < count; i++ {
		m, err := charge.ParseMSISDN(fmt.Sprintf("2137701%05d", i))
		if err != nil {
			panic(err)
		}
		if int(m.Slot().PartitionOf(n)) == p {
			customers = append(customers, m)
		}
	}
	return customers
}

func contact(id string, m charge.MSISDN) charge.Event {
	return charge.Event{ID: id, Source: "/crm", Type: charge.Contact, MSISDN: m, Time: 1_700_000_000_000_000_000,
		Fields: []charge.Field{{Name: "channel", Value: charge.TextValue("call")}}}
}

func batchOf(g *Gateway, events ...charge.Event) *Batch {
	b := g.NewBatch()
	for i, e := range events {
		b.add(i, e, nil)
	}
	return b
}

// submit submits events and returns where their answer comes.
func submit(g *Gateway, events ...charge.Event) <-chan error {
	answer := make(chan error, 1)
	g.AcceptAsync(batchOf(g, events...), func(_ Verdict, err error) { answer <- err })
	return answer
}

func TestLoneEventIsAcceptedAtOnce(t *testing.T) {
	l := &memoryLog{}
	g := newGateway(t, nil, l)
	v, err := g.Accept(t.Context(), batchOf(g, contact("a", customerOf(0, 1))))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := string(v.AppendJSON(nil)), `{"accepted":1,"rejected":[],"stream":"recharged_in_0","seq":1}`; got != want {
		t.Errorf("verdict %s, want %s", got, want)
	}
	if got := eventIDs(t, l); !slices.Equal(got, []string{"a"}) {
		t.Errorf("the log holds %v", got)
	}
}

// What comes while a frame is being written fills the next one.
func TestFramesGrowWhileTheLogWrites(t *testing.T) {
	l := &memoryLog{gate: make(chan struct{}), entered: make(chan struct{}, 2)}
	g := newGateway(t, nil, l)
	m := customerOf(0, 1)
	answers := []<-chan error{submit(g, contact("first", m))}
	<-l.entered
	for i := range 100 {
		answers = append(answers, submit(g, contact(strconv.Itoa(i), m)))
	}
	close(l.gate)
	for i, answer := range answers {
		if err := <-answer; err != nil {
			t.Fatalf("batch %d: %v", i, err)
		}
	}
	frames := l.frames(t)
	if len(frames) != 2 || len(frames[0]) != 1 || len(frames[1]) != 100 {
		t.Errorf("frames hold %v events, want 1 and 100", lengths(frames))
	}
	if l.ids[0] == l.ids[1] {
		t.Errorf("two frames have one id %s", l.ids[0])
	}
}

func lengths(frames [][]charge.Event) []int {
	n := make([]int, len(frames))
	for i := range frames {
		n[i] = len(frames[i])
	}
	return n
}

func TestFullQueueAnswersBusyAndLosesNothing(t *testing.T) {
	const limit = 10
	slow, idle := &memoryLog{gate: make(chan struct{})}, &memoryLog{}
	g := newGateway(t, func(o *Options) { o.QueueEventsMax = limit }, slow, idle)
	here, there := customerOf(0, 2), customerOf(1, 2)
	var taken []string
	var answers []<-chan error
	for i := range limit {
		id := strconv.Itoa(i)
		answers, taken = append(answers, submit(g, contact(id, here))), append(taken, id)
	}
	if err := <-submit(g, contact("over", here)); !errors.Is(err, ErrBusy) {
		t.Fatalf("full queue: %v, want ErrBusy", err)
	}
	// A batch is refused whole: its event for the idle partition isn't taken either.
	if err := <-submit(g, contact("half-there", there), contact("half-here", here)); !errors.Is(err, ErrBusy) {
		t.Fatalf("half full: %v, want ErrBusy", err)
	}
	if err := <-submit(g, contact("there", there)); err != nil {
		t.Fatalf("the other partition: %v", err)
	}
	close(slow.gate)
	for i, answer := range answers {
		if err := <-answer; err != nil {
			t.Errorf("batch %d: %v", i, err)
		}
	}
	if err := <-submit(g, contact("again", here)); err != nil {
		t.Errorf("after the queue is empty again: %v", err)
	}
	if got, want := eventIDs(t, slow), append(taken, "again"); !slices.Equal(got, want) {
		t.Errorf("the slow log holds %v, want %v", got, want)
	}
	if got := eventIDs(t, idle); !slices.Equal(got, []string{"there"}) {
		t.Errorf("the idle log holds %v", got)
	}
}

func TestFailedFrameIsToldAndTheNextIsTried(t *testing.T) {
	l := &memoryLog{outcome: func(n int) (bool, error) {
		if n == 0 {
			return false, fmt.Errorf("append: %w", journal.ErrNoSpace)
		}
		return true, nil
	}}
	accepted := 0
	g := newGateway(t, func(o *Options) { o.Observe.Accepted = func(n int) { accepted += n } }, l)
	m := customerOf(0, 1)
	_, err := g.Accept(t.Context(), batchOf(g, contact("a", m)))
	var u *Unavailable
	if !errors.As(err, &u) || !errors.Is(err, journal.ErrNoSpace) || u.RetryAfter != retryLate {
		t.Fatalf("no space: %v", err)
	}
	if _, err := g.Accept(t.Context(), batchOf(g, contact("a", m))); err != nil {
		t.Fatalf("space again: %v", err)
	}
	if got := eventIDs(t, l); !slices.Equal(got, []string{"a"}) || accepted != 1 {
		t.Errorf("the log holds %v, %d told accepted", got, accepted)
	}
}

func TestReadyAndHaltedKeepTheDoorShut(t *testing.T) {
	var ready, halted error
	g := newGateway(t, func(o *Options) {
		o.Ready = func() error { return ready }
		o.Halted = func(p charge.Partition) error {
			if p == 1 {
				return halted
			}
			return nil
		}
	}, &memoryLog{}, &memoryLog{})
	full := errors.New("the disk is full")
	own := &Unavailable{Reason: "the daemon starts", RetryAfter: time.Minute}
	cases := []struct {
		name          string
		ready, halted error
		partition     int
		want          error
	}{
		{"open", nil, nil, 1, nil},
		{"not ready", full, nil, 0, full},
		{"not ready, in its own words", own, nil, 0, own},
		{"halted", nil, full, 1, full},
		{"another one is halted", nil, full, 0, nil},
	}
	for _, c := range cases {
		ready, halted = c.ready, c.halted
		_, err := g.Accept(t.Context(), batchOf(g, contact(c.name, customerOf(c.partition, 2))))
		var u *Unavailable
		if !errors.Is(err, c.want) || c.want != nil && (!errors.As(err, &u) || u.RetryAfter == 0) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}

func TestCloseWritesWhatIsQueued(t *testing.T) {
	l := &memoryLog{gate: make(chan struct{}, 2), entered: make(chan struct{}, 2)}
	g := newGateway(t, nil, l)
	m := customerOf(0, 1)
	first := submit(g, contact("a", m))
	<-l.entered
	second := submit(g, contact("b", m))
	l.gate <- struct{}{}
	l.gate <- struct{}{}
	if err := g.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if a, b := <-first, <-second; a != nil || b != nil {
		t.Errorf("queued events: %v, %v", a, b)
	}
	var u *Unavailable
	if err := <-submit(g, contact("c", m)); !errors.As(err, &u) {
		t.Errorf("after Close: %v, want Unavailable", err)
	}
	if got := eventIDs(t, l); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("the log holds %v", got)
	}
}

func TestCloseGivesUpWhenItsContextEnds(t *testing.T) {
	l := &memoryLog{gate: make(chan struct{})}
	g := newGateway(t, nil, l)
	m := customerOf(0, 1)
	answers := []<-chan error{submit(g, contact("a", m)), submit(g, contact("b", m))}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := g.Close(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Close: %v", err)
	}
	for i, answer := range answers {
		var u *Unavailable
		if err := <-answer; !errors.As(err, &u) {
			t.Errorf("event %d: %v, want Unavailable", i, err)
		}
	}
}

func TestAcceptStopsWaitingWithItsContext(t *testing.T) {
	l := &memoryLog{gate: make(chan struct{})}
	g := newGateway(t, nil, l)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := g.Accept(ctx, batchOf(g, contact("a", customerOf(0, 1)))); !errors.Is(err, context.Canceled) {
		t.Errorf("Accept: %v", err)
	}
}

// errUnknown stands for a log that can't tell whether it stored a record.
var errUnknown = errors.New("nobody knows")

// sent is what a producer of the property test submitted.
type sent struct {
	ids      []string
	customer charge.MSISDN
	err      error
}

// Whatever fails, and whoever submits at the same time: what was acknowledged is
// in the log exactly once; what was not, at most once; each customer's events
// are in the order in which they were submitted; and of a batch that failed the
// log holds a beginning, so that repeating it changes nobody's order.
func TestOrderAndFate(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const partitions = 2
		var logs []*memoryLog
		for range partitions {
			fates := rapid.SliceOfN(rapid.IntRange(0, 5), 0, 30).Draw(t, "fates")
			logs = append(logs, &memoryLog{outcome: func(n int) (bool, error) {
				if n >= len(fates) {
					return true, nil
				}
				switch fates[n] {
				case 0:
					return false, journal.ErrNoSpace
				case 1:
					return true, errUnknown
				}
				return true, nil
			}})
		}
		sizes := rapid.SliceOfN(rapid.SliceOfN(rapid.IntRange(1, 30), 1, 8), 1, 4).Draw(t, "producers")
		padding := make([]byte, rapid.SampledFrom([]int{0, 60 << 10}).Draw(t, "padding"))
		catalog := testCatalog()
		opts := Options{Node: "n", Catalog: func() *charge.Catalog { return catalog }, QueueEventsMax: 1 << 20}
		for p, l := range logs {
			opts.Logs, opts.StreamNames = append(opts.Logs, l), append(opts.StreamNames, strconv.Itoa(p))
		}
		g := New(opts)
		batches := make([][]sent, len(sizes))
		var producers sync.WaitGroup
		for i := range sizes {
			producers.Go(func() { batches[i] = produce(g, i, sizes[i], padding, partitions) })
		}
		producers.Wait()
		if err := g.Close(context.Background()); err != nil {
			t.Fatal(err)
		}
		var all []sent
		for _, b := range batches {
			all = append(all, b...)
		}
		checkFate(t, all, eventsByCustomer(t, logs))
	})
}

// produce submits batches one after the other without waiting for any of them.
// Each batch holds events of one customer, and of others in between.
func produce(g *Gateway, producer int, sizes []int, padding []byte, partitions int) []sent {
	batches := make([]sent, len(sizes))
	customer := customersOf(producer%partitions, partitions, producer+2)[producer+1]
	var settled sync.WaitGroup
	for i, size := range sizes {
		s := &batches[i]
		s.customer = customer
		b := g.NewBatch()
		for k := range size {
			id := fmt.Sprintf("%d/%d/%d", producer, i, k)
			e := contact(id, s.customer)
			e.Extra = padding
			b.add(2*k, e, nil)
			b.add(2*k+1, contact("other", customerOf(k%partitions, partitions)), nil)
			s.ids = append(s.ids, id)
		}
		settled.Add(1)
		g.AcceptAsync(b, func(_ Verdict, err error) {
			s.err = err
			settled.Done()
		})
	}
	settled.Wait()
	return batches
}

func eventsByCustomer(t *rapid.T, logs []*memoryLog) map[charge.MSISDN][]string {
	found := map[charge.MSISDN][]string{}
	for _, l := range logs {
		if unique := slices.Compact(slices.Sorted(slices.Values(l.ids))); len(unique) != len(l.ids) {
			t.Fatalf("%d frames have %d ids", len(l.ids), len(unique))
		}
		for i, record := range l.records {
			f, err := journal.DecodeFrame(record)
			if err != nil {
				t.Fatalf("record %d: %v", i, err)
			}
			for _, e := range f.Events {
				found[e.MSISDN] = append(found[e.MSISDN], e.ID)
			}
		}
	}
	return found
}

// checkFate walks through what was submitted and what the logs hold, customer by
// customer, side by side.
func checkFate(t *rapid.T, batches []sent, found map[charge.MSISDN][]string) {
	for _, s := range batches {
		rest := found[s.customer]
		n := 0
		for n < len(s.ids) && n < len(rest) && rest[n] == s.ids[n] {
			n++
		}
		if s.err == nil && n < len(s.ids) {
			t.Fatalf("acknowledged, but the log has only %d of %d events in order: sent %v, log goes on %v", n, len(s.ids), s.ids, rest)
		}
		found[s.customer] = rest[n:]
	}
	for _, s := range batches {
		if rest := found[s.customer]; len(rest) > 0 {
			t.Fatalf("the log holds more than was submitted, or in another order: %v", rest)
		}
	}
}

func BenchmarkSubmitToDurable(b *testing.B) {
	for _, producers := range []int{1, 64} {
		b.Run(fmt.Sprintf("producers=%d", producers), func(b *testing.B) {
			l := &slowLog{latency: 100 * time.Microsecond}
			catalog := testCatalog()
			g := New(Options{Logs: []Log{l}, StreamNames: []string{"in"}, Node: "n", Catalog: func() *charge.Catalog { return catalog }})
			e := contact("id", customerOf(0, 1))
			var left sync.WaitGroup
			b.ReportAllocs()
			b.ResetTimer()
			for i := range producers {
				n := b.N / producers
				if i < b.N%producers {
					n++
				}
				left.Go(func() {
					for range n {
						if _, err := g.Accept(context.Background(), batchOf(g, e)); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			left.Wait()
			b.StopTimer()
			if err := g.Close(context.Background()); err != nil {
				b.Fatal(err)
			}
			if l.events != b.N {
				b.Fatalf("the log holds %d events, want %d", l.events, b.N)
			}
			b.ReportMetric(float64(l.events)/float64(l.frames), "events/frame")
		})
	}
}

// slowLog counts what it is given and takes its time.
type slowLog struct {
	latency        time.Duration
	frames, events int
}

func (l *slowLog) Append(_ context.Context, payload []byte, _ string) (charge.Sequence, error) {
	f, err := journal.DecodeFrame(payload)
	if err != nil {
		return 0, err
	}
	l.frames++
	l.events += len(f.Events)
	<-time.After(l.latency)
	return charge.Sequence(l.frames), nil
}
