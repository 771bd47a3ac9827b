package stream

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"recharged/state/charge"
	"recharged/stream/accept"
	"recharged/stream/emit"
	"recharged/stream/journal"
)

// openDoor lets events in.
func (p *Processor) openDoor(ctx context.Context) error {
	logs := make([]accept.Log, len(p.owners))
	names := make([]string, len(p.owners))
	for i, o := range p.owners {
		logs[i], names[i] = countedLog{o}, o.events.Name()
	}
	p.gateway = accept.New(accept.Options{
		Logs:        logs,
		StreamNames: names,
		Catalog:     p.catalog,
		Node:        p.node,
		Ready:       p.Accepting,
		Halted:      p.closed,
		Observe: accept.Observer{
			Rejected: func(eventType string, _ charge.RejectReason) {
				p.metrics.events.WithLabelValues(eventType, resultRejected).Inc()
			},
			Frame:   func(_, _ int, took time.Duration) { p.metrics.stage("accept", took) },
			Dropped: func(messages int) { p.metrics.dropped.Add(float64(messages)) },
		},
		Logger: p.logger,
	})
	var err error
	p.byNATS, err = accept.ServeNATS(ctx, p.public, p.gateway)
	return err
}

// countedLog is a partition's event log as the door sees it: it counts what was
// accepted.
type countedLog struct{ *owner }

// Append appends a frame of events.
func (l countedLog) Append(ctx context.Context, frame []byte, id string) (charge.Sequence, error) {
	sequence, err := l.events.Append(ctx, frame, id)
	if err == nil {
		l.standing.accepted.Add(uint64(journal.EventsIn(frame)))
	}
	return sequence, err
}

// Gateway is where events enter, for ways in that others serve.
func (p *Processor) Gateway() *accept.Gateway { return p.gateway }

func (p *Processor) catalog() *charge.Catalog {
	book, _ := p.Book()
	return book.Catalog()
}

// startEmitter runs the ways out.
func (p *Processor) startEmitter(ctx context.Context) error {
	var err error
	p.emitter, err = emit.New(ctx, emit.Options{
		Core:       p.core,
		Public:     p.public,
		Partitions: len(p.owners),
		Streams:    func(id charge.Partition) string { return p.owners[id].commits.Name() },
		EventLogs:  func(id charge.Partition) *journal.Log { return p.owners[id].events },
		Outcomes:   p.opts.Outcomes,
		Replicas:   p.opts.Replicas,
		MaxAge:     p.opts.OutputAge,
		Observe: emit.Observer{
			Took: func(_ emit.Sink, took time.Duration) { p.metrics.stage("emit", took) },
			SinkError: func(s emit.Sink, id charge.Partition, err error) {
				p.logger.Warn("output not published, it is tried again", "sink", s, "partition", id, "reason", err)
			},
			Notification: func(channel, result string) {
				p.metrics.notification(channel, result, 1)
			},
			Alert: func(name, severity string) {
				p.metrics.alerts.WithLabelValues(p.metrics.rules.of(name), severity).Inc()
			},
			Durable: p.metrics.durable,
		},
		Logger: p.logger,
	})
	if err != nil {
		return err
	}
	p.running.Go(func() {
		if err := p.emitter.Run(context.WithoutCancel(ctx)); err != nil {
			p.mute.Store(true)
			p.logger.Error("the ways out have ended, nothing is published any more; restart the program", "reason", err)
		}
	})
	return nil
}

// NATSAddr returns where clients reach the embedded server; "" if they cannot.
func (p *Processor) NATSAddr() string {
	if p.server == nil {
		return ""
	}
	return p.server.Addr()
}

// Live is the feed of what is being committed, for whoever wants to look on.
func (p *Processor) Live() *emit.Feed { return p.feed }

// show passes a commit on to those who look on.
func (p *Processor) show(c *journal.Commit, sequence charge.Sequence) {
	if p.feed.Wanted(emit.KindOutcome) {
		for i := range c.Outcomes {
			o := &c.Outcomes[i]
			p.feed.Publish(emit.Item{
				Kind: emit.KindOutcome, ID: emit.OutcomeID(c.Partition, sequence, i), MSISDN: o.MSISDN,
				Data: charge.AppendOutcomeJSON(nil, o),
			})
		}
	}
	if p.feed.Wanted(emit.KindNotification) {
		for i := range c.Notifications {
			n := &c.Notifications[i]
			id := emit.NotificationID(c.Partition, sequence, i)
			p.feed.Publish(emit.Item{
				Kind: emit.KindNotification, ID: id, MSISDN: n.MSISDN,
				Data: charge.AppendNotificationEvent(nil, id, n),
			})
		}
	}
	if p.feed.Wanted(emit.KindAlert) {
		for i := range c.Alerts {
			id := emit.AlertID(c.Partition, sequence, i)
			p.feed.Publish(emit.Item{
				Kind: emit.KindAlert, ID: id,
				Data: charge.AppendAlertEvent(nil, id, &c.Alerts[i]),
			})
		}
	}
}

// AlertEntry is an alert that was raised, as it was published.
type AlertEntry struct {
	Ref   string // what it is paged by
	Event []byte // the CloudEvent
}

// Alerts returns up to limit alerts, the newest first, from before the one of
// that ref (empty: from the newest on). They come from the output stream, so
// they are there after a restart and for as long as that stream keeps them.
func (p *Processor) Alerts(ctx context.Context, before string, limit int) ([]AlertEntry, error) {
	js, err := jetstream.New(p.public)
	if err != nil {
		return nil, err
	}
	stream, err := js.Stream(ctx, emit.AlertStream)
	if err != nil {
		return nil, fmt.Errorf("read alerts: %w", err)
	}
	state := stream.CachedInfo().State
	next := state.LastSeq
	if before != "" {
		ref, err := strconv.ParseUint(before, 10, 64)
		if err != nil || ref == 0 {
			return nil, fmt.Errorf("%q: %w", before, ErrRef)
		}
		next = min(next, ref-1)
	}
	var alerts []AlertEntry
	for ; next >= state.FirstSeq && next > 0 && len(alerts) < limit; next-- {
		message, err := stream.GetMsg(ctx, next)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read alert %d: %w", next, err)
		}
		alerts = append(alerts, AlertEntry{strconv.FormatUint(next, 10), message.Data})
	}
	return alerts, nil
}

// connectExternal connects to the NATS server or cluster that was given.
func connectExternal(address, credentials string, options ...nats.Option) (*nats.Conn, error) {
	if credentials != "" {
		options = append(options, nats.UserCredentials(credentials))
	}
	nc, err := nats.Connect(address, options...)
	if err != nil {
		return nil, fmt.Errorf("connect to NATS at %s: %w", redacted(address), err)
	}
	return nc, nil
}

// redacted hides the password in an address; in what is no address, everything.
func redacted(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return "the configured address"
	}
	return u.Redacted()
}
