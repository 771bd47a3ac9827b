package emit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"recharged/state/charge"
)

// output is one message that a sink publishes. What bears the same order, such
// as all for one customer, must be in the stream in the order of publication.
type output struct {
	stream  string
	subject string
	id      string
	order   string
	data    []byte

	to charge.Partition // of a letter, which has only this, id and data
}

// message makes the NATS message of an output: a structured CloudEvent.
func (o *output) message() *nats.Msg {
	return &nats.Msg{Subject: o.subject, Data: o.data, Header: nats.Header{
		jetstream.MsgIDHeader:          {o.id},
		jetstream.ExpectedStreamHeader: {o.stream}, // so that no consumer can have it delivered into another
		"Content-Type":                 {"application/cloudevents+json"},
	}}
}

// Sizes of atomic batches. In a stream of one replica the server syncs every
// message, but a batch only a few times, in files of its own; so a batch is
// worth it from some size on, which BenchmarkSend shows. The server takes no
// more than the most.
const (
	batchMin = 24
	batchMax = 1000
)

// sendAll publishes outputs, tells published the fate of each that has one, and
// returns the first error. Many go as atomic batches, one after the other. Few,
// and those that the server refuses as a batch, go one by one, in waves. It
// refuses a batch that holds an id which it has already: then the outputs are
// here for the second time.
func (p *Publisher) sendAll(ctx context.Context, outputs []output, published func(i int, result string)) error {
	if len(outputs) == 0 {
		return nil
	}
	if err := p.begin(); err != nil {
		return err
	}
	defer p.inFlight.Done()
	sent := 0
	for len(outputs)-sent >= batchMin {
		n := min(batchMax, len(outputs)-sent)
		err := p.sendBatch(ctx, outputs[sent:sent+n])
		if _, refused := errors.AsType[*jetstream.APIError](err); refused {
			break
		}
		for i := sent; i < sent+n; i++ {
			if err != nil {
				published(i, ResultFailed)
			} else {
				published(i, ResultSent)
			}
		}
		if err != nil {
			return fmt.Errorf("publish %s to %s and %d more: %w", outputs[sent].id, outputs[sent].subject, n-1, err)
		}
		sent += n
	}
	return p.sendWaves(ctx, outputs[sent:], func(i int, result string) { published(sent+i, result) })
}

// The headers of an atomic batch, for which the client library has no function.
const (
	batchIDHeader       = "Nats-Batch-Id"
	batchSequenceHeader = "Nats-Batch-Sequence"
	batchCommitHeader   = "Nats-Batch-Commit"
)

// sendBatch publishes outputs of one stream as an atomic batch: all of them in
// their order, or none. An APIError says that it is none.
func (p *Publisher) sendBatch(ctx context.Context, outputs []output) error {
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	nc, id, last := p.js.Conn(), watermill.NewShortUUID(), len(outputs)-1
	message := func(i int) *nats.Msg {
		m := outputs[i].message()
		m.Header[batchIDHeader] = []string{id}
		m.Header[batchSequenceHeader] = []string{strconv.Itoa(i + 1)}
		return m
	}
	for i := range last {
		if err := nc.PublishMsg(message(i)); err != nil {
			return err
		}
	}
	commit := message(last)
	commit.Header[batchCommitHeader] = []string{"1"}
	reply, err := nc.RequestMsgWithContext(ctx, commit)
	if err != nil {
		return err
	}
	var ack struct {
		Error *jetstream.APIError `json:"error"`
		Count int                 `json:"count"`
	}
	if err := json.Unmarshal(reply.Data, &ack); err != nil {
		return fmt.Errorf("read the answer to a batch: %w", err)
	}
	if ack.Error != nil {
		return ack.Error
	}
	if ack.Count != len(outputs) {
		return fmt.Errorf("a batch of %d messages was acknowledged as one of %d", len(outputs), ack.Count)
	}
	return nil
}

// sendWaves publishes outputs in waves: a wave holds the first of each order
// that is left, and the next one begins when it is acknowledged whole. So each
// order is kept even when a connection breaks in the middle of a wave and only
// some of it arrives. It waits for every answer.
func (p *Publisher) sendWaves(ctx context.Context, outputs []output, published func(i int, result string)) error {
	left := make([]int, len(outputs)) // indexes
	for i := range left {
		left[i] = i
	}
	for len(left) > 0 {
		var wave []int
		wave, left = split(outputs, left)
		if err := p.sendWave(ctx, outputs, wave, published); err != nil {
			return err
		}
	}
	return nil
}

// split parts the first output of each order from the rest.
func split(outputs []output, left []int) (wave, rest []int) {
	if len(left) == 1 {
		return left, nil
	}
	seen := make(map[string]struct{}, len(left))
	for _, i := range left {
		if _, behind := seen[outputs[i].order]; behind {
			rest = append(rest, i)
			continue
		}
		seen[outputs[i].order] = struct{}{}
		wave = append(wave, i)
	}
	return wave, rest
}

func (p *Publisher) sendWave(ctx context.Context, outputs []output, wave []int, published func(i int, result string)) error {
	var first error
	failed := func(i int, err error) {
		published(i, ResultFailed)
		if first == nil {
			first = fmt.Errorf("publish %s to %s: %w", outputs[i].id, outputs[i].subject, err)
		}
	}
	futures := make([]jetstream.PubAckFuture, 0, len(wave))
	for _, i := range wave {
		future, err := p.dispatch(outputs[i].message())
		if err != nil {
			failed(i, err)
			break
		}
		futures = append(futures, future)
	}
	for n, future := range futures {
		ack, err := await(ctx, future)
		switch {
		case err != nil:
			failed(wave[n], err)
		case ack.Duplicate:
			published(wave[n], ResultDuplicate)
		default:
			published(wave[n], ResultSent)
		}
	}
	return first
}
