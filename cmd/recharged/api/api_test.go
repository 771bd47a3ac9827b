package api

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"recharged/stream"
	"recharged/stream/accept"
)

const msisdn = "213770123456"

// testBook is small, and names all that the tests look at.
const testBook = `version: 1
currency: DZD
timezone: Africa/Algiers
balances:
  main:  {unit: DZD, order: 100}
  bonus: {unit: DZD, order: 10, validity: 30d}
tariffs:
  voice: {price: 4.00, per: 60s}
counters:
  recharges_7d:  {on: recharge, window: 7d}
  recharged_30d: {on: recharge, sum: amount, window: 30d}
segments:
  youth: customer.attributes.age < 26
templates:
  doubled: {fr: "Bonus : {credited.bonus} DA."}
rules:
  - name: double-300
    on: recharge
    when: amount > 300
    then: [{credit: {to: bonus, percent: 100, validity: 7d}}, {notify: {template: doubled}}]
  - name: velocity
    on: recharge
    when: customer.recharges_7d > 2
    then: [{alert: {severity: warning, summary: "{customer.recharges_7d} recharges"}}]
`

// door is an API on a processor of its own.
type door struct {
	t    *testing.T
	url  string
	log  *syncBuffer
	stop func() // before the test's end
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func openDoor(t *testing.T, change func(*Options)) *door {
	t.Helper()
	log := &syncBuffer{}
	logger := slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	registry := prometheus.NewRegistry()
	p, err := stream.Start(t.Context(), stream.Options{
		Dir: t.TempDir(), Partitions: 2, CacheBytes: 1, DiskReserveBytes: 1,
		DefaultRulebook: []byte(testBook), Version: "test", Registry: registry, Logger: logger,
	})
	if err != nil {
		t.Fatal(err)
	}
	opts := Options{Registry: registry, Logger: logger, Version: "test"}
	if change != nil {
		change(&opts)
	}
	a, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
	a.Open(p)
	server := httptest.NewServer(a)
	stop := sync.OnceFunc(func() {
		a.EndLive()
		server.Close()
		p.Stop(context.Background())
	})
	t.Cleanup(stop)
	d := &door{t, server.URL, log, stop}
	eventually(t, "the processor is ready", func() bool { return p.Ready() == nil })
	return d
}

// eventually polls where nothing can be waited for; a minute is failure.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for begin := time.Now(); !done(); time.Sleep(2 * time.Millisecond) {
		if time.Since(begin) > time.Minute {
			t.Fatalf("waited a minute until %s", what)
		}
	}
}

type answer struct {
	status int
	header http.Header
	body   string
}

// do makes a call; header are names and values in turn.
func (d *door) do(method, path, body string, header ...string) answer {
	d.t.Helper()
	r, err := http.NewRequestWithContext(d.t.Context(), method, d.url+path, strings.NewReader(body))
	if err != nil {
		d.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		if header[i] == "Host" {
			r.Host = header[i+1]
			continue
		}
		r.Header.Set(header[i], header[i+1])
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		d.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		d.t.Fatal(err)
	}
	return answer{response.StatusCode, response.Header, string(text)}
}

// want fails the test unless the answer has that status.
func (a answer) want(t *testing.T, status int) answer {
	t.Helper()
	if a.status != status {
		t.Fatalf("status %d, want %d: %s", a.status, status, a.body)
	}
	if status >= 400 && a.header.Get("Content-Type") == problemType && !strings.Contains(a.body, fmt.Sprintf(`"status":%d`, status)) {
		t.Errorf("problem without its status: %s", a.body)
	}
	return a
}

func (a answer) decode(t *testing.T, into any) {
	t.Helper()
	if err := json.Unmarshal([]byte(a.body), into); err != nil {
		t.Fatalf("%v: %s", err, a.body)
	}
}

func event(id, kind, data string) string {
	return fmt.Sprintf(`{"specversion":"1.0","id":%q,"source":"/test","type":%q,"subject":%q,"time":%q,"data":%s}`,
		id, kind, msisdn, time.Now().UTC().Format(time.RFC3339Nano), data)
}

// send sends one event, which must be accepted, and waits for its effect.
func (d *door) send(id, kind, data string) {
	d.t.Helper()
	d.do("POST", "/v1/events", event(id, kind, data), "Content-Type", "application/cloudevents+json").want(d.t, http.StatusAccepted)
	d.settle()
}

// settle waits until all that was accepted has taken effect.
func (d *door) settle() {
	d.t.Helper()
	eventually(d.t, "nothing lags", func() bool {
		var status Status
		d.do("GET", "/v1/status", "").want(d.t, http.StatusOK).decode(d.t, &status)
		for _, p := range status.Partitions {
			if p.Lag > 0 {
				return false
			}
		}
		return true
	})
}

func zip(t *testing.T, text string) string {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := io.WriteString(z, text); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestEventsInEveryDress(t *testing.T) {
	d := openDoor(t, nil)
	one := event("a", "contact", `{"channel":"app"}`)
	bad := event("b", "recharge", `{"amount":-1}`)
	large := strings.Repeat("x", eventsBytesMax+1)
	tests := []struct {
		name, body, contentType string
		header                  []string
		status                  int
		answer                  string
	}{
		{name: "one", body: one, contentType: "application/cloudevents+json", status: 202, answer: `{"accepted":1,"rejected":[]`},
		{name: "with a charset", body: one, contentType: "application/cloudevents+json; charset=utf-8", status: 202, answer: `{"accepted":1,`},
		{name: "array", body: "[" + one + "," + bad + "]", contentType: "application/cloudevents-batch+json", status: 202, answer: `{"accepted":1,"rejected":[{"index":1,"id":"b","reason":"bad_amount"`},
		{name: "lines", body: one + "\n\n" + one + "\n", contentType: "application/x-ndjson", status: 202, answer: `{"accepted":2,`},
		{name: "JSON object", body: one, contentType: "application/json", status: 202, answer: `{"accepted":1,`},
		{name: "JSON array", body: "[" + one + "]", contentType: "application/json", status: 202, answer: `{"accepted":1,`},
		{name: "empty array", body: "[]", contentType: "application/json", status: 202, answer: `{"accepted":0,"rejected":[]`},
		{name: "binary mode", body: `{"channel":"app"}`, contentType: "application/json", status: 202, answer: `{"accepted":1,`, header: []string{
			"ce-specversion", "1.0", "ce-id", "c", "ce-source", "/test", "ce-type", "contact", "ce-subject", msisdn, "ce-time", time.Now().Format(time.RFC3339)}},
		{name: "gzip", body: zip(t, one), contentType: "application/json", header: []string{"Content-Encoding", "gzip"}, status: 202, answer: `{"accepted":1,`},
		{name: "none acceptable", body: bad, contentType: "application/json", status: 422, answer: `{"accepted":0,"rejected":[{"index":0,"id":"b","reason":"bad_amount","field":"data.amount"`},
		{name: "no JSON", body: "hello", contentType: "application/json", status: 422, answer: `"reason":"malformed"`},
		{name: "empty body", contentType: "application/json", status: 422, answer: `"reason":"malformed"`},
		{name: "unknown content type", body: one, contentType: "text/csv", status: 415, answer: `"status":415`},
		{name: "no content type", body: one, status: 415, answer: `"status":415`},
		{name: "too large", body: large, contentType: "application/x-ndjson", status: 413, answer: `"status":413`},
		{name: "too large unpacked", body: zip(t, large), contentType: "application/x-ndjson", header: []string{"Content-Encoding", "gzip"}, status: 413, answer: `"status":413`},
		{name: "not gzip", body: one, contentType: "application/json", header: []string{"Content-Encoding", "gzip"}, status: 400, answer: `"status":400`},
		{name: "other compression", body: one, contentType: "application/json", header: []string{"Content-Encoding", "br"}, status: 415, answer: `"status":415`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := d.do("POST", "/v1/events", test.body, append(test.header, "Content-Type", test.contentType)...)
			if got.status != test.status || !strings.Contains(got.body, test.answer) {
				t.Errorf("%d %s\nwant %d %s", got.status, got.body, test.status, test.answer)
			}
		})
	}
}

func TestCustomerAndTimeline(t *testing.T) {
	var ahead time.Duration
	d := openDoor(t, func(o *Options) { o.Now = func() time.Time { return time.Now().Add(ahead) } })
	d.do("GET", "/v1/customers/"+msisdn, "").want(t, http.StatusNotFound)
	d.do("GET", "/v1/customers/"+msisdn+"/timeline", "").want(t, http.StatusNotFound)
	d.do("GET", "/v1/customers/12ab", "").want(t, http.StatusUnprocessableEntity)
	d.send("p", "profile", `{"set":{"age":20.50,"language":"fr","vip":true,"plans":["a","b"]}}`)
	var raw map[string]any
	d.do("GET", "/v1/customers/"+msisdn, "").want(t, http.StatusOK).decode(t, &raw)
	if _, given := raw["last_recharge"]; given {
		t.Errorf("last_recharge of a customer without any: %v", raw)
	}
	d.send("r1", "recharge", `{"amount":"350.00","channel":"ussd"}`)
	d.send("r2", "recharge", `{"amount":60}`)

	got := d.do("GET", "/v1/customers/+"+msisdn, "").want(t, http.StatusOK)
	for _, part := range []string{
		`"msisdn":"213770123456"`, `"attributes":{"age":20.5,"language":"fr","plans":["a","b"],"vip":true}`,
		`"main":{"unit":"DZD","amount":"410.00","parts":[{"amount":"410.00"}]}`,
		`"bonus":{"unit":"DZD","amount":"350.00","parts":[{"amount":"350.00","expires":"`,
		`"counters":{"recharged_30d":"410.00","recharges_7d":2}`, `"segments":["youth"]`, `"tags":[]`,
		`"recharges":2`, `"last_recharge":"20`, `"tracking":70`,
	} {
		if !strings.Contains(got.body, part) {
			t.Errorf("customer lacks %s: %s", part, got.body)
		}
	}
	if got.header.Get("Cache-Control") != "no-store" || got.header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("headers: %v", got.header)
	}

	var page Timeline
	var events []string
	before := ""
	for range 5 {
		d.do("GET", "/v1/customers/"+msisdn+"/timeline?limit=1&before="+before, "").want(t, http.StatusOK).decode(t, &page)
		for _, o := range page.Outcomes {
			events = append(events, o.Event)
		}
		if before = page.Next; before == "" {
			break
		}
	}
	if got := strings.Join(events, " "); got != "r2 r1 p" {
		t.Errorf("timeline in pages of one: %s", got)
	}
	d.do("GET", "/v1/customers/"+msisdn+"/timeline?before=x", "").want(t, http.StatusUnprocessableEntity)
	d.do("GET", "/v1/customers/"+msisdn+"/timeline?limit=0", "").want(t, http.StatusOK).contains(t, `"event":"p"`)
	d.do("GET", "/v1/customers/"+msisdn+"/timeline?limit=-1", "").want(t, http.StatusUnprocessableEntity)
	d.do("GET", "/v1/customers/"+msisdn+"/timeline?limit=100000", "").want(t, http.StatusOK)

	ahead = 8 * 24 * time.Hour
	got = d.do("GET", "/v1/customers/"+msisdn, "").want(t, http.StatusOK)
	for _, part := range []string{`"bonus":{"unit":"DZD","amount":"0.00","parts":[]}`, `"recharges_7d":0`, `"tracking":65`} {
		if !strings.Contains(got.body, part) {
			t.Errorf("customer in 8 days lacks %s: %s", part, got.body)
		}
	}
}

func TestParkedAndAlerts(t *testing.T) {
	d := openDoor(t, nil)
	late := strings.Replace(event("late", "contact", `{"channel":"app"}`), `"time":"202`, `"time":"200`, 1)
	d.do("POST", "/v1/events", late, "Content-Type", "application/json").want(t, http.StatusAccepted)
	d.settle()
	var page struct {
		Parked []Parked `json:"parked"`
		Next   string   `json:"next"`
	}
	d.do("GET", "/v1/parked", "").want(t, http.StatusOK).decode(t, &page)
	if len(page.Parked) != 1 || page.Parked[0].Reason != "too_late" || page.Parked[0].Event.ID != "late" || page.Parked[0].At == "" {
		t.Fatalf("parked: %+v", page)
	}
	id := page.Parked[0].ID
	d.do("POST", "/v1/parked/"+id+"/retry", "").want(t, http.StatusAccepted)
	d.settle()
	d.do("GET", "/v1/parked", "").want(t, http.StatusOK).decode(t, &page)
	if len(page.Parked) != 1 {
		t.Fatalf("still too late, but parked are: %+v", page)
	}
	d.do("DELETE", "/v1/parked/"+page.Parked[0].ID, "").want(t, http.StatusAccepted)
	d.settle()
	d.do("DELETE", "/v1/parked/"+page.Parked[0].ID, "").want(t, http.StatusNotFound)
	d.do("POST", "/v1/parked/nonsense/retry", "").want(t, http.StatusNotFound)

	for i := range 4 {
		d.send(fmt.Sprint("r", i), "recharge", `{"amount":10}`)
	}
	var alerts struct {
		Alerts []Alert `json:"alerts"`
		Next   string  `json:"next"`
	}
	eventually(t, "there are two alerts", func() bool {
		d.do("GET", "/v1/alerts", "").want(t, http.StatusOK).decode(t, &alerts)
		return len(alerts.Alerts) == 2
	})
	if a := alerts.Alerts[0]; a.Name != "velocity" || a.Severity != "warning" || a.Summary != "4 recharges" || a.ID == "" || a.StartsAt == "" || alerts.Next != "" {
		t.Errorf("alerts: %+v", alerts)
	}
	d.do("GET", "/v1/alerts?limit=1", "").want(t, http.StatusOK).decode(t, &alerts)
	d.do("GET", "/v1/alerts?limit=1&before="+alerts.Next, "").want(t, http.StatusOK).decode(t, &alerts)
	if len(alerts.Alerts) != 1 || alerts.Alerts[0].Summary != "3 recharges" {
		t.Errorf("second page of alerts: %+v", alerts)
	}
}

func TestRefusalsSayWhenToSendAgain(t *testing.T) {
	tests := []struct {
		err        error
		status     int
		retryAfter string
	}{
		{accept.ErrBusy, http.StatusTooManyRequests, "1"},
		{&accept.Unavailable{Reason: "disk full", RetryAfter: 4200 * time.Millisecond}, http.StatusServiceUnavailable, "5"},
		{fmt.Errorf("wait: %w", context.DeadlineExceeded), http.StatusServiceUnavailable, "1"},
	}
	for _, test := range tests {
		w := httptest.NewRecorder()
		(&API{}).refuseEvents(w, httptest.NewRequest(http.MethodPost, "/v1/events", nil), test.err)
		if w.Code != test.status || w.Header().Get("Retry-After") != test.retryAfter || w.Header().Get("Content-Type") != problemType {
			t.Errorf("%v: %d, Retry-After %q: %s", test.err, w.Code, w.Header().Get("Retry-After"), w.Body)
		}
	}
}
