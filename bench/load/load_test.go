package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

// The floor runs this program again as its own process; here that is the test.
func TestMain(m *testing.M) {
	if len(os.Args) == 4 && os.Args[1] == floorCommand {
		exit(serveFloor(os.Args[2], os.Args[3]))
	}
	var err error
	if buildDir, err = os.MkdirTemp("", "load-test-"); err != nil {
		exit(err)
	}
	code := m.Run()
	os.RemoveAll(buildDir)
	os.Exit(code)
}

// binary builds the daemon once for all tests.
func binary(t *testing.T) string {
	t.Helper()
	path, err := build()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

var (
	buildDir string // made by TestMain
	build    = sync.OnceValues(func() (string, error) { return buildSystem(context.Background(), buildDir) })
)

func shortOptions(t *testing.T, args ...string) *options {
	t.Helper()
	o, err := parseOptions(append([]string{"-short", "-dir", t.TempDir()}, args...), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func TestAShortRunPrintsEveryTable(t *testing.T) {
	if testing.Short() {
		t.Skip("runs the daemon for some seconds")
	}
	o := shortOptions(t, "-binary", binary(t))
	o.limit = 400
	var out, progress bytes.Buffer
	if err := run(t.Context(), o, &out, &progress); err != nil {
		t.Fatalf("%v\n%s", err, progress.Bytes())
	}
	for _, want := range []string{
		"- revision: ", "- write and fsync of 4 KiB: p50 ",
		"| 200 | recharged | ", "| 1000 | recharged | ",
		"| 200 | floor, fsync per message | ", "| 1000 | floor, no fsync | ",
		"recharged as a multiple of the floor", "Sustainable rate",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the output lacks %q:\n%s", want, out.Bytes())
		}
	}
}

// A right answer passes; the same answer with one figure of the fold changed by
// the smallest amount does not.
func TestAWrongAnswerIsFound(t *testing.T) {
	if testing.Short() {
		t.Skip("runs the daemon for some seconds")
	}
	for _, via := range []string{viaNATS, viaHTTP} {
		t.Run("via="+via, func(t *testing.T) { findWrongAnswers(t, via) })
	}
}

func findWrongAnswers(t *testing.T, via string) {
	o := shortOptions(t, "-via", via)
	dir := t.TempDir()
	system, err := startSystem(t.Context(), o, binary(t), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := system.stop(); err != nil {
			t.Error(err)
		}
	}()
	join := jsonArray
	if via == viaHTTP {
		join = jsonLines
	}
	s := &session{nameSystem, system, newGenerator(7, 0, o.lanes, join), newFold(), t.Logf}
	if err := s.fill(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, batch := range []int{1, 10} {
		if _, _, err := s.measure(t.Context(), 400, batch, 0, 500*time.Millisecond); err != nil {
			t.Fatal(err)
		}
	}
	if err := system.customers(s.want, 1); err != nil {
		t.Fatal(err)
	}
	for name, figure := range map[string]*int64{
		"events": &s.want.events, "recharged": &s.want.recharged, "credited": &s.want.credited,
		"charged": &s.want.charged, "shortfall": &s.want.shortfall,
	} {
		*figure++
		if err := system.settled(t.Context(), s.want); err == nil {
			t.Errorf("%s is one more than the system has, and nobody noticed", name)
		}
		*figure--
	}
	for c := range s.want.main {
		s.want.main[c]++
	}
	if err := system.customers(s.want, 1); err == nil {
		t.Error("every main balance is one more than the system has, and nobody noticed")
	}
	if err := system.settled(t.Context(), s.want); err != nil {
		t.Errorf("the right answer: %v", err)
	}
}

// recordOf returns a record of ten events, the first of which calls for a
// notification, with everything answered but nothing notified.
func recordOf() *record {
	t := newGenerator(1, 0, 1, jsonArray).fill(10, 1, func(int) event { return event{money: 50} })
	t.events[0] = event{recharge: true, money: doubledAbove + rechargeStep}
	r := newRecord(t, 1000)
	r.begin = time.Now().Add(-time.Second)
	r.sent = len(t.messages)
	for m := range r.messages {
		r.answer(m, nil)
	}
	return r
}

func TestNotificationsMustComeExactlyOnce(t *testing.T) {
	tests := map[string]struct {
		notified []int
		wrong    string // what the error says; "" if there is none
	}{
		"as it should be": {[]int{0}, ""},
		"twice":           {[]int{0, 0}, "second notification of event 0"},
		"not called for":  {[]int{0, 1}, "notification of event 1, which calls for none"},
		"of no event":     {[]int{0, 10}, "notification of event 10, which calls for none"},
		"never":           {nil, "0 of 1 notifications arrived"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			r := recordOf()
			for _, i := range test.notified {
				r.notify(i)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			switch err := r.drain(ctx); {
			case test.wrong == "" && err != nil:
				t.Error(err)
			case test.wrong != "" && (err == nil || !strings.Contains(err.Error(), test.wrong)):
				t.Errorf("error %v, want %q", err, test.wrong)
			}
		})
	}
}

func TestARefusedEventIsNotInTheFold(t *testing.T) {
	r := recordOf()
	r.acked[0] = 0
	r.answer(0, errRefused)
	f := newFold()
	r.accepted(func(_ int, e event) { f.apply(e) })
	if f.events != 9 || f.recharged != 0 {
		t.Errorf("%d events, %d recharged; want 9 and 0", f.events, f.recharged)
	}
}

// Latency counts from the intended instant: a driver that was held up must not
// make the target look faster.
func TestLatencyCountsFromTheIntendedInstant(t *testing.T) {
	r := recordOf()
	const rate, answered = 1000, 50 * time.Millisecond
	for m := range r.messages {
		r.acked[m] = answered
		r.late[m] = answered - time.Millisecond - r.intended(m) // sent just before
	}
	r.notified[0] = answered + 5*time.Millisecond
	out := r.summary(0)
	if got := out.acked.Max(); got < answered.Microseconds()*99/100 {
		t.Errorf("the longest is %d µs, want about %v: the first event waited that long", got, answered)
	}
	if got := out.said.Max(); got < 4900 || got > 5100 {
		t.Errorf("from acknowledged to notification %d µs, want about 5000", got)
	}
	if !out.void() {
		t.Error("every message was late, and the row is not void")
	}
}

// The fold agrees with arithmetic done by hand.
func TestFold(t *testing.T) {
	f := newFold()
	for _, e := range []event{
		{1, true, 300_00}, // not above 300
		{1, true, 350_00}, // doubled
		{1, false, 400_00},
		{1, false, 700_00}, // more than there is
		{2, false, 10_00},  // from nothing
	} {
		f.apply(e)
	}
	got := []int64{f.main[1], f.bonus[1], f.recharged, f.credited, f.charged, f.shortfall, f.notification}
	want := []int64{0, 0, 650_00, 350_00, 1000_00, 110_00, 1}
	for i := range want {
		if got[i] != want[i] {
			t.Fatalf("main, bonus, recharged, credited, charged, shortfall, notifications: %v, want %v", got, want)
		}
	}
}

func TestTheSameSeedIsTheSameTraffic(t *testing.T) {
	a, b := newGenerator(3, 1.1, 4, jsonArray).make(1000, 10), newGenerator(3, 1.1, 4, jsonArray).make(1000, 10)
	recharges, lanes := 0, map[uint32]int{}
	for i, e := range a.events {
		if e != b.events[i] {
			t.Fatalf("event %d: %v and %v", i, e, b.events[i])
		}
		if e.recharge {
			recharges++
		}
		lane := i / a.batch % 4
		if before, known := lanes[e.customer]; known && before != lane {
			t.Fatalf("customer %d in lanes %d and %d", e.customer, before, lane)
		}
		lanes[e.customer] = lane
	}
	if recharges < 250 || recharges > 350 {
		t.Errorf("%d recharges of 1000, want about 300", recharges)
	}
	everyone := newGenerator(3, 0, 4, jsonArray).everyone(100)
	met := map[uint32]bool{}
	for _, e := range everyone.events {
		met[e.customer] = true
	}
	if len(met) != customersMax {
		t.Errorf("%d customers met, want %d", len(met), customersMax)
	}
}

func TestParseMetrics(t *testing.T) {
	m := parseMetrics([]byte("# HELP a b\na{x=\"1\"} 2\na{x=\"2\"} 3.5\nab 7\nc 1e+06\n"))
	if got := m.sum("a", ""); got != 5.5 {
		t.Errorf("a is %v, want 5.5", got)
	}
	if got := m.sum("a", `x="2"`); got != 3.5 {
		t.Errorf("a{x=2} is %v, want 3.5", got)
	}
	if got := m.sum("c", ""); got != 1e6 {
		t.Errorf("c is %v, want 1e6", got)
	}
	if got := m.sum("b", ""); got == got {
		t.Errorf("b, which is not there, is %v", got)
	}
}

func TestSearchStopsAtTheLimitOfTheTarget(t *testing.T) {
	r := recordOf()
	r.notify(0)
	if why := r.sustained(); why == "" || !strings.Contains(why, "the rest took") {
		t.Errorf("answers a second late count as sustained: %q", why)
	}
	r.saturated = true
	if r.sustained() == "" {
		t.Error("a record that stopped early counts as sustained")
	}
}
