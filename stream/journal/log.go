package journal

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"recharged/state/charge"
)

// duplicateWindow is how long the server recognises the id of a record.
const duplicateWindow = 30 * time.Second

// Errors of a log.
var (
	ErrNoLog    = errors.New("the log does not exist")
	ErrNoRecord = errors.New("the log has no such record")
	ErrNoSpace  = errors.New("the server cannot store any more")
	ErrConflict = errors.New("the log has moved on")
	ErrUnknown  = errors.New("whether the record was stored is unknown")
)

// Log is one stream: records in one order, numbered from 1. It is safe for
// concurrent use.
type Log struct {
	js      jetstream.JetStream
	opts    *Options
	name    string
	subject string

	mu     sync.Mutex
	stream jetstream.Stream // guarded by mu; nil until it was first asked for
}

func newLog(j *Journal, name, subject string) *Log {
	return &Log{js: j.js, opts: &j.opts, name: name, subject: subject}
}

// Name returns the name of the log's stream.
func (l *Log) Name() string { return l.name }

// Create creates the log if there is nothing of its name. A log that is there
// with a fitting configuration is left alone; with another one it is an error
// that names every difference.
func (l *Log) Create(ctx context.Context) error {
	stream, err := l.js.Stream(ctx, l.name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		_, err = l.js.CreateStream(ctx, l.config())
		if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
			stream, err = l.js.Stream(ctx, l.name)
		}
	}
	if err != nil {
		return fmt.Errorf("create log %s: %w", l.name, err)
	}
	if stream == nil {
		return nil
	}
	if differences := compareConfig(stream.CachedInfo().Config, l.config()); len(differences) > 0 {
		return fmt.Errorf("create log %s: the stream is there, but configured otherwise: %s", l.name, strings.Join(differences, "; "))
	}
	return nil
}

// config is what a log must be: nothing is dropped by age or to make room, and
// no single record can be deleted. Direct reads are off, because a replica that
// lags may answer them.
func (l *Log) config() jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:        l.name,
		Subjects:    []string{l.subject},
		Storage:     jetstream.FileStorage,
		Replicas:    l.opts.Replicas,
		Retention:   jetstream.LimitsPolicy,
		Discard:     jetstream.DiscardNew,
		DenyDelete:  true,
		Duplicates:  duplicateWindow,
		Compression: jetstream.NoCompression,
		Metadata:    map[string]string{partitionsKey: strconv.Itoa(l.opts.Partitions)},
	}
}

// partitionsKey is where each log says how many partitions there are: which log
// a customer's events are in depends on it.
const partitionsKey = "recharged.partitions"

// compareConfig lists how have differs from want in what makes a log one.
// Limits on its size are the operator's.
func compareConfig(have, want jetstream.StreamConfig) []string {
	var differences []string
	differ := func(what string, have, want any) {
		if h, w := fmt.Sprint(have), fmt.Sprint(want); h != w {
			differences = append(differences, fmt.Sprintf("%s is %s, must be %s", what, h, w))
		}
	}
	differ("subjects", have.Subjects, want.Subjects)
	differ("storage", have.Storage, want.Storage)
	differ("replicas", have.Replicas, want.Replicas)
	differ("retention", have.Retention, want.Retention)
	differ("discard", have.Discard, want.Discard)
	differ("max age", have.MaxAge, want.MaxAge)
	differ("max messages per subject", max(have.MaxMsgsPerSubject, 0), max(want.MaxMsgsPerSubject, 0))
	differ("deny delete", have.DenyDelete, want.DenyDelete)
	differ("allow direct", have.AllowDirect, want.AllowDirect)
	differ("allow message ttl", have.AllowMsgTTL, want.AllowMsgTTL)
	differ("no ack", have.NoAck, want.NoAck)
	differ("sealed", have.Sealed, want.Sealed)
	differ("duplicate window", have.Duplicates, want.Duplicates)
	differ("mirror", have.Mirror != nil, false)
	differ("sources", len(have.Sources), 0)
	differ("subject transform", have.SubjectTransform != nil, false)
	differ("number of partitions", have.Metadata[partitionsKey], want.Metadata[partitionsKey])
	differ("persist mode", have.PersistMode, want.PersistMode)
	return differences
}

// Info is what the server says about a log.
type Info struct {
	Created     charge.Instant
	First, Last charge.Sequence // of the records that are there; an empty log has First = Last+1
	Records     uint64
	Bytes       uint64

	// Lost is set when the server reports losses, or when records are gone from
	// the middle, where no one can delete any: after damage to a block file the
	// server shows nothing but that.
	Lost bool
}

func (i Info) String() string {
	lost := ""
	if i.Lost {
		lost = ", with losses"
	}
	return fmt.Sprintf("a log created %s, records %d to %d%s", describe(i.Created), i.First, i.Last, lost)
}

// Info asks the server about the log; ErrNoLog if there is none.
func (l *Log) Info(ctx context.Context) (Info, error) {
	stream, err := l.handle(ctx)
	if err != nil {
		return Info{}, err
	}
	si, err := stream.Info(ctx)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return Info{}, fmt.Errorf("ask about log %s: %w", l.name, ErrNoLog)
	}
	if err != nil {
		return Info{}, fmt.Errorf("ask about log %s: %w", l.name, err)
	}
	created, ok := charge.InstantOf(si.Created)
	if !ok {
		return Info{}, fmt.Errorf("ask about log %s: the server says it was created at %v", l.name, si.Created)
	}
	info := Info{
		Created: created,
		First:   charge.Sequence(si.State.FirstSeq),
		Last:    charge.Sequence(si.State.LastSeq),
		Records: si.State.Msgs,
		Bytes:   si.State.Bytes,
		Lost:    si.State.Lost != nil || si.State.NumDeleted > 0,
	}
	if info.Records == 0 {
		info.First = info.Last + 1
	}
	return info, nil
}

// handle returns the client's handle of the stream; ErrNoLog if there is none.
func (l *Log) handle(ctx context.Context) (jetstream.Stream, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stream != nil {
		return l.stream, nil
	}
	stream, err := l.js.Stream(ctx, l.name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, fmt.Errorf("look up log %s: %w", l.name, ErrNoLog)
	}
	if err != nil {
		return nil, fmt.Errorf("look up log %s: %w", l.name, err)
	}
	l.stream = stream
	return stream, nil
}

// Get returns one record; ErrNoRecord if it is not there.
func (l *Log) Get(ctx context.Context, seq charge.Sequence) (Record, error) {
	stream, err := l.handle(ctx)
	if err != nil {
		return Record{}, err
	}
	msg, err := stream.GetMsg(ctx, uint64(seq))
	return l.record(msg, err, fmt.Sprintf("record %d", seq))
}

// Last returns the last record; ErrNoRecord if the log is empty.
func (l *Log) Last(ctx context.Context) (Record, error) {
	stream, err := l.handle(ctx)
	if err != nil {
		return Record{}, err
	}
	msg, err := stream.GetLastMsgForSubject(ctx, l.subject)
	return l.record(msg, err, "the last record")
}

func (l *Log) record(msg *jetstream.RawStreamMsg, err error, which string) (Record, error) {
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		err = ErrNoRecord
	case errors.Is(err, jetstream.ErrStreamNotFound):
		err = ErrNoLog
	}
	if err != nil {
		return Record{}, fmt.Errorf("get %s of log %s: %w", which, l.name, err)
	}
	stamp, ok := charge.InstantOf(msg.Time)
	if !ok {
		return Record{}, fmt.Errorf("get %s of log %s: it has the timestamp %v", which, l.name, msg.Time)
	}
	return Record{Sequence: charge.Sequence(msg.Sequence), Stamp: stamp, Data: msg.Data}, nil
}

// message makes the message of one attempt. ExpectStream lets the server refuse
// it should another stream have taken the subject.
func (l *Log) message(payload []byte) *nats.Msg {
	return &nats.Msg{Subject: l.subject, Data: payload, Header: nats.Header{
		jetstream.ExpectedStreamHeader: []string{l.name},
	}}
}
