package api

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"math"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"recharged/stream/accept"
)

const (
	// eventsBytesMax is the largest body, before and after decompression.
	eventsBytesMax = 8 << 20

	// readingBytesMax bounds what all bodies together take while they are read.
	readingBytesMax = 512 << 20

	// acceptWithin is how long a producer waits for its events to be durable
	// before it is told to send them again.
	acceptWithin = 30 * time.Second

	bodyBytesKept = 1 << 20 // the largest buffer that is kept for the next body
)

// eventTypes are the content types that events come in.
func eventTypes() []string {
	return []string{
		"application/cloudevents+json", "application/cloudevents-batch+json",
		"application/x-ndjson", "application/protobuf", "application/json",
	}
}

func (a *API) registerEvents() {
	registry := a.huma.OpenAPI().Components.Schemas
	verdict := map[string]*huma.MediaType{"application/json": {Schema: schemaOf[accept.Verdict](registry)}}
	event := schemaOf[CloudEvent](registry)
	content := map[string]*huma.MediaType{
		"application/cloudevents+json":       {Schema: event},
		"application/cloudevents-batch+json": {Schema: &huma.Schema{Type: huma.TypeArray, Items: event}},
		"application/x-ndjson":               {Schema: &huma.Schema{Type: huma.TypeString, Description: "One event a line."}},
		"application/protobuf":               {Schema: &huma.Schema{Type: huma.TypeString, Format: "binary", Description: "One EventBatch."}},
		"application/json":                   {Schema: &huma.Schema{OneOf: []*huma.Schema{event, {Type: huma.TypeArray, Items: event}}}},
	}
	a.handle(&huma.Operation{
		OperationID: "send-events", Method: http.MethodPost, Path: "/v1/events", Tags: []string{"events"},
		Summary: "Accept events",
		Description: "Answers once what is acceptable is durable. Each event is accepted or rejected by itself. " +
			"After 429, 503 or no answer at all, send the same body again: what was durable already has no second effect.",
		Security:    needs(Ingest),
		RequestBody: &huma.RequestBody{Required: true, Content: content},
		Responses: map[string]*huma.Response{
			"202": response("Accepted events are durable; rejected ones are listed.", verdict),
			"400": a.problemResponse("The body broke off or is not what its headers say."),
			"408": a.problemResponse("The body came too slowly."),
			"413": a.problemResponse("The body is larger than 8 MiB."),
			"415": a.problemResponse("Events do not come in this content type.", "Accept-Post"),
			"422": response("None of the events was acceptable.", verdict),
			"429": a.problemResponse("Too many events are waiting to become durable.", "Retry-After"),
			"503": a.problemResponse("Events cannot be made durable now.", "Retry-After"),
		},
	}, a.postEvents)
}

func (a *API) postEvents(w http.ResponseWriter, r *http.Request) {
	encoding, known := encodingOf(r.Header.Get("Content-Type"))
	attributes, binary := accept.BinaryAttributes(r.Header)
	structured := known && encoding != accept.JSON
	if !known && !binary {
		for _, name := range eventTypes() {
			w.Header().Add("Accept-Post", name)
		}
		writeProblem(w, http.StatusUnsupportedMediaType, "events come as one CloudEvent, a JSON array, NDJSON or Protobuf: the header Accept-Post has the content types")
		return
	}
	body, ok := a.readEvents(w, r)
	if !ok {
		return
	}
	gateway := a.processor.Gateway()
	batch := gateway.NewBatch()
	if binary && !structured {
		batch.DecodeBinary(attributes, body.Bytes())
	} else {
		batch.Decode(encoding, body.Bytes())
	}
	a.freeBody(body)
	ctx, cancel := context.WithTimeout(r.Context(), acceptWithin)
	defer cancel()
	verdict, err := gateway.Accept(ctx, batch)
	if err != nil {
		a.refuseEvents(w, r, err)
		return
	}
	status := http.StatusAccepted
	if verdict.Accepted == 0 && len(verdict.Rejected) > 0 {
		status = http.StatusUnprocessableEntity
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(verdict.AppendJSON(nil)) // A producer that is gone sends again.
}

func encodingOf(contentType string) (accept.Encoding, bool) {
	if encoding, known := accept.EncodingOf(contentType); known {
		return encoding, true
	}
	return accept.JSON, mediaType(contentType) == "application/json"
}

// refuseEvents answers a producer whose events are not durable.
func (a *API) refuseEvents(w http.ResponseWriter, r *http.Request, err error) {
	var unavailable *accept.Unavailable
	switch {
	case r.Context().Err() != nil: // It is gone.
	case errors.Is(err, accept.ErrBusy):
		retryAfter(w, time.Second)
		writeProblem(w, http.StatusTooManyRequests, err.Error())
	case errors.As(err, &unavailable):
		retryAfter(w, unavailable.RetryAfter)
		writeProblem(w, http.StatusServiceUnavailable, unavailable.Error())
	default:
		retryAfter(w, time.Second)
		writeProblem(w, http.StatusServiceUnavailable, "the events did not become durable in time: send them again, what is durable already has no second effect")
	}
}

func retryAfter(w http.ResponseWriter, wait time.Duration) {
	seconds := max(1, int(math.Ceil(wait.Seconds())))
	w.Header().Set("Retry-After", strconv.Itoa(seconds))
}

// readEvents reads a body of events, or answers why it does not.
func (a *API) readEvents(w http.ResponseWriter, r *http.Request) (*bytes.Buffer, bool) {
	if r.ContentLength > eventsBytesMax {
		tooLarge(w)
		return nil, false
	}
	reserved := r.ContentLength
	zipped := r.Header.Get("Content-Encoding")
	if reserved < 0 || zipped != "" {
		reserved = eventsBytesMax
	}
	defer a.reading.Add(-reserved)
	if a.reading.Add(reserved) > readingBytesMax {
		retryAfter(w, time.Second)
		writeProblem(w, http.StatusTooManyRequests, "too many large bodies arrive at once: send again later")
		return nil, false
	}
	var source io.Reader = http.MaxBytesReader(w, r.Body, eventsBytesMax)
	switch zipped {
	case "", "identity":
	case "gzip":
		unzipped, err := gzip.NewReader(source)
		if err != nil {
			writeProblem(w, http.StatusBadRequest, "the body is not gzip, as its Content-Encoding says")
			return nil, false
		}
		source = unzipped
	default:
		w.Header().Set("Accept-Encoding", "gzip, identity")
		writeProblem(w, http.StatusUnsupportedMediaType, "bodies may be compressed with gzip only")
		return nil, false
	}
	body := a.newBody()
	_, err := body.ReadFrom(io.LimitReader(source, eventsBytesMax+1))
	if err == nil && body.Len() <= eventsBytesMax {
		return body, true
	}
	a.freeBody(body)
	var large *http.MaxBytesError
	switch {
	case err == nil, errors.As(err, &large):
		tooLarge(w)
	case errors.Is(err, os.ErrDeadlineExceeded):
		writeProblem(w, http.StatusRequestTimeout, "the body came too slowly: send less at once")
	default:
		writeProblem(w, http.StatusBadRequest, "the body broke off or is not what its headers say")
	}
	return nil, false
}

func tooLarge(w http.ResponseWriter) {
	writeProblem(w, http.StatusRequestEntityTooLarge, "a body of events has 8 MiB at most, also unpacked: send several")
}

func (a *API) newBody() *bytes.Buffer {
	if b, ok := a.bodies.Get().(*bytes.Buffer); ok {
		return b
	}
	return &bytes.Buffer{}
}

func (a *API) freeBody(b *bytes.Buffer) {
	if b.Cap() <= bodyBytesKept {
		b.Reset()
		a.bodies.Put(b)
	}
}
