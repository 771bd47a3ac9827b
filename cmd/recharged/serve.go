package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"recharged/cmd/recharged/api"
	"recharged/rules"
	"recharged/rules/sample"
	"recharged/stream"
)

type serveCommand struct {
	settings
	Demo     bool    `help:"Send synthetic traffic to this very server, so that there is something to see. For trying it out only."`
	DemoRate float64 `default:"50" placeholder:"N" help:"Events a second of --demo."`
}

// Help has the example.
func (*serveCommand) Help() string {
	return example("recharged serve --demo", "recharged serve --config /etc/recharged/recharged.yaml")
}

// requestsWithin is how long requests under way have to end when it stops.
const requestsWithin = 10 * time.Second

// Run runs everything until the first signal.
func (c *serveCommand) Run(s *session) error {
	if err := errors.Join(c.validate(), c.checkExposed()); err != nil {
		return err
	}
	if c.DemoRate <= 0 || c.DemoRate > demoRateMax {
		return usagef("--demo-rate %v is not between 0 and %v", c.DemoRate, demoRateMax)
	}
	opts, err := c.options(c.newLogger(s.stderr))
	if err != nil {
		return err
	}
	warnUnknownVariables(opts.Logger, os.Environ(), s.variables)
	lock, err := lockData(c.Data)
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := c.probeNATS(); err != nil {
		return err
	}
	listener, err := c.listen()
	if err != nil {
		return err
	}
	handler, err := api.New(api.Options{
		Registry: opts.Registry, Logger: opts.Logger, Version: version,
		Tokens: api.Keyring(c.Tokens), LocalOnly: len(c.Tokens) == 0 && isLoopback(c.Listen),
	})
	if err != nil {
		return err
	}
	front := newFront(listener, handler, opts.Logger)
	defer front.stop(opts.Logger)

	opts.Waiting = handler.Starting
	processor, err := stream.Start(s.ctx, opts)
	if err != nil {
		return explainStart(s, err)
	}
	defer processor.Stop(context.Background())
	handler.Open(processor)
	defer front.stop(opts.Logger) // Before the processor: requests under way need it.
	if err := c.announce(s, listener.Addr(), processor, opts.Logger); err != nil {
		return err
	}
	if c.Demo {
		defer startDemo(s.ctx, processor.Gateway(), c.DemoRate, opts.Logger)()
	}
	select {
	case <-s.ctx.Done():
		opts.Logger.Info("stopping")
		return nil
	case err := <-front.failed:
		return fmt.Errorf("serve HTTP: %w", err)
	}
}

// options are the processor's options.
func (c *serveCommand) options(logger *slog.Logger) (stream.Options, error) {
	opts := stream.Options{
		Dir: c.Data, NATSListen: c.natsListen(), Authorize: c.authorizeNATS(),
		NATSURL: c.NATSURL, NATSPublicURL: c.NATSPublicURL, NATSCredentials: c.NATSCredentials, Replicas: c.Replicas,
		Sources:    c.Sources,
		Partitions: c.Partitions, CacheBytes: int(c.Cache), DefaultRulebook: sample.Rulebook,
		Outcomes: c.Outcomes, OutputAge: time.Duration(c.OutputAge), DiskReserveBytes: uint64(c.DiskReserve),
		Version: version, Revision: revision(), Registry: prometheus.NewRegistry(), Logger: logger,
	}
	opts.Registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	var err error
	if opts.NATSTLS, err = loadTLS("nats.tls", c.natsCert(), c.natsKey()); err != nil {
		return opts, err
	}
	if c.Rulebook == "" {
		return opts, nil
	}
	if opts.Rulebook, err = readRulebook(c.Rulebook); err != nil {
		return opts, err
	}
	if book, problems := rules.Load(opts.Rulebook...); book == nil {
		return opts, fmt.Errorf("the rulebook has errors:\n%s", strings.TrimRight(problemLines(api.DescribeProblems(problems)), "\n"))
	}
	return opts, nil
}

// probeNATS makes sure that the embedded server will get its address: it would
// wait long before it gave up.
func (c *serveCommand) probeNATS() error {
	address := c.natsListen()
	if address == "" {
		return nil
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return explainListen("nats.listen", address, err)
	}
	return listener.Close()
}

// explainStart is the error of a start that did not work.
func explainStart(s *session, err error) error {
	if s.ctx.Err() != nil {
		return nil // It was stopped while it started.
	}
	return fmt.Errorf("the start did not work: %w", err)
}

// announce prints and logs where things are.
func (c *serveCommand) announce(s *session, addr net.Addr, p *stream.Processor, logger *slog.Logger) error {
	scheme := "http"
	if c.TLSCert != "" {
		scheme = "https"
	}
	base := scheme + "://" + addr.String()
	book, number := p.Book()
	data := c.Data
	if absolute, err := filepath.Abs(data); err == nil {
		data = absolute
	}
	nats := firstOf(withoutPassword(c.NATSURL), "none")
	if at := p.NATSAddr(); at != "" {
		nats = "nats://" + at
	}
	access := "open: no token is asked for"
	if len(c.Tokens) > 0 {
		access = count(len(c.Tokens), "token")
	}
	logger.Info("running", "api", base, "nats", nats, "data", data, "rulebook", number)
	lines := []string{
		versionText() + " runs", "",
		"  API\t" + base + "/openapi.json",
		"  metrics\t" + base + "/metrics",
		"  NATS\t" + nats,
		fmt.Sprintf("  data\t%s (%s)", data, count(len(p.Status().Partitions), "partition")),
		fmt.Sprintf("  rulebook\tversion %d (%s)", number, count(len(book.Rules()), "rule")),
		"  access\t" + access,
	}
	if c.Demo {
		lines = append(lines, fmt.Sprintf("  demo\t%v synthetic events a second", c.DemoRate))
	}
	return table(s.stdout, append(lines, "", "  Try `recharged tail`; Ctrl-C stops.", "")...)
}

// withoutPassword hides the passwords of a list of URLs.
func withoutPassword(urls string) string {
	parts := strings.Split(urls, ",")
	for i, part := range parts {
		if u, err := url.Parse(part); err == nil {
			parts[i] = u.Redacted()
		}
	}
	return strings.Join(parts, ",")
}

// front is the HTTP server. It answers from the beginning, also while the
// processor still starts.
type front struct {
	server  *http.Server
	failed  chan error
	endOnce sync.Once
}

func newFront(listener net.Listener, handler *api.API, logger *slog.Logger) *front {
	f := &front{server: api.NewServer(handler, logger), failed: make(chan error, 1)}
	f.server.RegisterOnShutdown(handler.EndLive)
	go func() {
		if err := f.server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			f.failed <- err
		}
	}()
	return f
}

// stop lets no request in any more and waits for those under way.
func (f *front) stop(logger *slog.Logger) {
	f.endOnce.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), requestsWithin)
		defer cancel()
		if err := f.server.Shutdown(ctx); err != nil {
			logger.Warn("requests were broken off", "reason", err)
			_ = f.server.Close()
		}
	})
}

// warnUnknownVariables logs which environment variables look as if they were
// settings and are none. What they hold may be a secret and is not told.
func warnUnknownVariables(logger *slog.Logger, environment, known []string) {
	for _, variable := range environment {
		name, _, _ := strings.Cut(variable, "=")
		if !strings.HasPrefix(name, variablePrefix) || slices.Contains(known, name) {
			continue
		}
		if meant := closest(name, known); meant != "" {
			logger.Warn("an environment variable is no setting and has no effect", "name", name, "meant", meant)
		} else {
			logger.Warn("an environment variable is no setting and has no effect", "name", name)
		}
	}
}

const variablePrefix = "RECHARGED_"
