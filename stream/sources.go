package stream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"recharged/stream/accept"
	"recharged/stream/emit"
	"recharged/stream/journal"
)

// Source is a JetStream stream that somebody else fills with events: what
// gateways already publish is processed without changing them. The position in
// it is a durable consumer of that stream; a message is acknowledged there when
// its events are in the event log.
type Source struct {
	URL         string // of the NATS server that has the stream
	Credentials string // file; empty: none
	Stream      string
	Subject     string // what to read of the stream; empty: all
	Durable     string // name of the position; default "recharged"
}

// sourceReopen is the pause before a source that ended is read again.
const sourceReopen = time.Second

// openSources begins to read the sources that are configured.
func (p *Processor) openSources(ctx context.Context) error {
	var faults []error
	for _, s := range p.opts.Sources {
		if s.URL == "" || s.Stream == "" {
			faults = append(faults, fmt.Errorf("source %q at %q: both the stream and the url are needed", s.Stream, s.URL))
			continue
		}
		if s.Durable == "" {
			s.Durable = "recharged"
		}
		options := append(journal.ConnectOptions("recharged source "+s.Stream, p.logger), nats.RetryOnFailedConnect(true))
		nc, err := connectExternal(s.URL, s.Credentials, options...)
		if err != nil {
			faults = append(faults, err)
			continue
		}
		p.running.Go(func() {
			defer nc.Close()
			p.readSource(ctx, nc, s)
		})
	}
	return errors.Join(faults...)
}

// readSource reads one source until ctx ends.
func (p *Processor) readSource(ctx context.Context, nc *nats.Conn, s Source) {
	for ctx.Err() == nil {
		err := p.readSourceOnce(ctx, nc, s)
		if ctx.Err() != nil {
			return
		}
		p.logger.Warn("source interrupted, it is read again", "stream", s.Stream, "reason", err)
		select {
		case <-ctx.Done():
		case <-time.After(sourceReopen):
		}
	}
}

func (p *Processor) readSourceOnce(ctx context.Context, nc *nats.Conn, s Source) error {
	subscriber, err := emit.NewSubscriber(nc, emit.SubscriberOptions{
		Source: func(string) emit.Source {
			return emit.Source{Stream: s.Stream, Subject: s.Subject, Durable: s.Durable}
		},
		Patient: true,
		Logger:  p.logger,
	})
	if err != nil {
		return err
	}
	defer subscriber.Close()
	source := accept.Source{Subscriber: subscriber, Topic: s.Stream}
	return source.Run(ctx, p.gateway)
}
