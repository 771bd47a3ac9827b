package kill

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"recharged/bench/workload"
)

// poll asks again and again until the answer is nil, within bounds.
func poll(within time.Duration, ask func() error) error {
	const every = 20 * time.Millisecond
	deadline := time.Now().Add(within)
	for {
		err := ask()
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("after %s still: %w", within, err)
		}
		time.Sleep(every)
	}
}

// get reads JSON from the API.
func (r *run) get(path string, into any) error {
	body, err := r.read(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(body, into); err != nil {
		return fmt.Errorf("GET %s: %w in %.300s", path, err, body)
	}
	return nil
}

var errNotFound = errors.New("not found")

func (r *run) read(path string) ([]byte, error) {
	response, err := http.Get("http://" + r.server.HTTP + path)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	switch {
	case err != nil:
		return nil, err
	case response.StatusCode == http.StatusNotFound:
		return nil, fmt.Errorf("GET %s: %w", path, errNotFound)
	case response.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("GET %s: %s: %.300s", path, response.Status, body)
	}
	return body, nil
}

// caughtUp returns nil when everything accepted has taken effect.
func (r *run) caughtUp() error {
	var status struct {
		Partitions []struct {
			ID     int
			State  string
			Reason string
			Lag    uint64
		}
	}
	if err := r.get("/v1/status", &status); err != nil {
		return err
	}
	if len(status.Partitions) == 0 {
		return errors.New("no partitions")
	}
	for _, p := range status.Partitions {
		if p.Lag != 0 || p.State != "running" {
			return fmt.Errorf("partition %d is %s (%s) with a lag of %d", p.ID, p.State, p.Reason, p.Lag)
		}
	}
	return nil
}

// found is what verify has counted.
type found struct {
	outcomes, duplicates, notifications, alerts, parked int
	silences, treated, heldOut                          int
}

// verify compares the server with the oracle, everything with everything.
func (r *run) verify(t *testing.T) found {
	t.Helper()
	var f found
	if err := poll(30*time.Second, r.caughtUp); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Until(r.options.Settled())) // What expires during a run has expired by then.
	faults := &faults{t: t}
	seen, tally := map[string]*traces{}, tally{}
	for customer := range r.options.Customers {
		msisdn := workload.MSISDN(customer)
		outcomes, err := r.silentTimeline(msisdn)
		if err != nil {
			faults.add("timeline of %s: %v", msisdn, err)
		}
		f.outcomes += len(outcomes)
		sums := file(outcomes, seen, tally)
		if err := r.verifySums(msisdn, outcomes, sums); err != nil {
			faults.add("timeline of %s: %v", msisdn, err)
		}
		if err := r.verifyCustomer(msisdn, sums); err != nil {
			faults.add("customer %s: %v", msisdn, err)
		}
		silences, err := verifySilences(outcomes)
		if err != nil {
			faults.add("timeline of %s: %v", msisdn, err)
		}
		f.silences += silences
	}
	f.duplicates = r.verifyStories(seen, faults)
	f.parked = r.verifyParked(seen, faults)
	f.notifications, f.alerts = r.verifyOutputs(t, faults)
	r.verifyBudgets(tally, faults)
	arms := r.verifyHoldout(seen, faults)
	f.treated, f.heldOut = int(arms.Treated.Customers), int(arms.Holdout.Customers)
	r.verifyStats(tally, arms, faults)
	r.verifyMetrics(faults)
	r.verifyPrivacy(faults)
	faults.report()
	return f
}

// faults reports the first disagreements and counts the rest.
type faults struct {
	t *testing.T
	n int
}

func (f *faults) add(format string, args ...any) {
	const shown = 20
	if f.n++; f.n <= shown {
		f.t.Errorf(format, args...)
	}
}

func (f *faults) report() {
	if f.n > 0 {
		f.t.Fatalf("%d disagreements between the server and the oracle", f.n)
	}
}

// The balances of which the oracle knows what everyone has, and those of which it
// does not.
var (
	certain = []string{"main", "bonus", "data", "minutes", "points"}
	chances = []string{"gifts", "refunds", "rebates", "trials", "lures"}
)

// part is a share of a balance as the API shows it.
type part struct {
	Amount  json.RawMessage
	Expires string
}

// verifyCustomer compares balances, parts, counters, attributes, tags and recharges.
// Of the balances that chance decides, the postings have the sums.
func (r *run) verifyCustomer(msisdn string, sums map[string]int64) error {
	want := r.oracle.Customers[msisdn]
	if want == nil {
		want = &workload.Customer{}
	}
	var got struct {
		Balances map[string]struct {
			Amount json.RawMessage
			Parts  []part
		}
		Counters   map[string]json.RawMessage
		Tags       []string
		Attributes map[string]any
		Recharges  int64
	}
	if err := r.get("/v1/customers/"+msisdn, &got); err != nil && !errors.Is(err, errNotFound) {
		return err
	}
	now := time.Now()
	for _, balance := range certain {
		var total int64
		parts := map[string]int64{}
		for _, p := range want.Live(balance, now) {
			total += p.Amount
			parts[expiry(p.Expires)] += p.Amount
		}
		have := map[string]int64{}
		for _, p := range got.Balances[balance].Parts {
			have[p.Expires] += minor(p.Amount, balance)
		}
		if amount := minor(got.Balances[balance].Amount, balance); amount != total || !maps.Equal(have, parts) {
			return fmt.Errorf("%s is %d in parts %v, want %d in parts %v", balance, amount, have, total, parts)
		}
	}
	for _, balance := range chances {
		if amount := minor(got.Balances[balance].Amount, balance); amount != sums[balance] {
			return fmt.Errorf("%s is %d, want %d, which the postings add up to", balance, amount, sums[balance])
		}
	}
	counters := map[string]int64{
		"recharges_7d": want.Recharges, "recharges_10m": 0, "recharged_30d": want.Recharged, "spent_30d": want.Spent,
	}
	for name, value := range counters {
		unit := "points"
		if strings.HasSuffix(name, "30d") {
			unit = "main"
		}
		if have := minor(got.Counters[name], unit); have != value {
			return fmt.Errorf("counter %s is %d, want %d", name, have, value)
		}
	}
	tags := slices.Sorted(maps.Keys(want.Tags))
	slices.Sort(got.Tags)
	if !slices.Equal(tags, got.Tags) {
		return fmt.Errorf("tags are %v, want %v", got.Tags, tags)
	}
	if have, attributes := canonical(got.Attributes), canonical(want.Attributes); have != attributes {
		return fmt.Errorf("attributes are %s, want %s", have, attributes)
	}
	if got.Recharges != want.Recharges {
		return fmt.Errorf("%d recharges, want %d", got.Recharges, want.Recharges)
	}
	return nil
}

func expiry(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}

// minor reads an amount as the API writes it, a string or a number, in minor
// units of the balance; what is absent is 0, and what is no amount is a value
// that nobody expects.
func minor(raw json.RawMessage, balance string) int64 {
	const impossible = -1 << 62
	text := strings.Trim(string(raw), `"`)
	if text == "" {
		return 0
	}
	digits := 0
	switch balance {
	case "main", "bonus", "gifts", "rebates", "refunds":
		digits = 2
	}
	whole, fraction, _ := strings.Cut(text, ".")
	if len(fraction) > digits {
		return impossible
	}
	var n int64
	if _, err := fmt.Sscanf(whole+fraction+strings.Repeat("0", digits-len(fraction)), "%d", &n); err != nil {
		return impossible
	}
	return n
}

// canonical writes JSON values so that equal ones look equal.
func canonical(attributes map[string]any) string {
	if len(attributes) == 0 {
		return "{}"
	}
	text, err := json.Marshal(attributes)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// verdicts are those on the rules, as a story has them.
func (o *outcome) verdicts() (all []string) {
	for _, rule := range o.Rules {
		all = append(all, strings.TrimSpace(rule.Name+" "+rule.Result+" "+rule.Reason))
	}
	return all
}

// sums are the postings, as a story has them.
func (o *outcome) sums() map[string]int64 {
	sums := map[string]int64{}
	for _, p := range o.Postings {
		sums[p.Balance+" "+p.Cause] += minor(p.Amount, p.Balance)
	}
	return sums
}

// traces is what the timelines say about one event.
type traces struct {
	ends       []string // applied or parked with its reason, conflicts aside
	outcome    outcome  // of the first of them
	conflicts  int
	duplicates int
}

type outcome struct {
	Event, Source, Type, MSISDN, Result, Reason string
	Time                                        time.Time
	Postings                                    []struct {
		Balance, Cause string
		Amount, After  json.RawMessage
	}
	Rules     []struct{ Name, Result, Reason string }
	Shortfall json.RawMessage
}

// timeline reads all outcomes of a customer, the newest first.
func (r *run) timeline(msisdn string) (all []outcome, err error) {
	for before := ""; ; {
		var page struct {
			Outcomes []outcome
			Next     string
		}
		err := r.get("/v1/customers/"+msisdn+"/timeline?limit=500&before="+before, &page)
		if err != nil && !errors.Is(err, errNotFound) {
			return all, err
		}
		all = append(all, page.Outcomes...)
		if before = page.Next; before == "" {
			return all, nil
		}
	}
}

// file files the outcomes of a customer with the others of their events and
// rules, and returns what the postings add up to.
func file(outcomes []outcome, seen map[string]*traces, tally tally) (sums map[string]int64) {
	sums = map[string]int64{}
	for _, o := range outcomes {
		for _, p := range o.Postings {
			sums[p.Balance] += minor(p.Amount, p.Balance)
		}
		if o.Type != "expiry" && o.Type != "timer" {
			note(seen, o)
		}
		tally.add(o)
	}
	return sums
}

// verifySums compares what the postings of a customer add up to with what the
// customer is to hold.
func (r *run) verifySums(msisdn string, outcomes []outcome, sums map[string]int64) error {
	expired := map[string]int64{}
	for _, o := range outcomes {
		if o.MSISDN != msisdn {
			return fmt.Errorf("holds an outcome of %s", o.MSISDN)
		}
		for _, p := range o.Postings {
			if o.Type == "expiry" {
				expired[p.Balance] -= minor(p.Amount, p.Balance)
			}
		}
	}
	want := r.oracle.Customers[msisdn]
	if want == nil {
		want = &workload.Customer{}
	}
	for _, balance := range certain {
		var live int64
		for _, p := range want.Live(balance, time.Now()) {
			live += p.Amount
		}
		if gone := want.Total(balance) - live; sums[balance] != live || expired[balance] != gone {
			return fmt.Errorf("the postings of %s add up to %d of which %d expired, want %d and %d", balance, sums[balance], expired[balance], live, gone)
		}
	}
	return nil
}

// note files an outcome with the others of its event.
func note(seen map[string]*traces, o outcome) {
	key := workload.Key(o.Source, o.Event)
	s := seen[key]
	if s == nil {
		s = &traces{}
		seen[key] = s
	}
	switch {
	case o.Result == "duplicate":
		s.duplicates++
	case o.Reason == "id_conflict":
		s.conflicts++
	default:
		s.ends = append(s.ends, strings.TrimSpace(o.Result+" "+o.Reason))
		s.outcome = o
	}
}

// verifyStories compares how every event ended, and returns how many duplicates
// there were.
func (r *run) verifyStories(seen map[string]*traces, faults *faults) int {
	duplicates := 0
	for key, want := range r.oracle.Stories {
		got := seen[key]
		if got == nil {
			faults.add("event %s was acknowledged and is in no timeline, want %s", key, want.Result)
			continue
		}
		end := strings.TrimSpace(want.Result + " " + want.Reason)
		if len(got.ends) != 1 || got.ends[0] != end {
			faults.add("event %s ended %q, want %q once", key, got.ends, end)
			continue
		}
		all := 1 + got.duplicates + got.conflicts
		if all < r.answered[key] || all > r.attempts[key] || got.conflicts < want.Conflicts {
			faults.add("event %s has %d outcomes, %d of them conflicts, for %d answered of %d attempts, %d in conflict",
				key, all, got.conflicts, r.answered[key], r.attempts[key], want.Conflicts)
		}
		if err := compare(want, &got.outcome); err != nil {
			faults.add("event %s: %v", key, err)
		}
		duplicates += got.duplicates
	}
	for key := range seen {
		if r.oracle.Stories[key] == nil {
			faults.add("event %s is in a timeline, nobody sent it", key)
		}
	}
	return duplicates
}

// compare compares the outcome of an event with its story.
func compare(want *workload.Story, got *outcome) error {
	rules, postings := want.Settled(got.verdicts())
	if have := got.verdicts(); !slices.Equal(have, rules) {
		return fmt.Errorf("rules %q, want %q", have, rules)
	}
	if have := got.sums(); !maps.Equal(have, postings) {
		return fmt.Errorf("postings %v, want %v", have, postings)
	}
	if shortfall := minor(got.Shortfall, "main"); shortfall != want.Shortfall {
		return fmt.Errorf("a shortfall of %d, want %d", shortfall, want.Shortfall)
	}
	return nil
}

// verifyParked compares the list of parked events with the stories. An event
// in conflict is parked once for each time that it came.
func (r *run) verifyParked(seen map[string]*traces, faults *faults) int {
	want := map[string]int{}
	for key, story := range r.oracle.Stories {
		if story.Result == "parked" {
			want[key+" "+story.Reason]++
		}
		if s := seen[key]; s != nil && s.conflicts > 0 {
			want[key+" id_conflict"] += s.conflicts
		}
	}
	got, ids, n, before := map[string]int{}, map[string]bool{}, 0, ""
	for {
		var page struct {
			Parked []struct {
				ID     string
				Reason string
				Event  struct{ ID, Source string }
			}
			Next string
		}
		if err := r.get("/v1/parked?limit=500&before="+before, &page); err != nil {
			faults.add("parked events: %v", err)
			return n
		}
		for _, p := range page.Parked {
			if ids[p.ID] {
				faults.add("parked event %s is listed twice", p.ID)
			}
			ids[p.ID] = true
			got[workload.Key(p.Event.Source, p.Event.ID)+" "+p.Reason]++
			n++
		}
		if before = page.Next; before == "" {
			break
		}
	}
	differ(faults, "parked event", got, want)
	return n
}

// differ reports where two multisets differ.
func differ[K comparable](faults *faults, what string, got, want map[K]int) {
	for k, n := range want {
		if got[k] != n {
			faults.add("%s %+v is there %d times, want %d", what, k, got[k], n)
		}
	}
	for k, n := range got {
		if want[k] == 0 {
			faults.add("%s %+v is there %d times, want none", what, k, n)
		}
	}
}

// verifyOutputs compares what customers and operations were told.
func (r *run) verifyOutputs(t *testing.T, faults *faults) (notifications, alerts int) {
	t.Helper()
	conn, err := nats.Connect("nats://" + r.server.NATS)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	wantNotes, gotNotes := map[workload.Note]int{}, map[workload.Note]int{}
	for _, n := range r.oracle.Notes {
		wantNotes[n]++
	}
	for _, m := range readStream(t, conn, "recharged_notifications", len(r.oracle.Notes), faults) {
		n := workload.Note{MSISDN: m.Subject, Channel: strings.TrimPrefix(m.subject, "recharged.notifications.")}
		n.EventID, n.Rule, n.Template, n.Language, n.Text = m.Data.Event, m.Data.Rule, m.Data.Template, m.Data.Language, m.Data.Text
		gotNotes[n]++
		notifications++
	}
	differ(faults, "notification", gotNotes, wantNotes)
	wantAlerts, gotAlerts := map[workload.Alert]int{}, map[workload.Alert]int{}
	for _, a := range r.oracle.Alerts {
		wantAlerts[a]++
	}
	for _, m := range readStream(t, conn, "recharged_alerts", len(r.oracle.Alerts), faults) {
		if m.subject != "recharged.alerts."+m.Data.Severity {
			faults.add("alert %s of severity %s is on %s", m.ID, m.Data.Severity, m.subject)
		}
		gotAlerts[workload.Alert{Name: m.Data.Name, Severity: m.Data.Severity, Summary: m.Data.Summary}]++
		alerts++
	}
	differ(faults, "alert", gotAlerts, wantAlerts)
	return notifications, alerts
}

// message is a CloudEvent of an output stream.
type message struct {
	ID, Subject string
	Data        struct {
		Template, Language, Text, Rule, Event string // of a notification
		Name, Severity, Summary               string // of an alert
	}
	subject string // that it was published on
}

// readStream waits until an output stream has as many messages as are wanted
// and reads all that are there. An id that is there twice is a fault.
func readStream(t *testing.T, conn *nats.Conn, name string, want int, faults *faults) []message {
	t.Helper()
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var last uint64
	err = poll(20*time.Second, func() error {
		stream, err := js.Stream(ctx, name)
		if err != nil {
			return err
		}
		last = stream.CachedInfo().State.LastSeq
		if n := stream.CachedInfo().State.Msgs; n < uint64(want) {
			return fmt.Errorf("stream %s has %d messages, want %d", name, n, want)
		}
		return nil
	})
	if err != nil {
		faults.add("%v", err)
	}
	if last == 0 {
		return nil
	}
	consumer, err := js.OrderedConsumer(ctx, name, jetstream.OrderedConsumerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	var all []message
	ids := map[string]bool{}
	for sequence := uint64(0); sequence < last; {
		next, err := consumer.Next(jetstream.FetchMaxWait(10 * time.Second))
		if err != nil {
			t.Fatalf("read stream %s after %d: %v", name, sequence, err)
		}
		meta, err := next.Metadata()
		if err != nil {
			t.Fatal(err)
		}
		sequence = meta.Sequence.Stream
		m := message{subject: next.Subject()}
		if err := json.Unmarshal(next.Data(), &m); err != nil {
			t.Fatalf("stream %s message %d: %v", name, sequence, err)
		}
		if ids[m.ID] {
			faults.add("stream %s has id %s twice", name, m.ID)
		}
		ids[m.ID] = true
		all = append(all, m)
	}
	return all
}

var imbalance = regexp.MustCompile(`(?m)^recharged_ledger_imbalance\{unit="(\w+)"\} (\S+)$`)

// verifyMetrics demands that the books balance in every unit.
func (r *run) verifyMetrics(faults *faults) {
	metrics, err := r.read("/metrics")
	if err != nil {
		faults.add("metrics: %v", err)
		return
	}
	units := map[string]string{}
	for _, match := range imbalance.FindAllStringSubmatch(string(metrics), -1) {
		units[match[1]] = match[2]
	}
	for _, unit := range []string{"DZD", "byte", "second", "point"} {
		if units[unit] != "0" {
			faults.add("the ledger's imbalance in %s is %q, want 0", unit, units[unit])
		}
	}
	r.leaks(faults, "/metrics", metrics)
}

// verifyPrivacy demands that no customer's number was ever printed.
func (r *run) verifyPrivacy(faults *faults) {
	logs, err := os.ReadFile(r.server.Logs)
	if err != nil {
		faults.add("logs: %v", err)
	}
	r.leaks(faults, "the log", logs)
}

var number = regexp.MustCompile(`\b21377\d{7}\b`)

func (r *run) leaks(faults *faults, where string, text []byte) {
	if leak := number.Find(text); leak != nil {
		faults.add("%s shows the customer's number %s", where, leak)
	}
}
