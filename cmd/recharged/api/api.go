// Package api is the HTTP door of recharged: events come in, customers,
// rulebooks and what happens live are looked at, and all of it is described by
// the OpenAPI document that the same code is registered with.
//
// It promises that every operation is guarded by the scope its description
// names, that every error is a problem detail of RFC 9457, and that no MSISDN
// reaches a log line. It refuses to know what an event does or how it is kept:
// it translates between HTTP and the processor, and decides nothing.
package api

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/prometheus/client_golang/prometheus"

	"recharged/state/charge"
	"recharged/stream"
)

// Options of an API. Registry and Logger are required.
type Options struct {
	Registry *prometheus.Registry
	Logger   *slog.Logger
	Version  string // of this program

	// Tokens are who may do what. Without any, everybody may do everything, which
	// is meant for a listener on the loopback interface.
	Tokens Keyring

	// LocalOnly refuses requests that were addressed to a host name other than
	// localhost. It protects a door without tokens on the loopback interface from
	// web pages whose name resolves to it.
	LocalOnly bool

	Now func() time.Time // the present; nil: time.Now
}

// API serves the HTTP interface. It is for any number of goroutines.
type API struct {
	opts   Options
	logger *slog.Logger
	now    func() time.Time

	starting  atomic.Pointer[string] // why there is no processor yet; nil once there is
	processor *stream.Processor      // is there as soon as starting is nil, and then stays

	mux      *http.ServeMux
	huma     huma.API
	origin   *http.CrossOriginProtection
	document []byte // the OpenAPI document

	bodies    sync.Pool    // of *bytes.Buffer, for the bodies of events
	reading   atomic.Int64 // bytes that those bodies may take
	followers atomic.Int64 // of the live feed
	meter     meter
	ending    chan struct{} // closed when the live feeds are to end
	end       func()
}

// New makes the API. Until Open gives it a processor it answers what it can and
// says of the rest that it still starts.
func New(opts Options) (*API, error) {
	a := &API{
		opts: opts, logger: opts.Logger, now: opts.Now,
		mux: http.NewServeMux(), origin: http.NewCrossOriginProtection(), ending: make(chan struct{}),
	}
	a.Starting(nil)
	a.end = sync.OnceFunc(func() { close(a.ending) })
	if a.now == nil {
		a.now = time.Now
	}
	a.huma = huma.NewAPI(a.describe(), &guardedAdapter{humago.NewAdapter(a.mux, ""), a})
	a.registerEvents()
	a.registerCustomers()
	a.registerExplain()
	a.registerRulebook()
	a.registerBacktests()
	a.registerRules()
	a.registerParked()
	a.registerOperations()
	a.registerLive()
	a.mux.HandleFunc("/", a.notFound)
	document, err := json.Marshal(a.huma.OpenAPI())
	if err != nil {
		return nil, fmt.Errorf("write OpenAPI document: %w", err)
	}
	a.document = document
	return a, nil
}

// describe is what the OpenAPI document says of the whole. The paths at which
// huma would serve documents of its own stay empty: they would load scripts from
// elsewhere.
func (a *API) describe() huma.Config {
	config := huma.DefaultConfig("recharged", a.opts.Version)
	config.OpenAPIPath, config.DocsPath, config.SchemasPath = "", "", ""
	config.CreateHooks, config.Transformers = nil, nil
	config.Info.Description = "Charging events in; balances, notifications, alerts and live metrics out. " +
		"Lists are newest first and page with limit and before. Amounts are strings, exact to the minor unit. " +
		"Errors are problem details (RFC 9457)."
	config.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		bearer: {Type: "http", Scheme: "bearer", Description: "A token as `recharged token new` makes it. Not asked for while no tokens are configured. Scopes: ingest, read, rules, operate."},
	}
	return config
}

// handle registers an operation that speaks HTTP itself. Its description is
// given whole.
func (a *API) handle(op *huma.Operation, handler http.HandlerFunc) {
	a.huma.OpenAPI().AddOperation(op)
	a.huma.Adapter().Handle(op, func(ctx huma.Context) {
		r, w := humago.Unwrap(ctx)
		handler(w, r)
	})
}

// EndLive ends the live feeds, so that a server which shuts down does not wait
// for them.
func (a *API) EndLive() { a.end() }

// ServeHTTP implements http.Handler.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	header.Set("Cache-Control", "no-store")
	if a.logger.Enabled(r.Context(), slog.LevelDebug) {
		recorded := &statusRecorder{ResponseWriter: w, status: http.StatusOK}
		begin := time.Now()
		defer func() {
			a.logger.Debug("http request", "method", r.Method, "route", r.Pattern, "path", charge.Mask(r.URL.Path),
				"status", recorded.status, "took", time.Since(begin))
		}()
		w = recorded
	}
	defer a.recover(w, r)
	if a.opts.LocalOnly && !addressedToLocal(r.Host) {
		writeProblem(w, http.StatusForbidden, "this door is open without a token, so it answers only requests to localhost or to an IP address: configure tokens to reach it by another name")
		return
	}
	if r.Header.Get("Authorization") == "" { // No web page can send a bearer token that it does not know.
		if err := a.origin.Check(r); err != nil {
			writeProblem(w, http.StatusForbidden, "a web page of another origin may not change anything here")
			return
		}
	}
	a.mux.ServeHTTP(w, r)
}

// recover answers a request whose handler panicked, and logs where.
func (a *API) recover(w http.ResponseWriter, r *http.Request) {
	switch cause := recover(); cause {
	case nil:
	case http.ErrAbortHandler:
		panic(cause)
	default:
		a.logger.Error("http handler panicked", "route", r.Pattern, "reason", charge.Mask(fmt.Sprint(cause)), "stack", string(debug.Stack()))
		writeProblem(w, http.StatusInternalServerError, "something is broken here; the log says what")
	}
}

// statusRecorder remembers the status of an answer for the access log.
type statusRecorder struct {
	http.ResponseWriter
	status int
}

func (s *statusRecorder) WriteHeader(status int) {
	s.status = status
	s.ResponseWriter.WriteHeader(status)
}

// Unwrap lets http.ResponseController reach the connection.
func (s *statusRecorder) Unwrap() http.ResponseWriter { return s.ResponseWriter }

// addressedToLocal reports whether a request's host is localhost or an address:
// names of the network's making are neither.
func addressedToLocal(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.Trim(host, "[]")
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	host = strings.ToLower(host)
	return host == "localhost" || strings.HasSuffix(host, ".localhost")
}

// Timeouts of a server. A request's head and body must arrive, and its answer be
// taken, within these; the live feed lifts the last two for itself.
const (
	headTimeout  = 5 * time.Second
	readTimeout  = time.Minute
	writeTimeout = 2 * time.Minute
	idleTimeout  = 2 * time.Minute
	headBytesMax = 64 << 10
)

// NewServer returns a server for a handler, with timeouts and limits.
func NewServer(handler http.Handler, logger *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: headTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    headBytesMax,
		ErrorLog:          slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
	}
}
