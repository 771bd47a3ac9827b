package rules

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"recharged/rules/when"
	"recharged/state/charge"
	"recharged/state/money"
)

// source says where a variable's value comes from.
type source uint8

const (
	fromField source = iota // of the event's data
	fromSet                 // an attribute that a profile event sets
	fromTime
	fromSource
	fromType
	fromID
	fromMSISDN
	fromCharged
	fromShortfall
	fromBalance
	fromCounter
	fromAttribute
	fromSegment
	fromTag
	fromRecharges
	fromDaysSinceRecharge
	fromTracking
)

// variable is a name that the rules of a book use, resolved.
type variable struct {
	source source
	name   string     // of the field, attribute or tag
	index  int        // of the balance, counter or segment in the book
	unit   money.Unit // what a number counts; only templates need it
	when.Variable
}

// A reference is what compiled expressions hold: the variable's index in the
// book and, in the lowest bit, whether it is read before the event's effect.
func reference(index int, before bool) int {
	if before {
		return index<<1 | 1
	}
	return index << 1
}

// Names under customer. and before. that every book has: numbers, and what is
// followed by more. No balance and no counter can be called so.
var (
	builtinNumbers  = []string{"recharges", "days_since_recharge", "tracking"}
	builtinPrefixes = []string{"attributes", "in", "tagged"}
)

// vocabulary resolves the names of one event type's rules; without a schema it
// is that of segments, which know the customer alone. It implements
// when.Vocabulary.
type vocabulary struct {
	*loader
	schema *charge.Schema
}

// Variable resolves a name.
func (v vocabulary) Variable(path []string) (when.Variable, error) {
	found, before, err := v.find(path)
	if err != nil {
		return when.Variable{}, err
	}
	return v.intern(found, before), nil
}

// Predicate resolves customer.in("…") and customer.tagged("…").
func (v vocabulary) Predicate(path []string, method, argument string) (when.Variable, error) {
	before := slices.Equal(path, []string{"before"}) && slices.Contains(v.sides(), "before")
	if !before && path[0] == "before" && v.ofTimer() {
		return when.Variable{}, &when.Refusal{Message: fmt.Sprintf("unknown name before.%s(…)", method), Hint: timerHint + method + "(…)"}
	}
	if !before && !slices.Equal(path, []string{"customer"}) {
		return when.Variable{}, fmt.Errorf("%s has no %s(…)", strings.Join(path, "."), method)
	}
	found := variable{Variable: when.Variable{Type: when.Bool, Zero: true}}
	switch method {
	case "in":
		i, ok := v.segmentIndex(argument)
		if !ok {
			hint := cmp.Or(v.nearest(argument, v.segmentNames), "declare it under segments")
			return when.Variable{}, &when.Refusal{Message: fmt.Sprintf("there is no segment %q", argument), Hint: hint}
		}
		v.segmentUsed(i)
		found.source, found.index = fromSegment, i
	case "tagged":
		if !isName(argument, "_-") {
			return when.Variable{}, &when.Refusal{Message: fmt.Sprintf("%q is not a tag", argument), Hint: nameRule("_-")}
		}
		found.source, found.name = fromTag, argument
	default:
		return when.Variable{}, fmt.Errorf("%s has no %s(…), only in(…) and tagged(…)", path[0], method)
	}
	return v.intern(found, before), nil
}

// Location is where the hours and days of a time are taken.
func (v vocabulary) Location() *time.Location { return v.book.plan.Location }

// Names lists every name, for suggestions, while there is somebody to see them.
func (v vocabulary) Names() []string {
	if v.full() {
		return nil
	}
	var names []string
	for _, side := range v.sides() {
		for _, b := range v.book.plan.Balances {
			names = append(names, side+"."+b.Name)
		}
		for _, c := range v.book.plan.Counters {
			names = append(names, side+"."+c.Name)
		}
		for _, b := range builtinNumbers {
			names = append(names, side+"."+b)
		}
	}
	if v.schema == nil {
		return names
	}
	for _, f := range v.schema.Fields {
		names = append(names, f.Name)
	}
	names = append(names, "time", "source", "type", "msisdn")
	if !v.ofTimer() {
		names = append(names, "id")
	}
	if v.schema.Type == charge.Usage {
		names = append(names, "charged", "shortfall")
	}
	return names
}

func (v vocabulary) sides() []string {
	if v.schema == nil || v.ofTimer() {
		return []string{"customer"}
	}
	return []string{"customer", "before"}
}

// timerHint says what a rule that waits for silence sees instead of before.
const timerHint = "a rule with after sees the customer as of now: use customer."

// ofTimer reports whether the rule waits for silence: then nothing happens to the
// customer, so there is no before, and no producer gave the event an id.
func (v vocabulary) ofTimer() bool { return v.schema != nil && v.schema.Type == charge.TimerType }

// find resolves a path to a variable and the side it is read on.
func (v vocabulary) find(path []string) (variable, bool, error) {
	unknown := fmt.Errorf("unknown name %s", strings.Join(path, "."))
	if slices.Contains(v.sides(), path[0]) {
		found, err := v.ofCustomer(path, unknown)
		return found, path[0] == "before", err
	}
	if v.schema == nil {
		return variable{}, false, &when.Refusal{Message: unknown.Error(), Hint: "a segment sees the customer alone, not an event"}
	}
	if path[0] == "before" && len(path) > 1 {
		return variable{}, false, &when.Refusal{Message: unknown.Error(), Hint: timerHint + strings.Join(path[1:], ".")}
	}
	found, err := v.ofEvent(path, unknown)
	return found, false, err
}

// ofEvent resolves a name of the event.
func (v vocabulary) ofEvent(path []string, unknown error) (variable, error) {
	currency := v.book.plan.Currency
	for _, f := range v.schema.Fields {
		if f.Name == path[0] {
			return fieldVariable(f, path, currency, unknown)
		}
	}
	if len(path) == 2 && path[0] == "attributes" {
		return variable{}, &when.Refusal{Message: unknown.Error(), Hint: "write customer.attributes." + path[1]}
	}
	if len(path) > 1 {
		return variable{}, unknown
	}
	switch path[0] {
	case "time":
		return variable{source: fromTime, Variable: when.Variable{Type: when.Time}}, nil
	case "source":
		return variable{source: fromSource, Variable: when.Variable{Type: when.Text}}, nil
	case "type":
		return variable{source: fromType, Variable: when.Variable{Type: when.Text}}, nil
	case "id":
		if v.ofTimer() {
			return variable{}, unknown
		}
		return variable{source: fromID, Variable: when.Variable{Type: when.Text}}, nil
	case "msisdn":
		return variable{source: fromMSISDN, Variable: when.Variable{Type: when.Text}}, nil
	case "charged", "shortfall":
		if v.schema.Type != charge.Usage {
			return variable{}, &when.Refusal{Message: fmt.Sprintf("%s is known of usage alone, not of the event type %s", path[0], v.schema.Type)}
		}
		from := fromCharged
		if path[0] == "shortfall" {
			from = fromShortfall
		}
		return variable{source: from, unit: currency, Variable: when.Variable{Type: when.Number, Zero: true}}, nil
	}
	return variable{}, v.meant(path[0], unknown)
}

// meant adds to a name that the event does not have where there is one: on the
// customer, or on events of other types. A name that is nearly one of the
// event's is left to whoever looks for typing errors.
func (v vocabulary) meant(name string, unknown error) error {
	_, ofBalance := v.balanceIndex(name)
	_, ofCounter := v.counterIndex(name)
	if ofBalance || ofCounter || slices.Contains(builtinNumbers, name) {
		return &when.Refusal{Message: unknown.Error(), Hint: "write customer." + name}
	}
	if _, ok := v.segmentIndex(name); ok {
		return &when.Refusal{Message: unknown.Error(), Hint: fmt.Sprintf("write customer.in(%q)", name)}
	}
	if v.full() || charge.Nearest(name, v.Names()) != "" {
		return unknown
	}
	var owners []string
	for _, typeName := range v.typeNames() {
		if slices.ContainsFunc(v.schemas[typeName].Fields, func(f charge.FieldSpec) bool { return f.Name == name }) {
			owners = append(owners, typeName)
		}
	}
	switch {
	case owners == nil:
		return unknown
	case v.ofTimer():
		return &when.Refusal{Message: unknown.Error(), Hint: "a rule with after sees the customer, not an event"}
	}
	own := slices.DeleteFunc(v.Names(), func(n string) bool { return strings.Contains(n, ".") })
	return &when.Refusal{Message: unknown.Error(), Hint: fmt.Sprintf("it is a field of %s; %s has %s",
		strings.Join(owners, ", "), v.schema.Type, strings.Join(own, ", "))}
}

// fieldVariable resolves a field of the event's data.
func fieldVariable(f charge.FieldSpec, path []string, currency money.Unit, unknown error) (variable, error) {
	found := variable{source: fromField, name: f.Name, Variable: when.Variable{Zero: !f.Required}}
	if f.Kind == charge.AttributesField {
		if len(path) != 2 {
			return variable{}, &when.Refusal{Message: fmt.Sprintf("%s is a list of attributes", f.Name), Hint: fmt.Sprintf("write %s.<attribute> for one of them", f.Name)}
		}
		return variable{source: fromSet, name: path[1], Variable: when.Variable{Type: when.Any}}, nil
	}
	if len(path) > 1 {
		return variable{}, unknown
	}
	switch f.Kind {
	case charge.MoneyField:
		found.Type, found.unit = when.Number, currency
	case charge.CountField, charge.NumberField, charge.SignedField:
		found.Type = when.Number
	case charge.BoolField:
		found.Type = when.Bool
	case charge.TimeField:
		found.Type = when.Time
	case charge.ListField:
		found.Type = when.List
	default:
		found.Type = when.Text
	}
	return found, nil
}

// ofCustomer resolves a name under customer. or before.
func (v vocabulary) ofCustomer(path []string, unknown error) (variable, error) {
	number := when.Variable{Type: when.Number, Zero: true}
	switch {
	case len(path) == 3 && path[1] == "attributes":
		return variable{source: fromAttribute, name: path[2], Variable: when.Variable{Type: when.Any}}, nil
	case len(path) == 3 && charge.Nearest(path[1], builtinPrefixes[:1]) != "":
		return variable{}, &when.Refusal{Message: unknown.Error(), Hint: fmt.Sprintf("did you mean %s.attributes.%s?", path[0], path[2])}
	case len(path) != 2:
		return variable{}, unknown
	}
	name := path[1]
	if i, ok := v.balanceIndex(name); ok {
		return variable{source: fromBalance, index: i, unit: v.book.plan.Balances[i].Unit, Variable: number}, nil
	}
	if i, ok := v.counterIndex(name); ok {
		v.usedCounters[name] = true
		return variable{source: fromCounter, index: i, unit: v.counterUnit(i), Variable: number}, nil
	}
	switch name {
	case "recharges":
		return variable{source: fromRecharges, Variable: number}, nil
	case "days_since_recharge":
		return variable{source: fromDaysSinceRecharge, Variable: when.Variable{Type: when.Number}}, nil
	case "tracking":
		return variable{source: fromTracking, Variable: number}, nil
	case "attributes":
		return variable{}, &when.Refusal{Message: path[0] + ".attributes is all of the attributes", Hint: fmt.Sprintf("write %s.attributes.<name> for one of them", path[0])}
	case "in", "tagged":
		return variable{}, &when.Refusal{Message: fmt.Sprintf("%s.%s asks for a name", path[0], name), Hint: fmt.Sprintf("write %s.%s(\"…\")", path[0], name)}
	}
	if charge.Nearest(strings.Join(path, "."), v.Names()) == "" {
		return variable{}, &when.Refusal{Message: unknown.Error(), Hint: fmt.Sprintf("for an attribute write %s.attributes.%s", path[0], name)}
	}
	return variable{}, unknown
}

// intern gives a variable its place in the book, one for all who use it.
func (v vocabulary) intern(found variable, before bool) when.Variable {
	i, ok := v.interned[found]
	if !ok {
		i = len(v.book.variables)
		v.book.variables = append(v.book.variables, found)
		v.interned[found] = i
	}
	found.Ref = reference(i, before)
	return found.Variable
}

// names of the language: what may stand in a name besides small letters and digits.
const (
	ruleNameMarks = "_-"
	pathNameMarks = "_"
)

// isName reports whether a text is a name: a small letter, then small letters,
// digits and the marks.
func isName(text, marks string) bool {
	for i := range len(text) {
		c := text[i]
		letter := 'a' <= c && c <= 'z'
		if !letter && (i == 0 || !('0' <= c && c <= '9' || strings.IndexByte(marks, c) >= 0)) {
			return false
		}
	}
	return text != ""
}

func nameRule(marks string) string {
	return "a name begins with a small letter and has small letters, digits and " + strings.Join(strings.Split(marks, ""), " or ")
}
