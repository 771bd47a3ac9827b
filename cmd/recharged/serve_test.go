package main

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"recharged/cmd/recharged/api"
)

// TestServeNATS runs the daemon with tokens: who has one gets events in by NATS,
// who has none does not connect. The end of the context stops it cleanly.
func TestServeNATS(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	text, token := api.NewToken("gw", []api.Scope{api.Ingest}, time.Time{})
	command := serveCommand{DemoRate: 1000, Demo: true, settings: settings{
		Listen: "127.0.0.1:0", Data: t.TempDir(), NATSListen: address, Replicas: 1, Cache: 1 << 20,
		DiskReserve: 1, OutputAge: span(time.Hour), Tokens: tokens{token}, LogLevel: "info", LogFormat: "auto",
	}}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var stdout, stderr bytes.Buffer
	ended := make(chan error)
	go func() { ended <- command.Run(&session{ctx: ctx, stdout: &stdout, stderr: &stderr}) }()

	event := []byte(`{"specversion":"1.0","id":"1","source":"/test","type":"contact","subject":"213770123456","time":"` +
		time.Now().Format(time.RFC3339) + `","data":{"channel":"app"}}`)
	var reply *nats.Msg
	for begin := time.Now(); reply == nil; time.Sleep(20 * time.Millisecond) {
		if time.Since(begin) > time.Minute {
			t.Fatal("a minute without an answer")
		}
		nc, err := nats.Connect("nats://"+address, nats.Token(text))
		if err != nil {
			continue
		}
		reply, err = nc.Request("recharged.events", event, time.Second)
		nc.Close()
		if err == nil && strings.Contains(string(reply.Data), `"code":503`) {
			reply = nil // It still starts.
		}
	}
	if !strings.Contains(string(reply.Data), `"accepted":1`) {
		t.Errorf("reply: %s", reply.Data)
	}
	if nc, err := nats.Connect("nats://" + address); err == nil {
		nc.Close()
		t.Error("a client without a token is let in")
	}
	stop()
	if err := <-ended; err != nil {
		t.Errorf("%v\n%s", err, &stderr)
	}
	if !strings.Contains(stdout.String(), "demo      1000 synthetic events a second") {
		t.Errorf("announced: %s", &stdout)
	}
}

// TestServeWaitsForRoom starts where there is never room enough: the daemon says
// so at its door, shows its metrics, and still stops when it is told to.
func TestServeWaitsForRoom(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	command := serveCommand{DemoRate: 1, settings: settings{
		Listen: address, Data: t.TempDir(), NATSListen: "off", Replicas: 1, Cache: 1 << 20,
		DiskReserve: 1 << 60, OutputAge: span(time.Hour), LogLevel: "info", LogFormat: "auto",
	}}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ended := make(chan error)
	go func() { ended <- command.Run(&session{ctx: ctx, stdout: io.Discard, stderr: io.Discard}) }()
	get := func(path string) (int, string) {
		answer, err := http.Get("http://" + address + path)
		if err != nil {
			return 0, ""
		}
		defer answer.Body.Close()
		body, err := io.ReadAll(answer.Body)
		if err != nil {
			t.Fatal(err)
		}
		return answer.StatusCode, string(body)
	}
	status, body := 0, ""
	for begin := time.Now(); !strings.Contains(body, `"detail":"starting: disk full: `); time.Sleep(10 * time.Millisecond) {
		if time.Since(begin) > time.Minute {
			t.Fatalf("a minute without the reason: %s", body)
		}
		status, body = get("/readyz")
	}
	if status != http.StatusServiceUnavailable {
		t.Errorf("readyz: %d", status)
	}
	for path, want := range map[string]string{"/healthz": "alive", "/metrics": "go_goroutines", "/openapi.json": "openapi"} {
		if status, body := get(path); status != http.StatusOK || !strings.Contains(body, want) {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestUnknownVariables(t *testing.T) {
	var log bytes.Buffer
	warnUnknownVariables(slog.New(slog.NewTextHandler(&log, nil)),
		[]string{"RECHARGED_LISTEN=1", "RECHARGED_LISEN=secret", "RECHARGED_WHATEVER=secret", "HOME=/"},
		[]string{"RECHARGED_LISTEN", "RECHARGED_DATA"})
	got := log.String()
	if strings.Count(got, "\n") != 2 || !strings.Contains(got, "name=RECHARGED_LISEN meant=RECHARGED_LISTEN") ||
		!strings.Contains(got, "name=RECHARGED_WHATEVER\n") || strings.Contains(got, "secret") {
		t.Errorf("log: %s", got)
	}
}
