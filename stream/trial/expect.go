package trial

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"recharged/rules"
	"recharged/state/charge"
	"recharged/state/money"
)

// The keys of an expectation: of an event, of time that passes, and of a
// customer.
var (
	outcomeKeys  = []string{"result", "reason", "shortfall", "postings", "rules", "notifications", "alerts"}
	timeKeys     = []string{"postings", "rules", "notifications", "alerts"}
	customerKeys = []string{"balances", "tags", "segments", "counters", "attributes", "recharges", "tracking"}
)

// seen is what there is to compare an expectation with: what the step's event
// did, or time on the way to it, and the customer afterwards.
type seen struct {
	book          *rules.Book
	clock         charge.Instant
	customer      *charge.Customer
	outcomes      []charge.Outcome
	notifications []charge.Notification
	alerts        []charge.Alert
}

// differ returns in what something differs from what is expected; nothing if it
// does not.
type differ func(*seen) []Line

// differ reads the value of one key of an expectation.
func (b *binder) differ(e entry) differ {
	switch n := e.value; e.key {
	case "result":
		return b.result(n)
	case "reason":
		return b.reason(n)
	case "shortfall":
		return b.shortfall(n)
	case "postings":
		return b.postings(n)
	case "rules":
		return b.verdicts(n)
	case "notifications":
		return b.notifications(n)
	case "alerts":
		return b.alerts(n)
	case "balances":
		return b.balances(n)
	case "tags":
		want := b.texts(n, "tags")
		return func(s *seen) []Line { return diffTexts(want, s.customer.Tags) }
	case "segments":
		return b.segments(n)
	case "counters":
		return b.counters(n)
	case "attributes":
		return b.attributes(n)
	case "recharges":
		want := b.count(n)
		return func(s *seen) []Line {
			return diffOne(strconv.FormatInt(want, 10), strconv.FormatInt(s.customer.Recharges, 10))
		}
	case "tracking":
		want := b.count(n)
		return func(s *seen) []Line {
			return diffOne(strconv.FormatInt(want, 10), strconv.FormatInt(s.customer.Tracking(s.clock), 10))
		}
	}
	return nil // An unknown key, which was reported.
}

// last returns the outcome of the step's event.
func (s *seen) last() *charge.Outcome {
	if len(s.outcomes) == 0 {
		return &charge.Outcome{}
	}
	return &s.outcomes[len(s.outcomes)-1]
}

func (b *binder) result(n *node) differ {
	want, ok := b.text(n)
	if ok {
		b.known(n.place, "result", want, []string{charge.Applied.String(), charge.Duplicate.String(), charge.Parked.String()})
	}
	return func(s *seen) []Line {
		got := s.last()
		lines := diffOne(want, got.Result.String())
		if lines != nil && got.Reason != "" {
			lines = append(lines, Line{Same, got.Reason + ": " + got.Detail})
		}
		return lines
	}
}

func (b *binder) reason(n *node) differ {
	want, ok := b.text(n)
	if ok {
		names := make([]string, 0, len(charge.ParkReasons()))
		for _, r := range charge.ParkReasons() {
			names = append(names, string(r))
		}
		b.known(n.place, "reason to park an event", want, names)
	}
	return func(s *seen) []Line { return diffOne(want, s.last().Reason) }
}

func (b *binder) shortfall(n *node) differ {
	currency := b.book.Plan().Currency
	want := b.amount(n, currency)
	return func(s *seen) []Line { return diffOne(currency.Short(want), currency.Short(s.last().Shortfall)) }
}

// movement is a posting as a test writes it: "bonus +350 by double-300 until
// 2026-11-27 10:00"; by and until may be left out.
type movement struct {
	balance string
	amount  money.Amount
	unit    money.Unit
	by      string
	until   charge.Instant
	zone    *time.Location
}

func (m movement) String() string {
	sign := ""
	if m.amount > 0 {
		sign = "+"
	}
	text := m.balance + " " + sign + show(m.amount, m.unit)
	if m.by != "" {
		text += " by " + m.by
	}
	if m.until != 0 {
		text += " until " + local(m.until, m.zone)
	}
	return text
}

// local writes an instant as tests write it.
func local(at charge.Instant, zone *time.Location) string {
	t := at.Time().In(zone)
	if t.Second() != 0 {
		return t.Format("2006-01-02 15:04:05")
	}
	return t.Format("2006-01-02 15:04")
}

// fits reports whether a posting is what the test means.
func (m movement) fits(got movement) bool {
	return m.balance == got.balance && m.amount == got.amount &&
		(m.by == "" || m.by == got.by) && (m.until == 0 || m.until == got.until)
}

func (b *binder) postings(n *node) differ {
	var want []movement
	for _, item := range b.list(n, "postings") {
		if m, ok := b.movement(item); ok {
			want = append(want, m)
		}
	}
	zone := b.book.Plan().Location
	return func(s *seen) []Line {
		var got []movement
		for i := range s.outcomes {
			for _, p := range s.outcomes[i].Postings {
				got = append(got, movement{p.Balance, p.Amount, p.Unit, p.Cause, p.Expires, zone})
			}
		}
		return diffSets(want, got, movement.fits)
	}
}

// movement reads a posting.
func (b *binder) movement(n *node) (movement, bool) {
	const hint = "write bonus +350, or bonus +350 by double-300 until 2026-11-27 10:00"
	text, ok := b.text(n)
	if !ok {
		return movement{}, false
	}
	text, until, expires := strings.Cut(text, " until ")
	text, by, _ := strings.Cut(text, " by ")
	name, amount, found := strings.Cut(strings.TrimSpace(text), " ")
	amount = strings.TrimSpace(amount)
	if !found || !strings.HasPrefix(amount, "+") && !strings.HasPrefix(amount, "-") {
		b.fault(n.place, hint, "%q is not a posting", n.text)
		return movement{}, false
	}
	plan, ok := b.balance(n.place, name)
	if !ok {
		return movement{}, false
	}
	m := movement{balance: name, unit: plan.Unit, by: strings.TrimSpace(by), zone: b.book.Plan().Location}
	m.amount = b.amount(&node{place: n.place, shape: scalar, text: amount}, plan.Unit)
	if expires {
		m.until = b.instant(&node{place: n.place, shape: scalar, text: strings.TrimSpace(until)})
	}
	return m, true
}

// unmatched is the verdict on a rule whose condition did not hold.
const unmatched = "unmatched"

// verdictNames are what a test may expect of a rule.
var verdictNames = []string{
	"applied", charge.SkipLimit, charge.SkipBudget, charge.SkipGroup, charge.SkipHoldout, charge.SkipSuspended, charge.SkipError, unmatched,
}

// ruled is a rule and what became of it.
type ruled struct{ rule, verdict string }

func (r ruled) String() string { return r.rule + ": " + r.verdict }

func (b *binder) verdicts(n *node) differ {
	if !b.names(n, "rules", "{double-300: applied}") {
		return nil
	}
	var rulesOfBook []string
	for _, r := range b.book.Rules() {
		rulesOfBook = append(rulesOfBook, r.Name)
	}
	var want []ruled
	for _, e := range n.entries {
		verdict, ok := b.text(e.value)
		if b.known(e.place, "rule", e.key, rulesOfBook) && ok && b.known(e.value.place, "verdict", verdict, verdictNames) {
			want = append(want, ruled{e.key, verdict})
		}
	}
	return func(s *seen) []Line { return diffVerdicts(want, s) }
}

// diffVerdicts compares the rules that the test names; if it names none, no
// rule may have matched.
func diffVerdicts(want []ruled, s *seen) []Line {
	var got []ruled
	details := map[ruled]string{}
	for i := range s.outcomes {
		for _, r := range s.outcomes[i].Rules {
			v := ruled{r.Name, "applied"}
			if r.Verdict != charge.RuleApplied {
				v.verdict = r.Reason
			}
			got, details[v] = append(got, v), r.Detail
		}
	}
	if len(want) == 0 {
		return diffSets(nil, got, nil)
	}
	var lines []Line
	for _, w := range want {
		of := slices.DeleteFunc(slices.Clone(got), func(g ruled) bool { return g.rule != w.rule })
		if len(of) == 0 {
			of = []ruled{{w.rule, unmatched}}
		}
		if slices.Contains(of, w) {
			continue
		}
		lines = append(lines, Line{Missing, w.String()})
		for _, g := range of {
			text := g.String()
			if details[g] != "" {
				text += ": " + details[g]
			}
			lines = append(lines, Line{Extra, text})
		}
	}
	return lines
}

// facts are the named properties of something said, in a fixed order: what a
// test does not name is not compared.
type facts []fact

type fact struct{ name, value string }

func (f facts) String() string {
	words := make([]string, len(f))
	for i, p := range f {
		words[i] = p.name + " " + strconv.Quote(p.value)
	}
	return strings.Join(words, ", ")
}

func (f facts) fits(got facts) bool {
	for _, w := range f {
		if !slices.Contains(got, w) {
			return false
		}
	}
	return true
}

// facts reads what a test says of a notification or an alert: a mapping, or the
// value of its first key alone.
func (b *binder) facts(n *node, what string, keys ...string) facts {
	if n.shape == scalar {
		return facts{{keys[0], n.text}}
	}
	if !b.mapping(n, what, keys...) {
		return nil
	}
	var out facts
	for _, e := range n.entries {
		switch {
		case e.key == "labels" && b.names(e.value, "labels", "{team: fraud}"):
			for _, label := range e.value.entries {
				text, _ := b.text(label.value)
				out = append(out, fact{"label " + label.key, text})
			}
		case e.key == "labels":
		case e.key == "send_after":
			out = append(out, fact{e.key, local(b.instant(e.value), b.book.Plan().Location)})
		default:
			text, _ := b.text(e.value)
			out = append(out, fact{e.key, text})
		}
	}
	return out
}

func (b *binder) notifications(n *node) differ {
	var want []facts
	for _, item := range b.list(n, "notifications") {
		want = append(want, b.facts(item, "a notification", "template", "text", "language", "channel", "rule", "send_after"))
	}
	zone := b.book.Plan().Location
	return func(s *seen) []Line {
		var got []facts
		for _, m := range s.notifications {
			f := facts{{"template", m.Template}, {"text", m.Text}, {"language", m.Language}, {"channel", m.Channel}, {"rule", m.Rule}}
			if m.SendAfter != 0 {
				f = append(f, fact{"send_after", local(m.SendAfter, zone)})
			}
			got = append(got, f)
		}
		return diffSets(want, got, facts.fits)
	}
}

func (b *binder) alerts(n *node) differ {
	var want []facts
	for _, item := range b.list(n, "alerts") {
		want = append(want, b.facts(item, "an alert", "name", "severity", "summary", "labels"))
	}
	return func(s *seen) []Line {
		var got []facts
		for _, a := range s.alerts {
			f := facts{{"name", a.Name}, {"severity", a.Severity}, {"summary", a.Summary}}
			for _, l := range a.Labels {
				f = append(f, fact{"label " + l.Name, l.Value})
			}
			got = append(got, f)
		}
		return diffSets(want, got, facts.fits)
	}
}

// held is an amount of a balance or a value of a counter.
type held struct {
	name string
	want int64
	read func(*seen) int64
	show func(int64) string
}

// diffHeld compares the values that the test names.
func diffHeld(all []held) differ {
	return func(s *seen) []Line {
		var lines []Line
		for _, h := range all {
			if got := h.read(s); got != h.want {
				lines = append(lines, Line{Missing, h.name + " " + h.show(h.want)}, Line{Extra, h.name + " " + h.show(got)})
			}
		}
		return lines
	}
}

func (b *binder) balances(n *node) differ {
	var all []held
	if !b.names(n, "balances", "{main: 350}") {
		return nil
	}
	for _, e := range n.entries {
		if plan, ok := b.balance(e.place, e.key); ok {
			all = append(all, held{
				e.key, int64(b.amount(e.value, plan.Unit)),
				func(s *seen) int64 { return int64(s.customer.Total(e.key, s.clock)) },
				func(v int64) string { return show(money.Amount(v), plan.Unit) },
			})
		}
	}
	return diffHeld(all)
}

func (b *binder) counters(n *node) differ {
	var all []held
	if !b.names(n, "counters", "{recharges_7d: 2}") {
		return nil
	}
	for _, e := range n.entries {
		if plan, ok := b.counter(e.place, e.key); ok {
			all = append(all, held{
				e.key, b.counted(e.value, plan),
				func(s *seen) int64 { return s.book.Plan().CounterValue(s.customer, plan, s.clock) },
				func(v int64) string { return money.Unit{Digits: plan.Digits}.Short(money.Amount(v)) },
			})
		}
	}
	return diffHeld(all)
}

func (b *binder) segments(n *node) differ {
	want := b.texts(n, "segments")
	return func(s *seen) []Line { return diffTexts(want, s.book.Segments(s.customer, s.clock)) }
}

func (b *binder) attributes(n *node) differ {
	if !b.names(n, "attributes", "{age: 22}") {
		return nil
	}
	want := make([]charge.Field, len(n.entries))
	for i, e := range n.entries {
		want[i] = charge.Field{Name: e.key}
		if e.value.shape != nothing { // Nothing: the customer has none.
			want[i].Value = b.attribute(e.value)
		}
	}
	return func(s *seen) []Line {
		var lines []Line
		for _, w := range want {
			got := s.customer.Attribute(w.Name)
			if got.Kind == charge.Missing && w.Value.Kind == charge.Missing || got.Equal(w.Value) {
				continue
			}
			lines = append(lines, Line{Missing, w.Name + " " + showValue(w.Value)}, Line{Extra, w.Name + " " + showValue(got)})
		}
		return lines
	}
}

// showValue writes an attribute as tests write it.
func showValue(v charge.Value) string {
	switch v.Kind {
	case charge.Bool:
		return strconv.FormatBool(v.Bool())
	case charge.Number:
		return v.Decimal().String()
	case charge.Text:
		return strconv.Quote(v.Text)
	case charge.List:
		return fmt.Sprintf("%q", v.List)
	}
	return "absent"
}
