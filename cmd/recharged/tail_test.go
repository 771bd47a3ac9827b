package main

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

// TestTailFollowsAgain follows a feed that breaks: what comes after is shown as
// well.
func TestTailFollowsAgain(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var connections atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := connections.Add(1)
		if got := r.URL.Query().Get("kinds"); got != "outcome" {
			t.Errorf("kinds=%s", got)
		}
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprintf(w, ": hello\n\nevent: outcome\nid: 0-1-o0\ndata: {\"event\":\"e%d\",\"type\":\"recharge\",\"msisdn\":\"213\"}\n\n", n)
		if n == 2 {
			cancel()
		}
	}))
	defer server.Close()
	var stdout, stderr bytes.Buffer
	command := tailCommand{serverFlags: serverFlags{Server: server.URL}, What: "outcomes"}
	if err := command.Run(&session{ctx: ctx, stdout: &stdout, stderr: &stderr, json: true}); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(stdout.String(), `"event":"e1"`) || !strings.Contains(stderr.String(), "following again") {
		t.Errorf("stdout %s\nstderr %s", &stdout, &stderr)
	}
}

func TestItemLines(t *testing.T) {
	tests := []struct{ kind, data, want string }{
		{"outcome", `{"type":"recharge","msisdn":"213","result":"applied","shortfall":"0.00","postings":[{"balance":"main","amount":"350.00","cause":"recharge"},{"balance":"bonus","amount":"350.00","cause":"double-300"}]}`,
			"213  recharge  main +350.00  bonus +350.00 (double-300)"},
		{"outcome", `{"type":"usage","msisdn":"213","result":"applied","shortfall":"2.50","postings":[{"balance":"main","amount":"-1.50","cause":"usage"}]}`,
			"213  usage  main -1.50  not covered 2.50"},
		{"outcome", `{"type":"usage","msisdn":"213","result":"parked","reason":"too_late"}`, "213  usage parked: too_late"},
		{"notification", `{"subject":"213","data":{"text":"Bonjour"}}`, "213  ✉ Bonjour"},
		{"alert", `{"data":{"name":"velocity","severity":"warning","summary":"six"}}`, "WARNING  ! velocity: six"},
		{"missed", `{"items":3}`, `missed  {"items":3}`},
		{"outcome", `nonsense`, "outcome  nonsense"},
	}
	for _, test := range tests {
		if got := itemLine(test.kind, test.data); !strings.HasSuffix(got, "  "+test.want) {
			t.Errorf("%s %s: %q, want …%q", test.kind, test.data, got, test.want)
		}
	}
}
