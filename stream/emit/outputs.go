package emit

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"recharged/state/charge"
)

// The output streams.
const (
	NotificationStream = "recharged_notifications"
	AlertStream        = "recharged_alerts"
	OutcomeStream      = "recharged_outcomes"
)

// The subjects of the outputs, to which the channel, severity or partition is
// appended.
const (
	notificationSubject = "recharged.notifications."
	alertSubject        = "recharged.alerts."
	outcomeSubject      = "recharged.outcomes."
)

// duplicatesWindow is how long an output stream remembers ids. A commit that is
// emitted again within it leaves no repeats.
const duplicatesWindow = 2 * time.Minute

// OutputOptions configures the output streams; its fields are those of Options.
type OutputOptions struct {
	Replicas int
	MaxAge   time.Duration
	Outcomes bool
}

// EnsureOutputs creates the output streams, or updates them to the options.
func EnsureOutputs(ctx context.Context, public *nats.Conn, opts OutputOptions) error {
	if opts.Replicas == 0 {
		opts.Replicas = 1
	}
	if opts.MaxAge == 0 {
		opts.MaxAge = 30 * 24 * time.Hour
	}
	js, err := jetstream.New(public)
	if err != nil {
		return fmt.Errorf("open JetStream for the outputs: %w", err)
	}
	outputs := [][2]string{{NotificationStream, notificationSubject}, {AlertStream, alertSubject}, {OutcomeStream, outcomeSubject}}
	if !opts.Outcomes {
		outputs = outputs[:2]
	}
	for _, o := range outputs {
		_, err := js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
			Name:       o[0],
			Subjects:   []string{o[1] + ">"},
			Storage:    jetstream.FileStorage,
			Retention:  jetstream.LimitsPolicy,
			Discard:    jetstream.DiscardOld,
			MaxAge:     opts.MaxAge,
			Duplicates: min(duplicatesWindow, opts.MaxAge),
			Replicas:   opts.Replicas,

			AllowAtomicPublish: true,
		})
		if err != nil {
			return fmt.Errorf("create output stream %s: %w", o[0], err)
		}
	}
	return nil
}

// NotificationID is the id of the nth notification, from 0, of a commit.
func NotificationID(p charge.Partition, commit charge.Sequence, n int) string {
	return outputID(p, commit, "-", n)
}

// AlertID is the id of the nth alert, from 0, of a commit.
func AlertID(p charge.Partition, commit charge.Sequence, n int) string {
	return outputID(p, commit, "-a", n)
}

// OutcomeID is the id of the nth outcome, from 0, of a commit.
func OutcomeID(p charge.Partition, commit charge.Sequence, n int) string {
	return outputID(p, commit, "-o", n)
}

func outputID(p charge.Partition, commit charge.Sequence, mark string, n int) string {
	id := make([]byte, 0, 32)
	id = strconv.AppendUint(id, uint64(p), 10)
	id = append(id, '-')
	id = strconv.AppendUint(id, uint64(commit), 10)
	id = append(id, mark...)
	return string(strconv.AppendInt(id, int64(n), 10))
}

// token makes one token of a subject out of a name that a rulebook gave: what
// has a meaning in subjects, or none in any, becomes an underscore.
func token(name string) string {
	if name == "" {
		return "_"
	}
	return strings.Map(func(r rune) rune {
		if r <= ' ' || r > '~' || r == '.' || r == '*' || r == '>' {
			return '_'
		}
		return r
	}, name)
}
