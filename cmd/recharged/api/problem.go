package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"recharged/state/charge"
	"recharged/stream"
)

// problemType is the media type of RFC 9457.
const problemType = "application/problem+json"

// writeProblem answers with problem details.
func writeProblem(w http.ResponseWriter, status int, detail string) {
	body, err := json.Marshal(huma.ErrorModel{Title: http.StatusText(status), Status: status, Detail: detail})
	if err != nil {
		panic(err) // Three plain fields always encode.
	}
	w.Header().Set("Content-Type", problemType)
	w.WriteHeader(status)
	_, _ = w.Write(body) // If the client is gone, there is nobody to tell.
}

// failed logs an error that the client cannot do anything about, and returns
// what the client is told instead.
func (a *API) failed(ctx context.Context, what string, err error) error {
	if ctx.Err() == nil {
		a.logger.Error("http request not answered", "operation", what, "reason", charge.Mask(err.Error()))
	}
	return huma.NewError(http.StatusInternalServerError, what+" went wrong; the log says why")
}

// badPage tells a client that its place in a list is none that was given out.
func (a *API) badPage(ctx context.Context, what string, err error) error {
	if errors.Is(err, stream.ErrRef) {
		return huma.NewError(http.StatusUnprocessableEntity, "before must be the value of next of an earlier page")
	}
	return a.failed(ctx, what, err)
}

// notFound answers requests that no operation is for.
func (a *API) notFound(w http.ResponseWriter, r *http.Request) {
	var allowed []string
	for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete} {
		other := r.Clone(r.Context())
		other.Method = method
		if _, pattern := a.mux.Handler(other); pattern != "/" && pattern != "" {
			allowed = append(allowed, method)
		}
	}
	if len(allowed) == 0 || slices.Contains(allowed, r.Method) {
		writeProblem(w, http.StatusNotFound, "there is nothing here; GET /openapi.json says what there is")
		return
	}
	w.Header().Set("Allow", strings.Join(allowed, ", "))
	writeProblem(w, http.StatusMethodNotAllowed, "this resource answers to "+strings.Join(allowed, " and ")+" only")
}

// response describes an answer in the OpenAPI document.
func response(description string, content map[string]*huma.MediaType, headers ...string) *huma.Response {
	r := &huma.Response{Description: description, Content: content}
	for _, name := range headers {
		if r.Headers == nil {
			r.Headers = map[string]*huma.Param{}
		}
		r.Headers[name] = &huma.Param{Schema: &huma.Schema{Type: huma.TypeString}}
	}
	return r
}

// problemResponse describes an answer with problem details.
func (a *API) problemResponse(description string, headers ...string) *huma.Response {
	schema := schemaOf[huma.ErrorModel](a.huma.OpenAPI().Components.Schemas)
	return response(description, map[string]*huma.MediaType{problemType: {Schema: schema}}, headers...)
}
