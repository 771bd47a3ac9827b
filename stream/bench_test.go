package stream

import (
	"fmt"
	"sync"
	"syscall"
	"testing"
	"time"
)

// cpuTime is what this process, the embedded server included, has used so far.
// It means more than the clock on a machine that others use too.
func cpuTime(b *testing.B) time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// BenchmarkProcessor accepts recharges on the embedded server, syncs included,
// until they have taken effect, and checks what customers hold afterwards.
func BenchmarkProcessor(b *testing.B) {
	for _, batch := range []int{1, 100} {
		b.Run(fmt.Sprintf("batch=%d", batch), func(b *testing.B) {
			p := startProcessor(b, b.TempDir(), nil)
			const customers, producers = 100_000, 64
			events := make([][]byte, 0, b.N/batch+1)
			for sent := 0; sent < b.N; {
				body := []byte{'['}
				for i := 0; i < batch && sent < b.N; i, sent = i+1, sent+1 {
					if i > 0 {
						body = append(body, ',')
					}
					body = append(body, rechargeJSON(fmt.Sprint(sent), sent%customers, "350")...)
				}
				events = append(events, append(body, ']'))
			}
			next := make(chan []byte, len(events))
			for _, body := range events {
				next <- body
			}
			close(next)
			b.ResetTimer()
			begin, cpu := time.Now(), cpuTime(b)
			var senders sync.WaitGroup
			for range producers {
				senders.Go(func() {
					for body := range next {
						m := p.Gateway().NewBatch()
						m.Decode(0, body)
						if _, err := p.Gateway().Accept(b.Context(), m); err != nil {
							b.Error(err)
						}
					}
				})
			}
			senders.Wait()
			settled(b, p)
			b.StopTimer()
			b.ReportMetric(float64(b.N)/time.Since(begin).Seconds(), "events/s")
			b.ReportMetric(float64((cpuTime(b)-cpu).Microseconds())/float64(b.N), "CPU-µs/event")
			var all int64
			for i := range min(customers, b.N) {
				all += total(b, p, i, "main") + total(b, p, i, "bonus")
			}
			if all != int64(b.N)*70000 {
				b.Fatalf("customers hold %d, want %d", all, int64(b.N)*70000)
			}
		})
	}
}
