package main

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"sync/atomic"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// target is what is measured: the system, or the bare transport.
type target interface {
	in() way
	out() *outlet
	pid() int
	// settled returns nil when all that the fold holds is what the target holds.
	settled(ctx context.Context, want *fold) error
	stop() error
}

// outlet follows the stream of notifications with an ordered JetStream consumer.
// So a notification counts when it is on disk and a subscriber has it: a plain
// subscription would hear of it while it is still being written.
type outlet struct {
	conn    *nats.Conn
	key     []byte // what stands before the event's id in a notification
	consume jetstream.ConsumeContext
	record  atomic.Pointer[record]
	strays  atomic.Int64 // notifications of no measurement
}

func newOutlet(ctx context.Context, url, stream, key string) (*outlet, error) {
	nc, err := nats.Connect(url, nats.NoReconnect())
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", url, err)
	}
	o := &outlet{conn: nc, key: []byte(key)}
	js, err := jetstream.New(nc)
	if err != nil {
		nc.Close()
		return nil, err
	}
	consumer, err := js.OrderedConsumer(ctx, stream, jetstream.OrderedConsumerConfig{})
	if err == nil {
		o.consume, err = consumer.Consume(o.receive, jetstream.PullMaxMessages(4096))
	}
	if err != nil {
		nc.Close()
		return nil, fmt.Errorf("read stream %s: %w", stream, err)
	}
	return o, nil
}

// follow says whose notifications come from now on.
func (o *outlet) follow(r *record) { o.record.Store(r) }

func (o *outlet) receive(m jetstream.Msg) {
	r := o.record.Load()
	series, index, ok := o.event(m.Data())
	if !ok || r == nil || series != r.series {
		o.strays.Add(1)
		return
	}
	r.notify(index)
}

// event reads the id of the event that a notification is about.
func (o *outlet) event(data []byte) (series, index int, ok bool) {
	_, id, found := bytes.Cut(data, o.key)
	id, _, closed := bytes.Cut(id, []byte{'"'})
	first, second, both := bytes.Cut(id, []byte{'-'})
	if !found || !closed || !both {
		return 0, 0, false
	}
	series, err1 := strconv.Atoi(string(first))
	index, err2 := strconv.Atoi(string(second))
	return series, index, err1 == nil && err2 == nil
}

func (o *outlet) close() {
	o.consume.Stop()
	o.conn.Close()
}
