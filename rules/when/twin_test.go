package when

import (
	"fmt"
	"strings"
	"testing"

	"cel.dev/cel-go/cel"
	"pgregory.net/rapid"

	"recharged/state/charge"
	"recharged/state/money"
)

// TestTwin holds the evaluator against cel-go on random expressions of what the
// two mean alike: whole numbers, text, truth, lists, and errors (a remainder of
// zero) with what && and || make of them.
func TestTwin(t *testing.T) {
	env := celEnv(t)
	rapid.Check(t, func(t *rapid.T) {
		source := twinGrammar{t}.truth(4)
		named := map[string]any{
			"i": rapid.Int64Range(-9, 9).Draw(t, "i"),
			"j": rapid.Int64Range(-3, 3).Draw(t, "j"),
			"s": rapid.SampledFrom(twinTexts).Draw(t, "s"),
			"p": rapid.Bool().Draw(t, "p"),
			"l": rapid.SliceOfN(rapid.SampledFrom(twinTexts), 0, 3).Draw(t, "l"),
		}
		tree, issues := env.Compile(source)
		if issues.Err() != nil {
			t.Fatalf("%s: cel-go refuses: %v", source, issues.Err())
		}
		program, err := env.Program(tree)
		if err != nil {
			t.Fatal(err)
		}
		x, faults := Compile(source, twinWords{newWords()}, Bool)
		if faults != nil {
			t.Fatalf("%s: refused: %v", source, faults)
		}
		want, _, wantErr := program.Eval(named)
		got, err := x.Holds(twinValues(named))
		if (err != nil) != (wantErr != nil) || err == nil && got != want.Value().(bool) {
			t.Fatalf("%s of %v: got %v, %v, cel-go says %v, %v", source, named, got, err, want, wantErr)
		}
		if e := x.Explain(twinValues(named)); e.Holds != got || (e.Err != nil) != (err != nil) {
			t.Fatalf("%s of %v: holds %v, %v, explained %+v", source, named, got, err, e)
		}
		// The texts of the conjuncts are the expression: joined again they mean the same.
		var parts []string
		for _, c := range x.Conjuncts() {
			parts = append(parts, "("+c.Source()+")")
		}
		again, faults := Compile(strings.Join(parts, " && "), twinWords{newWords()}, Bool)
		if faults != nil {
			t.Fatalf("conjuncts of %s: %q: %v", source, parts, faults)
		}
		if joined, joinedErr := again.Holds(twinValues(named)); joined != got || (joinedErr != nil) != (err != nil) {
			t.Fatalf("%s of %v: %v, its conjuncts %q: %v", source, named, got, parts, joined)
		}
	})
}

var (
	twinNames = []string{"i", "j", "s", "p", "l"}
	twinTypes = []Type{Number, Number, Text, Bool, List}
	twinTexts = []string{"", "a", "b", "ab", "é.in("}
)

func celEnv(t testing.TB) *cel.Env {
	env, err := cel.NewEnv(
		cel.Variable("i", cel.IntType), cel.Variable("j", cel.IntType), cel.Variable("s", cel.StringType),
		cel.Variable("p", cel.BoolType), cel.Variable("l", cel.ListType(cel.StringType)),
	)
	if err != nil {
		t.Fatal(err)
	}
	return env
}

type twinWords struct{ *words }

func (twinWords) Variable(path []string) (Variable, error) {
	for i, name := range twinNames {
		if path[0] == name && len(path) == 1 {
			return Variable{Ref: i, Type: twinTypes[i]}, nil
		}
	}
	return Variable{}, fmt.Errorf("unknown name %v", path)
}

func twinValues(named map[string]any) values {
	return values{
		charge.NumberValue(money.Int(named["i"].(int64))),
		charge.NumberValue(money.Int(named["j"].(int64))),
		charge.TextValue(named["s"].(string)),
		charge.BoolValue(named["p"].(bool)),
		charge.ListValue(named["l"].([]string)),
	}
}

// twinGrammar writes random expressions, with more parentheses, signs and space
// than anybody would.
type twinGrammar struct{ t *rapid.T }

func (g twinGrammar) pick(n int) int { return rapid.IntRange(0, n-1).Draw(g.t, "pick") }

func (g twinGrammar) truth(depth int) string {
	if depth == 0 {
		return []string{"p", "true", "false", "!p", "!!p", "(p)"}[g.pick(6)]
	}
	d := depth - 1
	switch g.pick(11) {
	case 0, 1:
		return g.truth(d) + " && " + g.group(g.truth(d))
	case 2:
		return g.group(g.truth(d) + " || " + g.truth(d))
	case 3:
		return []string{"!", "! !", "!!!"}[g.pick(3)] + "(" + g.truth(d) + ")"
	case 4:
		return "(" + g.truth(d) + " ? " + g.truth(d) + " : " + g.truth(d) + ")"
	case 5, 6:
		return g.whole(d) + []string{" == ", "!=", " < ", "<=", " > ", ">= "}[g.pick(6)] + g.whole(d)
	case 7:
		return g.text(d) + []string{" == ", "!=", " < ", "<=", " > ", ">= "}[g.pick(6)] + g.text(d)
	case 8:
		return g.whole(d) + " in [" + g.whole(0) + ", " + g.whole(0) + "]"
	case 9:
		return g.text(d) + " in " + []string{"l", "['a', s]", "(l)"}[g.pick(3)]
	}
	return []string{
		"l.exists(x, x == " + g.text(0) + " && " + g.truth(0) + ")",
		"l.all(x, x != " + g.text(0) + " || i % j == 0)",
		"[i, 2].exists(x, x == " + g.whole(0) + ")",
		g.text(d) + ".startsWith(" + g.text(0) + ")",
		g.text(d) + ".contains(s)",
		"s.matches('^a?b')",
		"size(l) == size(" + g.text(d) + ")",
		"p == (" + g.truth(d) + ")",
	}[g.pick(8)]
}

func (g twinGrammar) group(text string) string {
	n := g.pick(3)
	return strings.Repeat("( ", n) + text + strings.Repeat(")", n)
}

func (g twinGrammar) whole(depth int) string {
	if depth == 0 {
		return []string{"i", "j", "0", "3", "-2", "(- 1)", "--i"}[g.pick(7)]
	}
	d := depth - 1
	switch g.pick(4) {
	case 0:
		return "(" + g.whole(d) + []string{" + ", " - ", "*", " % "}[g.pick(4)] + g.whole(d) + ")"
	case 1:
		return "-(" + g.whole(d) + ")"
	case 2:
		return "(" + g.truth(d) + " ? " + g.whole(d) + " : " + g.whole(d) + ")"
	}
	return g.whole(0)
}

func (g twinGrammar) text(depth int) string {
	if depth == 0 {
		return []string{"s", "'a'", `"b"`, "r'é.in('", "(s)"}[g.pick(5)]
	}
	if g.pick(2) == 0 {
		return "(" + g.text(depth-1) + " + " + g.text(depth-1) + ")"
	}
	return g.text(0)
}
