package budget

import (
	"bytes"
	"fmt"
	"slices"

	"recharged/state/charge"
	"recharged/state/money"
)

// tester is what *testing.T and *rapid.T have in common.
type tester interface {
	Helper()
	Fatalf(format string, args ...any)
}

// counter is the naive twin: one number, in one place, without any delay.
type counter struct{ spent money.Amount }

func (c *counter) take(total, amount money.Amount) bool {
	if amount > total-c.spent {
		return false
	}
	c.spent += amount
	return true
}

// side is a partition: its fund, what waits there, and the letters on their way
// between it and the home, oldest first.
type side struct {
	fund     Fund
	adopted  int // books of the world, as a count
	waiting  []money.Amount
	up, down [][]byte
}

// world is a processor whose partitions share one budget; partition 0 is the
// home. Every message travels encoded.
type world struct {
	tester
	sides    []*side
	treasury *Treasury
	twin     counter
	books    []Terms
	lowered  bool
	trace    func(format string, args ...any)

	events, spends, refusals, givenUp int
	sent                              [Yield + 1]int
}

func newWorld(t tester, partitions int, total money.Amount) *world {
	w := &world{tester: t, treasury: NewTreasury(partitions), trace: func(string, ...any) {}}
	for range partitions {
		w.sides = append(w.sides, &side{})
	}
	w.publish(total)
	return w
}

func (w *world) publish(total money.Amount) {
	if n := len(w.books); n > 0 && total < w.books[n-1].Total {
		w.lowered = true
	}
	w.books = append(w.books, Terms{uint64(len(w.books) + 1), total})
}

// adopt lets a partition adopt the newest book; it may so pass over others.
func (w *world) adopt(p int) {
	s := w.sides[p]
	if s.adopted == len(w.books) {
		return
	}
	s.adopted = len(w.books)
	terms := w.books[s.adopted-1]
	if p == 0 {
		w.send(w.treasury.Adopt(terms))
	}
	s.fund.Adopt(terms)
	w.tend(p)
}

// event is an event at a partition whose rule would give that much.
func (w *world) event(p int, amount money.Amount) {
	w.events++
	if !w.judge(p, amount) {
		w.sides[p].waiting = append(w.sides[p].waiting, amount)
		w.trace("p%d waits for %d", p, amount)
	}
	w.tend(p)
}

// judge decides about an event as the fund says, and holds the answer against
// the twin's. It reports whether there is an answer.
func (w *world) judge(p int, amount money.Amount) bool {
	f := &w.sides[p].fund
	switch {
	case amount <= f.Slice():
		f.Spend(amount)
		w.spends++
		w.trace("p%d spends %d", p, amount)
		if w.lowered {
			w.twin.spent += amount // It may have been granted before.
		} else if !w.twin.take(w.books[len(w.books)-1].Total, amount) {
			w.Fatalf("partition %d spends %d of %d, of which %d are spent", p, amount, w.books[len(w.books)-1].Total, w.twin.spent)
		}
	case amount <= f.Slice()+f.Left():
		return false
	default:
		w.refusals++
		w.trace("p%d refuses %d", p, amount)
		if w.twin.take(f.terms.Total, amount) {
			w.Fatalf("partition %d refuses %d, which fit in %d: %+v", p, amount, f.terms.Total, *f)
		}
	}
	return true
}

// settle judges what waits at a partition again, in order.
func (w *world) settle(p int) {
	s := w.sides[p]
	s.waiting = slices.DeleteFunc(s.waiting, func(amount money.Amount) bool { return w.judge(p, amount) })
	w.tend(p)
}

// giveUp skips what has waited longest at a partition.
func (w *world) giveUp(p int) {
	if s := w.sides[p]; len(s.waiting) > 0 {
		s.waiting = s.waiting[1:]
		w.givenUp++
		w.tend(p)
	}
}

func (w *world) tend(p int) {
	need := money.Amount(0)
	if s := w.sides[p]; len(s.waiting) > 0 {
		need = s.waiting[0]
	}
	if m, ok := w.sides[p].fund.Ask(need); ok {
		w.post(p, m)
	}
}

// post sends a message of a partition to the home.
func (w *world) post(p int, m Message) {
	w.sent[m.Kind]++
	w.sides[p].up = append(w.sides[p].up, m.Append(nil))
}

// send sends messages of the home to the partitions.
func (w *world) send(replies []Reply) {
	for _, r := range replies {
		w.sent[r.Message.Kind]++
		w.sides[r.To].down = append(w.sides[r.To].down, r.Message.Append(nil))
	}
}

func (w *world) open(letters *[][]byte) Message {
	m, err := DecodeMessage((*letters)[0])
	if err != nil {
		w.Fatalf("%v", err)
	}
	*letters = (*letters)[1:]
	return m
}

// deliverUp delivers the oldest letter of a partition to the home, if there is one.
func (w *world) deliverUp(p int) bool {
	if len(w.sides[p].up) == 0 {
		return false
	}
	m := w.open(&w.sides[p].up)
	w.trace("p%d → home  %s", p, m.text())
	w.send(w.treasury.Receive(charge.Partition(p), m))
	return true
}

// deliverDown delivers the oldest letter of the home to a partition, if there is one.
func (w *world) deliverDown(p int) bool {
	if len(w.sides[p].down) == 0 {
		return false
	}
	m := w.open(&w.sides[p].down)
	w.trace("home → p%d  %s", p, m.text())
	if reply, ok := w.sides[p].fund.Receive(m); ok {
		w.post(p, reply)
	}
	w.settle(p)
	return true
}

func (m Message) text() string {
	switch m.Kind {
	case Ask:
		return fmt.Sprintf("ask %d (book %d)", m.Amount, m.Terms.Version)
	case Grant:
		return fmt.Sprintf("grant %d, at most %d more (book %d)", m.Amount, m.Bound, m.Terms.Version)
	case Recall:
		return "recall"
	default:
		return fmt.Sprintf("yield %d, spent %d", m.Amount, m.Spent)
	}
}

// quiet delivers everything there is until nothing is under way.
func (w *world) quiet() {
	for more := true; more; {
		more = false
		for p := range w.sides {
			more = w.deliverUp(p) || more
			more = w.deliverDown(p) || more
		}
		w.checkMessages()
	}
}

// checkMessages bounds the messages. There is one ask at most for the need of
// each event, one ahead for each spend, and for each book a partition may ask
// ahead once and be answered by older terms once. What is recalled was granted.
func (w *world) checkMessages() {
	most := w.events + w.spends + 2*len(w.books)*len(w.sides)
	if w.sent[Ask] > most || w.sent[Grant] > w.sent[Ask] || w.sent[Recall] > w.sent[Grant] || w.sent[Yield] > w.sent[Recall] {
		w.Fatalf("sent %v (by kind) for %d events, of which %d spend, at %d partitions", w.sent, w.events, w.spends, len(w.sides))
	}
}

// restart puts everything through its encoding.
func (w *world) restart() {
	for p, s := range w.sides {
		data := s.fund.Append(nil)
		f, err := DecodeFund(data)
		if err != nil || f != s.fund {
			w.Fatalf("fund %d: %+v became %+v, %v", p, s.fund, f, err)
		}
		s.fund = f
	}
	data := w.treasury.Append(nil)
	t, err := DecodeTreasury(data)
	if err != nil || !bytes.Equal(t.Append(nil), data) {
		w.Fatalf("treasury: %+v became %+v, %v", *w.treasury, t, err)
	}
	w.treasury = t
}

// checkFlight holds all sides and all letters against the total.
func (w *world) checkFlight() {
	var out money.Amount
	for p, s := range w.sides {
		for _, data := range slices.Concat(s.up, s.down) {
			if m, _ := DecodeMessage(data); m.Kind != Ask {
				out += m.Amount
			}
		}
		out += s.fund.Slice() + s.fund.Spent()
		if s.fund.Slice() < 0 {
			w.Fatalf("partition %d: %+v", p, s.fund)
		}
		if sight := s.fund.slice + s.fund.left; sight < s.fund.terms.Total-w.twin.spent || sight > s.fund.terms.Total {
			w.Fatalf("partition %d sees %d of %d, of which %d are spent: %+v", p, sight, s.fund.terms.Total, w.twin.spent, s.fund)
		}
	}
	if out != w.treasury.Total()-w.treasury.Remaining() {
		w.Fatalf("%d are out there, the treasury says %d-%d", out, w.treasury.Total(), w.treasury.Remaining())
	}
	if w.treasury.Remaining() < 0 && !w.lowered {
		w.Fatalf("%d remain", w.treasury.Remaining())
	}
}

// checkQuiet holds what must be true when nothing is under way.
func (w *world) checkQuiet() {
	if w.events != w.spends+w.refusals+w.givenUp {
		w.Fatalf("%d events, %d spent, %d refused, %d given up", w.events, w.spends, w.refusals, w.givenUp)
	}
	if len(w.treasury.waiting) > 0 || w.sent[Ask] != w.sent[Grant] || w.sent[Recall] != w.sent[Yield] {
		w.Fatalf("sent %v (by kind), still waiting: %v", w.sent, w.treasury.waiting)
	}
	var spent money.Amount
	for p, s := range w.sides {
		a := w.treasury.accounts[p]
		if s.fund.asking || a.owes || a.granted != s.fund.slice+s.fund.spent {
			w.Fatalf("partition %d: %+v and %+v do not agree", p, s.fund, a)
		}
		spent += s.fund.spent
	}
	if spent != w.twin.spent {
		w.Fatalf("%d are spent, the twin says %d", spent, w.twin.spent)
	}
}
