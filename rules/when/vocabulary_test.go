package when

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"recharged/state/charge"
	"recharged/state/money"
)

// words is a vocabulary as a recharge event has it; a variable's Ref is its
// index.
type words struct {
	names    []string
	types    []Variable
	location *time.Location
}

func newWords() *words {
	w := &words{location: time.FixedZone("Algiers", 3600)}
	for _, d := range []struct {
		name string
		typ  Type
		zero bool
	}{
		{"amount", Number, true},
		{"channel", Text, true},
		{"gift", Bool, true},
		{"topics", List, true},
		{"until", Time, true},
		{"left", Span, true},
		{"time", Time, false},
		{"quiet", Span, false},
		{"nothing.number", Number, false},
		{"nothing.text", Text, false},
		{"nothing.truth", Bool, false},
		{"nothing.list", List, false},
		{"nothing.time", Time, false},
		{"customer.main", Number, false},
		{"customer.spent_30d", Number, false},
		{"customer.attributes.age", Any, false},
		{"customer.attributes.town", Any, false},
		{"customer.attributes.home-town", Any, false},
		{"customer.attributes.vip", Any, false},
		{"customer.attributes.likes", Any, false},
		{"customer.attributes.none", Any, false},
		{`customer.in("youth")`, Bool, false},
		{`customer.in("high_value")`, Bool, false},
		{`customer.tagged("a \"b\"")`, Bool, false},
	} {
		w.names = append(w.names, d.name)
		w.types = append(w.types, Variable{Ref: len(w.types), Type: d.typ, Zero: d.zero})
	}
	return w
}

func (w *words) find(name string) (Variable, error) {
	for i, n := range w.names {
		if n == name {
			return w.types[i], nil
		}
	}
	return Variable{}, fmt.Errorf("unknown name %s", name)
}

func (w *words) Variable(path []string) (Variable, error) { return w.find(strings.Join(path, ".")) }

func (w *words) Predicate(path []string, method, argument string) (Variable, error) {
	v, err := w.find(fmt.Sprintf("%s.%s(%q)", strings.Join(path, "."), method, argument))
	if err != nil {
		return v, fmt.Errorf("%s.%s does not know %q", strings.Join(path, "."), method, argument)
	}
	return v, nil
}

func (w *words) Names() []string { return w.names }

func (w *words) Location() *time.Location { return w.location }

// values reads by index; what lies beyond is absent.
type values []charge.Value

func (v values) Read(ref int) charge.Value {
	if ref < len(v) {
		return v[ref]
	}
	return charge.Value{}
}

// with returns the vocabulary's values: what is named, the rest absent.
func (w *words) with(t testing.TB, named map[string]charge.Value) values {
	t.Helper()
	vs := make(values, len(w.names))
	for name, value := range named {
		v, err := w.find(name)
		if err != nil {
			t.Fatal(err)
		}
		vs[v.Ref] = value
	}
	return vs
}

func num(t testing.TB, text string) charge.Value {
	t.Helper()
	d, err := money.ParseDecimal(text)
	if err != nil {
		t.Fatal(err)
	}
	return charge.NumberValue(d)
}

func at(t testing.TB, text string) charge.Value {
	t.Helper()
	when, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	i, ok := charge.InstantOf(when)
	if !ok {
		t.Fatalf("%s is out of range", text)
	}
	return charge.TimeValue(i)
}

// usual is a customer and an event for the tables.
func (w *words) usual(t testing.TB) values {
	return w.with(t, map[string]charge.Value{
		"amount":                        {Kind: charge.Number, Bits: 30010, Scale: 2},
		"channel":                       charge.TextValue("app"),
		"time":                          at(t, "2026-11-06T23:30:15Z"), // In Algiers it is Saturday, half past midnight.
		"quiet":                         spanValue(36 * time.Hour),
		"topics":                        charge.ListValue([]string{"football", "music"}),
		"customer.main":                 num(t, "50"),
		"customer.spent_30d":            num(t, "2500.00"),
		"customer.attributes.age":       num(t, "24"),
		"customer.attributes.town":      charge.TextValue("Oran"),
		"customer.attributes.home-town": charge.TextValue("Sétif"),
		"customer.attributes.vip":       charge.BoolValue(true),
		"customer.attributes.likes":     charge.ListValue([]string{"film", "food"}),
		`customer.in("youth")`:          charge.BoolValue(true),
		`customer.in("high_value")`:     charge.BoolValue(false),
		`customer.tagged("a \"b\"")`:    charge.BoolValue(true),
	})
}

func mustCompile(t testing.TB, source string, want Type) *Expression {
	t.Helper()
	x, faults := Compile(source, newWords(), want)
	for _, f := range faults {
		t.Errorf("%s: %v", source, f)
	}
	if x == nil {
		t.FailNow()
	}
	return x
}

// show writes a value as the tables do.
func show(v charge.Value) string {
	switch v.Kind {
	case charge.Missing:
		return "missing"
	case charge.Bool:
		return fmt.Sprint(v.Bool())
	case charge.Number:
		return v.Decimal().String()
	case charge.Text:
		return fmt.Sprintf("%q", v.Text)
	case charge.List:
		return fmt.Sprintf("%q", v.List)
	case charge.Time:
		return charge.Instant(v.Bits).Time().Format(time.RFC3339)
	case charge.Span:
		return time.Duration(v.Bits).String()
	}
	return fmt.Sprintf("%+v", v)
}
