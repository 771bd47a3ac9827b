package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/nats-io/nats.go"
)

// natsWay publishes each message with a reply subject of its own, on one
// connection a lane; the reply is the acceptance.
type natsWay struct {
	conns   []*nats.Conn
	inboxes []string
	subject func(event) string
	verdict func(reply []byte, events int) error
	answer  atomic.Pointer[func(m int, err error)]
	batch   atomic.Int64
}

func newNATSWay(url string, lanes int, subject func(event) string, verdict func([]byte, int) error) (*natsWay, error) {
	w := &natsWay{subject: subject, verdict: verdict}
	for range lanes {
		nc, err := nats.Connect(url, nats.NoReconnect())
		if err != nil {
			w.close()
			return nil, fmt.Errorf("connect to %s: %w", url, err)
		}
		inbox := nats.NewInbox()
		w.conns, w.inboxes = append(w.conns, nc), append(w.inboxes, inbox+".")
		sub, err := nc.Subscribe(inbox+".*", w.reply)
		if err == nil {
			err = errors.Join(sub.SetPendingLimits(-1, -1), nc.Flush())
		}
		if err != nil {
			w.close()
			return nil, fmt.Errorf("listen for answers: %w", err)
		}
	}
	return w, nil
}

func (w *natsWay) answers(f func(m int, err error)) { w.answer.Store(&f) }

func (w *natsWay) send(m int, t *traffic) error {
	lane := m % len(w.conns)
	w.batch.Store(int64(t.batch))
	reply := w.inboxes[lane] + strconv.Itoa(m)
	return w.conns[lane].PublishRequest(w.subject(t.events[m*t.batch]), reply, t.messages[m])
}

func (w *natsWay) reply(msg *nats.Msg) {
	m, err := strconv.Atoi(msg.Subject[strings.LastIndexByte(msg.Subject, '.')+1:])
	if err != nil {
		m = -1
	}
	if msg.Header.Get("Status") != "" {
		err = fmt.Errorf("nobody takes events: status %s", msg.Header.Get("Status"))
	} else {
		err = w.verdict(msg.Data, int(w.batch.Load()))
	}
	(*w.answer.Load())(m, err)
}

func (w *natsWay) close() {
	for _, nc := range w.conns {
		nc.Close()
	}
}

// acceptance is what matters of the answer to events, by NATS or by HTTP.
type acceptance struct {
	Accepted int             `json:"accepted"`
	Rejected json.RawMessage `json:"rejected"`
	Error    *struct {
		Name        int    `json:"err_code"`
		Description string `json:"description"`
	} `json:"error"`
}

const errorBusy = 20429 // the system's queues are full

// systemVerdict reads the system's reply to so many events.
func systemVerdict(reply []byte, events int) error {
	var a acceptance
	if err := json.Unmarshal(reply, &a); err != nil {
		return fmt.Errorf("read the answer %.200q: %w", reply, err)
	}
	switch {
	case a.Error != nil && a.Error.Name == errorBusy:
		return errRefused
	case a.Error != nil:
		return errors.New(a.Error.Description)
	case a.Accepted != events:
		return fmt.Errorf("%d of %d events accepted: %s", a.Accepted, events, a.Rejected)
	}
	return nil
}

// httpWay posts each message. A lane has one connection and one message under
// way; the next ones wait here for their turn, and the wait is measured.
type httpWay struct {
	client *http.Client
	url    string
	lanes  []chan job
	answer atomic.Pointer[func(m int, err error)]
	wait   sync.WaitGroup
}

type job struct {
	m, events int
	body      []byte
}

func newHTTPWay(base string, lanes int) *httpWay {
	w := &httpWay{
		client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: lanes}},
		url:    base + "/v1/events",
	}
	for range lanes {
		lane := make(chan job, outstandingMax)
		w.lanes = append(w.lanes, lane)
		w.wait.Go(func() {
			for j := range lane {
				err := w.post(j)
				(*w.answer.Load())(j.m, err)
			}
		})
	}
	return w
}

func (w *httpWay) answers(f func(m int, err error)) { w.answer.Store(&f) }

func (w *httpWay) send(m int, t *traffic) error {
	w.lanes[m%len(w.lanes)] <- job{m, t.batch, t.messages[m]}
	return nil
}

func (w *httpWay) post(j job) error {
	contentType := "application/cloudevents+json"
	if j.events > 1 {
		contentType = "application/x-ndjson"
	}
	response, err := w.client.Post(w.url, contentType, bytes.NewReader(j.body))
	if err != nil {
		return err
	}
	body, err := io.ReadAll(response.Body)
	response.Body.Close()
	switch {
	case err != nil:
		return err
	case response.StatusCode == http.StatusTooManyRequests:
		return errRefused
	case response.StatusCode != http.StatusAccepted:
		return fmt.Errorf("%s: %.200s", response.Status, body)
	}
	return systemVerdict(body, j.events)
}

func (w *httpWay) close() {
	for _, lane := range w.lanes {
		close(lane)
	}
	w.wait.Wait()
	w.client.CloseIdleConnections()
}
