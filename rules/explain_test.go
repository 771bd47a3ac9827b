package rules

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"pgregory.net/rapid"

	"recharged/state/charge"
	"recharged/state/ledger"
)

// TestExplanations plays testdata/explain.txtar, which is written as the scripts
// of TestScripts are. A line that begins with "why" does not happen: the rules are
// explained as they would judge it.
func TestExplanations(t *testing.T) {
	const path = "testdata/explain.txtar"
	script := txtar.Parse(read(t, path))
	book := mustLoad(t, File{"base.yaml", read(t, "testdata/scripts/base.yaml")}, File{"rulebook", script.Files[0].Data})
	s := &stage{T: t, book: book, funds: map[string]Fund{}, suspended: map[string]bool{}}
	s.customer.MSISDN, _ = charge.ParseMSISDN("213770123456")
	lines := bufio.NewScanner(strings.NewReader(string(script.Files[1].Data)))
	for n := 1; lines.Scan(); n++ {
		line, asked := strings.CutPrefix(lines.Text(), "why ")
		words := strings.Fields(line)
		switch {
		case asked:
			fmt.Fprintln(s, lines.Text())
			e, clock := s.event(n, line)
			s.pass(clock)
			s.explain(e)
		case words[0] == "suspend":
			s.suspended[words[1]] = true
		case words[0] == "fund":
			s.fund(words[1], words[2:])
		default:
			fmt.Fprintln(s, line)
			e, clock := s.event(n, line)
			s.pass(clock)
			s.happen(e)
		}
	}
	if *update {
		script.Files[2].Data = []byte(s.String())
		if err := os.WriteFile(path, txtar.Format(script), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if got, want := s.String(), string(script.Files[2].Data); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// explain tells why each rule would apply to an event, or not.
func (s *stage) explain(e *charge.Event) {
	var before, after charge.Customer
	before.CopyFrom(&s.customer)
	after.CopyFrom(&s.customer)
	var fx ledger.Effect
	if refusal := s.book.Plan().Apply(&after, e, s.clock, &fx); refusal != nil {
		s.Fatal(refusal)
	}
	subject := Subject{Event: e, Before: &before, After: &after, Charged: fx.Charged, Shortfall: fx.Shortfall, Clock: s.clock, Memory: s}
	s.book.Decide(&subject, &s.decision)
	for _, x := range s.book.Explain(&subject, s.decision.Results) {
		verdict := x.Reason
		if x.Applies {
			verdict = "applies"
		}
		fmt.Fprintf(s, "    %s: %s: %s\n", x.Name, verdict, x.Detail)
		if x.Failed != "" {
			fmt.Fprintf(s, "        failed %s\n", x.Failed)
		}
		for _, sight := range x.Saw {
			fmt.Fprintf(s, "        saw %s %q", sight.Name, sight.Value)
			if sight.Absent {
				fmt.Fprint(s, " absent")
			}
			fmt.Fprintln(s)
		}
	}
}

// What Explain says of a rule is what Decide says, and of a rule that does not
// match the reason it names is there.
func TestExplainIsDecide(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var text strings.Builder
		text.WriteString(twinHead("Europe/Paris"))
		for i := range rapid.IntRange(1, 30).Draw(t, "rules") {
			text.WriteString(drawTwinRule(t, i))
		}
		book, problems := Load(File{"a", []byte(text.String())})
		if book == nil {
			t.Fatal(problems)
		}
		var d Decision
		for range 4 {
			s := drawTwinSubject(t)
			book.Decide(s, &d)
			customers := fmt.Sprintf("%v %v", s.Before, s.After)
			explanations := book.Explain(s, d.Results)
			if fmt.Sprintf("%v %v", s.Before, s.After) != customers {
				t.Fatal("Explain changed a customer")
			}
			for i, r := range book.rules {
				if fault := explanations[i].faultOf(book, s, r, d.Results); fault != "" {
					t.Fatalf("%s\n%+v\nresults %+v\nevent %+v", fault, explanations[i], d.Results, s.Event)
				}
			}
		}
	})
}

// faultOf says what is wrong with the explanation of a rule.
func (x *Explanation) faultOf(b *Book, s *Subject, r *rule, results []charge.RuleResult) string {
	if x.Name != r.Name || x.Detail == "" {
		return "it explains nothing"
	}
	for _, result := range results {
		if result.Name == r.Name {
			if x.Applies != (result.Verdict == charge.RuleApplied) || x.Reason != result.Reason {
				return "Decide says otherwise"
			}
			return ""
		}
	}
	var p picture
	p.look(b, s)
	covers, tiered := r.schedule.covers(s.Event.Time, b.plan.Location), r.tierOf(s.base()) != nil
	switch x.Reason {
	case UnmatchedSchedule:
		tiered = covers
	case UnmatchedTiers:
		covers = covers && !tiered
	case UnmatchedCondition:
		if holds, err := conjunctOf(r.when, x.Failed).Holds(&p.after); holds || err != nil || len(x.Saw) == 0 && strings.Contains(x.Failed, "customer") {
			return "the condition that it names is not false, or was not looked into"
		}
		covers = !covers || !tiered
	default:
		return "no such reason for a rule that does not match"
	}
	if covers && x.Reason != UnmatchedTiers || x.Reason == UnmatchedTiers && !covers {
		return "it is not the first reason"
	}
	return ""
}
