// Package workload is what the tests of the whole program are made of: a seeded
// stream of a mobile operator's events, an oracle that says what they must come
// to, and the start and stop of the real binary.
//
// It promises that one seed gives one stream, and that the stream leaves the
// oracle no choice: no event stands so close to the edge of a window, a period
// or a validity that the moment of its arrival decides. It refuses to know the
// code under test: the oracle is a second, simple implementation of the
// contract and shares nothing with the first.
package workload

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"
)

//go:embed rulebook.yaml
var rulebook string

// Rulebook returns the one rulebook that the oracle knows, with the budgets of
// a workload of so many events.
func Rulebook(events int) []byte {
	var words []string
	for _, budget := range Budgets(events) {
		words = append(words, budget.word, fmt.Sprintf("%d.%02d", budget.Total/100, budget.Total%100))
	}
	return []byte(strings.NewReplacer(words...).Replace(rulebook))
}

// Budget is that of a rule, in centimes.
type Budget struct {
	Total   int64
	Balance string // that the rule credits
	Equal   int64  // what each credit is; 0: they differ

	word string // of the rulebook, in its place
}

// Gift is what each recharge gets that a rule of gifts rewards, in centimes.
const Gift = 5000

// Budgets returns the budgets of a workload of so many events, by rule. One after
// the other is spent while the events are sent, the first before half of them is.
func Budgets(events int) map[string]Budget {
	n := int64(events)
	return map[string]Budget{
		"gift-app":     {Total: Gift * (1 + n/70), Balance: "gifts", Equal: Gift, word: "$GIFTS_APP"},
		"gift-other":   {Total: Gift * (1 + n/60), Balance: "gifts", Equal: Gift, word: "$GIFTS_OTHER"},
		"gift-ussd":    {Total: Gift * (1 + n/50), Balance: "gifts", Equal: Gift, word: "$GIFTS_USSD"},
		"gift-voucher": {Total: Gift * (1 + n/40), Balance: "gifts", Equal: Gift, word: "$GIFTS_VOUCHER"},
		"rebate":       {Total: 340*n + 1, Balance: "rebates", word: "$REBATES"},
		"refund":       {Total: 900*n + 1, Balance: "refunds", word: "$REFUNDS"},
	}
}

// Options of a workload. All are required.
type Options struct {
	Seed      uint64
	Events    int       // how many are sent, those included that are refused
	Customers int       // how many there are; few of them cause most of the events
	Base      time.Time // when the run begins: all event times are relative to it

	// Expiries is how long after Base the last of the parts expires that expire
	// during the run: long enough that most do so while events are being sent.
	Expiries time.Duration
}

// Event is one event as a producer sends it.
type Event struct {
	Customer int    // whose it is; a customer's events must be sent in this order
	Body     []byte // CloudEvents JSON
	Reject   string // the reason for which the door must refuse it; empty: it must be accepted
}

// MSISDN returns a customer's number.
func MSISDN(customer int) string { return strconv.Itoa(213770000000 + 97*customer) }

// The times of events. Recent events move from Base-Recent towards Base-Settled
// on a grid on which a window of ten minutes, counted in steps of ten seconds,
// has no event on its edge. Late ones lie further apart from each other and
// from all recent ones than a step of the longest window that a rule reads.
const (
	recent   = 6*time.Hour + 30*time.Minute
	settled  = 30 * time.Minute
	grid     = 90 * time.Second
	lateStep = 12 * time.Hour
	lates    = 3

	// A visit to a shop gives points for a day. Those of a day ago expire while
	// the test runs.
	visitValidity = 24 * time.Hour
)

// Settled returns the instant from which on nothing of the workload changes by
// the passing of time any more, for as long as a test may run.
func (o *Options) Settled() time.Time { return o.Base.Add(o.Expiries + time.Second) }

// Generate returns the events of a workload.
func Generate(o Options) []Event {
	g := &generator{
		options: o,
		random:  rand.New(rand.NewPCG(o.Seed, 1)),
		past:    make([]history, o.Customers),
	}
	g.zipf = rand.NewZipf(g.random, 1.1, 8, uint64(o.Customers-1))
	for len(g.events) < o.Events {
		g.next()
	}
	return g.events
}

type generator struct {
	options Options
	random  *rand.Rand
	zipf    *rand.Zipf
	events  []Event
	past    []history // by customer
}

// history is what a customer's next event depends on.
type history struct {
	accepted []Event // that may be repeated
	lates    int     // late recharges so far
}

// mix says how often which kind of event comes, in parts of the sum: usage five
// times as often as recharge, as in the tests' traffic.
var mix = []struct {
	weight int
	make   func(*generator, int)
}{
	{150, (*generator).recharge},
	{750, (*generator).usage},
	{24, (*generator).adjustment},
	{20, (*generator).profile},
	{16, (*generator).contact},
	{8, (*generator).survey},
	{4, (*generator).grievance},
	{6, (*generator).cdr},
	{10, (*generator).repeat},
	{4, (*generator).conflict},
	{1, (*generator).burst},
	{4, (*generator).late},
	{3, (*generator).tooLate},
	{3, (*generator).future},
	{2, (*generator).unknownBalance},
	{2, (*generator).huge},
	{10, (*generator).refused},
}

// next adds the next event, of a customer by Zipf's law.
func (g *generator) next() {
	sum := 0
	for _, m := range mix {
		sum += m.weight
	}
	customer, pick := int(g.zipf.Uint64()), g.random.IntN(sum)
	for _, m := range mix {
		if pick -= m.weight; pick < 0 {
			m.make(g, customer)
			return
		}
	}
}

// now is the event time that the stream has come to.
func (g *generator) now() time.Time {
	progress := (recent - settled) / time.Duration(g.options.Events) * time.Duration(len(g.events))
	return g.start().Add(progress.Truncate(grid))
}

func (g *generator) start() time.Time {
	return g.options.Base.UTC().Truncate(time.Second).Add(-recent)
}

// fields is the data of an event.
type fields map[string]any

// envelope returns a new event's attributes.
func (g *generator) envelope(kind string, customer int, at time.Time, data fields) fields {
	subject := MSISDN(customer)
	if g.random.IntN(8) == 0 {
		subject = "+" + subject
	}
	if g.random.IntN(4) == 0 {
		at = at.In(time.FixedZone("", 3600))
	}
	return fields{
		"specversion": "1.0",
		"id":          fmt.Sprintf("%s-%d-%d", kind, g.options.Seed, len(g.events)),
		"source":      "/" + pick(g, "ussd-gw", "ccn", "msc", "crm") + "/" + strconv.Itoa(customer%3),
		"type":        kind,
		"subject":     subject,
		"time":        at.Format(time.RFC3339),
		"data":        data,
	}
}

// send adds an event that the door must let in.
func (g *generator) send(kind string, customer int, at time.Time, data fields) {
	e := Event{Customer: customer, Body: encode(g.envelope(kind, customer, at, data))}
	g.events = append(g.events, e)
	g.past[customer].accepted = append(g.past[customer].accepted, e)
}

func encode(envelope fields) []byte {
	body, err := json.Marshal(envelope)
	if err != nil {
		panic(fmt.Sprintf("workload: encode %v: %v", envelope, err))
	}
	return body
}

func pick[T any](g *generator, choices ...T) T { return choices[g.random.IntN(len(choices))] }

// amount writes an amount as one of the ways that are allowed.
func (g *generator) amount(text string) any {
	if g.random.IntN(2) == 0 {
		return text
	}
	return json.Number(text)
}

func (g *generator) recharge(customer int) {
	data := fields{"amount": g.amount(pick(g, "50", "100", "120.50", "200", "249.99", "250", "299.99", "300", "300.01", "350", "350.5", "500", "700", "1000"))}
	if channel := pick(g, "app", "ussd", "voucher", ""); channel != "" {
		data["channel"] = channel
	}
	if g.random.IntN(3) == 0 {
		data["currency"], data["pos"] = "DZD", "pos-"+strconv.Itoa(g.random.IntN(50))
	}
	g.send("recharge", customer, g.now(), data)
}

// burst recharges so often that somebody should look at it.
func (g *generator) burst(customer int) {
	for range 8 {
		g.recharge(customer)
	}
}

func (g *generator) usage(customer int) {
	data := fields{"service": "voice", "units": g.random.IntN(900)}
	switch g.random.IntN(4) {
	case 0:
		data["service"], data["units"] = "sms", g.random.IntN(5)
	case 1:
		data["service"], data["units"] = "data", g.random.IntN(60_000_000)
	}
	if g.random.IntN(4) == 0 {
		data["charge"] = g.amount(strconv.Itoa(g.random.IntN(120)) + pick(g, "", ".5", ".25", ".99"))
	}
	if g.random.IntN(6) == 0 {
		data["ref"] = fmt.Sprintf("call-%d", len(g.events))
	}
	g.send("usage", customer, g.now(), data)
}

func (g *generator) adjustment(customer int) {
	balance, amount := "main", pick(g, "25", "-30.5", "-500", "0.01", "-0.99")
	switch g.random.IntN(4) {
	case 0:
		balance = "bonus"
	case 1:
		balance, amount = "minutes", pick(g, "600", "1800", "-60")
	case 2:
		balance, amount = "data", pick(g, "5000000", "-1000")
	}
	g.send("adjustment", customer, g.now(), fields{"balance": balance, "amount": g.amount(amount), "reason": "by hand"})
}

func (g *generator) profile(customer int) {
	data := fields{"set": fields{
		"age":      15 + g.random.IntN(60),
		"language": pick(g, "fr", "ar", "en", "kab"),
		"plan":     pick(g, "gold", "silver"),
		"vip":      g.random.IntN(2) == 0,
		"hobbies":  []string{pick(g, "football", "chess"), "music"},
	}}
	if g.random.IntN(3) == 0 {
		data = fields{"unset": []string{pick(g, "age", "language", "plan"), "never_set"}}
	}
	g.send("profile", customer, g.now(), data)
}

// contact is a call to customer care, or a visit to a shop: one of now, one
// ahead of the clock but not too far, or one whose points expire during the run.
func (g *generator) contact(customer int) {
	data := fields{"channel": "hotline", "topic": pick(g, "invoice", "network")}
	at := g.now()
	switch g.random.IntN(4) {
	case 0:
		data["channel"] = "shop"
	case 1:
		data["channel"], at = "shop", g.options.Base.Add(2*time.Minute)
	case 2:
		data["channel"] = "shop"
		life := time.Duration(g.random.Int64N(int64(g.options.Expiries))).Truncate(time.Second)
		at = g.options.Base.UTC().Truncate(time.Second).Add(life - visitValidity)
	}
	g.send("contact", customer, at, data)
}

func (g *generator) survey(customer int) {
	g.send("survey", customer, g.now(), fields{"nps": g.random.IntN(11), "comment": "تمام"})
}

func (g *generator) grievance(customer int) {
	g.send("grievance", customer, g.now(), fields{"topic": "network", "severity": pick(g, "low", "high")})
}

func (g *generator) cdr(customer int) {
	g.send("cdr", customer, g.now(), fields{"service": "voice", "units": g.random.IntN(900), "ref": fmt.Sprintf("cdr-%d", len(g.events))})
}

// repeat sends one of the customer's newest events again, as it was.
func (g *generator) repeat(customer int) {
	if e, ok := g.earlier(customer); ok {
		g.events = append(g.events, e)
	}
}

// conflict sends other content under the id of an earlier event.
func (g *generator) conflict(customer int) {
	e, ok := g.earlier(customer)
	if !ok {
		return
	}
	var envelope fields
	if err := json.Unmarshal(e.Body, &envelope); err != nil {
		panic(fmt.Sprintf("workload: %s: %v", e.Body, err))
	}
	envelope["type"] = "recharge"
	envelope["data"] = fields{"amount": "7777.77", "voucher": strconv.Itoa(len(g.events))}
	g.events = append(g.events, Event{Customer: customer, Body: encode(envelope)})
}

// earlier picks one of the newest events of a customer, which no horizon of
// dedup can have left behind.
func (g *generator) earlier(customer int) (Event, bool) {
	accepted := g.past[customer].accepted
	if len(accepted) == 0 {
		return Event{}, false
	}
	newest := accepted[max(0, len(accepted)-20):]
	return newest[g.random.IntN(len(newest))], true
}

// late sends a recharge that arrives half a day or more after it happened.
func (g *generator) late(customer int) {
	h := &g.past[customer]
	if h.lates == lates {
		return
	}
	h.lates++
	at := g.start().Add(-time.Duration(h.lates) * lateStep)
	g.send("recharge", customer, at, fields{"amount": g.amount(pick(g, "150", "400")), "channel": "app"})
}

func (g *generator) tooLate(customer int) {
	g.send("recharge", customer, g.options.Base.Add(-72*time.Hour), fields{"amount": "600"})
}

func (g *generator) future(customer int) {
	g.send("usage", customer, g.options.Base.Add(24*time.Hour), fields{"service": "voice", "units": 60, "charge": "10"})
}

func (g *generator) unknownBalance(customer int) {
	g.send("adjustment", customer, g.now(), fields{"balance": "gold", "amount": "1", "reason": "no such balance"})
}

// huge credits so much that a second time is beyond what a balance can hold.
// Only the last customers get it, so that the others stay as poor as people are.
func (g *generator) huge(int) {
	customer := len(g.past) - 1 - g.random.IntN(2)
	g.send("adjustment", customer, g.now(), fields{"balance": "main", "amount": g.amount("80000000000000"), "reason": "lottery"})
}

// refused sends what the door must not let in.
func (g *generator) refused(customer int) {
	e := g.envelope("recharge", customer, g.now(), fields{"amount": "500"})
	data := e["data"].(fields)
	var reason string
	switch g.random.IntN(10) {
	case 0:
		reason, e["specversion"] = "malformed", "0.3"
	case 1:
		reason, e["data"] = "malformed", []int{1}
	case 2:
		reason = "missing_attribute"
		delete(e, "time")
	case 3:
		reason, e["subject"] = "bad_subject", "77012AB"
	case 4:
		reason, e["time"] = "bad_time", "yesterday"
	case 5:
		reason, e["type"] = "unknown_type", "rechrge"
	case 6:
		reason, data["amount"] = "bad_amount", pick[any](g, "1.005", json.Number("1e3"), 0, -5, "9000000000000001.00")
	case 7:
		reason, data["currency"] = "bad_currency", "EUR"
	case 8:
		reason, e["type"], e["data"] = "unknown_service", "usage", fields{"service": "fax", "units": 1}
	case 9:
		reason, data["voucher"] = "too_large", strings.Repeat("7", 65<<10)
	}
	g.events = append(g.events, Event{Customer: customer, Body: encode(e), Reject: reason})
}
