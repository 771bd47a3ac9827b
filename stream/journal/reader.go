package journal

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"recharged/state/charge"
)

// How a reader fetches.
const (
	pullRecordsMax     = 1024     // asked of the server at a time
	pullBytesMax       = 16 << 20 // and no more than so many bytes; must exceed the largest record
	pullExpiry         = 5 * time.Second
	pullHeartbeat      = 500 * time.Millisecond // a silent server is noticed after two of them
	readerRecordsMax   = 128                    // waiting to be taken from a Reader
	consumerIdleMax    = 5 * time.Minute        // the server drops a consumer that nobody asks for so long
	reconnectPauseMin  = 20 * time.Millisecond
	reconnectPauseMax  = time.Second
	reconnectAnswerMax = 2 * time.Second
)

// errSkipped is why a consumer is given up that left a sequence out: a new one
// tells whether the log has a gap or the delivery had.
var errSkipped = errors.New("a sequence was skipped")

// Reader reads a log in order from one position on, without end.
//
// A goroutine of its own fetches ahead. What has arrived waits in a bounded
// queue; when that is full the goroutine stops asking, the server waits, and
// nothing is lost. When the server goes away, or goes quiet, it connects anew,
// makes sure with Log.Check that the log still holds the last record it has
// delivered, and goes on behind that. It keeps no state on the server that
// matters.
//
// Why not the client library's ordered consumer: that one, too, connects anew on
// its own, but it waits out its pauses whatever the caller's context says, and
// it cannot tell that the log behind the sequence has been rolled back.
type Reader struct {
	log     *Log
	records chan Record
	stop    context.CancelFunc
	done    chan struct{}

	err error // why records was closed; written before that

	// Owned by the fetching goroutine.
	next   charge.Sequence // to be delivered
	last   Record          // delivered last, or the one before the first
	anchor Anchor          // of last, once it has been computed
}

// Read returns a Reader whose first record is from. It returns a *Discontinuity
// if there is no log, if it begins behind from, or if it ends before from-1.
// Whoever knows the record before from compares it with Check first.
func (l *Log) Read(ctx context.Context, from charge.Sequence) (*Reader, error) {
	if from == 0 {
		return nil, fmt.Errorf("read log %s: there is no record 0", l.name)
	}
	r := &Reader{log: l, next: from, records: make(chan Record, readerRecordsMax), done: make(chan struct{})}
	if err := r.begin(ctx); err != nil {
		return nil, fmt.Errorf("read log %s from %d: %w", l.name, from, err)
	}
	fetching, stop := context.WithCancel(context.WithoutCancel(ctx))
	r.stop = stop
	go r.run(fetching)
	return r, nil
}

// begin finds out what the Reader's first record comes after.
func (r *Reader) begin(ctx context.Context) error {
	info, err := r.log.Info(ctx)
	if errors.Is(err, ErrNoLog) {
		return r.log.missing()
	}
	if err != nil {
		return err
	}
	r.anchor = Anchor{Created: info.Created, Sequence: r.next - 1}
	if d := r.log.compare(r.anchor, info); d != nil {
		return d
	}
	if r.anchor.Sequence == 0 || info.First > r.anchor.Sequence {
		return nil
	}
	r.last, err = r.log.Get(ctx, r.anchor.Sequence)
	if err == nil {
		r.anchor = r.last.Anchor(info.Created)
	}
	return err
}

// Next returns the next record; it waits for one until ctx ends. Every other
// error is final: a *Discontinuity, or ErrClosed.
func (r *Reader) Next(ctx context.Context) (Record, error) {
	select {
	case record, ok := <-r.records:
		if !ok {
			return Record{}, r.err
		}
		return record, nil
	case <-ctx.Done():
		return Record{}, ctx.Err()
	}
}

// TryNext returns the next record if it has already arrived, without waiting.
func (r *Reader) TryNext() (Record, bool, error) {
	select {
	case record, ok := <-r.records:
		if !ok {
			return Record{}, false, r.err
		}
		return record, true, nil
	default:
		return Record{}, false, nil
	}
}

// ErrClosed is the error of a Reader that was closed.
var ErrClosed = errors.New("the reader is closed")

// Close ends the Reader and waits for its goroutine. Records that were not taken
// are dropped.
func (r *Reader) Close() {
	r.stop()
	<-r.done
}

// run fetches until the Reader is closed or the log turns out to be broken.
func (r *Reader) run(ctx context.Context) {
	defer close(r.done)
	defer close(r.records)
	skipped := false // the last consumer left a sequence out
	for pause := reconnectPauseMin; ; pause = min(2*pause, reconnectPauseMax) {
		before := r.next
		err := r.fetch(ctx, skipped)
		if ctx.Err() != nil {
			r.err = ErrClosed
			return
		}
		if broken := (*Discontinuity)(nil); errors.As(err, &broken) {
			r.err = fmt.Errorf("read log %s: %w", r.log.name, err)
			return
		}
		skipped = errors.Is(err, errSkipped)
		if r.next != before {
			pause = reconnectPauseMin
		}
		level := slog.LevelDebug // of what repeats
		if pause == reconnectPauseMin {
			level = slog.LevelWarn
		}
		r.log.opts.Logger.Log(ctx, level, "log reader connects anew", "log", r.log.name, "next", uint64(r.next), "error", err)
		if sleep(ctx, pause) != nil {
			r.err = ErrClosed
			return
		}
	}
}

// fetch makes a consumer, after the log has been compared with what is known of
// it, and delivers what it yields until it fails.
func (r *Reader) fetch(ctx context.Context, again bool) error {
	consumer, err := r.connect(ctx)
	if err != nil {
		return err
	}
	defer r.disconnect(consumer)
	messages, err := consumer.Messages(
		jetstream.PullMaxMessagesWithBytesLimit(pullRecordsMax, pullBytesMax),
		jetstream.PullExpiry(pullExpiry),
		jetstream.PullHeartbeat(pullHeartbeat),
		jetstream.WithMessagesErrOnMissingHeartbeat(true))
	if err != nil {
		return err
	}
	defer messages.Stop()
	for {
		msg, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			return err
		}
		record, err := recordOf(msg)
		if err != nil {
			return err
		}
		if record.Sequence != r.next {
			if again {
				return r.log.broken(Gap, fmt.Sprintf("record %d comes next", r.next), fmt.Sprintf("record %d", record.Sequence))
			}
			return errSkipped
		}
		again = false
		select {
		case r.records <- record:
			r.last, r.next = record, record.Sequence+1
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// connect compares the log with the last record delivered and makes a consumer
// behind it: without acknowledgements, in memory, on one server.
func (r *Reader) connect(ctx context.Context) (jetstream.Consumer, error) {
	ask, cancel := context.WithTimeout(ctx, reconnectAnswerMax)
	defer cancel()
	if r.last.Sequence > r.anchor.Sequence {
		r.anchor = r.last.Anchor(r.anchor.Created)
	}
	if err := r.log.Check(ask, r.anchor); err != nil {
		return nil, err
	}
	return r.log.js.CreateConsumer(ask, r.log.name, jetstream.ConsumerConfig{
		DeliverPolicy:     jetstream.DeliverByStartSequencePolicy,
		OptStartSeq:       uint64(r.next),
		AckPolicy:         jetstream.AckNonePolicy,
		MemoryStorage:     true,
		Replicas:          1,
		InactiveThreshold: consumerIdleMax,
	})
}

// disconnect tells the server to forget the consumer. If it cannot be told it
// forgets by itself.
func (r *Reader) disconnect(consumer jetstream.Consumer) {
	ctx, cancel := context.WithTimeout(context.Background(), pullHeartbeat)
	defer cancel()
	_ = r.log.js.DeleteConsumer(ctx, r.log.name, consumer.CachedInfo().Name)
}

// recordOf makes a record of a message. The payload is the message's own memory,
// which the client library allocates for each.
func recordOf(msg jetstream.Msg) (Record, error) {
	meta, err := msg.Metadata()
	if err != nil {
		return Record{}, fmt.Errorf("read the metadata of a record: %w", err)
	}
	stamp, ok := charge.InstantOf(meta.Timestamp)
	if !ok {
		return Record{}, fmt.Errorf("record %d has the timestamp %v", meta.Sequence.Stream, meta.Timestamp)
	}
	return Record{Sequence: charge.Sequence(meta.Sequence.Stream), Stamp: stamp, Data: msg.Data()}, nil
}
