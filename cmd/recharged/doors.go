package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"time"

	"recharged/cmd/recharged/api"
	"recharged/stream/journal"
)

// checkExposed refuses a door that the network can reach without TLS and
// tokens.
func (s *settings) checkExposed() error {
	var faults []string
	check := func(key, address string, encrypted bool) {
		if address == "" || checkAddress(address) != nil || isLoopback(address) {
			return
		}
		var missing []string
		if !encrypted {
			missing = append(missing, "TLS")
		}
		if len(s.Tokens) == 0 {
			missing = append(missing, "tokens")
		}
		if len(missing) > 0 {
			faults = append(faults, fmt.Sprintf("%s: %s can be reached from the network and has no %s", key, address, strings.Join(missing, " and no ")))
		}
	}
	check("listen", s.Listen, s.TLSCert != "")
	check("nats.listen", s.natsListen(), s.natsCert() != "")
	if len(faults) == 0 || s.Insecure {
		return nil
	}
	return usagef("%s\nListen on 127.0.0.1, or set tls.cert, tls.key and auth.tokens (`recharged token new`), or say --insecure if the network is trusted.", strings.Join(faults, "\n"))
}

// checkAddress says what is wrong with an address to listen on.
func checkAddress(address string) error {
	_, port, err := net.SplitHostPort(address)
	if err != nil || port == "" {
		return fmt.Errorf("%q is no host:port such as 127.0.0.1:8080", address)
	}
	if _, err := net.LookupPort("tcp", port); err != nil {
		return fmt.Errorf("%q: %s is no port from 0 to 65535", address, port)
	}
	return nil
}

// isLoopback reports whether only this machine can reach an address.
func isLoopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}

func (s *settings) natsCert() string { return firstOf(s.NATSTLSCert, s.TLSCert) }
func (s *settings) natsKey() string  { return firstOf(s.NATSTLSKey, s.TLSKey) }

// loadTLS returns the configuration of a listener; nil without a certificate.
func loadTLS(key, cert, private string) (*tls.Config, error) {
	if cert == "" {
		return nil, nil
	}
	pair, err := tls.LoadX509KeyPair(cert, private)
	if err != nil {
		return nil, usagef("%s: %v", key, err)
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}, nil
}

// authorizeNATS says what a NATS client may do: a token is sent as token, as
// password or as user. Nil without tokens.
func (s *settings) authorizeNATS() func(user, password, token string) (journal.Access, bool) {
	if len(s.Tokens) == 0 {
		return nil
	}
	return func(user, password, token string) (journal.Access, bool) {
		for _, text := range []string{token, password, user} {
			if text == "" {
				continue
			}
			if t, ok := api.Keyring(s.Tokens).Find(text, time.Now()); ok {
				access := journal.Access{Ingest: t.Allows(api.Ingest), Read: t.Allows(api.Read)}
				return access, access.Ingest || access.Read
			}
		}
		return journal.Access{}, false
	}
}

// listen opens the HTTP door.
func (s *settings) listen() (net.Listener, error) {
	config, err := loadTLS("tls", s.TLSCert, s.TLSKey)
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", s.Listen)
	if err != nil {
		return nil, explainListen("listen", s.Listen, err)
	}
	if config != nil {
		config.NextProtos = []string{"h2", "http/1.1"}
		listener = tls.NewListener(listener, config)
	}
	return listener, nil
}

// explainListen says what to do about an address that cannot be had.
func explainListen(key, address string, err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	return fmt.Errorf("%s: %s cannot be opened (%w): stop what uses it, or name another address with --%s", key, address, err, strings.ReplaceAll(key, ".", "-"))
}

// newLogger returns the daemon's log: text for people, JSON for programs.
func (s *settings) newLogger(to io.Writer) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(s.LogLevel)); err != nil {
		level = slog.LevelInfo // The flag's enumeration lets nothing else through.
	}
	options := &slog.HandlerOptions{Level: level}
	if s.LogFormat == "text" || s.LogFormat == "auto" && isTerminal(to) {
		return slog.New(slog.NewTextHandler(to, options))
	}
	return slog.New(slog.NewJSONHandler(to, options))
}
