package kill

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"recharged/bench/workload"
)

// answer is what a producer is told about one request.
type answer struct {
	Accepted int        `json:"accepted"`
	Rejected []rejected `json:"rejected"`
	Stream   string     `json:"stream"`
	Sequence uint64     `json:"seq"`
}

type rejected struct {
	Index  int    `json:"index"`
	ID     string `json:"id"`
	Reason string `json:"reason"`
}

// The ways in which an attempt ends without an answer that is yes or no. The
// client does the same after each: it sends the request again.
var (
	errCut     = errors.New("the connection broke while the request was under way")
	errRefused = errors.New("nobody listens")
	errBusy    = errors.New("the server says: not now")
)

// transport sends events in one request and returns the server's answer.
type transport interface {
	send(ctx context.Context, events []workload.Event) (answer, error)
	close()
}

// byHTTP posts events in one of the three encodings.
type byHTTP struct {
	server      *workload.Server
	contentType string
	client      http.Client
}

func newHTTP(s *workload.Server, contentType string) *byHTTP {
	return &byHTTP{server: s, contentType: contentType, client: http.Client{Transport: &http.Transport{}}}
}

func (h *byHTTP) close() { h.client.CloseIdleConnections() }

func (h *byHTTP) send(ctx context.Context, events []workload.Event) (answer, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+h.server.HTTP+"/v1/events", bytes.NewReader(h.encode(events)))
	if err != nil {
		return answer{}, err
	}
	request.Header.Set("Content-Type", h.contentType)
	response, err := h.client.Do(request)
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return answer{}, errRefused
	case err != nil && ctx.Err() == nil:
		return answer{}, fmt.Errorf("%w: %w", errCut, err)
	case err != nil:
		return answer{}, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return answer{}, fmt.Errorf("%w: %w", errCut, err)
	}
	switch response.StatusCode {
	case http.StatusAccepted, http.StatusUnprocessableEntity:
		var a answer
		if err := json.Unmarshal(body, &a); err != nil {
			return a, fmt.Errorf("answer %s: %w", body, err)
		}
		if (response.StatusCode == http.StatusAccepted) != (a.Accepted > 0) {
			return a, fmt.Errorf("%s with %d accepted events", response.Status, a.Accepted)
		}
		return a, nil
	case http.StatusServiceUnavailable, http.StatusTooManyRequests:
		if response.Header.Get("Retry-After") == "" {
			return answer{}, fmt.Errorf("%s without Retry-After: %s", response.Status, body)
		}
		return answer{}, errBusy
	}
	return answer{}, fmt.Errorf("%s: %s", response.Status, body)
}

func (h *byHTTP) encode(events []workload.Event) []byte {
	switch h.contentType {
	case "application/cloudevents+json":
		return events[0].Body
	case "application/x-ndjson":
		var lines bytes.Buffer
		for _, e := range events {
			lines.Write(e.Body)
			lines.WriteByte('\n')
		}
		return lines.Bytes()
	}
	return array(events)
}

// array writes events as a JSON array.
func array(events []workload.Event) []byte {
	bodies := make([][]byte, len(events))
	for i, e := range events {
		bodies[i] = e.Body
	}
	return append(append([]byte{'['}, bytes.Join(bodies, []byte{','})...), ']')
}

// byNATS makes requests on recharged.events, or publishes there as to a stream.
type byNATS struct {
	conn      *nats.Conn
	jetStream jetstream.JetStream // nil: plain requests
	cut       chan struct{}       // of capacity 1: the connection broke
}

const natsReconnectWait = 5 * time.Millisecond

func newNATS(s *workload.Server, asJetStream bool) (*byNATS, error) {
	n := &byNATS{cut: make(chan struct{}, 1)}
	var err error
	n.conn, err = nats.Connect("nats://"+s.NATS,
		nats.RetryOnFailedConnect(true), nats.MaxReconnects(-1),
		nats.ReconnectWait(natsReconnectWait), nats.ReconnectJitter(0, 0),
		nats.ReconnectBufSize(-1), // What cannot be sent now is told at once.
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}), // The default one prints.
		nats.DisconnectErrHandler(func(*nats.Conn, error) {
			select {
			case n.cut <- struct{}{}:
			default:
			}
		}))
	if err != nil {
		return nil, err
	}
	if asJetStream {
		n.jetStream, err = jetstream.New(n.conn)
	}
	return n, err
}

func (n *byNATS) close() { n.conn.Close() }

func (n *byNATS) send(ctx context.Context, events []workload.Event) (answer, error) {
	select {
	case <-n.cut: // It broke between two requests.
	default:
	}
	if !n.conn.IsConnected() {
		return answer{}, errRefused
	}
	attempt, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		select {
		case <-n.cut:
			cancel(errCut)
		case <-attempt.Done():
		}
	}()
	a, err := n.exchange(attempt, events)
	cut := errors.Is(context.Cause(attempt), errCut)
	cancel(nil)
	<-watched
	switch {
	case err == nil:
		return a, nil
	case cut:
		return a, errCut
	case errors.Is(err, nats.ErrReconnectBufExceeded), errors.Is(err, nats.ErrNoResponders), errors.Is(err, jetstream.ErrNoStreamResponse):
		return a, errRefused
	}
	return a, err
}

func (n *byNATS) exchange(ctx context.Context, events []workload.Event) (answer, error) {
	if n.jetStream != nil {
		return n.publish(ctx, events[0])
	}
	reply, err := n.conn.RequestWithContext(ctx, "recharged.events", array(events))
	if err != nil {
		return answer{}, err
	}
	var a struct {
		answer
		Error *jetstream.APIError `json:"error"`
	}
	if err := json.Unmarshal(reply.Data, &a); err != nil {
		return a.answer, fmt.Errorf("reply %s: %w", reply.Data, err)
	}
	if a.Error != nil && a.Error.Code == http.StatusServiceUnavailable {
		return a.answer, errBusy
	}
	return a.answer, nil
}

// publish sends one event as a JetStream publish, whose acknowledgement has
// room for a yes and a no.
func (n *byNATS) publish(ctx context.Context, e workload.Event) (answer, error) {
	ack, err := n.jetStream.Publish(ctx, "recharged.events.kill", e.Body, jetstream.WithRetryAttempts(0))
	var refusal *jetstream.APIError
	switch {
	case err == nil:
		return answer{Accepted: 1, Stream: ack.Stream, Sequence: ack.Sequence}, nil
	case !errors.As(err, &refusal):
		return answer{}, err
	case refusal.Code == http.StatusServiceUnavailable:
		return answer{}, errBusy
	case refusal.Code == http.StatusBadRequest && strings.Contains(refusal.Description, e.Reject):
		return answer{Rejected: []rejected{{Reason: e.Reject}}}, nil
	}
	return answer{}, err
}
