package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"recharged/rules"
	"recharged/rules/sample"
	"recharged/stream"
	"recharged/stream/accept"
	"recharged/stream/journal"
)

// beside measures how long live events take from being sent until their
// notification is with a subscriber, without a backtest and beside one. The loop
// is open: an answer that is late does not put the next event off.
func beside(ctx context.Context, o *options) error {
	if err := fill(ctx, o); err != nil {
		return err
	}
	p, err := stream.Start(ctx, stream.Options{
		Dir: o.dir, Partitions: o.partitions, NATSListen: "127.0.0.1:0", DefaultRulebook: sample.Rulebook, Version: "bench",
		BacktestBytes: 64 << 30,
	})
	if err != nil {
		return err
	}
	defer p.Stop(ctx)
	for p.Ready() != nil {
		time.Sleep(10 * time.Millisecond)
	}
	l, err := listen(ctx, p.NATSAddr())
	if err != nil {
		return err
	}
	defer l.conn.Close()
	if _, err := l.measure(ctx, p, o); err != nil { // To warm up.
		return err
	}
	alone, err := l.measure(ctx, p, o)
	if err != nil {
		return err
	}
	fmt.Printf("alone:             %s\n", alone)
	stop, events := backtests(p)
	with, err := l.measure(ctx, p, o)
	stop()
	if err != nil {
		return err
	}
	fmt.Printf("beside a backtest: %s; it replayed %.0f events/s\n", with, float64(events.Load())/o.length.Seconds())
	return nil
}

// fill writes the logs that are replayed.
func fill(ctx context.Context, o *options) error {
	server, err := journal.StartServer(journal.ServerOptions{Dir: filepath.Join(o.dir, "logs")})
	if err != nil {
		return err
	}
	defer server.Shutdown()
	core, err := server.Core()
	if err != nil {
		return err
	}
	defer core.Close()
	logs, err := journal.Open(ctx, core, journal.Options{Partitions: o.partitions})
	if err != nil {
		return err
	}
	_, err = write(ctx, logs, o)
	return err
}

// backtests runs one backtest after the other until it is stopped, and counts
// the events that they replay.
func backtests(p *stream.Processor) (stop func(), events *atomic.Uint64) {
	book, _ := rules.Load(rules.File{Name: "draft", Data: sample.Rulebook})
	events = &atomic.Uint64{}
	var running sync.WaitGroup
	ended := make(chan struct{})
	running.Go(func() {
		for before := uint64(0); ; before = events.Load() {
			id, err := p.StartBacktest(book, 0, 0)
			if err != nil {
				panic(err) // It is the sample, and the only backtest.
			}
			for state := stream.BacktestRunning; state == stream.BacktestRunning; {
				select {
				case <-ended:
					_ = p.CancelBacktest(id) // It is there.
					return
				case <-time.After(10 * time.Millisecond):
				}
				b, err := p.Backtest(id)
				if err != nil || b.State == stream.BacktestFailed {
					panic(fmt.Sprint(err, b.Error))
				}
				state = b.State
				events.Store(before + b.Events)
			}
		}
	})
	return func() { close(ended); running.Wait() }, events
}

// listener hears the notifications.
type listener struct {
	conn   *nats.Conn
	series int

	mu    sync.Mutex // guards heard
	heard map[string]chan time.Time
}

func listen(ctx context.Context, address string) (*listener, error) {
	nc, err := nats.Connect(address)
	if err != nil {
		return nil, err
	}
	l := &listener{conn: nc, heard: map[string]chan time.Time{}}
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, err
	}
	consumer, err := js.OrderedConsumer(ctx, "recharged_notifications", jetstream.OrderedConsumerConfig{DeliverPolicy: jetstream.DeliverNewPolicy})
	if err != nil {
		return nil, err
	}
	_, err = consumer.Consume(func(m jetstream.Msg) {
		var n struct {
			Data struct{ Event, Rule string }
		}
		now := time.Now()
		if json.Unmarshal(m.Data(), &n) != nil || n.Data.Rule != "double-300" {
			return
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		if c := l.heard[n.Data.Event]; c != nil {
			delete(l.heard, n.Data.Event)
			c <- now
		}
	})
	return l, err
}

// measure sends recharges at the rate, each on its own.
func (l *listener) measure(ctx context.Context, p *stream.Processor, o *options) (string, error) {
	l.series++
	n := int(o.length.Seconds() * float64(o.rate))
	took := make([]time.Duration, n)
	faults := make([]error, n)
	begin := time.Now()
	var all sync.WaitGroup
	for i := range n {
		intended := begin.Add(time.Duration(i) * time.Second / time.Duration(o.rate))
		time.Sleep(time.Until(intended))
		all.Go(func() {
			id := fmt.Sprintf("live-%d-%d", l.series, i)
			c := make(chan time.Time, 1)
			l.mu.Lock()
			l.heard[id] = c
			l.mu.Unlock()
			b := p.Gateway().NewBatch()
			b.Decode(accept.JSON, fmt.Appendf(nil, `{"specversion":"1.0","id":%q,"source":"/live","type":"recharge","subject":"2137%08d","time":%q,"data":{"amount":400}}`,
				id, (i*7919)%o.customers, time.Now().UTC().Format(time.RFC3339Nano)))
			if v, err := p.Gateway().Accept(ctx, b); err != nil || v.Accepted != 1 {
				faults[i] = errors.Join(err, fmt.Errorf("verdict %+v", v))
				return
			}
			select {
			case at := <-c:
				took[i] = at.Sub(intended)
			case <-time.After(time.Minute):
				faults[i] = fmt.Errorf("no notification of %s", id)
			}
		})
	}
	all.Wait()
	if err := errors.Join(faults...); err != nil {
		return "", err
	}
	slices.Sort(took)
	var b strings.Builder
	fmt.Fprintf(&b, "%d events/s", o.rate)
	for _, q := range []float64{50, 99, 99.9} {
		at := min(n-1, int(float64(n)*q/100))
		fmt.Fprintf(&b, ", p%s %s", strconv.FormatFloat(q, 'f', -1, 64), took[at].Round(10*time.Microsecond))
	}
	return b.String(), nil
}
