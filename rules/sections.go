package rules

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"
	_ "time/tzdata" // A book's hours must not depend on what the machine has installed.

	"recharged/rules/when"
	"recharged/state/charge"
	"recharged/state/ledger"
	"recharged/state/money"
)

// What a rulebook that says nothing else gets.
const (
	defaultLanguage = "fr"
	defaultLateness = 48 * time.Hour
	defaultOrder    = 100

	// aheadMax is how far an event's time may lie ahead of the clock.
	aheadMax = 5 * time.Minute

	// The least that the ids of events are remembered.
	dedupMoneyMin = 72 * time.Hour
	dedupOtherMin = time.Hour
	dedupKeepMin  = 256
	dedupKeepMax  = 1_000_000

	// windowMin is the shortest window of a counter: a minute has sixty steps.
	windowMin = time.Minute

	// sumDigits is how many digits after the point a counter keeps of a number
	// that is neither money nor a count.
	sumDigits = 4
)

// heading reads what stands before the sections.
func (l *loader) heading() {
	root, plan := l.doc.root, &l.book.plan
	for _, key := range []string{"version", "currency"} {
		if root.get(key) == nil {
			l.errorf(l.doc.top, "add "+map[string]string{"version": "version: 1", "currency": "currency: DZD"}[key], "the rulebook has no %s", key)
		}
	}
	if version, ok := l.text(root.get("version")); ok && version != "1" {
		l.errorf(root.get("version").place, "write version: 1", "version %q of the rulebook language is not known", version)
	}
	if code, ok := l.text(root.get("currency")); ok {
		unit, known := money.Currency(code)
		if !known {
			hint := "write its three letters, such as DZD"
			if _, known := money.Currency(strings.ToUpper(code)); known {
				hint = "write " + strings.ToUpper(code)
			}
			l.errorf(root.get("currency").place, hint, "%q is not a currency of ISO 4217", code)
		}
		plan.Currency = unit
	}
	plan.Location = time.UTC
	if zone, ok := l.text(root.get("timezone")); ok {
		location, err := time.LoadLocation(zone)
		if err != nil || zone == "" || zone == "Local" {
			l.errorf(root.get("timezone").place, "write a name such as Africa/Algiers", "%q is not a timezone", zone)
		} else {
			plan.Location = location
		}
	}
	l.book.language = defaultLanguage
	if language, ok := l.text(root.get("language")); ok {
		l.book.language = language
	}
	if start := root.get("week_start"); start != nil {
		l.book.weekStart, _ = l.weekday(start)
	}
	plan.Lateness, plan.Ahead = defaultLateness, aheadMax
	if lateness := root.get("lateness"); lateness != nil {
		plan.Lateness = l.span(lateness)
	}
	l.dedup(root.get("dedup"))
	l.book.quiet = l.quietHours(root.get("quiet_hours"))
}

// dedup reads how long ids are remembered. An event that is late but accepted
// must still meet the memory of its first sending.
func (l *loader) dedup(n *node) {
	plan := &l.book.plan
	plan.Dedup = ledger.DedupPlan{Money: max(dedupMoneyMin, plan.Lateness), Other: dedupOtherMin, Keep: dedupKeepMin}
	if n == nil || !l.isMapping(n, "dedup", dedupForm) {
		return
	}
	horizon := func(key string, least time.Duration, value *time.Duration) {
		at := n.get(key)
		if at == nil {
			return
		}
		if *value = l.span(at); *value != 0 && *value < least {
			l.errorf(at.place, "the horizon goes upwards only", "%s is less than %s", at.text, lengthText(least))
		}
	}
	horizon("money", plan.Dedup.Money, &plan.Dedup.Money)
	horizon("other", dedupOtherMin, &plan.Dedup.Other)
	if keep := n.get("keep"); keep != nil {
		plan.Dedup.Keep = uint64(l.integer(keep, dedupKeepMin, dedupKeepMax))
	}
}

// lengthText writes a duration as the rulebook does: "30d", "1h30m".
func lengthText(d time.Duration) string {
	text := ""
	if d == 24*time.Hour {
		return "24h" // Not to be taken for a day of the calendar.
	}
	for _, unit := range []struct {
		length time.Duration
		name   string
	}{{24 * time.Hour, "d"}, {time.Hour, "h"}, {time.Minute, "m"}, {time.Second, "s"}} {
		if n := d / unit.length; n > 0 {
			text += strconv.FormatInt(int64(n), 10) + unit.name
			d %= unit.length
		}
	}
	return text
}

// services reads the services that the book declares beside the built-in ones.
func (l *loader) services() {
	l.book.plan.Services = charge.BuiltinServices()
	n := l.doc.root.get("services")
	if n == nil || !l.isList(n, "services") {
		return
	}
	for _, item := range n.items {
		name, ok := l.text(item)
		if !ok || !l.checkName(item.place, "service", name, ruleNameMarks) {
			continue
		}
		if slices.Contains(l.book.plan.Services, name) {
			l.errorf(item.place, "leave it out", "the service %s is there already", name)
			continue
		}
		l.book.plan.Services = append(l.book.plan.Services, name)
	}
}

// checkService refuses a service that nobody declared.
func (l *loader) checkService(at place, name string) {
	if !slices.Contains(l.book.plan.Services, name) {
		hint := cmp.Or(nearestHint(name, l.book.plan.Services), "declare it: services: ["+name+"]")
		l.errorf(at, hint, "there is no service %q", name)
	}
}

// serviceUnits are the units of the built-in services.
var serviceUnits = map[string]money.Unit{"voice": money.Second, "sms": money.Message, "data": money.Byte}

// balances reads the section of that name.
func (l *loader) balances() {
	plan := &l.book.plan
	for _, e := range l.section("balances") {
		if !l.declare("balance", e) || !l.isMapping(e.value, "balance", balanceForm) || !l.needs(e.value, "balance "+e.key, []string{"unit"}) {
			continue
		}
		b := ledger.BalancePlan{Name: e.key, Order: defaultOrder, Spend: true, Unit: l.unit(e.value.get("unit"))}
		if service := e.value.get("service"); service != nil {
			b.Service, _ = l.text(service)
			l.checkService(service.place, b.Service)
			if unit, builtin := serviceUnits[b.Service]; builtin && b.Unit != unit && b.Unit != plan.Currency {
				l.errorf(service.place, "write unit: "+unit.Name, "%s is not counted in %s", b.Service, b.Unit.Name)
			}
		}
		if order := e.value.get("order"); order != nil {
			b.Order = int(l.integer(order, -priorityMax, priorityMax))
		}
		if validity := e.value.get("validity"); validity != nil {
			b.Validity = l.span(validity)
		}
		if spend := e.value.get("spend"); spend != nil {
			b.Spend = l.boolean(spend)
		}
		plan.Balances = append(plan.Balances, b)
	}
	slices.SortFunc(plan.Balances, func(a, b ledger.BalancePlan) int { return strings.Compare(a.Name, b.Name) })
	l.checkMain()
}

// checkMain demands the balance that recharges credit.
func (l *loader) checkMain() {
	currency := l.book.plan.Currency
	line := ledger.MainBalance + ": {unit: " + currency.Name + ", order: 100}"
	main, ok := l.book.plan.Balance(ledger.MainBalance)
	switch {
	case !ok && l.places["balance "+ledger.MainBalance] == place{}:
		at := l.doc.top
		if n := l.doc.root.get("balances"); n != nil {
			at = n.place
		}
		l.errorf(at, "add to balances: "+line, "the balance %s is missing: recharges credit it", ledger.MainBalance)
	case ok && main.Unit != currency:
		l.errorf(l.places["balance "+ledger.MainBalance], "write "+line, "the balance %s must be in the currency", ledger.MainBalance)
	}
}

// literals are words that an expression cannot use as a name.
var literals = []string{"true", "false", "null"}

// declare notes a balance or counter and refuses a name that customer.<name>
// could not mean.
func (l *loader) declare(what string, e entry) bool {
	if !l.checkName(e.place, what, e.key, pathNameMarks) {
		return false
	}
	if slices.Contains(builtinNumbers, e.key) || slices.Contains(builtinPrefixes, e.key) || slices.Contains(literals, e.key) {
		l.errorf(e.place, "choose another name", "customer.%s has a meaning already", e.key)
		return false
	}
	if balance, ok := l.places["balance "+e.key]; ok {
		l.errorf(e.place, "choose another name", "customer.%s is a balance already, at %d:%d", e.key, balance.line, balance.column)
		return false
	}
	l.places[what+" "+e.key] = e.place
	return true
}

// unit reads what a balance counts: the currency, a service's unit, or any
// other word, which is counted in whole numbers.
func (l *loader) unit(n *node) money.Unit {
	name, ok := l.text(n)
	if !ok {
		return money.Unit{}
	}
	known := []money.Unit{l.book.plan.Currency, money.Byte, money.Second, money.Message}
	var names []string
	for _, unit := range known {
		if unit.Name == name {
			return unit
		}
		names = append(names, unit.Name)
	}
	switch {
	case !isName(name, pathNameMarks):
		l.errorf(n.place, "write "+strings.Join(names, ", ")+" or a word of your own such as point", "%q is not a unit", name)
	case charge.Nearest(name, names) != "":
		l.errorf(n.place, nearestHint(name, names), "%q is not a unit", name)
	}
	return money.Unit{Name: name}
}

// tariffs reads the section of that name.
func (l *loader) tariffs() {
	plan := &l.book.plan
	for _, e := range l.section("tariffs") {
		l.checkService(e.place, e.key)
		if !l.isMapping(e.value, "tariff", tariffForm) || !l.needs(e.value, "tariff "+e.key, []string{"price", "per"}) {
			continue
		}
		t := ledger.TariffPlan{Service: e.key, Price: l.amount(e.value.get("price"), plan.Currency)}
		unit, builtin := serviceUnits[e.key]
		if per := e.value.get("per"); !builtin && per.shape == scalar {
			unit = unitOf(per.text)
		}
		t.Per = int64(l.positive(e.value.get("per"), unit, "a tariff is per 1 or more"))
		plan.Tariffs = append(plan.Tariffs, t)
	}
	slices.SortFunc(plan.Tariffs, func(a, b ledger.TariffPlan) int { return strings.Compare(a.Service, b.Service) })
}

// unitOf tells from a quantity's suffix what a declared service counts.
func unitOf(text string) money.Unit {
	if _, err := money.ParseSpan(text); err == nil {
		return money.Second
	}
	if _, err := money.ParseSize(text); err == nil {
		return money.Byte
	}
	return money.Unit{Name: "unit"}
}

// counters reads the section of that name.
func (l *loader) counters() {
	plan := &l.book.plan
	for _, e := range l.section("counters") {
		if !l.declare("counter", e) || !l.isMapping(e.value, "counter", counterForm) || !l.needs(e.value, "counter "+e.key, []string{"on", "window"}) {
			continue
		}
		c := ledger.CounterPlan{Name: e.key, Window: l.span(e.value.get("window"))}
		if c.Window != 0 && c.Window < windowMin {
			l.errorf(e.value.get("window").place, "", "a window has at least %s", lengthText(windowMin))
		}
		schema := l.eventType(e.value.get("on"), "on", "write a counter for each event type")
		if schema == nil {
			continue
		}
		c.On = schema.Type
		if sum := e.value.get("sum"); sum != nil {
			c.Sum, c.Digits = l.sum(sum, schema)
		}
		c.Memory = ledger.MemoryOf(c.Name, c.On, c.Sum)
		plan.Counters = append(plan.Counters, c)
	}
	slices.SortFunc(plan.Counters, func(a, b ledger.CounterPlan) int { return strings.Compare(a.Name, b.Name) })
}

// sum reads the field that a counter adds up, and its digits after the point.
func (l *loader) sum(n *node, schema *charge.Schema) (string, int) {
	name, ok := l.text(n)
	if !ok {
		return "", 0
	}
	var can []string
	digits := l.book.plan.Currency.Digits
	if schema.Type == charge.Usage {
		if name == "charged" {
			return name, digits
		}
		can = append(can, "charged")
	}
	for _, f := range schema.Fields {
		switch f.Kind {
		case charge.MoneyField:
			if name == f.Name {
				return name, digits
			}
			can = append(can, f.Name)
		case charge.CountField:
			if name == f.Name {
				return name, 0
			}
			can = append(can, f.Name)
		case charge.NumberField:
			if name == f.Name {
				return name, sumDigits
			}
			can = append(can, f.Name)
		}
	}
	hint := "leave sum out to count the events"
	if len(can) > 0 {
		hint = "it can sum " + strings.Join(can, ", ")
	}
	l.errorf(n.place, hint, "%q of the event type %s cannot be summed", name, schema.Type)
	return "", 0
}

func (l *loader) counterIndex(name string) (int, bool) {
	return slices.BinarySearchFunc(l.book.plan.Counters, name, func(c ledger.CounterPlan, name string) int {
		return strings.Compare(c.Name, name)
	})
}

// counterUnit returns what a counter counts: money, or things without a unit.
func (l *loader) counterUnit(i int) money.Unit {
	c := &l.book.plan.Counters[i]
	isMoney := func(f charge.FieldSpec) bool { return f.Name == c.Sum && f.Kind == charge.MoneyField }
	if c.Sum == "charged" && c.On == charge.Usage || slices.ContainsFunc(l.schemas[c.On].Fields, isMoney) {
		return l.book.plan.Currency
	}
	return money.Unit{}
}

// segment is a named condition over the customer.
type segment struct {
	name string
	when *when.Expression
}

// draft is a segment that is not compiled yet. Segments may use each other, so
// each is compiled when it is first needed, and one that is needed while it is
// being compiled is part of a circle.
type draft struct {
	entry
	state draftState
	used  bool
}

type draftState uint8

const (
	untouched draftState = iota
	compiling
	compiled
)

// segments reads the section of that name.
func (l *loader) segments() {
	for _, e := range l.section("segments") {
		if l.checkName(e.place, "segment", e.key, pathNameMarks) {
			l.drafts = append(l.drafts, draft{entry: e})
		}
	}
	slices.SortFunc(l.drafts, func(a, b draft) int { return strings.Compare(a.key, b.key) })
	l.book.segments = make([]segment, len(l.drafts))
	for i := range l.drafts {
		l.compileSegment(i)
	}
}

func (l *loader) compileSegment(i int) {
	d := &l.drafts[i]
	switch d.state {
	case compiling:
		l.errorf(d.place, "", "the segment %s depends on itself", d.key)
	case untouched:
		d.state = compiling
		l.book.segments[i] = segment{d.key, l.expression(d.value, vocabulary{loader: l}, when.Bool)}
		d.state = compiled
	}
}

// segmentUsed notes the use of a segment and sees to it that it is compiled.
func (l *loader) segmentUsed(i int) {
	l.drafts[i].used = true
	l.compileSegment(i)
}

func (l *loader) segmentNames() []string {
	names := make([]string, len(l.drafts))
	for i := range l.drafts {
		names[i] = l.drafts[i].key
	}
	return names
}

func (l *loader) segmentIndex(name string) (int, bool) {
	return slices.BinarySearchFunc(l.drafts, name, func(d draft, name string) int {
		return strings.Compare(d.key, name)
	})
}
