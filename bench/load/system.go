package main

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

//go:embed rulebook.yaml
var rulebook []byte

const (
	ruleName        = "double-300" // of the rulebook
	customersLooked = 500          // whose balances are compared one by one

	startWithin  = time.Minute
	stopWithin   = 30 * time.Second
	settleWithin = time.Minute
)

// system is recharged, in a process of its own.
type system struct {
	command *exec.Cmd
	exited  chan error
	log     *os.File
	base    string // URL of its HTTP surface
	client  *http.Client
	way     way
	outlet  *outlet
}

// startSystem runs the binary on an empty folder and waits until it is ready.
func startSystem(ctx context.Context, o *options, binary, dir string) (*system, error) {
	book := filepath.Join(dir, "rulebook.yaml")
	if err := os.WriteFile(book, rulebook, 0o600); err != nil {
		return nil, err
	}
	addresses, err := freeAddresses(2)
	if err != nil {
		return nil, err
	}
	log, err := os.Create(filepath.Join(dir, "recharged.log"))
	if err != nil {
		return nil, err
	}
	s := &system{
		base:   "http://" + addresses[0],
		client: &http.Client{Timeout: 10 * time.Second},
		log:    log,
		exited: make(chan error, 1),
	}
	s.command = exec.Command(binary, "serve", "--data", filepath.Join(dir, "data"),
		"--listen", addresses[0], "--nats-listen", addresses[1], "--rulebook", book)
	s.command.Stdout, s.command.Stderr = log, log
	if err := s.command.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", binary, err)
	}
	go func() { s.exited <- s.command.Wait() }()
	err = s.ready(ctx)
	if err == nil {
		err = s.connect(ctx, o, "nats://"+addresses[1])
	}
	if err != nil {
		return nil, errors.Join(err, s.stop(), s.lastWords())
	}
	return s, nil
}

func (s *system) ready(ctx context.Context) error {
	return until(ctx, startWithin, func() error {
		select {
		case err := <-s.exited:
			s.exited <- err
			return permanent{fmt.Errorf("the system ended while it started: %w", err)}
		default:
		}
		_, err := s.get("/readyz")
		return err
	})
}

func (s *system) connect(ctx context.Context, o *options, url string) (err error) {
	if o.via == viaHTTP {
		s.way = newHTTPWay(s.base, o.lanes)
	} else {
		subject := func(event) string { return "recharged.events" }
		if s.way, err = newNATSWay(url, o.lanes, subject, systemVerdict); err != nil {
			return err
		}
	}
	s.outlet, err = newOutlet(ctx, url, "recharged_notifications", `"event":"`)
	return err
}

func (s *system) in() way      { return s.way }
func (s *system) out() *outlet { return s.outlet }
func (s *system) pid() int     { return s.command.Process.Pid }

// stop ends the process as an operator would.
func (s *system) stop() error {
	if s.way != nil {
		s.way.close()
	}
	if s.outlet != nil {
		s.outlet.close()
	}
	defer s.log.Close()
	_ = s.command.Process.Signal(syscall.SIGTERM) // If it ended by itself, exited knows why.
	select {
	case err := <-s.exited:
		if err != nil {
			return fmt.Errorf("the system ended with: %w", err)
		}
		return nil
	case <-time.After(stopWithin):
		_ = s.command.Process.Kill()
		return fmt.Errorf("the system did not stop within %v: %w", stopWithin, <-s.exited)
	}
}

// lastWords returns the end of the system's log, for an error's reader.
func (s *system) lastWords() error {
	const enough = 4 << 10
	text, err := os.ReadFile(s.log.Name())
	if err != nil {
		return err
	}
	return fmt.Errorf("its log ends: %s", text[max(0, len(text)-enough):])
}

func (s *system) get(path string) ([]byte, error) {
	response, err := s.client.Get(s.base + path)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("GET %s: %s: %.200s", path, response.Status, body)
	}
	return body, err
}

// settled waits until the system has nothing left to do, then compares its
// sums with the fold's.
func (s *system) settled(ctx context.Context, want *fold) error {
	if err := until(ctx, settleWithin, s.idle); err != nil {
		return err
	}
	body, err := s.get("/metrics")
	if err != nil {
		return err
	}
	if strays := s.outlet.strays.Load(); strays != 0 {
		return fmt.Errorf("%d notifications came that no event calls for", strays)
	}
	return want.compare(parseMetrics(body))
}

// idle returns nil if no partition has a lag.
func (s *system) idle() error {
	body, err := s.get("/v1/status")
	if err != nil {
		return err
	}
	var status struct {
		Partitions []struct {
			ID  int
			Lag uint64
		}
	}
	if err := json.Unmarshal(body, &status); err != nil {
		return fmt.Errorf("read /v1/status: %w", err)
	}
	if len(status.Partitions) == 0 {
		return errors.New("/v1/status shows no partition")
	}
	for _, p := range status.Partitions {
		if p.Lag != 0 {
			return fmt.Errorf("partition %d has a lag of %d", p.ID, p.Lag)
		}
	}
	return nil
}

// metrics holds samples by name and labels as they are written.
type metrics map[string]float64

func parseMetrics(text []byte) metrics {
	m := metrics{}
	for line := range strings.Lines(string(text)) {
		at := strings.LastIndexByte(line, ' ')
		if line[0] == '#' || at < 0 {
			continue
		}
		if value, err := strconv.ParseFloat(strings.TrimSpace(line[at:]), 64); err == nil {
			m[line[:at]] = value
		}
	}
	return m
}

// sum adds up a metric's samples, those whose labels contain the given text. It
// is not a number if there are none.
func (m metrics) sum(name, label string) float64 {
	total, found := 0.0, false
	for sample, value := range m {
		if rest, ok := strings.CutPrefix(sample, name); ok && (rest == "" || rest[0] == '{') && strings.Contains(rest, label) {
			total += value
			found = true
		}
	}
	if !found {
		return math.NaN()
	}
	return total
}

// compare checks the system's own sums. Amounts are in dinars there, so they are
// compared in the nearest minor unit.
func (f *fold) compare(m metrics) error {
	var faults []error
	check := func(name, label string, scale float64, want int64) {
		got := m.sum(name, label) * scale
		if want == 0 && math.IsNaN(got) {
			return // A counter appears when it first counts.
		}
		if math.Round(got) != float64(want) {
			faults = append(faults, fmt.Errorf("%s{%s} is %.0f, the fold has %d", name, label, got, want))
		}
	}
	check("recharged_events_total", `result="applied"`, 1, f.events)
	check("recharged_events_total", "", 1, f.events)
	check("recharged_recharge_amount_total", "", minorPerDinar, f.recharged)
	check("recharged_rule_credited_total", `rule="`+ruleName+`"`, minorPerDinar, f.credited)
	check("recharged_usage_charged_total", "", minorPerDinar, f.charged)
	check("recharged_shortfall_total", "", minorPerDinar, f.shortfall)
	check("recharged_parked_events", "", 1, 0)
	if got := m.sum("recharged_ledger_imbalance", ""); got != 0 { // also if it is not there
		faults = append(faults, fmt.Errorf("recharged_ledger_imbalance is %v", got))
	}
	return errors.Join(faults...)
}

// customers compares the balances of some customers with the fold's.
func (s *system) customers(want *fold, seed uint64) error {
	rng := rand.New(rand.NewPCG(seed, 1))
	for range customersLooked {
		c := rng.IntN(customersMax)
		path := "/v1/customers/" + strconv.Itoa(firstMSISDN+c)
		body, err := s.get(path)
		if err != nil {
			return err
		}
		var customer struct {
			Balances map[string]struct{ Amount string }
		}
		if err := json.Unmarshal(body, &customer); err != nil {
			return fmt.Errorf("read %s: %w", path, err)
		}
		for name, minor := range map[string]int64{"main": want.main[c], "bonus": want.bonus[c]} {
			got := customer.Balances[name].Amount
			if amount := string(appendMoney(nil, minor)); got != amount && (minor != 0 || got != "") {
				return fmt.Errorf("%s: %s is %q, the fold has %s", path, name, got, amount)
			}
		}
	}
	return nil
}

// buildSystem builds the program that is in this checkout.
func buildSystem(ctx context.Context, dir string) (string, error) {
	binary := filepath.Join(dir, "recharged")
	build := exec.CommandContext(ctx, "go", "build", "-o", binary, "recharged/cmd/recharged")
	var said bytes.Buffer
	build.Stderr = &said
	if err := build.Run(); err != nil {
		return "", fmt.Errorf("build recharged: %w\n%s", err, said.Bytes())
	}
	return binary, nil
}

// freeAddresses returns addresses that nobody listened on a moment ago.
func freeAddresses(n int) ([]string, error) {
	var addresses []string
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close()
		addresses = append(addresses, l.Addr().String())
	}
	return addresses, nil
}

// permanent is an error that asking again does not mend.
type permanent struct{ error }

// until asks until the answer is nil, and returns the last one otherwise.
func until(ctx context.Context, within time.Duration, ask func() error) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ask()
		if err == nil || errors.As(err, new(permanent)) {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w after %v: %w", ctx.Err(), within, err)
		case <-tick.C:
		}
	}
}
