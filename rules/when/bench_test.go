package when

import (
	"testing"

	"cel.dev/cel-go/cel"

	"recharged/state/charge"
)

// Comparing and combining conditions allocates nothing.
func TestEvaluationDoesNotAllocate(t *testing.T) {
	w := newWords()
	var vs Reader = w.usual(t)
	for _, source := range []string{
		`amount > 300 && channel in ["app", "ussd"] && customer.spent_30d >= 2000.00 && !customer.in("high_value")`,
		`amount >= 300.10 || gift`,
		`customer.attributes.age < 26 && customer.attributes.town == "Oran" && has(customer.main)`,
		`nothing.number > 3 || !(nothing.text == "x")`,
		`amount * 2 - customer.main / 3 > 1.5 && amount % 7 != 0`,
		`amount in [100, 200.5, 300.1]`,
		`topics.exists(x, x == "music" || x.startsWith("foot"))`,
		`time.getHours() < 6 && time - duration("24h") < timestamp("2026-11-06T00:00:00Z")`,
		`(gift ? 1 : customer.main) == 50`,
	} {
		x := mustCompile(t, source, Bool)
		if holds, err := x.Holds(vs); !holds || err != nil {
			t.Errorf("%s: got %v, %v", source, holds, err)
		}
		if n := testing.AllocsPerRun(100, func() { _, _ = x.Holds(vs) }); n != 0 {
			t.Errorf("%s: %v allocations", source, n)
		}
	}
}

// BenchmarkCondition evaluates a usual condition, and as a rival cel-go one that
// comes nearest: on native whole numbers, so without exact decimals, without
// absence, and with the predicate as a plain variable.
func BenchmarkCondition(b *testing.B) {
	b.Run("engine=when", func(b *testing.B) {
		w := newWords()
		var vs Reader = w.usual(b)
		x := mustCompile(b, `amount > 300 && channel in ["app", "ussd"] && customer.spent_30d >= 2000.00 && !customer.in("high_value")`, Bool)
		b.ReportAllocs()
		for b.Loop() {
			if holds, err := x.Holds(vs); !holds || err != nil {
				b.Fatal(holds, err)
			}
		}
	})
	b.Run("engine=cel-go", func(b *testing.B) {
		env, err := cel.NewEnv(
			cel.Variable("amount", cel.IntType), cel.Variable("channel", cel.StringType),
			cel.Variable("spent_30d", cel.IntType), cel.Variable("high_value", cel.BoolType),
		)
		if err != nil {
			b.Fatal(err)
		}
		tree, issues := env.Compile(`amount > 30000 && channel in ["app", "ussd"] && spent_30d >= 200000 && !high_value`)
		if issues.Err() != nil {
			b.Fatal(issues.Err())
		}
		program, err := env.Program(tree, cel.EvalOptions(cel.OptOptimize))
		if err != nil {
			b.Fatal(err)
		}
		vars, err := cel.NewActivation(map[string]any{"amount": int64(30010), "channel": "app", "spent_30d": int64(250000), "high_value": false})
		if err != nil {
			b.Fatal(err)
		}
		b.ReportAllocs()
		for b.Loop() {
			if v, _, err := program.Eval(vars); err != nil || v.Value() != true {
				b.Fatal(v, err)
			}
		}
	})
}

// BenchmarkCompile is what publishing a rulebook costs a condition.
func BenchmarkCompile(b *testing.B) {
	w := newWords()
	b.ReportAllocs()
	for b.Loop() {
		if _, faults := Compile(`amount > 300 && channel in ["app", "ussd"] && !customer.in("high_value")`, w, Bool); faults != nil {
			b.Fatal(faults)
		}
	}
}

// BenchmarkExplain is what telling why a condition does not hold costs.
func BenchmarkExplain(b *testing.B) {
	w := newWords()
	var vs Reader = w.usual(b)
	x := mustCompile(b, `amount > 300 && channel in ["app", "ussd"] && customer.spent_30d >= 9000.00`, Bool)
	want := charge.Field{Name: "customer.spent_30d", Value: num(b, "2500.00")}
	b.ReportAllocs()
	for b.Loop() {
		e := x.Explain(vs)
		if len(e.Saw) != 1 || e.Saw[0].Name != want.Name || !e.Saw[0].Value.Equal(want.Value) {
			b.Fatal(e)
		}
	}
}
