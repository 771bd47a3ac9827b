package api

import (
	"bufio"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/prometheus/client_golang/prometheus"

	"recharged/stream"
)

// openAPI is what the tests read of the document.
type openAPI struct {
	OpenAPI string `json:"openapi"`
	Paths   map[string]map[string]struct {
		Security    []map[string][]string      `json:"security"`
		Responses   map[string]json.RawMessage `json:"responses"`
		RequestBody struct {
			Content map[string]json.RawMessage `json:"content"`
		} `json:"requestBody"`
	} `json:"paths"`
}

func TestOpenAPIDocument(t *testing.T) {
	d := openDoor(t, nil)
	var doc openAPI
	d.do("GET", "/openapi.json", "").want(t, http.StatusOK).decode(t, &doc)
	if !strings.HasPrefix(doc.OpenAPI, "3.1") {
		t.Errorf("version %q", doc.OpenAPI)
	}
	for _, call := range []string{
		"post /v1/events", "get /v1/customers/{msisdn}", "get /v1/customers/{msisdn}/timeline",
		"get /v1/rulebook", "put /v1/rulebook", "post /v1/rulebook/check", "get /v1/rulebook/versions",
		"get /v1/rulebook/versions/{version}", "get /v1/parked", "post /v1/parked/{id}/retry", "delete /v1/parked/{id}",
		"get /v1/alerts", "get /v1/live", "get /v1/status", "get /healthz", "get /readyz", "get /metrics",
	} {
		method, path, _ := strings.Cut(call, " ")
		if op, given := doc.Paths[path][method]; !given || len(op.Responses) == 0 {
			t.Errorf("the document lacks %s, or its responses", call)
		}
	}
	for path, operations := range doc.Paths {
		for method, op := range operations {
			_, unauthorized := op.Responses["401"]
			_, forbidden := op.Responses["403"]
			if guarded := len(op.Security[0]) > 0; unauthorized != guarded || forbidden != guarded {
				t.Errorf("%s %s: guarded %t, described 401 %t and 403 %t", method, path, guarded, unauthorized, forbidden)
			}
		}
	}
	for call, statuses := range map[string]string{
		"post /v1/events": "202 400 408 413 415 422 429 503", "put /v1/rulebook": "200 400 408 409 412 413 415 422 503",
		"get /v1/customers/{msisdn}": "200 404 422 503", "get /readyz": "200 503", "get /v1/status": "200 503",
	} {
		method, path, _ := strings.Cut(call, " ")
		for status := range strings.FieldsSeq(statuses) {
			if _, given := doc.Paths[path][method].Responses[status]; !given {
				t.Errorf("%s does not describe %s", call, status)
			}
		}
	}
	for _, name := range []string{typeYAML, typeJSON, "text/yaml", "application/x-yaml"} {
		if _, given := doc.Paths["/v1/rulebook"]["put"].RequestBody.Content[name]; !given {
			t.Errorf("PUT /v1/rulebook does not describe %s", name)
		}
	}
	if metrics := string(doc.Paths["/metrics"]["get"].Responses["200"]); !strings.Contains(metrics, "application/vnd.google.protobuf") {
		t.Errorf("GET /metrics: %s", metrics)
	}
}

// TestWhileStarting asks everything of an API that has no processor yet: what
// needs none answers, the rest says why it does not, and only to who may ask.
func TestWhileStarting(t *testing.T) {
	registry := prometheus.NewRegistry()
	registry.MustRegister(prometheus.NewCounter(prometheus.CounterOpts{Name: "early_total"}))
	text, reader := NewToken("care", []Scope{Read}, time.Time{})
	for _, tokens := range []Keyring{nil, {reader}} {
		a, err := New(Options{Registry: registry, Logger: slog.New(slog.DiscardHandler), Tokens: tokens})
		if err != nil {
			t.Fatal(err)
		}
		ask := func(method, path, authorization string) *httptest.ResponseRecorder {
			r := httptest.NewRequest(method, path, strings.NewReader("{}"))
			r.Header.Set("Authorization", authorization)
			w := httptest.NewRecorder()
			a.ServeHTTP(w, r)
			return w
		}
		a.Starting(errors.New("disk full"))
		for path, want := range map[string]string{
			"/healthz": "alive", "/openapi.json": `"openapi":"3.1`, "/metrics": "early_total 0",
		} {
			if w := ask("GET", path, "Bearer "+text); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), want) {
				t.Errorf("GET %s: %d %s", path, w.Code, w.Body)
			}
		}
		for path, item := range a.huma.OpenAPI().Paths {
			for method, op := range map[string]*huma.Operation{"GET": item.Get, "PUT": item.Put, "POST": item.Post, "DELETE": item.Delete} {
				if op == nil || op.Metadata[alwaysKey] != nil {
					continue
				}
				w := ask(method, strings.NewReplacer("{", "", "}", "").Replace(path), "Bearer "+text)
				refused := w.Code == http.StatusServiceUnavailable && w.Header().Get("Retry-After") == "1" &&
					w.Header().Get("Content-Type") == problemType && strings.Contains(w.Body.String(), `"detail":"starting: disk full"`)
				if forbidden := w.Code == http.StatusForbidden && tokens != nil; !refused && !forbidden {
					t.Errorf("%s %s: %d %s", method, path, w.Code, w.Body)
				}
			}
		}
		if w := ask("GET", "/v1/status", ""); tokens != nil && w.Code != http.StatusUnauthorized {
			t.Errorf("without a token: %d %s", w.Code, w.Body)
		}
		a.Starting(nil)
		if w := ask("GET", "/readyz", ""); w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), `"detail":"starting"`) {
			t.Errorf("once there is room: %d %s", w.Code, w.Body)
		}
	}
}

func TestReadyNamesHaltedPartitions(t *testing.T) {
	status := stream.Status{Partitions: []stream.PartitionStatus{{ID: 0, State: stream.Halted}, {ID: 1, State: stream.Running}, {ID: 2, State: stream.Halted}}}
	var out readyOutput
	out.Body.Status, out.Body.Halted = "ready", haltedOf(status)
	if body, err := json.Marshal(out.Body); err != nil || string(body) != `{"status":"ready","halted":[0,2]}` {
		t.Errorf("%s, %v", body, err)
	}
}

// TestScopes calls every operation of the document with every token: who lacks
// the scope that the document names gets nothing.
func TestScopes(t *testing.T) {
	texts := map[Scope]string{}
	var keys Keyring
	for _, scope := range Scopes() {
		text, token := NewToken(string(scope), []Scope{scope}, time.Time{})
		texts[scope] = text
		keys = append(keys, token)
	}
	old, expired := NewToken("old", Scopes(), time.Now().Add(-time.Second))
	d := openDoor(t, func(o *Options) { o.Tokens = append(keys, expired) })
	var doc openAPI
	d.do("GET", "/openapi.json", "").want(t, http.StatusOK).decode(t, &doc)
	parameter := regexp.MustCompile(`\{[a-z]+\}`)
	for path, operations := range doc.Paths {
		for method, op := range operations {
			if path == "/v1/live" {
				continue // It does not end; TestLive follows it.
			}
			name := strings.ToUpper(method) + " " + path
			target := parameter.ReplaceAllString(path, "1")
			var needed []string
			for _, alternative := range op.Security {
				needed = append(needed, alternative["bearer"]...)
			}
			if len(needed) == 0 {
				if path != "/healthz" && path != "/readyz" && path != "/openapi.json" && path != "/v1/rulebook/schema" {
					t.Errorf("%s is open", name)
				}
				continue
			}
			d.do(strings.ToUpper(method), target, "").want(t, http.StatusUnauthorized)
			for _, wrong := range []string{"rch_nobody_x", old, ""} {
				got := d.do(strings.ToUpper(method), target, "", "Authorization", "Bearer "+wrong)
				if got.status != http.StatusUnauthorized || got.header.Get("WWW-Authenticate") == "" {
					t.Errorf("%s with token %q: %d", name, wrong, got.status)
				}
			}
			for scope, text := range texts {
				got := d.do(strings.ToUpper(method), target, "", "Authorization", "Bearer "+text)
				if allowed := got.status != http.StatusForbidden && got.status != http.StatusUnauthorized; allowed != slices.Contains(needed, string(scope)) {
					t.Errorf("%s with scope %s: %d", name, scope, got.status)
				}
			}
		}
	}
	d.do("PUT", "/v1/rulebook", testBook, "Content-Type", typeYAML, "X-Author", "somebody else", "Authorization", "Bearer "+texts[Rules]).want(t, http.StatusOK)
	d.do("GET", "/v1/rulebook/versions", "", "Authorization", "Bearer "+texts[Read]).want(t, http.StatusOK).contains(t, `"author":"rules"`)
	for _, path := range []string{"/v1/rulebook", "/v1/rulebook/versions", "/v1/rulebook/versions/1"} {
		d.do("GET", path, "", "Authorization", "Bearer "+texts[Rules]).want(t, http.StatusOK)
	}
	d.do("POST", "/v1/rulebook/check", testBook, "Authorization", "Bearer "+texts[Ingest]).want(t, http.StatusForbidden).contains(t, "lacks the scope read or rules")
}

func TestDoorsOfBrowsers(t *testing.T) {
	d := openDoor(t, func(o *Options) { o.LocalOnly = true })
	d.do("PUT", "/v1/rulebook", testBook, "Content-Type", "text/plain", "Origin", "https://elsewhere.example").want(t, http.StatusForbidden)
	d.do("POST", "/v1/events", "{}", "Content-Type", "text/plain", "Sec-Fetch-Site", "cross-site").want(t, http.StatusForbidden)
	d.do("GET", "/v1/status", "", "Host", "rebound.example").want(t, http.StatusForbidden)
	d.do("GET", "/v1/status", "", "Host", "localhost:1234").want(t, http.StatusOK)
	d.do("GET", "/v1/status", "", "Host", "[::1]:80").want(t, http.StatusOK)
	d.do("GET", "/v1/nothing", "").want(t, http.StatusNotFound)
	got := d.do("DELETE", "/v1/rulebook", "").want(t, http.StatusMethodNotAllowed)
	if got.header.Get("Allow") != "GET, PUT" {
		t.Errorf("Allow: %s", got.header.Get("Allow"))
	}
	d.do("GET", "/healthz", "").want(t, http.StatusOK)
	d.do("GET", "/readyz", "").want(t, http.StatusOK)
}

// TestNoMSISDNInLogsAndMetrics sends a customer through every door that can
// go wrong, and looks for the number where it must not be.
func TestNoMSISDNInLogsAndMetrics(t *testing.T) {
	d := openDoor(t, nil)
	d.send("r", "recharge", `{"amount":350}`)
	d.send("r", "recharge", `{"amount":351}`) // conflict: parked
	d.do("POST", "/v1/events", event(msisdn, msisdn, `{}`), "Content-Type", "application/json").want(t, http.StatusUnprocessableEntity)
	d.do("GET", "/v1/customers/"+msisdn, "").want(t, http.StatusOK)
	d.do("GET", "/v1/customers/%2B"+msisdn+"/timeline", "").want(t, http.StatusOK)
	d.do("GET", "/v1/customers/"+msisdn+"/nothing?msisdn="+msisdn, "").want(t, http.StatusNotFound)
	d.do("GET", "/v1/parked/"+msisdn, "").want(t, http.StatusMethodNotAllowed)
	metrics := d.do("GET", "/metrics", "").want(t, http.StatusOK)
	metrics.contains(t, `recharged_events_total{result="applied",type="recharge"} 1`)
	d.stop()
	for name, text := range map[string]string{"metrics": metrics.body, "log": d.log.String()} {
		if strings.Contains(text, msisdn) {
			t.Errorf("the %s shows the number", name)
		}
	}
	if !strings.Contains(d.log.String(), "213*******56") {
		t.Errorf("the log shows no masked path: %s", d.log.String())
	}
}

func TestLive(t *testing.T) {
	d := openDoor(t, nil)
	d.do("GET", "/v1/live?kinds=outcome,nonsense", "").want(t, http.StatusUnprocessableEntity)
	d.do("GET", "/v1/live?msisdn=x", "").want(t, http.StatusUnprocessableEntity)
	response, err := http.Get(d.url + "/v1/live?msisdn=%2B" + msisdn)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK || response.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("%s %v", response.Status, response.Header)
	}
	lines := bufio.NewScanner(response.Body)
	next := func() string { // the next line with anything in it
		for lines.Scan() {
			if text := lines.Text(); text != "" && !strings.HasPrefix(text, ":") {
				return text
			}
		}
		t.Fatalf("the feed ended: %v", lines.Err())
		return ""
	}
	other := strings.ReplaceAll(event("x", "recharge", `{"amount":350}`), msisdn, "213555555555")
	d.do("POST", "/v1/events", other, "Content-Type", "application/json").want(t, http.StatusAccepted)
	d.send("r", "recharge", `{"amount":350}`)
	seen := map[string]string{}
	for len(seen) < 3 { // outcome, notification, rates
		kind, data := strings.TrimPrefix(next(), "event: "), next()
		if strings.HasPrefix(data, "id: ") {
			data = next()
		}
		seen[kind] = strings.TrimPrefix(data, "data: ")
	}
	for kind, part := range map[string]string{
		"outcome": `"event":"r"`, "notification": `"subject":"` + msisdn + `"`, "rates": `"accepted":`,
	} {
		if !strings.Contains(seen[kind], part) || !json.Valid([]byte(seen[kind])) {
			t.Errorf("%s: %s", kind, seen[kind])
		}
	}
	d.stop() // It must not wait for the follower for ever.
}

func TestTokens(t *testing.T) {
	text, token := NewToken("gw", []Scope{Ingest}, time.Time{})
	if !strings.HasPrefix(text, "rch_gw_") || strings.Contains(token.HashText(), text) {
		t.Errorf("token %s, hash %s", text, token.HashText())
	}
	hash, err := ParseHash(token.HashText())
	if err != nil || hash != token.Hash {
		t.Errorf("hash read back: %v", err)
	}
	for _, wrong := range []string{"", "sha256:", "sha256:00", "md5:" + token.HashText()[7:], token.HashText() + "0"} {
		if _, err := ParseHash(wrong); err == nil {
			t.Errorf("ParseHash(%q) has no error", wrong)
		}
	}
	for _, name := range []string{"", "A", "a_b", "-a", strings.Repeat("a", 33)} {
		if CheckTokenName(name) == nil {
			t.Errorf("CheckTokenName(%q) has no error", name)
		}
	}
	found, ok := Keyring{token}.Find(text, time.Now())
	if !ok || found.Name != "gw" || !found.Allows(Ingest) || found.Allows(Read) {
		t.Errorf("found %+v, %t", found, ok)
	}
	if _, ok := (Keyring{token}).Find(text+"x", time.Now()); ok {
		t.Error("another text is found")
	}
}
