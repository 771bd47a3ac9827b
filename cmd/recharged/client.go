package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"text/tabwriter"
	"time"

	"recharged/cmd/recharged/api"
)

// serverFlags say which server a command talks to.
type serverFlags struct {
	Server string `env:"RECHARGED_SERVER" default:"http://127.0.0.1:8080" placeholder:"URL" help:"The server to talk to."`
	Token  string `env:"RECHARGED_TOKEN" placeholder:"TOKEN" help:"Token to show it; better given by the variable RECHARGED_TOKEN, which no process list shows."`
}

// client talks to a server.
type client struct {
	base  *url.URL
	token string
	http  *http.Client
}

const answerWithin = time.Minute

func (f *serverFlags) client() (*client, error) {
	text := f.Server
	if !strings.Contains(text, "://") {
		text = "http://" + text
	}
	base, err := url.Parse(text)
	if err != nil || base.Host == "" || base.Scheme != "http" && base.Scheme != "https" {
		return nil, usagef("--server %q is no URL such as http://127.0.0.1:8080", f.Server)
	}
	transport, ok := http.DefaultTransport.(*http.Transport)
	if !ok {
		return nil, errors.New("the default HTTP transport was replaced")
	}
	transport = transport.Clone()
	transport.MaxIdleConnsPerHost = parallelMax // So that every request in flight has a connection to come back to.
	return &client{base, f.Token, &http.Client{Transport: transport}}, nil
}

// request is one call.
type request struct {
	method, path string
	query        url.Values
	header       map[string]string
	body         []byte
}

// problem is an answer that is an error.
type problem struct {
	Status   int           `json:"status"`
	Title    string        `json:"title"`
	Detail   string        `json:"detail"`
	Problems []api.Problem `json:"problems"`
	Errors   []struct {
		Message string `json:"message"`
	} `json:"errors"`
	retryAfter string
}

func (p *problem) Error() string {
	text := firstOf(p.Detail, p.Title)
	for _, e := range p.Errors {
		if !strings.HasSuffix(text, e.Message) { // The detail of one fault may be all of it.
			text += "\n  " + e.Message
		}
	}
	return text
}

// unreachable is the error of a server that does not answer.
type unreachable struct {
	server string
	cause  error
}

func (u *unreachable) Error() string {
	if advice := u.advice(); advice != "" {
		return fmt.Sprintf("%s cannot be talked to: %v\n%s", u.server, u.cause, advice)
	}
	return fmt.Sprintf("%s does not answer: %v\nIs `recharged serve` running there? --server names another.", u.server, u.cause)
}

// advice says what to do where somebody does answer, but TLS does not come
// about: to try again is no use. It is empty for a server that is away.
func (u *unreachable) advice() string {
	var certificate *tls.CertificateVerificationError
	var alert tls.AlertError
	switch {
	case errors.As(u.cause, &certificate):
		return "Its certificate is not trusted for this name. SSL_CERT_FILE=ca.pem has the authority in ca.pem trusted; --server names the server as the certificate does."
	case errors.As(u.cause, &alert):
		return "The two sides do not agree on TLS."
	case errors.Is(u.cause, http.ErrSchemeMismatch):
		return "It speaks plain HTTP: name it with http:// in --server."
	}
	return ""
}

func (u *unreachable) Unwrap() error { return u.cause }

// send makes a call and returns its answer, whose body the caller closes. An
// answer that is no success is a *problem.
func (c *client) send(ctx context.Context, call request) (*http.Response, error) {
	target := c.base.JoinPath(call.path)
	target.RawQuery = call.query.Encode()
	r, err := http.NewRequestWithContext(ctx, call.method, target.String(), bytes.NewReader(call.body))
	if err != nil {
		return nil, usagef("--server: %v", err)
	}
	for name, value := range call.header {
		r.Header.Set(name, value)
	}
	if c.token != "" {
		r.Header.Set("Authorization", "Bearer "+c.token)
	}
	answer, err := c.http.Do(r)
	if err != nil {
		var failed *url.Error
		if errors.As(err, &failed) {
			err = failed.Err // Without the URL: it may hold an MSISDN.
		}
		return nil, &unreachable{c.base.Redacted(), err}
	}
	if answer.StatusCode >= http.StatusBadRequest {
		defer answer.Body.Close()
		return nil, readProblem(answer)
	}
	return answer, nil
}

const problemBytesMax = 8 << 20

func readProblem(answer *http.Response) error {
	p := &problem{Title: answer.Status, retryAfter: answer.Header.Get("Retry-After")}
	body, err := io.ReadAll(io.LimitReader(answer.Body, problemBytesMax))
	if err != nil {
		return fmt.Errorf("%s: read the answer: %w", answer.Status, err)
	}
	if kind, _, _ := mime.ParseMediaType(answer.Header.Get("Content-Type")); kind == "application/json" {
		return &verdictProblem{body}
	}
	if json.Unmarshal(body, p) != nil {
		p.Detail = "the answer is not from recharged: is --server right, also its http or https?"
	}
	p.Status = answer.StatusCode
	return p
}

// verdictProblem is the answer to events none of which was acceptable.
type verdictProblem struct{ body []byte }

func (v *verdictProblem) Error() string { return "none of the events was acceptable" }

// get reads a JSON answer.
func (c *client) get(ctx context.Context, path string, query url.Values, into any) error {
	return c.call(ctx, request{method: http.MethodGet, path: path, query: query, header: map[string]string{"Accept": "application/json"}}, into)
}

// call makes a call and reads its JSON answer, if into is not nil.
func (c *client) call(ctx context.Context, call request, into any) error {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	answer, err := c.send(ctx, call)
	if err != nil {
		return asExit(err)
	}
	defer answer.Body.Close()
	if into == nil {
		return nil
	}
	if err := json.NewDecoder(answer.Body).Decode(into); err != nil {
		return &exitError{exitUnreachable, fmt.Sprintf("%s answers what is not understood: %v", c.base.Redacted(), err)}
	}
	return nil
}

// asExit gives an error of send its exit code.
func asExit(err error) error {
	var far *unreachable
	var p *problem
	switch {
	case errors.As(err, &far):
		return &exitError{exitUnreachable, err.Error()}
	case errors.As(err, &p) && p.Status >= http.StatusInternalServerError:
		return &exitError{exitUnreachable, err.Error()}
	}
	return err
}

// printJSON prints a value as JSON for programs and people.
func printJSON(w io.Writer, value any) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(value)
}

// table prints lines whose columns are separated by tabs.
func table(w io.Writer, lines ...string) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, line := range lines {
		if _, err := fmt.Fprintln(t, line); err != nil {
			return err
		}
	}
	return t.Flush()
}

// localTime writes a time of an answer as the reader's clock shows it.
func localTime(text string) string {
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return text
	}
	return at.Local().Format("2006-01-02 15:04:05")
}
