package main

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
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

func TestAnswerStarting(t *testing.T) {
	for path, want := range map[string]int{"/healthz": http.StatusOK, "/readyz": http.StatusServiceUnavailable, "/v1/events": http.StatusServiceUnavailable} {
		w := httptest.NewRecorder()
		answerStarting(w, httptest.NewRequest(http.MethodGet, path, nil))
		body, err := io.ReadAll(w.Result().Body)
		if err != nil || w.Code != want || want != http.StatusOK && w.Header().Get("Retry-After") == "" {
			t.Errorf("%s: %d %s", path, w.Code, body)
		}
	}
}
