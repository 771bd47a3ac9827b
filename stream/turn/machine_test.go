package turn

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"recharged/rules"
	"recharged/state"
	"recharged/state/charge"
	"recharged/state/money"
	"recharged/stream/journal"
)

// The books of the tests: everything that makes answers depend on each other is
// in them. Version 2 lowers one budget and raises another, and drops a rule that
// comes back in version 3.
const bookHead = `version: 1
currency: DZD
balances:
  main: {unit: DZD, order: 100}
  bonus: {unit: DZD, order: 10}
  points: {unit: point, spend: false}
templates: {thanks: {fr: "Merci {msisdn}: {credited}"}}
rules:
  - {name: flood, on: recharge, when: amount == 13, then: [credit: {to: points, amount: 9000000000000000}]}
  - {name: first, on: recharge, group: g, priority: 2, limits: {budget: 40}, then: [credit: {to: points, amount: 7, validity: 40s}]}
  - {name: second, on: recharge, group: g, then: [credit: {to: points, amount: 1}]}
  - {name: brief, on: recharge, then: [credit: {to: bonus, amount: 5, validity: 1m}]}
  - {name: few, on: recharge, holdout: 50%, limits: {per_customer: [{count: 3, per: day}]}, then: [tag: met]}
  - {name: home, after: recharge, quiet: 70s, group: h, priority: 1, limits: {budget: 400}, then: [credit: {to: bonus, percent: 30, of: customer.main}]}
  - {name: haven, after: recharge, quiet: 70s, group: h, limits: {budget: 300}, then: [credit: {to: bonus, amount: 10, validity: 30s}]}
`

var books = [][]byte{
	nil,
	[]byte(bookHead + `
  - {name: gift, on: recharge, when: amount >= 100, limits: {budget: 3000}, then: [credit: {to: bonus, percent: 50, validity: 2m}, notify: {template: thanks, channel: sms}]}
  - {name: back, after: recharge, quiet: 1m, limits: {budget: 60}, then: [credit: {to: points, amount: 3}, alert: {severity: info, summary: "{msisdn} is back"}]}
`),
	[]byte(strings.Replace(bookHead, "budget: 40", "budget: 90", 1) + `
  - {name: back, after: recharge, quiet: 1m, limits: {budget: 20}, then: [credit: {to: points, amount: 3}]}
`),
	[]byte(bookHead + `
  - {name: gift, on: recharge, when: amount >= 100, limits: {budget: 5000}, then: [credit: {to: bonus, percent: 50, validity: 2m}]}
  - {name: back, after: recharge, quiet: 2m, limits: {budget: 100}, then: [credit: {to: points, amount: 3}]}
`),
}

var compiled [4]*rules.Book

func compile(version uint64, source []byte) (*rules.Book, error) {
	if compiled[version] == nil {
		book, problems := rules.Load(rules.File{Name: "book.yaml", Data: source})
		if book == nil {
			return nil, problems
		}
		compiled[version] = book
	}
	return compiled[version], nil
}

const (
	partitions = 3
	second     = charge.Instant(time.Second)
	dawn       = 1_800_000_000 * second
)

// world is some machines that write letters to each other, and their event logs
// as they come about.
type world struct {
	t        *testing.T
	random   *rand.Rand
	clock    charge.Instant
	logs     [partitions][]Record
	states   [partitions]*state.Volatile
	machines [partitions]*Machine
	heard    [partitions]*strings.Builder
	post     [partitions][partitions][]journal.Letter // under way, from and to
	version  [partitions]uint64
	parked   [partitions][]charge.Position
	sent     [partitions][]charge.Event
	people   [partitions][]charge.MSISDN
	n        int
}

func newWorld(t *testing.T, seed uint64) *world {
	w := &world{t: t, random: rand.New(rand.NewPCG(seed, 1)), clock: dawn}
	for p := range partitions {
		w.states[p] = state.NewVolatile()
		w.heard[p] = &strings.Builder{}
		w.machines[p] = newMachine(t, p, w.states[p], Place{}, Options{})
	}
	for i := 0; ; i++ {
		m, err := charge.ParseMSISDN(fmt.Sprintf("213770%06d", i))
		if err != nil {
			t.Fatal(err)
		}
		if p := m.Slot().PartitionOf(partitions); len(w.people[p]) < 6 {
			w.people[p] = append(w.people[p], m)
		} else if i > 1000 {
			break
		}
	}
	return w
}

func newMachine(t *testing.T, p int, s State, at Place, opts Options) *Machine {
	t.Helper()
	opts.Partition, opts.Partitions, opts.State = charge.Partition(p), partitions, s
	opts.Compile, opts.OutcomeBytesMax = compile, 64<<10
	m, err := New(opts, at)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// say writes down what a turn came to.
func say(b *strings.Builder, t *Turn) {
	for i := range t.Outcomes {
		fmt.Fprintf(b, "%+v\n", t.Outcomes[i])
	}
	// Where a turn ends, what it says of one kind ends as well: each kind is
	// compared on its own.
	for i := range t.Notifications {
		fmt.Fprintf(b, "notification %+v\n", t.Notifications[i])
	}
	for i := range t.Alerts {
		fmt.Fprintf(b, "alert %+v\n", t.Alerts[i])
	}
	for i := range t.Letters {
		fmt.Fprintf(b, "letter %+v\n", t.Letters[i])
	}
}

// kinds sorts lines by what they are of, keeping their order otherwise.
func kinds(text string) string {
	lines := strings.Split(text, "\n")
	slices.SortStableFunc(lines, func(a, b string) int { return strings.Compare(kindOf(a), kindOf(b)) })
	return strings.Join(lines, "\n")
}

func kindOf(line string) string {
	word, _, _ := strings.Cut(line, " ")
	if strings.HasPrefix(word, "{") {
		return ""
	}
	return word
}

// add appends a frame to a log and has it judged at once.
func (w *world) add(p int, f journal.Frame) {
	r := Record{Sequence: charge.Sequence(len(w.logs[p]) + 1), Stamp: w.clock, Frame: &f}
	w.logs[p] = append(w.logs[p], r)
	m := w.machines[p]
	if err := m.Feed(r); err != nil {
		w.t.Fatal(err)
	}
	for finished := false; !finished; {
		m.Begin()
		var err error
		if finished, err = m.Run(); err != nil {
			w.t.Fatal(err)
		}
		turn := m.End()
		say(w.heard[p], turn)
		for _, l := range turn.Letters {
			w.post[p][l.To] = append(w.post[p][l.To], l)
		}
		for i := range turn.Outcomes {
			if o := &turn.Outcomes[i]; o.Result == charge.Parked {
				w.parked[p] = append(w.parked[p], o.Position)
			}
		}
	}
}

// deliver brings the oldest letter from one machine to another.
func (w *world) deliver(from, to int) bool {
	if len(w.post[from][to]) == 0 {
		return false
	}
	l := w.post[from][to][0]
	w.post[from][to] = w.post[from][to][1:]
	w.add(to, journal.Frame{Kind: journal.FrameLetter, From: charge.Partition(from), Number: l.Number, Body: l.Body})
	if w.random.IntN(8) == 0 { // once more
		w.add(to, journal.Frame{Kind: journal.FrameLetter, From: charge.Partition(from), Number: l.Number, Body: l.Body})
	}
	return true
}

// step lets something happen somewhere.
func (w *world) step() {
	r := w.random
	p := r.IntN(partitions)
	if r.IntN(3) == 0 {
		w.clock += charge.Instant(r.Int64N(int64(8 * time.Second)))
	}
	switch n := r.IntN(40); {
	case n < 14:
		w.deliver(r.IntN(partitions), p)
	case n < 17:
		w.add(p, journal.Frame{Kind: journal.FrameTick})
	case n == 17 && w.version[p] < 3 && w.version[p] > 0:
		w.publish(p)
	case n == 18 && len(w.parked[p]) > 0:
		kind := journal.FrameRetry
		if r.IntN(3) == 0 {
			kind = journal.FrameDiscard
		}
		w.add(p, journal.Frame{Kind: kind, Parked: w.parked[p][r.IntN(len(w.parked[p]))]})
	default:
		f := journal.Frame{Kind: journal.FrameEvents}
		for range 1 + r.IntN(12) {
			f.Events = append(f.Events, w.event(p))
		}
		w.add(p, f)
	}
}

func (w *world) publish(p int) {
	w.version[p]++
	w.add(p, journal.Frame{Kind: journal.FrameBook, Version: w.version[p], Source: books[w.version[p]]})
}

// event makes a recharge, or repeats one.
func (w *world) event(p int) charge.Event {
	r := w.random
	if sent := w.sent[p]; len(sent) > 0 && r.IntN(10) == 0 {
		e := sent[r.IntN(len(sent))]
		if r.IntN(3) == 0 {
			e.Fields = []charge.Field{{Name: "amount", Value: charge.Value{Kind: charge.Number, Bits: 1700, Scale: 2}}}
		}
		return e
	}
	w.n++
	amounts := []int64{1300, 5000, 10000, 20000, 30000}
	e := charge.Event{
		ID: fmt.Sprint(w.n), Source: "/test", Type: charge.Recharge,
		MSISDN: w.people[p][r.IntN(len(w.people[p]))], Time: w.clock,
		Fields: []charge.Field{{Name: "amount", Value: charge.Value{Kind: charge.Number, Bits: amounts[r.IntN(len(amounts))], Scale: 2}}},
	}
	switch r.IntN(12) {
	case 0:
		e.Time -= 2 * 3600 * second // What it is given has expired already.
	case 1:
		e.Time -= 72 * 3600 * second // It is parked.
	}
	w.sent[p] = append(w.sent[p], e)
	return e
}

// history lets a world go on for a while and then come to rest.
func history(t *testing.T, seed uint64, steps int) *world {
	w := newWorld(t, seed)
	for p := range partitions {
		w.publish(p)
	}
	for range steps {
		w.step()
	}
	for moved := true; moved; {
		moved = false
		for from := range partitions {
			for to := range partitions {
				moved = w.deliver(from, to) || moved
			}
		}
	}
	for range 4 {
		w.clock += 200 * second
		for p := range partitions {
			w.add(p, journal.Frame{Kind: journal.FrameTick})
		}
	}
	return w
}

// result writes down the state of a partition.
func result(t *testing.T, s State, people []charge.MSISDN) string {
	var b strings.Builder
	for _, m := range people {
		c, known, err := s.Customer(m)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "%s %v %x\n", m, known, charge.AppendCustomer(nil, c))
	}
	s.Notes("", func(name string, value []byte) bool {
		fmt.Fprintf(&b, "%s %x\n", name, value)
		return true
	})
	type tallied interface {
		Tally() state.Tally
		Imbalance() map[string]money.Sum
	}
	fmt.Fprintln(&b, s.(tallied).Tally(), s.(tallied).Imbalance(), s.NextDue() == 0)
	return b.String()
}

// replay judges a log again, cut into turns at random, by machines that die at
// random. place keeps a turn, or forgets it: then it returns the state before it.
func replay(t *testing.T, random *rand.Rand, p int, log []Record, s State, keep func(*Turn) State) (string, State) {
	var heard strings.Builder
	at := Place{}
	var m *Machine
	for next := 0; next < len(log) || m != nil && m.Pending(); {
		if m == nil {
			m = newMachine(t, p, s, at, Options{EventsMax: 1 + random.IntN(9), BytesMax: 1 << (9 + random.IntN(7))})
		}
		m.Begin()
		for {
			if !m.Pending() {
				if next == len(log) || random.IntN(6) == 0 && m.records > 0 {
					break
				}
				if err := m.Feed(log[next]); err != nil {
					t.Fatal(err)
				}
				next++
			}
			if finished, err := m.Run(); err != nil {
				t.Fatal(err)
			} else if !finished {
				break
			}
		}
		turn := m.End()
		if before := keep(turn); before != nil {
			s, m = before, nil
		} else {
			say(&heard, turn)
			at = Place{Next: turn.To, Clock: turn.Clock, Version: turn.Rulebook, Book: compiled[turn.Rulebook]}
			if random.IntN(4) == 0 {
				m = nil
			}
		}
		if m == nil {
			next = int(max(at.Next.Sequence, 1)) - 1
		}
	}
	return heard.String(), s
}

// The same log gives the same answers, wherever turns end and whoever dies, on
// the disk and in memory.
func TestTheAnswerDoesNotDependOnWhereTurnsEnd(t *testing.T) {
	held, expired, timers, suspended := 0, 0, 0, 0
	for seed := range uint64(40) {
		w := history(t, seed, 250)
		for p := range partitions {
			want, wantState := kinds(w.heard[p].String()), result(t, w.states[p], w.people[p])
			held += strings.Count(wantState, heldPrefix)
			expired += strings.Count(want, "Type:expiry")
			timers += strings.Count(want, "Type:timer")
			suspended += strings.Count(want, "alert {Name:rule_suspended")
			random := rand.New(rand.NewPCG(seed, uint64(p)))

			volatile := state.NewVolatile()
			got, _ := replay(t, random, p, w.logs[p], volatile, func(*Turn) State { return nil })
			compare(t, seed, p, "in memory", kinds(got), want)
			compare(t, seed, p, "state in memory", result(t, volatile, w.people[p]), wantState)

			if seed%8 == 0 {
				got, s := replayOnDisk(t, random, p, w.logs[p])
				compare(t, seed, p, "on disk", kinds(got), want)
				compare(t, seed, p, "state on disk", result(t, s, w.people[p]), wantState)
			}
		}
	}
	if held != 0 {
		t.Errorf("%d events are still held after all letters came", held)
	}
	if expired == 0 || timers == 0 || suspended == 0 {
		t.Errorf("%d expiries, %d timers, %d suspensions: the test has lost its point", expired, timers, suspended)
	}
}

func replayOnDisk(t *testing.T, random *rand.Rand, p int, log []Record) (string, State) {
	store, err := state.Open(state.Options{Dir: "store", FS: vfs.NewMem(), CacheBytes: 1, SyncEvery: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	var owned *state.Partition
	own := func() State {
		if owned, err = store.Own(charge.Partition(p), partitions); err != nil {
			t.Fatal(err)
		}
		return owned
	}
	t.Cleanup(func() {
		if err := owned.Release(); err != nil {
			t.Error(err)
		}
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	commit := charge.Sequence(0)
	return replay(t, random, p, log, own(), func(*Turn) State {
		if random.IntN(8) == 0 {
			if err := owned.Release(); err != nil {
				t.Fatal(err)
			}
			return own() // It died before the commit.
		}
		commit++
		owned.Delta()
		if err := owned.Applied(commit, nil); err != nil {
			t.Fatal(err)
		}
		return nil
	})
}

func compare(t *testing.T, seed uint64, p int, what, got, want string) {
	t.Helper()
	if got == want {
		return
	}
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range max(len(g), len(w)) {
		var a, b string
		if i < len(g) {
			a = g[i]
		}
		if i < len(w) {
			b = w[i]
		}
		if a != b {
			t.Fatalf("seed %d, partition %d, %s: line %d of %d and %d is\n%s\nbut was\n%s", seed, p, what, i+1, len(g), len(w), a, b)
		}
	}
}

// What the partitions give together stays within the budget, whatever its letters
// do; what they still hold adds up.
func TestBudgetsAreNotOverspent(t *testing.T) {
	short, spentAll := 0, 0
	for seed := range uint64(60) {
		w := history(t, seed+1000, 200)
		spent := map[fundName]money.Amount{}
		for p := range partitions {
			m := w.machines[p]
			for name, fund := range m.memory.funds {
				spent[name] += fund.Spent()
			}
			if sums := w.states[p].Imbalance(); sums["DZD"] != (money.Sum{}) || sums["point"] != (money.Sum{}) {
				t.Fatalf("seed %d: imbalance %v", seed, sums)
			}
			short += strings.Count(w.heard[p].String(), "Reason:budget")
		}
		for name, sum := range spent {
			most, least := money.Amount(90), money.Amount(7) // the largest total of any version, the smallest credit
			switch name.rule {
			case "gift":
				most, least = 500000, 5000
			case "back":
				most, least = 100, 3
			case "home":
				most, least = 40000, 390
			case "haven":
				most, least = 30000, 1000
			}
			if sum > most {
				t.Errorf("seed %d: rule %s spent %d of %d", seed, name.rule, sum, most)
			}
			home := w.machines[0].home(name.rule)
			if left := w.machines[home].memory.treasuries[name].Total() - sum; 0 <= left && left < least {
				spentAll++
			}
		}
	}
	if short == 0 || spentAll == 0 {
		t.Errorf("%d events came short, %d budgets were spent: the test has lost its point", short, spentAll)
	}
}

func TestWhatIsHeldIsReadBack(t *testing.T) {
	m, err := charge.ParseMSISDN("213770000001")
	if err != nil {
		t.Fatal(err)
	}
	it := &item{
		since: dawn, at: charge.Position{Sequence: 7, Offset: 3}, again: true,
		event:   charge.Event{ID: "a", Source: "/s", Type: charge.Recharge, MSISDN: m, Time: dawn},
		timers:  []charge.Timer{{Rule: "back", Armed: 1, Due: 2}},
		version: 4, short: []rules.Spend{{Rule: "gift", Amount: 17}},
	}
	it.seen = SeenOf(&it.event)
	note := it.append(nil)
	got, err := decodeItem(note)
	if err != nil || !bytes.Equal(got.append(nil), note) || fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", it) {
		t.Errorf("%+v became %+v, %v", it, got, err)
	}
	for n := range note {
		if _, err := decodeItem(note[:n]); err == nil {
			t.Errorf("%d bytes of %d were taken for an item", n, len(note))
		}
	}
}
