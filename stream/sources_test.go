package stream

import (
	"context"
	"fmt"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Somebody's gateways publish into a stream of their own, on a server of their
// own: it is read from its beginning, through a restart, each event once.
func TestAStreamOfOthersIsASource(t *testing.T) {
	url := externalNATS(t)
	nc, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "TOPUPS", Subjects: []string{"topups.>"}}); err != nil {
		t.Fatal(err)
	}
	publish := func(from, to int) {
		t.Helper()
		for i := from; i < to; i++ {
			if _, err := js.Publish(t.Context(), "topups.ussd", []byte(rechargeJSON(fmt.Sprint(i), i%10, "350"))); err != nil {
				t.Fatal(err)
			}
		}
	}
	dir := t.TempDir()
	source := func(o *Options) { o.Sources = []Source{{URL: url, Stream: "TOPUPS"}} }
	arrived := func(p *Processor, each int64) func() bool {
		return func() bool {
			for i := range 10 {
				if total(t, p, i, "main") != each*35000 {
					return false
				}
			}
			return true
		}
	}
	publish(0, 50)
	p := startProcessor(t, dir, source)
	waitFor(t, "what was published before the start", arrived(p, 5))
	publish(50, 80)
	p.Stop(context.Background())
	publish(80, 100)
	p = startProcessor(t, dir, source)
	waitFor(t, "what was published meanwhile", arrived(p, 10))
	settled(t, p)
	if !arrived(p, 10)() {
		t.Error("an event counted twice")
	}
}
