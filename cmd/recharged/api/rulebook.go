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
	"slices"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-json-experiment/json/jsontext"

	"recharged/rules"
	"recharged/stream"
)

// rulebookBytesMax is the largest body with a rulebook: what rules read, and
// some room for JSON, which takes more than the YAML that it becomes.
const rulebookBytesMax = 6 << 20

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
		Summary: "Who published which version when, and what changed", Security: needs(Read, Rules),
	}, a.listVersions)
	huma.Register(a.huma, huma.Operation{
		OperationID: "publish-rulebook", Method: http.MethodPut, Path: "/v1/rulebook", Tags: []string{"rulebook"},
		Summary: "Make a rulebook the newest version",
		Description: "Answers when the version is in every partition's log. A broken rulebook changes nothing. " +
			"If-Match with the ETag of the version that was edited keeps anybody else's change from being overwritten.",
		Security: needs(Rules), RequestBody: rulebookBody(), MaxBodyBytes: rulebookBytesMax, SkipValidateBody: true,
		Errors: []int{http.StatusBadRequest, http.StatusRequestTimeout, http.StatusConflict, http.StatusPreconditionFailed, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity, http.StatusServiceUnavailable},
	}, a.putRulebook)
	huma.Register(a.huma, huma.Operation{
		OperationID: "check-rulebook", Method: http.MethodPost, Path: "/v1/rulebook/check", Tags: []string{"rulebook"},
		Summary: "Check a rulebook without publishing it", Security: needs(Read, Rules),
		RequestBody: rulebookBody(), MaxBodyBytes: rulebookBytesMax, SkipValidateBody: true,
		Errors: []int{http.StatusBadRequest, http.StatusRequestTimeout, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity},
	}, a.checkRulebook)
}

// rulebookOp describes an operation that answers with a rulebook.
func (a *API) rulebookOp(op huma.Operation) huma.Operation {
	op.Tags, op.Security = []string{"rulebook"}, needs(Read, Rules)
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
	content := rulebookContent()
	for _, name := range otherYAML() {
		content[name] = content[typeYAML]
	}
	return &huma.RequestBody{Required: true, Content: content}
}

// otherYAML are the names that YAML is sent under besides its own.
func otherYAML() []string {
	return []string{"text/yaml", "application/x-yaml", "text/x-yaml", "text/plain"}
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
	if slices.Contains(listed(strings.ReplaceAll(in.IfNoneMatch, "W/", "")), out.ETag) || in.IfNoneMatch == "*" {
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

// listed returns the members of a header that is a list.
func listed(header string) []string {
	members := strings.Split(header, ",")
	for i := range members {
		members[i] = strings.TrimSpace(members[i])
	}
	return members
}

// wantsJSON reports whether an Accept header prefers JSON to YAML: the higher
// quality wins, then what is named first. Whoever takes anything gets YAML.
func wantsJSON(header string) bool {
	best, wanted := 0.0, false
	for _, member := range listed(header) {
		name, parameters, err := mime.ParseMediaType(member)
		isJSON := name == typeJSON
		if err != nil || !isJSON && !strings.HasSuffix(name, "yaml") && !strings.HasSuffix(name, "/*") {
			continue
		}
		quality, err := strconv.ParseFloat(parameters["q"], 64)
		if err != nil {
			quality = 1
		}
		if quality > best {
			best, wanted = quality, isJSON
		}
	}
	return wanted
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

// DraftName stands for the file in the problems of a rulebook that was sent.
const DraftName = "rulebook"

// Draft is a rulebook that a client sends.
type Draft struct {
	ContentType string `header:"Content-Type"`
	RawBody     []byte
}

// text returns the draft as YAML. Strict JSON is YAML but for tabs and some
// escapes, so where those occur it is written anew.
func (in *Draft) text() ([]byte, error) {
	switch name := mediaType(in.ContentType); {
	case in.ContentType == "", name == typeYAML, slices.Contains(otherYAML(), name):
		return in.RawBody, nil
	case name != typeJSON:
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
	book, problems := rules.Load(rules.File{Name: DraftName, Data: text})
	return book, problems, nil
}

type checkOutput struct {
	Body struct {
		OK       bool      `json:"ok" doc:"It would load. A warning says if it could not be published now."`
		Problems []Problem `json:"problems"`
	}
}

func (a *API) checkRulebook(ctx context.Context, in *Draft) (*checkOutput, error) {
	book, problems, err := in.load()
	if err != nil {
		return nil, err
	}
	out := &checkOutput{}
	out.Body.OK, out.Body.Problems = book != nil, DescribeProblems(problems)
	if book == nil {
		return out, nil
	}
	switch err := a.processor.CheckHeld(book); {
	case errors.Is(err, stream.ErrHeld):
		out.Body.Problems = append(out.Body.Problems, Problem{
			File: DraftName, Line: 1, Column: 1, Severity: rules.Warning.String(),
			Message: "it cannot be published now: " + err.Error(),
		})
	case err != nil:
		return nil, a.failed(ctx, "looking for balances that customers hold", err)
	}
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
	IfMatch string `header:"If-Match" doc:"The ETag of the version that is to be replaced, or several of which one must be."`
	Author  string `header:"X-Author" maxLength:"100" doc:"Who publishes, where no token tells."`
}

type publishOutput struct {
	ETag string `header:"ETag"`
	Body Published
}

func (a *API) putRulebook(ctx context.Context, in *publishInput) (*publishOutput, error) {
	expected, err := a.expected(in.IfMatch)
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

// expected returns the version that must be the newest for an If-Match header to
// hold, 0 if any will do. Of several the newest is chosen if it is among them. A
// weak ETag matches none.
func (a *API) expected(header string) (uint64, error) {
	if header == "" || header == "*" {
		return 0, nil
	}
	newest := a.processor.Newest().Version
	expected := uint64(0)
	for _, tag := range listed(header) {
		version, err := strconv.ParseUint(strings.Trim(tag, `"`), 10, 64)
		if err == nil && expected != newest {
			expected = version
		}
	}
	if expected == 0 {
		return 0, huma.NewError(http.StatusPreconditionFailed, "If-Match must be the ETag of a rulebook version, and no weak one")
	}
	return expected, nil
}

var _ huma.StatusError = (*brokenRulebook)(nil)
