package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"github.com/rogpeppe/go-internal/testscript"

	"recharged/cmd/recharged/api"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"recharged": main})
}

// TestScripts runs the command as its users do. Each script has two free ports
// and the commands below.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			for _, name := range []string{"HTTP", "NATS"} {
				listener, err := net.Listen("tcp", "127.0.0.1:0")
				if err != nil {
					return err
				}
				env.Setenv(name, listener.Addr().String())
				if err := listener.Close(); err != nil {
					return err
				}
			}
			env.Setenv("RECHARGED_SERVER", "http://"+env.Getenv("HTTP"))
			env.Setenv("TZ", "UTC")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"events": makeEvents, "poll": poll,
		},
	})
}

// makeEvents writes recharges: events FILE MSISDN AMOUNT…
func makeEvents(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) < 3 {
		ts.Fatalf("usage: events FILE MSISDN AMOUNT…")
	}
	var b strings.Builder
	for i, amount := range args[2:] {
		fmt.Fprintf(&b, `{"specversion":"1.0","id":"r%d","source":"/test","type":"recharge","subject":%q,"time":%q,"data":{"amount":%s}}`+"\n",
			i, args[1], time.Now().UTC().Format(time.RFC3339), amount)
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(b.String()), 0o600))
}

// poll runs a command until it succeeds; a minute is failure.
func poll(ts *testscript.TestScript, _ bool, args []string) {
	for begin := time.Now(); ts.Exec(args[0], args[1:]...) != nil; time.Sleep(10 * time.Millisecond) {
		if time.Since(begin) > time.Minute {
			ts.Fatalf("a minute of %s", strings.Join(args, " "))
		}
	}
}

// runWith runs a command line in this process.
func runWith(stdin string, args ...string) (code int, stdout, stderr string) {
	var out, err bytes.Buffer
	code = run(args, strings.NewReader(stdin), &out, &err)
	return code, out.String(), err.String()
}

func TestExitCodes(t *testing.T) {
	const nobody = "--server=http://127.0.0.1:1"
	tests := []struct {
		args string
		code int
		says string
	}{
		{"version", exitOK, "recharged dev"},
		{"--version", exitOK, "recharged dev"},
		{"--help", exitOK, "Usage: recharged <command>"},
		{"", exitUsage, "expected one of"},
		{"custome", exitUsage, `unknown command "custome", did you mean "customer"`},
		{"exchange 213770123456", exitUsage, `unknown command "exchange" (see recharged --help)`},
		{"token ne x", exitUsage, `unknown command "ne"`},
		{"version x", exitUsage, "unexpected argument x"},
		{"customer", exitUsage, "<msisdn>"},
		{"customer 213770123456 --server=ftp://x", exitUsage, "is no URL"},
		{"customer 213770123456 " + nobody, exitUnreachable, "recharged serve"},
		{"load /does/not/exist", exitUsage, "no such file"},
		{"load --parallel=0 -", exitUsage, "--parallel"},
		{"load --retry-for=0s - " + nobody, exitUnreachable, "gave up"},
		{"tail " + nobody, exitUnreachable, "does not answer"},
		{"check /does/not/exist", exitUsage, "no such file"},
		{"token new UPPER", exitUsage, "lower-case"},
		{"token new x --scopes=all", exitUsage, "scopes are ingest, read, rules, operate"},
		{"serve --listen=0.0.0.0:0", exitUsage, "no TLS and no tokens"},
		{"serve --nats-listen=0.0.0.0:0", exitUsage, "nats.listen"},
		{"serve --listen=foo", exitUsage, `listen: "foo" is no host:port`},
		{"serve --listen=127.0.0.1:", exitUsage, "is no host:port"},
		{"serve --listen=127.0.0.1:70000", exitUsage, "70000 is no port from 0 to 65535"},
		{"serve --nats-listen=foo", exitUsage, `nats.listen: "foo" is no host:port`},
		{"serve --replicas=3", exitUsage, "replicas"},
		{"serve --cache=lots", exitUsage, "size such as"},
		{"serve --demo --demo-rate=0", exitUsage, "--demo-rate"},
		{"serve --tls-cert=/x", exitUsage, "go together"},
		{"serve --config=/does/not/exist", exitUsage, "no such file"},
	}
	for _, test := range tests {
		code, stdout, stderr := runWith("{}\n", strings.Fields(test.args)...)
		if code != test.code || !strings.Contains(stdout+stderr, test.says) {
			t.Errorf("recharged %s: exit %d, want %d saying %q\n%s%s", test.args, code, test.code, test.says, stdout, stderr)
		}
	}
}

func TestEveryCommandHasAnExample(t *testing.T) {
	for _, command := range []string{
		"serve", "load", "check", "publish", "rulebook show", "rulebook history", "rulebook diff", "customer",
		"timeline", "tail", "parked list", "parked retry", "parked discard", "config", "token new", "version",
		"", "rulebook", "parked", "token",
	} {
		firstWord, _, _ := strings.Cut(command, " ")
		code, stdout, stderr := runWith("", append(strings.Fields(command), "--help")...)
		if code != exitOK || !strings.Contains(stdout, strings.TrimRight("Example:\n\n    recharged "+firstWord, " ")) &&
			!strings.Contains(stdout, "| recharged") {
			t.Errorf("recharged %s --help: exit %d\n%s%s", command, code, stdout, stderr)
		}
	}
}

// TestVariablesOfTheEnvironment looks for settings of the daemon and of the
// client commands among those that are known.
func TestVariablesOfTheEnvironment(t *testing.T) {
	parser, err := kong.New(&commands{}, kong.Vars{"version": "x"})
	if err != nil {
		t.Fatal(err)
	}
	known := variablesOf(parser.Model.Node)
	for _, name := range []string{"RECHARGED_LISTEN", "RECHARGED_CONFIG", "RECHARGED_TOKEN", "RECHARGED_OUTPUT"} {
		if !slices.Contains(known, name) {
			t.Errorf("%s is not known", name)
		}
	}
}

// TestTLSFaultsAreNamed talks to servers that answer, but not as they should:
// the message says what is wrong instead of looking for a server that is away.
func TestTLSFaultsAreNamed(t *testing.T) {
	silent := log.New(io.Discard, "", 0)
	secure := httptest.NewUnstartedServer(http.NotFoundHandler())
	secure.Config.ErrorLog = silent
	secure.StartTLS()
	defer secure.Close()
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	for server, want := range map[string]string{
		secure.URL: "certificate is not trusted",
		strings.Replace(plain.URL, "http:", "https:", 1):  "speaks plain HTTP",
		strings.Replace(secure.URL, "https:", "http:", 1): "http or https",
	} {
		for _, command := range []string{"parked", "load -"} {
			code, _, stderr := runWith("{}\n", append(strings.Fields(command), "--server="+server)...)
			if code == exitOK || !strings.Contains(stderr, want) || strings.Contains(stderr, "running there") {
				t.Errorf("%s of %s: exit %d, %s; want %q", command, server, code, stderr, want)
			}
		}
	}
}

func TestConfigPrecedence(t *testing.T) {
	file := t.TempDir() + "/c.yaml"
	text := "listen: 127.0.0.1:1\ndata: from-file\ncache: 1GiB\nnats: {listen: off}\noutcomes: true\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("RECHARGED_LISTEN", "127.0.0.1:2")
	t.Setenv("RECHARGED_CACHE", "64MiB")
	t.Setenv("RECHARGED_CONFIG", file)
	code, stdout, stderr := runWith("", "config", "--output=json", "--listen=127.0.0.1:3")
	if code != exitOK {
		t.Fatalf("exit %d: %s", code, stderr)
	}
	var got map[string]any
	if err := json.Unmarshal([]byte(stdout), &got); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]any{
		"listen": "127.0.0.1:3", "cache": "64MiB", "data": "from-file", "nats.listen": "off", "outcomes": true,
		"output_age": "30d", "disk_reserve": "auto", "partitions": 0.0, "insecure": false,
	} {
		if got[key] != want {
			t.Errorf("%s is %v, want %v", key, got[key], want)
		}
	}
}

func TestConfigRoundTrip(t *testing.T) {
	_, token := api.NewToken("gw", []api.Scope{api.Ingest, api.Read}, time.Date(2027, 1, 31, 0, 0, 0, 0, time.UTC))
	_, printed, _ := runWith("", "config", "--cache=3MB", "--output-age=36h", "--nats-listen=off", "--rulebook=a folder",
		"--auth-tokens=["+tokenLine(&token)+"]", "--log-level=debug", "--outcomes", `--sources=[{url: "nats://x:4222", stream: GW, durable: mine}]`)
	file := t.TempDir() + "/c.yaml"
	if err := os.WriteFile(file, []byte(printed), 0o600); err != nil {
		t.Fatal(err)
	}
	code, again, stderr := runWith("", "config", "--config="+file)
	if code != exitOK || again != printed {
		t.Errorf("exit %d, printed again:\n%s%s\nwant:\n%s", code, again, stderr, printed)
	}
	for _, line := range []string{"cache: 3000000", "output_age: 36h", `  listen: "off"`, "    - {name: gw, hash: \"sha256:", `rulebook: "a folder"`, `  - {url: "nats://x:4222", stream: "GW", durable: "mine"}`, "outcomes: true"} {
		if !strings.Contains(printed, line) {
			t.Errorf("the configuration lacks %q:\n%s", line, printed)
		}
	}
}

func TestConfigFaults(t *testing.T) {
	tests := []struct{ text, want string }{
		{"lisen: x", `c.yaml:1:1: unknown key "lisen"; did you mean "listen"?`},
		{"nats:\n  listn: x", `c.yaml:2:3: unknown key "nats.listn"; did you mean "nats.listen"?`},
		{"outputs: {a: b}", `c.yaml:1:1: unknown key "outputs"`},
		{"cache: much", `c.yaml:1:8: cache: "much" is not a size`},
		{"nats: 5", "c.yaml:1:7: nats has keys of its own"},
		{"listen: {a: b}", "c.yaml:1:"},
		{"listen: [", "c.yaml:1:"},
		{"listen: a\nlisten: b", "c.yaml:2:1"},
		{"log: {level: loud}", "--log-level"},
		{"auth: {tokens: [{name: A, hash: x, scopes: [read]}]}", `"A" is no name`},
		{"auth: {tokens: [{name: a, hash: x, scopes: [read]}]}", "a hash is sha256:"},
		{"auth: {tokens: [{nam: a}]}", "not a list of {name, hash, scopes, expires}"},
		{"sources: [{url: x}]", "source 1 needs a url and a stream"},
		{"sources: [{uri: x}]", "not a list of {url, stream,"},
		{"partitions: many", "c.yaml:1:13: partitions"},
	}
	for _, test := range tests {
		file := t.TempDir() + "/c.yaml"
		if err := os.WriteFile(file, []byte(test.text), 0o600); err != nil {
			t.Fatal(err)
		}
		code, _, stderr := runWith("", "config", "--config="+file)
		if code != exitUsage || !strings.Contains(stderr, test.want) {
			t.Errorf("%q: exit %d, says %q; want %q", test.text, code, stderr, test.want)
		}
	}
}

func TestExposedDoors(t *testing.T) {
	_, token := api.NewToken("gw", []api.Scope{api.Ingest}, time.Time{})
	tests := []struct {
		name   string
		s      settings
		refuse bool
	}{
		{"loopback", settings{Listen: "127.0.0.1:1", NATSListen: "localhost:1"}, false},
		{"loopback of IPv6", settings{Listen: "[::1]:1", NATSListen: "off"}, false},
		{"everywhere", settings{Listen: ":1", NATSListen: "off"}, true},
		{"NATS everywhere", settings{Listen: "127.0.0.1:1", NATSListen: "0.0.0.0:1"}, true},
		{"external NATS", settings{Listen: "127.0.0.1:1", NATSListen: "0.0.0.0:1", NATSURL: "nats://x"}, false},
		{"TLS alone", settings{Listen: ":1", NATSListen: "off", TLSCert: "x"}, true},
		{"tokens alone", settings{Listen: ":1", NATSListen: "off", Tokens: tokens{token}}, true},
		{"both", settings{Listen: ":1", NATSListen: ":2", TLSCert: "x", Tokens: tokens{token}}, false},
		{"insecure", settings{Listen: ":1", NATSListen: ":2", Insecure: true}, false},
	}
	for _, test := range tests {
		if err := test.s.checkExposed(); (err != nil) != test.refuse {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

func TestAuthorizeNATS(t *testing.T) {
	gateway, ingest := api.NewToken("gw", []api.Scope{api.Ingest}, time.Time{})
	reader, read := api.NewToken("sms", []api.Scope{api.Read}, time.Time{})
	operator, operate := api.NewToken("op", []api.Scope{api.Operate}, time.Time{})
	s := settings{Tokens: tokens{ingest, read, operate}}
	authorize := s.authorizeNATS()
	for _, test := range []struct {
		user, password, token string
		ingest, read, allowed bool
	}{
		{"", "", gateway, true, false, true},
		{"anybody", reader, "", false, true, true},
		{gateway, "", "", true, false, true},
		{"", "", operator, false, false, false},
		{"", "", "", false, false, false},
		{"gw", "gw", "gw", false, false, false},
	} {
		access, allowed := authorize(test.user, test.password, test.token)
		if access.Ingest != test.ingest || access.Read != test.read || allowed != test.allowed {
			t.Errorf("%+v: %+v, %t", test, access, allowed)
		}
	}
	if (&settings{}).authorizeNATS() != nil {
		t.Error("without tokens somebody is asked for one")
	}
}
