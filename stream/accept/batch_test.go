package accept

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"recharged/state/charge"
)

// recharge is a structured CloudEvent. A bad amount makes it one to reject.
func recharge(id, msisdn, amount string) string {
	return fmt.Sprintf(`{"specversion":"1.0","id":%q,"source":"/ussd-gw/1","type":"recharge","subject":%q,"time":"2026-11-21T10:00:00Z","data":{"amount":%q}}`,
		id, msisdn, amount)
}

func TestDecode(t *testing.T) {
	const m = "213770123456"
	good, bad := recharge("good", m, "350"), recharge("bad", m, "1.234")
	broken := `{"specversion":`
	cases := []struct {
		name     string
		encoding Encoding
		body     string
		want     string // ids of the accepted | index:id:reason of the rejected
	}{
		{"one", Event, good, "good |"},
		{"one by its look", JSON, " \n" + good, "good |"},
		{"array by its look", JSON, "\t[" + good + "]", "good |"},
		{"bad one", Event, bad, "| 0:bad:bad_amount"},
		{"no JSON", JSON, "hello", "| 0::malformed"},
		{"nothing", JSON, "", "| 0::malformed"},
		{"array is not one", Event, "[" + good + "]", "| 0::malformed"},
		{"one is not an array", Array, good, "| 0::malformed"},
		{"empty array", Array, "[]", "|"},
		{"array", Array, "[" + good + "," + bad + ",7," + recharge("b", m, "5") + "]", "good b | 1:bad:bad_amount 2::malformed"},
		{"array that breaks off", Array, "[" + good + "," + good, "| 0::malformed"},
		{"lines", Lines, good + "\n\n" + broken + "\r\n" + recharge("c", m, "1") + "\n", "good c | 1::malformed"},
		{"no protobuf", Protobuf, "\xff\xff", "| 0::malformed"},
	}
	g := newGateway(t, nil, &memoryLog{}, &memoryLog{})
	for _, c := range cases {
		b := g.NewBatch()
		b.Decode(c.encoding, []byte(c.body))
		if got := described(t, b); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

// described says what a batch holds.
func described(t *testing.T, b *Batch) string {
	t.Helper()
	var words []string
	start := 0
	for _, it := range b.items {
		e, rest, err := charge.DecodeEvent(b.encoded[start:it.end])
		if err != nil || len(rest) > 0 {
			t.Fatalf("event %v, %d bytes left: %v", e, len(rest), err)
		}
		words, start = append(words, e.ID), it.end
	}
	words = append(words, "|")
	for _, r := range b.rejected {
		words = append(words, fmt.Sprintf("%d:%s:%s", r.Index, r.ID, r.Reason))
		if r.Detail == "" {
			t.Errorf("rejection without a detail: %+v", r)
		}
	}
	return strings.Join(words, " ")
}

func TestRejectedIsCountedUnderABoundedLabel(t *testing.T) {
	var counted []string
	g := newGateway(t, func(o *Options) {
		o.Observe.Rejected = func(eventType string, reason charge.RejectReason) {
			counted = append(counted, eventType+" "+string(reason))
		}
	}, &memoryLog{})
	b := g.NewBatch()
	for i, eventType := range []string{charge.Recharge, "from-outside-" + strings.Repeat("x", 1000), ""} {
		b.add(i, charge.Event{Type: eventType}, &charge.Rejection{Reason: charge.BadTime, Detail: "d"})
	}
	v, err := g.Accept(t.Context(), b)
	if err != nil || v.Accepted != 0 || len(v.Rejected) != 3 {
		t.Fatalf("%+v, %v", v, err)
	}
	if want := []string{"recharge bad_time", "unknown bad_time", "unknown bad_time"}; !slices.Equal(counted, want) {
		t.Errorf("counted %v, want %v", counted, want)
	}
}

func TestTooManyEventsAreRefusedWhole(t *testing.T) {
	g := newGateway(t, nil, &memoryLog{})
	b := g.NewBatch()
	body := append(bytes.Repeat([]byte("7,"), BatchEventsMax), '7')
	b.Decode(Array, append(append([]byte{'['}, body...), ']'))
	v, err := g.Accept(t.Context(), b)
	if err != nil || v.Accepted != 0 || len(v.Rejected) != 1 || v.Rejected[0].Reason != charge.TooLarge {
		t.Errorf("accepted %d, rejected %d: %v", v.Accepted, len(v.Rejected), err)
	}
}

// A batch that comes from the pool begins empty, and is checked against the
// catalog of its own time.
func TestBatchesAreReused(t *testing.T) {
	catalog := testCatalog()
	l := &memoryLog{}
	g := newGateway(t, func(o *Options) { o.Catalog = func() *charge.Catalog { return catalog } }, l)
	m := customerOf(0, 1)
	for i := range 3 {
		b := g.NewBatch()
		b.add(0, contact(fmt.Sprint(i), m), nil)
		b.add(1, charge.Event{}, &charge.Rejection{Reason: charge.Malformed})
		v, err := g.Accept(t.Context(), b)
		if err != nil || v.Accepted != 1 || len(v.Rejected) != 1 {
			t.Fatalf("batch %d: %+v, %v", i, v, err)
		}
		catalog = testCatalog()
		if next := g.NewBatch(); next.catalog != catalog {
			t.Errorf("batch %d is checked against an old catalog", i+1)
		}
	}
	if got := eventIDs(t, l); !slices.Equal(got, []string{"0", "1", "2"}) {
		t.Errorf("the log holds %v", got)
	}
}
