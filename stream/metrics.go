package stream

import (
	"context"
	"maps"
	"math/bits"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"recharged/rules"
	"recharged/state/charge"
	"recharged/state/money"
	"recharged/stream/emit"
	"recharged/stream/journal"
)

// Metrics are what Prometheus scrapes. They observe; nothing reads them to
// decide anything. Amounts are in major units, so they pass through floating
// point here and nowhere else. No label ever holds an MSISDN, and labels that
// producers choose are bounded.
type Metrics struct {
	events        *prometheus.CounterVec
	eventSeconds  *prometheus.HistogramVec
	stageSeconds  *prometheus.HistogramVec
	recharged     *prometheus.CounterVec
	charged       *prometheus.CounterVec
	ruleResults   *prometheus.CounterVec
	ruleCredited  *prometheus.CounterVec
	shortfall     *prometheus.CounterVec
	notifications *prometheus.CounterVec
	alerts        *prometheus.CounterVec
	parked        *prometheus.CounterVec

	dropped prometheus.Counter

	channels labelBound
	rules    labelBound
}

// Bounds on labels whose values come from outside: what comes beyond is counted
// under labelOther.
const (
	channelLabelsMax = 64
	ruleLabelsMax    = 20_000
	labelBytesMax    = 64
	labelOther       = "other"
	labelNone        = "none"
)

// latencyBuckets are the classic buckets, in seconds: fine where an event
// spends its time, up to what an operator calls an outage.
var latencyBuckets = []float64{
	.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30,
}

func newMetrics(registry prometheus.Registerer) *Metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
		registry.MustRegister(c)
		return c
	}
	histogram := func(name, help string, labels ...string) *prometheus.HistogramVec {
		h := prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: name, Help: help, Buckets: latencyBuckets,
			NativeHistogramBucketFactor:     1.1,
			NativeHistogramMaxBucketNumber:  160,
			NativeHistogramMinResetDuration: time.Hour,
		}, labels)
		registry.MustRegister(h)
		return h
	}
	m := &Metrics{
		events:        counter("recharged_events_total", "Events by type and how they ended: applied, duplicate, parked, rejected.", "type", "result"),
		eventSeconds:  histogram("recharged_event_seconds", "From an event's acceptance in the event log to its outputs being durable.", "type"),
		stageSeconds:  histogram("recharged_stage_seconds", "Time spent by stage: accept (arrival to durable), read (durable to read), decide and commit (one turn), emit (commit to outputs durable).", "stage"),
		recharged:     counter("recharged_recharge_amount_total", "Money recharged, in major units, by channel.", "channel"),
		charged:       counter("recharged_usage_charged_total", "Money charged for usage, in major units, by service.", "service"),
		ruleResults:   counter("recharged_rule_results_total", "Verdicts on rules that matched: applied, or why they were passed over.", "rule", "result"),
		ruleCredited:  counter("recharged_rule_credited_total", "What rules credited, in the balance's unit.", "rule", "balance"),
		shortfall:     counter("recharged_shortfall_total", "Money that should have been taken and no balance covered, by service; none: by an adjustment.", "service"),
		notifications: counter("recharged_notifications_total", "Notifications by channel and result.", "channel", "result"),
		alerts:        counter("recharged_alerts_total", "Alerts raised, by name and severity.", "name", "severity"),
		parked:        counter("recharged_parked_total", "Events set aside, by reason.", "reason"),
		channels:      labelBound{max: channelLabelsMax},
		rules:         labelBound{max: ruleLabelsMax},
	}
	m.dropped = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "recharged_dropped_messages_total", Help: "NATS messages that came faster than they could be read, or could not be stored, from producers who asked for no reply.",
	})
	registry.MustRegister(m.dropped)
	return m
}

func (m *Metrics) stage(name string, took time.Duration) {
	m.stageSeconds.WithLabelValues(name).Observe(took.Seconds())
}

// commit counts what one commit did.
func (m *Metrics) commit(c *journal.Commit) {
	for i := range c.Outcomes {
		m.outcome(&c.Outcomes[i])
	}
}

// expect makes the series that a rulebook lets one expect, at zero: what is not
// there cannot be alerted on, and a rate needs a beginning.
func (m *Metrics) expect(book *rules.Book) {
	for eventType := range book.Catalog().Types {
		m.eventSeconds.WithLabelValues(eventType)
		for _, result := range []string{charge.Applied.String(), charge.Duplicate.String(), charge.Parked.String(), resultRejected} {
			m.events.WithLabelValues(eventType, result)
		}
	}
	m.events.WithLabelValues("unknown", resultRejected)
	for _, reason := range charge.ParkReasons() {
		m.parked.WithLabelValues(string(reason))
	}
	for _, service := range book.Catalog().Services {
		m.charged.WithLabelValues(service)
		m.shortfall.WithLabelValues(service)
	}
	m.recharged.WithLabelValues(labelNone)
	for _, r := range book.Rules() {
		name := m.rules.of(r.Name)
		for _, result := range ruleResults(r.Budget != 0, r.Holdout != 0) {
			m.ruleResults.WithLabelValues(name, result)
		}
		for _, balance := range r.Credits {
			m.ruleCredited.WithLabelValues(name, balance)
		}
		for _, channel := range r.Channels {
			m.notification(channel, emit.ResultSent, 0)
			m.notification(channel, emit.ResultFailed, 0)
		}
		for _, severity := range r.Severities {
			m.alerts.WithLabelValues(name, severity)
		}
	}
}

// notification counts attempts to publish notifications.
func (m *Metrics) notification(channel, result string, n int) {
	m.notifications.WithLabelValues(m.channels.of(channel), result).Add(float64(n))
}

// resultRejected is the result of an event that was refused at the door.
const resultRejected = "rejected"

// ofTime reports whether nobody sent the event of an outcome: time passed.
func ofTime(o *charge.Outcome) bool {
	return o.Type == charge.ExpiryType || o.Type == charge.TimerType
}

func (m *Metrics) outcome(o *charge.Outcome) {
	if !ofTime(o) {
		m.events.WithLabelValues(o.Type, o.Result.String()).Inc()
	}
	if o.Result == charge.Parked {
		m.parked.WithLabelValues(o.Reason).Inc()
	}
	if o.Result != charge.Applied {
		return
	}
	if o.Type == charge.Recharge {
		m.recharged.WithLabelValues(m.channels.of(o.Channel)).Add(major(o.Money, o.Amount))
	}
	for i := range o.Postings {
		p := &o.Postings[i]
		switch {
		case p.Account == charge.AccountUsage && p.Unit == o.Money:
			m.charged.WithLabelValues(o.Service).Add(major(p.Unit, -p.Amount))
		case p.Amount > 0 && p.Account == charge.Account(charge.PromoPrefix+p.Cause):
			m.ruleCredited.WithLabelValues(m.rules.of(p.Cause), p.Balance).Add(major(p.Unit, p.Amount))
		}
	}
	if o.Shortfall > 0 {
		m.shortfall.WithLabelValues(orNone(o.Service)).Add(major(o.Money, o.Shortfall))
	}
	for i := range o.Rules {
		r := &o.Rules[i]
		result := r.Reason
		if r.Verdict == charge.RuleApplied {
			result = r.Verdict.String()
		}
		m.ruleResults.WithLabelValues(m.rules.of(r.Name), result).Inc()
	}
}

// durable observes that everything a commit says is durable outside.
func (m *Metrics) durable(c *journal.Commit, at time.Time) {
	for i := range c.Outcomes {
		o := &c.Outcomes[i]
		if ofTime(o) {
			continue
		}
		m.eventSeconds.WithLabelValues(o.Type).Observe(max(0, at.Sub(o.Accepted.Time())).Seconds())
	}
}

// sumValue writes a sum for a metric. It takes the magnitude first: a small
// negative sum is the difference of two huge numbers otherwise, and rounds to
// nothing.
func sumValue(s money.Sum) float64 {
	hi, lo, sign := uint64(s.Hi), s.Lo, 1.0
	if s.Hi < 0 {
		var borrow uint64
		lo, borrow = bits.Sub64(0, lo, 0)
		hi, _ = bits.Sub64(0, hi, borrow)
		sign = -1
	}
	return sign * (float64(hi)*(1<<63)*2 + float64(lo))
}

// major writes an amount in major units, for a metric.
func major(u money.Unit, a money.Amount) float64 {
	units := 1.0
	for range u.Digits {
		units *= 10
	}
	return float64(a) / units // One division, so one rounding: 49.99 and not 49.989999999999995.
}

func orNone(value string) string {
	if value == "" {
		return labelNone
	}
	return value
}

// labelBound lets the first values of a label through and calls the rest other,
// and so whatever is too long for a name or may be somebody's number.
type labelBound struct {
	max  int
	mu   sync.RWMutex
	seen map[string]bool // guarded by mu
}

func (b *labelBound) of(value string) string {
	if value == "" {
		return labelNone
	}
	if len(value) > labelBytesMax || charge.HoldsNumber(value) {
		return labelOther
	}
	b.mu.RLock()
	known := b.seen[value]
	b.mu.RUnlock()
	if known {
		return value
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.seen) >= b.max {
		return labelOther
	}
	if b.seen == nil {
		b.seen = map[string]bool{}
	}
	b.seen[value] = true
	return value
}

// gauges are the metrics that are read off the processor at each scrape.
type gauges struct{ processor *Processor }

var (
	descLagRecords = prometheus.NewDesc("recharged_log_lag_records", "Records of the event log that have not taken effect yet.", []string{"partition"}, nil)
	descLagSeconds = prometheus.NewDesc("recharged_log_lag_seconds", "Age of the last record that took effect, while there are others behind it.", []string{"partition"}, nil)
	descHeld       = prometheus.NewDesc("recharged_held_events", "Events that wait until it is known whether a rule's budget holds enough.", []string{"partition"}, nil)
	descBudget     = prometheus.NewDesc("recharged_rule_budget_remaining", "What is left of a rule's budget, in major units of the credited balance's unit.", []string{"rule"}, nil)
	descSuspended  = prometheus.NewDesc("recharged_rule_suspended", "1 for a rule that failed too often and waits for a rulebook in which it is mended, else 0.", []string{"rule"}, nil)
	descArmPeople  = prometheus.NewDesc("recharged_rule_arm_customers", "Customers who met a rule with a holdout, by arm: treated or holdout.", []string{"rule", "arm"}, nil)
	descArmTimes   = prometheus.NewDesc("recharged_rule_arm_recharges_total", "Recharges of those customers since they met the rule.", []string{"rule", "arm"}, nil)
	descArmAmount  = prometheus.NewDesc("recharged_rule_arm_recharge_amount_total", "What those recharges came to, in major units.", []string{"rule", "arm"}, nil)
	descSinkLag    = prometheus.NewDesc("recharged_sink_lag_records", "Records of the commit log that a way out has not published yet.", []string{"sink", "partition"}, nil)
	descParked     = prometheus.NewDesc("recharged_parked_events", "Events that are set aside now, by reason.", []string{"reason"}, nil)
	descCustomers  = prometheus.NewDesc("recharged_customers", "Customers in the state.", nil, nil)
	descStateBytes = prometheus.NewDesc("recharged_state_bytes", "Size of the state on disk, in bytes.", nil, nil)
	descCache      = prometheus.NewDesc("recharged_cache_requests_total", "Reads of the customer cache, by result.", []string{"result"}, nil)
	descImbalance  = prometheus.NewDesc("recharged_ledger_imbalance", "What customers hold minus what the accounts say they should, in minor units: 0, always.", []string{"unit"}, nil)
	descRulebook   = prometheus.NewDesc("recharged_rulebook_info", "The newest rulebook.", []string{"version", "digest"}, nil)
	descBuild      = prometheus.NewDesc("recharged_build_info", "This program.", []string{"version", "revision"}, nil)
)

// Describe implements prometheus.Collector.
func (g gauges) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		descLagRecords, descLagSeconds, descHeld, descBudget, descSuspended, descArmPeople, descArmTimes, descArmAmount, descSinkLag, descParked, descCustomers, descStateBytes,
		descCache, descImbalance, descRulebook, descBuild,
	} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (g gauges) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	p := g.processor
	status := p.Status()
	for _, s := range status.Partitions {
		id := strconv.Itoa(int(s.ID))
		gauge(descLagRecords, float64(s.Lag), id)
		gauge(descLagSeconds, s.LagTime.Seconds(), id)
		gauge(descHeld, float64(s.Held), id)
	}
	g.collectSinks(gauge)
	g.collectRules(ch)
	parked, imbalance, customers := p.totals()
	for _, reason := range charge.ParkReasons() {
		parked[string(reason)] += 0
	}
	book, version := p.Book()
	for _, b := range book.Plan().Balances {
		if _, known := imbalance[b.Unit.Name]; !known {
			imbalance[b.Unit.Name] = money.Sum{}
		}
	}
	for _, reason := range slices.Sorted(maps.Keys(parked)) {
		gauge(descParked, float64(parked[reason]), reason)
	}
	for _, unit := range slices.Sorted(maps.Keys(imbalance)) {
		gauge(descImbalance, sumValue(imbalance[unit]), unit)
	}
	gauge(descCustomers, float64(customers))
	usage := p.store.Usage()
	gauge(descStateBytes, float64(usage.StoreBytes))
	counter := func(value uint64, result string) {
		ch <- prometheus.MustNewConstMetric(descCache, prometheus.CounterValue, float64(value), result)
	}
	counter(usage.CacheHits, "hit")
	counter(usage.CacheMisses, "miss")
	gauge(descRulebook, 1, strconv.FormatUint(version, 10), book.Digest())
	gauge(descBuild, 1, p.opts.Version, p.opts.Revision)
}

// collectSinks tells how far behind the ways out are, as far as the logs' server
// can be asked.
func (g gauges) collectSinks(gauge func(d *prometheus.Desc, value float64, labels ...string)) {
	ctx, cancel := context.WithTimeout(context.Background(), statusTimeout)
	defer cancel()
	lag, err := g.processor.emitter.Lag(ctx)
	if err != nil {
		g.processor.logger.Debug("how far behind the ways out are is not known", "reason", err)
		return
	}
	for sink, positions := range lag {
		for id, position := range positions {
			gauge(descSinkLag, float64(position.Pending), string(sink), strconv.Itoa(id))
		}
	}
}

// collectRules tells what the partitions have noted of rules.
func (g gauges) collectRules(ch chan<- prometheus.Metric) {
	p := g.processor
	stats, err := p.RuleStats(context.Background())
	if err != nil {
		p.logger.Warn("what became of the rules is not known", "reason", err)
		return
	}
	send := func(d *prometheus.Desc, kind prometheus.ValueType, value float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, kind, value, labels...)
	}
	book, _ := p.Book()
	currency := book.Plan().Currency
	seen := map[string]bool{} // Two rules beyond the bound share a label.
	for i := range stats {
		s := &stats[i]
		name := p.metrics.rules.of(s.Rule)
		if seen[name] {
			continue
		}
		seen[name] = true
		send(descSuspended, prometheus.GaugeValue, float64(count(s.Suspended)), name)
		if b := s.Budget; b != nil {
			send(descBudget, prometheus.GaugeValue, major(b.unit, b.left), name)
		}
		if s.Treated == nil {
			continue
		}
		for arm, a := range map[string]*ArmStat{"treated": s.Treated, "holdout": s.Held} {
			send(descArmPeople, prometheus.GaugeValue, float64(a.Customers), name, arm)
			send(descArmTimes, prometheus.CounterValue, float64(a.Recharges), name, arm)
			send(descArmAmount, prometheus.CounterValue, majorSum(currency, a.sum), name, arm)
		}
	}
}

// majorSum writes a sum in major units, for a metric.
func majorSum(u money.Unit, s money.Sum) float64 {
	f := sumValue(s)
	for range u.Digits {
		f /= 10
	}
	return f
}
