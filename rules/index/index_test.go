package index

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"recharged/rules/when"
	"recharged/state/charge"
	"recharged/state/money"
)

// words is a vocabulary with variables of every kind; a variable's Ref is its
// index.
type words []when.Variable

var names = []string{"n", "zn", "t", "zt", "b", "zb", "a", "at", "span"}

func vocabulary() words {
	w := words{
		{Type: when.Number}, {Type: when.Number, Zero: true}, {Type: when.Text}, {Type: when.Text, Zero: true},
		{Type: when.Bool}, {Type: when.Bool, Zero: true}, {Type: when.Any}, {Type: when.Time}, {Type: when.Span},
	}
	for i := range w {
		w[i].Ref = i
	}
	return w
}

func (w words) Variable(path []string) (when.Variable, error) {
	for i, name := range names {
		if name == path[0] {
			return w[i], nil
		}
	}
	return when.Variable{}, fmt.Errorf("unknown name %s", path[0])
}

func (w words) Predicate(path []string, method, argument string) (when.Variable, error) {
	return when.Variable{}, fmt.Errorf("unknown method %s", method)
}

func (w words) Names() []string { return names }

func (w words) Location() *time.Location { return time.UTC }

// weekRef is a variable that only spans ask about.
const weekRef = 9

type values []charge.Value

func (v values) Read(ref int) charge.Value { return v[ref] }

func number(coefficient int64, scale uint8) charge.Value {
	return charge.NumberValue(money.Decimal{Coefficient: coefficient, Scale: scale})
}

// constants of each name, as written.
var constants = map[string][]string{
	"n":    {"0", "3", "3.00", "3.001", "-7", "300.10", "9223372036854775807", "-9223372036854775807", "0.000000000000000001"},
	"zn":   {"0", "1", "2", "300.10"},
	"t":    {`""`, `"a"`, `"b"`, `"app"`},
	"zt":   {`""`, `"a"`, `"b"`},
	"b":    {"true", "false"},
	"zb":   {"true", "false"},
	"a":    {"3", `"a"`, "true", "-1", `"b"`},
	"at":   {`timestamp("2026-11-01T00:00:00Z")`, `timestamp("2026-11-02T00:00:00Z")`},
	"span": {`duration("1h")`, `duration("0s")`},
}

// ofKind are values that a variable may have: of its own kind, absent, foreign.
var numbers = []charge.Value{
	{}, number(0, 0), number(3, 0), number(30, 1), number(3001, 3), number(3, 3), number(-7, 0), number(30010, 2), number(30011, 2), number(30009, 2),
	number(1<<63-1, 0), number(-(1<<63 - 1), 0), number(-1<<63, 0), number(1, 18), number(1<<63-1, 18), number(1, 0), number(2, 0), number(-1, 0),
}

var texts = []charge.Value{{}, charge.TextValue(""), charge.TextValue("a"), charge.TextValue("b"), charge.TextValue("app"), charge.TextValue("z")}

var truths = []charge.Value{{}, charge.BoolValue(true), charge.BoolValue(false)}

func moment(text string) charge.Value {
	t, _ := time.Parse(time.RFC3339, text)
	return charge.TimeValue(charge.Instant(t.UnixNano()))
}

var (
	times = []charge.Value{{}, moment("2026-11-01T00:00:00Z"), moment("2026-10-31T23:59:59Z"), moment("2026-11-01T12:00:00Z"), moment("2026-11-02T00:00:00Z")}
	spans = []charge.Value{{}, {Kind: charge.Span}, {Kind: charge.Span, Bits: int64(time.Hour)}, {Kind: charge.Span, Bits: -1}, {Kind: charge.Span, Bits: 1 << 62}}
)

func drawValues(t *rapid.T) values {
	any := append(append(append([]charge.Value{charge.ListValue([]string{"a"})}, numbers...), texts...), truths...)
	v := make(values, weekRef+1)
	for ref, of := range [][]charge.Value{numbers, numbers, texts, texts, truths, truths, any, times, spans} {
		v[ref] = rapid.SampledFrom(of).Draw(t, names[ref])
	}
	if rapid.IntRange(0, 9).Draw(t, "foreign") == 0 {
		v[rapid.IntRange(0, 8).Draw(t, "ref")] = charge.Value{Kind: charge.Object}
	}
	v[weekRef] = charge.NumberValue(money.Int(rapid.Int64Range(0, 40).Draw(t, "week")))
	return v
}

func drawCondition(t *rapid.T) string {
	name := rapid.SampledFrom(names).Draw(t, "name")
	constant := func() string { return rapid.SampledFrom(constants[name]).Draw(t, "constant") }
	operator := rapid.SampledFrom([]string{"==", "!=", "<", "<=", ">", ">="}).Draw(t, "operator")
	source := rapid.SampledFrom([]string{
		name + operator + constant(), constant() + operator + name, "has(" + name + ")", name,
		fmt.Sprintf("%s in [%s, %s]", name, constant(), constant()), name + " in []",
		fmt.Sprintf("%s == %s || %s == %s", name, constant(), name, constant()),
	}).Draw(t, "source")
	return strings.Repeat("!", rapid.IntRange(0, 2).Draw(t, "nots")) + "(" + source + ")"
}

// twin is a rule as the index sees it and as it is written.
type twin struct {
	terms []Term
	parts []*when.Expression // of the terms that are atoms; nil for spans
}

func drawRule(t *rapid.T) twin {
	var r twin
	for range rapid.IntRange(0, 4).Draw(t, "terms") {
		if rapid.IntRange(0, 9).Draw(t, "span") == 0 {
			all := make([]Span, rapid.IntRange(0, 3).Draw(t, "spans"))
			for i := range all {
				all[i].From = rapid.Int64Range(0, 40).Draw(t, "from")
				all[i].Until = rapid.Int64Range(0, 40).Draw(t, "until")
			}
			r.terms, r.parts = append(r.terms, Term{Atom: when.Atom{Ref: weekRef, Type: when.Number}, Spans: all}), append(r.parts, nil)
			continue
		}
		x, faults := when.Compile(drawCondition(t), vocabulary(), when.Bool)
		if faults != nil {
			continue // Not everything goes together.
		}
		if a, ok := x.Atom(); ok {
			r.terms, r.parts = append(r.terms, Term{Atom: a}), append(r.parts, x)
		}
	}
	return r
}

// holds asks one term by itself.
func (r *twin) holds(term int, v values) (bool, error) {
	if r.parts[term] != nil {
		return r.parts[term].Holds(v)
	}
	for _, s := range r.terms[term].Spans {
		if s.From <= v[weekRef].Bits && v[weekRef].Bits < s.Until {
			return true, nil
		}
	}
	return false, nil
}

// A rule is a candidate exactly if all terms that the index answers hold, those
// left out that meet a value of another kind: these put it in doubt.
func TestFindProperty(t *testing.T) {
	var s Scratch // Of indexes of all sizes.
	rapid.Check(t, func(t *rapid.T) {
		rules := rapid.SliceOfN(rapid.Custom(drawRule), 1, 200).Draw(t, "rules")
		terms := make([][]Term, len(rules))
		for i := range rules {
			terms[i] = rules[i].terms
		}
		l := limits{asksMin: rapid.IntRange(1, 4).Draw(t, "asks"), vectorBytesMax: rapid.SampledFrom([]int{0, 50, usual.vectorBytesMax}).Draw(t, "bytes")}
		x := build(terms, l)
		for range 5 {
			v := drawValues(t)
			x.Find(v, &s)
			candidate, doubt, ok := s.Next()
			for i := range rules {
				possible, odd := true, false
				for j := range rules[i].terms {
					if !x.Answers(i, j) {
						continue
					}
					holds, err := rules[i].holds(j, v)
					asked, _ := keyOf(&rules[i].terms[j])
					kind := v[asked.ref].Kind
					if asked.kind != charge.Missing && kind != charge.Missing && kind != asked.kind {
						odd = true // The term stays open.
						continue
					}
					possible = possible && holds && err == nil
				}
				is := ok && candidate == i
				if is != possible || is && doubt != odd {
					t.Fatalf("rule %d of %v: candidate %v, in doubt %v; want %v, %v", i, v, is, doubt, possible, odd)
				}
				if is {
					candidate, doubt, ok = s.Next()
				}
			}
			if ok {
				t.Fatalf("there is no rule %d", candidate)
			}
		}
	})
}

// ranges makes rules of ranges that are all distinct.
func ranges(n int) [][]Term {
	rules := make([][]Term, n)
	for i := range rules {
		from, until := charge.NumberValue(money.Int(int64(i))), charge.NumberValue(money.Int(int64(2*n-i)))
		rules[i] = []Term{
			{Atom: when.Atom{Ref: 1, Type: when.Number, Op: when.GreaterEqual, Values: []charge.Value{from}}},
			{Atom: when.Atom{Ref: 1, Type: when.Number, Op: when.Less, Values: []charge.Value{until}}},
		}
	}
	return rules
}

// Ten thousand distinct ranges would be 25 MB of vectors.
func TestMemoryOfManyCuts(t *testing.T) {
	const n = 10_000
	x := Build(ranges(n))
	d := &x.common[0]
	if bytes := 8 * len(d.vectors); bytes > usual.vectorBytesMax || len(d.rows) < 2*n {
		t.Errorf("%d bytes of vectors, %d positions", bytes, len(d.rows))
	}
	var s Scratch
	for _, at := range []int64{-1, 0, 1, 63, 64, 5000, n - 1, n, n + 1, 2*n - 1, 2 * n} {
		x.Find(values{{}, charge.NumberValue(money.Int(at))}, &s)
		want := 0
		for i := range int64(n) {
			if i <= at && at < 2*n-i {
				want++
			}
		}
		got := 0
		for _, _, ok := s.Next(); ok; _, _, ok = s.Next() {
			got++
		}
		if got != want {
			t.Errorf("%d of %d rules hold of %d", got, want, at)
		}
	}
}

// A variable is not read for rules that are excluded already, nor for few.
func TestReadsOnlyWhatPays(t *testing.T) {
	equal := func(ref int, text string) Term {
		return Term{Atom: when.Atom{Ref: ref, Type: when.Text, Op: when.Equal, Values: []charge.Value{charge.TextValue(text)}}}
	}
	var rules [][]Term
	for i := range 100 {
		terms := []Term{equal(0, fmt.Sprint(i%10))}
		if i%10 == 3 {
			terms = append(terms, equal(1, "x"))
		}
		if i == 5 {
			terms = append(terms, equal(2, "x"))
		}
		rules = append(rules, terms)
	}
	x := Build(rules)
	if x.Dimensions() != 2 || x.Answers(5, 1) || !x.Answers(3, 1) {
		t.Errorf("%d dimensions", x.Dimensions())
	}
	var s Scratch
	for text, want := range map[string]string{"4": "0", "3": "0 1", "none": "0"} {
		r := reads{text: charge.TextValue(text)}
		x.Find(&r, &s)
		if got := strings.Trim(fmt.Sprint(r.refs), "[]"); got != want {
			t.Errorf("of %s it read %s, want %s", text, got, want)
		}
	}
}

type reads struct {
	text charge.Value
	refs []int
}

func (r *reads) Read(ref int) charge.Value {
	r.refs = append(r.refs, ref)
	return r.text
}

func TestFindDoesNotAllocate(t *testing.T) {
	x := Build(ranges(10_000))
	var s Scratch
	var r when.Reader = values{{}, charge.NumberValue(money.Int(7777))}
	x.Find(r, &s)
	if n := testing.AllocsPerRun(100, func() { x.Find(r, &s) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkFind(b *testing.B) {
	for _, n := range []int{10, 1000, 10_000} {
		b.Run(fmt.Sprintf("ranges=%d", n), func(b *testing.B) {
			x := Build(ranges(n))
			var s Scratch
			var r when.Reader = values{{}, charge.NumberValue(money.Int(0))}
			for b.Loop() {
				x.Find(r, &s)
				if rule, doubt, ok := s.Next(); rule != 0 || doubt || !ok {
					b.Fatal(rule, doubt, ok)
				}
			}
		})
	}
}
