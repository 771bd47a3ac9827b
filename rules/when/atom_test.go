package when

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"recharged/state/charge"
)

var opNames = [...]string{"==", "!=", "<", "<=", ">", ">=", "one of", "none of", "true", "false", "has", "has not"}

func showAtom(a Atom) string {
	words := []string{a.Name, opNames[a.Op]}
	for _, v := range a.Values {
		words = append(words, show(v))
	}
	if a.Zero {
		words = append(words, "(zero)")
	}
	return strings.Join(words, " ")
}

func TestAtom(t *testing.T) {
	for _, tt := range []struct{ source, want string }{
		{`amount > 300`, `amount > 300 (zero)`},
		{`300 < amount`, `amount > 300 (zero)`},
		{`300.10 >= (amount)`, `amount <= 300.1 (zero)`},
		{`-5 == customer.main`, `customer.main == -5`},
		{`5 != customer.main`, `customer.main != 5`},
		{`channel in ["app", "ussd"]`, `channel one of "app" "ussd" (zero)`},
		{`channel in []`, `channel one of (zero)`},
		{`customer.main in [1, 2.50]`, `customer.main one of 1 2.5`},
		{`customer.attributes.town == "Oran"`, `customer.attributes.town == "Oran"`},
		{`time >= timestamp("2026-11-01T00:00:00Z")`, `time >= 2026-11-01T00:00:00Z`},
		{`quiet < duration("24h")`, `quiet < 24h0m0s`},
		{`gift`, `gift true (zero)`},
		{`!gift`, `gift false (zero)`},
		{`!!gift`, `gift true (zero)`},
		{`gift == true`, `gift == true (zero)`},
		{`!customer.in("youth")`, `customer.in("youth") false`},
		{`has(amount)`, `amount has`},
		{`!has(customer.attributes.age)`, `customer.attributes.age has not`},
		{`channel == "a" || channel == "b" || channel in ["c"]`, `channel one of "a" "b" "c" (zero)`},
		{`!(channel == "a" || "b" == channel)`, `channel none of "a" "b" (zero)`},
		{`!(channel in ["a"])`, `channel none of "a" (zero)`},

		// The contrary of an order is one where nothing is absent.
		{`!(amount < 3)`, `amount >= 3 (zero)`},
		{`!(amount >= 3)`, `amount < 3 (zero)`},
		{`!(amount != 3)`, `amount == 3 (zero)`},
		{`!(customer.main == 3)`, `customer.main none of 3`},
		{`!(!(customer.main == 3))`, `customer.main one of 3`},
		{`!(customer.main < 3)`, ""},
		{`!(customer.main != 3)`, ""},
		{`!(customer.attributes.age > 3)`, ""},

		{`amount > customer.main`, ""},
		{`amount + 1 > 3`, ""},
		{`"app" in topics`, ""},
		{`topics == ["a"]`, ""},
		{`channel in [channel, "a"]`, ""},
		{`customer.main in [amount]`, ""},
		{`amount > 3 || amount < 1`, ""},
		{`amount == 3 || customer.main == 3`, ""},
		{`customer.attributes.age == 3 || customer.attributes.age == "3"`, ""},
		{`amount > 3 && gift`, ""},
		{`true`, ""},
		{`channel.startsWith("a")`, ""},
	} {
		a, ok := mustCompile(t, tt.source, Bool).Atom()
		if got := showAtom(a); ok != (tt.want != "") || ok && got != tt.want {
			t.Errorf("%s: %v %s, want %s", tt.source, ok, got, tt.want)
		}
	}
	if _, ok := mustCompile(t, `customer.attributes.vip`, Any).Atom(); ok {
		t.Error("an expression that is no condition is an atom")
	}
}

// An atom and its expression have the same answer of every value, absent ones
// included; if it is of another kind than the constants', an error is one, too.
func TestAtomProperty(t *testing.T) {
	w := newWords()
	names := []string{"amount", "channel", "gift", "nothing.number", "nothing.text", "nothing.truth", "customer.attributes.age"}
	constants := map[string][]string{
		"amount": {"0", "3", "-3.5"}, "nothing.number": {"0", "3", "-3.5"}, "channel": {`""`, `"a"`}, "nothing.text": {`""`, `"a"`},
		"gift": {"true", "false"}, "nothing.truth": {"true", "false"}, "customer.attributes.age": {"3", `"a"`, "true", "0"},
	}
	values := []charge.Value{
		{}, num(t, "0"), num(t, "3.0"), num(t, "-3.5"), num(t, "4"), charge.TextValue(""), charge.TextValue("a"), charge.TextValue("b"),
		charge.BoolValue(true), charge.BoolValue(false),
	}
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.SampledFrom(names).Draw(t, "name")
		constant := func() string { return rapid.SampledFrom(constants[name]).Draw(t, "constant") }
		operator := rapid.SampledFrom([]string{"==", "!=", "<", "<=", ">", ">="}).Draw(t, "operator")
		source := rapid.SampledFrom([]string{
			name + operator + constant(), constant() + operator + name, fmt.Sprintf("has(%s)", name), name,
			fmt.Sprintf("%s in [%s]", name, constant()), fmt.Sprintf("%s == %s || %s == %s", name, constant(), name, constant()),
		}).Draw(t, "source")
		source = strings.Repeat("!", rapid.IntRange(0, 2).Draw(t, "nots")) + "(" + source + ")"
		x, faults := Compile(source, w, Bool)
		if faults != nil {
			t.Skip() // Not all of them are of one type.
		}
		a, ok := x.Atom()
		if !ok {
			t.Skip()
		}
		value := rapid.SampledFrom(values).Draw(t, "value")
		v, _ := w.find(name)
		vs := make(testValues)
		vs[v.Ref] = value
		holds, err := x.Holds(vs)
		if kind := kindOf(a); value.Kind != charge.Missing && kind != charge.Missing && value.Kind != kind {
			return // What comes of it is for the expression to say.
		}
		if want := answer(a, value); err != nil || holds != want {
			t.Fatalf("%s of %s holds %v, %v; the atom %s says %v", source, show(value), holds, err, showAtom(a), want)
		}
	})
}

type testValues map[int]charge.Value

func (v testValues) Read(ref int) charge.Value { return v[ref] }

// kindOf returns the kind that an atom is about; presence is about none.
func kindOf(a Atom) charge.Kind {
	switch {
	case a.Op == Has || a.Op == HasNot:
		return charge.Missing
	case len(a.Values) > 0:
		return a.Values[0].Kind
	}
	return charge.Bool
}

// answer is what an atom means, said once more.
func answer(a Atom, v charge.Value) bool {
	if v.Kind == charge.Missing && a.Zero {
		v.Kind = charge.Kind(a.Type)
	}
	in := false
	for _, c := range a.Values {
		in = in || v.Equal(c)
	}
	order := 0
	if len(a.Values) == 1 {
		if v.Kind == charge.Text {
			order = strings.Compare(v.Text, a.Values[0].Text)
		} else {
			order = v.Decimal().Cmp(a.Values[0].Decimal())
		}
	}
	there := v.Kind != charge.Missing
	return map[Op]bool{
		Equal: in, NotEqual: there && !in, OneOf: in, NoneOf: !in, True: v.Bool(), False: !v.Bool(), Has: there, HasNot: !there,
		Less: there && order < 0, LessEqual: there && order <= 0, Greater: there && order > 0, GreaterEqual: there && order >= 0,
	}[a.Op]
}

// What is written in two ways and means the same has one canonical text.
func TestCanonical(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		same bool
	}{
		{`amount>300`, ` ( amount ) > 300.00 `, true},
		{`channel in ['app', "ussd"]`, `channel in ["app","ussd"]`, true},
		{`channel in ["a,b"]`, `channel in ["a", "b"]`, false},
		{`topics.exists(x, x == "a")`, `topics.exists(topic, topic == "a")`, true},
		{`topics.exists(x, x == "a")`, `topics.all(x, x == "a")`, false},
		{`time.getHours() < 6`, `time.getHours("UTC") < 6`, false},
		{`time.getHours("+01:00") < 6`, `time.getHours("+02:00") < 6`, false},
		{`time.getHours() < 6`, `time.getMinutes() < 6`, false},
		{`channel.matches("a")`, `channel.matches("b")`, false},
		{`channel.matches("a")`, `channel.contains("a")`, false},
		{`has(channel)`, `channel == "channel"`, false},
		{`amount > 3`, `amount >= 3`, false},
		{`amount > 3`, `customer.main > 3`, false},
		{`quiet > duration("1h")`, `quiet > duration("60m")`, true},
		{`gift == true`, `gift == false`, false},
		{`amount > 3 && gift`, `gift && amount > 3`, false}, // Which error is told depends on the order.
	} {
		a, b := mustCompile(t, tt.a, Bool).Canonical(), mustCompile(t, tt.b, Bool).Canonical()
		if (a == b) != tt.same {
			t.Errorf("%s and %s: %q and %q", tt.a, tt.b, a, b)
		}
	}
}

func TestSteps(t *testing.T) {
	for _, tt := range []struct {
		source  string
		most    int
		bounded bool
	}{
		{`amount > 3`, 0, true},
		{`channel in ["a", "b"] && amount in [1, 2, 3]`, 5, true},
		{`[1, 2].exists(x, x in [4, 5, 6])`, 8, true},
		{`["a", channel].all(x, x in ["a"] || x in ["b"])`, 6, true},
		{`"a" in topics`, 0, false},
		{`gift || topics.exists(x, x in ["a"])`, 0, false},
	} {
		most, bounded := mustCompile(t, tt.source, Bool).Steps()
		if bounded != tt.bounded || bounded && most != tt.most {
			t.Errorf("%s: %d, %v", tt.source, most, bounded)
		}
	}
}

// failing is a Reader of which one variable fails.
type failing struct {
	values
	ref int
}

func (f failing) Read(ref int) charge.Value {
	if ref == f.ref {
		return charge.Value{Kind: charge.Object}
	}
	return f.values.Read(ref)
}

func (f failing) Fault(ref int) error {
	if ref == f.ref {
		return errors.New("nobody knows")
	}
	return nil
}

// A variable that fails is an error of whatever uses it, as any other is.
func TestFaultReader(t *testing.T) {
	w := newWords()
	v, _ := w.find(`customer.in("youth")`)
	r := failing{w.usual(t), v.Ref}
	for source, want := range map[string]string{
		`customer.in("youth")`:                             "error: nobody knows",
		`!customer.in("youth") && gift`:                    "false",
		`amount > 300 || customer.in("youth")`:             "true",
		`customer.in("youth") || amount > 300`:             "true",
		`customer.in("youth") == false || amount > 1000`:   "error: nobody knows",
		`customer.in("youth") && 1 / (amount - 300.1) > 0`: "error: nobody knows",
		`gift`: "false",
	} {
		x := mustCompile(t, source, Bool)
		holds, err := x.Holds(r)
		got := fmt.Sprint(holds)
		if err != nil {
			got = "error: " + err.Error()
		}
		if got != want {
			t.Errorf("%s: %s, want %s", source, got, want)
		}
		e := x.Explain(r)
		for _, f := range e.Saw {
			if f.Name == `customer.in("youth")` && f.Value.Kind != charge.Missing {
				t.Errorf("%s: saw %v", source, f.Value)
			}
		}
	}
}
