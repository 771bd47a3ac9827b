package main

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"
)

// The workload: 30 of 100 events are recharges, of 100 to 1,000 DA in steps of
// 50; the rest are calls that were charged 0.50 to 20 DA. Customers are drawn
// evenly, or by Zipf's law.
const (
	customersMax   = 100_000
	firstMSISDN    = 213_770_000_000
	rechargesOf100 = 30

	minorPerDinar = 100
	doubledAbove  = 300 * minorPerDinar
	rechargeMin   = 100 * minorPerDinar
	rechargeStep  = 50 * minorPerDinar
	rechargeSteps = 19
	chargeStep    = 50 // minor units
	chargeSteps   = 40

	source = "/bench/load"
)

// event is one event as the fold needs it.
type event struct {
	customer uint32
	recharge bool
	money    int64 // minor units: the amount recharged, or charged for a call
}

// doubled reports whether the rulebook doubles the event, and notifies of it.
func (e event) doubled() bool { return e.recharge && e.money > doubledAbove }

// traffic is what one measurement sends, made before it begins. Message m goes
// through lane m modulo lanes, and a customer's events always take the same
// lane: so their order is that of the slice, and the answer is determined.
type traffic struct {
	series   int // tells the events of one measurement from another's, in their ids
	batch    int // events in a message
	messages [][]byte
	events   []event // message m has those from m*batch on
}

// encoding is how the events of one message are joined.
type encoding struct{ open, between, close string }

var (
	jsonArray = encoding{"[", ",", "]"}
	jsonLines = encoding{"", "\n", "\n"}
)

// generator makes traffic from a seed.
type generator struct {
	rng    *rand.Rand
	zipf   *rand.Zipf // nil: customers are drawn evenly
	lanes  int
	join   encoding
	series int
}

func newGenerator(seed uint64, zipf float64, lanes int, join encoding) *generator {
	g := &generator{rng: rand.New(rand.NewPCG(seed, 0)), lanes: lanes, join: join}
	if zipf > 1 {
		g.zipf = rand.NewZipf(g.rng, zipf, 1, uint64(customersMax/lanes-1))
	}
	return g
}

// make returns traffic of at least that many events, in messages of batch.
func (g *generator) make(events, batch int) *traffic { return g.fill(events, batch, g.event) }

// everyone returns one recharge for each customer, so that what is measured
// afterwards meets a state of that size.
func (g *generator) everyone(batch int) *traffic {
	met := make([]int, g.lanes)
	return g.fill(customersMax, batch, func(lane int) event {
		n := met[lane]
		met[lane]++
		return event{g.customer(lane, n), true, rechargeMin + rechargeStep*int64(n%rechargeSteps)}
	})
}

func (g *generator) fill(events, batch int, draw func(lane int) event) *traffic {
	g.series++
	count := (events + batch - 1) / batch
	t := &traffic{
		series:   g.series,
		batch:    batch,
		messages: make([][]byte, count),
		events:   make([]event, 0, count*batch),
	}
	now := time.Now().UTC()
	for m := range t.messages {
		var body []byte
		if batch > 1 {
			body = append(body, g.join.open...)
		}
		for i := range batch {
			if i > 0 {
				body = append(body, g.join.between...)
			}
			e := draw(m % g.lanes)
			body = e.append(body, g.series, len(t.events), now)
			t.events = append(t.events, e)
		}
		if batch > 1 {
			body = append(body, g.join.close...)
		}
		t.messages[m] = body
	}
	return t
}

func (g *generator) event(lane int) event {
	n := 0
	if g.zipf != nil {
		n = int(g.zipf.Uint64())
	} else {
		n = g.rng.IntN(customersMax / g.lanes)
	}
	e := event{customer: g.customer(lane, n)}
	if g.rng.IntN(100) < rechargesOf100 {
		e.recharge = true
		e.money = rechargeMin + rechargeStep*int64(g.rng.IntN(rechargeSteps))
	} else {
		e.money = chargeStep * int64(1+g.rng.IntN(chargeSteps))
	}
	return e
}

// customer returns the nth customer of a lane.
func (g *generator) customer(lane, n int) uint32 {
	return uint32(n%(customersMax/g.lanes)*g.lanes + lane)
}

// append appends the event as a CloudEvent.
func (e event) append(dst []byte, series, index int, at time.Time) []byte {
	dst = append(dst, `{"specversion":"1.0","id":"`...)
	dst = strconv.AppendInt(dst, int64(series), 10)
	dst = append(dst, '-')
	dst = strconv.AppendInt(dst, int64(index), 10)
	dst = append(dst, `","source":"`+source+`","type":"`...)
	kind, data := "usage", `{"service":"voice","units":60,"cell":"603-01-1004-7","charge":`
	if e.recharge {
		kind, data = "recharge", `{"channel":"ussd","pos":"P-2041","amount":`
	}
	dst = append(dst, kind+`","subject":"`...)
	dst = strconv.AppendUint(dst, firstMSISDN+uint64(e.customer), 10)
	dst = append(dst, `","time":"`...)
	dst = at.AppendFormat(dst, time.RFC3339Nano)
	dst = append(dst, `","data":`+data...)
	return append(appendMoney(dst, e.money), "}}"...)
}

func appendMoney(dst []byte, minor int64) []byte {
	return fmt.Appendf(dst, "%d.%02d", minor/minorPerDinar, minor%minorPerDinar)
}

// fold is the answer, computed apart from the system under test: plain integers
// and the sentence "what is above 300 counts twice; a call takes from the bonus
// first and never more than there is".
type fold struct {
	main, bonus  []int64 // by customer, minor units
	events       int64
	recharges    int64
	recharged    int64 // minor units, as the three below
	credited     int64
	charged      int64
	shortfall    int64
	notification int64 // how many
}

func newFold() *fold {
	return &fold{main: make([]int64, customersMax), bonus: make([]int64, customersMax)}
}

// apply takes one event that the system accepted.
func (f *fold) apply(e event) {
	f.events++
	if !e.recharge {
		fromBonus := min(e.money, f.bonus[e.customer])
		fromMain := min(e.money-fromBonus, f.main[e.customer])
		f.bonus[e.customer] -= fromBonus
		f.main[e.customer] -= fromMain
		f.charged += fromBonus + fromMain
		f.shortfall += e.money - fromBonus - fromMain
		return
	}
	f.recharges++
	f.recharged += e.money
	f.main[e.customer] += e.money
	if e.doubled() {
		f.bonus[e.customer] += e.money
		f.credited += e.money
		f.notification++
	}
}
