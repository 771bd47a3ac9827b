package rules

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"recharged/rules/when"
	"recharged/state/charge"
	"recharged/state/money"
)

// Explanation is what became of one rule, and why.
type Explanation struct {
	Name, Title string
	On          string // the event type that it is for; empty if it waits for silence
	Applies     bool
	Reason      string  // why it does not apply: one of the reasons here or in charge
	Failed      string  // what is not true, as the rulebook has it; may be empty
	Saw         []Sight // what was looked at
	Detail      string  // why, in words
}

// The reasons why a rule does not match, in the order in which they are asked.
const (
	UnmatchedType      = "type" // it is of another event type, or waits for silence that has not come
	UnmatchedSchedule  = "schedule"
	UnmatchedTiers     = "tiers"
	UnmatchedCondition = "condition"
)

// Sight is a value that a rule looked at.
type Sight struct {
	Name   string
	Value  string // exact, money with all its digits; what is very long is cut
	Absent bool   // there is none; Value is what it is read as, empty if nothing
}

// Explain tells of every rule, in the order in which they are judged, why it
// had its result. The subject is what Decide was asked about, as it was then;
// results are what came of it. The verdicts are theirs: Explain judges nothing
// again, it looks for the cause. Of the budgets and suspensions it tells what the
// subject's memory knows, with a nil one that nothing is known.
func (b *Book) Explain(s *Subject, results []charge.RuleResult) []Explanation {
	x := explainer{results: results}
	x.look(b, s)
	all := make([]Explanation, len(b.rules))
	for i, r := range b.rules {
		all[i] = Explanation{Name: r.Name, Title: r.Title, On: r.On}
		at := slices.IndexFunc(results, func(result charge.RuleResult) bool { return result.Name == r.Name })
		if at < 0 {
			x.unmatched(r, &all[i])
		} else {
			x.matched(r, at, &all[i])
		}
	}
	return all
}

// explainer looks for causes in one picture.
type explainer struct {
	picture
	results []charge.RuleResult
}

// unmatched explains a rule that did not match: of what match asks, the first
// that is not so.
func (x *explainer) unmatched(r *rule, e *Explanation) {
	s := x.subject
	switch {
	case !x.occurs(r):
		e.Reason, e.Detail = UnmatchedType, x.occasion(r)
		return
	case !r.schedule.covers(s.Event.Time, x.book.plan.Location):
		x.outside(r, e)
		return
	case r.tierOf(s.base()) == nil:
		x.below(r, e)
		return
	case r.when == nil:
		panic(fmt.Sprintf("rules: rule %s matches the event, but has no result", r.Name))
	}
	found := r.when.Explain(&x.after)
	if found.Holds || found.Err != nil {
		panic(fmt.Sprintf("rules: the condition of rule %s is not false, but it has no result", r.Name))
	}
	part := conjunctOf(r.when, found.Failed)
	e.Reason, e.Failed, e.Saw = UnmatchedCondition, found.Failed, x.sights(part.Refs())
	e.Detail = x.verdict(found.Failed, "is false", part.Refs())
}

// momentLayout is how a time is said: the day of the week decides so much.
const momentLayout = "Monday 2006-01-02 15:04"

// occurs reports whether the event is one that the rule is asked about.
func (x *explainer) occurs(r *rule) bool {
	e := x.subject.Event
	if e.Type != charge.TimerType {
		return r.On == e.Type
	}
	t := x.subject.Before.Timer(r.Name)
	return r.After != "" && t != nil && t.Due <= e.Time && t.Armed.Add(r.Quiet) <= e.Time
}

// occasion says when the rule is asked instead.
func (x *explainer) occasion(r *rule) string {
	switch {
	case r.After == "":
		return "another event type: " + r.On
	case r.After == x.subject.Event.Type:
		return fmt.Sprintf("it waits until no %s has come for %s, from this one on", r.After, lengthText(r.Quiet))
	}
	return fmt.Sprintf("it waits until no %s has come for %s", r.After, lengthText(r.Quiet))
}

// outside explains a rule whose schedule leaves the event out.
func (x *explainer) outside(r *rule, e *Explanation) {
	location := x.book.plan.Location
	at := x.subject.Event.Time.Time().In(location)
	e.Reason, e.Failed = UnmatchedSchedule, r.schedule.words(location)
	e.Saw = []Sight{{Name: "time", Value: at.Format(time.RFC3339)}}
	e.Detail = fmt.Sprintf("its schedule: %s, the event was %s", e.Failed, at.Format(momentLayout))
}

// below explains a rule whose first tier is not reached.
func (x *explainer) below(r *rule, e *Explanation) {
	currency, base := x.book.plan.Currency, "amount"
	if r.On == charge.Usage {
		base = "charged"
	}
	first := currency.Short(r.tiers[0].from)
	e.Reason, e.Failed = UnmatchedTiers, base+" >= "+first
	e.Saw = []Sight{{Name: base, Value: currency.Format(x.subject.base())}}
	e.Detail = fmt.Sprintf("below the first tier, %s: %s is %s", first, base, currency.Short(x.subject.base()))
}

// matched explains a rule that has a result.
func (x *explainer) matched(r *rule, at int, e *Explanation) {
	result := &x.results[at]
	e.Applies, e.Reason = result.Verdict == charge.RuleApplied, result.Reason
	if r.when != nil {
		e.Saw = x.sights(r.when.Refs())
	}
	switch {
	case e.Applies:
		x.applied(r, e)
	case e.Reason == charge.SkipError:
		x.failed(r, result, e)
	case e.Reason == charge.SkipGroup:
		e.Detail = fmt.Sprintf("in group %s, %s came first", r.Group, x.first(r, at))
	case e.Reason == charge.SkipSuspended:
		e.Detail = "it is suspended because it kept failing"
	case e.Reason == charge.SkipHoldout:
		e.Detail = fmt.Sprintf("held out: %s of the customers, chosen by their number, get nothing from it", percentText(r.Holdout))
	case e.Reason == charge.SkipLimit:
		x.limited(r, e)
	case e.Reason == charge.SkipBudget:
		x.unaffordable(r, e)
	}
}

// applied explains a rule that applies.
func (x *explainer) applied(r *rule, e *Explanation) {
	e.Detail = "it has no condition"
	if r.when != nil {
		e.Detail = x.verdict(r.when.Source(), "is true", r.when.Refs())
	}
	if t := r.tierOf(x.subject.base()); t.from != math.MinInt64 {
		e.Detail += fmt.Sprintf("; in the tier from %s", x.book.plan.Currency.Short(t.from))
	}
}

// failed explains a rule that could not be judged, or could not give.
func (x *explainer) failed(r *rule, result *charge.RuleResult, e *Explanation) {
	e.Detail = "it failed: " + result.Detail
	if r.when == nil {
		return
	}
	if found := r.when.Explain(&x.after); found.Err != nil {
		e.Failed, e.Saw = found.Failed, x.sights(conjunctOf(r.when, found.Failed).Refs())
		e.Detail = sentence(found.Failed, "failed: "+result.Detail, nil)
	}
}

// first returns the rule that took the place of the group before the result at
// that index: one that applied, else one that could not give in the end.
func (x *explainer) first(r *rule, at int) string {
	name := "another rule"
	for i := range x.results[:at] {
		result := &x.results[i]
		other := x.book.byName[result.Name]
		switch {
		case other == nil || other.group != r.group:
		case result.Verdict == charge.RuleApplied:
			return result.Name
		case result.Reason == charge.SkipError:
			name = result.Name
		}
	}
	return name
}

// limited explains a rule that was used as often as it may be.
func (x *explainer) limited(r *rule, e *Explanation) {
	s := x.subject
	for i := range r.limits {
		m := &r.limits[i]
		index := m.index(s.Event.Time, x.book.plan.Location, x.book.weekStart)
		if m.allows(s.After, index) {
			continue
		}
		used := int64(0)
		if counter := s.After.Counter(m.counter); counter != nil {
			used = m.used(counter, index)
		}
		e.Failed = fmt.Sprintf("%d per %s", m.count, m.words())
		e.Saw = append(e.Saw, Sight{Name: "used", Value: strconv.FormatInt(used, 10)})
		if used < m.count {
			e.Detail = fmt.Sprintf("limit: %s, so long ago that nobody can tell how often it was used", e.Failed)
			return
		}
		e.Detail = fmt.Sprintf("limit: %s, used %d", e.Failed, used)
		return
	}
}

// words writes the period as the rulebook does.
func (m *limit) words() string {
	if m.period == rollingWindow {
		return lengthText(m.rolling)
	}
	return periods[m.period]
}

// unaffordable explains a rule whose budget does not have what it would give.
func (x *explainer) unaffordable(r *rule, e *Explanation) {
	unit := r.BudgetUnit
	text := func(a money.Amount) string { return quantity(unit, unit.Decimal(a)) }
	needed, known := x.gives(r)
	if known {
		e.Saw = append(e.Saw, Sight{Name: "needed", Value: unit.Format(needed)})
	}
	if x.subject.Memory == nil {
		e.Detail = fmt.Sprintf("budget: of %s, less was left than what was needed", text(r.Budget))
		if known {
			e.Detail = fmt.Sprintf("budget: of %s, less was left than the %s needed", text(r.Budget), text(needed))
		}
		return
	}
	fund := x.subject.Memory.Fund(r.Name)
	left := fund.Slice + fund.Left
	e.Saw = append(e.Saw, Sight{Name: "left", Value: unit.Format(left)})
	e.Detail = fmt.Sprintf("budget: %s left, more needed", text(left))
	if known {
		e.Detail = fmt.Sprintf("budget: %s left, %s needed", text(left), text(needed))
	}
}

// gives returns the sum of the rule's credits; false if it is more than counts.
func (x *explainer) gives(r *rule) (sum money.Amount, known bool) {
	t := r.tierOf(x.subject.base())
	for i := range r.credits {
		amount, err := r.credits[i].amount(t.gifts[i], &x.picture)
		if sum += amount; err != nil || !sum.Valid() {
			return 0, false
		}
	}
	return sum, true
}

// conjunctOf returns the part of a condition with that text.
func conjunctOf(x *when.Expression, text string) *when.Expression {
	for _, part := range x.Conjuncts() {
		if strings.TrimSpace(part.Source()) == text {
			return part
		}
	}
	return x
}

// verdict writes what a condition came to and what it saw; of a segment, why the
// customer is in it or not.
func (x *explainer) verdict(condition, came string, refs []int) string {
	var seen []string
	for _, ref := range refs {
		words, inside := x.words(ref), x.inside(ref)
		switch {
		case x.name(ref) == condition: // To say it once is enough.
			if inside != "" {
				came += " because " + inside
			}
		case inside != "":
			seen = append(seen, words+" because "+inside)
		default:
			seen = append(seen, words)
		}
	}
	return sentence(condition, came, seen)
}

func sentence(condition, came string, seen []string) string {
	text := strings.Join(strings.Fields(condition), " ") + " " + came
	if len(seen) > 0 {
		text += ": " + strings.Join(seen, ", ")
	}
	return text
}

// words writes a value that was seen.
func (x *explainer) words(ref int) string {
	v, value := &x.book.variables[ref>>1], x.reader(ref).Read(ref)
	name := x.name(ref)
	switch {
	case value.Kind == charge.Missing && v.Zero && v.Type != when.Any:
		return name + " is absent, which is read as " + x.short(v, zeroOf(v.Type))
	case value.Kind == charge.Missing:
		return name + " is absent"
	case value.Kind == charge.Object && v.Type == when.Bool:
		return name + " cannot be judged"
	}
	return name + " is " + x.short(v, value)
}

// inside explains, one level down, why the customer is in a segment or not;
// empty of everything else.
func (x *explainer) inside(ref int) string {
	v := &x.book.variables[ref>>1]
	if v.source != fromSegment {
		return ""
	}
	condition := x.book.segments[v.index].when
	found := condition.Explain(x.reader(ref))
	text, came := condition.Source(), "is true"
	switch {
	case found.Err != nil:
		text, came = found.Failed, "failed: "+found.Err.Error()
	case !found.Holds:
		text, came = found.Failed, "is false"
	}
	var seen []string
	for _, part := range conjunctOf(condition, text).Refs() {
		seen = append(seen, x.words(part|ref&1))
	}
	return sentence(text, came, seen)
}

// reader reads the side of the picture that a reference is of.
func (x *explainer) reader(ref int) *side {
	if ref&1 == 1 {
		return &x.before
	}
	return &x.after
}

// sights are the values of references, and what segments among them looked at.
func (x *explainer) sights(refs []int) []Sight {
	var all []Sight
	for _, ref := range refs {
		v, value := &x.book.variables[ref>>1], x.reader(ref).Read(ref)
		sight := Sight{Name: x.name(ref)}
		switch {
		case value.Kind == charge.Missing:
			sight.Absent = true
			if v.Zero && v.Type != when.Any {
				sight.Value = x.exact(v, zeroOf(v.Type))
			}
		default:
			sight.Value = x.exact(v, value)
		}
		add := []Sight{sight}
		if value.Kind == charge.Object {
			add = nil // Its own condition failed: there is nothing to see.
		}
		if v.source == fromSegment {
			for _, part := range x.book.segments[v.index].when.Refs() {
				add = append(add, x.sights([]int{part | ref&1})...)
			}
		}
		for _, s := range add {
			if !slices.Contains(all, s) {
				all = append(all, s)
			}
		}
	}
	return all
}

// name writes a reference as conditions do.
func (x *explainer) name(ref int) string {
	v, customer := &x.book.variables[ref>>1], "customer"
	if ref&1 == 1 {
		customer = "before"
	}
	switch v.source {
	case fromField:
		return v.name
	case fromSet:
		return "set." + v.name
	case fromTime:
		return "time"
	case fromSource:
		return "source"
	case fromType:
		return "type"
	case fromID:
		return "id"
	case fromMSISDN:
		return "msisdn"
	case fromCharged:
		return "charged"
	case fromShortfall:
		return "shortfall"
	case fromBalance:
		return customer + "." + x.book.plan.Balances[v.index].Name
	case fromCounter:
		return customer + "." + x.book.plan.Counters[v.index].Name
	case fromAttribute:
		return customer + ".attributes." + v.name
	case fromSegment:
		return customer + ".in(" + strconv.Quote(x.book.segments[v.index].name) + ")"
	case fromTag:
		return customer + ".tagged(" + strconv.Quote(v.name) + ")"
	case fromRecharges:
		return customer + ".recharges"
	case fromDaysSinceRecharge:
		return customer + ".days_since_recharge"
	}
	return customer + ".tracking"
}

// zeroOf is what absent reads as.
func zeroOf(t when.Type) charge.Value { return charge.Value{Kind: charge.Kind(t)} }

// short writes a value as people read it, exact with all digits of its unit.
func (x *explainer) short(v *variable, value charge.Value) string {
	switch value.Kind {
	case charge.Number:
		return quantity(v.unit, value.Decimal())
	case charge.Text:
		return strconv.Quote(cut(value.Text))
	case charge.Time:
		return charge.Instant(value.Bits).Time().In(x.book.plan.Location).Format(momentLayout)
	}
	return x.exact(v, value)
}

// exact writes a value for programs: money with all its digits, times with their
// offset.
func (x *explainer) exact(v *variable, value charge.Value) string {
	switch value.Kind {
	case charge.Number:
		if minor, err := value.Decimal().Minor(v.unit.Digits); err == nil && v.unit.Name != "" {
			return v.unit.Format(minor)
		}
		return value.Decimal().String()
	case charge.Bool:
		return strconv.FormatBool(value.Bool())
	case charge.List:
		quoted := make([]string, len(value.List))
		for i, text := range value.List {
			quoted[i] = strconv.Quote(text)
		}
		return cut("[" + strings.Join(quoted, ", ") + "]")
	case charge.Time:
		return charge.Instant(value.Bits).Time().In(x.book.plan.Location).Format(time.RFC3339)
	}
	return cut(value.Text)
}

// sightMax is how many characters of a text or a list are shown.
const sightMax = 200

func cut(text string) string {
	if utf8.RuneCountInString(text) <= sightMax {
		return text
	}
	return string([]rune(text)[:sightMax]) + "…"
}

// words writes a schedule as people say it: "Fridays 18:00–22:00 from
// 2026-11-01 until 2026-12-01".
func (s *schedule) words(location *time.Location) string {
	var parts []string
	days := ""
	if s.days != everyDay {
		days = s.daysText()
	}
	hours := ""
	if s.open != 0 || s.close != dayMinutes {
		hours = clockText(s.open) + "–" + clockText(s.close)
	}
	if span := strings.TrimSpace(days + " " + hours); span != "" {
		parts = append(parts, span)
	}
	if s.from != 0 {
		parts = append(parts, "from "+dateText(s.from, location))
	}
	if s.until != 0 {
		parts = append(parts, "until "+dateText(s.until, location))
	}
	return strings.Join(parts, " ")
}

// daysText writes the days of the week: "Fridays, Saturdays", "Sundays to
// Thursdays".
func (s *schedule) daysText() string {
	var texts []string
	for first := time.Sunday; first <= time.Saturday; first++ {
		last := first
		for s.days>>last&1 == 1 {
			last++
		}
		for ; first < last && last-first < 3; first++ {
			texts = append(texts, first.String()+"s")
		}
		if first < last {
			texts = append(texts, first.String()+"s to "+(last-1).String()+"s")
			first = last
		}
	}
	return strings.Join(texts, ", ")
}

// clockText writes a minute of the day.
func clockText(minute int) string { return fmt.Sprintf("%02d:%02d", minute/60, minute%60) }

// dateText writes an instant, without the time if it is midnight.
func dateText(at charge.Instant, location *time.Location) string {
	return strings.TrimSuffix(at.Time().In(location).Format("2006-01-02 15:04"), " 00:00")
}

// percentText writes a share: "5 %", "0.5 %".
func percentText(r money.Rate) string {
	return money.Decimal{Coefficient: int64(r), Scale: 4}.String() + " %"
}
