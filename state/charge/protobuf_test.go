package charge_test

import (
	"reflect"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"pgregory.net/rapid"

	"recharged/state/charge"
	"recharged/state/money"
)

func TestProtobufRoundTrip(t *testing.T) {
	d := charge.NewDecoder(catalog())
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.SliceOfN(events(), 0, 3).Draw(t, "events")
		var batch []byte
		for i := range want {
			batch = charge.AppendProtobuf(batch, &want[i])
		}
		var got []charge.Event
		fault := d.Protobuf(batch, func(index int, e charge.Event, r *charge.Rejection) {
			if r != nil || index != len(got) {
				t.Fatalf("event %d: %v", index, r)
			}
			got = append(got, e)
		})
		if fault != nil || len(got) != len(want) {
			t.Fatalf("%d of %d events, %v", len(got), len(want), fault)
		}
		for i := range want {
			if !reflect.DeepEqual(got[i], want[i]) {
				t.Fatalf("read  %+v\nwrote %+v", got[i], want[i])
			}
		}
	})
}

// text is the field of that number in a Protobuf message, with that content.
func text(number protowire.Number, content string) string {
	return string(protowire.AppendString(protowire.AppendTag(nil, number, protowire.BytesType), content))
}

func integer(number protowire.Number, n uint64) string {
	return string(protowire.AppendVarint(protowire.AppendTag(nil, number, protowire.VarintType), n))
}

func fixed(number protowire.Number, n uint64) string {
	return string(protowire.AppendFixed64(protowire.AppendTag(nil, number, protowire.Fixed64Type), n))
}

// message returns a recharge with those fields after its attributes.
func message(more ...string) string {
	return text(1, "e1") + text(2, "/ussd-gw/1") + text(3, "recharge") + text(4, "213770123456") +
		fixed(5, uint64(instant("2026-11-21T10:00:00Z"))) + strings.Join(more, "")
}

func TestProtobufByHand(t *testing.T) {
	amount := text(6, text(1, "amount")+integer(4, protowire.EncodeZigZag(350)))
	channel := text(6, text(1, "channel")+text(2, "ussd")) + text(6, text(1, "pos")+text(2, "p1"))
	nested := text(6, text(1, "x")+text(7, text(1, text(1, "y")+text(7, text(1, text(1, "z"))))))
	for name, test := range map[string]struct{ event, want string }{
		"a recharge":                {message(amount, channel), "e1"},
		"an amount written out":     {message(text(6, text(1, "amount")+text(5, "350.00")), channel), "e1"},
		"an amount as a text":       {message(text(6, text(1, "amount")+text(2, "350")), channel), "e1"},
		"fields of the future":      {message(amount, integer(99, 1), text(98, "x"), channel), "e1"},
		"fields in another order":   {message(channel, amount), "e1"},
		"no data":                   {message(), "e1!missing_attribute"},
		"an empty id":               {strings.Replace(message(amount), text(1, "e1"), text(1, ""), 1), "!missing_attribute"},
		"an empty decimal":          {message(text(6, text(1, "amount")+text(5, ""))), "e1!bad_amount"},
		"an exponent":               {message(text(6, text(1, "amount")+text(5, "1e3"))), "e1!bad_amount"},
		"nothing paid":              {message(text(6, text(1, "amount")+integer(4, 0))), "e1!bad_amount"},
		"too much paid":             {message(text(6, text(1, "amount")+integer(4, protowire.EncodeZigZag(1<<62)))), "e1!bad_amount"},
		"an amount as a truth":      {message(text(6, text(1, "amount")+integer(3, 1))), "e1!bad_amount"},
		"an amount without value":   {message(text(6, text(1, "amount"))), "e1!bad_amount"},
		"an amount of a wrong kind": {message(text(6, text(1, "amount")+integer(5, 1))), "e1!malformed"},
		"an amount twice":           {message(amount, amount), "e1!malformed"},
		"a name of no UTF-8":        {message(amount, text(6, text(1, "\xff")+text(2, "x"))), "e1!malformed"},
		"a time long ago":           {strings.Replace(message(amount), fixed(5, uint64(instant("2026-11-21T10:00:00Z"))), fixed(5, 1), 1), "e1"},
		"no time":                   {strings.Replace(message(amount), fixed(5, uint64(instant("2026-11-21T10:00:00Z"))), fixed(5, 0), 1), "e1!missing_attribute"},
		"a zero too many":           {message(text(6, text(1, "amount")+text(5, "350.500"))), "e1!bad_amount"},
		"a time as a number":        {message(amount, integer(5, 1)), "e1!malformed"},
		"objects in objects":        {message(amount, nested), "e1!malformed"},
		"257 fields":                {message(strings.Repeat(channel, 129)), "e1!malformed"},
		"cut off":                   {message(amount) + "\x0a\x7f", "e1!malformed"},
		"too large":                 {message(amount, text(99, strings.Repeat("x", charge.EventBytesMax))), "!too_large"},
		"extra that is no JSON":     {message(amount, text(7, "{")), "e1!malformed"},
		"extra that is no object":   {message(amount, text(7, "[]")), "e1!malformed"},
		"extra of other names":      {message(amount, text(7, `{"more":{}}`)), "e1!malformed"},
		"extra that hides data":     {message(amount, text(7, `{"data":{"amount":1}}`)), "e1!malformed"},
		"extra that hides an id":    {message(amount, text(7, `{"attributes":{"id":"x"}}`)), "e1!malformed"},
	} {
		t.Run(name, func(t *testing.T) {
			h := &heard{t: t}
			// What is wrong with one event is no harm to the next one.
			fault := charge.NewDecoder(catalog()).Protobuf([]byte(text(1, test.event)+text(1, message(amount, channel))), h.each)
			if fault != nil {
				t.Fatal(fault)
			}
			h.want(test.want + " e1")
		})
	}
	want := accept(t, rechargeJSON)
	charge.NewDecoder(catalog()).Protobuf([]byte(text(1, message(channel, amount))), func(_ int, e charge.Event, r *charge.Rejection) {
		if r != nil || !reflect.DeepEqual(e, want) {
			t.Errorf("by hand %+v, %v\nby JSON %+v", e, r, want)
		}
	})
}

func TestProtobufKeepsTheUnknown(t *testing.T) {
	fields := []string{
		text(6, text(1, "amount")+integer(4, protowire.EncodeZigZag(5))), text(6, text(1, "shop")+text(2, "é")), text(6, text(1, "n")+text(5, "1.50")),
		text(6, text(1, "at")+fixed(8, 1_000_000_000)), text(6, text(1, "list")+text(6, text(1, "a")+text(1, "b"))),
		text(6, text(1, "object")+text(7, text(1, text(1, "k")+integer(3, 1)))), text(7, `{"attributes":{"b":2,"a":1},"data":{"deep":{"x":[]}}}`),
	}
	const want = `{"attributes":{"a":1,"b":2},"data":{"at":"1970-01-01T00:00:01Z","deep":{"x":[]},"list":["a","b"],"n":1.5,"object":{"k":true},"shop":"é"}}`
	charge.NewDecoder(catalog()).Protobuf([]byte(text(1, message(fields...))), func(_ int, e charge.Event, r *charge.Rejection) {
		if r != nil || string(e.Extra) != want {
			t.Errorf("extra %s, %v, want %s", e.Extra, r, want)
		}
	})
}

func TestProtobufBrokenBatch(t *testing.T) {
	good := text(1, message(text(6, text(1, "amount")+integer(4, 10))))
	for name, test := range map[string]struct{ batch, want, fault string }{
		"empty":                {"", "", ""},
		"a field to come":      {integer(9, 1) + good, "e1", ""},
		"cut off":              {good + good[:len(good)-1], "e1", "broken at event 1, byte"},
		"a number for events":  {good + integer(1, 5), "e1", "event.proto"},
		"JSON":                 {rechargeJSON, "", "broken at event 0, byte 0"},
		"a tag without number": {"\x00", "", "broken at event 0"},
	} {
		h := &heard{t: t}
		r := charge.NewDecoder(catalog()).Protobuf([]byte(test.batch), h.each)
		h.want(test.want)
		if (r == nil) != (test.fault == "") || r != nil && (r.Reason != charge.Malformed || !strings.Contains(r.Detail, test.fault)) {
			t.Errorf("%s: fault %v, want %q", name, r, test.fault)
		}
	}
}

func TestIsProtobuf(t *testing.T) {
	event := text(1, message())
	for batch, want := range map[string]bool{
		event: true, event + event: true, text(1, ""): true,
		"": false, event[:len(event)-1]: false, event + "x": false, event + integer(2, 1): false, integer(1, 1): false, rechargeJSON: false, "\n": false,
	} {
		if charge.IsProtobuf([]byte(batch)) != want {
			t.Errorf("%q: want %t", batch, want)
		}
	}
}

func FuzzProtobuf(f *testing.F) {
	for _, text := range []string{rechargeJSON, profileJSON, roamingJSON} {
		e, _ := charge.NewDecoder(catalog()).Event([]byte(text))
		f.Add(charge.AppendProtobuf(nil, &e))
	}
	f.Add([]byte(text(1, message(text(7, `{"attributes":{"b":2},"data":{"deep":{"x":[]}}}`)))))
	c := catalog()
	f.Fuzz(func(t *testing.T, data []byte) {
		d := charge.NewDecoder(c)
		d.Protobuf(data, func(_ int, e charge.Event, r *charge.Rejection) {
			if r != nil {
				return
			}
			if r := c.Check(&e); r != nil {
				t.Fatalf("Check refuses what the decoder accepted: %v", r)
			}
			text := charge.AppendEventJSON(nil, &e)
			if again, r := charge.NewDecoder(c).Event(text); len(text) <= charge.EventBytesMax && (r != nil || again.Content() != e.Content()) {
				t.Fatalf("%s\nis read again as %+v, %v", text, again, r)
			}
		})
	})
}

func BenchmarkProtobuf(b *testing.B) {
	e := charge.Event{
		ID: "e1", Source: "/ussd-gw/1", Type: charge.Recharge, MSISDN: goldenOutcome().MSISDN, Time: instant("2026-11-21T10:00:00Z"),
		Fields: []charge.Field{
			{Name: "amount", Value: charge.NumberValue(dinar.Decimal(money.Amount(35000)))}, {Name: "channel", Value: charge.TextValue("ussd")},
		},
	}
	batch, d := charge.AppendProtobuf(nil, &e), charge.NewDecoder(catalog())
	b.ReportAllocs()
	for b.Loop() {
		d.Protobuf(batch, func(_ int, _ charge.Event, r *charge.Rejection) {
			if r != nil {
				b.Fatal(r)
			}
		})
	}
}
