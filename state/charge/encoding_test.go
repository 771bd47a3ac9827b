package charge_test

import (
	"bytes"
	"encoding/hex"
	"math"
	"reflect"
	"testing"

	"pgregory.net/rapid"

	"recharged/state/charge"
	"recharged/state/money"
)

// roundTrip checks that what append writes, decode reads, that it leaves what
// follows, and that every shorter text is refused.
func roundTrip[T any](t *rapid.T, want T, appendTo func([]byte, *T) []byte, decode func([]byte) (T, []byte, error)) {
	encoded := appendTo([]byte("before"), &want)[len("before"):]
	got, rest, err := decode(append(bytes.Clone(encoded), "after"...))
	if err != nil || string(rest) != "after" {
		t.Fatalf("decode: %v, rest %q", err, rest)
	}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("read  %+v\nwrote %+v", got, want)
	}
	short := rapid.IntRange(0, len(encoded)-1).Draw(t, "short")
	if _, _, err := decode(encoded[:short]); err == nil {
		t.Fatalf("%d of %d bytes were accepted", short, len(encoded))
	}
}

func TestEventRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		roundTrip(t, events().Draw(t, "event"), charge.AppendEvent, charge.DecodeEvent)
	})
}

func TestOutcomeRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		roundTrip(t, outcomes().Draw(t, "outcome"), charge.AppendOutcome, charge.DecodeOutcome)
	})
}

func TestNotificationRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		roundTrip(t, charge.Notification{
			MSISDN: msisdns().Draw(t, "msisdn"), EventID: texts().Draw(t, "id"), Source: texts().Draw(t, "source"),
			Rule: texts().Draw(t, "rule"), Channel: texts().Draw(t, "channel"), Template: texts().Draw(t, "template"),
			Language: texts().Draw(t, "language"), Text: texts().Draw(t, "text"),
			Time: instants().Draw(t, "time"), SendAfter: orNever().Draw(t, "after"),
		}, charge.AppendNotification, charge.DecodeNotification)
	})
}

func TestAlertRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := charge.Alert{
			Name: texts().Draw(t, "name"), Severity: texts().Draw(t, "severity"), Summary: texts().Draw(t, "summary"),
			StartsAt: instants().Draw(t, "start"), EndsAt: orNever().Draw(t, "end"),
		}
		for range rapid.IntRange(0, 3).Draw(t, "labels") {
			a.Labels = append(a.Labels, charge.Label{Name: texts().Draw(t, "label"), Value: texts().Draw(t, "value")})
		}
		roundTrip(t, a, charge.AppendAlert, charge.DecodeAlert)
	})
}

// A customer is decoded into the memory of another one without a trace of it.
func TestCustomerRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want, used := customers().Draw(t, "customer"), customers().Draw(t, "used")
		encoded := charge.AppendCustomer(nil, &want)
		if err := charge.DecodeCustomer(encoded, &used); err != nil {
			t.Fatal(err)
		}
		if again := charge.AppendCustomer(nil, &used); !bytes.Equal(again, encoded) {
			t.Fatalf("read  %+v\nwrote %+v", used, want)
		}
		var fresh charge.Customer
		if err := charge.DecodeCustomer(encoded, &fresh); err != nil {
			t.Fatal(err)
		}
		fresh.CopyFrom(&used)
		if again := charge.AppendCustomer(nil, &fresh); !bytes.Equal(again, encoded) {
			t.Fatalf("copied %+v\nfrom   %+v", fresh, used)
		}
		short := rapid.IntRange(0, len(encoded)-1).Draw(t, "short")
		if err := charge.DecodeCustomer(encoded[:short], &fresh); err == nil {
			t.Fatalf("%d of %d bytes were accepted", short, len(encoded))
		}
		if err := charge.DecodeCustomer(append(encoded, 0), &fresh); err == nil {
			t.Fatal("a byte too many was accepted")
		}
	})
}

// goldenCustomer has something of everything.
func goldenCustomer() *charge.Customer {
	at := instant("2026-11-21T10:00:00Z")
	msisdn, err := charge.ParseMSISDN("213770123456")
	if err != nil {
		panic(err)
	}
	return &charge.Customer{
		MSISDN: msisdn, Recharges: 3, LastRecharge: at, Seen: 300, Forgotten: 44,
		Balances: []charge.Balance{
			{Name: "bonus", Parts: []charge.Part{{35000, at + 7*86_400_000_000_000}, {100, at + 1}}},
			{Name: "data", Parts: []charge.Part{{500_000_000, at + 1_500_000_000}}},
			{Name: "loyalty"},
			{Name: "main", Parts: []charge.Part{{Amount: 41000}}},
		},
		Attributes: []charge.Field{
			{Name: "age", Value: charge.NumberValue(money.Int(24))},
			{Name: "city", Value: charge.TextValue("الجزائر")},
			{Name: "langs", Value: charge.ListValue([]string{"fr", "ar"})},
			{Name: "vip", Value: charge.BoolValue(true)},
		},
		Tags:     []string{"lapsed"},
		Counters: []charge.Counter{{Name: "recharges_7d", Step: 10080, Buckets: []charge.Bucket{{Index: 176_000, Value: 1}, {Index: 176_009, Value: 2}}}},
		Timers:   []charge.Timer{{Rule: "call", Armed: at, Due: at + 5}, {Rule: "win-back", Armed: at, Due: at + 30*86_400_000_000_000}},
	}
}

// The encoding of a customer is in every store and every commit log: if this
// test fails, a new version byte and a reader of the old one are due.
func TestCustomerEncodingIsPinned(t *testing.T) {
	const before = "c2137701234560000680baadc035ac02800204" +
		"4102f0a20480e2d4c235c80186baadc035013d018094ebdc038abaadc035f4030e6c6f79616c7479003f01d0800500" +
		"04066167650200300863697479030ed8a7d984d8acd8b2d8a7d8a6d8b10a6c616e677304020266720261720676697001" +
		"01010c6c6170736564" + "01187265636861726765735f3764c09d010280be15021204"
	const want = "02" + before + "020863616c6c80baadc03586baadc03505" + "1077696e2d6261636b80baadc035808a9fca35"
	got := hex.EncodeToString(charge.AppendCustomer(nil, goldenCustomer()))
	if got != want {
		t.Errorf("the customer is encoded as\n%s, want\n%s", got, want)
	}
	other := charge.AppendCustomer(nil, goldenCustomer())
	other[0]++
	if err := charge.DecodeCustomer(other, &charge.Customer{}); err == nil {
		t.Error("an unknown version was accepted")
	}

	// Version 1 knew no timers.
	old, err := hex.DecodeString("01" + before)
	if err != nil {
		t.Fatal(err)
	}
	c, timeless := *goldenCustomer(), goldenCustomer()
	timeless.Timers = nil
	if err := charge.DecodeCustomer(old, &c); err != nil || len(c.Timers) > 0 {
		t.Errorf("version 1 is read as %+v, %v", c, err)
	}
	if got := charge.AppendCustomer(nil, &c); !bytes.Equal(got, charge.AppendCustomer(nil, timeless)) {
		t.Errorf("version 1 becomes\n%x", got)
	}
}

// Identity and content are kept for as long as an event is remembered: a new
// way to compute them would let every event be counted twice.
func TestIdentityAndContentArePinned(t *testing.T) {
	e := accept(t, rechargeJSON)
	identity := e.Identity()
	if got, want := hex.EncodeToString(identity[:]), "ec1b5a04f009251c8d975c33f8921e01"; got != want {
		t.Errorf("identity %s, want %s", got, want)
	}
	if got, want := e.Content(), uint64(0xf081feb3a7454edf); got != want {
		t.Errorf("content %#x, want %#x", got, want)
	}
}

func TestIdentityAndContent(t *testing.T) {
	base := accept(t, rechargeJSON)
	for name, test := range map[string]struct {
		json                      string
		sameIdentity, sameContent bool
	}{
		"the same":              {rechargeJSON, true, true},
		"another order":         {`{"data":{"pos":"p1","channel":"ussd","amount":"350.00"},"time":"2026-11-21T11:00:00+01:00","subject":"+213770123456","type":"recharge","source":"/ussd-gw/1","id":"e1","specversion":"1.0"}`, true, true},
		"a traceparent":         {edit(rechargeJSON, `"id"`, `"traceparent":"00-1","id"`), true, true},
		"another amount":        {edit(rechargeJSON, "350.00", "350.01"), true, false},
		"another time":          {edit(rechargeJSON, "10:00:00Z", "10:00:01Z"), true, false},
		"another customer":      {edit(rechargeJSON, "213770123456", "213770123457"), true, false},
		"more known data":       {edit(rechargeJSON, `"pos"`, `"cell":"c","pos"`), true, false},
		"unknown data":          {edit(rechargeJSON, `"pos"`, `"shop":"c","pos"`), true, false},
		"a null":                {edit(rechargeJSON, `"pos"`, `"cell":null,"pos"`), true, true},
		"another id":            {edit(rechargeJSON, `"e1"`, `"e2"`), false, true},
		"another source":        {edit(rechargeJSON, `"/ussd-gw/1"`, `"/ussd-gw/2"`), false, true},
		"a letter moved across": {edit(edit(rechargeJSON, `"/ussd-gw/1"`, `"/ussd-gw/1e"`), `"e1"`, `"1"`), false, true},
	} {
		e := accept(t, test.json)
		if got := e.Identity() == base.Identity(); got != test.sameIdentity {
			t.Errorf("%s: same identity %v", name, got)
		}
		if got := e.Content() == base.Content(); got != test.sameContent {
			t.Errorf("%s: same content %v", name, got)
		}
	}
	one := accept(t, edit(rechargeJSON, `"pos"`, `"shop":{"a":1,"b":[ ]},"pos"`))
	two := accept(t, edit(rechargeJSON, `"pos"`, `"shop":{"b":[],"\u0061":1},"pos"`))
	if one.Content() != two.Content() {
		t.Error("order, spaces and escapes of unknown data are content")
	}
}

func TestInstantsOfAllSizes(t *testing.T) {
	for _, i := range []charge.Instant{0, 1, -1, 999, 1000, 1_000_000_000, -1_000_000_000, math.MaxInt64, math.MinInt64, math.MinInt64 + 1} {
		n := charge.Notification{Time: i}
		got, _, err := charge.DecodeNotification(charge.AppendNotification(nil, &n))
		if err != nil || got.Time != i {
			t.Errorf("instant %d is read as %d, %v", i, got.Time, err)
		}
	}
}

func FuzzDecodeEvent(f *testing.F) {
	for _, text := range []string{rechargeJSON, usageJSON, profileJSON} {
		e, _ := charge.NewDecoder(catalog()).Event([]byte(text))
		f.Add(charge.AppendEvent(nil, &e))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		e, rest, err := charge.DecodeEvent(data)
		if err != nil {
			return
		}
		encoded := charge.AppendEvent(nil, &e)
		again, _, err := charge.DecodeEvent(encoded)
		if err != nil || len(rest) > len(data) || !bytes.Equal(charge.AppendEvent(nil, &again), encoded) {
			t.Fatalf("%+v is read again as %+v, %v", e, again, err)
		}
		charge.AppendEventJSON(nil, &e)
		e.Content()
	})
}

func FuzzDecodeCustomer(f *testing.F) {
	f.Add(charge.AppendCustomer(nil, goldenCustomer()))
	f.Add(charge.AppendCustomer(nil, &charge.Customer{}))
	f.Fuzz(func(t *testing.T, data []byte) {
		var c, again charge.Customer
		if charge.DecodeCustomer(data, &c) != nil {
			return
		}
		encoded := charge.AppendCustomer(nil, &c)
		if err := charge.DecodeCustomer(encoded, &again); err != nil || !bytes.Equal(charge.AppendCustomer(nil, &again), encoded) {
			t.Fatalf("%+v is read again as %+v, %v", c, again, err)
		}
	})
}

func FuzzDecodeOutcome(f *testing.F) {
	f.Add(charge.AppendOutcome(nil, goldenOutcome()))
	f.Add(charge.AppendOutcome(nil, &charge.Outcome{}))
	f.Fuzz(func(t *testing.T, data []byte) {
		o, _, err := charge.DecodeOutcome(data)
		if err != nil {
			return
		}
		encoded := charge.AppendOutcome(nil, &o)
		again, _, err := charge.DecodeOutcome(encoded)
		if err != nil || !reflect.DeepEqual(again, o) {
			t.Fatalf("%+v is read again as %+v, %v", o, again, err)
		}
		charge.AppendOutcomeJSON(nil, &o)
	})
}

// benchCustomer has four balances, as most customers have at most.
func benchCustomer() *charge.Customer {
	c := goldenCustomer()
	c.Attributes = c.Attributes[:2]
	return c
}

func BenchmarkCustomer(b *testing.B) {
	encoded := charge.AppendCustomer(nil, benchCustomer())
	b.Run("op=encode", func(b *testing.B) {
		b.ReportAllocs()
		c, buffer := benchCustomer(), make([]byte, 0, 1024)
		for b.Loop() {
			buffer = charge.AppendCustomer(buffer[:0], c)
		}
		if !bytes.Equal(buffer, encoded) {
			b.Fatal("wrong bytes")
		}
	})
	b.Run("op=decode", func(b *testing.B) {
		b.ReportAllocs()
		var c charge.Customer
		for b.Loop() {
			if err := charge.DecodeCustomer(encoded, &c); err != nil {
				b.Fatal(err)
			}
		}
		if len(c.Balances) != 4 {
			b.Fatal("wrong customer")
		}
	})
}

func BenchmarkEvent(b *testing.B) {
	e, rejection := charge.NewDecoder(catalog()).Event([]byte(rechargeJSON))
	if rejection != nil {
		b.Fatal(rejection)
	}
	encoded := charge.AppendEvent(nil, &e)
	b.Run("op=encode", func(b *testing.B) {
		b.ReportAllocs()
		buffer := make([]byte, 0, 1024)
		for b.Loop() {
			buffer = charge.AppendEvent(buffer[:0], &e)
		}
	})
	b.Run("op=decode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, _, err := charge.DecodeEvent(encoded); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("op=fingerprint", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if e.Identity() == [16]byte{} || e.Content() == 0 {
				b.Fatal("no fingerprint")
			}
		}
	})
}
