package rules

import (
	"bufio"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"

	"recharged/state/charge"
	"recharged/state/ledger"
	"recharged/state/money"
)

var update = flag.Bool("update", false, "write what the scripts do into them")

// TestScripts plays every script of testdata/scripts: a rulebook, on top of
// base.yaml, and what happens to one customer. The script's last part is what
// the rules made of it.
//
// A line of events is "2026-11-20 10:00 recharge amount=350", in the rulebook's
// timezone; "accepted=2026-11-20T12:00" says that it came later than it
// happened. "show" tells what the customer has, "wait until 2026-12-20 10:00" lets
// time pass, "suspend <rule>" and "resume <rule>" do what they say, and "fund <rule>
// slice=100 left=50" sets what the partition has of a rule's budget and what more
// it may get: without it, all of the budget.
func TestScripts(t *testing.T) {
	base := read(t, "testdata/scripts/base.yaml")
	paths, err := filepath.Glob("testdata/scripts/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			script := txtar.Parse(read(t, path))
			if len(script.Files) != 3 {
				t.Fatalf("%s: want the parts rulebook, events and happens", path)
			}
			book, problems := Load(File{"base.yaml", base}, File{"rulebook", script.Files[0].Data})
			if book == nil {
				t.Fatal(problems)
			}
			got := play(t, book, string(script.Files[1].Data))
			if *update {
				script.Files[2].Data = []byte(got)
				if err := os.WriteFile(path, txtar.Format(script), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if want := string(script.Files[2].Data); got != want {
				t.Errorf("%s: got\n%s\nwant\n%s", path, got, want)
			}
		})
	}
}

func read(t testing.TB, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// stage is one customer under one book: what a turn does, without its logs.
type stage struct {
	*testing.T
	strings.Builder
	book     *Book
	customer charge.Customer
	clock    charge.Instant
	decision Decision

	funds     map[string]Fund
	suspended map[string]bool
}

// Fund and Suspended make the stage what a partition remembers of rules.
func (s *stage) Fund(rule string) Fund {
	if f, ok := s.funds[rule]; ok {
		return f
	}
	total, _, _ := s.book.Budget(rule)
	return Fund{Slice: total}
}

func (s *stage) Suspended(rule string) bool { return s.suspended[rule] }

func play(t *testing.T, book *Book, events string) string {
	s := &stage{T: t, book: book, funds: map[string]Fund{}, suspended: map[string]bool{}}
	s.customer.MSISDN, _ = charge.ParseMSISDN("213770123456")
	lines := bufio.NewScanner(strings.NewReader(events))
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if line != "show" {
			fmt.Fprintln(s, line)
		}
		words := strings.Fields(line)
		switch words[0] {
		case "show":
			s.show()
		case "wait":
			s.pass(s.instant(words[2] + "T" + words[3]))
		case "suspend", "resume":
			s.suspended[words[1]] = words[0] == "suspend"
		case "fund":
			s.fund(words[1], words[2:])
		default:
			e, clock := s.event(n, line)
			s.pass(clock)
			s.happen(e)
		}
	}
	return s.String()
}

// fund sets what there is of a rule's budget.
func (s *stage) fund(rule string, args []string) {
	_, unit, ok := s.book.Budget(rule)
	if !ok {
		s.Fatalf("rule %s has no budget", rule)
	}
	var f Fund
	for _, arg := range args {
		key, text, _ := strings.Cut(arg, "=")
		amount, err := unit.Parse(text)
		if err != nil {
			s.Fatal(err)
		}
		if key == "slice" {
			f.Slice = amount
		} else {
			f.Left = amount
		}
	}
	s.funds[rule] = f
}

// pass moves the clock and lets happen what was due by then, in order.
func (s *stage) pass(clock charge.Instant) {
	s.clock = max(s.clock, clock)
	for due := s.customer.NextDue(); due != 0 && due <= s.clock; due = s.customer.NextDue() {
		var before charge.Customer
		var fx ledger.Effect
		s.decision.Reset()
		s.book.Plan().Expire(&s.customer, due, &fx)
		before.CopyFrom(&s.customer)
		fmt.Fprintln(s, "  due at", s.local(due))
		if !s.book.Lapse(&s.decision, &s.customer, due) {
			s.tell(&fx)
			continue
		}
		e := &charge.Event{Type: charge.TimerType, ID: fmt.Sprintf("timer-%d", due), Source: "/recharged", MSISDN: s.customer.MSISDN, Time: due}
		s.judge(e, &before, &fx)
	}
}

// event reads a line such as "2026-11-20 10:00 recharge amount=350".
func (s *stage) event(n int, line string) (*charge.Event, charge.Instant) {
	words := strings.Fields(line)
	if len(words) < 3 {
		s.Fatalf("line %d: want a date, a time and an event type: %s", n, line)
	}
	e := &charge.Event{
		ID: fmt.Sprintf("e%d", n), Source: "/test", Type: words[2],
		MSISDN: s.customer.MSISDN, Time: s.instant(words[0] + "T" + words[1]),
	}
	clock := e.Time
	args := map[string]string{}
	for _, word := range words[3:] {
		key, value, _ := strings.Cut(word, "=")
		if args[key] = value; key == "accepted" {
			clock = s.instant(value)
		}
	}
	for _, f := range s.book.Catalog().Types[e.Type].Fields {
		if v := s.value(f, args); v.Kind != charge.Missing {
			e.Fields = append(e.Fields, charge.Field{Name: f.Name, Value: v})
		}
	}
	return e, clock
}

func (s *stage) instant(text string) charge.Instant {
	for _, layout := range []string{"2006-01-02T15:04:05", "2006-01-02T15:04"} {
		if t, err := time.ParseInLocation(layout, text, s.book.Plan().Location); err == nil {
			return charge.Instant(t.UnixNano())
		}
	}
	s.Fatalf("%q is not a time", text)
	return 0
}

func (s *stage) value(f charge.FieldSpec, args map[string]string) charge.Value {
	text, ok := args[f.Name]
	switch f.Kind {
	case charge.AttributesField:
		return s.attributes(args)
	case charge.MoneyField:
		if ok {
			amount, err := s.book.Plan().Currency.Parse(text)
			if err != nil {
				s.Fatal(err)
			}
			return charge.NumberValue(s.book.Plan().Currency.Decimal(amount))
		}
	case charge.CountField, charge.SignedField, charge.NumberField:
		if ok {
			return number(s.T, text)
		}
	case charge.BoolField:
		if ok {
			return charge.BoolValue(text == "true")
		}
	case charge.TimeField:
		if ok {
			return charge.TimeValue(s.instant(text))
		}
	case charge.ListField:
		if ok {
			return charge.ListValue(strings.Split(text, ","))
		}
	default:
		if ok {
			return charge.TextValue(text)
		}
	}
	return charge.Value{}
}

func number(t *testing.T, text string) charge.Value {
	d, err := money.ParseDecimal(text)
	if err != nil {
		t.Fatal(err)
	}
	return charge.NumberValue(d)
}

// attributes reads set.name=value: a number if it can be one, else a text.
func (s *stage) attributes(args map[string]string) charge.Value {
	var c charge.Customer
	for key, text := range args {
		if name, ok := strings.CutPrefix(key, "set."); ok {
			c.SetAttribute(name, charge.TextValue(text))
			if d, err := money.ParseDecimal(text); err == nil {
				c.SetAttribute(name, charge.NumberValue(d))
			}
		}
	}
	if c.Attributes == nil {
		return charge.Value{}
	}
	return charge.Value{Kind: charge.Object, Fields: c.Attributes}
}

// happen does to the customer what a turn does.
func (s *stage) happen(e *charge.Event) {
	plan := s.book.Plan()
	var fx ledger.Effect
	if refusal := plan.Admit(e, s.clock); refusal != nil {
		fmt.Fprintln(s, "    parked:", refusal)
		return
	}
	var before charge.Customer
	before.CopyFrom(&s.customer)
	if refusal := plan.Apply(&s.customer, e, s.clock, &fx); refusal != nil {
		s.Fatal(refusal)
	}
	s.judge(e, &before, &fx)
	s.book.Arm(&s.customer, e, s.clock)
}

// judge decides on the event, does what the decision says, and tells it.
func (s *stage) judge(e *charge.Event, before *charge.Customer, fx *ledger.Effect) {
	after := &s.customer
	subject := Subject{Event: e, Before: before, After: after, Charged: fx.Charged, Shortfall: fx.Shortfall, Clock: s.clock, Memory: s}
	var judged charge.Customer
	judged.CopyFrom(after)
	s.book.Decide(&subject, &s.decision)
	if !equalCustomers(&judged, after) {
		s.Fatal("Decide changed the customer")
	}
	if len(s.decision.Short) > 0 {
		for _, short := range s.decision.Short {
			fmt.Fprintln(s, "    waits for the budget of", short.Rule)
		}
		after.CopyFrom(before)
		return
	}
	for _, c := range s.decision.Credits {
		if refusal := s.book.Plan().Credit(after, c.Credit, s.clock, fx); refusal != nil {
			s.Fatal(refusal)
		}
	}
	s.book.Settle(&s.decision, after, s.clock)
	s.tell(fx)
	notifications, alerts := s.book.Render(&subject, &s.decision)
	for _, n := range notifications {
		after := ""
		if n.SendAfter != 0 {
			after = ", not before " + s.local(n.SendAfter)
		}
		fmt.Fprintf(s, "    %s in %s, template %s%s: %s\n", n.Channel, n.Language, n.Template, after, n.Text)
	}
	for _, a := range alerts {
		fmt.Fprintf(s, "    %s alert %s %v: %s\n", a.Severity, a.Name, a.Labels, a.Summary)
	}
}

func equalCustomers(a, b *charge.Customer) bool {
	return fmt.Sprintf("%v", *a) == fmt.Sprintf("%v", *b)
}

// tell writes the postings and the verdicts.
func (s *stage) tell(fx *ledger.Effect) {
	for _, p := range fx.Postings {
		sign := ""
		if p.Amount > 0 {
			sign = "+"
		}
		fmt.Fprintf(s, "    %s %s%s by %s, now %s", p.Balance, sign, p.Unit.Format(p.Amount), p.Cause, p.Unit.Format(p.After))
		if p.Expires != 0 {
			fmt.Fprintf(s, ", until %s", s.local(p.Expires))
		}
		fmt.Fprintln(s)
	}
	for _, r := range s.decision.Results {
		fmt.Fprintln(s, "    rule", strings.TrimSpace(strings.Join([]string{r.Name, r.Verdict.String(), r.Reason, r.Detail}, " ")))
	}
	for _, spend := range s.decision.Spends {
		_, unit, _ := s.book.Budget(spend.Rule)
		fund := s.Fund(spend.Rule)
		fund.Slice -= spend.Amount
		s.funds[spend.Rule] = fund
		fmt.Fprintf(s, "    budget of %s -%s, now %s\n", spend.Rule, unit.Format(spend.Amount), unit.Format(fund.Slice))
	}
	for _, a := range s.decision.Arms {
		arm := map[bool]string{true: "held back", false: "treated"}[a.Held]
		fmt.Fprintf(s, "    learned of %s, %s: customers %d, recharges %d, recharged %s\n",
			a.Rule, arm, a.Customers, a.Recharges, s.book.Plan().Currency.Format(a.Amount))
	}
}

func (s *stage) local(at charge.Instant) string {
	return at.Time().In(s.book.Plan().Location).Format("2006-01-02 15:04")
}

// show writes what the customer has.
func (s *stage) show() {
	fmt.Fprintln(s, "show at", s.local(s.clock))
	for _, b := range s.book.Plan().Balances {
		fmt.Fprintf(s, "    %s %s\n", b.Name, b.Unit.Format(s.customer.Total(b.Name, s.clock)))
	}
	fmt.Fprintln(s, "    segments", s.book.Segments(&s.customer, s.clock), "tags", s.customer.Tags)
}
