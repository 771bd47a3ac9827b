package rules

import (
	"maps"
	"slices"
	"strings"

	"recharged/state/charge"
)

// Limits on the event types that a book declares. Each type is a label of
// metrics, so there are not many.
const (
	typesMax      = 100
	typeNameMax   = 64
	typeFieldsMax = 100
	typeNameMarks = "_-."
)

// reservedTypes are names that outcomes and metrics give a meaning of their own.
var reservedTypes = []string{charge.ExpiryType, charge.TimerType, "unknown", "other"}

// fieldKinds are the kinds that a field of a declared type can have.
var fieldKinds = map[string]charge.FieldKind{
	"text": charge.TextField, "money": charge.MoneyField, "number": charge.NumberField, "count": charge.CountField,
	"bool": charge.BoolField, "time": charge.TimeField, "list": charge.ListField,
}

func kindNames() []string { return slices.Sorted(maps.Keys(fieldKinds)) }

// types reads the event types that the book declares beside the built-in ones.
func (l *loader) types() {
	declared := l.section("types")
	if len(declared) > typesMax {
		l.errorf(declared[typesMax].place, "", "more than %d event types", typesMax)
		return
	}
	for _, e := range declared {
		switch {
		case !l.checkName(e.place, "event type", e.key, typeNameMarks):
			continue
		case len(e.key) > typeNameMax:
			l.errorf(e.place, "", "the event type's name is longer than %d characters", typeNameMax)
			continue
		case l.schemas[e.key] != nil:
			l.errorf(e.place, "choose another name", "the event type %s is built in", e.key)
			continue
		case slices.Contains(reservedTypes, e.key):
			l.errorf(e.place, "choose another name", "%s has a meaning of its own, an event type cannot be called so", e.key)
			continue
		}
		schema := &charge.Schema{Type: e.key}
		if e.value.shape != nothing && l.wantMapping(e.value, "an event type", "write {country: text, price: money}") {
			schema.Fields = l.fields(e.value)
		}
		l.schemas[e.key] = schema
		l.book.plan.Types = append(l.book.plan.Types, e.key)
	}
	slices.Sort(l.book.plan.Types)
}

// fields reads the fields of one declared type.
func (l *loader) fields(n *node) []charge.FieldSpec {
	if len(n.entries) > typeFieldsMax {
		l.errorf(n.entries[typeFieldsMax].place, "", "more than %d fields in one event type", typeFieldsMax)
		return nil
	}
	var fields []charge.FieldSpec
	for _, e := range n.entries {
		if !l.checkName(e.place, "field", e.key, pathNameMarks) {
			continue
		}
		if slices.Contains(takenNames, e.key) {
			l.errorf(e.place, "choose another name", "%s has a meaning of its own, a field cannot be called so", e.key)
			continue
		}
		f, kind := charge.FieldSpec{Name: e.key}, e.value
		if e.value.shape == mapping {
			if !l.isMapping(e.value, "field", fieldForm) || !l.needs(e.value, "field", []string{"type"}) {
				continue
			}
			kind = e.value.get("type")
			if required := e.value.get("required"); required != nil {
				f.Required = l.boolean(required)
			}
		}
		name, ok := l.text(kind)
		if f.Kind = fieldKinds[name]; ok && f.Kind == 0 {
			l.errorf(kind.place, "write "+strings.Join(kindNames(), ", "), "%q is not a kind of field", name)
			continue
		}
		fields = append(fields, f)
	}
	return fields
}

// takenNames are names that a condition or a text could not tell from a field:
// what every event has, what texts have, and the words of the expression language.
var takenNames = []string{
	"time", "source", "type", "id", "msisdn", "customer", "before", "credited", "expires",
	"as", "break", "const", "continue", "else", "false", "for", "function", "if", "import", "in", "let",
	"loop", "namespace", "null", "package", "return", "true", "var", "void", "while",
}
