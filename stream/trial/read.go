package trial

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"recharged/rules"
	"recharged/state/charge"
	"recharged/state/ledger"
	"recharged/state/money"
)

// Suite is a test file, read against its rulebook. It is immutable.
type Suite struct {
	file  string
	book  *rules.Book
	tests []test
}

// test is one story of one or several customers.
type test struct {
	place
	name      string
	customers []charge.Customer // as the story finds them
	steps     []step
	finally   []expectation
}

// step is something that happens, or nothing but time that passes, and what is
// expected of it.
type step struct {
	place
	at       charge.Instant
	customer charge.MSISDN
	event    *charge.Event // nil: time passes
	title    string
	expect   *expectation // nil: nothing is expected
}

// expectation is what must be true of a customer, and of what just happened.
type expectation struct {
	customer charge.MSISDN
	checks   []check
}

// check is one key of an expectation.
type check struct {
	place
	key  string
	diff differ
}

// Read reads a test file. It calls open with the rulebook's paths, as they are
// written, and reads the tests against the book that open returns.
func Read(file rules.File, open func(paths []string) (*rules.Book, error)) (*Suite, rules.Problems) {
	r := &reader{file: file.Name}
	root := r.parse(file.Data)
	if root == nil || !r.mapping(root, "a test file", "rulebook", "tests") {
		return nil, r.problems
	}
	paths := root.get("rulebook")
	if paths == nil {
		r.fault(root.place, "add rulebook: rulebook.yaml", "the file does not say which rulebook it tests")
		return nil, r.problems
	}
	var names []string
	if paths.shape == list {
		names = r.texts(paths, "rulebook")
	} else if name, ok := r.text(paths); ok {
		names = []string{name}
	}
	if len(names) == 0 {
		r.fault(paths.place, "write rulebook: rulebook.yaml", "the file does not say which rulebook it tests")
		return nil, r.problems
	}
	book, err := open(names)
	if err != nil {
		r.fault(paths.place, "", "%s", err)
		return nil, r.problems
	}
	b := &binder{reader: r, book: book, decoder: charge.NewDecoder(book.Catalog())}
	suite := &Suite{file: file.Name, book: book, tests: b.tests(root)}
	if r.problems == nil {
		return suite, nil
	}
	slices.SortStableFunc(r.problems, func(p, q rules.Problem) int {
		return cmp.Or(cmp.Compare(p.Line, q.Line), cmp.Compare(p.Column, q.Column))
	})
	return nil, r.problems
}

// binder reads tests against a book: it knows its units, its types and its names.
type binder struct {
	*reader
	book    *rules.Book
	decoder *charge.Decoder
}

func (b *binder) tests(root *node) []test {
	n := root.get("tests")
	if n == nil || n.shape == nothing {
		b.fault(root.place, "add tests: and a list below it", "the file has no tests")
		return nil
	}
	var tests []test
	names := map[string]bool{}
	for _, item := range b.list(n, "tests") {
		if !b.mapping(item, "a test", "name", "customer", "customers", "steps", "finally") {
			continue
		}
		t := b.test(item)
		if names[t.name] {
			b.fault(item.place, "give each a name of its own", "a second test is called %q", t.name)
		}
		names[t.name] = true
		tests = append(tests, t)
	}
	if len(tests) == 0 {
		b.fault(n.place, "add - name: …", "the file has no tests")
	}
	return tests
}

func (b *binder) test(n *node) test {
	t := test{place: n.place}
	if name := n.get("name"); name != nil {
		t.name, _ = b.text(name)
	}
	if t.name == "" {
		b.fault(n.place, "add name: what the rule is to do, in words", "the test has no name")
	}
	begin := b.begin(n)
	t.customers = b.customers(n, begin)
	if steps := n.get("steps"); steps != nil {
		for i, item := range b.list(steps, "steps") {
			before := begin
			if i > 0 && len(t.steps) > 0 {
				before = t.steps[len(t.steps)-1].at
			}
			if b.mapping(item, "a step", "at", "after", "msisdn", "event", "expect") {
				t.steps = append(t.steps, b.step(item, &t, i, before))
			}
		}
	}
	if len(t.steps) == 0 {
		b.fault(n.place, "add steps: and a list below it", "the test has no steps")
	}
	if finally := n.get("finally"); finally != nil {
		t.finally = b.finally(finally, &t)
	}
	return t
}

// begin returns when the test's first step happens: the instant as of which its
// customers are described.
func (b *binder) begin(n *node) charge.Instant {
	steps := n.get("steps")
	if steps == nil || len(steps.items) == 0 || steps.items[0].shape != mapping {
		return 0
	}
	first := steps.items[0]
	if at := first.get("at"); at != nil {
		return b.instant(at)
	}
	b.fault(first.place, "add at: 2026-11-20 10:00", "the first step does not say when it happens")
	return 0
}

// defaultMSISDN is the customer of a test that names none.
const defaultMSISDN = "213770000001"

// customers reads customer, which is one, or customers, a list.
func (b *binder) customers(n *node, begin charge.Instant) []charge.Customer {
	one, several := n.get("customer"), n.get("customers")
	var items []*node
	switch {
	case one != nil && several != nil:
		b.fault(several.place, "put both into customers", "customer and customers exclude each other")
	case one != nil:
		items = []*node{one}
	case several != nil:
		items = b.list(several, "customers")
	}
	var out []charge.Customer
	for _, item := range items {
		c := b.customer(item, begin)
		if slices.ContainsFunc(out, func(o charge.Customer) bool { return o.MSISDN == c.MSISDN }) {
			b.fault(item.place, "give each an msisdn of its own", "two customers have the number %s", c.MSISDN)
		}
		out = append(out, c)
	}
	if len(out) == 0 {
		m, _ := charge.ParseMSISDN(defaultMSISDN)
		out = []charge.Customer{{MSISDN: m}}
	}
	return out
}

// customer reads how the test finds a customer.
func (b *binder) customer(n *node, begin charge.Instant) charge.Customer {
	var c charge.Customer
	c.MSISDN, _ = charge.ParseMSISDN(defaultMSISDN)
	if !b.mapping(n, "a customer", "msisdn", "attributes", "balances", "tags", "counters", "recharges", "last_recharge") {
		return c
	}
	for _, e := range n.entries {
		switch e.key {
		case "msisdn":
			c.MSISDN = b.msisdn(e.value)
		case "attributes":
			if b.names(e.value, "attributes", "{age: 22}") {
				for _, a := range e.value.entries {
					c.SetAttribute(a.key, b.attribute(a.value))
				}
			}
		case "balances":
			if b.names(e.value, "balances", "{main: 100}") {
				for _, balance := range e.value.entries {
					b.startBalance(&c, balance, begin)
				}
			}
		case "tags":
			for _, tag := range b.texts(e.value, "tags") {
				c.Tag(tag)
			}
		case "counters":
			if b.names(e.value, "counters", "{recharges_7d: 2}") {
				for _, counter := range e.value.entries {
					b.startCounter(&c, counter, begin)
				}
			}
		case "recharges":
			c.Recharges = b.count(e.value)
		case "last_recharge":
			c.LastRecharge = b.instant(e.value)
		}
	}
	return c
}

// startBalance reads what a customer holds: an amount, or {amount, until}, or a
// list of those.
func (b *binder) startBalance(c *charge.Customer, e entry, begin charge.Instant) {
	plan, ok := b.balance(e.place, e.key)
	if !ok {
		return
	}
	parts := []*node{e.value}
	if e.value.shape == list {
		parts = e.value.items
	}
	held := c.OpenBalance(e.key)
	for _, n := range parts {
		amount, part := n, charge.Part{}
		if n.shape == mapping && b.mapping(n, "a part of a balance", "amount", "until") {
			if amount = n.get("amount"); amount == nil {
				b.fault(n.place, "add amount: 100", "the part has no amount")
				continue
			}
			if until := n.get("until"); until != nil {
				part.Expires = b.instant(until)
			}
			if part.Expires != 0 && part.Expires <= begin {
				b.fault(n.place, "leave it out", "the part has expired before the first step")
			}
		}
		if part.Amount = b.amount(amount, plan.Unit); part.Amount < 0 {
			b.fault(amount.place, "a balance never falls below zero", "%s is negative", amount.text)
		}
		if part.Amount > 0 {
			held.Parts = append(held.Parts, part)
		}
	}
}

// startCounter puts what a counter shows into its newest bucket: as if it had
// all happened just before the first step.
func (b *binder) startCounter(c *charge.Customer, e entry, begin charge.Instant) {
	plan, ok := b.counter(e.place, e.key)
	if !ok {
		return
	}
	step := int64(plan.Step() / time.Second)
	if value := b.counted(e.value, plan); value != 0 {
		bucket := charge.Bucket{Index: int64(begin) / (step * int64(time.Second)), Value: value}
		c.OpenCounter(plan.Memory, step).Buckets = []charge.Bucket{bucket}
	}
}

// step reads a step; before is when the one before it happened.
func (b *binder) step(n *node, t *test, index int, before charge.Instant) step {
	s := step{place: n.place, at: before, customer: t.customers[0].MSISDN}
	at, after := n.get("at"), n.get("after")
	switch {
	case at != nil && after != nil:
		b.fault(after.place, "keep one of the two", "at and after exclude each other")
	case at != nil:
		s.at = cmp.Or(b.instant(at), before)
	case after != nil && index > 0:
		s.at = before.Add(b.span(after))
	case index > 0:
		b.fault(n.place, "add at: 2026-11-20 10:00, or after: 2h", "the step does not say when it happens")
	}
	if s.at < before {
		b.fault(n.place, "time only goes on; what comes late has time: in its event", "the step happens before the one above it")
	}
	event := n.get("event")
	own, ofEvent := n.get("msisdn"), event.getIfMapping("msisdn")
	if own != nil && ofEvent != nil {
		b.fault(own.place, "keep one of the two", "the step and its event both have an msisdn")
	}
	if number := cmp.Or(own, ofEvent); number != nil {
		s.customer = b.msisdn(number)
	}
	s.title = "time passes"
	if event != nil {
		s.event = b.event(event, &s, index)
		s.title = b.title(event)
	}
	if expect := n.get("expect"); expect != nil {
		s.expect = b.expect(expect, s.customer, event == nil)
	}
	if event == nil && n.get("expect") == nil {
		b.fault(n.place, "add an event, or expect", "the step has nothing in it")
	}
	return s
}

// getIfMapping is get of a node that may be absent or anything else.
func (n *node) getIfMapping(key string) *node {
	if n == nil {
		return nil
	}
	return n.get(key)
}

// title writes an event in a few words: "recharge amount 350, channel app".
func (b *binder) title(n *node) string {
	kind, words := "", []string(nil)
	for _, e := range n.entries {
		switch {
		case e.key == "type":
			kind = e.value.text
		case e.value.shape == scalar && !slices.Contains(envelopeKeys, e.key):
			words = append(words, e.key+" "+e.value.text)
		}
	}
	return strings.TrimSpace(kind + " " + strings.Join(words, ", "))
}

// finally reads what is expected at the end, of one customer or a list of them.
func (b *binder) finally(n *node, t *test) []expectation {
	items := []*node{n}
	if n.shape == list {
		items = n.items
	}
	var out []expectation
	for _, item := range items {
		x := expectation{customer: t.customers[0].MSISDN}
		if !b.mapping(item, "finally", append([]string{"msisdn"}, customerKeys...)...) {
			continue
		}
		if number := item.get("msisdn"); number != nil {
			x.customer = b.msisdn(number)
		}
		x.checks = b.checks(item)
		out = append(out, x)
	}
	return out
}

// expect reads what is expected of a step: of its event, or of passing time.
func (b *binder) expect(n *node, customer charge.MSISDN, passing bool) *expectation {
	keys := slices.Concat(outcomeKeys, customerKeys)
	if passing {
		keys = slices.Concat(timeKeys, customerKeys)
	}
	if !b.mapping(n, "expect", keys...) {
		return nil
	}
	return &expectation{customer, b.checks(n)}
}

func (b *binder) checks(n *node) []check {
	var out []check
	for _, e := range n.entries {
		if e.key == "msisdn" {
			continue
		}
		if diff := b.differ(e); diff != nil {
			out = append(out, check{e.place, e.key, diff})
		}
	}
	return out
}

func (b *binder) msisdn(n *node) charge.MSISDN {
	text, ok := b.text(n)
	if !ok {
		return 0
	}
	m, err := charge.ParseMSISDN(text)
	if err != nil {
		b.fault(n.place, "write digits such as \"213770000001\"", "%s", err)
		m, _ = charge.ParseMSISDN(defaultMSISDN)
	}
	return m
}

// layouts are how a time is written, in the rulebook's timezone unless it says
// its own.
var layouts = []string{"2006-01-02 15:04", "2006-01-02 15:04:05", time.DateOnly, "2006-01-02T15:04", "2006-01-02T15:04:05", time.RFC3339}

func (b *binder) instant(n *node) charge.Instant {
	text, ok := b.text(n)
	if !ok {
		return 0
	}
	for _, layout := range layouts {
		t, err := time.ParseInLocation(layout, text, b.book.Plan().Location)
		if err != nil {
			continue
		}
		if at, ok := charge.InstantOf(t); ok {
			return at
		}
	}
	b.fault(n.place, "write 2026-11-20 10:00", "%q is not a time", text)
	return 0
}

func (b *binder) span(n *node) time.Duration {
	text, ok := b.text(n)
	if !ok {
		return 0
	}
	const spanMax = 100 * 365 * 24 * time.Hour
	seconds, err := money.ParseSpan(text)
	if err != nil || int64(seconds) > int64(spanMax/time.Second) {
		b.fault(n.place, "write 30s, 10m, 2h, 7d or 2w", "%q is not a duration", text)
		return 0
	}
	return time.Duration(seconds) * time.Second
}

func (b *binder) count(n *node) int64 {
	text, ok := b.text(n)
	if !ok {
		return 0
	}
	value, err := strconv.ParseInt(text, 10, 64)
	if err != nil || value < 0 {
		b.fault(n.place, "write 0, 1, 2 …", "%q is not a count", text)
	}
	return value
}

// amount reads an amount in a unit; bytes may have the suffix of a size and
// seconds that of a duration.
func (b *binder) amount(n *node, unit money.Unit) money.Amount {
	text, ok := b.text(n)
	if !ok {
		return 0
	}
	amount, err := parseAmount(text, unit)
	if err != nil {
		b.fault(n.place, "write "+example(unit), "%q is not an amount in %s", text, unit.Name)
	}
	return amount
}

// example is how an amount of a unit may be written.
func example(unit money.Unit) string {
	switch {
	case unit == money.Byte:
		return "500MB"
	case unit == money.Second:
		return "90s"
	case unit.Digits > 0:
		return "350 or 350.50"
	}
	return "a whole number, such as 3"
}

// parseAmount reads an amount that may have a sign.
func parseAmount(text string, unit money.Unit) (money.Amount, error) {
	digits, negative := strings.CutPrefix(text, "-")
	if !negative {
		digits = strings.TrimPrefix(text, "+")
	}
	if strings.HasPrefix(digits, "-") || strings.HasPrefix(digits, "+") {
		return 0, fmt.Errorf("%q has two signs", text)
	}
	amount, err := unit.Parse(digits)
	switch {
	case err == nil:
	case unit == money.Byte:
		amount, err = money.ParseSize(digits)
	case unit == money.Second:
		amount, err = money.ParseSpan(digits)
	}
	if negative {
		amount = -amount
	}
	return amount, err
}

// show writes an amount in the shortest exact form: 350, 350.50, 500MB.
func show(a money.Amount, unit money.Unit) string {
	if unit != money.Byte || a == 0 {
		return unit.Short(a)
	}
	for _, size := range []struct {
		bytes  money.Amount
		suffix string
	}{{1e9, "GB"}, {1e6, "MB"}, {1e3, "kB"}} {
		if a%size.bytes == 0 {
			return strconv.FormatInt(int64(a/size.bytes), 10) + size.suffix
		}
	}
	return unit.Short(a) + "B"
}

// attribute reads the value of an attribute: a number, true or false, a list of
// texts, or a text.
func (b *binder) attribute(n *node) charge.Value {
	switch {
	case n.shape == list:
		return charge.ListValue(b.texts(n, "the attribute"))
	case n.shape == mapping || n.shape == nothing:
		b.fault(n.place, "write a text, a number, true, false or a list of texts", "%s cannot be the value of an attribute", n.describe())
		return charge.Value{}
	case !n.quoted && (n.text == "true" || n.text == "false"):
		return charge.BoolValue(n.text == "true")
	}
	if number, err := money.ParseDecimal(n.text); err == nil && !n.quoted {
		return charge.NumberValue(number)
	}
	return charge.TextValue(n.text)
}

func (b *binder) balance(at place, name string) (*ledger.BalancePlan, bool) {
	plan, ok := b.book.Plan().Balance(name)
	if !ok {
		var names []string
		for _, p := range b.book.Plan().Balances {
			names = append(names, p.Name)
		}
		b.known(at, "balance", name, names)
	}
	return plan, ok
}

func (b *binder) counter(at place, name string) (*ledger.CounterPlan, bool) {
	plan, ok := b.book.Plan().Counter(name)
	if !ok {
		var names []string
		for _, p := range b.book.Plan().Counters {
			names = append(names, p.Name)
		}
		b.known(at, "counter", name, names)
	}
	return plan, ok
}

// counted reads what a counter shows: a count, or a sum with its digits.
func (b *binder) counted(n *node, plan *ledger.CounterPlan) int64 {
	return int64(b.amount(n, money.Unit{Name: cmp.Or(plan.Sum, "events"), Digits: plan.Digits}))
}
