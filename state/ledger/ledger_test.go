package ledger

import (
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"recharged/state/charge"
	"recharged/state/money"
)

const noon charge.Instant = 1_793_534_400_000_000_000 // 2026-11-01T12:00Z

func TestPartsAreBounded(t *testing.T) {
	plan := twinPlan()
	var c charge.Customer
	var fx Effect
	credit := Credit{Balance: "bonus", Amount: 1, Account: charge.AccountAdjustment, Cause: "test"}
	for i := range partsMax {
		credit.Expires = noon.Add(time.Duration(i+1) * time.Second)
		if refusal := plan.Credit(&c, credit, noon, &fx); refusal != nil {
			t.Fatal(refusal)
		}
	}
	if refusal := plan.Credit(&c, credit, noon, &fx); refusal != nil {
		t.Errorf("a credit that shares a part is refused: %v", refusal)
	}
	credit.Expires = 0
	refusal := plan.Credit(&c, credit, noon, &fx)
	if refusal == nil || refusal.Reason != charge.Overflow {
		t.Errorf("one expiry more than %d: got %v, want overflow", partsMax, refusal)
	}
	if got := c.Total("bonus", noon); got != partsMax+1 {
		t.Errorf("the customer holds %d after the refusal, want %d", got, partsMax+1)
	}
}

func TestBalanceIsBounded(t *testing.T) {
	plan := twinPlan()
	var c charge.Customer
	var fx Effect
	credit := Credit{Balance: "points", Amount: money.AmountMax, Account: charge.AccountAdjustment, Cause: "test"}
	if refusal := plan.Credit(&c, credit, noon, &fx); refusal != nil {
		t.Fatal(refusal)
	}
	credit.Amount, credit.Expires = 1, noon.Add(time.Hour)
	if refusal := plan.Credit(&c, credit, noon, &fx); refusal == nil || refusal.Reason != charge.Overflow {
		t.Errorf("more than the largest amount, in two parts: got %v, want overflow", refusal)
	}
}

func TestNegativeCreditPanics(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("a negative credit is a broken invariant and must panic")
		}
	}()
	twinPlan().Credit(&charge.Customer{}, Credit{Balance: "main", Amount: -1}, noon, &Effect{})
}

func TestAttributesAreBounded(t *testing.T) {
	plan := twinPlan()
	set := charge.Value{Kind: charge.Object}
	for i := range attributesMax {
		set.Fields = append(set.Fields, charge.Field{Name: fmt.Sprintf("a%03d", i), Value: charge.BoolValue(true)})
	}
	var c charge.Customer
	apply := func(fields ...charge.Field) *Refusal {
		return plan.Apply(&c, &charge.Event{Type: charge.Profile, Time: noon, Fields: fields}, noon, &Effect{})
	}
	if refusal := apply(charge.Field{Name: "set", Value: set}); refusal != nil {
		t.Fatal(refusal)
	}
	more := charge.Field{Name: "set", Value: charge.Value{Kind: charge.Object, Fields: []charge.Field{{Name: "b", Value: charge.BoolValue(true)}}}}
	if refusal := apply(more, charge.Field{Name: "unset", Value: charge.ListValue([]string{"a000"})}); refusal != nil {
		t.Errorf("one for one: %v", refusal)
	}
	more.Value.Fields[0].Name = "c"
	if refusal := apply(more); refusal == nil || refusal.Reason != charge.Overflow {
		t.Errorf("one more than %d: got %v, want overflow", attributesMax, refusal)
	}
}

// The door refuses such events; one that is in the log all the same is parked
// and does not stop its partition.
func TestUnfitAmountsAreParked(t *testing.T) {
	number := func(name string, n int64, scale uint8) charge.Field {
		return charge.Field{Name: name, Value: charge.NumberValue(money.Decimal{Coefficient: n, Scale: scale})}
	}
	service := charge.Field{Name: "service", Value: charge.TextValue("voice")}
	for _, test := range []struct {
		eventType string
		fields    []charge.Field
	}{
		{charge.Recharge, nil},
		{charge.Recharge, []charge.Field{number("amount", 0, 2)}},
		{charge.Recharge, []charge.Field{number("amount", -100, 2)}},
		{charge.Recharge, []charge.Field{number("amount", 100_001, 3)}},
		{charge.Usage, []charge.Field{service, number("units", -1, 0)}},
		{charge.Usage, []charge.Field{service, number("units", 1, 0), number("charge", -1, 2)}},
		{charge.Usage, []charge.Field{service, number("units", 1, 0), number("charge", 1, 3)}},
	} {
		e := charge.Event{Type: test.eventType, Time: noon, Fields: test.fields}
		refusal := twinPlan().Apply(&charge.Customer{}, &e, noon, &Effect{})
		if refusal == nil || refusal.Reason != charge.UnfitAmount {
			t.Errorf("%s %v: got %v, want %s", test.eventType, test.fields, refusal, charge.UnfitAmount)
		}
	}
}

// The door lets events of all years in; no clock makes the ends of time pass here.
func TestTheEndsOfTimeAreParked(t *testing.T) {
	plan := twinPlan()
	plan.Lateness = math.MaxInt64
	for at, want := range map[charge.Instant]charge.ParkReason{math.MinInt64: charge.TooLate, math.MaxInt64: charge.FromTheFuture} {
		if refusal := plan.Admit(&charge.Event{Type: charge.Contact, Time: at}, noon); refusal == nil || refusal.Reason != want {
			t.Errorf("at %v: got %v, want %s", at.Time(), refusal, want)
		}
	}
}

func TestAnotherCurrencyIsParked(t *testing.T) {
	for _, eventType := range []string{charge.Recharge, charge.Usage} {
		e := charge.Event{Type: eventType, Time: noon, Fields: []charge.Field{
			{Name: "service", Value: charge.TextValue("voice")}, {Name: "currency", Value: charge.TextValue("EUR")},
		}}
		if refusal := twinPlan().Admit(&e, noon); refusal == nil || refusal.Reason != charge.Unsupported || !strings.Contains(refusal.Detail, `"EUR"`) {
			t.Errorf("%s: got %v, want %s", eventType, refusal, charge.Unsupported)
		}
	}
}

// The currency lost a digit since the event was accepted: its amount means the
// same money, or it is parked.
func TestMoneyIsReadInTheBookInForce(t *testing.T) {
	plan := twinPlan()
	plan.Currency.Digits = 1
	for i := range plan.Balances {
		if plan.Balances[i].Unit.Name == plan.Currency.Name {
			plan.Balances[i].Unit = plan.Currency
		}
	}
	var c charge.Customer
	e := charge.Event{Type: charge.Recharge, Time: noon, Fields: []charge.Field{{Name: "amount", Value: charge.NumberValue(money.Decimal{Coefficient: 35050, Scale: 2})}}}
	if refusal := plan.Apply(&c, &e, noon, &Effect{}); refusal != nil {
		t.Fatal(refusal)
	}
	if got := c.Total("main", noon); got != 3505 {
		t.Errorf("350.50 is %d tenths, want 3505", got)
	}
}

func TestStep(t *testing.T) {
	for _, test := range []struct{ window, want time.Duration }{
		{time.Second, time.Second},
		{59 * time.Second, time.Second},
		{119 * time.Second, time.Second},
		{2 * time.Minute, 2 * time.Second},
		{10 * time.Minute, 10 * time.Second},
		{time.Hour + time.Second, time.Minute},
		{7 * 24 * time.Hour, 10080 * time.Second},
		{30 * 24 * time.Hour, 12 * time.Hour},
	} {
		if got := (&CounterPlan{Window: test.window}).Step(); got != test.want {
			t.Errorf("window %v: step %v, want %v", test.window, got, test.want)
		}
	}
}

// TestCounterWindow holds counters against the plain list of events: of
// those up to the instant a counter is read at, it includes none older than its
// window plus one step and misses none younger than its window minus one.
func TestCounterWindow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		window := time.Duration(rapid.Int64Range(1, 4000).Draw(t, "window")) * time.Second
		counter := CounterPlan{Name: "n", Memory: "n", On: charge.Contact, Window: window}
		plan := &Plan{Lateness: time.Hour, Counters: []CounterPlan{counter}}
		var c charge.Customer
		var happened []charge.Instant
		clock := noon
		for range rapid.IntRange(1, 100).Draw(t, "events") {
			clock = clock.Add(time.Duration(rapid.Int64Range(0, int64(window)/4).Draw(t, "pause")))
			at := clock.Add(-time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(t, "late")))
			if rapid.Bool().Draw(t, "in time") {
				at = clock
			}
			if refusal := plan.Apply(&c, &charge.Event{Type: charge.Contact, Time: at}, clock, &Effect{}); refusal != nil {
				t.Fatal(refusal)
			}
			happened = append(happened, at)
			for _, read := range []charge.Instant{at, clock} {
				least, most := 0, 0
				for _, h := range happened {
					age := read.Sub(h)
					if age >= 0 && age < window-counter.Step() {
						least++
					}
					if age > -counter.Step() && age <= window+counter.Step() {
						most++
					}
				}
				if got := plan.CounterValue(&c, &counter, read); got < int64(least) || got > int64(most) {
					t.Fatalf("window %v, read %v before the clock: got %d, want %d to %d", window, clock.Sub(read), got, least, most)
				}
			}
		}
		if buckets := len(c.Counter("n").Buckets); buckets > counter.bucketsMax() {
			t.Fatalf("%d buckets, the limit is %d", buckets, counter.bucketsMax())
		}
	})
}

func TestCounterForgetsWhatNoEventCanNeed(t *testing.T) {
	counter := CounterPlan{Name: "n", Memory: "n", On: charge.Contact, Window: time.Minute}
	plan := &Plan{Lateness: time.Hour, Counters: []CounterPlan{counter}}
	var c charge.Customer
	contact := func(clock charge.Instant) {
		if refusal := plan.Apply(&c, &charge.Event{Type: charge.Contact, Time: clock}, clock, &Effect{}); refusal != nil {
			t.Fatal(refusal)
		}
	}
	contact(noon)
	contact(noon.Add(time.Hour + time.Minute))
	if got := len(c.Counter("n").Buckets); got != 2 {
		t.Errorf("%d buckets, but a late event may still need the first of 2", got)
	}
	contact(noon.Add(time.Hour + time.Minute + time.Second))
	if got := len(c.Counter("n").Buckets); got != 2 {
		t.Errorf("%d buckets, but no event can need the first of 3", got)
	}
	for i := range 2 * counter.bucketsMax() {
		contact(noon.Add(2*time.Hour + time.Duration(i)*time.Second))
	}
	if got := len(c.Counter("n").Buckets); got != counter.bucketsMax() {
		t.Errorf("%d buckets, the limit is %d", got, counter.bucketsMax())
	}
	if got := plan.CounterValue(&c, &counter, noon.Add(2*time.Hour+time.Duration(2*counter.bucketsMax()-1)*time.Second)); got != 61 {
		t.Errorf("the present reads %d, want one a second: 61 buckets overlap the window", got)
	}
}

func TestCounterOfASumThatReturnsToZeroIsEmpty(t *testing.T) {
	plan := twinPlan()
	plan.Counters = []CounterPlan{{Name: "net", Memory: "net", On: charge.Adjustment, Sum: "amount", Window: time.Hour, Digits: 2}}
	var c charge.Customer
	for _, amount := range []int64{500, -500} {
		e := charge.Event{Type: charge.Adjustment, Time: noon, Fields: []charge.Field{
			{Name: "balance", Value: charge.TextValue("main")},
			{Name: "amount", Value: charge.NumberValue(money.Decimal{Coefficient: amount, Scale: 2})},
		}}
		if refusal := plan.Apply(&c, &e, noon, &Effect{}); refusal != nil {
			t.Fatal(refusal)
		}
	}
	if buckets := c.Counter("net").Buckets; len(buckets) != 0 {
		t.Errorf("buckets %v are left", buckets)
	}
}

func TestCounterRoundsWhatIsFinerDown(t *testing.T) {
	counter := CounterPlan{Name: "heat", Memory: "heat", On: "probe", Sum: "degrees", Window: time.Hour, Digits: 1}
	plan := &Plan{Types: []string{"probe"}, Counters: []CounterPlan{counter}}
	var c charge.Customer
	for _, text := range []string{"1.25", "-1.25", "3"} {
		d, err := money.ParseDecimal(text)
		if err != nil {
			t.Fatal(err)
		}
		e := charge.Event{Type: "probe", Time: noon, Fields: []charge.Field{{Name: "degrees", Value: charge.NumberValue(d)}}}
		if refusal := plan.Apply(&c, &e, noon, &Effect{}); refusal != nil {
			t.Fatal(refusal)
		}
	}
	if got := plan.CounterValue(&c, &counter, noon); got != 12-13+30 {
		t.Errorf("1.2 - 1.3 + 3.0 = %d tenths", got)
	}
}

func TestCounterOverflowParks(t *testing.T) {
	plan := twinPlan()
	plan.Services = append(plan.Services, "free")
	plan.Counters = []CounterPlan{{Name: "units", Memory: "units", On: charge.Usage, Sum: "units", Window: time.Hour}}
	var c charge.Customer
	apply := func(units money.Amount) *Refusal {
		return plan.Apply(&c, &charge.Event{Type: charge.Usage, Time: noon, Fields: []charge.Field{
			{Name: "service", Value: charge.TextValue("free")},
			{Name: "units", Value: charge.NumberValue(money.Int(int64(units)))},
		}}, noon, &Effect{})
	}
	if refusal := apply(money.AmountMax); refusal != nil {
		t.Fatal(refusal)
	}
	if refusal := apply(1); refusal == nil || refusal.Reason != charge.Overflow || !strings.Contains(refusal.Detail, "units") {
		t.Errorf("got %v, want an overflow of counter units", refusal)
	}
}

func TestFloorDiv(t *testing.T) {
	for _, test := range []struct{ a, b, want int64 }{{7, 2, 3}, {8, 2, 4}, {0, 2, 0}, {-1, 2, -1}, {-2, 2, -1}, {-3, 2, -2}} {
		if got := floorDiv(test.a, test.b); got != test.want {
			t.Errorf("%d/%d = %d, want %d", test.a, test.b, got, test.want)
		}
	}
}

// TestTariffPerNothingParks: no book that loads has such a tariff, and a plan
// that does must not bring the turn down.
func TestTariffPerNothingParks(t *testing.T) {
	for _, per := range []int64{0, -60} {
		plan := twinPlan()
		plan.Services, plan.Tariffs = []string{"free"}, []TariffPlan{{Service: "free", Price: 400, Per: per}}
		refusal := plan.Apply(new(charge.Customer), &charge.Event{Type: charge.Usage, Time: noon, Fields: []charge.Field{
			{Name: "service", Value: charge.TextValue("free")},
			{Name: "units", Value: charge.NumberValue(money.Int(60))},
		}}, noon, &Effect{})
		if refusal == nil || refusal.Reason != charge.Unsupported {
			t.Errorf("a tariff per %d: got %v, want a refusal", per, refusal)
		}
	}
}

func TestMemoryOf(t *testing.T) {
	seen := map[string]bool{"limit:n:day": true}
	for _, parts := range [][3]string{{"n", "usage", ""}, {"n", "usage", "units"}, {"n", "usage", "charged"}, {"n", "cdr", "units"}, {"limit", "n", "day"}} {
		name := MemoryOf(parts[0], parts[1], parts[2])
		if seen[name] {
			t.Errorf("%v shares the memory %s", parts, name)
		}
		seen[name] = true
	}
}

func TestRebucket(t *testing.T) {
	counter := charge.Counter{Step: 10, Buckets: []charge.Bucket{{Index: 0, Value: 1}, {Index: 5, Value: 2}, {Index: 6, Value: 3}, {Index: 7, Value: -3}, {Index: 12, Value: 4}}}
	if err := rebucket(&counter, 60); err != nil {
		t.Fatal(err)
	}
	want := charge.Counter{Step: 60, Buckets: []charge.Bucket{{Index: 0, Value: 3}, {Index: 2, Value: 4}}}
	if !reflect.DeepEqual(counter, want) {
		t.Errorf("coarser: got %v, want %v", counter, want)
	}
	if err := rebucket(&counter, 10); err != nil {
		t.Fatal(err)
	}
	want = charge.Counter{Step: 10, Buckets: []charge.Bucket{{Index: 0, Value: 3}, {Index: 12, Value: 4}}}
	if !reflect.DeepEqual(counter, want) {
		t.Errorf("finer: got %v, want %v", counter, want)
	}
}

func TestLookup(t *testing.T) {
	plan := twinPlan()
	plan.Counters = []CounterPlan{{Name: "a"}, {Name: "b"}}
	for i := range plan.Balances {
		if got, ok := plan.Balance(plan.Balances[i].Name); !ok || got != &plan.Balances[i] {
			t.Errorf("balance %s is not found", plan.Balances[i].Name)
		}
	}
	if _, ok := plan.Balance("gold"); ok {
		t.Error("balance gold is found")
	}
	if got, ok := plan.Counter("b"); !ok || got.Name != "b" {
		t.Error("counter b is not found")
	}
	if _, ok := plan.Counter("c"); ok {
		t.Error("counter c is found")
	}
	if IsMoney(charge.Usage) || !IsMoney(charge.Recharge) || !IsMoney(charge.Adjustment) {
		t.Error("recharge and adjustment have the long dedup horizon, usage does not")
	}
}

// benchmarkCustomer is a customer as they are: some money, some bundles, busy
// counters.
func benchmarkCustomer(b *testing.B) (*Plan, *charge.Customer) {
	plan := twinPlan()
	plan.Counters = []CounterPlan{
		{Name: "recharged_30d", Memory: "recharged_30d", On: charge.Recharge, Sum: "amount", Window: 30 * 24 * time.Hour, Digits: 2},
		{Name: "recharges_10m", Memory: "recharges_10m", On: charge.Recharge, Window: 10 * time.Minute},
		{Name: "spent_30d", Memory: "spent_30d", On: charge.Usage, Sum: "charged", Window: 30 * 24 * time.Hour, Digits: 2},
	}
	c := new(charge.Customer)
	var fx Effect
	for i, name := range []string{"bonus", "bonus", "data", "gift", "main", "minutes"} {
		credit := Credit{Balance: name, Amount: 1_000_000, Account: charge.AccountAdjustment, Cause: "test"}
		if name != "main" {
			credit.Expires = noon.Add(time.Duration(i+1) * 240 * time.Hour)
		}
		if refusal := plan.Credit(c, credit, noon, &fx); refusal != nil {
			b.Fatal(refusal)
		}
	}
	return plan, c
}

// benchmark applies the event to a fresh copy of the customer each time, as the
// turn does, and checks that nothing is allocated.
func benchmark(b *testing.B, e charge.Event, check func(*charge.Customer, *Effect) bool) {
	plan, c := benchmarkCustomer(b)
	e.MSISDN, e.Time = c.MSISDN, noon
	var working charge.Customer
	var fx Effect
	run := func() {
		working.CopyFrom(c)
		fx.Reset()
		if refusal := plan.Admit(&e, noon); refusal != nil {
			b.Fatal(refusal)
		}
		plan.Expire(&working, noon, &fx)
		if refusal := plan.Apply(&working, &e, noon, &fx); refusal != nil {
			b.Fatal(refusal)
		}
	}
	run()
	*c = charge.Customer{}
	c.CopyFrom(&working) // Now its counters are open and its slices have grown.
	b.ReportAllocs()
	for b.Loop() {
		run()
	}
	if !check(&working, &fx) {
		b.Fatalf("wrong effect %+v", fx)
	}
	if allocations := testing.AllocsPerRun(100, run); allocations != 0 {
		b.Fatalf("%v allocations an event, want none", allocations)
	}
}

func BenchmarkApply(b *testing.B) {
	amount := charge.Field{Name: "amount", Value: charge.NumberValue(money.Decimal{Coefficient: 35000, Scale: 2})}
	b.Run("type=recharge", func(b *testing.B) {
		benchmark(b, charge.Event{Type: charge.Recharge, Fields: []charge.Field{amount}}, func(c *charge.Customer, fx *Effect) bool {
			return c.Total("main", noon) == 1_000_000+2*35000 && len(fx.Postings) == 1
		})
	})
	service := charge.Field{Name: "service", Value: charge.TextValue("voice")}
	units := charge.Field{Name: "units", Value: charge.NumberValue(money.Int(300_000))}
	b.Run("type=usage", func(b *testing.B) {
		benchmark(b, charge.Event{Type: charge.Usage, Fields: []charge.Field{service, units}}, func(c *charge.Customer, fx *Effect) bool {
			return c.Total("minutes", noon) == 400_000 && len(fx.Postings) == 1
		})
	})
	paid := charge.Field{Name: "charge", Value: charge.NumberValue(money.Decimal{Coefficient: 900, Scale: 2})}
	b.Run("type=usage/charge=yes", func(b *testing.B) {
		benchmark(b, charge.Event{Type: charge.Usage, Fields: []charge.Field{service, units, paid}}, func(c *charge.Customer, fx *Effect) bool {
			return slices.Equal([]money.Amount{c.Total("bonus", noon), fx.Charged}, []money.Amount{2_000_000 - 1800, 900})
		})
	})
}
