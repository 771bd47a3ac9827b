package accept

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"recharged/state/charge"
)

// Verdict is the answer to one batch: what is durable now, and what was refused
// for good. Its JSON is the body of every answer, over HTTP and over NATS. With
// Stream and Sequence in it, it is an acknowledgement that any JetStream client
// library understands.
type Verdict struct {
	Accepted int        `json:"accepted"`
	Rejected []Rejected `json:"rejected"` // by index, ascending; never nil in an answer

	// Stream and Sequence name the record that holds the batch's last accepted
	// event. They are empty when nothing was accepted.
	Stream   string          `json:"stream,omitempty"`
	Sequence charge.Sequence `json:"seq,omitempty"`
}

// Rejected is one event of a batch that was refused at the door. Sending it
// again unchanged is of no use.
type Rejected struct {
	Index  int                 `json:"index"` // place in the batch, from 0
	ID     string              `json:"id"`    // the event's id, as far as it could be read
	Reason charge.RejectReason `json:"reason"`
	Field  string              `json:"field,omitempty"` // the attribute or data field to blame
	Detail string              `json:"detail"`

	// Type is the event's type when the catalog knows it, else "unknown": so it
	// can label a metric.
	Type string `json:"-"`
}

// typeUnknown labels rejected events whose type is none of the catalog's.
const typeUnknown = "unknown"

// AppendJSON appends the verdict as a JSON object.
func (v *Verdict) AppendJSON(dst []byte) []byte {
	dst = v.appendMembers(append(dst, '{'), len(v.Rejected))
	return append(dst, '}')
}

// appendMembers appends the object's members without its braces, so that a way
// in can add its own; of the rejected it lists the first ones.
func (v *Verdict) appendMembers(dst []byte, listed int) []byte {
	dst = append(dst, `"accepted":`...)
	dst = strconv.AppendInt(dst, int64(v.Accepted), 10)
	dst = append(dst, `,"rejected":[`...)
	for i := range v.Rejected[:listed] {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = v.Rejected[i].appendJSON(dst)
	}
	dst = append(dst, ']')
	if v.Stream != "" {
		dst = append(dst, `,"stream":`...)
		dst = appendText(dst, v.Stream)
		dst = append(dst, `,"seq":`...)
		dst = strconv.AppendUint(dst, uint64(v.Sequence), 10)
	}
	return dst
}

func (r *Rejected) appendJSON(dst []byte) []byte {
	dst = append(dst, `{"index":`...)
	dst = strconv.AppendInt(dst, int64(r.Index), 10)
	dst = append(dst, `,"id":`...)
	dst = appendText(dst, r.ID)
	dst = append(dst, `,"reason":`...)
	dst = appendText(dst, string(r.Reason))
	if r.Field != "" {
		dst = append(dst, `,"field":`...)
		dst = appendText(dst, r.Field)
	}
	dst = append(dst, `,"detail":`...)
	dst = appendText(dst, r.Detail)
	return append(dst, '}')
}

// appendText appends a JSON string. What is no UTF-8 came from outside: it shows
// as the replacement character, which is all the error would say.
func appendText(dst []byte, text string) []byte {
	dst, _ = jsontext.AppendQuote(dst, text)
	return dst
}

// ErrBusy says that a queue is full: the producer is faster than the log. Nothing
// of the batch was taken; it is to be sent again a moment later.
var ErrBusy = errors.New("too many events are waiting to become durable: send again later")

// Unavailable says that events can't be made durable now. The batch is to be
// sent again, whole: what of it may have become durable all the same is
// recognised by its id and has no second effect.
type Unavailable struct {
	Reason     string        // in words, fit for the producer
	RetryAfter time.Duration // when it makes sense to send again
	Cause      error         // what happened, for errors.Is; may be nil
}

func (u *Unavailable) Error() string {
	if u.Cause == nil {
		return u.Reason
	}
	return fmt.Sprintf("%s: %v", u.Reason, u.Cause)
}

// Unwrap returns the cause.
func (u *Unavailable) Unwrap() error { return u.Cause }

// How long a producer is asked to wait.
const (
	retrySoon = 1 * time.Second // somebody is at work on it: a start, a stop, a failed append
	retryLate = 5 * time.Second // somebody has to do something: a full disk, a halted partition
)

// unavailable makes an error of the options' functions an Unavailable one.
func unavailable(reason string, retry time.Duration, cause error) *Unavailable {
	var u *Unavailable
	if errors.As(cause, &u) {
		return u
	}
	return &Unavailable{Reason: reason, RetryAfter: retry, Cause: cause}
}
