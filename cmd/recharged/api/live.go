package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"recharged/state/charge"
	"recharged/stream"
	"recharged/stream/emit"
)

const (
	followersMax   = 2000 // of the live feed
	followerBuffer = 1024 // items that wait for a follower before it misses some
	ratesEvery     = time.Second
	heartbeatEvery = 15 * time.Second
	liveWriteMax   = 30 * time.Second // a follower that takes nothing for so long is dropped

	kindRates = "rates"
)

// liveKinds are the kinds that can be followed.
func liveKinds() []string {
	return []string{emit.KindOutcome.String(), emit.KindNotification.String(), emit.KindAlert.String(), kindRates}
}

func (a *API) registerLive() {
	registry := a.huma.OpenAPI().Components.Schemas
	events := &huma.Schema{
		Type:        huma.TypeString,
		Description: "Events outcome, notification, alert and rates, their data JSON, and missed with the number of items that came faster than they were taken.",
		AnyOf:       []*huma.Schema{schemaOf[Outcome](registry), schemaOf[CloudEvent](registry), schemaOf[Rates](registry)},
	}
	events.Type = ""
	a.handle(&huma.Operation{
		OperationID: "live", Method: http.MethodGet, Path: "/v1/live", Tags: []string{"operations"},
		Summary: "What happens, as server-sent events", Security: needs(Read),
		Parameters: []*huma.Param{
			{Name: "kinds", In: "query", Description: "Which, separated by commas; all if left out.", Schema: &huma.Schema{Type: huma.TypeString}, Example: "outcome,alert"},
			{Name: "msisdn", In: "query", Description: "Only what concerns this customer, and rates.", Schema: &huma.Schema{Type: huma.TypeString}},
		},
		Responses: map[string]*huma.Response{
			"200": response("The feed; it goes on until the client leaves.", map[string]*huma.MediaType{"text/event-stream": {Schema: events}}),
			"422": a.problemResponse("A parameter is wrong."),
			"503": a.problemResponse("Too many follow already.", "Retry-After"),
		},
	}, a.getLive)
}

// liveFilter is what a follower wants to see.
type liveFilter struct {
	kinds  []emit.Kind
	rates  bool
	msisdn charge.MSISDN // zero: everybody
}

func parseLiveFilter(kinds, msisdn string) (f liveFilter, err error) {
	if msisdn != "" {
		if f.msisdn, err = charge.ParseMSISDN(strings.TrimSpace(msisdn)); err != nil { // A plus sign in a query reads as a space.
			return f, err
		}
	}
	wanted := liveKinds()
	if kinds != "" {
		wanted = strings.Split(kinds, ",")
	}
	for _, name := range wanted {
		switch i := slices.Index(liveKinds(), strings.TrimSpace(name)); {
		case i < 0:
			return f, fmt.Errorf("there is no kind %q: kinds are %s", name, strings.Join(liveKinds(), ", "))
		case liveKinds()[i] == kindRates:
			f.rates = true
		default:
			f.kinds = append(f.kinds, emit.Kind(i))
		}
	}
	return f, nil
}

func (a *API) getLive(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	filter, err := parseLiveFilter(query.Get("kinds"), query.Get("msisdn"))
	if err != nil {
		writeProblem(w, http.StatusUnprocessableEntity, err.Error())
		return
	}
	defer a.followers.Add(-1)
	if a.followers.Add(1) > followersMax {
		retryAfter(w, time.Minute)
		writeProblem(w, http.StatusServiceUnavailable, "too many follow the live feed already")
		return
	}
	s := &liveStream{w: w, control: http.NewResponseController(w)}
	if err := s.control.SetReadDeadline(time.Time{}); err != nil {
		a.logger.Debug("live feed ends with the read timeout", "reason", err)
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no")
	w.WriteHeader(http.StatusOK)
	s.write(": recharged live feed\n\n")
	a.follow(r, s, filter)
}

// follow writes what happens until the follower leaves or the feed ends.
func (a *API) follow(r *http.Request, s *liveStream, filter liveFilter) {
	var items <-chan emit.Followed
	if len(filter.kinds) > 0 {
		follower := a.processor.Live().Follow(followerBuffer, filter.kinds...)
		defer follower.Close()
		items = follower.Items
	}
	rates := time.NewTicker(ratesEvery)
	defer rates.Stop()
	heartbeat := time.NewTicker(heartbeatEvery)
	defer heartbeat.Stop()
	for s.err == nil {
		select {
		case <-r.Context().Done():
			return
		case <-a.ending:
			return
		case item, following := <-items:
			if !following {
				return
			}
			if item.Missed > 0 {
				s.event("missed", "", fmt.Appendf(nil, `{"items":%d}`, item.Missed))
			}
			if filter.msisdn == 0 || item.MSISDN == filter.msisdn {
				s.event(item.Kind.String(), item.ID, item.Data)
			}
		case <-rates.C:
			if filter.rates {
				s.rates(a.meter.read(a.processor, a.now()))
			}
		case <-heartbeat.C:
			s.write(": alive\n\n")
		}
	}
}

// liveStream writes server-sent events. After an error it writes nothing more.
type liveStream struct {
	w       http.ResponseWriter
	control *http.ResponseController
	buffer  []byte
	err     error
}

// event writes one event. Its data is JSON without line breaks.
func (s *liveStream) event(kind, id string, data []byte) {
	s.buffer = append(s.buffer[:0], "event: "...)
	s.buffer = append(s.buffer, kind...)
	if id != "" {
		s.buffer = append(append(s.buffer, "\nid: "...), id...)
	}
	s.buffer = append(append(s.buffer, "\ndata: "...), data...)
	s.buffer = append(s.buffer, "\n\n"...)
	s.flush()
}

func (s *liveStream) rates(r Rates) {
	data, err := json.Marshal(r)
	if err != nil {
		s.err = err
		return
	}
	s.event(kindRates, "", data)
}

func (s *liveStream) write(text string) {
	s.buffer = append(s.buffer[:0], text...)
	s.flush()
}

func (s *liveStream) flush() {
	if s.err != nil {
		return
	}
	if s.err = s.control.SetWriteDeadline(time.Now().Add(liveWriteMax)); s.err != nil {
		return
	}
	if _, s.err = s.w.Write(s.buffer); s.err == nil {
		s.err = s.control.Flush()
	}
}

// meter measures how fast events come and take effect. All followers share it,
// so that many cost no more than one.
type meter struct {
	mu    sync.Mutex // guards the rest
	at    time.Time
	total PartitionStatus // sums over all partitions at that time
	last  Rates
}

func (m *meter) read(p *stream.Processor, now time.Time) Rates {
	m.mu.Lock()
	defer m.mu.Unlock()
	elapsed := now.Sub(m.at)
	if elapsed < ratesEvery*9/10 {
		return m.last
	}
	var total PartitionStatus
	for _, s := range p.Status().Partitions {
		total.Accepted += s.Accepted
		total.Applied += s.Applied
		total.Lag += s.Lag
	}
	m.last = Rates{At: now.UTC().Format(time.RFC3339Nano), Lag: total.Lag}
	if elapsed < 10*ratesEvery { // Else nobody looked on for a while, and this is the first look.
		m.last.Accepted = perSecond(m.total.Accepted, total.Accepted, elapsed)
		m.last.Applied = perSecond(m.total.Applied, total.Applied, elapsed)
	}
	m.at, m.total = now, total
	return m.last
}

func perSecond(before, after uint64, elapsed time.Duration) float64 {
	if after <= before {
		return 0
	}
	return float64(after-before) / elapsed.Seconds()
}
