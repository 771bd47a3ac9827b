package journal

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"recharged/state/charge"
)

func BenchmarkAppendAt(b *testing.B) {
	for _, size := range []int{1 << 10, 64 << 10} {
		b.Run(fmt.Sprintf("bytes=%d", size), func(b *testing.B) {
			l := openJournal(b, coreOf(b, startServer(b, ServerOptions{})), Options{}).CommitLog(0)
			create(b, l)
			payload := bytes.Repeat([]byte("x"), size)
			var after charge.Sequence
			b.ReportAllocs()
			for b.Loop() {
				record, err := l.AppendAt(b.Context(), payload, after)
				if err != nil {
					b.Fatal(err)
				}
				after = record.Sequence
			}
			if info := infoOf(b, l); info.Last != after {
				b.Errorf("the log ends at %d after %d commits", info.Last, after)
			}
		})
	}
}

func BenchmarkRead(b *testing.B) {
	const records = 2000
	l := openJournal(b, coreOf(b, startServer(b, ServerOptions{})), Options{}).EventLog(0)
	create(b, l)
	fill(b, l, 1, records)
	b.ReportAllocs()
	for b.Loop() {
		r, err := l.Read(within(b, time.Minute), 1)
		if err != nil {
			b.Fatal(err)
		}
		for seq := charge.Sequence(1); seq <= records; seq++ {
			if record, err := r.Next(b.Context()); err != nil || record.Sequence != seq {
				b.Fatalf("record %d: %d, %v", seq, record.Sequence, err)
			}
		}
		r.Close()
	}
	b.ReportMetric(float64(records)*float64(b.N)/b.Elapsed().Seconds(), "records/s")
}
