package emit

import (
	"bytes"
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
	// published is told the fate of output i.
	published func(o *Observer, c *journal.Commit, i int, result string)
	// done is told that all outputs of a commit are durable.
	done func(o *Observer, c *journal.Commit, at time.Time)
}

// Guesses at the size of an output, for setting memory aside.
const outputBytesGuess = 512

var notificationSink = sink{
	name: Notifications,
	outputs: func(c *journal.Commit, seq charge.Sequence) []output {
		return outputsOf(c.Notifications, func(data []byte, i int, n *charge.Notification) ([]byte, output) {
			id := NotificationID(c.Partition, seq, i)
			return charge.AppendNotificationEvent(data, id, n), output{subject: notificationSubject + token(n.Channel), id: id, order: n.MSISDN.String()}
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
			return charge.AppendAlertEvent(data, id, a), output{subject: alertSubject + token(a.Severity), id: id, order: a.Name}
		})
	},
	published: func(o *Observer, c *journal.Commit, i int, result string) {
		if o.Alert != nil && result == ResultSent {
			o.Alert(c.Alerts[i].Name, c.Alerts[i].Severity)
		}
	},
	done: func(*Observer, *journal.Commit, time.Time) {},
}

var outcomeSink = sink{
	name: Outcomes,
	outputs: func(c *journal.Commit, seq charge.Sequence) []output {
		subject := outcomeSubject + strconv.Itoa(int(c.Partition))
		return outputsOf(c.Outcomes, func(data []byte, i int, o *charge.Outcome) ([]byte, output) {
			id := OutcomeID(c.Partition, seq, i)
			return charge.AppendOutcomeEvent(data, id, o), output{subject: subject, id: id, order: o.MSISDN.String()}
		})
	},
	published: func(*Observer, *journal.Commit, int, string) {},
	done:      func(*Observer, *journal.Commit, time.Time) {},
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
	publisher *Publisher
	observe   *Observer
}

// handle publishes all that the sink makes of one commit. Watermill acknowledges
// the commit when there is no error.
func (h *handler) handle(m *message.Message) error {
	begun := time.Now()
	place, ok := PlaceOf(m)
	if !ok {
		return errors.New("a commit without its place in the log")
	}
	commit, err := h.commits.decode(m.Payload)
	if err != nil {
		return fmt.Errorf("emit %s of commit %d/%d: %w", h.sink.name, h.partition, place.Sequence, err)
	}
	if commit.Kind == journal.CommitClaim {
		return nil
	}
	if commit.Partition != h.partition {
		return fmt.Errorf("emit %s of commit %d/%d: the commit is partition %d's", h.sink.name, h.partition, place.Sequence, commit.Partition)
	}
	outputs := h.sink.outputs(commit, place.Sequence)
	err = h.publisher.sendAll(m.Context(), outputs, func(i int, result string) {
		h.sink.published(h.observe, commit, i, result)
	})
	if err != nil {
		return fmt.Errorf("emit %s of commit %d/%d: %w", h.sink.name, h.partition, place.Sequence, err)
	}
	now := time.Now()
	h.sink.done(h.observe, commit, now)
	if h.observe.Took != nil {
		h.observe.Took(h.sink.name, now.Sub(begun))
	}
	if h.observe.Emitted != nil {
		h.observe.Emitted(h.sink.name, h.partition, place.Sequence, len(outputs), now)
	}
	return nil
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
// side by side, so it keeps the last commit: the first one decodes, the others
// find it done. What it returns is shared and must not be changed.
type decoder struct {
	mu     sync.Mutex // guards the two below, and makes the others wait for the first
	data   []byte
	commit *journal.Commit
}

func (d *decoder) decode(data []byte) (*journal.Commit, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.commit != nil && bytes.Equal(d.data, data) {
		return d.commit, nil
	}
	commit, err := journal.DecodeCommit(data)
	if err != nil {
		return nil, err
	}
	d.data, d.commit = data, &commit
	return d.commit, nil
}
