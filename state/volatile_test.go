package state

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"recharged/state/charge"
	"recharged/state/money"
)

// naive is what a Volatile should remember, as simply as it can be.
type naive struct {
	customers map[charge.MSISDN][]byte
	ids       map[charge.MSISDN][]Seen
}

func (n *naive) clone() *naive {
	c := &naive{map[charge.MSISDN][]byte{}, map[charge.MSISDN][]Seen{}}
	for m, row := range n.customers {
		c.customers[m] = row
	}
	for m, ids := range n.ids {
		c.ids[m] = slices.Clone(ids)
	}
	return c
}

func msisdn(n int) charge.MSISDN {
	m, err := charge.ParseMSISDN(fmt.Sprintf("213770%06d", n))
	if err != nil {
		panic(err)
	}
	return m
}

// What is put into a Volatile comes out again, ids are known until they may be
// forgotten, and a clone goes ways of its own. Customers shrink and grow beyond
// every size of block, and one has so many ids that they make a crowd.
func TestVolatileRemembers(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 8))
	v, want := NewVolatile(), &naive{map[charge.MSISDN][]byte{}, map[charge.MSISDN][]Seen{}}
	for range 3 {
		for turn := range 400 {
			volatileTurn(t, random, v, want, turn)
		}
		same(t, v, want)
		clone, kept := v.Clone(), want.clone()
		for turn := range 50 {
			volatileTurn(t, random, clone, kept, turn)
		}
		same(t, clone, kept)
		same(t, v, want)
		v, want = clone, kept
	}
	crowds := len(v.crowds)
	if crowds == 0 || crowds == len(v.people) {
		t.Errorf("%d of %d people have a crowd of ids: the test has lost its point", crowds, len(v.people))
	}
	if n := v.Memory(); n < pageBytes {
		t.Errorf("all of it takes %d bytes", n)
	}
}

func volatileTurn(t *testing.T, random *rand.Rand, v *Volatile, want *naive, turn int) {
	t.Helper()
	const keep = 300
	v.Begin(charge.Instant(turn) * charge.Instant(time.Second))
	for range 1 + random.IntN(8) {
		m := msisdn(random.IntN(30))
		if random.IntN(3) == 0 {
			m = msisdn(0)
		}
		c, known, err := v.Customer(m)
		if err != nil {
			t.Fatal(err)
		}
		if _, put := want.customers[m]; put != known {
			t.Fatalf("customer %s is known: %t, want %t", m, known, put)
		}
		var after charge.Customer
		after.CopyFrom(c)
		after.Tags = after.Tags[:0]
		for i := range random.IntN(1 << random.IntN(9)) {
			after.Tag(fmt.Sprintf("tag-%04d", i))
		}
		after.OpenBalance("main").Parts = []charge.Part{{Amount: money.Amount(1 + random.IntN(1000)), Expires: charge.Instant(random.IntN(1 << 40))}}
		for range random.IntN(3) {
			var seen Seen
			for i := range seen.Identity {
				seen.Identity[i] = byte(random.Uint32())
			}
			seen.Content, seen.Money = random.Uint64(), random.IntN(2) == 0
			if err := v.Remember(&after, seen, func(newer uint64, _ charge.Instant, _ bool) bool { return m != msisdn(0) && newer > keep/10 }); err != nil {
				t.Fatal(err)
			}
			want.ids[m] = append(want.ids[m], seen)
			if n := len(want.ids[m]); m != msisdn(0) && n > keep/10+1 {
				want.ids[m] = want.ids[m][n-keep/10-1:]
			}
		}
		want.customers[m] = charge.AppendCustomer(nil, &after)
		v.Put(&after, func(string) string { return "DZD" })
	}
}

func same(t *testing.T, v *Volatile, want *naive) {
	t.Helper()
	found := 0
	v.Customers(func(c *charge.Customer) bool {
		found++
		if !bytes.Equal(charge.AppendCustomer(nil, c), want.customers[c.MSISDN]) {
			t.Fatalf("customer %s is %+v", c.MSISDN, c)
		}
		return true
	})
	if found != len(want.customers) || v.Tally().Customers != uint64(found) {
		t.Fatalf("%d customers, counted %d, want %d", found, v.Tally().Customers, len(want.customers))
	}
	for m, ids := range want.ids {
		for _, seen := range ids {
			if content, known, err := v.Seen(m, seen.Identity); err != nil || !known || content != seen.Content {
				t.Fatalf("an id of %s: %d, %t, %v, want %d", m, content, known, err, seen.Content)
			}
		}
		if _, known, _ := v.Seen(m, [16]byte{1}); known {
			t.Fatalf("an id of %s is known that nobody has seen", m)
		}
	}
}

func TestBlocksFit(t *testing.T) {
	var s slab
	for n := 1; n <= pageBytes; n += 1 + n/7 {
		b := s.take(n)
		if b.size() < n || b.size() >= 2*n+2*blockStep || len(s.bytes(b)) != b.size() {
			t.Fatalf("a block for %d bytes has %d", n, b.size())
		}
		pages := len(s.pages)
		if s.give(b); s.take(n) != b || len(s.pages) != pages {
			t.Fatalf("a block of %d bytes is not handed out again", b.size())
		}
	}
}
