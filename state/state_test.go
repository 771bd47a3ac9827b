package state

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"recharged/state/charge"
	"recharged/state/money"
)

var dinar = money.Unit{Name: "DZD", Digits: 2}

func unitDinar(string) string { return "DZD" }

func openStore(t testing.TB, fs vfs.FS) *Store {
	t.Helper()
	s, err := Open(Options{
		Dir: "store", FS: fs, CacheBytes: 1, SyncEvery: time.Hour,
		Fatal: func(message string) { panic(message) },
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func own(t testing.TB, s *Store) *Partition {
	t.Helper()
	p, err := s.Own(0, 1)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func number(i int) charge.MSISDN {
	m, err := charge.ParseMSISDN(fmt.Sprintf("213770%06d", i))
	if err != nil {
		panic(err)
	}
	return m
}

// credit gives a customer an amount in a turn, as the ledger would.
func credit(t testing.TB, p *Partition, m charge.MSISDN, amount money.Amount, expires charge.Instant) {
	t.Helper()
	c, _, err := p.Customer(m)
	if err != nil {
		t.Fatal(err)
	}
	var work charge.Customer
	work.CopyFrom(c)
	b := work.OpenBalance("main")
	b.Parts = append(b.Parts, charge.Part{Amount: amount, Expires: expires})
	p.Put(&work, unitDinar)
	p.Post([]charge.Posting{{Balance: "main", Account: charge.AccountRecharge, Amount: amount, Unit: dinar}})
}

func apply(t testing.TB, p *Partition, commit charge.Sequence) []byte {
	t.Helper()
	delta := bytes.Clone(p.Delta())
	if err := p.Applied(commit, []byte{byte(commit)}); err != nil {
		t.Fatal(err)
	}
	return delta
}

// rows is the whole store, for comparison.
func rows(t testing.TB, s *Store) string {
	t.Helper()
	var all bytes.Buffer
	it, err := s.db.NewIter(&pebble.IterOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer it.Close()
	for ok := it.First(); ok; ok = it.Next() {
		value, err := it.ValueAndErr()
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&all, "%x=%x\n", it.Key(), value)
	}
	return all.String()
}

func TestATurnIsSeenByOthersOnlyWhenApplied(t *testing.T) {
	s := openStore(t, vfs.NewMem())
	defer s.Close()
	p := own(t, s)
	m := number(1)
	p.Begin(100)
	credit(t, p, m, 350, 0)
	var c charge.Customer
	if known, err := s.Customer(m, &c); known || err != nil {
		t.Fatalf("before the commit: known %v, %v", known, err)
	}
	credit(t, p, m, 50, 0) // The turn itself sees what it gathered.
	apply(t, p, 1)
	known, err := s.Customer(m, &c)
	if err != nil || !known || c.Total("main", 100) != 400 {
		t.Fatalf("known %v, main %d, %v; want 400", known, c.Total("main", 100), err)
	}
	if tally := p.Tally(); tally.Customers != 1 {
		t.Errorf("%d customers, want 1", tally.Customers)
	}
	if sum := p.Imbalance()["DZD"]; !sum.IsZero() {
		t.Errorf("imbalance %+v", sum)
	}
}

func TestImbalanceShowsAPostingThatWasNotMade(t *testing.T) {
	s := openStore(t, vfs.NewMem())
	defer s.Close()
	p := own(t, s)
	p.Begin(100)
	credit(t, p, number(1), 350, 0)
	p.Post([]charge.Posting{{Account: charge.AccountUsage, Amount: -1, Unit: dinar}})
	if sum := p.Imbalance()["DZD"]; sum != (money.Sum{Lo: 1}) {
		t.Errorf("imbalance %+v, want 1", sum)
	}
	apply(t, p, 1)
	if sum := own(t, s).Imbalance()["DZD"]; sum != (money.Sum{Lo: 1}) {
		t.Errorf("imbalance of the next owner %+v, want 1", sum)
	}
}

// After a crash that loses any part of what was not synced, the store holds
// some position and exactly what had been folded up to it; folding the rest
// gives what it would have been without the crash.
func TestCrashLeavesAWholeOlderState(t *testing.T) {
	for seed := range uint64(40) {
		random := rand.New(rand.NewPCG(seed, 1))
		fs := vfs.NewCrashableMem()
		s := openStore(t, fs)
		p := own(t, s)
		deltas := [][]byte{nil}
		states := []string{rows(t, s)}
		crashAt := 1 + random.IntN(12)
		for commit := 1; commit <= crashAt; commit++ {
			p.Begin(charge.Instant(commit))
			for range 1 + random.IntN(4) {
				credit(t, p, number(random.IntN(6)), money.Amount(1+random.IntN(500)), charge.Instant(random.IntN(3)*1000))
			}
			deltas = append(deltas, apply(t, p, charge.Sequence(commit)))
			states = append(states, rows(t, s))
			if random.IntN(3) == 0 {
				if err := s.Sync(); err != nil {
					t.Fatal(err)
				}
			}
		}
		after := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: random.IntN(101), RNG: random})
		s.Close()
		s = openStore(t, after)
		row, err := s.Position(0)
		if err != nil {
			t.Fatal(err)
		}
		have := 0
		if row != nil {
			have = int(row[0])
		}
		if got := rows(t, s); got != states[have] {
			t.Fatalf("seed %d: position %d of %d, state is another:\n%s\nwant\n%s", seed, have, crashAt, got, states[have])
		}
		for commit := have + 1; commit <= crashAt; commit++ {
			if err := s.Fold(0, charge.Sequence(commit), deltas[commit], []byte{byte(commit)}); err != nil {
				t.Fatal(err)
			}
		}
		if got := rows(t, s); got != states[crashAt] {
			t.Fatalf("seed %d: folded again, the state is another", seed)
		}
		s.Close()
	}
}

func TestTimersAreDueInOrderAndOnlyOnce(t *testing.T) {
	s := openStore(t, vfs.NewMem())
	defer s.Close()
	p := own(t, s)
	p.Begin(10)
	for i := range 5 {
		credit(t, p, number(i), 100, charge.Instant(1000+i))
	}
	apply(t, p, 1)
	if next := own(t, s).NextDue(); next != 1000 {
		t.Errorf("a new owner's next timer is due at %d, want 1000", next)
	}
	p.Begin(1002)
	due, err := p.Due(2)
	if err != nil || len(due) != 2 {
		t.Fatalf("%d due, %v; want the limit of 2", len(due), err)
	}
	for _, m := range due {
		c, _, _ := p.Customer(m)
		var work charge.Customer
		work.CopyFrom(c)
		work.Balances[0].Parts = nil
		p.Put(&work, unitDinar)
	}
	apply(t, p, 2)
	p.Begin(1002)
	if due, err = p.Due(10); err != nil || len(due) != 1 {
		t.Fatalf("%d due after the first two, %v; want 1", len(due), err)
	}
}

func TestAnIDIsForgottenWhenItMayBe(t *testing.T) {
	s := openStore(t, vfs.NewMem())
	defer s.Close()
	p := own(t, s)
	m := number(7)
	mayForget := func(newer uint64, at charge.Instant, ofMoney bool) bool {
		return newer > 2 && (!ofMoney || at <= 1)
	}
	for i := byte(1); i <= 6; i++ {
		p.Begin(charge.Instant(i))
		c, _, err := p.Customer(m)
		if err != nil {
			t.Fatal(err)
		}
		var work charge.Customer
		work.CopyFrom(c)
		if err := p.Remember(&work, Seen{Identity: [16]byte{i}, Content: uint64(i), Money: i <= 2}, mayForget); err != nil {
			t.Fatal(err)
		}
		p.Put(&work, unitDinar)
		if content, seen, _ := p.Seen(m, [16]byte{i}); !seen || content != uint64(i) {
			t.Errorf("id %d is not seen in its own turn", i)
		}
		apply(t, p, charge.Sequence(i))
	}
	p.Begin(7)
	// 1 was old enough; 2 is money and not; 3 … 6 wait behind it.
	for i, want := range map[byte]bool{1: false, 2: true, 3: true, 4: true, 5: true, 6: true} {
		if _, seen, err := p.Seen(m, [16]byte{i}); seen != want || err != nil {
			t.Errorf("id %d seen: %v, %v; want %v", i, seen, err, want)
		}
	}
}

func TestTimelineAndParkedArePagedNewestFirst(t *testing.T) {
	s := openStore(t, vfs.NewMem())
	defer s.Close()
	p := own(t, s)
	m := number(3)
	for commit := charge.Sequence(1); commit <= 3; commit++ {
		p.Begin(charge.Instant(commit))
		p.Index(m, 0)
		p.Index(m, 1)
		p.Park(&ParkedEvent{
			Position: charge.Position{Sequence: commit, Offset: 4}, Reason: charge.TooLate, Detail: "late",
			Event: charge.Event{ID: "e", Source: "/s", Type: charge.Recharge, MSISDN: m, Time: 5}, At: charge.Instant(commit),
		})
		apply(t, p, commit)
	}
	var got []string
	before := OutcomeRef{}
	for range 4 {
		refs, err := s.Timeline(m, before, 2)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range refs {
			got = append(got, fmt.Sprintf("%d.%d", r.Commit, r.Index))
			before = r
		}
	}
	if fmt.Sprint(got) != "[3.1 3.0 2.1 2.0 1.1 1.0]" {
		t.Errorf("timeline %v", got)
	}
	p.Begin(9)
	parked, found, err := p.Unpark(charge.Position{Sequence: 2, Offset: 4})
	if err != nil || !found || parked.Event.ID != "e" || parked.Reason != charge.TooLate || parked.At != 2 {
		t.Fatalf("unpark: %+v, %v, %v", parked, found, err)
	}
	apply(t, p, 4)
	var left []charge.Sequence
	err = s.Parked(0, charge.Position{}, func(e ParkedEvent) bool {
		left = append(left, e.Position.Sequence)
		return true
	})
	if err != nil || fmt.Sprint(left) != "[3 1]" {
		t.Errorf("parked %v, %v; want [3 1]", left, err)
	}
	if n := own(t, s).Tally().Parked["too_late"]; n != 2 {
		t.Errorf("tally of parked: %d, want 2", n)
	}
}

// Where turns end must not matter: what a turn sets aside, an order in the same
// turn finds.
func TestWhatIsParkedIsFoundInTheSameTurn(t *testing.T) {
	s := openStore(t, vfs.NewMem())
	defer s.Close()
	p := own(t, s)
	e := &ParkedEvent{
		Position: charge.Position{Sequence: 1}, Reason: charge.TooLate,
		Event: charge.Event{ID: "e", Source: "/s", Type: charge.Recharge, MSISDN: number(1), Time: 5},
	}
	p.Begin(1)
	p.Park(e)
	if got, found, err := p.Unpark(e.Position); err != nil || !found || got.Event.ID != e.Event.ID {
		t.Errorf("%+v, %v, %v", got, found, err)
	}
	apply(t, p, 1)
	if tally := p.Tally(); len(tally.Parked) != 0 {
		t.Errorf("tally %+v", tally)
	}
	p.Begin(2)
	if _, found, err := p.Unpark(e.Position); err != nil || found {
		t.Errorf("it is parked twice: %v, %v", found, err)
	}
}

func TestADamagedDeltaIsRefusedWhole(t *testing.T) {
	s := openStore(t, vfs.NewMem())
	defer s.Close()
	p := own(t, s)
	p.Begin(5)
	credit(t, p, number(1), 100, 77)
	delta := bytes.Clone(p.Delta())
	before := rows(t, s)
	for cut := 1; cut < len(delta); cut++ {
		_ = s.Fold(0, 1, delta[:cut], []byte{1}) // Some cuts fall between two operations.
	}
	if err := s.Fold(1, 1, delta, []byte{1}); err == nil {
		t.Error("the delta of another partition was folded")
	}
	bad := bytes.Clone(delta)
	bad[0] = 99
	if err := s.Fold(0, 1, bad, []byte{1}); err == nil {
		t.Error("a delta of an unknown format was folded")
	}
	bad = append(bytes.Clone(delta), opSet, 0xff, 0xff)
	s2 := openStore(t, vfs.NewMem())
	defer s2.Close()
	if err := s2.Fold(0, 1, bad, []byte{1}); err == nil || rows(t, s2) != before {
		t.Errorf("a delta that ends early left something behind (%v)", err)
	}
}

// The cache holds next to nothing here: what is read is right all the same.
func TestACacheFarTooSmallIsOnlySlower(t *testing.T) {
	s := openStore(t, vfs.NewMem())
	defer s.Close()
	p := own(t, s)
	const customers = 30_000
	want := make([]money.Amount, customers)
	random := rand.New(rand.NewPCG(4, 4))
	attribute := charge.TextValue(string(bytes.Repeat([]byte("x"), 1000)))
	for commit := 1; commit <= 150; commit++ {
		p.Begin(charge.Instant(commit))
		for range 400 {
			i := random.IntN(customers)
			c, _, err := p.Customer(number(i))
			if err != nil {
				t.Fatal(err)
			}
			if got := c.Total("main", 0); got != want[i] {
				t.Fatalf("customer %d has %d, want %d", i, got, want[i])
			}
			var work charge.Customer
			work.CopyFrom(c)
			work.SetAttribute("note", attribute)
			work.OpenBalance("main").Parts = []charge.Part{{Amount: want[i] + 1}}
			p.Put(&work, unitDinar)
			want[i]++
		}
		apply(t, p, charge.Sequence(commit))
	}
	if u := s.Usage(); u.CacheMisses == 0 || u.CacheHits == 0 {
		t.Errorf("hits %d, misses %d: the test means nothing", u.CacheHits, u.CacheMisses)
	}
}

func FuzzDelta(f *testing.F) {
	w := deltaWriter{}
	w.reset(0, 5)
	w.set([]byte("k"), []byte("v"))
	w.remember(number(1), 3, Seen{Content: 9}, 8)
	w.outcome(number(1), 2)
	w.delete([]byte("k"))
	f.Add(w.bytes)
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := openDelta(data)
		if err != nil {
			return
		}
		for d.next() {
		}
	})
}
