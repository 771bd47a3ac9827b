package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"recharged/rules/sample"
	"recharged/state/charge"
	"recharged/state/money"
	"recharged/stream/journal"
)

// writer fills the event logs.
type writer struct {
	random           *rand.Rand
	now              charge.Instant
	frames           []journal.FrameWriter
	encoded          []byte
	over300, over250 money.Sum // of the recharges
}

func partition(p int) charge.Partition { return charge.Partition(p) }

// write makes the logs and fills them: first the sample rulebook, then events of
// the last twelve hours.
func write(ctx context.Context, logs *journal.Journal, o *options) (*writer, error) {
	w := &writer{random: rand.New(rand.NewPCG(1, 2)), now: charge.Instant(time.Now().UnixNano()), frames: make([]journal.FrameWriter, o.partitions)}
	book := journal.Frame{Kind: journal.FrameBook, Version: 1, Source: sample.Rulebook}
	for p := range o.partitions {
		log := logs.EventLog(partition(p))
		if err := log.Create(ctx); err != nil {
			return nil, err
		}
		if _, err := log.Append(ctx, book.Append(nil), ""); err != nil {
			return nil, err
		}
	}
	for i := range o.events {
		e := w.event(i, o)
		w.encoded = charge.AppendEvent(w.encoded[:0], &e)
		p := e.MSISDN.Slot().PartitionOf(o.partitions)
		f := &w.frames[p]
		if f.Count() == o.frame || !f.Fits(len(w.encoded)) {
			if err := w.flush(ctx, logs, p); err != nil {
				return nil, err
			}
		}
		f.Add(w.encoded)
	}
	for p := range w.frames {
		if err := w.flush(ctx, logs, partition(p)); err != nil {
			return nil, err
		}
	}
	return w, nil
}

func (w *writer) flush(ctx context.Context, logs *journal.Journal, p charge.Partition) error {
	f := &w.frames[p]
	if f.Count() == 0 {
		return nil
	}
	_, err := logs.EventLog(p).Append(ctx, f.Bytes(), "")
	f.Reset()
	return err
}

// event makes the event of that number: usage five times as often as a recharge,
// and a little of everything else.
func (w *writer) event(i int, o *options) charge.Event {
	r := w.random
	m, err := charge.ParseMSISDN(fmt.Sprintf("2137%08d", r.IntN(o.customers)))
	if err != nil {
		panic(err) // It is one.
	}
	at := w.now.Add(-12*time.Hour + 12*time.Hour/time.Duration(o.events)*time.Duration(i))
	e := charge.Event{ID: fmt.Sprintf("01JD%010d-%d", i, r.IntN(1000)), Source: "/ccn/" + string(rune('1'+r.IntN(4))), MSISDN: m, Time: at}
	switch n := r.IntN(100); {
	case n < 16:
		amount := []int64{5000, 10000, 15000, 20000, 25000, 30000, 30100, 35050, 50000, 100000}[r.IntN(10)]
		if amount > 30000 {
			w.over300.Add(money.Amount(amount))
		}
		if amount > 25000 {
			w.over250.Add(money.Amount(amount))
		}
		e.Type = charge.Recharge
		e.Fields = []charge.Field{number("amount", amount, 2), text("channel", pick(r, "app", "ussd", "voucher", "pos")), text("pos", fmt.Sprint("P", r.IntN(5000)))}
	case n < 94:
		service := pick(r, "voice", "data", "data", "sms")
		units := map[string]int64{"voice": int64(r.IntN(600)), "data": int64(r.IntN(40_000_000)), "sms": 1}[service]
		e.Type = charge.Usage
		e.Fields = []charge.Field{text("service", service), number("units", units, 0), text("cell", fmt.Sprint("A-", r.IntN(900)))}
	case n < 96:
		set := []charge.Field{number("age", int64(16+r.IntN(60)), 0), text("plan", "prepaid")}
		e.Type = charge.Profile
		e.Fields = []charge.Field{{Name: "set", Value: charge.Value{Kind: charge.Object, Fields: set}}}
	case n < 98:
		e.Type = charge.Contact
		e.Fields = []charge.Field{text("channel", "call")}
	default:
		e.Type = charge.Survey
		e.Fields = []charge.Field{number("nps", int64(r.IntN(11)), 0)}
	}
	return e
}

func number(name string, n int64, scale uint8) charge.Field {
	return charge.Field{Name: name, Value: charge.Value{Kind: charge.Number, Bits: n, Scale: scale}}
}

func text(name, value string) charge.Field {
	return charge.Field{Name: name, Value: charge.Value{Kind: charge.Text, Text: value}}
}

func pick(r *rand.Rand, choices ...string) string { return choices[r.IntN(len(choices))] }
