package emit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"recharged/state/charge"
	"recharged/stream/journal"
)

// Sink names a way out, and its durable position in each commit log.
type Sink string

// The sinks.
const (
	Notifications Sink = "notifications"
	Alerts        Sink = "alerts"
	Outcomes      Sink = "outcomes"
	Letters       Sink = "letters"
)

// Results of the publication of a notification.
const (
	ResultSent      = "sent"      // it is durable in the output stream
	ResultDuplicate = "duplicate" // it already was
	ResultFailed    = "failed"    // an attempt was in vain; another one follows
)

// Observer is told what the sinks do. Each function may be nil, is called by
// many goroutines, and must not block.
type Observer struct {
	// Emitted: all n outputs that the sink makes of a commit were durable at that
	// time. Called again when a commit is emitted again.
	Emitted func(s Sink, p charge.Partition, commit charge.Sequence, n int, at time.Time)
	// Took is how long that took since the sink got the commit: the emit stage.
	Took func(s Sink, took time.Duration)
	// SinkError is one attempt in vain.
	SinkError func(s Sink, p charge.Partition, err error)
	// Notification is the result of one attempt to publish a notification.
	Notification func(channel, result string)
	// Alert was published; not called for one that already was.
	Alert func(name, severity string)
	// Durable: the notifications of a commit are durable. The commit must not be
	// changed.
	Durable func(c *journal.Commit, at time.Time)
}

// sink is what sets one way out apart from the others.
type sink struct {
	name Sink
	// outputs returns what is to be published for a commit.
	outputs func(c *journal.Commit, seq charge.Sequence) []output
	// published, unless nil, is told the fate of output i.
	published func(o *Observer, c *journal.Commit, i int, result string)
	// done, unless nil, is told that all outputs of a commit are durable.
	done func(o *Observer, c *journal.Commit, at time.Time)
}

// sender publishes the outputs of a sink, in order where it matters, and tells
// published the fate of each that has one.
type sender interface {
	sendAll(ctx context.Context, outputs []output, published func(i int, result string)) error
}

// Guesses at the size of an output, for setting memory aside.
const outputBytesGuess = 512

var notificationSink = sink{
	name: Notifications,
	outputs: func(c *journal.Commit, seq charge.Sequence) []output {
		return outputsOf(c.Notifications, func(data []byte, i int, n *charge.Notification) ([]byte, output) {
			id := NotificationID(c.Partition, seq, i)
			return charge.AppendNotificationEvent(data, id, n), output{stream: NotificationStream, subject: notificationSubject + token(n.Channel), id: id, order: n.MSISDN.String()}
		})
	},
	published: func(o *Observer, c *journal.Commit, i int, result string) {
		if o.Notification != nil {
			o.Notification(c.Notifications[i].Channel, result)
		}
	},
	done: func(o *Observer, c *journal.Commit, at time.Time) {
		if o.Durable != nil {
			o.Durable(c, at)
		}
	},
}

var alertSink = sink{
	name: Alerts,
	outputs: func(c *journal.Commit, seq charge.Sequence) []output {
		return outputsOf(c.Alerts, func(data []byte, i int, a *charge.Alert) ([]byte, output) {
			id := AlertID(c.Partition, seq, i)
			return charge.AppendAlertEvent(data, id, a), output{stream: AlertStream, subject: alertSubject + token(a.Severity), id: id, order: a.Name}
		})
	},
	published: func(o *Observer, c *journal.Commit, i int, result string) {
		if o.Alert != nil && result == ResultSent {
			o.Alert(c.Alerts[i].Name, c.Alerts[i].Severity)
		}
	},
}

var outcomeSink = sink{
	name: Outcomes,
	outputs: func(c *journal.Commit, seq charge.Sequence) []output {
		subject := outcomeSubject + strconv.Itoa(int(c.Partition))
		return outputsOf(c.Outcomes, func(data []byte, i int, o *charge.Outcome) ([]byte, output) {
			id := OutcomeID(c.Partition, seq, i)
			return charge.AppendOutcomeEvent(data, id, o), output{stream: OutcomeStream, subject: subject, id: id, order: o.MSISDN.String()}
		})
	},
}

// outputsOf makes an output of each item; one appends its payload to data.
func outputsOf[T any](items []T, one func(data []byte, i int, item *T) ([]byte, output)) []output {
	if len(items) == 0 {
		return nil
	}
	outputs := make([]output, len(items))
	data := make([]byte, 0, len(items)*outputBytesGuess)
	for i := range items {
		start := len(data)
		data, outputs[i] = one(data, i, &items[i])
		outputs[i].data = data[start:len(data):len(data)]
	}
	return outputs
}

// handler is the Watermill handler of one sink and partition.
type handler struct {
	sink      *sink
	partition charge.Partition
	commits   *decoder
	sender    sender
	observe   *Observer
}

// emission is what a sink makes of one commit.
type emission struct {
	commit   *journal.Commit
	sequence charge.Sequence
	outputs  []output
}

// handle publishes all that the sink makes of a pack of commits. Watermill
// acknowledges them when there is no error.
func (h *handler) handle(m *message.Message) error {
	begun := time.Now()
	members := packOf(m)
	emissions := make([]emission, 0, len(members))
	var outputs []output
	for _, member := range members {
		e, err := h.emission(member)
		if err != nil {
			return err
		}
		if e.commit.Kind == journal.CommitClaim {
			continue
		}
		emissions = append(emissions, e)
		outputs = append(outputs, e.outputs...)
	}
	err := h.sender.sendAll(m.Context(), outputs, func(i int, result string) {
		if h.sink.published == nil {
			return
		}
		for _, e := range emissions {
			if i < len(e.outputs) {
				h.sink.published(h.observe, e.commit, i, result)
				return
			}
			i -= len(e.outputs)
		}
	})
	if err != nil {
		return fmt.Errorf("emit %s of partition %d: %w", h.sink.name, h.partition, err)
	}
	h.conclude(emissions, begun)
	return nil
}

// emission reads one commit and makes its outputs.
func (h *handler) emission(m *message.Message) (emission, error) {
	place, ok := PlaceOf(m)
	if !ok {
		return emission{}, errors.New("a commit without its place in the log")
	}
	commit, err := h.commits.decode(m.Payload, place.Sequence)
	if err != nil {
		return emission{}, fmt.Errorf("emit %s of commit %d/%d: %w", h.sink.name, h.partition, place.Sequence, err)
	}
	if commit.Partition != h.partition {
		return emission{}, fmt.Errorf("emit %s of commit %d/%d: the commit is partition %d's", h.sink.name, h.partition, place.Sequence, commit.Partition)
	}
	return emission{commit, place.Sequence, h.sink.outputs(commit, place.Sequence)}, nil
}

// conclude tells the Observer that all outputs of the commits are durable.
func (h *handler) conclude(emissions []emission, begun time.Time) {
	now := time.Now()
	for _, e := range emissions {
		if h.sink.done != nil {
			h.sink.done(h.observe, e.commit, now)
		}
		if h.observe.Emitted != nil {
			h.observe.Emitted(h.sink.name, h.partition, e.sequence, len(e.outputs), now)
		}
	}
	if len(emissions) > 0 && h.observe.Took != nil {
		h.observe.Took(h.sink.name, now.Sub(begun))
	}
}

// report is the middleware that tells the Observer of errors.
func (h *handler) report(next message.HandlerFunc) message.HandlerFunc {
	return func(m *message.Message) ([]*message.Message, error) {
		produced, err := next(m)
		if err != nil && h.observe.SinkError != nil && m.Context().Err() == nil {
			h.observe.SinkError(h.sink.name, h.partition, err)
		}
		return produced, err
	}
}

// decoder decodes the commits of one partition. The sinks of a partition run
// side by side, so it keeps the last commits: the first sink to come decodes,
// the others find it done. What it returns is shared and must not be changed.
type decoder struct {
	mu   sync.Mutex // guards last, and makes the others wait for the first
	last [decodedMax]struct {
		data   []byte
		commit *journal.Commit
	}
}

// decodedMax is how many commits are kept decoded: as many as a pack holds.
const decodedMax = packMax

func (d *decoder) decode(data []byte, at charge.Sequence) (*journal.Commit, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	kept := &d.last[at%decodedMax]
	if kept.commit != nil && bytes.Equal(kept.data, data) {
		return kept.commit, nil
	}
	commit, err := journal.DecodeCommit(data)
	if err != nil {
		return nil, err
	}
	kept.data, kept.commit = data, &commit
	return kept.commit, nil
}
