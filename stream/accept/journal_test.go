package accept

import (
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"recharged/state/charge"
	"recharged/stream/journal"
)

var _ Log = (*journal.Log)(nil)

// An outside client publishes to the embedded server as it would to a stream,
// and gets the sequence of the record of the event log that holds its event.
func TestOverTheEmbeddedServer(t *testing.T) {
	const partitions = 2
	s, err := journal.StartServer(journal.ServerOptions{Dir: t.TempDir(), Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Shutdown()
	core, err := s.Core()
	if err != nil {
		t.Fatal(err)
	}
	defer core.Close()
	public, err := s.Public()
	if err != nil {
		t.Fatal(err)
	}
	defer public.Close()
	j, err := journal.Open(t.Context(), core, journal.Options{Partitions: partitions, Replicas: 1})
	if err != nil {
		t.Fatal(err)
	}
	catalog := testCatalog()
	opts := Options{Node: "n1", Catalog: func() *charge.Catalog { return catalog }}
	for p := range charge.Partition(partitions) {
		if err := j.EventLog(p).Create(t.Context()); err != nil {
			t.Fatal(err)
		}
		opts.Logs = append(opts.Logs, j.EventLog(p))
		opts.StreamNames = append(opts.StreamNames, j.EventLog(p).Name())
	}
	g := New(opts)
	n, err := ServeNATS(t.Context(), public, g)
	if err != nil {
		t.Fatal(err)
	}

	client, err := nats.Connect(s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	js, err := jetstream.New(client)
	if err != nil {
		t.Fatal(err)
	}
	ack, err := js.Publish(t.Context(), "recharged.events", []byte(recharge("a", testMSISDN, "350")))
	if err != nil {
		t.Fatal(err)
	}
	closeNATS(t, n)
	if err := g.Close(t.Context()); err != nil {
		t.Fatal(err)
	}

	m, err := charge.ParseMSISDN(testMSISDN)
	if err != nil {
		t.Fatal(err)
	}
	l := j.EventLog(m.Slot().PartitionOf(partitions))
	record, err := l.Get(t.Context(), charge.Sequence(ack.Sequence))
	if err != nil {
		t.Fatal(err)
	}
	f, err := journal.DecodeFrame(record.Data)
	if err != nil || len(f.Events) != 1 || f.Events[0].ID != "a" || f.Events[0].MSISDN != m || ack.Stream != l.Name() {
		t.Errorf("acknowledged as %s/%d, which holds %+v: %v", ack.Stream, ack.Sequence, f.Events, err)
	}
}
