package rules

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"recharged/rules/when"
	"recharged/state/charge"
	"recharged/state/ledger"
	"recharged/state/money"
)

// loader compiles a document into a book. It goes on after a fault, so that one
// check reports them all; what it makes of a faulty document is thrown away.
type loader struct {
	*report
	doc  *document
	book *Book

	schemas      map[string]*charge.Schema
	drafts       []draft // of segments, by name
	allTemplates []*template
	foreign      map[string]bool      // templates that rules name and the book does not have
	templates    map[string]*template // by name
	usedCounters map[string]bool
	interned     map[variable]int
	places       map[string]place // of "balance main" and the like, for warnings
}

// load compiles the sections in an order in which each finds what it names.
func (l *loader) load() {
	l.usedCounters, l.interned, l.places = map[string]bool{}, map[variable]int{}, map[string]place{}
	l.foreign = map[string]bool{}
	l.schemas = map[string]*charge.Schema{}
	for _, s := range charge.BuiltinSchemas() {
		l.schemas[s.Type] = s
	}
	l.isMapping(l.doc.root, "rulebook", documentForm)
	l.heading()
	if l.book.plan.Currency.Name == "" {
		return // Nothing with an amount in it can be read.
	}
	l.services()
	l.types()
	l.balances()
	l.tariffs()
	l.counters()
	l.segments()
	l.readTemplates()
	l.rules()
	l.checkUnused()
	l.catalog()
	if !l.failed { // What a faulty rule meant to use is not unused.
		l.lint()
	}
}

// catalog collects what the door needs.
func (l *loader) catalog() {
	plan := &l.book.plan
	balances := make(map[string]money.Unit, len(plan.Balances))
	for _, b := range plan.Balances {
		balances[b.Name] = b.Unit
	}
	l.book.catalog = charge.Catalog{
		Currency: plan.Currency, Services: plan.Services, Types: l.schemas, Balances: balances,
	}
}

// section returns the entries of a section that is a mapping of names.
func (l *loader) section(key string) []entry {
	n := l.doc.root.get(key)
	if n == nil || n.shape == nothing || !l.wantMapping(n, key, "write name: {…}") {
		return nil
	}
	return n.entries
}

// wantMapping reports whether n is a mapping, and complains if not.
func (l *loader) wantMapping(n *node, what, hint string) bool {
	if n.shape != mapping {
		l.errorf(n.place, hint, "%s must be a mapping, this is %s", what, n.describe())
	}
	return n.shape == mapping
}

// isMapping reports whether n is a mapping, and complains of keys it may not have.
func (l *loader) isMapping(n *node, what string, f *form) bool {
	keys := f.names
	if n.shape != mapping {
		hint := "its keys are " + strings.Join(keys, ", ")
		if n.shape == nothing {
			hint += "; they are indented deeper"
		}
		return l.wantMapping(n, article(what), hint)
	}
	for _, e := range n.entries {
		if slices.Contains(keys, e.key) {
			continue
		}
		hint := cmp.Or(misnamed[e.key], f.elsewhere(e.key), nearestHint(e.key, keys))
		if allDigits(e.key) && e.value.shape == nothing {
			hint = "the decimal sign is a point, a comma begins the next key" // {percent: 12,5}
		}
		if strings.Contains(e.key, ":") && e.value.shape == nothing {
			hint = "put a space after the colon" // {percent:12}
		}
		l.errorf(e.place, cmp.Or(hint, article(what)+" has "+strings.Join(keys, ", ")), "unknown key %q", e.key)
	}
	return true
}

// needs complains of keys that are missing, and reports whether all are there.
func (l *loader) needs(n *node, what string, keys []string) bool {
	all := true
	for _, key := range keys {
		if n.get(key) == nil {
			l.errorf(n.place, "add "+key+": …", "the %s has no %s", what, key)
			all = false
		}
	}
	return all
}

// isList reports whether n is a list, and complains if not.
func (l *loader) isList(n *node, what string) bool {
	if n.shape != list {
		l.errorf(n.place, "write [ … ] or a line with a dash for each", "%s must be a list, this is %s", what, n.describe())
	}
	return n.shape == list
}

// describe names what a node is, for messages.
func (n *node) describe() string {
	switch n.shape {
	case mapping:
		return "a mapping"
	case list:
		return "a list"
	case nothing:
		return "empty"
	}
	if len(n.text) > 40 {
		return "a text"
	}
	return strconv.Quote(n.text)
}

// text reads a scalar as text. Of an absent node it returns false without a word.
func (l *loader) text(n *node) (string, bool) {
	if n == nil {
		return "", false
	}
	if n.shape != scalar {
		l.errorf(n.place, "", "expected a text, this is %s", n.describe())
		return "", false
	}
	return n.text, true
}

// checkName checks a name that the author chose.
func (l *loader) checkName(at place, what, name, marks string) bool {
	if isName(name, marks) {
		return true
	}
	l.errorf(at, nameRule(marks), "%q cannot be the name of %s", name, article(what))
	return false
}

// integer reads a whole number within bounds.
func (l *loader) integer(n *node, least, most int64) int64 {
	text, ok := l.text(n)
	if !ok {
		return 0
	}
	value, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n.style != plain || value < least || value > most {
		l.errorf(n.place, numberHint(text), "%s is not a whole number from %d to %d", n.describe(), least, most)
		return least
	}
	return value
}

// boolean reads true or false.
func (l *loader) boolean(n *node) bool {
	text, ok := l.text(n)
	if ok && (n.style != plain || text != "true" && text != "false") {
		l.errorf(n.place, "write true or false", "%s is neither true nor false", n.describe())
	}
	return text == "true"
}

// spanMax is the longest duration of the language: a hundred years.
const spanMax = 100 * 365 * 24 * time.Hour

// parseSpan reads a duration of the language, up to spanMax.
func parseSpan(text string) (time.Duration, error) {
	seconds, err := money.ParseSpan(text)
	if err == nil && int64(seconds) > int64(spanMax/time.Second) {
		return 0, fmt.Errorf("%q: %w", text, money.ErrRange)
	}
	return time.Duration(seconds) * time.Second, err
}

// span reads a duration longer than nothing.
func (l *loader) span(n *node) time.Duration {
	text, ok := l.text(n)
	if !ok {
		return 0
	}
	span, err := parseSpan(text)
	if err != nil || span == 0 {
		l.errorf(n.place, "write 60s, 10m, 24h, 7d or 2w, up to 100 years", "%s is not a duration", n.describe())
		return 0
	}
	return span
}

// amount reads an amount of a unit that is not negative: bytes may have the
// suffix of a size, seconds that of a duration.
func (l *loader) amount(n *node, unit money.Unit) money.Amount {
	text, ok := l.text(n)
	if !ok {
		return 0
	}
	a, err := unit.Parse(text)
	hint := l.amountHint(text, unit)
	switch unit {
	case money.Byte:
		a, err = money.ParseSize(text)
		hint = "write a size such as 500MB, 2GB or 64KiB"
		if err == nil && a > 0 && allDigits(text) {
			l.warnf(n.place, "write "+text+"B or "+text+"MB", "%s without a unit counts bytes", text)
		}
	case money.Second:
		hint = "write a duration such as 60s or 10m"
		if span, spanErr := money.ParseSpan(text); spanErr == nil {
			a, err = span, nil
		}
	}
	if err != nil || a < 0 {
		l.errorf(n.place, hint, "%s is not an amount in %s", n.describe(), unit.Name)
		return 0
	}
	return a
}

// amountHint says how to write an amount of money or of things that are counted.
func (l *loader) amountHint(text string, unit money.Unit) string {
	if size, err := money.ParseSize(text); err == nil && size > 0 && unit.Name != "" && !allDigits(strings.ReplaceAll(text, ".", "")) {
		return "a size goes to a balance in byte, this is in " + unit.Name
	}
	return cmp.Or(numberHint(text), "write a number with at most "+strconv.Itoa(unit.Digits)+" digits after the point")
}

// positive reads an amount that is more than nothing.
func (l *loader) positive(n *node, unit money.Unit, hint string) money.Amount {
	problems := l.shown[Error] + l.unshown[Error]
	a := l.amount(n, unit)
	if a == 0 && n.shape == scalar && l.shown[Error]+l.unshown[Error] == problems {
		l.errorf(n.place, hint, "%s is nothing", n.describe())
	}
	return a
}

// percent reads a percentage with up to four digits after the point.
func (l *loader) percent(n *node) money.Rate {
	text, ok := l.text(n)
	if !ok {
		return 0
	}
	d, err := money.ParseDecimal(strings.TrimSpace(strings.TrimSuffix(text, "%")))
	rate, finer := d.Minor(4) // A ten-thousandth of a percent is a millionth.
	if err != nil || finer != nil || rate <= 0 || money.Rate(rate) > rateMax {
		l.errorf(n.place, cmp.Or(numberHint(strings.TrimSuffix(text, "%")), "write a number above 0 with at most 4 digits after the point, such as 50 or 12.5"), "%s is not a percentage", n.describe())
		return 0
	}
	return money.Rate(rate)
}

// expression compiles a condition or an amount, and reports its faults where
// they stand in the file.
func (l *loader) expression(n *node, v when.Vocabulary, want when.Type) *when.Expression {
	text, ok := l.text(n)
	if !ok {
		return nil
	}
	x, faults := when.Compile(text, v, want)
	for _, f := range faults {
		l.errorAt(n, f.Offset, f.Hint, "%s", f.Message)
	}
	return x
}

func (l *loader) typeNames() []string { return slices.Sorted(maps.Keys(l.schemas)) }

func (l *loader) templateNames() []string {
	names := make([]string, len(l.allTemplates))
	for i, t := range l.allTemplates {
		names[i] = t.name
	}
	return names
}

func (l *loader) balanceNames() []string {
	names := make([]string, len(l.book.plan.Balances))
	for i, b := range l.book.plan.Balances {
		names[i] = b.Name
	}
	return names
}

func (l *loader) balanceIndex(name string) (int, bool) {
	return slices.BinarySearchFunc(l.book.plan.Balances, name, func(b ledger.BalancePlan, name string) int {
		return strings.Compare(b.Name, name)
	})
}
