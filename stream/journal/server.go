package journal

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"golang.org/x/time/rate"

	"recharged/state/charge"
)

const (
	maxPayloadDefault = 4 << 20
	readyWithin       = 30 * time.Second
	memoryStoreMax    = 256 << 20 // of consumers, which live in memory
)

// ServerOptions are the options of StartServer.
type ServerOptions struct {
	// Dir is where JetStream keeps its streams. Required. It must be on a disk
	// that keeps what was synced.
	Dir string

	// Listen is the address for outside clients, as in "127.0.0.1:4222"; port 0
	// or -1 picks a free one. Default: there is no listener, and only this
	// process can connect.
	Listen string

	// TLS is for the listener. Default: plain.
	TLS *tls.Config

	// Authorize decides what an outside client may do, and whether it may
	// connect at all. Default: every client may ingest and read, which is meant
	// for a listener on the loopback interface.
	Authorize func(user, password, token string) (Access, bool)

	// MaxPayloadBytes is the largest message. Default 4 MiB. It must be larger
	// than every frame and every commit.
	MaxPayloadBytes int32

	// Logger gets the server's warnings and errors. Default: nobody does.
	Logger *slog.Logger
}

// Access is what an outside client may do.
type Access struct {
	Ingest bool // publish events
	Read   bool // consume the outputs
}

// Server is a NATS server inside this process, with three accounts. CORE holds the
// logs and is reachable only through Core. PUBLIC is what the world sees. What
// an outside client can do is said at permissionsOf.
//
// It syncs every record to disk before it acknowledges it. After a write error,
// for example on a full disk, the server refuses every further write to that
// stream, silently, until it is started anew: Health tells, Restart mends.
type Server struct {
	opts  ServerOptions
	guard *guard
	port  int // that the listener got, so that a restart keeps it

	mu      sync.Mutex
	running *server.Server // guarded by mu
}

// StartServer starts a server and waits until it is ready.
func StartServer(opts ServerOptions) (*Server, error) {
	if opts.Dir == "" {
		return nil, errors.New("start NATS server: a store directory is needed")
	}
	if opts.MaxPayloadBytes == 0 {
		opts.MaxPayloadBytes = maxPayloadDefault
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Server{opts: opts, guard: &guard{secret: rand.Text(), authorize: opts.Authorize}}
	if err := s.start(); err != nil {
		return nil, fmt.Errorf("start NATS server: %w", err)
	}
	return s, nil
}

// accounts is the part of the configuration that has no exported form. Clients
// that only ingest get an account of their own, from which events are passed on
// to PUBLIC: so they cannot listen to the inboxes of those that read.
const accounts = `accounts {
	CORE: {jetstream: enabled}
	PUBLIC: {jetstream: enabled, exports: [{service: "recharged.events"}, {service: "recharged.events.>"}]}
	INGEST: {imports: [
		{service: {account: PUBLIC, subject: "recharged.events"}}
		{service: {account: PUBLIC, subject: "recharged.events.>"}}
	]}
}`

func (s *Server) start() error {
	opts := &server.Options{
		ServerName:             "recharged",
		NoSigs:                 true,
		NoLog:                  true,
		DisableJetStreamBanner: true,
		JetStream:              true,
		StoreDir:               s.opts.Dir,
		SyncAlways:             true,
		JetStreamMaxStore:      math.MaxInt64 / 4, // the disk is the limit
		JetStreamMaxMemory:     memoryStoreMax,
		MaxPayload:             s.opts.MaxPayloadBytes,
		DontListen:             s.opts.Listen == "",
		TLSConfig:              s.opts.TLS,
	}
	if err := opts.ProcessConfigString(accounts); err != nil {
		return err
	}
	opts.CustomClientAuthentication = s.guard
	if s.opts.Listen != "" {
		if err := s.listenOn(opts); err != nil {
			return err
		}
	}
	ns, err := server.NewServer(opts)
	if err != nil {
		return err
	}
	ns.SetLoggerV2(serverLog{s.opts.Logger, rate.NewLimiter(serverLinesPerSecond, serverLinesBurst)}, false, false, false)
	s.guard.use(ns)
	ns.Start()
	if !ns.ReadyForConnections(readyWithin) || !ns.JetStreamEnabled() {
		ns.Shutdown()
		ns.WaitForShutdown()
		return fmt.Errorf("the server on %s is not ready after %v; its log says why", s.opts.Dir, readyWithin)
	}
	if addr, ok := ns.Addr().(*net.TCPAddr); ok && s.opts.Listen != "" {
		s.port = addr.Port
	}
	s.mu.Lock()
	s.running = ns
	s.mu.Unlock()
	return nil
}

func (s *Server) listenOn(opts *server.Options) error {
	host, portText, err := net.SplitHostPort(s.opts.Listen)
	if err != nil {
		return fmt.Errorf("listen address %q: %w", s.opts.Listen, err)
	}
	port, err := strconv.Atoi(portText)
	if err != nil || port < -1 || port > math.MaxUint16 {
		return fmt.Errorf("listen address %q: the port must be a number up to %d", s.opts.Listen, math.MaxUint16)
	}
	if port <= 0 {
		port = server.RANDOM_PORT
	}
	if s.port != 0 {
		port = s.port
	}
	opts.Host, opts.Port = host, port
	return nil
}

func (s *Server) current() *server.Server {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.running
}

// InProcessConn makes the Server an in-process server for the client library:
// each attempt to connect goes to the server that runs now.
func (s *Server) InProcessConn() (net.Conn, error) { return s.current().InProcessConn() }

// Core returns a new connection in the account that holds the logs.
func (s *Server) Core() (*nats.Conn, error) { return s.connect(userCore) }

// Public returns a new connection in the account that outside clients see, with
// full rights in it.
func (s *Server) Public() (*nats.Conn, error) { return s.connect(userPublic) }

func (s *Server) connect(user string) (*nats.Conn, error) {
	options := append(ConnectOptions(user, s.opts.Logger),
		nats.InProcessServer(s), nats.UserInfo(user, s.guard.secret))
	conn, err := nats.Connect("", options...)
	if err != nil {
		return nil, fmt.Errorf("connect %s to the embedded NATS server: %w", user, err)
	}
	return conn, nil
}

// Addr returns the address that outside clients connect to; "" if there is none.
func (s *Server) Addr() string {
	if s.opts.Listen == "" {
		return ""
	}
	return s.current().Addr().String()
}

// Health returns nil if the server can store records. The error of a server that
// ran out of space is an ErrNoSpace.
func (s *Server) Health() error {
	status := s.current().Healthz(&server.HealthzOptions{Details: true})
	var faults []error
	for _, fault := range status.Errors {
		err := errors.New(fault.Error)
		if strings.Contains(fault.Error, "no space left") {
			err = fmt.Errorf("%w: %s", ErrNoSpace, fault.Error)
		}
		faults = append(faults, err)
	}
	return errors.Join(faults...)
}

// Restart stops the server and starts it again on the same directory and port.
// Connections that Core and Public made reconnect by themselves. It is what a
// server that met a write error needs once the cause is gone; before that it
// does no harm, but the next write may meet the same error.
func (s *Server) Restart() error {
	s.Shutdown()
	if err := s.start(); err != nil {
		return fmt.Errorf("restart NATS server: %w", err)
	}
	return nil
}

// Shutdown stops the server and waits until it has stopped.
func (s *Server) Shutdown() {
	ns := s.current()
	ns.Shutdown()
	ns.WaitForShutdown()
}

// serverLog passes what the server has to say to a slog.Logger, from warnings
// up. Some of it quotes clients, who are kept from filling the log and from
// writing anybody's number into it.
type serverLog struct {
	logger *slog.Logger
	limit  *rate.Limiter
}

// Bounds of what the server may have logged.
const (
	serverLinesPerSecond = 1
	serverLinesBurst     = 20
)

func (l serverLog) write(level slog.Level, format string, v []any) {
	message := charge.Mask(fmt.Sprintf(format, v...))
	if strings.Contains(message, "Violation") {
		level = slog.LevelWarn // A client's fault, not ours.
	}
	if l.limit.Allow() {
		l.logger.Log(context.Background(), level, "nats server", "message", message)
	}
}

func (l serverLog) Noticef(string, ...any) {}
func (l serverLog) Debugf(string, ...any)  {}
func (l serverLog) Tracef(string, ...any)  {}

func (l serverLog) Warnf(format string, v ...any) { l.write(slog.LevelWarn, format, v) }

func (l serverLog) Errorf(format string, v ...any) { l.write(slog.LevelError, format, v) }

func (l serverLog) Fatalf(format string, v ...any) { l.write(slog.LevelError, format, v) }
