package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"

	"recharged/stream/accept"
)

type loadCommand struct {
	serverFlags
	Files    []string      `arg:"" name:"file" help:"NDJSON, one CloudEvent a line; gzip and zstd are unpacked; - is the standard input."`
	RetryFor time.Duration `default:"60s" help:"For how long to try again when the server is busy or away."`
	Parallel int           `default:"4" help:"Requests in flight. The events of one customer stay in order."`
}

// Help has the example.
func (*loadCommand) Help() string {
	return example("recharged load events.ndjson.zst", "cat events.ndjson | recharged load -")
}

const parallelMax = 64

// Run sends files and says what became of their events.
func (c *loadCommand) Run(s *session) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	if c.Parallel < 1 || c.Parallel > parallelMax {
		return usagef("--parallel %d is not between 1 and %d", c.Parallel, parallelMax)
	}
	bar := newProgress(s, c.Files)
	ctx, cancel := context.WithCancelCause(s.ctx)
	defer cancel(nil)
	l := &loader{client: client, retryFor: c.RetryFor, fail: cancel, summary: summary{Reasons: map[string]int{}}}
	begin := time.Now()
	l.start(ctx, c.Parallel)
	err = l.read(ctx, s, c.Files, bar)
	l.finish()
	if failed := context.Cause(ctx); failed != nil {
		err = failed
	}
	if bar != nil {
		_ = bar.Finish() // It is decoration.
	}
	l.summary.Seconds = time.Since(begin).Seconds()
	if err := l.summary.print(s); err != nil {
		return err
	}
	switch {
	case s.ctx.Err() != nil:
		return &exitError{exitNo, "interrupted: what was not confirmed may be sent again, nothing counts twice"}
	case err != nil:
		return err
	case l.summary.Rejected > 0:
		return no()
	}
	return nil
}

// newProgress returns a bar for people, nil for others.
func newProgress(s *session, files []string) *progressbar.ProgressBar {
	if !isTerminal(s.stderr) {
		return nil
	}
	total := int64(0)
	for _, name := range files {
		info, err := os.Stat(name)
		if err != nil || !info.Mode().IsRegular() {
			total = -1 // Nobody knows how much it is.
			break
		}
		total += info.Size()
	}
	return progressbar.NewOptions64(total, progressbar.OptionSetWriter(s.stderr), progressbar.OptionShowBytes(true),
		progressbar.OptionSetDescription("sending"), progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionClearOnFinish())
}

// loader sends chunks of lines. Each worker has one request in flight, and a
// customer's lines all go to one worker, so they arrive in their order.
type loader struct {
	client   *client
	retryFor time.Duration
	fail     context.CancelCauseFunc
	lanes    []*lane
	workers  sync.WaitGroup

	mu      sync.Mutex // guards summary
	summary summary
}

// lane is the way to one worker.
type lane struct {
	chunks chan chunk
	filled chunk // is sent when it is full
}

// chunk is lines of one file that are sent together.
type chunk struct {
	file  string
	lines []int // their numbers
	body  []byte
}

const (
	chunkLinesMax = 1000
	chunkBytesMax = 1 << 20
)

func (l *loader) start(ctx context.Context, workers int) {
	for range workers {
		lane := &lane{chunks: make(chan chunk, 1)}
		l.lanes = append(l.lanes, lane)
		l.workers.Go(func() {
			for c := range lane.chunks {
				if ctx.Err() != nil {
					continue // Empty the lane, so that its reader can end.
				}
				if err := l.deliver(ctx, c); err != nil {
					l.fail(err)
				}
			}
		})
	}
}

// finish sends what is left and waits for the workers.
func (l *loader) finish() {
	for _, lane := range l.lanes {
		lane.flush()
		close(lane.chunks)
	}
	l.workers.Wait()
}

func (l *lane) flush() {
	if len(l.filled.lines) > 0 {
		l.chunks <- l.filled
		l.filled = chunk{}
	}
}

// add puts a line into a chunk.
func (l *lane) add(file string, number int, line []byte) {
	c := &l.filled
	if len(c.lines) > 0 && (c.file != file || len(c.lines) == chunkLinesMax || len(c.body)+len(line) > chunkBytesMax) {
		l.flush()
	}
	c.file = file
	c.lines = append(c.lines, number)
	c.body = append(append(c.body, line...), '\n')
}

// How long to wait between two attempts, without what the server asks for.
const (
	loadRetryMin = 100 * time.Millisecond
	loadRetryMax = 5 * time.Second
)

// deliver sends a chunk until the server has taken it or there is no hope.
// Events that were taken by an attempt whose answer got lost are recognised by
// their ids.
func (l *loader) deliver(ctx context.Context, c chunk) error {
	begin := time.Now()
	for wait := loadRetryMin; ; wait = min(2*wait, loadRetryMax) {
		verdict, err := l.client.sendEvents(ctx, c.body)
		if err == nil {
			l.count(c, verdict)
			return nil
		}
		asked, hope := retryable(err)
		if !hope {
			return fmt.Errorf("%s:%d: %w", c.file, c.lines[0], asExit(err))
		}
		pauseFor := max(asked, wait/2+rand.N(wait/2))
		if time.Since(begin)+pauseFor > l.retryFor {
			return &exitError{exitUnreachable, fmt.Sprintf("gave up after %s: %v", l.retryFor, err)}
		}
		if !pause(ctx, pauseFor) {
			return context.Cause(ctx)
		}
	}
}

// sendEvents makes one attempt to send lines.
func (c *client) sendEvents(ctx context.Context, lines []byte) (accept.Verdict, error) {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	var verdict accept.Verdict
	answer, err := c.send(ctx, request{
		method: http.MethodPost, path: "/v1/events", body: lines,
		header: map[string]string{"Content-Type": "application/x-ndjson"},
	})
	var none *verdictProblem
	if errors.As(err, &none) {
		return verdict, json.Unmarshal(none.body, &verdict)
	}
	if err != nil {
		return verdict, err
	}
	defer answer.Body.Close()
	if err := json.NewDecoder(answer.Body).Decode(&verdict); err != nil {
		return verdict, &unreachable{c.base.Redacted(), err} // It broke off.
	}
	return verdict, nil
}

// retryable says whether trying again can help, and how long the server asks to
// wait.
func retryable(err error) (asked time.Duration, hope bool) {
	var far *unreachable
	if errors.As(err, &far) {
		return 0, !errors.Is(err, context.Canceled) && far.advice() == ""
	}
	var p *problem
	if !errors.As(err, &p) {
		return 0, false
	}
	seconds, _ := strconv.Atoi(p.retryAfter) // Without a number of seconds: at once.
	switch p.Status {
	case http.StatusTooManyRequests, http.StatusServiceUnavailable, http.StatusBadGateway,
		http.StatusGatewayTimeout, http.StatusRequestTimeout:
		return time.Duration(seconds) * time.Second, true
	}
	return 0, false
}

// summary is what became of the events.
type summary struct {
	Accepted int            `json:"accepted"`
	Rejected int            `json:"rejected"`
	Seconds  float64        `json:"seconds"`
	Reasons  map[string]int `json:"reasons"`
	First    []refused      `json:"first"` // the first rejected ones
}

// refused is an event that was rejected.
type refused struct {
	File   string `json:"file"`
	Line   int    `json:"line"`
	ID     string `json:"id"`
	Reason string `json:"reason"`
	Field  string `json:"field,omitempty"`
	Detail string `json:"detail"`
}

const refusedShown = 10

// count adds the answer to a chunk.
func (l *loader) count(c chunk, v accept.Verdict) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.summary.Accepted += v.Accepted
	// A rejection of the whole stands for every line.
	whole := len(v.Rejected) == 1 && v.Accepted == 0 && len(c.lines) > 1
	for _, r := range v.Rejected {
		n := 1
		if whole {
			n = len(c.lines)
		}
		l.summary.Rejected += n
		l.summary.Reasons[string(r.Reason)] += n
		l.summary.First = append(l.summary.First, refused{
			c.file, c.lines[min(r.Index, len(c.lines)-1)], r.ID, string(r.Reason), r.Field, r.Detail,
		})
	}
	slices.SortStableFunc(l.summary.First, func(a, b refused) int {
		if a.File == b.File {
			return a.Line - b.Line
		}
		return 0
	})
	l.summary.First = l.summary.First[:min(len(l.summary.First), refusedShown)]
}

func (s *summary) print(to *session) error {
	if to.json {
		s.First = append([]refused{}, s.First...)
		return printJSON(to.stdout, s)
	}
	rate := float64(s.Accepted+s.Rejected) / max(s.Seconds, 0.001)
	text := fmt.Sprintf("%d accepted, %d rejected in %.1f s (%.0f a second)\n", s.Accepted, s.Rejected, s.Seconds, rate)
	for _, reason := range slices.Sorted(maps.Keys(s.Reasons)) {
		text += fmt.Sprintf("  %d %s\n", s.Reasons[reason], reason)
	}
	if len(s.First) > 0 {
		text += "first rejected:\n"
	}
	for _, r := range s.First {
		text += fmt.Sprintf("  %s:%d: %s: %s\n", r.File, r.Line, strings.Trim(r.Reason+" "+r.Field, " "), r.Detail)
	}
	_, err := fmt.Fprint(to.stdout, text)
	return err
}
