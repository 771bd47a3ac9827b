package stream

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"recharged/rules"
	"recharged/state/charge"
)

// explainBook has a rule for everything that can come of one. Bonuses have
// expired when they are given to an event of two minutes ago.
const explainBook = `version: 1
currency: DZD
timezone: Africa/Algiers
balances:
  main:  {unit: DZD, order: 100}
  bonus: {unit: DZD, order: 10, validity: 1m}
tariffs:
  voice: {price: 4.00, per: 60s}
counters:
  recharges_7d: {on: recharge, window: 7d}
segments:
  youth: customer.attributes.age < 26
templates:
  doubled: {fr: "Bonus : {credited.bonus} DA."}
rules:
  - {name: double, on: recharge, when: amount > 300, group: best, priority: 2, then: [{credit: {to: bonus, percent: 100}}, {notify: {template: doubled}}]}
  - {name: tiered, on: recharge, group: best, tiers: [{from: 200, percent: 20}, {from: 400, percent: 30}], then: [{credit: {to: bonus}}]}
  - {name: daily, on: recharge, limits: {per_customer: [{count: 2, per: day}]}, then: [{credit: {to: bonus, amount: 5}}]}
  - {name: scarce, on: recharge, limits: {budget: 100}, then: [{credit: {to: bonus, amount: 30}}]}
  - {name: young, on: recharge, when: 'customer.in("youth")', then: [{tag: young}]}
  - {name: third, on: recharge, when: customer.recharges_7d == 3, then: [{credit: {to: main, amount: 1}}]}
  - {name: shaky, on: recharge, when: '1 / (customer.recharges - 2) > 0', then: [{tag: shaky}]}
  - {name: held, on: recharge, holdout: 50%, then: [{tag: treated}]}
  - {name: low, on: usage, when: before.main >= 50 && customer.main < 50, then: [{alert: {severity: info, summary: low}}]}
  - {name: silent, after: recharge, quiet: 1s, limits: {budget: 50, per_customer: [{count: 1, per: campaign}]}, then: [{tag: silent}, {credit: {to: main, amount: 2}}]}
`

func withBook(text string) func(*Options) {
	return func(o *Options) {
		o.Partitions = 1
		o.Rulebook = []rules.File{{Name: "book.yaml", Data: []byte(text)}}
	}
}

func numberOf(t testing.TB, msisdn int) charge.MSISDN {
	t.Helper()
	m, err := charge.ParseMSISDN(fmt.Sprintf("213770%06d", msisdn))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// someEvents writes events of a few customers as one array: recharges of now and
// of two minutes ago, usage, profiles, repeats and what comes too late.
func someEvents(random *rand.Rand, prefix string, n int) string {
	events := make([]string, n)
	for i := range events {
		kind, data := "recharge", fmt.Sprintf(`{"amount":%d}`, 50*random.IntN(10)+50)
		switch random.IntN(8) {
		case 0:
			kind, data = "usage", fmt.Sprintf(`{"service":"voice","units":%d}`, 60*random.IntN(30))
		case 1:
			kind, data = "profile", fmt.Sprintf(`{"set":{"age":%d}}`, 20+random.IntN(10))
		}
		id := fmt.Sprintf("%s-%d", prefix, i)
		if random.IntN(10) == 0 {
			id = fmt.Sprintf("%s-%d", prefix, random.IntN(i+1))
		}
		ago := []time.Duration{0, 0, 2 * time.Minute, 2 * time.Minute, 100 * time.Hour}[min(4, random.IntN(30)%5)]
		events[i] = fmt.Sprintf(`{"specversion":"1.0","id":%q,"source":"/test","type":%q,"subject":"213770%06d","time":%q,"data":%s}`,
			id, kind, random.IntN(4), time.Now().Add(-ago).UTC().Format(time.RFC3339Nano), data)
	}
	return "[" + strings.Join(events, ",") + "]"
}

// Every outcome there is can be explained: judged once more it comes to what was
// recorded, however many came in one commit, under the rulebook of then.
func TestWhatHappenedIsExplained(t *testing.T) {
	p := startProcessor(t, t.TempDir(), withBook(explainBook))
	random := rand.New(rand.NewPCG(1, 2))
	for round := range 3 {
		send(t, p, someEvents(random, fmt.Sprint("a", round), 60))
		settled(t, p)
	}
	if _, err := p.Publish(t.Context(), book(t, []byte(strings.Replace(explainBook, "amount > 300", "amount > 100", 1))), "amina", 1); err != nil {
		t.Fatal(err)
	}
	send(t, p, someEvents(random, "b", 60))
	settled(t, p)
	waitFor(t, "silence to be noticed", func() bool {
		entries, err := p.Timeline(t.Context(), numberOf(t, 0), "", 1)
		return err == nil && entries[0].Outcome.Type == charge.TimerType
	})

	reasons, types := map[string]bool{}, map[string]bool{}
	crowded, parked, setAside, versions := false, false, false, map[uint64]bool{}
	for customer := range 4 {
		m := numberOf(t, customer)
		entries, err := p.Timeline(t.Context(), m, "", 1000)
		if err != nil {
			t.Fatal(err)
		}
		for i := range entries {
			o := &entries[i].Outcome
			if o.Result == charge.Duplicate {
				continue // The first of the event is found instead.
			}
			if o.Type == charge.TimerType {
				setAside = setAside || judgedWithoutTimers(t, p, &entries[i])
			}
			ref, _ := parseRef(entries[i].Ref)
			crowded = crowded || ref.Index > 20
			x, err := p.ExplainPast(t.Context(), m, o.EventID, o.Source)
			if err != nil {
				t.Fatalf("%s: %v", o.EventID, err)
			}
			if x.Outcome.Result == charge.Parked {
				parked = parked || x.Outcome.Reason == string(charge.TooLate)
				if x.Doubt != "" || x.Rules != nil || x.Event.ID != o.EventID || x.Event.Fields == nil {
					t.Errorf("parked %s is explained as %+v", o.EventID, x)
				}
				continue
			}
			if x.Doubt != "" || x.After == nil {
				t.Fatalf("%s of %s, commit %d: in doubt: %s", o.Type, o.EventID, ref.Commit, x.Doubt)
			}
			for r, reason := range sameVerdicts(t, x) {
				reasons[reason] = true
				if r == "double" && reason == "" {
					versions[o.Rulebook] = true
				}
			}
			types[o.Type] = true
		}
	}
	for _, reason := range []string{"", "type", "tiers", "condition", "group", "limit", "budget", "error", "holdout"} {
		if !reasons[reason] {
			t.Errorf("no rule was explained by %q: %v", reason, reasons)
		}
	}
	if !crowded || !parked || !setAside || len(versions) != 2 || !types[charge.ExpiryType] || !types[charge.TimerType] || !types[charge.Usage] {
		t.Errorf("the test has seen too little: many in one commit %t, parked %t, timers %t, rulebooks %v, events %v", crowded, parked, setAside, versions, types)
	}
}

// judgedWithoutTimers reports whether a timer's outcome is found again for the
// customer of the commit before, had that one left it without its timers: because
// they were held until a budget had an answer.
func judgedWithoutTimers(t *testing.T, p *Processor, entry *TimelineEntry) bool {
	t.Helper()
	ref, err := parseRef(entry.Ref)
	if err != nil {
		t.Fatal(err)
	}
	x := &retrial{processor: p}
	if err := x.before(t.Context(), entry.Outcome.MSISDN, ref); err != nil {
		t.Fatal(err)
	}
	x.customer.Timers = nil
	_, _, err = x.again(t.Context(), ref.Partition, &entry.Outcome)
	return err == nil
}

// sameVerdicts compares the explanations of the rules with the outcome, and
// returns the reasons by rule.
func sameVerdicts(t *testing.T, x *Explanation) map[string]string {
	t.Helper()
	recorded := map[string]charge.RuleResult{}
	for _, r := range x.Outcome.Rules {
		recorded[r.Name] = r
	}
	reasons := map[string]string{}
	for _, r := range x.Rules {
		result, matched := recorded[r.Name]
		if r.Applies != (result.Verdict == charge.RuleApplied) || matched && r.Reason != result.Reason || !matched && r.Applies || r.Detail == "" {
			t.Errorf("%s: explained %+v, recorded %+v", x.Outcome.EventID, r, result)
		}
		reasons[r.Name] = r.Reason
	}
	if len(x.Rules) != len(x.Book.Rules()) {
		t.Errorf("%s: %d of %d rules are explained", x.Outcome.EventID, len(x.Rules), len(x.Book.Rules()))
	}
	return reasons
}

// What Explain says of an event is what happens when it comes, and to ask
// changes nothing.
func TestWhatWouldHappenHappens(t *testing.T) {
	p := startProcessor(t, t.TempDir(), withBook(explainBook))
	random := rand.New(rand.NewPCG(3, 4))
	send(t, p, someEvents(random, "a", 40))
	settled(t, p)
	decoder := charge.NewDecoder(p.Newest().Book.Catalog())
	for i := range 40 {
		body := strings.Trim(someEvents(random, fmt.Sprint("b", i), 1), "[]")
		e, rejection := decoder.Event([]byte(body))
		if rejection != nil {
			t.Fatal(rejection)
		}
		asked, err := p.Explain(&e, charge.Instant(time.Now().UnixNano()))
		if err != nil {
			t.Fatal(err)
		}
		if asked.Outcome.Result == charge.Applied {
			sameVerdicts(t, asked)
		}
		if entries, err := p.Timeline(t.Context(), e.MSISDN, "", 1); err != nil || len(entries) == 1 && entries[0].Outcome.EventID == e.ID {
			t.Fatalf("to ask about %s left a trace: %v", e.ID, err)
		}
		send(t, p, body)
		settled(t, p)
		happened := outcomeOf(t, p, &e)
		if got, want := gist(&asked.Outcome), gist(&happened); got != want {
			t.Fatalf("explained\n%s\nhappened\n%s", got, want)
		}
		again, err := p.Explain(&e, charge.Instant(time.Now().UnixNano()))
		if err != nil || happened.Result == charge.Applied && again.Outcome.Result != charge.Duplicate || len(again.Rules) > 0 {
			t.Fatalf("asked again: %+v, %v", again, err)
		}
	}
}

// outcomeOf is the newest outcome of an event.
func outcomeOf(t *testing.T, p *Processor, e *charge.Event) charge.Outcome {
	t.Helper()
	entries, err := p.Timeline(t.Context(), e.MSISDN, "", 100)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if entry.Outcome.EventID == e.ID {
			return entry.Outcome
		}
	}
	t.Fatalf("event %s has no outcome", e.ID)
	return charge.Outcome{}
}

// gist is what does not depend on the moment at which an event is judged.
func gist(o *charge.Outcome) string {
	var b strings.Builder
	fmt.Fprintln(&b, o.EventID, o.Result, o.Reason, o.Shortfall, o.Rulebook, o.Rules)
	for _, p := range o.Postings {
		fmt.Fprintln(&b, p.Balance, p.Amount, p.Cause, p.After, p.Expires)
	}
	return b.String()
}

// What does not come to what was recorded is not explained, but said to be in
// doubt.
func TestDoubtIsSaid(t *testing.T) {
	p := startProcessor(t, t.TempDir(), withBook(explainBook))
	send(t, p, rechargeJSON("a", 0, "350"))
	settled(t, p)
	ref, o, err := p.findOutcome(t.Context(), numberOf(t, 0), "a", "/test")
	if err != nil {
		t.Fatal(err)
	}
	for _, falsify := range []func(*charge.Outcome){
		func(o *charge.Outcome) { o.Postings[0].Amount++ },
		func(o *charge.Outcome) { o.Rules = o.Rules[1:] },
		func(o *charge.Outcome) { o.EventID = "b" },
		func(o *charge.Outcome) { o.Accepted = o.Accepted.Add(100 * time.Hour) },
	} {
		forged := o
		forged.Postings = append([]charge.Posting(nil), o.Postings...)
		falsify(&forged)
		x, err := p.judgeAgain(t.Context(), ref, &forged)
		if err != nil || x.Doubt == "" || len(x.Rules) != len(forged.Rules) || x.After != nil {
			t.Errorf("%+v, %v", x, err)
		}
	}
	if x, err := p.judgeAgain(t.Context(), ref, &o); err != nil || x.Doubt != "" {
		t.Errorf("%+v, %v", x, err)
	}
	for _, name := range [][2]string{{"nothing", ""}, {"a", "/elsewhere"}} {
		if _, err := p.ExplainPast(t.Context(), numberOf(t, 0), name[0], name[1]); !errors.Is(err, ErrNoEvent) {
			t.Errorf("%v: %v", name, err)
		}
	}
}

// What is due by the time that is asked about has happened by then.
func TestTimePassesBeforeAnEventIsExplained(t *testing.T) {
	p := startProcessor(t, t.TempDir(), withBook(explainBook))
	send(t, p, rechargeJSON("a", 0, "350"))
	settled(t, p)
	in := charge.Instant(time.Now().Add(2 * time.Minute).UnixNano())
	e, rejection := charge.NewDecoder(p.Newest().Book.Catalog()).Event([]byte(`{"specversion":"1.0","id":"u","source":"/test","type":"usage","subject":"213770000000","time":"` +
		in.Time().Format(time.RFC3339Nano) + `","data":{"service":"voice","units":60}}`))
	if rejection != nil {
		t.Fatal(rejection)
	}
	x, err := p.Explain(&e, in)
	if err != nil {
		t.Fatal(err)
	}
	// 350, and 2 for the silence, less 4 for the minute; all bonuses have expired.
	if main, bonus := x.After.Total("main", in), x.After.Total("bonus", in); main != 34800 || bonus != 0 || !x.After.Tagged("silent") {
		t.Errorf("main %d, bonus %d, tags %v", main, bonus, x.After.Tags)
	}
}
