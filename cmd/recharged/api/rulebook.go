package api

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-json-experiment/json/jsontext"

	"recharged/rules"
	"recharged/stream"
)

// rulebookBytesMax is the largest rulebook: it must fit in a record of the log.
const rulebookBytesMax = 900 << 10

// Content types of a rulebook.
const (
	typeYAML = "application/yaml"
	typeJSON = "application/json"
)

func (a *API) registerRulebook() {
	huma.Register(a.huma, a.rulebookOp(huma.Operation{
		OperationID: "get-rulebook", Method: http.MethodGet, Path: "/v1/rulebook",
		Summary: "The newest rulebook, as YAML or, if asked for, as JSON",
	}), a.getRulebook)
	huma.Register(a.huma, a.rulebookOp(huma.Operation{
		OperationID: "get-rulebook-version", Method: http.MethodGet, Path: "/v1/rulebook/versions/{version}",
		Summary: "One version of the rulebook", Errors: []int{http.StatusNotFound},
	}), a.getRulebookVersion)
	huma.Register(a.huma, huma.Operation{
		OperationID: "list-rulebook-versions", Method: http.MethodGet, Path: "/v1/rulebook/versions", Tags: []string{"rulebook"},
		Summary: "Who published which version when, and what changed", Security: needs(Read),
	}, a.listVersions)
	huma.Register(a.huma, huma.Operation{
		OperationID: "publish-rulebook", Method: http.MethodPut, Path: "/v1/rulebook", Tags: []string{"rulebook"},
		Summary: "Make a rulebook the newest version",
		Description: "Answers when the version is in every partition's log. A broken rulebook changes nothing. " +
			"If-Match with the ETag of the version that was edited keeps anybody else's change from being overwritten.",
		Security: needs(Rules), RequestBody: rulebookBody(), MaxBodyBytes: rulebookBytesMax, SkipValidateBody: true,
		Errors: []int{http.StatusConflict, http.StatusPreconditionFailed, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity, http.StatusServiceUnavailable},
	}, a.putRulebook)
	huma.Register(a.huma, huma.Operation{
		OperationID: "check-rulebook", Method: http.MethodPost, Path: "/v1/rulebook/check", Tags: []string{"rulebook"},
		Summary: "Check a rulebook without publishing it", Security: needs(Read),
		RequestBody: rulebookBody(), MaxBodyBytes: rulebookBytesMax, SkipValidateBody: true,
		Errors: []int{http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType},
	}, a.checkRulebook)
}

// rulebookOp describes an operation that answers with a rulebook.
func (a *API) rulebookOp(op huma.Operation) huma.Operation {
	op.Tags, op.Security = []string{"rulebook"}, needs(Read)
	op.Responses = map[string]*huma.Response{
		"200": response("The rulebook.", rulebookContent(), "ETag", "Content-Type", "Last-Modified"),
		"304": response("It is the version named in If-None-Match.", nil),
	}
	return op
}

func rulebookContent() map[string]*huma.MediaType {
	return map[string]*huma.MediaType{
		typeYAML: {Schema: &huma.Schema{Type: huma.TypeString}},
		typeJSON: {Schema: &huma.Schema{Type: huma.TypeObject}},
	}
}

func rulebookBody() *huma.RequestBody {
	return &huma.RequestBody{Required: true, Content: rulebookContent()}
}

// RulebookChoice says in which form a rulebook is wanted, and whether at all.
type RulebookChoice struct {
	Accept      string `header:"Accept"`
	IfNoneMatch string `header:"If-None-Match"`
}

type rulebookOutput struct {
	Status       int
	ETag         string `header:"ETag"`
	ContentType  string `header:"Content-Type"`
	LastModified string `header:"Last-Modified"`
	Vary         string `header:"Vary"`
	Body         []byte
}

func (a *API) getRulebook(ctx context.Context, in *RulebookChoice) (*rulebookOutput, error) {
	return a.showEdition(ctx, in, a.processor.Newest())
}

type versionInput struct {
	RulebookChoice
	Version uint64 `path:"version" minimum:"1"`
}

func (a *API) getRulebookVersion(ctx context.Context, in *versionInput) (*rulebookOutput, error) {
	e, err := a.processor.Edition(ctx, in.Version)
	if errors.Is(err, stream.ErrNoVersion) {
		return nil, huma.NewError(http.StatusNotFound, fmt.Sprintf("there is no version %d; the newest is %d", in.Version, a.processor.Newest().Version))
	}
	if err != nil {
		return nil, a.failed(ctx, "reading the rulebook", err)
	}
	return a.showEdition(ctx, &in.RulebookChoice, e)
}

func (a *API) showEdition(ctx context.Context, in *RulebookChoice, e *stream.Edition) (*rulebookOutput, error) {
	out := &rulebookOutput{
		Status: http.StatusOK, ETag: etag(e.Version), ContentType: typeYAML, Body: e.Source,
		LastModified: e.At.Time().Format(http.TimeFormat), Vary: "Accept",
	}
	if in.IfNoneMatch == out.ETag {
		out.Status, out.Body = http.StatusNotModified, nil
		return out, nil
	}
	if wantsJSON(in.Accept) {
		converted, err := yamlToJSON(e.Source)
		if err != nil {
			return nil, a.failed(ctx, "writing the rulebook as JSON", err)
		}
		out.ContentType, out.Body = typeJSON, converted
	}
	return out, nil
}

func etag(version uint64) string { return `"` + strconv.FormatUint(version, 10) + `"` }

// wantsJSON reports whether an Accept header names JSON before any YAML.
func wantsJSON(header string) bool {
	for name := range strings.SplitSeq(header, ",") {
		switch name = mediaType(name); {
		case name == typeJSON:
			return true
		case strings.HasSuffix(name, "yaml"):
			return false
		}
	}
	return false
}

// mediaType returns a content type without its parameters; "" if it is none.
func mediaType(contentType string) string {
	name, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		return ""
	}
	return name
}

type versionsOutput struct {
	Body struct {
		Versions []Version `json:"versions"`
		Next     string    `json:"next" doc:"Where the next page begins; empty at the end."`
	}
}

func (a *API) listVersions(ctx context.Context, in *Page) (*versionsOutput, error) {
	from := a.processor.Newest().Version
	if in.Before != "" {
		before, err := strconv.ParseUint(in.Before, 10, 64)
		if err != nil || before == 0 {
			return nil, huma.NewError(http.StatusUnprocessableEntity, "before must be the value of next of an earlier page")
		}
		from = min(from, before-1)
	}
	out := &versionsOutput{}
	out.Body.Versions = []Version{}
	var newer *stream.Edition // is shown once the version before it is known
	for n := from; ; n-- {
		var e *stream.Edition
		if n > 0 {
			var err error
			if e, err = a.processor.Edition(ctx, n); err != nil {
				return nil, a.failed(ctx, "reading the rulebook's history", err)
			}
		}
		if newer != nil {
			out.Body.Versions = append(out.Body.Versions, describeVersion(e, newer))
		}
		if e == nil {
			return out, nil
		}
		if len(out.Body.Versions) == in.limit() {
			out.Body.Next = strconv.FormatUint(newer.Version, 10)
			return out, nil
		}
		newer = e
	}
}

func describeVersion(before, e *stream.Edition) Version {
	shown := Version{Version: e.Version, At: timeText(e.At), Author: e.Author, Digest: digest(e), Changes: []string{}}
	if e.Book == nil {
		return shown
	}
	var old *rules.Book
	if before != nil {
		old = before.Book
	}
	shown.Changes = notNil(rules.Changes(old, e.Book))
	return shown
}

func digest(e *stream.Edition) string {
	if e.Book != nil {
		return e.Book.Digest()
	}
	sum := sha256.Sum256(e.Source)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// Draft is a rulebook that a client sends.
type Draft struct {
	ContentType string `header:"Content-Type"`
	RawBody     []byte
}

// text returns the draft as YAML. Strict JSON is YAML but for tabs and some
// escapes, so where those occur it is written anew.
func (in *Draft) text() ([]byte, error) {
	switch mediaType(in.ContentType) {
	case typeYAML, "text/yaml", "application/x-yaml", "text/x-yaml", "text/plain":
		return in.RawBody, nil
	case typeJSON:
	case "":
		if in.ContentType == "" {
			return in.RawBody, nil
		}
		fallthrough
	default:
		return nil, huma.NewError(http.StatusUnsupportedMediaType, "a rulebook is application/yaml or application/json")
	}
	if !bytes.ContainsAny(in.RawBody, "\t\\") {
		return in.RawBody, nil
	}
	text, err := jsontext.AppendFormat(nil, in.RawBody, jsontext.WithIndent("  "))
	if err != nil {
		return nil, huma.NewError(http.StatusUnprocessableEntity, "the rulebook is not JSON: "+err.Error())
	}
	return text, nil
}

func (in *Draft) load() (*rules.Book, rules.Problems, error) {
	text, err := in.text()
	if err != nil {
		return nil, nil, err
	}
	book, problems := rules.Load(rules.File{Name: "rulebook", Data: text})
	return book, problems, nil
}

type checkOutput struct {
	Body struct {
		OK       bool      `json:"ok" doc:"It would load."`
		Problems []Problem `json:"problems"`
	}
}

func (a *API) checkRulebook(_ context.Context, in *Draft) (*checkOutput, error) {
	book, problems, err := in.load()
	if err != nil {
		return nil, err
	}
	out := &checkOutput{}
	out.Body.OK, out.Body.Problems = book != nil, DescribeProblems(problems)
	return out, nil
}

// DescribeProblems shows the problems of a rulebook.
func DescribeProblems(problems rules.Problems) []Problem {
	shown := make([]Problem, len(problems))
	for i, p := range problems {
		shown[i] = Problem{File: p.File, Line: p.Line, Column: p.Column, Severity: p.Severity.String(), Message: p.Message, Hint: p.Hint}
	}
	return shown
}

// brokenRulebook is the problem details of a rulebook with problems.
type brokenRulebook struct {
	huma.ErrorModel
	Problems []Problem `json:"problems"`
}

func broken(problems rules.Problems) error {
	e := &brokenRulebook{ErrorModel: huma.ErrorModel{
		Title: http.StatusText(http.StatusUnprocessableEntity), Status: http.StatusUnprocessableEntity,
		Detail: "the rulebook has errors; the one in force is unchanged",
	}, Problems: DescribeProblems(problems)}
	for _, p := range problems {
		e.Errors = append(e.Errors, &huma.ErrorDetail{
			Message: p.String(), Location: fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column),
		})
	}
	return e
}

type publishInput struct {
	Draft
	IfMatch string `header:"If-Match" doc:"The ETag of the version that is to be replaced."`
	Author  string `header:"X-Author" maxLength:"100" doc:"Who publishes, where no token tells."`
}

type publishOutput struct {
	ETag string `header:"ETag"`
	Body Published
}

func (a *API) putRulebook(ctx context.Context, in *publishInput) (*publishOutput, error) {
	expected, err := parseETag(in.IfMatch)
	if err != nil {
		return nil, err
	}
	book, problems, err := in.load()
	if err != nil {
		return nil, err
	}
	if book == nil {
		return nil, broken(problems)
	}
	author := caller(ctx)
	if author == "" {
		author = in.Author
	}
	if author == "" {
		author = "unknown"
	}
	e, err := a.processor.Publish(ctx, book, author, expected)
	switch {
	case errors.Is(err, stream.ErrOutdated) && expected != 0:
		return nil, huma.NewError(http.StatusPreconditionFailed, err.Error())
	case errors.Is(err, stream.ErrOutdated), errors.Is(err, stream.ErrHeld):
		return nil, huma.NewError(http.StatusConflict, err.Error())
	case err != nil:
		a.logger.Error("rulebook not published", "reason", err)
		return nil, huma.ErrorWithHeaders(huma.NewError(http.StatusServiceUnavailable, err.Error()), http.Header{"Retry-After": {"1"}})
	}
	out := &publishOutput{ETag: etag(e.Version)}
	out.Body = Published{Version: e.Version, Digest: digest(e), Changes: a.changesSince(ctx, e), Problems: DescribeProblems(problems)}
	return out, nil
}

// changesSince tells what an edition changed. It is published already: not to
// be able to tell does not undo that.
func (a *API) changesSince(ctx context.Context, e *stream.Edition) []string {
	before, err := a.processor.Edition(ctx, e.Version-1)
	if err != nil && !errors.Is(err, stream.ErrNoVersion) {
		a.logger.Warn("what the new rulebook changes is not known", "version", e.Version, "reason", err)
		return []string{}
	}
	return describeVersion(before, e).Changes
}

// parseETag reads the version of an If-Match header; 0 if any will do.
func parseETag(header string) (uint64, error) {
	if header == "" || header == "*" {
		return 0, nil
	}
	version, err := strconv.ParseUint(strings.Trim(strings.TrimPrefix(header, "W/"), `"`), 10, 64)
	if err != nil || version == 0 {
		return 0, huma.NewError(http.StatusPreconditionFailed, "If-Match must be the ETag of a rulebook version")
	}
	return version, nil
}

var _ huma.StatusError = (*brokenRulebook)(nil)
