// Package clients tests that clients in other languages, written with the public
// libraries of CloudEvents and NATS, are content with what they meet here.
//
// It needs Node.js and the packages of package-lock.json, which
// npm ci --ignore-scripts installs beside it.
package clients

import (
	"bufio"
	"bytes"
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"recharged/bench/workload"
)

// TestJavaScript runs client.mjs against the real binary.
func TestJavaScript(t *testing.T) {
	node, err := exec.LookPath("node")
	if err != nil {
		t.Fatalf("Node.js 20 or newer is needed: %v", err)
	}
	if _, err := os.Stat("node_modules"); err != nil {
		t.Fatalf("the client's packages are missing, run npm ci --ignore-scripts in bench/clients: %v", err)
	}
	binary, err := workload.Build(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	server, err := workload.NewServer(binary, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := server.AwaitReady(ctx); err != nil {
		t.Fatal(err)
	}
	output, err := exec.CommandContext(ctx, node, "client.mjs", "http://"+server.HTTP, "nats://"+server.NATS).CombinedOutput()
	ended := false
	for lines := bufio.NewScanner(bytes.NewReader(output)); lines.Scan(); {
		ended = ended || strings.HasPrefix(lines.Text(), "1..")
		t.Log(lines.Text())
	}
	if err != nil || !ended {
		t.Fatalf("the client failed: %v\n%s", err, server.Tail())
	}
}
