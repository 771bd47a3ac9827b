package api

import (
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"recharged/stream"
)

// alwaysKey marks, in an operation's metadata, one that needs no processor.
const alwaysKey = "always"

// always is the metadata of an operation that answers also while there is no
// processor yet.
func always() map[string]any { return map[string]any{alwaysKey: true} }

// Starting has everything that needs the processor refused, with the reason why
// the start waits; nil: it goes on.
func (a *API) Starting(reason error) {
	detail := "starting"
	if reason != nil {
		detail += ": " + reason.Error()
	}
	a.starting.Store(&detail)
}

// Open lets requests in to a processor that has started. It is called once.
func (a *API) Open(p *stream.Processor) {
	a.processor = p
	a.starting.Store(nil) // Whoever sees this sees the processor as well.
}

// refuseWhileStarting answers for an operation until there is a processor.
func (g *guardedAdapter) refuseWhileStarting(op *huma.Operation, handler func(huma.Context)) func(huma.Context) {
	g.describe(op, http.StatusServiceUnavailable, "It still starts; the detail says what it waits for.", "Retry-After")
	return func(ctx huma.Context) {
		detail := g.api.starting.Load()
		if detail == nil {
			handler(ctx)
			return
		}
		_, w := humago.Unwrap(ctx)
		retryAfter(w, time.Second)
		writeProblem(w, http.StatusServiceUnavailable, *detail)
	}
}
