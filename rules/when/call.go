package when

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"strings"
	"time"

	"cel.dev/cel-go/common/ast"

	"recharged/state/charge"
	"recharged/state/money"
)

// function is a function of the language.
type function uint8

const (
	fnSize function = iota
	fnStartsWith
	fnEndsWith
	fnContains
	fnMatches
	fnLowerASCII
	fnUpperASCII
	fnInt
	fnDouble
	fnString
	fnFullYear
	fnMonth
	fnDate
	fnDayOfMonth
	fnDayOfWeek
	fnDayOfYear
	fnHours
	fnMinutes
	fnSeconds
)

// types is a set of types.
type types uint16

func of(ts ...Type) types {
	var set types
	for _, t := range ts {
		set |= 1 << t
	}
	return set
}

func (s types) has(t Type) bool { return s&(1<<t) != 0 }

// form says how a function is written.
type form uint8

const (
	method form = 1 << iota // x.f(…)
	global                  // f(x)
)

// argument says what a method takes besides its target.
type argument uint8

const (
	noArgument argument = iota
	textArgument
	patternArgument
	zoneArgument // may be left out
)

type signature struct {
	name     string
	fn       function
	form     form
	on       types
	needs    string // in a fault: "size needs …"
	argument argument
	result   Type
}

// signatures lists the functions that work on one value. has, exists, all,
// timestamp and duration are checked on their own.
var signatures = [...]signature{
	{"size", fnSize, method | global, of(Text, List, numbers), "text or a list", noArgument, Number},
	{"startsWith", fnStartsWith, method, of(Text), "text", textArgument, Bool},
	{"endsWith", fnEndsWith, method, of(Text), "text", textArgument, Bool},
	{"contains", fnContains, method, of(Text), "text", textArgument, Bool},
	{"matches", fnMatches, method, of(Text), "text", patternArgument, Bool},
	{"lowerAscii", fnLowerASCII, method, of(Text), "text", noArgument, Text},
	{"upperAscii", fnUpperASCII, method, of(Text), "text", noArgument, Text},
	{"int", fnInt, global, of(Number, Text), "a number or text", noArgument, Number},
	{"double", fnDouble, global, of(Number, Text), "a number or text", noArgument, Number},
	{"string", fnString, global, of(Number, Text, Bool), "a number, text or true or false", noArgument, Text},
	{"getFullYear", fnFullYear, method, of(Time), "a time", zoneArgument, Number},
	{"getMonth", fnMonth, method, of(Time), "a time", zoneArgument, Number},
	{"getDate", fnDate, method, of(Time), "a time", zoneArgument, Number},
	{"getDayOfMonth", fnDayOfMonth, method, of(Time), "a time", zoneArgument, Number},
	{"getDayOfWeek", fnDayOfWeek, method, of(Time), "a time", zoneArgument, Number},
	{"getDayOfYear", fnDayOfYear, method, of(Time), "a time", zoneArgument, Number},
	{"getHours", fnHours, method, of(Time, Span), "a time or a duration", zoneArgument, Number},
	{"getMinutes", fnMinutes, method, of(Time, Span), "a time or a duration", zoneArgument, Number},
	{"getSeconds", fnSeconds, method, of(Time, Span), "a time or a duration", zoneArgument, Number},
}

// macros are the functions without a signature, by form.
var methodMacros, globalMacros = [...]string{"exists", "all"}, [...]string{"has", "timestamp", "duration"}

func find(name string, f form) (signature, bool) {
	for _, s := range signatures {
		if s.name == name && s.form&f != 0 {
			return s, true
		}
	}
	return signature{}, false
}

func functionNames(f form) []string {
	names := append([]string(nil), globalMacros[:]...)
	if f == method {
		names = append(names[:0], methodMacros[:]...)
	}
	for _, s := range signatures {
		if s.form&f != 0 {
			names = append(names, s.name)
		}
	}
	return names
}

// call checks an operator, a function f(x) or a method x.f(y). Of the last two
// the node's token is the opening parenthesis.
func (c *checker) call(n *node, call ast.CallExpr) *node {
	name := call.FunctionName()
	if o, ok := operatorOf(name); ok && !call.IsMemberFunction() {
		return c.operator(n, o, call.Args())
	}
	if !c.is(n.lo, "(") || n.lo == 0 {
		return c.broken(n, n.lo, "indexes are not part of the rule language", "has(x), x in list and list.exists(x, …) look into values")
	}
	at := n.lo - 1 // The name's token.
	n.lo, n.hi = at, max(at, c.tokens[at+1].match)
	name = c.text(c.tokens[at])
	if call.IsMemberFunction() {
		return c.method(n, at, name, call)
	}
	switch name {
	case "has":
		return c.has(n, at, call.Args())
	case "timestamp", "duration":
		return c.moment(n, at, name, call.Args())
	}
	s, ok := find(name, global)
	if !ok || c.is(at-1, ".") {
		hint := c.didYouMean(name, functionNames(global))
		if _, known := find(name, method); known {
			hint = fmt.Sprintf("write it after a value: x.%s(…)", name)
		}
		return c.broken(n, at, "unknown function "+name, hint)
	}
	if len(call.Args()) != 1 {
		return c.broken(n, at, fmt.Sprintf("%s takes one value, not %d", name, len(call.Args())), "")
	}
	return c.apply(n, at, s, c.check(call.Args()[0]))
}

// apply checks the value that a function works on.
func (c *checker) apply(n *node, at int, s signature, target *node) *node {
	n.op, n.fn, n.typ = opCall, s.fn, s.result
	n.kids = []*node{target}
	switch {
	case target.typ == broken:
		n.typ = broken
	case target.typ != Any && !s.on.has(target.typ):
		return c.broken(n, at, fmt.Sprintf("%s is %s, %s needs %s", target.text, target.typ, s.name, s.needs), "")
	}
	return n
}

func (c *checker) method(n *node, at int, name string, call ast.CallExpr) *node {
	if name == "exists" || name == "all" {
		return c.quantifier(n, at, name, call)
	}
	s, ok := find(name, method)
	if !ok {
		return c.predicate(n, at, name, call)
	}
	target := c.check(call.Target())
	n.lo = target.lo
	n = c.apply(n, at, s, target)
	args := call.Args()
	if s.argument == zoneArgument && len(args) == 0 {
		n.location = c.location
		return n
	}
	want := 1
	if s.argument == noArgument {
		want = 0
	}
	if len(args) != want {
		return c.broken(n, at, fmt.Sprintf("%s takes %s in parentheses, not %d", name, [...]string{"nothing", "one value"}[want], len(args)), "")
	}
	if want == 0 {
		return n
	}
	arg := c.check(args[0])
	if !c.demand(arg, Text) {
		n.typ = broken
		return n
	}
	if s.argument == textArgument {
		n.kids = append(n.kids, arg)
		return n
	}
	if arg.op != opConstant {
		return c.broken(n, arg.lo, fmt.Sprintf("%s takes a text in quotes", name), "")
	}
	if s.argument == patternArgument {
		return c.pattern(n, arg)
	}
	return c.zone(n, target, arg)
}

func (c *checker) pattern(n, arg *node) *node {
	pattern, err := regexp.Compile(arg.value.Text)
	if err != nil {
		return c.broken(n, arg.lo, strings.Replace(err.Error(), "error parsing regexp: ", arg.text+" is not a pattern: ", 1), "")
	}
	// What regexp accepts, syntax does: it is what regexp itself calls.
	parsed, err := syntax.Parse(arg.value.Text, syntax.Perl)
	if err == nil {
		var program *syntax.Prog
		program, err = syntax.Compile(parsed.Simplify())
		if err == nil && len(program.Inst) > patternMax {
			message := fmt.Sprintf("the pattern %s needs %d steps, at most %d are allowed", arg.text, len(program.Inst), patternMax)
			return c.broken(n, arg.lo, message, "shorten it, or repeat less")
		}
	}
	if err != nil {
		return c.broken(n, arg.lo, err.Error(), "")
	}
	n.pattern = pattern
	return n
}

func (c *checker) zone(n, target, arg *node) *node {
	if target.typ == Span {
		return c.broken(n, arg.lo, target.text+" is a duration, it has no time zone", "")
	}
	location, err := zone(arg.value.Text)
	if err != nil {
		return c.broken(n, arg.lo, "unknown time zone "+arg.text, `write "Africa/Algiers", "UTC" or "+01:00"`)
	}
	n.location = location
	return n
}

// zone returns the zone of a name or of an offset such as +01:00. The machine's
// own zone has no name here: the answer must not depend on the machine.
func zone(name string) (*time.Location, error) {
	if name == "" || name == "Local" {
		return nil, fmt.Errorf("%q names no time zone", name)
	}
	if t, err := time.Parse("-07:00", name); err == nil {
		_, offset := t.Zone()
		return time.FixedZone(name, offset), nil
	}
	return time.LoadLocation(name)
}

// predicate checks a call that the vocabulary answers: customer.in("youth").
func (c *checker) predicate(n *node, at int, name string, call ast.CallExpr) *node {
	parts, lo, _, isName := c.path(call.Target())
	if isName && len(call.Args()) == 1 && call.Args()[0].Kind() == ast.IdentKind && (name == "in" || name == "tagged") {
		word := call.Args()[0].AsIdent()
		return c.broken(n, at, name+" takes a text in quotes", fmt.Sprintf("write %s.%s(%q)", strings.Join(parts, "."), name, word))
	}
	if !isName || parts[0] == c.element || len(call.Args()) != 1 || call.Args()[0].Kind() != ast.LiteralKind {
		return c.notPredicate(n, at, name)
	}
	argument, ok := call.Args()[0].AsLiteral().Value().(string)
	if !ok {
		return c.notPredicate(n, at, name)
	}
	n.lo = lo
	v, err := c.vocabulary.Predicate(parts, name, argument)
	if err != nil {
		if refusal := (*Refusal)(nil); errors.As(err, &refusal) {
			return c.broken(n, at, refusal.Message, refusal.Hint)
		}
		return c.broken(n, at, err.Error(), c.meantMethod(name))
	}
	return n.variable(v)
}

func (c *checker) notPredicate(n *node, at int, name string) *node {
	hint := cmp.Or(c.meantMethod(name), `a question such as customer.in("name") takes one text in quotes`)
	return c.broken(n, at, name+" is not a function on text, lists or times", hint)
}

func (c *checker) meantMethod(name string) string { return c.didYouMean(name, functionNames(method)) }

// quantifier checks list.exists(x, condition) and list.all(x, condition).
func (c *checker) quantifier(n *node, at int, name string, call ast.CallExpr) *node {
	n.op, n.typ = opExists, Bool
	if name == "all" {
		n.op = opAll
	}
	target := c.check(call.Target())
	n.lo = target.lo
	args := call.Args()
	if len(args) != 2 || args[0].Kind() != ast.IdentKind || strings.HasPrefix(args[0].AsIdent(), ".") {
		return c.broken(n, at, name+" takes a name and a condition on it", fmt.Sprintf(`write list.%s(x, x == "a")`, name))
	}
	if c.element != "" {
		return c.broken(n, at, fmt.Sprintf("%s inside of exists or all is not part of the rule language", name), "")
	}
	elementType := Text
	switch target.typ {
	case List, Any:
	case numbers:
		elementType = Number
	case broken:
		elementType = broken
	default:
		return c.broken(n, at, fmt.Sprintf("%s is %s, %s needs a list", target.text, target.typ, name), "")
	}
	c.element, c.elementType = args[0].AsIdent(), elementType
	condition := c.check(args[1])
	c.element = ""
	if !c.demand(condition, Bool) {
		n.typ = broken
	}
	n.kids = []*node{target, condition}
	return n
}

// has checks has(name). Asking whether a value is there reads none.
func (c *checker) has(n *node, at int, args []ast.Expr) *node {
	if len(args) != 1 {
		return c.broken(n, at, fmt.Sprintf("has takes one name, not %d", len(args)), "")
	}
	k := c.check(args[0])
	n.op, n.typ, n.ref, n.kids = opHas, Bool, k.ref, []*node{k}
	if k.typ == broken {
		n.typ = broken
		return n
	}
	if k.op != opVariable || args[0].Kind() == ast.CallKind {
		return c.broken(n, k.lo, k.text+" is not a name", "write has(amount)")
	}
	return n
}

// moment checks timestamp("…") and duration("…"), which are constants.
func (c *checker) moment(n *node, at int, name string, args []ast.Expr) *node {
	n.op, n.typ = opConstant, broken
	if len(args) != 1 || args[0].Kind() != ast.LiteralKind {
		return c.broken(n, at, name+" takes one text in quotes", "")
	}
	arg := c.check(args[0])
	if !c.demand(arg, Text) {
		return n
	}
	if name == "duration" {
		d, err := span(arg.value.Text)
		if err != nil {
			return c.broken(n, arg.lo, err.Error(), "")
		}
		n.typ, n.value = Span, spanValue(d)
		return n
	}
	t, err := time.Parse(time.RFC3339, arg.value.Text)
	if err != nil {
		return c.broken(n, arg.lo, arg.text+" is not a time", `write "2026-11-01T00:00:00Z" or "2026-11-01T00:00:00+01:00"`)
	}
	i, ok := charge.InstantOf(t)
	if !ok {
		return c.broken(n, arg.lo, arg.text+" is out of range", "")
	}
	n.typ, n.value = Time, charge.TimeValue(i)
	return n
}

// span reads a duration as a rulebook writes it, or as CEL does.
func span(text string) (time.Duration, error) {
	if seconds, err := money.ParseSpan(text); err == nil && seconds <= money.Amount(1<<63-1)/money.Amount(time.Second) {
		return time.Duration(seconds) * time.Second, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		return 0, fmt.Errorf("%q is not a duration such as 60s, 10m, 24h, 7d or 1h30m", text)
	}
	return d, nil
}

func spanValue(d time.Duration) charge.Value {
	return charge.Value{Kind: charge.Span, Bits: int64(d)}
}
