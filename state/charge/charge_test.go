package charge_test

import (
	"hash/fnv"
	"math"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"recharged/state/charge"
	"recharged/state/money"
)

func TestMSISDN(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		digits := rapid.StringMatching(`[0-9]{6,15}`).Draw(t, "digits")
		m, err := charge.ParseMSISDN(digits)
		if err != nil || m == 0 || m.String() != digits {
			t.Fatalf("%s is packed as %x and written %s, %v", digits, uint64(m), m, err)
		}
		if plus, err := charge.ParseMSISDN("+" + digits); err != nil || plus != m {
			t.Fatalf("+%s is %s, %v", digits, plus, err)
		}
		twin := fnv.New32a()
		twin.Write([]byte(digits))
		if got, want := m.Slot(), charge.Slot(twin.Sum32()%charge.Slots); got != want {
			t.Fatalf("slot %d, want %d", got, want)
		}
	})
	for _, text := range []string{"", "+", "12345", "1234567890123456", "21377012345x", "++213770123", "213 770 123", "٢١٣٧٧٠١"} {
		if m, err := charge.ParseMSISDN(text); err == nil {
			t.Errorf("ParseMSISDN(%q) = %s", text, m)
		}
	}
	if m, _ := charge.ParseMSISDN("213770123456"); m != 0xc213770123456000 || m.Masked() != "213*******56" || m.LogValue().String() != m.Masked() {
		t.Errorf("packed %#x, masked %s", uint64(m), m.Masked())
	}
}

func TestInstantOf(t *testing.T) {
	for text, ok := range map[string]bool{
		"1970-12-31T23:59:59Z": false, "1971-01-01T00:00:00Z": true, "2261-12-31T23:59:59.999999999Z": true, "2262-01-01T00:00:00Z": false,
		"1971-01-01T00:30:00+01:00": false, "1970-12-31T23:30:00-01:00": true, "2261-12-31T23:30:00-01:00": false, "0001-01-01T00:00:00Z": false,
	} {
		at, err := time.Parse(time.RFC3339, text)
		if err != nil {
			t.Fatal(err)
		}
		if i, got := charge.InstantOf(at); got != ok || ok && !i.Time().Equal(at) {
			t.Errorf("InstantOf(%s) = %v, %v", text, i.Time(), got)
		}
	}
}

func TestNearestInstant(t *testing.T) {
	for text, want := range map[string]string{
		"2026-11-21T11:00:00.5+01:00": "2026-11-21T10:00:00.5Z", "1970-01-01T00:00:00Z": "1970-01-01T00:00:00.000000001Z",
		"1969-12-31T23:59:59Z": "1969-12-31T23:59:59Z", "0001-01-01T00:00:00Z": "1677-09-21T00:12:43.145224192Z",
		"1677-09-21T00:12:43.145224192Z": "1677-09-21T00:12:43.145224192Z", "2262-04-11T23:47:16.854775807Z": "2262-04-11T23:47:16.854775807Z",
		"2262-04-11T23:47:16.854775808Z": "2262-04-11T23:47:16.854775807Z", "9999-12-31T23:59:59-23:59": "2262-04-11T23:47:16.854775807Z",
	} {
		at, err := time.Parse(time.RFC3339, text)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := charge.NearestInstant(at).MarshalText(); err != nil || string(got) != want {
			t.Errorf("NearestInstant(%s) = %s, %v, want %s", text, got, err, want)
		}
	}
}

func TestInstantsSaturate(t *testing.T) {
	const first, last = charge.Instant(math.MinInt64), charge.Instant(math.MaxInt64)
	if end := (last - 5).Add(6); end != last {
		t.Errorf("the end of time is exceeded: %d", end)
	}
	if begin := (first + 5).Add(-6); begin != first {
		t.Errorf("time begins too early: %d", begin)
	}
	if up, down, near := last.Sub(-1), first.Sub(1), last.Sub(last-7); up != math.MaxInt64 || down != math.MinInt64 || near != 7 {
		t.Errorf("differences %d, %d, %d", up, down, near)
	}
}

func TestCustomerLookups(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var c charge.Customer
		amounts, tags := map[string]money.Amount{}, map[string]bool{}
		for i, name := range rapid.SliceOf(names()).Draw(t, "names") {
			c.OpenBalance(name).Parts = []charge.Part{{Amount: money.Amount(i + 1)}}
			c.OpenCounter(name, 60).Buckets = []charge.Bucket{{Index: 1, Value: int64(i)}}
			c.SetAttribute(name, charge.NumberValue(money.Int(int64(i))))
			amounts[name] = money.Amount(i + 1)
			if tags[name] = i%2 == 0; tags[name] {
				c.Tag(name)
			} else {
				c.Untag(name)
			}
		}
		for name, amount := range amounts {
			if c.Total(name, 1) != amount || c.Counter(name).Sum(0, 9) != int64(amount-1) || c.Tagged(name) != tags[name] ||
				c.Attribute(name).Bits != int64(amount-1) {
				t.Fatalf("%s is not found in %+v", name, c)
			}
			if c.UnsetAttribute(name); c.Attribute(name).Kind != charge.Missing {
				t.Fatalf("%s is still set", name)
			}
		}
		if c.Balance("-") != nil || c.Counter("-") != nil || c.Tagged("-") || len(c.Balances) != len(amounts) {
			t.Fatalf("%+v has what was never added", c)
		}
	})
}

// A copy shares nothing that either of them changes in place.
func TestCopyIsIndependent(t *testing.T) {
	src := goldenCustomer()
	c := charge.Customer{Balances: slices.Clone(goldenCustomer().Balances[:1])}
	c.CopyFrom(src)
	if !reflect.DeepEqual(c, *src) {
		t.Fatalf("copied %+v\nfrom   %+v", c, *src)
	}
	c.Balance("main").Parts[0].Amount = 1
	c.Counter("recharges_7d").Buckets[0].Value = 99
	c.SetAttribute("age", charge.Value{})
	c.Untag("lapsed")
	c.Timer("call").Due = 1
	if !reflect.DeepEqual(src, goldenCustomer()) {
		t.Errorf("the source changed with its copy: %+v", src)
	}
}

func TestNextDue(t *testing.T) {
	var c charge.Customer
	if c.NextDue() != 0 {
		t.Errorf("something is due at %d for nobody", c.NextDue())
	}
	*c.OpenTimer("b") = charge.Timer{Rule: "b", Due: 30}
	*c.OpenTimer("a") = charge.Timer{Rule: "a", Due: 40}
	if c.NextDue() != 30 || c.Timers[0].Rule != "a" || c.Timer("c") != nil {
		t.Errorf("due at %d: %+v", c.NextDue(), c.Timers)
	}
	c.OpenBalance("main").Parts = []charge.Part{{Amount: 1}, {Amount: 1, Expires: 20}}
	if c.NextDue() != 20 {
		t.Errorf("due at %d, want 20", c.NextDue())
	}
}

func TestTracking(t *testing.T) {
	c := charge.Customer{}
	at := instant("2026-11-21T10:00:00Z")
	if c.Tracking(at) != 0 || c.DaysSinceRecharge(at) != -1 {
		t.Error("a customer who never recharged is tracked")
	}
	c.LastRecharge = at
	for days, want := range map[int]int64{0: 70, 1: 69, 12: 63, 60: 35, 119: 0, 118: 1, 120: 0, 4000: 0} {
		if got := c.Tracking(at.Add(time.Duration(days) * 24 * time.Hour)); got != want {
			t.Errorf("after %d days %d, want %d", days, got, want)
		}
	}
	if got := c.DaysSinceRecharge(at - 1); got != 0 {
		t.Errorf("before the recharge: %d days", got)
	}
}

func TestPartsExpire(t *testing.T) {
	at := instant("2026-11-21T10:00:00Z")
	c := charge.Customer{Balances: []charge.Balance{{Name: "main", Parts: []charge.Part{{5, 0}, {7, at}, {11, at + 1}}}}}
	if got := c.Total("main", at); got != 16 {
		t.Errorf("a part is worth something from its expiry on: %d", got)
	}
	if got := c.NextExpiry(); got != at {
		t.Errorf("next expiry %d, want %d", got, at)
	}
}

func TestValueEqual(t *testing.T) {
	half := charge.NumberValue(money.Decimal{Coefficient: 50, Scale: 2})
	if !half.Equal(charge.NumberValue(money.Decimal{Coefficient: 5, Scale: 1})) || half.Equal(charge.NumberValue(money.Int(5))) {
		t.Error("numbers are not compared by what they mean")
	}
	if (charge.Value{}).Equal(charge.Value{}) || charge.BoolValue(true).Equal(charge.NumberValue(money.Int(1))) {
		t.Error("missing values, or values of two kinds, are equal")
	}
	rapid.Check(t, func(t *rapid.T) {
		v := attributeValues().Draw(t, "value")
		object := charge.Value{Kind: charge.Object, Fields: []charge.Field{{Name: "a", Value: v}}}
		if !v.Equal(v) || !object.Equal(object) || object.Equal(v) {
			t.Fatalf("%+v does not equal itself", v)
		}
	})
}
