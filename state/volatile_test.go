package state

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"recharged/state/charge"
	"recharged/state/money"
)

// twin is what both states can do, and a turn can ask of them.
type twin interface {
	Begin(clock charge.Instant)
	Advance(clock charge.Instant)
	Customer(m charge.MSISDN) (*charge.Customer, bool, error)
	Put(c *charge.Customer, unit func(balance string) string)
	Post(postings []charge.Posting)
	Index(m charge.MSISDN, outcome int)
	Ended(events int)
	Seen(m charge.MSISDN, identity [16]byte) (content uint64, seen bool, err error)
	Remember(c *charge.Customer, seen Seen, mayForget func(newer uint64, at charge.Instant, money bool) bool) error
	Park(e *ParkedEvent)
	Unpark(at charge.Position) (ParkedEvent, bool, error)
	SetBook(version uint64, source []byte)
	Note(name string) []byte
	SetNote(name string, value []byte)
	Notes(prefix string, visit func(name string, value []byte) bool)
	NextDue() charge.Instant
	Due(limit int) ([]charge.MSISDN, error)
	Postpone(customers []charge.MSISDN)
	Tally() Tally
	Imbalance() map[string]money.Sum
}

// playTurn does what turns do, chosen by random, and writes down every answer.
func playTurn(t *testing.T, s twin, random *rand.Rand, clock charge.Instant) string {
	t.Helper()
	var said strings.Builder
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	var work charge.Customer
	change := func(m charge.MSISDN, change func()) {
		c, known, err := s.Customer(m)
		must(err)
		fmt.Fprintf(&said, "%s %v %x\n", m, known, charge.AppendCustomer(nil, c))
		work.CopyFrom(c)
		change()
		s.Put(&work, unitDinar)
	}
	s.Begin(clock)
	due, err := s.Due(1 + random.IntN(6))
	must(err)
	fmt.Fprintln(&said, "due", due)
	dealt := random.IntN(len(due) + 1)
	for _, m := range due[:dealt] {
		change(m, func() {
			work.Balances = slices.DeleteFunc(work.Balances, func(b charge.Balance) bool { return b.Parts[0].Expires <= clock })
			work.Timers = slices.DeleteFunc(work.Timers, func(t charge.Timer) bool { return t.Due <= clock })
		})
	}
	s.Postpone(due[dealt:])
	s.Advance(clock + 1)
	for range random.IntN(8) {
		m := number(random.IntN(12))
		identity := [16]byte{byte(random.IntN(9))}
		switch random.IntN(7) {
		case 0:
			change(m, func() { work.OpenTimer("r").Due = clock + charge.Instant(1+random.IntN(20)) })
		case 1:
			name := fmt.Sprint("b", random.IntN(2))
			change(m, func() {
				work.OpenBalance(name).Parts = []charge.Part{{Amount: 5, Expires: clock + charge.Instant(1+random.IntN(20))}}
			})
			s.Post([]charge.Posting{{Balance: name, Account: charge.AccountRecharge, Amount: 5, Unit: money.Unit{Name: "DZD"}}})
		case 2:
			content, seen, err := s.Seen(m, identity)
			must(err)
			fmt.Fprintln(&said, "seen", content, seen)
		case 3:
			if _, seen, _ := s.Seen(m, identity); !seen {
				change(m, func() {
					must(s.Remember(&work, Seen{identity, random.Uint64(), random.IntN(2) == 0}, func(newer uint64, at charge.Instant, ofMoney bool) bool {
						return newer > 2 && (!ofMoney || at < clock-5)
					}))
				})
				s.Index(m, 0)
				s.Ended(1)
			}
		case 4:
			name, value := fmt.Sprint("n", random.IntN(4)), []byte{byte(random.IntN(3))}
			if value[0] == 0 {
				value = nil
			}
			s.SetNote(name, value)
		case 5:
			s.Park(&ParkedEvent{
				Position: charge.Position{Sequence: charge.Sequence(clock), Offset: uint32(random.IntN(1 << 30))}, Reason: charge.TooLate,
				Event: charge.Event{ID: "e", Source: "/s", Type: charge.Recharge, MSISDN: m, Time: 5},
			})
		case 6:
			s.SetBook(uint64(clock), []byte("text"))
		}
	}
	s.Notes("n", func(name string, value []byte) bool {
		fmt.Fprintln(&said, name, value, s.Note(name))
		return true
	})
	next := s.NextDue()
	fmt.Fprintln(&said, s.Tally(), s.Imbalance(), next == 0)
	return said.String()
}

// The state in memory gives the answers of the one on the disk, whose owner now
// and then changes.
func TestVolatileIsATwinOfPartition(t *testing.T) {
	for seed := range uint64(30) {
		store := openStore(t, vfs.NewMem())
		p, v := own(t, store), NewVolatile()
		clock, owners := charge.Instant(100), rand.New(rand.NewPCG(seed, 2))
		for turn := range 120 {
			on, in := rand.New(rand.NewPCG(seed, uint64(turn))), rand.New(rand.NewPCG(seed, uint64(turn)))
			if got, want := playTurn(t, v, in, clock), playTurn(t, p, on, clock); got != want {
				t.Fatalf("seed %d, turn %d: in memory\n%s\non disk\n%s", seed, turn, got, want)
			}
			apply(t, p, charge.Sequence(turn+1))
			if owners.IntN(10) == 0 {
				p = own(t, store)
			}
			clock += charge.Instant(1 + owners.IntN(8))
		}
		if err := store.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestNotesAreReadAsOfTheLastCommit(t *testing.T) {
	s := openStore(t, vfs.NewMem())
	defer s.Close()
	p := own(t, s)
	read := func(prefix string) string {
		t.Helper()
		all := ""
		if err := s.Notes(0, prefix, func(name string, value []byte) bool {
			all += fmt.Sprintf("%s=%s ", name, value)
			return true
		}); err != nil {
			t.Fatal(err)
		}
		return all
	}
	p.Begin(1)
	p.SetNote("rule:b", []byte("2"))
	p.SetNote("rule:a", []byte("1"))
	p.SetNote("other", []byte("3"))
	if got := read(""); got != "" {
		t.Errorf("before the commit: %s", got)
	}
	if p.Bytes() == 0 {
		t.Error("notes take no room in the delta")
	}
	apply(t, p, 1)
	if got := read("rule:"); got != "rule:a=1 rule:b=2 " {
		t.Errorf("notes of rules: %s", got)
	}
	p.Begin(2)
	p.SetNote("rule:a", nil)
	apply(t, p, 2)
	if got := read(""); got != "other=3 rule:b=2 " {
		t.Errorf("after one was struck out: %s", got)
	}
	if got := own(t, s).Note("rule:b"); string(got) != "2" {
		t.Errorf("a new owner reads %q", got)
	}
}

// The rulebook's row of the version before has the text as it is.
func TestTheRulebookOfAnOlderVersionIsRead(t *testing.T) {
	for name, row := range map[string][]byte{
		"now":    appendBook(nil, 7, []byte("version: 1\n")),
		"before": append([]byte{0, 0, 0, 0, 0, 0, 0, 7}, "version: 1\n"...),
	} {
		version, source, err := decodeBook(row)
		if err != nil || version != 7 || string(source) != "version: 1\n" {
			t.Errorf("%s: version %d, %q, %v", name, version, source, err)
		}
	}
	for _, row := range [][]byte{nil, {1}, {2, 0, 0, 0, 0, 0, 0, 0, 7, 1, 1}, append([]byte{1, 0, 0, 0, 0, 0, 0, 0, 7}, "not compressed"...)} {
		if _, _, err := decodeBook(row); err == nil {
			t.Errorf("%x was taken for a rulebook", row)
		}
	}
}
