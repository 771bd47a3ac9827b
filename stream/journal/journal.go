// Package journal is the event log and the commit log on JetStream, and the
// embedded server that holds them on a single machine.
//
// # Two logs per partition
//
// The event log is what happened: frames, each with one or more events, a
// rulebook version, a clock tick, a decision about a parked event or a letter
// from a partition. The commit log is what was done about it: one record per
// turn. Both are JetStream streams, so both are replicated by the NATS cluster
// where there is one. A third log, one for all partitions, holds the rulebook
// versions.
//
// # What it promises
//
//   - Durability. Append and AppendAt return nil only after the server has
//     acknowledged the record. The embedded server syncs every record before
//     it acknowledges; an external one must be configured to
//     (sync_interval: always), which a client cannot see and so cannot check.
//   - No silent repetition. A write whose outcome is unknown is repeated with
//     the same id, within the time in which the server recognises the id, or
//     is resolved by reading the log, or is reported as ErrUnknown.
//   - Fencing. AppendAt succeeds only if the log ends where the caller thinks
//     it ends. Two owners of one partition can both compute, but only one of
//     them can commit.
//   - Continuity. An Anchor names one record so exactly that a log which was
//     lost, recreated, rolled back, trimmed too far or rewritten is recognised.
//     Nothing is ever continued over such a break: it is a *Discontinuity, and
//     a person decides.
//
// # Fencing, step by step
//
// Owners A and B both believe that the commit log of partition 3 ends at 41.
//
//  1. A publishes its commit with expected last sequence 41. It becomes 42.
//  2. B publishes its own with expected last sequence 41. The server refuses.
//  3. B reads record 42, sees that it is not its own, and gets a *Conflict.
//  4. The acknowledgement of A's commit is lost on the way. A publishes again;
//     the server refuses, because the log ends at 42. A reads record 42, sees
//     its own payload, and knows that its commit is durable.
//
// Error codes differ between replicated and single streams, so no code decides:
// the record at the expected place does.
//
// # Continuity, step by step
//
// State has folded the event log up to record 15 when the machine loses power,
// and an operator restores a backup in which the log ends at 10. A consumer
// that asks for 16 would be kept waiting while 11 to 15 are written anew, and
// then be given 16: five records would never be looked at. So the state keeps
// the Anchor of record 15 (when the log was created, the record's sequence,
// timestamp and hash), and Check compares it before the first record is read.
// A Reader repeats the comparison each time it has to connect anew.
//
// # What it refuses to know
//
// What an event means, what a commit's delta says, who should own a partition.
package journal

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"recharged/state/charge"
)

// serverVersionMin is the oldest server whose sync path is trusted with money.
const serverVersionMin = "2.15.2"

// publishTimeoutDefault is how long one attempt waits for its acknowledgement.
const publishTimeoutDefault = 5 * time.Second

// Options are the options of Open.
type Options struct {
	// Partitions is how many pairs of logs there are. At least 1.
	Partitions int

	// Replicas is how many servers hold each log. Default 1, which is what the
	// embedded server can do; 3 survives the loss of one machine.
	Replicas int

	// Logger gets what is worth a line. Default: nothing is logged.
	Logger *slog.Logger

	// PublishTimeout is how long one attempt to append waits for the server's
	// acknowledgement before its outcome counts as unknown. Default 5 s. Less
	// than a raft election (4 to 9 s) makes attempts during one pointless but
	// harmless; more delays the discovery of a full disk. At most 15 s.
	PublishTimeout time.Duration

	// Health is asked when an acknowledgement does not come, because a server
	// that could not write says nothing. What it returns ends the append.
	// Server.Health of the embedded server is one. Default: nobody is asked.
	Health func() error
}

// booksName is the stream of the rulebook versions, the first that is made.
const booksName = "recharged_books"

// Journal is all the logs of one deployment.
type Journal struct {
	js     jetstream.JetStream
	opts   Options
	books  *Log
	events []*Log
	commit []*Log
}

// Open checks the server behind core and returns its logs. It refuses a server
// that is too old or has no JetStream. It creates nothing: see Log.Create.
func Open(ctx context.Context, core *nats.Conn, opts Options) (*Journal, error) {
	if opts.Replicas == 0 {
		opts.Replicas = 1
	}
	if opts.PublishTimeout == 0 {
		opts.PublishTimeout = publishTimeoutDefault
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if err := opts.validate(); err != nil {
		return nil, fmt.Errorf("open journal: %w", err)
	}
	if v := core.ConnectedServerVersion(); !versionAtLeast(v, serverVersionMin) {
		return nil, fmt.Errorf("open journal: the NATS server has version %q, at least %s is needed", v, serverVersionMin)
	}
	js, err := jetstream.New(core)
	if err != nil {
		return nil, fmt.Errorf("open journal: %w", err)
	}
	if _, err := js.AccountInfo(ctx); err != nil {
		return nil, fmt.Errorf("open journal: ask the server about JetStream: %w", err)
	}
	j := &Journal{js: js, opts: opts}
	j.books = newLog(j, booksName, "recharged.books")
	for p := range opts.Partitions {
		n := strconv.Itoa(p)
		j.events = append(j.events, newLog(j, "recharged_in_"+n, "recharged.in."+n))
		j.commit = append(j.commit, newLog(j, "recharged_tx_"+n, "recharged.tx."+n))
	}
	return j, nil
}

func (o *Options) validate() error {
	var faults []error
	if o.Partitions < 1 || o.Partitions > charge.Slots {
		faults = append(faults, fmt.Errorf("partitions must be 1 to %d, not %d", charge.Slots, o.Partitions))
	}
	if o.Replicas < 1 || o.Replicas > 5 {
		faults = append(faults, fmt.Errorf("replicas must be 1 to 5, not %d", o.Replicas))
	}
	if o.PublishTimeout < 0 || o.PublishTimeout > duplicateWindow/2 {
		faults = append(faults, fmt.Errorf("publish timeout must be positive and at most %v, not %v", duplicateWindow/2, o.PublishTimeout))
	}
	return errors.Join(faults...)
}

// Partitions returns how many partitions the logs behind core were made for; 0
// if there are none yet.
func Partitions(ctx context.Context, core *nats.Conn) (int, error) {
	js, err := jetstream.New(core)
	if err != nil {
		return 0, fmt.Errorf("find the number of partitions: %w", err)
	}
	stream, err := js.Stream(ctx, booksName)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("find the number of partitions: %w", err)
	}
	text := stream.CachedInfo().Config.Metadata[partitionsKey]
	n, err := strconv.Atoi(text)
	if err != nil {
		return 0, fmt.Errorf("find the number of partitions: the stream %s says %q", booksName, text)
	}
	return n, nil
}

// EventLog returns the event log of a partition.
func (j *Journal) EventLog(p charge.Partition) *Log { return j.events[p] }

// CommitLog returns the commit log of a partition.
func (j *Journal) CommitLog(p charge.Partition) *Log { return j.commit[p] }

// Books returns the log of the rulebook versions.
func (j *Journal) Books() *Log { return j.books }

// versionAtLeast compares versions of three numbers; what follows them, as in
// 2.16.0-dev, is not looked at. What is no version is not enough.
func versionAtLeast(have, want string) bool {
	h, ok := versionNumbers(have)
	w, _ := versionNumbers(want)
	if !ok {
		return false
	}
	for i := range h {
		if h[i] != w[i] {
			return h[i] > w[i]
		}
	}
	return true
}

func versionNumbers(version string) (numbers [3]int, ok bool) {
	release, _, _ := strings.Cut(version, "-")
	parts := strings.Split(release, ".")
	if len(parts) != len(numbers) {
		return numbers, false
	}
	for i, part := range parts {
		n, err := strconv.Atoi(part)
		if err != nil {
			return numbers, false
		}
		numbers[i] = n
	}
	return numbers, true
}

// ConnectOptions are the options with which every connection that a journal
// uses should be made, to the embedded server or another: it reconnects for
// ever, and it never keeps a write back to send it later, because a write that
// arrives after its author has given up is a surprise.
func ConnectOptions(name string, logger *slog.Logger) []nats.Option {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	return []nats.Option{
		nats.Name(name),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(200 * time.Millisecond),
		nats.ReconnectJitter(50*time.Millisecond, 50*time.Millisecond),
		nats.ReconnectBufSize(-1),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			logger.Warn("nats connection", "connection", name, "error", err)
		}),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				logger.Warn("nats connection lost", "connection", name, "error", err)
			}
		}),
		nats.ReconnectHandler(func(*nats.Conn) {
			logger.Info("nats connection is back", "connection", name)
		}),
	}
}
