package journal

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"recharged/state/charge"
)

// Codes with which the server refuses a record, beyond those that the client
// library names.
const (
	codeInsufficientResources jetstream.ErrorCode = 10023
	codeMemoryExceeded        jetstream.ErrorCode = 10028
	codeStorageExceeded       jetstream.ErrorCode = 10047
	codeStreamMismatch        jetstream.ErrorCode = 10060
	codeStoreFailed           jetstream.ErrorCode = 10077 // for example: the stream's MaxBytes is reached
	codeTooManyRequests       jetstream.ErrorCode = 10167
)

// Pauses between attempts.
const (
	retryPauseMin = 5 * time.Millisecond
	retryPauseMax = 500 * time.Millisecond
)

// verdict is what an attempt to append came to.
type verdict uint8

const (
	stored  verdict = iota + 1
	refused         // it was certainly not stored, and will not be
	busy            // it was certainly not stored; later it may be
	moved           // the log does not end where it was expected to, or the write is a repetition
	unclear         // it was stored, or not, or will be
)

// classify sorts the error of an attempt.
func classify(err error) verdict {
	if err == nil {
		return stored
	}
	var api *jetstream.APIError
	if errors.As(err, &api) {
		switch api.ErrorCode {
		case jetstream.JSErrCodeStreamWrongLastSequence, jetstream.JSErrCodeStreamWrongLastSequenceConstant:
			return moved
		case codeTooManyRequests:
			return busy
		case codeInsufficientResources, codeMemoryExceeded, codeStorageExceeded, codeStoreFailed:
			return refused
		}
		if api.Code >= 500 {
			return unclear
		}
		return refused
	}
	switch {
	case errors.Is(err, jetstream.ErrNoStreamResponse), errors.Is(err, nats.ErrReconnectBufExceeded):
		return busy
	case errors.Is(err, nats.ErrMaxPayload), errors.Is(err, nats.ErrConnectionClosed), errors.Is(err, nats.ErrConnectionDraining):
		return refused
	}
	return unclear
}

// refusal words the error of a refused attempt.
func (l *Log) refusal(err error) error {
	var api *jetstream.APIError
	if errors.As(err, &api) {
		switch api.ErrorCode {
		case codeInsufficientResources, codeMemoryExceeded, codeStorageExceeded, codeStoreFailed:
			return fmt.Errorf("%w: %w", ErrNoSpace, err)
		case jetstream.JSErrCodeStreamNotFound, codeStreamMismatch:
			return l.missing()
		}
	}
	return err
}

// Append appends a record and returns its sequence once it is durable.
//
// The id, if there is one, is what the server recognises a repetition by: an
// attempt whose outcome is unknown is repeated with it until ctx ends, but not
// for longer than the server remembers ids. What is unknown then, or was
// unknown with no id, is ErrUnknown. An error that a repetition cannot mend is
// returned at once: ErrNoSpace, a *Discontinuity of kind Missing, what
// Options.Health says.
func (l *Log) Append(ctx context.Context, payload []byte, id string) (charge.Sequence, error) {
	seq, err := l.append(ctx, payload, id)
	if err != nil {
		return 0, fmt.Errorf("append %d bytes to log %s: %w", len(payload), l.name, err)
	}
	return seq, nil
}

func (l *Log) append(ctx context.Context, payload []byte, id string) (charge.Sequence, error) {
	// The server's memory of an id begins when the record is stored, which is
	// after this instant. The margin covers the last attempt's way to it.
	remembered := time.Now().Add(duplicateWindow - l.opts.PublishTimeout)
	doubt := false // an earlier attempt may have been stored
	for pause := retryPauseMin; ; pause = min(2*pause, retryPauseMax) {
		msg := l.message(payload)
		if id != "" {
			msg.Header[jetstream.MsgIDHeader] = []string{id}
		}
		ack, err := l.publish(ctx, msg)
		switch classify(err) {
		case stored:
			return charge.Sequence(ack.Sequence), nil
		case refused, moved:
			return 0, doubtful(doubt, l.refusal(err))
		case unclear:
			doubt = true
		}
		if final := l.whyNot(ctx, err); final != nil {
			return 0, doubtful(doubt, final)
		}
		if doubt && (id == "" || time.Now().After(remembered)) {
			return 0, fmt.Errorf("%w: %w", ErrUnknown, err)
		}
		if ctxErr := sleep(ctx, pause); ctxErr != nil {
			return 0, doubtful(doubt, errors.Join(ctxErr, err))
		}
	}
}

// doubtful adds ErrUnknown to the error that ends an append of which an attempt
// may have been stored.
func doubtful(doubt bool, err error) error {
	if doubt {
		return fmt.Errorf("%w: %w", ErrUnknown, err)
	}
	return err
}

// publish makes one attempt.
func (l *Log) publish(ctx context.Context, msg *nats.Msg) (*jetstream.PubAck, error) {
	attempt, cancel := context.WithTimeout(ctx, l.opts.PublishTimeout)
	defer cancel()
	return l.js.PublishMsg(attempt, msg, jetstream.WithRetryAttempts(0))
}

// whyNot looks for a reason why an attempt without an answer will never get one:
// a server that cannot write keeps silent, and nobody listens for a log that
// does not exist. It returns nil if there is no such reason.
func (l *Log) whyNot(ctx context.Context, err error) error {
	if l.opts.Health != nil {
		if sick := l.opts.Health(); sick != nil {
			return sick
		}
	}
	if errors.Is(err, jetstream.ErrNoStreamResponse) {
		ask, cancel := context.WithTimeout(ctx, l.opts.PublishTimeout)
		defer cancel()
		if _, err := l.Info(ask); errors.Is(err, ErrNoLog) {
			return l.missing()
		}
	}
	return nil
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// Conflict is the error of AppendAt when another record stands where the
// caller's should. Whoever gets it is not the only writer.
type Conflict struct {
	Log   string
	After charge.Sequence // where the caller thought the log ended
	Last  charge.Sequence // where it ends
	Found Record          // the record after After; no Sequence if it has been trimmed already
}

func (c *Conflict) Error() string {
	return fmt.Sprintf("log %s was expected to end at %d and ends at %d", c.Log, c.After, c.Last)
}

// Is makes a Conflict an ErrConflict.
func (c *Conflict) Is(target error) bool { return target == ErrConflict }

// AppendAt appends a record if the log ends at after, and returns it once it is
// durable. If the log has moved on it returns a *Conflict, unless what it moved
// on with is this very payload: then an earlier attempt was stored.
//
// Whatever goes wrong is resolved by reading the log. If even that fails until
// ctx ends the error is ErrUnknown, and the caller must find out what the log
// holds before it appends again.
func (l *Log) AppendAt(ctx context.Context, payload []byte, after charge.Sequence) (Record, error) {
	record, err := l.appendAt(ctx, payload, after)
	if err != nil {
		return Record{}, fmt.Errorf("append %d bytes to log %s after %d: %w", len(payload), l.name, after, err)
	}
	return record, nil
}

func (l *Log) appendAt(ctx context.Context, payload []byte, after charge.Sequence) (Record, error) {
	doubt := false
	for pause := retryPauseMin; ; pause = min(2*pause, retryPauseMax) {
		msg := l.message(payload)
		msg.Header[jetstream.ExpectedLastSeqHeader] = []string{strconv.FormatUint(uint64(after), 10)}
		ack, err := l.publish(ctx, msg)
		answer := classify(err)
		if answer == stored && !ack.Duplicate && ack.Sequence == uint64(after)+1 {
			return Record{Sequence: after + 1, Data: payload}, nil
		}
		if answer == refused {
			return Record{}, doubtful(doubt, l.refusal(err))
		}
		doubt = doubt || answer == unclear
		if final := l.whyNot(ctx, err); final != nil {
			return Record{}, doubtful(doubt, final)
		}
		if answer != busy {
			record, done, resolveErr := l.resolve(ctx, payload, after)
			if done {
				return record, resolveErr
			}
			err = errors.Join(err, resolveErr)
		}
		if ctxErr := sleep(ctx, pause); ctxErr != nil {
			return Record{}, doubtful(doubt, errors.Join(ctxErr, err))
		}
	}
}

// resolve finds out what became of an append after a sequence. It is done when
// the record is there, or another is, or the log is not the one it was. It is
// not done, and the append may be repeated, when the log still ends at after or
// could not be read.
func (l *Log) resolve(ctx context.Context, payload []byte, after charge.Sequence) (_ Record, done bool, _ error) {
	ask, cancel := context.WithTimeout(ctx, l.opts.PublishTimeout)
	defer cancel()
	found, err := l.Get(ask, after+1)
	if err == nil && payloadHash(found.Data) == payloadHash(payload) {
		return found, true, nil
	}
	if errors.Is(err, ErrNoLog) {
		return Record{}, true, l.missing()
	}
	if err != nil && !errors.Is(err, ErrNoRecord) {
		return Record{}, false, err
	}
	info, err := l.Info(ask)
	switch {
	case errors.Is(err, ErrNoLog):
		return Record{}, true, l.missing()
	case err != nil:
		return Record{}, false, err
	case info.Last < after:
		return Record{}, true, l.broken(RolledBack, fmt.Sprintf("the log ended at record %d", after), info.String())
	case info.Last == after:
		return Record{}, false, nil
	case found.Sequence == 0 && info.First <= after+1:
		return Record{}, false, nil // it arrived between the two questions: ask again
	}
	return Record{}, true, &Conflict{Log: l.name, After: after, Last: info.Last, Found: found}
}
