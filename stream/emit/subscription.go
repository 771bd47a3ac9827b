package emit

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"recharged/state/charge"
)

// A subscription is one goroutine, run, that owns everything below. It alone
// sends to out and closes it. The client's callback hands it messages through
// arrived and errors through broken.
//
// The window holds what the server delivered and has no acknowledgement for,
// oldest first:
//
//	window   [ m5 m6 m7 | m8 m9 ]        MaxAckPending = Window of them at most
//	           emitted    waiting
//
// Invariants: order in the window is order in the stream; only the head is ever
// acknowledged to the server, so what is acknowledged is a prefix; a message is
// with the reader once at a time.
//
// A Nack of the head rewinds: emission stops, the answers of the others that
// are with the reader are awaited and forgotten, and after the pause all are
// emitted again, from the head on. The server is not told, as it would deliver
// what lies behind them first; instead every message of the window is renewed
// at half of AckWait for as long as the subscription lives.
type subscription struct {
	*Subscriber
	source Source
	logger *slog.Logger

	ctx    context.Context // when it ends, the subscription ends
	cancel context.CancelFunc
	values context.Context // never ends; carries the values of the caller's context

	out     chan *message.Message
	arrived chan jetstream.Msg
	broken  chan error
	detach  func() // stops the pulling; nil when not attached

	window    []*delivery
	emitted   int  // so many of the window are with the reader
	rewinding bool // the head was nacked
	settled   int  // while rewinding: so many of the emitted have answered
	nacks     int  // of the head, in a row

	pause    <-chan time.Time // after a Nack; nil: none
	retry    <-chan time.Time // when to attach again; nil: attached
	attempts int              // to attach, in a row
}

// delivery is a message in the window.
type delivery struct {
	raw    jetstream.Msg
	at     *jetstream.MsgMetadata
	msg    *message.Message // the copy that the reader gets; a fresh one for each emission
	cancel context.CancelFunc
}

// Place is where in its stream a message lies.
type Place struct {
	Sequence charge.Sequence
	Stamp    time.Time // the server's timestamp
}

type placeKey struct{}

// PlaceOf returns the place of a message from a Subscriber; false for any other.
func PlaceOf(m *message.Message) (Place, bool) {
	place, ok := m.Context().Value(placeKey{}).(Place)
	return place, ok
}

func newSubscription(ctx context.Context, s *Subscriber, topic string) *subscription {
	sub := &subscription{
		Subscriber: s,
		source:     s.opts.Source(topic),
		values:     context.WithoutCancel(ctx),
		out:        make(chan *message.Message),
		arrived:    make(chan jetstream.Msg, s.opts.Window),
		broken:     make(chan error, 1),
	}
	sub.logger = s.opts.Logger.With("stream", sub.source.Stream, "durable", sub.source.Durable)
	ctx, cancel := context.WithCancel(ctx)
	unlink := context.AfterFunc(s.closing, cancel)
	sub.ctx, sub.cancel = ctx, func() { unlink(); cancel() }
	return sub
}

// attach starts pulling.
func (s *subscription) attach(timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(s.ctx, timeout)
	defer cancel()
	consumer, err := s.prepare(ctx, s.source)
	if err != nil {
		return err
	}
	if s.opts.Exclusive {
		if _, err := s.js.ResetConsumer(ctx, s.source.Stream, s.source.Durable); err != nil {
			return err
		}
	}
	gone := make(chan struct{})
	pulling, err := consumer.Consume(
		func(m jetstream.Msg) {
			select {
			case s.arrived <- m:
			case <-gone:
				_ = m.Nak() // If that gets lost, the server waits for AckWait.
			}
		},
		jetstream.PullMaxMessages(s.opts.Window+pullAhead),
		jetstream.PullExpiry(30*time.Second),
		jetstream.PullHeartbeat(2*time.Second),
		jetstream.ConsumeErrHandler(func(_ jetstream.ConsumeContext, err error) { s.interrupted(err) }))
	if err != nil {
		return err
	}
	s.detach = func() {
		s.detach = nil
		close(gone)
		pulling.Drain()
		select {
		case <-pulling.Closed():
		case <-time.After(time.Second): // There is no server to say goodbye to.
		}
	}
	return nil
}

// pullAhead is how many messages are asked for beyond the window. The server
// sends no more than the window, MaxAckPending, all the same. But the client
// forgets to ask again when the answer to a request overtakes the return from
// sending it, and then waits for a missing heartbeat; the next message of a
// larger request makes it ask after all.
const pullAhead = 64

// interrupted asks run to attach again. It may be called from any goroutine.
func (s *subscription) interrupted(err error) {
	select {
	case s.broken <- err:
	default: // One is enough.
	}
}

func (s *subscription) run() {
	defer close(s.out)
	defer s.cancel()
	renew := time.NewTicker(s.opts.AckWait / 2)
	defer renew.Stop()
	connected := s.js.Conn().StatusChanged(nats.CONNECTED)
	defer s.js.Conn().RemoveStatusListener(connected)
	if s.detach == nil {
		s.reattach()
	}
	for {
		out, next := s.next()
		acked, nacked := s.answer()
		arrived := s.arrived
		if len(s.window) >= s.opts.Window {
			arrived = nil
		}
		select {
		case <-s.ctx.Done():
			s.finish()
			return
		case out <- next:
			s.emitted++
		case <-acked:
			s.ack()
		case <-nacked:
			s.nack()
		case m := <-arrived:
			s.admit(m)
		case <-s.pause:
			s.pause = nil
		case <-renew.C:
			s.renew()
		case _, alive := <-connected: // Acknowledgements may be lost with the connection before.
			if !alive {
				connected = nil
				continue
			}
			s.interrupted(errReconnected)
		case err := <-s.broken:
			s.logger.Debug("reading was interrupted", "error", err)
			if s.detach != nil {
				s.detach()
				s.reattach()
			}
		case <-s.retry:
			s.reattach()
		}
	}
}

// next returns what is to be emitted, and where to; a nil channel if nothing is.
func (s *subscription) next() (chan<- *message.Message, *message.Message) {
	if s.rewinding || s.pause != nil || s.emitted == len(s.window) {
		return nil, nil
	}
	return s.out, s.window[s.emitted].msg
}

// answer returns the channels of the message whose answer is due: the head's,
// or while rewinding that of the first emitted one that has not answered.
func (s *subscription) answer() (acked, nacked <-chan struct{}) {
	if s.settled == s.emitted {
		return nil, nil
	}
	m := s.window[s.settled].msg
	return m.Acked(), m.Nacked()
}

// admit takes a message into the window.
func (s *subscription) admit(m jetstream.Msg) {
	at, err := m.Metadata()
	if err != nil {
		s.logger.Error("a message without a place in a stream was dropped", "subject", m.Subject(), "error", err)
		return
	}
	if slices.ContainsFunc(s.window, func(d *delivery) bool { return d.at.Sequence.Stream == at.Sequence.Stream }) {
		return // Delivered again although we still have it: the copy we have will be acknowledged.
	}
	d := &delivery{raw: m, at: at}
	if err := s.refresh(d); err != nil {
		s.logger.Error("a malformed message was set aside for ever", "subject", m.Subject(), "sequence", at.Sequence.Stream, "error", err)
		s.tell(d, m.Term())
		return
	}
	s.window = append(s.window, d)
}

// refresh makes the copy of a message that is emitted next.
func (s *subscription) refresh(d *delivery) error {
	msg, err := unmarshal(d.raw, d.at)
	if err != nil {
		return err
	}
	ctx := context.WithValue(s.values, placeKey{}, Place{charge.Sequence(d.at.Sequence.Stream), d.at.Timestamp})
	ctx, d.cancel = context.WithCancel(ctx)
	msg.SetContext(ctx)
	d.msg = msg
	return nil
}

// ack handles a positive answer.
func (s *subscription) ack() {
	if s.rewinding {
		s.settle()
		return
	}
	head := s.window[0]
	head.cancel()
	if err := head.raw.Ack(); err != nil {
		s.tell(head, err)
		s.interrupted(err) // Attaching again shortens the wait for the repeat.
	}
	s.window = slices.Delete(s.window, 0, 1)
	s.emitted--
	s.nacks = 0
}

// nack handles a negative answer.
func (s *subscription) nack() {
	if !s.rewinding {
		s.rewinding = true
		s.nacks++
	}
	s.settle()
}

// settle notes an answer while rewinding. After the last one the window starts
// over, with nothing emitted.
func (s *subscription) settle() {
	s.window[s.settled].cancel()
	s.settled++
	if s.settled < s.emitted {
		return
	}
	for _, d := range s.window[:s.emitted] {
		if err := s.refresh(d); err != nil {
			panic("emit: a message that was read once cannot be read again: " + err.Error())
		}
	}
	s.rewinding, s.settled, s.emitted = false, 0, 0
	if delay := s.opts.NackDelay(s.nacks); delay > 0 {
		s.pause = time.After(delay)
	}
}

// renew keeps the server from giving the window to somebody else.
func (s *subscription) renew() {
	for _, d := range s.window {
		s.tell(d, d.raw.InProgress())
	}
}

// tell logs that the server could not be told something about a message. It
// will deliver that message again, so nothing is lost by it.
func (s *subscription) tell(d *delivery, err error) {
	if err != nil && !errors.Is(err, jetstream.ErrMsgAlreadyAckd) {
		s.logger.Warn("the server was not told what became of a message", "sequence", d.at.Sequence.Stream, "error", err)
	}
}

// reattach attaches, or plans another attempt.
func (s *subscription) reattach() {
	s.retry = nil
	err := s.attach(min(apiTimeout, attachTimeoutMin<<min(s.attempts, 10)))
	if err == nil {
		s.attempts = 0
		s.logger.Debug("reading")
		return
	}
	level := slog.LevelDebug
	if s.attempts == 0 && !errors.Is(err, context.Canceled) {
		level = slog.LevelInfo // Once for each outage.
	}
	s.logger.Log(s.ctx, level, "waiting for the stream", "error", err)
	s.retry = time.After(min(attachDelayMax, attachDelayMin<<min(s.attempts, 10)))
	s.attempts++
}

var errReconnected = errors.New("the connection is a new one")

// The pause between attempts to attach doubles from Min to Max, and so does the
// patience of an attempt: the first ones are likely to be lost with a connection
// that is breaking.
const (
	attachDelayMin   = 20 * time.Millisecond
	attachDelayMax   = time.Second
	attachTimeoutMin = 500 * time.Millisecond
)

// finish ends the subscription: the reader may answer for a while, then what is
// left goes back to the server, in order.
func (s *subscription) finish() {
	if s.detach != nil {
		s.detach()
	}
	grace := time.NewTimer(s.opts.Grace)
	defer grace.Stop()
	for waiting := s.opts.Grace > 0; waiting && !s.rewinding && s.emitted > 0; {
		acked, nacked := s.answer()
		select {
		case <-acked:
			s.ack()
		case <-nacked:
			waiting = false
		case <-grace.C:
			waiting = false
		}
	}
	for _, d := range s.window {
		d.cancel()
		s.tell(d, d.raw.Nak())
	}
	for len(s.arrived) > 0 {
		m := <-s.arrived
		_ = m.Nak() // As above, without a place to name it by.
	}
	flush, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := s.js.Conn().FlushWithContext(flush); err != nil {
		s.logger.Debug("the last acknowledgements may not have arrived", "error", err)
	}
}
