package trial

import (
	"slices"
	"strings"

	"recharged/rules"
	"recharged/state/charge"
	"recharged/state/ledger"
	"recharged/stream/turn"
)

// why adds to what is not as expected of an event why the rules that the
// difference is about did what they did. before is the customer before it.
func (p *play) why(failures []Failure, saw *seen, before *charge.Customer, s *step) {
	outcome := saw.last()
	if outcome.Result != charge.Applied {
		return // No rule was asked.
	}
	var all []rules.Explanation
	told := map[string]bool{}
	for i := range failures {
		f := &failures[i]
		named, givers := p.about(f, s.event.Type)
		for _, name := range slices.Concat(named, givers) {
			if all == nil {
				all = p.explain(before, s.event, outcome.Rules)
			}
			at := slices.IndexFunc(all, func(e rules.Explanation) bool { return e.Name == name })
			if at < 0 || told[name] || all[at].Applies && slices.Contains(givers, name) {
				continue
			}
			told[name] = true
			f.Diff = append(f.Diff, Line{Same, name + ": " + all[at].Detail})
			if other := p.otherArm(f, &all[at], before, s); other != "" {
				f.Diff = append(f.Diff, Line{Same, other})
			}
		}
	}
}

// rulesToldMax bounds how many rules are explained that might have given what is
// missing.
const rulesToldMax = 5

// about names the rules that a difference is about, and those that might have
// given what is missing.
func (p *play) about(f *Failure, eventType string) (named, givers []string) {
	for _, l := range f.Diff {
		switch {
		case l.Mark == Same:
		case f.Key == "rules":
			name, _, _ := strings.Cut(l.Text, ": ")
			named = append(named, name)
		case f.Key == "postings" && l.Mark == Missing:
			text, _, _ := strings.Cut(l.Text, " until ")
			text, by, _ := strings.Cut(text, " by ")
			balance, amount, _ := strings.Cut(text, " ")
			if by != "" {
				named = append(named, by)
			} else if strings.HasPrefix(amount, "+") {
				givers = append(givers, p.givers(balance, eventType)...)
			}
		}
	}
	return named, givers
}

// givers names rules that may credit a balance after an event of that type.
func (p *play) givers(balance, eventType string) []string {
	var names []string
	for _, r := range p.book.Rules() {
		if r.On == eventType && slices.Contains(r.Credits, balance) && len(names) < rulesToldMax {
			names = append(names, r.Name)
		}
	}
	return names
}

// explain asks the book about an event that took effect on the customer before.
func (p *play) explain(before *charge.Customer, e *charge.Event, results []charge.RuleResult) []rules.Explanation {
	var after charge.Customer
	var effect ledger.Effect
	after.CopyFrom(before)
	if refusal := p.book.Plan().Apply(&after, e, p.clock, &effect); refusal != nil {
		return nil
	}
	return p.book.Explain(&rules.Subject{
		Event: e, Before: before, After: &after, Clock: p.clock,
		Charged: effect.Charged, Shortfall: effect.Shortfall, Memory: p.stage.machine.Memory(),
	}, results)
}

// otherArm names numbers in the other arm of a rule's holdout, to whoever
// expected the customer to be in it.
func (p *play) otherArm(f *Failure, x *rules.Explanation, before *charge.Customer, s *step) string {
	held := x.Reason == charge.SkipHoldout
	if !held && !slices.Contains(f.Diff, Line{Missing, ruled{x.Name, charge.SkipHoldout}.String()}) {
		return ""
	}
	const tries, enough = 1000, 3
	var found []string
	judge := turn.Judge{Book: p.book}
	twin, event := *before, *s.event
	for i := 1; i <= tries && len(found) < enough; i++ {
		m, ok := higher(before.MSISDN, i)
		if !ok {
			break
		}
		twin.MSISDN, event.MSISDN = m, m
		outcome, _, refusal := judge.Event(&twin, &event, p.clock)
		if refusal != nil {
			break
		}
		for _, r := range outcome.Rules {
			if r.Name == x.Name && (r.Reason == charge.SkipHoldout) != held {
				found = append(found, m.String())
			}
		}
	}
	switch {
	case len(found) == 0:
		return ""
	case held:
		return "not held out are, for example, " + strings.Join(found, ", ")
	}
	return "held out are, for example, " + strings.Join(found, ", ")
}

// higher returns the number that is n higher, if it has as many digits.
func higher(m charge.MSISDN, n int) (charge.MSISDN, bool) {
	digits := m.Append(nil)
	for i := len(digits) - 1; i >= 0 && n > 0; i-- {
		n += int(digits[i] - '0')
		digits[i] = '0' + byte(n%10)
		n /= 10
	}
	next, err := charge.ParseMSISDN(string(digits))
	return next, err == nil && n == 0
}
