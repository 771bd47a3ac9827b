package ledger

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"recharged/state/charge"
	"recharged/state/money"
)

// The twin does what the ledger does in the simplest way that can be thought
// of: it keeps every credit apart for ever and sorts them all for every debit.

// lot is one credit, or what is left of it.
type lot struct {
	balance string
	amount  int64
	expires charge.Instant
	born    int
}

type twin struct {
	plan *Plan
	lots []lot
	born int

	charged, shortfall int64
}

func (w *twin) credit(balance string, amount int64, expires charge.Instant) {
	w.born++
	w.lots = append(w.lots, lot{balance, amount, expires, w.born})
}

// debit takes up to amount from the lots of the named balances.
func (w *twin) debit(amount int64, clock charge.Instant, balances ...string) (taken int64) {
	order := map[string]int{}
	for _, b := range w.plan.Balances {
		order[b.Name] = b.Order
	}
	slices.SortStableFunc(w.lots, func(a, b lot) int {
		return cmp.Or(
			cmp.Compare(order[a.balance], order[b.balance]),
			cmp.Compare(forever(a.expires), forever(b.expires)),
			cmp.Compare(a.balance, b.balance),
			cmp.Compare(a.born, b.born),
		)
	})
	for i := range w.lots {
		l := &w.lots[i]
		if slices.Contains(balances, l.balance) && clock < forever(l.expires) {
			share := min(l.amount, amount-taken)
			l.amount -= share
			taken += share
		}
	}
	return taken
}

func forever(expires charge.Instant) charge.Instant {
	if expires == 0 {
		return math.MaxInt64
	}
	return expires
}

func (w *twin) expire(clock charge.Instant) {
	w.lots = slices.DeleteFunc(w.lots, func(l lot) bool { return forever(l.expires) <= clock })
}

// usage is what a usage takes, by the plan of these tests.
func (w *twin) usage(service string, units int64, asked *int64, clock charge.Instant) {
	money := []string{"bonus", "gift", "main"}
	if service == "voice" {
		money = append(money, "calls")
	}
	var due int64
	if asked != nil {
		due = *asked
	} else {
		switch service {
		case "voice":
			due = (units - w.debit(units, clock, "minutes") + 59) / 60 * 400
		case "data":
			due = (units - w.debit(units, clock, "data", "night") + 999) / 1000 * 50
		}
	}
	w.charged = w.debit(due, clock, money...)
	w.shortfall = due - w.charged
}

// parts returns what every balance holds by expiry.
func (w *twin) parts() map[string]int64 {
	parts := map[string]int64{}
	for _, l := range w.lots {
		if l.amount > 0 {
			parts[partKey(l.balance, l.expires)] += l.amount
		}
	}
	return parts
}

func partKey(balance string, expires charge.Instant) string {
	return fmt.Sprintf("%s until %d", balance, expires)
}

func twinPlan() *Plan {
	dinar := money.Unit{Name: "DZD", Digits: 2}
	point := money.Unit{Name: "point"}
	return &Plan{
		Currency: dinar,
		Lateness: 48 * time.Hour,
		Ahead:    5 * time.Minute,
		Balances: []BalancePlan{
			{Name: "bonus", Unit: dinar, Order: 10, Validity: time.Hour, Spend: true},
			{Name: "calls", Unit: dinar, Order: 20, Service: "voice", Spend: true},
			{Name: "data", Unit: money.Byte, Order: 10, Service: "data", Validity: 3 * time.Hour, Spend: true},
			{Name: "gift", Unit: dinar, Order: 10, Spend: true},
			{Name: "main", Unit: dinar, Order: 100, Spend: true},
			{Name: "minutes", Unit: money.Second, Order: 10, Service: "voice", Spend: true},
			{Name: "night", Unit: money.Byte, Order: 10, Service: "data", Spend: true},
			{Name: "points", Unit: point, Order: 1},
			{Name: "safe", Unit: dinar, Order: 1},
		},
		Tariffs: []TariffPlan{
			{Service: "data", Price: 50, Per: 1000},
			{Service: "voice", Price: 400, Per: 60},
		},
		Services: charge.BuiltinServices(),
	}
}

// pair drives the ledger and its twin through the same life.
type pair struct {
	plan  *Plan
	twin  twin
	c     charge.Customer
	clock charge.Instant
	fx    Effect

	accounts map[string]money.Sum // by unit: the other side of all postings
}

func newPair() *pair {
	plan := twinPlan()
	return &pair{plan: plan, twin: twin{plan: plan}, clock: charge.Instant(56 * 365 * 24 * time.Hour), accounts: map[string]money.Sum{}}
}

func (p *pair) pass(t *rapid.T) {
	p.clock = p.clock.Add(time.Duration(rapid.Int64Range(0, 90).Draw(t, "minutes")) * time.Minute)
}

func (p *pair) apply(t *rapid.T, eventType string, fields ...charge.Field) {
	late := time.Duration(rapid.IntRange(0, 3).Draw(t, "hours late")) * time.Hour
	e := charge.Event{Type: eventType, Time: p.clock.Add(-late), Fields: fields}
	p.fx.Reset()
	if refusal := p.plan.Admit(&e, p.clock); refusal != nil {
		t.Fatal(refusal)
	}
	if refusal := p.plan.Apply(&p.c, &e, p.clock, &p.fx); refusal != nil {
		t.Fatal(refusal)
	}
	validity := map[string]time.Duration{"bonus": time.Hour, "data": 3 * time.Hour}
	p.twin.charged, p.twin.shortfall = 0, 0
	amount, _ := e.Count("amount")
	switch eventType {
	case charge.Recharge:
		p.twin.credit("main", amount, 0)
	case charge.Adjustment:
		balance := e.Text("balance")
		switch {
		case amount < 0:
			taken := p.twin.debit(-amount, p.clock, balance)
			if slices.Contains([]string{"bonus", "calls", "gift", "main", "safe"}, balance) {
				p.twin.shortfall = -amount - taken
			}
		case validity[balance] > 0:
			p.twin.credit(balance, amount, e.Time.Add(validity[balance]))
		default:
			p.twin.credit(balance, amount, 0)
		}
	case charge.Usage:
		units, _ := e.Count("units")
		var asked *int64
		if a, ok := e.Count("charge"); ok {
			asked = &a
		}
		p.twin.usage(e.Text("service"), units, asked, p.clock)
	}
}

func (p *pair) credit(t *rapid.T) {
	b := rapid.SampledFrom(p.plan.Balances).Draw(t, "balance")
	cr := Credit{
		Balance: b.Name,
		Amount:  money.Amount(rapid.Int64Range(0, 5000).Draw(t, "amount")),
		Account: charge.PromoPrefix + "rule", Cause: "rule",
	}
	if hours := rapid.IntRange(-1, 6).Draw(t, "expires in hours"); hours != 0 {
		cr.Expires = (p.clock.Add(time.Duration(hours)*time.Hour) / charge.Instant(time.Hour)) * charge.Instant(time.Hour)
	}
	p.fx.Reset()
	if refusal := p.plan.Credit(&p.c, cr, p.clock, &p.fx); refusal != nil {
		t.Fatal(refusal)
	}
	p.twin.credit(cr.Balance, int64(cr.Amount), cr.Expires)
	p.twin.charged, p.twin.shortfall = 0, 0
}

func (p *pair) expire() {
	p.fx.Reset()
	p.plan.Expire(&p.c, p.clock, &p.fx)
	p.twin.expire(p.clock)
	p.twin.charged, p.twin.shortfall = 0, 0
}

// step does one random thing.
func (p *pair) step(t *rapid.T) {
	p.pass(t)
	number := func(name string, from, to int64) charge.Field {
		return charge.Field{Name: name, Value: charge.NumberValue(money.Int(rapid.Int64Range(from, to).Draw(t, name)))}
	}
	minor := func(name string, from, to int64) charge.Field {
		f := number(name, from, to)
		f.Value.Scale = 2
		return f
	}
	service := charge.Field{Name: "service", Value: charge.TextValue(rapid.SampledFrom(p.plan.Services).Draw(t, "service"))}
	switch rapid.SampledFrom([]string{"recharge", "usage", "charge", "adjustment", "credit", "expire"}).Draw(t, "what") {
	case "recharge":
		p.apply(t, charge.Recharge, minor("amount", 1, 20_000))
	case "usage":
		p.apply(t, charge.Usage, service, number("units", 0, 9000))
	case "charge":
		p.apply(t, charge.Usage, service, number("units", 0, 9000), minor("charge", 0, 9000))
	case "adjustment":
		b := rapid.SampledFrom(p.plan.Balances).Draw(t, "balance")
		amount := minor("amount", -4000, 4000)
		amount.Value.Scale = uint8(b.Unit.Digits)
		p.apply(t, charge.Adjustment, charge.Field{Name: "balance", Value: charge.TextValue(b.Name)}, amount)
	case "credit":
		p.credit(t)
	case "expire":
		p.expire()
	}
}

// holdings returns what every balance holds, expired parts included, and by
// balance and expiry.
func (p *pair) holdings() (totals map[string]money.Amount, parts map[string]int64) {
	totals, parts = map[string]money.Amount{}, map[string]int64{}
	for _, b := range p.c.Balances {
		for _, part := range b.Parts {
			totals[b.Name] += part.Amount
			parts[partKey(b.Name, part.Expires)] += int64(part.Amount)
		}
	}
	return totals, parts
}

// check compares the two after one step, given what was held before it.
func (p *pair) check(t *rapid.T, before map[string]money.Amount) {
	totals, parts := p.holdings()
	if want := p.twin.parts(); !maps.Equal(parts, want) {
		t.Fatalf("parts: got %v, the twin has %v", parts, want)
	}
	if int64(p.fx.Charged) != p.twin.charged || int64(p.fx.Shortfall) != p.twin.shortfall {
		t.Fatalf("got charged %d and shortfall %d, the twin %d and %d", p.fx.Charged, p.fx.Shortfall, p.twin.charged, p.twin.shortfall)
	}
	moved := map[string]money.Amount{}
	for _, posting := range p.fx.Postings {
		moved[posting.Balance] += posting.Amount
		sum := p.accounts[posting.Unit.Name]
		sum.Add(-posting.Amount)
		p.accounts[posting.Unit.Name] = sum
		if posting.Amount == 0 || posting.After < 0 || posting.Account == "" || posting.Cause == "" {
			t.Fatalf("odd posting %+v", posting)
		}
	}
	world := maps.Clone(p.accounts)
	for _, b := range p.plan.Balances {
		if totals[b.Name]-before[b.Name] != moved[b.Name] {
			t.Fatalf("balance %s changed from %d to %d, its postings say %d", b.Name, before[b.Name], totals[b.Name], moved[b.Name])
		}
		sum := world[b.Unit.Name]
		sum.Add(totals[b.Name])
		world[b.Unit.Name] = sum
	}
	for unit, sum := range world {
		if !sum.IsZero() {
			t.Fatalf("the world's %s sum to %v", unit, sum)
		}
	}
	p.checkBalances(t)
}

func (p *pair) checkBalances(t *rapid.T) {
	for _, b := range p.c.Balances {
		expiries := map[charge.Instant]bool{}
		for _, part := range b.Parts {
			if part.Amount <= 0 || expiries[part.Expires] {
				t.Fatalf("balance %s has a part %+v of %+v", b.Name, part, b.Parts)
			}
			expiries[part.Expires] = true
		}
		if i := slices.IndexFunc(p.fx.Postings, func(q charge.Posting) bool { return q.Balance == b.Name }); i >= 0 {
			last := p.fx.Postings[i]
			for _, q := range p.fx.Postings[i:] {
				if q.Balance == b.Name {
					last = q
				}
			}
			if last.After != b.Total(p.clock) {
				t.Fatalf("balance %s is worth %d, its last posting says %d", b.Name, b.Total(p.clock), last.After)
			}
		}
	}
}

// TestTwin drives the ledger and its twin through random lives. After every
// step both hold the same, every change of a balance is its postings, and the
// world sums to zero in every unit.
func TestTwin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := newPair()
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			before, _ := p.holdings()
			p.step(t)
			p.check(t, before)
		}
	})
}
