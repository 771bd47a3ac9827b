package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"recharged/stream/accept"
)

// demo makes traffic that looks like a small operator's: customers of which a
// few do much, who recharge round amounts, call, write and surf, and now and
// then complain. What it makes depends on its seed only; ids and times are of
// this run.
type demo struct {
	gateway *accept.Gateway
	logger  *slog.Logger
	rate    float64
	prefix  string // begins the ids of this run
	random  *rand.Rand
	popular *rand.Zipf
	known   map[uint64]bool // customers that have a profile
	sent    int
}

const (
	demoRateMax   = 5000.0
	demoCustomers = 2000
	demoEvery     = 100 * time.Millisecond
	demoSeed      = 20261121
)

func newDemo(gateway *accept.Gateway, rate float64, now time.Time, logger *slog.Logger) *demo {
	random := rand.New(rand.NewPCG(demoSeed, 0))
	return &demo{
		gateway: gateway, logger: logger, rate: rate, random: random,
		prefix:  fmt.Sprintf("demo-%d", now.UnixMilli()),
		popular: rand.NewZipf(random, 1.1, 20, demoCustomers-1),
		known:   map[uint64]bool{},
	}
}

// startDemo starts a demo and returns what ends it.
func startDemo(ctx context.Context, gateway *accept.Gateway, rate float64, logger *slog.Logger) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() { newDemo(gateway, rate, time.Now(), logger).run(ctx) })
	return func() {
		cancel()
		running.Wait()
	}
}

// run sends until ctx ends. What is not accepted is lost: it is a demonstration.
func (d *demo) run(ctx context.Context) {
	ticker := time.NewTicker(demoEvery)
	defer ticker.Stop()
	owed := 0.0
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			owed += d.rate * demoEvery.Seconds()
			n := int(owed)
			owed -= float64(n)
			if n > 0 {
				d.send(ctx, d.events(n, now))
			}
		}
	}
}

func (d *demo) send(ctx context.Context, events []demoEvent) {
	body, err := json.Marshal(events)
	if err != nil {
		panic(err) // Plain fields always encode.
	}
	batch := d.gateway.NewBatch()
	batch.Decode(accept.Array, body)
	verdict, err := d.gateway.Accept(ctx, batch)
	switch {
	case ctx.Err() != nil:
	case err != nil:
		d.logger.Debug("demo events not accepted", "reason", err)
	case len(verdict.Rejected) > 0:
		r := verdict.Rejected[0]
		d.logger.Debug("demo events rejected", "count", len(verdict.Rejected), "reason", string(r.Reason), "field", r.Field)
	}
}

// demoEvent is a CloudEvent.
type demoEvent struct {
	SpecVersion string         `json:"specversion"`
	ID          string         `json:"id"`
	Source      string         `json:"source"`
	Type        string         `json:"type"`
	Subject     string         `json:"subject"`
	Time        time.Time      `json:"time"`
	Data        map[string]any `json:"data"`
}

// events returns at least n events.
func (d *demo) events(n int, now time.Time) []demoEvent {
	var events []demoEvent
	add := func(customer uint64, source, kind string, data map[string]any) {
		d.sent++
		events = append(events, demoEvent{
			"1.0", fmt.Sprintf("%s-%d", d.prefix, d.sent), source, kind,
			fmt.Sprintf("21377%07d", (customer*7919+1234567)%10_000_000), now.UTC(), data,
		})
	}
	for len(events) < n {
		customer := d.popular.Uint64()
		if !d.known[customer] {
			d.known[customer] = true
			add(customer, "/demo/crm", "profile", map[string]any{"set": d.profile()})
			add(customer, "/demo/ussd-gw", "recharge", d.recharge())
		}
		source, kind, data := d.next()
		add(customer, source, kind, data)
	}
	return events
}

// pick returns one of the values, each as likely as it is often there.
func pick[T any](d *demo, values ...T) T { return values[d.random.IntN(len(values))] }

func (d *demo) profile() map[string]any {
	return map[string]any{
		"age": 16 + d.random.IntN(55), "language": pick(d, "fr", "fr", "ar", "ar", "ar", "en"),
		"wilaya": pick(d, "Alger", "Alger", "Oran", "Constantine", "Sétif", "Tamanrasset"),
	}
}

func (d *demo) recharge() map[string]any {
	return map[string]any{
		"amount":  pick(d, 100, 100, 100, 200, 200, 300, 500, 500, 1000, 2000),
		"channel": pick(d, "ussd", "ussd", "app", "app", "pos", "voucher"),
	}
}

// next returns what a customer does next.
func (d *demo) next() (source, kind string, data map[string]any) {
	switch n := d.random.IntN(1000); {
	case n < 90:
		return "/demo/ussd-gw", "recharge", d.recharge()
	case n < 440:
		return "/demo/msc", "usage", map[string]any{"service": "voice", "units": 5 + int(d.random.ExpFloat64()*90)}
	case n < 640:
		return "/demo/smsc", "usage", map[string]any{"service": "sms", "units": 1}
	case n < 985:
		return "/demo/pgw", "usage", map[string]any{"service": "data", "units": 20_000 + int(d.random.ExpFloat64()*6_000_000)}
	case n < 992:
		return "/demo/crm", "contact", map[string]any{"channel": pick(d, "call", "shop", "chat"), "topic": pick(d, "bill", "offer", "network")}
	case n < 996:
		return "/demo/crm", "grievance", map[string]any{"topic": pick(d, "network", "bonus", "price"), "severity": pick(d, "low", "high")}
	}
	return "/demo/crm", "survey", map[string]any{"nps": d.random.IntN(11)}
}
