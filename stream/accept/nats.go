package accept

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// Where producers publish, and the queue group that shares their messages out
// among the nodes.
const (
	natsSubject  = "recharged.events"
	natsSubjects = "recharged.events.>"
	natsQueue    = "recharged"
)

// What may wait in the NATS client to be read, of each subscription. What comes
// on top is dropped.
const (
	natsPendingMessagesMax = 256 << 10
	natsPendingBytesMax    = 256 << 20
)

// natsRepliesMax is how many replies may wait to be sent. What comes on top is
// dropped: its producer hears nothing and sends again.
const natsRepliesMax = 64 << 10

const (
	natsBusyWait  = 2 * time.Millisecond // until a message that asks for no reply is tried again
	natsDropCheck = time.Second          // how often dropped messages are counted
	natsFlushMax  = 10 * time.Second     // for the server to answer that it has read what was sent
)

// Codes of the error in a reply. The first is what a JetStream client reports
// as the error's code, the second names the error; JetStream's own begin at 10000.
const (
	natsCodeRejected    = 400
	natsCodeUnavailable = 503

	natsErrorRejected    = 20400
	natsErrorBusy        = 20429
	natsErrorUnavailable = 20503
)

// NATS is the way in by NATS: whoever publishes to recharged.events or below
// gets, if the message has a reply subject, a Verdict once the events are
// durable. With its stream and sequence it passes for the acknowledgement of a
// JetStream publish.
//
// The messages of one connection are read in the order in which they were
// published below one of the two subjects, so a producer may have many of them
// under way, as long as one node reads them all. A message that asks for no
// reply waits when a queue is full, and keeps those behind it waiting; one that
// asks for a reply is answered at once that it should come again.
type NATS struct {
	gateway *Gateway
	conn    *nats.Conn
	subs    []*nats.Subscription
	dropped []int // by subscription: how many are counted. Only watch touches it.

	replies   chan natsReply
	stop      chan struct{}  // closed at the end
	reading   sync.WaitGroup // subscriptions that still deliver
	unsettled sync.WaitGroup // messages that are not answered yet
	workers   sync.WaitGroup // reply and watch
}

// natsReply is what a producer is to be told, not yet encoded.
type natsReply struct {
	subject string
	verdict Verdict
	err     error
}

// ServeNATS opens the way in by NATS. It returns when the server knows the
// subscriptions. The connection stays the caller's.
func ServeNATS(ctx context.Context, conn *nats.Conn, g *Gateway) (*NATS, error) {
	n := &NATS{
		gateway: g,
		conn:    conn,
		replies: make(chan natsReply, natsRepliesMax),
		stop:    make(chan struct{}),
	}
	for _, subject := range []string{natsSubject, natsSubjects} {
		if err := n.subscribe(subject); err != nil {
			n.unsubscribe()
			return nil, err
		}
	}
	if err := flush(ctx, conn); err != nil {
		n.unsubscribe()
		return nil, fmt.Errorf("subscribe to %s: %w", natsSubjects, err)
	}
	n.dropped = make([]int, len(n.subs))
	n.workers.Go(n.reply)
	n.workers.Go(n.watch)
	return n, nil
}

func (n *NATS) subscribe(subject string) error {
	sub, err := n.conn.QueueSubscribe(subject, natsQueue, n.receive)
	if err != nil {
		return fmt.Errorf("subscribe to %s: %w", subject, err)
	}
	n.subs = append(n.subs, sub)
	n.reading.Add(1)
	sub.SetClosedHandler(func(string) { n.reading.Done() })
	if err := sub.SetPendingLimits(natsPendingMessagesMax, natsPendingBytesMax); err != nil {
		return fmt.Errorf("set limits of %s: %w", subject, err)
	}
	return nil
}

// flush waits until the server has read what was sent to it.
func flush(ctx context.Context, conn *nats.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, natsFlushMax)
	defer cancel()
	return conn.FlushWithContext(ctx)
}

// unsubscribe gives up after a fault, which is the error to report.
func (n *NATS) unsubscribe() {
	for _, sub := range n.subs {
		_ = sub.Unsubscribe()
	}
}

// Close takes no further messages, answers those that were received, and
// returns. It is to be called once, before the gateway's Close. If ctx ends first,
// some producers get no answer; then the error says so.
func (n *NATS) Close(ctx context.Context) error {
	drained := make(chan struct{})
	go func() {
		n.drain()
		close(drained)
	}()
	var err error
	select {
	case <-drained:
	case <-ctx.Done():
		err = fmt.Errorf("answer the messages that were received: %w", context.Cause(ctx))
	}
	close(n.stop)
	n.workers.Wait()
	if flushErr := flush(ctx, n.conn); err == nil && flushErr != nil {
		err = fmt.Errorf("send the last replies: %w", flushErr)
	}
	return err
}

// drain ends the subscriptions and waits until all that they delivered is
// answered.
func (n *NATS) drain() {
	for _, sub := range n.subs {
		if err := sub.Drain(); err != nil { // The connection is gone, and the subscription with it.
			n.gateway.opts.Logger.Warn("NATS subscription does not drain", "subject", sub.Subject, "error", err)
		}
	}
	n.reading.Wait()
	n.unsettled.Wait()
}

// receive takes one message. It is called by one goroutine per subscription.
func (n *NATS) receive(m *nats.Msg) {
	for !n.submit(m) {
		select {
		case <-time.After(natsBusyWait):
		case <-n.stop:
			n.gateway.opts.Observe.Dropped(1)
			return
		}
	}
}

// submit hands a message's events to the gateway. False means that a queue is
// full and that nobody would hear about it: the message is to be tried again.
func (n *NATS) submit(m *nats.Msg) bool {
	b := n.gateway.NewBatch()
	b.decodeMessage(m.Header, m.Data, JSON)
	taken := true
	subject, replyTo := m.Subject, m.Reply // The message itself need not stay in memory.
	n.unsettled.Add(1)
	n.gateway.AcceptAsync(b, func(v Verdict, err error) {
		defer n.unsettled.Done()
		switch {
		case replyTo != "":
			n.enqueue(natsReply{replyTo, v, err})
		case errors.Is(err, ErrBusy):
			taken = false // A full queue is told before AcceptAsync returns.
		case err != nil:
			n.gateway.opts.Observe.Dropped(1)
			n.gateway.hushed.warn("message lost, its producer asked for no reply", "subject", subject, "error", err)
		default:
			n.gateway.hushed.rejected("nats", v.Rejected)
		}
	})
	return taken
}

// enqueue leaves a reply to the goroutine that sends them: a slow connection
// must not hold up the log.
func (n *NATS) enqueue(r natsReply) {
	select {
	case n.replies <- r:
	default:
		n.gateway.hushed.warn("reply dropped, too many are waiting to be sent", "limit", natsRepliesMax)
	}
}

// reply sends what enqueue left, at the end all of it.
func (n *NATS) reply() {
	var body []byte
	for {
		select {
		case r := <-n.replies:
			body = n.send(r, body)
			continue
		case <-n.stop:
		}
		for {
			select {
			case r := <-n.replies:
				body = n.send(r, body)
			default:
				return
			}
		}
	}
}

// send encodes a reply into the buffer, which it returns for the next one, and
// publishes it. A list of rejections that no message could hold is cut, and the
// reply then says how many it doesn't list.
func (n *NATS) send(r natsReply, body []byte) []byte {
	listed := len(r.verdict.Rejected)
	body = r.append(body[:0], listed)
	for int64(len(body)) > n.conn.MaxPayload() && listed > 0 {
		listed /= 2
		body = r.append(body[:0], listed)
	}
	if err := n.conn.Publish(r.subject, body); err != nil {
		n.gateway.hushed.warn("reply not sent", "error", err)
	}
	return body
}

// append encodes the reply, with the first ones of the rejected.
func (r *natsReply) append(dst []byte, listed int) []byte {
	dst = append(dst, '{')
	if code, name, description := r.fault(); code != 0 {
		dst = append(dst, `"error":{"code":`...)
		dst = strconv.AppendInt(dst, int64(code), 10)
		dst = append(dst, `,"err_code":`...)
		dst = strconv.AppendInt(dst, int64(name), 10)
		dst = append(dst, `,"description":`...)
		dst = appendText(dst, description)
		dst = append(dst, `},`...)
	}
	dst = r.verdict.appendMembers(dst, listed)
	if omitted := len(r.verdict.Rejected) - listed; omitted > 0 {
		dst = append(dst, `,"rejected_not_listed":`...)
		dst = strconv.AppendInt(dst, int64(omitted), 10)
	}
	return append(dst, '}')
}

// fault returns the error that a JetStream client is to see, zero if some event
// was accepted.
func (r *natsReply) fault() (code, name int, description string) {
	var u *Unavailable
	switch {
	case errors.Is(r.err, ErrBusy):
		return natsCodeUnavailable, natsErrorBusy, ErrBusy.Error()
	case errors.As(r.err, &u):
		return natsCodeUnavailable, natsErrorUnavailable, u.Reason
	case r.err != nil:
		return natsCodeUnavailable, natsErrorUnavailable, r.err.Error()
	case r.verdict.Accepted > 0:
		return 0, 0, ""
	case len(r.verdict.Rejected) == 0:
		return natsCodeRejected, natsErrorRejected, "the message holds no event"
	}
	first := &r.verdict.Rejected[0]
	return natsCodeRejected, natsErrorRejected, fmt.Sprintf("nothing was accepted; event %d: %s: %s", first.Index, first.Reason, first.Detail)
}

// watch counts what the client dropped because it came too fast.
func (n *NATS) watch() {
	tick := time.NewTicker(natsDropCheck)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			n.countDropped()
		case <-n.stop:
			return
		}
	}
}

func (n *NATS) countDropped() {
	for i, sub := range n.subs {
		total, err := sub.Dropped()
		if err != nil { // The subscription is closed.
			continue
		}
		if fresh := total - n.dropped[i]; fresh > 0 {
			n.dropped[i] = total
			n.gateway.opts.Observe.Dropped(fresh)
			n.gateway.opts.Logger.Warn("NATS messages dropped: they come faster than they can be read",
				"subject", sub.Subject, "messages", fresh)
		}
	}
}
