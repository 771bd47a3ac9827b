package stream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// deployedNATS runs a server with the configuration that we ship.
func deployedNATS(t *testing.T) *server.Server {
	t.Helper()
	for _, name := range []string{"NATS_PASSWORD", "PRODUCER_PASSWORD", "CONSUMER_PASSWORD"} {
		t.Setenv(name, "secret")
	}
	opts, err := server.ProcessConfigFile("../deploy/nats.conf")
	if err != nil {
		t.Fatal(err)
	}
	if !opts.SyncAlways {
		t.Error("the configuration does not sync always")
	}
	opts.Port, opts.StoreDir, opts.NoSigs, opts.NoLog = server.RANDOM_PORT, t.TempDir(), true, true
	return runNATS(t, opts)
}

// The processor runs on the server that deploy/nats.conf describes; producers
// and consumers do their work there and reach nothing else.
func TestTheNATSConfigurationThatIsShipped(t *testing.T) {
	ns := deployedNATS(t)
	as := func(user string) string {
		u, err := url.Parse(ns.ClientURL())
		if err != nil {
			t.Fatal(err)
		}
		u.User = url.UserPassword(user, "secret")
		return u.String()
	}
	dial := func(user string) (*nats.Conn, jetstream.JetStream) {
		nc, err := nats.Connect(as(user), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(nc.Close)
		js, err := jetstream.New(nc, jetstream.WithDefaultTimeout(500*time.Millisecond))
		if err != nil {
			t.Fatal(err)
		}
		return nc, js
	}
	p := startProcessor(t, t.TempDir(), func(o *Options) {
		o.NATSURL, o.NATSPublicURL = as("core"), as("public")
	})
	producer, producing := dial("producer")
	spied, err := producer.SubscribeSync("_INBOX.>")
	if err != nil {
		t.Fatal(err)
	}
	if err := producer.Flush(); err != nil {
		t.Fatal(err)
	}
	if _, err := producing.Publish(t.Context(), "recharged.events", []byte(rechargeJSON("a", 1, "350"))); err != nil {
		t.Fatalf("a producer publishes: %v", err)
	}
	settled(t, p)
	if got := total(t, p, 1, "bonus"); got != 35000 {
		t.Errorf("bonus %d", got)
	}
	_, consuming := dial("consumer")
	consumer, err := consuming.OrderedConsumer(t.Context(), "recharged_notifications", jetstream.OrderedConsumerConfig{})
	if err != nil {
		t.Fatalf("a consumer consumes: %v", err)
	}
	if _, err := consumer.Next(jetstream.FetchMaxWait(10 * time.Second)); err != nil {
		t.Errorf("a consumer gets the notification: %v", err)
	}
	for name, do := range map[string]func(js jetstream.JetStream) error{
		"publish into a log":     func(js jetstream.JetStream) error { return publishTo(js, "recharged.in.0") },
		"publish an output":      func(js jetstream.JetStream) error { return publishTo(js, "recharged.notifications.sms") },
		"purge an output":        func(js jetstream.JetStream) error { return request(js, "$JS.API.STREAM.PURGE.recharged_notifications") },
		"delete an output":       func(js jetstream.JetStream) error { return js.DeleteStream(t.Context(), "recharged_notifications") },
		"see a log":              func(js jetstream.JetStream) error { _, err := js.Stream(t.Context(), "recharged_in_0"); return err },
		"create a stream on all": func(js jetstream.JetStream) error { return createAll(js) },
	} {
		for user, js := range map[string]jetstream.JetStream{"producer": producing, "consumer": consuming} {
			if err := do(js); err == nil {
				t.Errorf("the %s may %s", user, name)
			}
		}
	}
	for {
		message, err := spied.NextMsg(100 * time.Millisecond)
		if err != nil {
			break
		}
		if bytes.Contains(message.Data, []byte("recharged.notification")) {
			t.Errorf("the producer hears what the consumer gets: %s", message.Data)
		}
	}
}

func publishTo(js jetstream.JetStream, subject string) error {
	_, err := js.Publish(context.Background(), subject, []byte("x"))
	return err
}

func request(js jetstream.JetStream, subject string) error {
	_, err := js.Conn().Request(subject, nil, 500*time.Millisecond)
	return err
}

func createAll(js jetstream.JetStream) error {
	_, err := js.CreateStream(context.Background(), jetstream.StreamConfig{Name: "ALL", Subjects: []string{"recharged.>"}})
	if err != nil {
		return fmt.Errorf("create: %w", errors.Unwrap(err))
	}
	return nil
}
