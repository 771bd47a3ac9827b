package rules

import (
	"cmp"
	"slices"

	"recharged/rules/index"
	"recharged/state/charge"
	"recharged/state/ledger"
	"recharged/state/money"
)

// Subject is an event and the customer that it happened to, as rules see them.
type Subject struct {
	Event     *charge.Event
	Before    *charge.Customer // before the event's own effect; not nil
	After     *charge.Customer // after it, counters included; not nil
	Charged   money.Amount     // of a usage: what was really taken
	Shortfall money.Amount     // of a usage: what could not be covered
	Clock     charge.Instant   // of the log

	// Memory is what the partition remembers of rules. Nil: every budget is whole
	// and no rule is suspended.
	Memory Memory
}

// Memory is what a partition remembers of rules.
type Memory interface {
	// Fund returns what is left of the budget of a rule that has one.
	Fund(rule string) Fund
	// Suspended reports whether the rule must not apply because it kept failing.
	Suspended(rule string) bool
}

// Fund is what is left of a rule's budget, as one partition knows it.
type Fund struct {
	Slice money.Amount // may be spent at once
	Left  money.Amount // at most this much more may be had for the asking
}

// Credit is what a rule gives.
type Credit struct {
	Rule string
	ledger.Credit
}

// Tag is a tag that a rule puts on the customer, or takes off.
type Tag struct {
	Rule string
	Name string
	Off  bool
}

// Spend is what a rule takes out of its budget.
type Spend struct {
	Rule   string
	Amount money.Amount
}

// Decision is what the rules say about one event. Its slices are reused from
// event to event.
type Decision struct {
	Results []charge.RuleResult // of every rule that matched, in the order in which they were judged
	Credits []Credit            // to be posted in this order; none is zero
	Tags    []Tag               // to be put on and taken off in this order, so the last one wins
	Uses    []Use               // of limited rules, to be remembered
	Spends  []Spend             // of rules with a budget that apply
	Arms    []Arm               // what the holdout rules of the book learn of the customer

	// Short names the rules that would apply if the fund's slice were that large,
	// which it can become. If there is one the event must wait: the rest of the
	// decision means nothing.
	Short []Spend

	applied []applied
	given   []given
	taken   []bool  // groups that have their rule
	lapsed  []*rule // whose timers Lapse took, in the order in which they are judged
	picture picture
	found   index.Scratch
}

// applied is a rule that applied, with its share of Decision.given.
type applied struct {
	rule         *rule
	first, after int
}

// given is what one credit of a rule came to, zero included.
type given struct {
	amount  money.Amount
	expires charge.Instant
}

// Reset empties the decision and keeps its memory, and the timers that Lapse
// took: they are what is decided on.
func (d *Decision) Reset() {
	d.Results, d.Credits = d.Results[:0], d.Credits[:0]
	d.Tags, d.Uses = d.Tags[:0], d.Uses[:0]
	d.Spends, d.Short, d.Arms = d.Spends[:0], d.Short[:0], d.Arms[:0]
	d.applied, d.given = d.applied[:0], d.given[:0]
	clear(d.taken)
}

// Decide judges the event by the rules of its type, and the event of a timer by
// the rules whose timers Lapse took. All are judged on one picture: nothing that
// one rule gives is seen by another. It changes nothing but the decision, which
// it resets first.
func (b *Book) Decide(s *Subject, d *Decision) {
	b.begin(s, d)
	if s.Event.Type == charge.TimerType {
		d.scan(d.lapsed)
		return
	}
	m := b.matchers[s.Event.Type]
	if m == nil {
		return
	}
	m.index.Find(&d.picture, &d.found)
	for i, doubt, ok := d.found.Next(); ok; i, doubt, ok = d.found.Next() {
		if t, matched, err := m.match(i, doubt, &d.picture); matched {
			d.Results = append(d.Results, d.judge(m.rules[i], t, err))
		}
	}
}

// Scan decides as Decide does, but asks one rule after the other: it is what
// tests hold the index against, and what benchmarks compare it with.
func (b *Book) Scan(s *Subject, d *Decision) {
	b.begin(s, d)
	if s.Event.Type == charge.TimerType {
		d.scan(d.lapsed)
	} else if m := b.matchers[s.Event.Type]; m != nil {
		d.scan(m.rules)
	}
}

// begin turns the decision to another event.
func (b *Book) begin(s *Subject, d *Decision) {
	d.Reset()
	if b.holdouts && s.Event.Type == charge.Recharge {
		b.follow(s, d)
	}
	if len(d.taken) < b.groups {
		d.taken = make([]bool, b.groups)
	}
	d.picture.look(b, s)
}

// scan judges by all of these rules.
func (d *Decision) scan(rules []*rule) {
	for _, r := range rules {
		if t, matched, err := r.match(&d.picture); matched {
			d.Results = append(d.Results, d.judge(r, t, err))
		}
	}
}

// judge says what becomes of a rule that matched, in tier t, or whose condition
// failed with an error. A rule that is suspended fails no more.
func (d *Decision) judge(r *rule, t *tier, err error) charge.RuleResult {
	s, result := d.picture.subject, charge.RuleResult{Name: r.Name, Verdict: charge.RuleSkipped}
	suspended := s.Memory != nil && s.Memory.Suspended(r.Name)
	switch {
	case err != nil && !suspended:
		result.Reason, result.Detail = charge.SkipError, err.Error()
	case err == nil && r.group >= 0 && d.taken[r.group]:
		result.Reason = charge.SkipGroup
	case suspended:
		result.Reason = charge.SkipSuspended
	case d.heldOut(r):
		result.Reason = charge.SkipHoldout
	default:
		result.Reason, result.Detail = d.apply(r, t)
		if result.Reason == "" {
			result.Verdict = charge.RuleApplied
		}
	}
	return result
}

// match reports whether the rule matches, and in which tier. A rule whose
// condition fails has matched, with an error: it must not vanish.
func (r *rule) match(p *picture) (*tier, bool, error) {
	s := p.subject
	if !r.schedule.covers(s.Event.Time, p.book.plan.Location) {
		return nil, false, nil
	}
	t := r.tierOf(s.base())
	if t == nil {
		return nil, false, nil
	}
	if r.when == nil {
		return t, true, nil
	}
	holds, err := r.when.Holds(&p.after)
	return t, holds || err != nil, err
}

// apply adds what the rule does to the decision, unless a limit, an error or the
// budget is in the way: then it returns the reason, the decision stays as it was,
// and the group stays free.
func (d *Decision) apply(r *rule, t *tier) (reason, detail string) {
	uses, first := len(d.Uses), len(d.given)
	reason = d.use(r)
	if reason == "" {
		reason, detail = d.give(r, t)
	}
	if reason == "" {
		reason = d.spend(r, first)
	}
	if reason != "" {
		d.Uses, d.given = d.Uses[:uses], d.given[:first]
		return reason, detail
	}
	d.take(r, first)
	return "", ""
}

// use notes a use of each of the rule's limits.
func (d *Decision) use(r *rule) (reason string) {
	p := &d.picture
	for i := range r.limits {
		m := &r.limits[i]
		index := m.index(p.subject.Event.Time, p.book.plan.Location, p.book.weekStart)
		if !m.allows(p.subject.After, index) {
			return charge.SkipLimit
		}
		d.Uses = append(d.Uses, Use{r.Name, m.counter, index, m})
	}
	return ""
}

// give computes what each of the rule's credits comes to.
func (d *Decision) give(r *rule, t *tier) (reason, detail string) {
	p := &d.picture
	for i := range r.credits {
		c := &r.credits[i]
		amount, err := c.amount(t.gifts[i], p)
		if err != nil {
			return charge.SkipError, err.Error()
		}
		g := given{amount: amount}
		if c.validity != 0 {
			g.expires = p.subject.Event.Time.Add(c.validity)
		}
		d.given = append(d.given, g)
	}
	return "", ""
}

// take records a rule that applies.
func (d *Decision) take(r *rule, first int) {
	for i, g := range d.given[first:] {
		if g.amount == 0 {
			continue // Nothing to post; the rule applied all the same.
		}
		d.Credits = append(d.Credits, Credit{r.Name, ledger.Credit{
			Balance: r.credits[i].balance.Name, Amount: g.amount, Account: r.account, Cause: r.Name, Expires: g.expires,
		}})
	}
	d.Tags = append(d.Tags, r.tags...)
	d.applied = append(d.applied, applied{r, first, len(d.given)})
	if r.group >= 0 {
		d.taken[r.group] = true
	}
}

// Fail takes a rule that applied out again, because what it gives could not be
// posted: its credits, tags, uses of limits, spending and texts are dropped, and
// its result becomes an error with that detail. Credits gets shorter, so whoever is
// posting them takes back what this rule was given already and begins anew. The
// place of its group stays taken: the rules after it were passed over for it. A
// rule that did not apply stays as it is.
func (d *Decision) Fail(rule, detail string) {
	i := slices.IndexFunc(d.applied, func(a applied) bool { return a.rule.Name == rule })
	if i < 0 {
		return
	}
	d.applied = slices.Delete(d.applied, i, i+1)
	d.Credits = slices.DeleteFunc(d.Credits, func(c Credit) bool { return c.Rule == rule })
	d.Tags = slices.DeleteFunc(d.Tags, func(t Tag) bool { return t.Rule == rule })
	d.Uses = slices.DeleteFunc(d.Uses, func(u Use) bool { return u.Rule == rule })
	d.Spends = slices.DeleteFunc(d.Spends, func(s Spend) bool { return s.Rule == rule })
	for i := range d.Results {
		if r := &d.Results[i]; r.Name == rule {
			r.Verdict, r.Reason, r.Detail = charge.RuleSkipped, charge.SkipError, detail
		}
	}
}

// Settle puts into the customer what the decision leaves there besides credits:
// tags, the uses that limits count, and in which arm of a holdout it is. The clock is the log's; what no event
// can need any more at that time is forgotten.
func (b *Book) Settle(d *Decision, c *charge.Customer, clock charge.Instant) {
	for _, t := range d.Tags {
		if t.Off {
			c.Untag(t.Name)
		} else {
			c.Tag(t.Name)
		}
	}
	for i := range d.Uses {
		u := &d.Uses[i]
		u.remember(c, u.limit.forgets(b, clock))
	}
	for i := range d.Arms {
		d.Arms[i].remember(c)
	}
}

// Render writes what the rules that applied say. The credits must have been
// posted and the decision settled: texts see the customer as it is now.
func (b *Book) Render(s *Subject, d *Decision) (notifications []charge.Notification, alerts []charge.Alert) {
	d.picture.look(b, s)
	for _, a := range d.applied {
		shares := d.given[a.first:a.after]
		for i := range a.rule.says {
			say := &a.rule.says[i]
			if say.severity != "" {
				alerts = append(alerts, charge.Alert{
					Name: a.rule.Name, Severity: say.severity, Labels: say.labels, StartsAt: s.Clock,
					Summary: d.picture.write(say.summary, a.rule, shares),
				})
				continue
			}
			t := say.in(cmp.Or(b.languageOf(s.After), b.language), b.language)
			notifications = append(notifications, charge.Notification{
				MSISDN: s.Event.MSISDN, EventID: s.Event.ID, Source: s.Event.Source, Rule: a.rule.Name,
				Channel: say.channel, Template: say.template, Language: t.language, Time: s.Clock,
				SendAfter: say.sendAfter(s.Clock, b.plan.Location),
				Text:      d.picture.write(t.pieces, a.rule, shares),
			})
		}
	}
	return notifications, alerts
}

// languageOf returns the customer's own language, or "".
func (b *Book) languageOf(c *charge.Customer) string { return c.Attribute("language").Text }

// in returns the text in the first of the languages that there is, else the
// first text; of a template that the book does not have an empty one.
func (s *say) in(languages ...string) *text {
	for _, language := range languages {
		for i := range s.texts {
			if s.texts[i].language == language {
				return &s.texts[i]
			}
		}
	}
	if len(s.texts) == 0 {
		return &text{language: languages[0]}
	}
	return &s.texts[0]
}

func (p *picture) write(pieces []piece, r *rule, shares []given) string {
	var buffer [256]byte
	out := buffer[:0]
	for i := range pieces {
		out = pieces[i].appendTo(out, p, r, shares)
	}
	return string(out)
}
