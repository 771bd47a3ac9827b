package emit

import (
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"recharged/state/charge"
	"recharged/stream/journal"
)

// BenchmarkLatency measures the way of one commit with one notification: from
// its acknowledgement in the commit log to the notification's arrival at an
// outside subscriber, and to the notification being durable.
func BenchmarkLatency(b *testing.B) {
	w := newWorld(b)
	if err := w.journal.CommitLog(0).Create(b.Context()); err != nil {
		b.Fatal(err)
	}
	core, public := w.core(), w.public()
	durable := make(chan time.Time, 1)
	e, err := New(b.Context(), Options{
		Core: core, Public: public, Partitions: 1,
		Streams: func(p charge.Partition) string { return w.journal.CommitLog(p).Name() },
		Observe: Observer{Durable: func(_ *journal.Commit, at time.Time) { durable <- at }},
	})
	if err != nil {
		b.Fatal(err)
	}
	go e.Run(b.Context())
	defer e.Close()
	arrivals, err := w.public().SubscribeSync(notificationSubject + ">")
	if err != nil {
		b.Fatal(err)
	}
	commit := turn(1, 1)
	payload := commit.Append(nil)
	var seq charge.Sequence
	var toArrival, toDurable time.Duration
	for b.Loop() {
		record, err := w.journal.CommitLog(0).AppendAt(b.Context(), payload, seq)
		if err != nil {
			b.Fatal(err)
		}
		acked := time.Now()
		seq = record.Sequence
		if _, err := arrivals.NextMsgWithContext(b.Context()); err != nil {
			b.Fatal(err)
		}
		toArrival += time.Since(acked)
		toDurable += (<-durable).Sub(acked)
	}
	b.ReportMetric(float64(toArrival.Microseconds())/float64(b.N), "µs-to-arrival")
	b.ReportMetric(float64(toDurable.Microseconds())/float64(b.N), "µs-to-durable")
}

// BenchmarkLetter measures the way of a letter: from its commit's acknowledgement
// in the sender's commit log to its arrival at a reader of the receiver's event
// log. In a commit with so many letters to one receiver, that of the last.
func BenchmarkLetter(b *testing.B) {
	for _, letters := range []int{1, 8} {
		b.Run(fmt.Sprintf("letters=%d", letters), func(b *testing.B) {
			w := newWorld(b)
			if err := w.journal.CommitLog(0).Create(b.Context()); err != nil {
				b.Fatal(err)
			}
			e, err := New(b.Context(), Options{
				Core: w.core(), Public: w.public(), Partitions: testPartitions,
				Streams:   func(p charge.Partition) string { return w.journal.CommitLog(p).Name() },
				EventLogs: w.journal.EventLog,
			})
			if err != nil {
				b.Fatal(err)
			}
			go e.Run(b.Context())
			defer e.Close()
			receiver, err := w.journal.EventLog(1).Read(b.Context(), 1)
			if err != nil {
				b.Fatal(err)
			}
			defer receiver.Close()
			var seq charge.Sequence
			var number uint64
			var took []time.Duration
			for b.Loop() {
				commit := turn(1, 0)
				for range letters {
					number++
					commit.Letters = append(commit.Letters, journal.Letter{To: 1, Number: number, Body: make([]byte, 40)})
				}
				record, err := w.journal.CommitLog(0).AppendAt(b.Context(), commit.Append(nil), seq)
				if err != nil {
					b.Fatal(err)
				}
				acked := time.Now()
				seq = record.Sequence
				for range letters {
					record, err = receiver.Next(b.Context())
					if err != nil {
						b.Fatal(err)
					}
				}
				took = append(took, time.Since(acked))
				if frame, err := journal.DecodeFrame(record.Data); err != nil || frame.Number != number {
					b.Fatalf("letter %d arrived instead of %d: %v", frame.Number, number, err)
				}
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds()), "µs-p50")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "µs-p99")
		})
	}
}

// BenchmarkThroughput measures the sinks over a log that is there already, in
// events: a notification for every third, no outcomes.
func BenchmarkThroughput(b *testing.B) {
	for _, events := range []int{1, 32, 256} {
		b.Run(fmt.Sprintf("events-per-commit=%d", events), func(b *testing.B) {
			w := newWorld(b)
			log := w.journal.CommitLog(0)
			if err := log.Create(b.Context()); err != nil {
				b.Fatal(err)
			}
			commit := turn(events, (events+2)/3)
			payload := commit.Append(nil)
			for seq := range charge.Sequence(b.N) {
				if _, err := log.AppendAt(b.Context(), payload, seq); err != nil {
					b.Fatal(err)
				}
			}
			done := make(chan struct{}, b.N)
			e, err := New(b.Context(), Options{
				Core: w.core(), Public: w.public(), Partitions: 1,
				Streams: func(p charge.Partition) string { return w.journal.CommitLog(p).Name() },
				Observe: Observer{Durable: func(*journal.Commit, time.Time) { done <- struct{}{} }},
			})
			if err != nil {
				b.Fatal(err)
			}
			b.ResetTimer()
			go e.Run(b.Context())
			defer e.Close()
			for range b.N {
				<-done
			}
			b.StopTimer()
			b.ReportMetric(float64(events*b.N)/b.Elapsed().Seconds(), "events/s")
		})
	}
}

// BenchmarkSend compares an atomic batch with messages that go together but one
// by one.
func BenchmarkSend(b *testing.B) {
	w := newWorld(b)
	public := w.public()
	if err := EnsureOutputs(b.Context(), public, OutputOptions{}); err != nil {
		b.Fatal(err)
	}
	p := newPublisher(b, public)
	sent := 0
	for _, n := range []int{8, 16, batchMin, 32, 256} {
		run := func(way string, send func(outputs []output) error) {
			b.Run(fmt.Sprintf("way=%s/n=%d", way, n), func(b *testing.B) {
				for b.Loop() {
					outputs := make([]output, n)
					for i := range outputs {
						sent++
						id := strconv.Itoa(sent)
						outputs[i] = output{stream: NotificationStream, subject: notificationSubject + "sms", id: id, order: id, data: make([]byte, 300)}
					}
					if err := send(outputs); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
		run("batch", func(outputs []output) error { return p.sendBatch(b.Context(), outputs) })
		run("waves", func(outputs []output) error { return p.sendWaves(b.Context(), outputs, func(int, string) {}) })
	}
}

// BenchmarkDecode measures what a sink pays to see that a commit of 256 events
// has nothing for it.
func BenchmarkDecode(b *testing.B) {
	commit := turn(256, 0)
	commit.Delta = make([]byte, 256*300)
	payload := commit.Append(nil)
	b.SetBytes(int64(len(payload)))
	b.ReportAllocs()
	for b.Loop() {
		if c, err := journal.DecodeCommit(payload); err != nil || len(c.Alerts) != 0 {
			b.Fatal(err)
		}
	}
}

// turn makes a commit of so many recharges and notifications.
func turn(events, notifications int) journal.Commit {
	c := journal.Commit{Kind: journal.CommitTurn, Node: "bench", Clock: 1_700_000_000_000_000_000}
	for n := range events {
		c.Outcomes = append(c.Outcomes, charge.Outcome{
			EventID: fmt.Sprintf("01JD%022d", n), Source: "/ussd-gw/1", Type: charge.Recharge, MSISDN: customer(0, n),
			Time: c.Clock, Accepted: c.Clock, Result: charge.Applied, Rulebook: 7,
			Postings: []charge.Posting{
				{Balance: "main", Account: charge.AccountRecharge, Amount: 35000, Cause: "recharge", After: 41000},
				{Balance: "bonus", Account: charge.PromoPrefix + "double-300", Amount: 35000, Cause: "double-300", Expires: c.Clock, After: 35000},
			},
			Rules: []charge.RuleResult{{Name: "double-300", Verdict: charge.RuleApplied}},
		})
	}
	for n := range notifications {
		c.Notifications = append(c.Notifications, charge.Notification{
			MSISDN: customer(0, n), EventID: fmt.Sprintf("01JD%022d", n), Source: "/ussd-gw/1", Rule: "double-300", Channel: "sms",
			Template: "doubled", Language: "fr", Text: "Vous avez rechargé 350 DA. Bonus : 350 DA.", Time: c.Clock,
		})
	}
	return c
}
