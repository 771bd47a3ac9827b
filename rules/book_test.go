package rules

import (
	"bytes"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"

	"recharged/rules/sample"
	"recharged/state/charge"
	"recharged/state/ledger"
	"recharged/state/money"
)

func mustLoad(t testing.TB, files ...File) *Book {
	t.Helper()
	book, problems := Load(files...)
	if book == nil {
		t.Fatal(problems)
	}
	return book
}

const small = `version: 1
currency: DZD
balances:
  main: {unit: DZD}
  bonus: {unit: DZD}
`

// The plan is what the ledger obeys, so its defaults are those of the language.
func TestPlanDefaults(t *testing.T) {
	plan := mustLoad(t, File{"a", []byte(small)}).Plan()
	if plan.Lateness != 48*time.Hour || plan.Ahead != 5*time.Minute || plan.Location != time.UTC {
		t.Errorf("lateness %v, ahead %v, location %v", plan.Lateness, plan.Ahead, plan.Location)
	}
	if want := (ledger.DedupPlan{Money: 72 * time.Hour, Other: time.Hour, Keep: 256}); plan.Dedup != want {
		t.Errorf("dedup %v, want %v", plan.Dedup, want)
	}
	if b, _ := plan.Balance("bonus"); *b != (ledger.BalancePlan{Name: "bonus", Unit: money.Unit{Name: "DZD", Digits: 2}, Order: 100, Spend: true}) {
		t.Errorf("balance %+v", *b)
	}
	// A late event must still meet the memory of its first sending.
	plan = mustLoad(t, File{"a", []byte(small + "lateness: 100h\n")}).Plan()
	if plan.Dedup.Money != 100*time.Hour {
		t.Errorf("dedup %v does not cover a lateness of 100h", plan.Dedup)
	}
}

func TestPlan(t *testing.T) {
	book := mustLoad(t, File{"rulebook.yaml", []byte(small + `lateness: 24h
services: [roaming]
dedup: {money: 100h, other: 2h, keep: 300}
tariffs:
  voice: {price: 4, per: 60s}
  data: {price: 0.50, per: 1MB}
  roaming: {price: 9, per: 1m}
counters:
  spent: {on: usage, sum: charged, window: 30d}
  units: {on: usage, sum: units, window: 90m}
`)})
	plan := book.Plan()
	if want := (ledger.DedupPlan{Money: 100 * time.Hour, Other: 2 * time.Hour, Keep: 300}); plan.Dedup != want {
		t.Errorf("dedup %v, want %v", plan.Dedup, want)
	}
	if want := []ledger.TariffPlan{{Service: "data", Price: 50, Per: 1_000_000}, {Service: "roaming", Price: 900, Per: 60}, {Service: "voice", Price: 400, Per: 60}}; !slices.Equal(plan.Tariffs, want) {
		t.Errorf("tariffs %v, want %v", plan.Tariffs, want)
	}
	if want := []ledger.CounterPlan{
		{Name: "spent", On: "usage", Sum: "charged", Memory: "spent=usage:charged", Window: 720 * time.Hour, Digits: 2},
		{Name: "units", On: "usage", Sum: "units", Memory: "units=usage:units", Window: 90 * time.Minute},
	}; !slices.Equal(plan.Counters, want) {
		t.Errorf("counters %v, want %v", plan.Counters, want)
	}
	catalog := book.Catalog()
	if !slices.Equal(catalog.Services, []string{"voice", "sms", "data", "roaming"}) || len(catalog.Types) != 8 || catalog.Balances["main"].Digits != 2 {
		t.Errorf("catalog %+v", catalog)
	}
}

func TestMerge(t *testing.T) {
	money := File{"money.yaml", []byte(small + "templates:\n  hello: {fr: \"l'été : \\\"{amount}\\\"\\n\", ar: 'مرحبا'}\n")}
	rules := File{"rules.yaml", []byte(`version: 1
templates: # of the campaign
  bye:
    en: |
      so long,
        and thanks
rules:
  - name: b
    on: recharge
    when: 'amount > 300 && channel != "app"'
    then: [{notify: {template: hello}}, {notify: {template: bye}}]
`)}
	more := File{"more.yaml", []byte(`balances: {points: {unit: point, spend: false}}
segments: {rich: customer.main > 5}
rules:
- {name: a, on: recharge, schedule: {days: [fri, "sat"]}, then: [{tag: x}]}
`)}
	last := File{"last.yaml", []byte("segments:\n  city: customer.attributes.city in [\"Oran\", \"Alger\"] # in brackets this could not stand\n")}
	whole := mustLoad(t, money, rules, more, last)
	merged, problems := Merge(money, rules, more, last)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	if !bytes.Equal(merged, whole.Source()) {
		t.Errorf("Merge and Source differ:\n%s\n%s", merged, whole.Source())
	}
	again := mustLoad(t, File{"merged.yaml", merged})
	if again.Digest() != whole.Digest() || !strings.HasPrefix(again.Digest(), "sha256:") {
		t.Errorf("digest %s, read again %s", whole.Digest(), again.Digest())
	}
	if changes := Changes(whole, again); len(changes) > 0 {
		t.Errorf("the merged document is another book: %v\n%s", changes, merged)
	}
	if got := again.rules[1].says[1].texts[0].pieces[0].literal; got != "so long,\n  and thanks\n" {
		t.Errorf("a text of several lines became %q", got)
	}
	if single, _ := Merge(rules); !bytes.Equal(single, rules.Data) {
		t.Errorf("one file was changed: %s", single)
	}
}

func TestMergeConflicts(t *testing.T) {
	_, problems := Load(
		File{"a.yaml", []byte(small + "rules:\n  - {name: x, on: recharge, then: [{tag: x}]}\n")},
		File{"b.yaml", []byte("currency: DZD\nbalances: {bonus: {unit: DZD}}\nrules:\n  - {name: x, on: recharge, then: [{tag: x}]}\n")},
	)
	want := `b.yaml:1:1: error: currency stands twice, first at a.yaml:2:1: keep one of the two
b.yaml:2:12: error: balances bonus stands twice, first at a.yaml:5:3: keep one of the two
b.yaml:4:12: error: rule x stands twice, first at a.yaml:7:12: keep one of the two`
	if got := problems.Error(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if _, problems := Merge(); !problems.Failed() {
		t.Error("nothing was merged without a word")
	}
}

func TestChanges(t *testing.T) {
	old := mustLoad(t, File{"a", []byte(small + `
rules:
  - {name: double, on: recharge, when: amount > 300, then: [{credit: {to: bonus, percent: 100}}, {tag: x}]}
  - {name: gone, on: recharge, then: [{tag: x}]}
  - {name: same, on: recharge, schedule: {days: [fri]}, then: [{tag: x}]}
`)})
	young := mustLoad(t, File{"b", []byte(strings.Replace(small, "bonus: {unit: DZD}", "bonus: {unit: DZD, validity: 7d}", 1) + `
lateness: 24h
segments:
  youth: customer.attributes.age < 26
rules:
  - {name: same, on: recharge, schedule: {days: [fri]}, then: [{tag: x}]}
  - name: double
    on: recharge
    when: amount > 500
    then:
      - credit: {to: bonus, percent: 50, max: 10}
      - tag: x
      - credit: {to: main, amount: 1}
  - {name: new, on: recharge, then: [{tag: x}]}
`)})
	want := []string{
		"balance bonus: validity 7d added",
		"lateness added",
		"segment youth added",
		"rule double: when amount > 300 → amount > 500",
		"rule double: percent 100 → 50",
		"rule double: max 10 added",
		"rule double: credit 2 to main added",
		"rule double: credit 2 amount 1 added",
		"rule new added",
		"rule gone removed",
	}
	if got := Changes(old, young); !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if got := Changes(nil, old); len(got) != 7 || got[6] != "rule same added" {
		t.Errorf("of the first book: %v", got)
	}
	if got := Changes(old, old); len(got) != 0 {
		t.Errorf("of the same book: %v", got)
	}
}

// A rule that was edited and keeps its name keeps its memory.
func TestLimitSurvivesEdit(t *testing.T) {
	rule := func(then string) *Book {
		return mustLoad(t, File{"a", []byte(small + "rules:\n  - {name: once, on: recharge, limits: {per_customer: [{count: 1, per: campaign}]}, then: [" + then + "]}\n")})
	}
	var c charge.Customer
	at := charge.Instant(time.Date(2026, 11, 20, 10, 0, 0, 0, time.UTC).UnixNano())
	var verdicts []charge.RuleVerdict
	for _, book := range []*Book{rule("{tag: a}"), rule("{tag: b}")} {
		var d Decision
		book.Decide(&Subject{Event: &charge.Event{Type: charge.Recharge, Time: at}, Before: &c, After: &c, Clock: at}, &d)
		book.Settle(&d, &c, at)
		verdicts = append(verdicts, d.Results[0].Verdict)
	}
	if !slices.Equal(verdicts, []charge.RuleVerdict{charge.RuleApplied, charge.RuleSkipped}) {
		t.Errorf("verdicts %v", verdicts)
	}
}

// The memory of a limit is bounded, and what it has dropped it does not allow.
func TestLimitMemoryIsBounded(t *testing.T) {
	book := mustLoad(t, File{"a", []byte(small + "lateness: 300d\nrules:\n  - {name: r, on: recharge, limits: {per_customer: [{count: 1, per: 1m}]}, then: [{tag: x}]}\n")})
	var c charge.Customer
	var d Decision
	start := charge.Instant(time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC).UnixNano())
	decide := func(at charge.Instant) charge.RuleVerdict {
		book.Decide(&Subject{Event: &charge.Event{Type: charge.Recharge, Time: at}, Before: &c, After: &c, Clock: at}, &d)
		book.Settle(&d, &c, at)
		return d.Results[0].Verdict
	}
	for i := range 2 * limitBucketsMax {
		if got := decide(start.Add(time.Duration(i) * time.Hour)); got != charge.RuleApplied {
			t.Fatalf("use %d: %v", i, got)
		}
	}
	if n := len(c.Counters[0].Buckets); n != limitBucketsMax {
		t.Errorf("%d buckets are remembered, want %d", n, limitBucketsMax)
	}
	if got := decide(start.Add(30 * time.Minute)); got != charge.RuleSkipped {
		t.Errorf("a use before all that is remembered: %v", got)
	}
	if got := decide(start.Add(1000*time.Hour + 30*time.Minute)); got != charge.RuleApplied {
		t.Errorf("a late use between two others: %v", got)
	}
}

// Time lets go of what no event can need any more.
func TestLimitForgets(t *testing.T) {
	book := mustLoad(t, File{"a", []byte(small + "rules:\n  - {name: r, on: recharge, limits: {per_customer: [{count: 9, per: day}]}, then: [{tag: x}]}\n")})
	var c charge.Customer
	var d Decision
	start := charge.Instant(time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC).UnixNano())
	for day := range 30 {
		at := start.Add(time.Duration(day) * 24 * time.Hour)
		book.Decide(&Subject{Event: &charge.Event{Type: charge.Recharge, Time: at}, Before: &c, After: &c, Clock: at}, &d)
		book.Settle(&d, &c, at)
	}
	if n := len(c.Counters[0].Buckets); n != 3 {
		t.Errorf("%d days are remembered, a lateness of 48h needs 3", n)
	}
}

func TestSize(t *testing.T) {
	for bytes, want := range map[int64]string{
		0: "0B", 1: "1B", 999: "999B", 1000: "1kB", 1500: "1.5kB", 1234: "1234B", 1_500_000_000: "1.5GB",
		500_000_000: "500MB", 1_234_567: "1234567B", 1_100_000: "1.1MB",
	} {
		if got := size(money.Int(bytes)); got != want {
			t.Errorf("size of %d: %s, want %s", bytes, got, want)
		}
	}
}

// A hostile document is refused quickly, not followed.
func TestHostileDocuments(t *testing.T) {
	var keys strings.Builder
	for i := range 50_000 {
		fmt.Fprintf(&keys, "k%d: v\n", i)
	}
	var sections strings.Builder
	for i := range sectionKeysMax - 1 {
		fmt.Fprintf(&sections, "  k%d: v\n", i)
	}
	for name, text := range map[string]string{
		"brackets": "a: " + strings.Repeat("[", 200_000),
		"braces":   strings.Repeat("{a: ", 100_000),
		"dashes":   strings.Repeat("- ", 200_000),
		"question": strings.Repeat("? ", 200_000),
		"keys":     keys.String(),
		"section":  small + "segments:\n" + sections.String(),
		"nested":   small + "templates:\n  a:\n" + strings.ReplaceAll(sections.String(), "  k", "    k"),
		"size":     strings.Repeat("#", documentBytesMax+1),
		"invalid":  "version: \xff\n",
		"laughs":   "a: &a [x]\nb: [*a, *a]\n",
		"deep":     "a:\n" + strings.Repeat("- "+strings.Repeat("[", 9000)+strings.Repeat("]", 9000)+"\n", 20),
		"colons":   "a: {" + strings.Repeat("a: ", 1_000_000) + "{",
		"items":    "a: [" + strings.Repeat("b,", 100_000) + "]",
		"remarks":  strings.Repeat("#\n\n", 500_000),
		"quotes":   "a: {" + strings.Repeat(`"":"",`, 50_000),
		"files":    strings.Repeat("--- # x\n", 200_000),
	} {
		start := time.Now()
		if _, problems := Load(File{name, []byte(text)}); !problems.Failed() {
			t.Errorf("%s was not refused", name)
		}
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("%s took %v", name, took)
		}
	}
}

// What is published is one document of all files, so that keeps to the bounds.
func TestMergedBounds(t *testing.T) {
	long := func(name string) File {
		var text strings.Builder
		text.WriteString("rules:\n")
		for i := range 900 {
			fmt.Fprintf(&text, "  - {name: %s%d, on: recharge, title: \"%s\", then: [{tag: x}]}\n", name, i, strings.Repeat("x", 2400))
		}
		return File{name + ".yaml", []byte(text.String())}
	}
	keys := func(name string) File {
		var text strings.Builder
		text.WriteString("segments:\n")
		for i := range 15_000 {
			fmt.Fprintf(&text, "  %s%d: \"true\"\n", name, i)
		}
		return File{name + ".yaml", []byte(text.String())}
	}
	first := File{"first.yaml", []byte(small)}
	for _, test := range []struct {
		files []File
		want  string
	}{
		{[]File{first, long("a"), long("b")}, "first.yaml:1:1: error: together first.yaml, a.yaml, b.yaml have "},
		{[]File{first, keys("a"), keys("b")}, "b.yaml:5002:3: error: more than 20000 segments in all files"},
	} {
		if book, problems := Load(test.files[:2]...); book == nil {
			t.Fatalf("the first two alone: %v", problems)
		}
		book, problems := Load(test.files...)
		if got := problems.Error(); book != nil || !strings.Contains(got, test.want) {
			t.Errorf("got %.200s, want %s", got, test.want)
		}
		if merged, problems := Merge(test.files...); merged != nil || !problems.Failed() {
			t.Errorf("%d bytes were merged", len(merged))
		}
	}
}

// A place in a text is found from the nearest mark, in a line of any length.
func TestOffset(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringOfN(rapid.RuneFrom([]rune("aé€😀\n")), 0, 3000, -1).Draw(t, "text")
		f := newSourceFile("a", text)
		line, column := 1, 1
		for at, r := range text {
			if got := f.offset(line, column); got != at {
				t.Fatalf("%d:%d is byte %d, want %d", line, column, got, at)
			}
			if column++; r == '\n' {
				line, column = line+1, 1
			}
		}
		if got := f.offset(line, column); got != len(text) {
			t.Fatalf("the end is byte %d, want %d", got, len(text))
		}
		if most := utf8.RuneCountInString(text)/marksEvery + 1; len(f.marks) > most {
			t.Fatalf("%d marks, want at most %d", len(f.marks), most)
		}
	})
}

func TestPlacesInOneLine(t *testing.T) {
	data := oneLine(480_000, 300)
	_, problems := Load(File{"a", data})
	if len(problems) != problemsMax {
		t.Fatalf("%d problems", len(problems))
	}
	characters := []rune(string(data))
	for _, p := range problems {
		if got := string(characters[p.Column-1 : p.Column+5]); p.Line != 1 || got != "amuont" {
			t.Fatalf("%v: there stands %s", p, got)
		}
	}
}

// A rule whose credit cannot be posted is taken out of the decision, and the
// others stay.
func TestFail(t *testing.T) {
	book := mustLoad(t, File{"a", []byte(small + `templates: {hello: {fr: "{credited}"}}
rules:
  - name: a
    on: recharge
    group: g
    limits: {per_customer: [{count: 1, per: day}]}
    then: [{credit: {to: bonus, amount: 1}}, {credit: {to: main, amount: 2}}, {tag: x}, {untag: old}, {notify: {template: hello}}]
  - name: b
    on: recharge
    limits: {per_customer: [{count: 1, per: day}, {count: 2, per: week}]}
    then: [{credit: {to: bonus, amount: 3}}, {tag: y}, {notify: {template: hello}}, {alert: {severity: info, summary: b}}]
  - {name: c, on: recharge, group: g, then: [{tag: z}]}
`)})
	at := charge.Instant(time.Date(2026, 11, 20, 18, 30, 0, 0, time.UTC).UnixNano())
	c := &charge.Customer{Tags: []string{"old"}}
	s := &Subject{Event: &charge.Event{Type: charge.Recharge, Time: at}, Before: c, After: c, Clock: at}
	var d Decision
	book.Decide(s, &d)
	if len(d.Credits) != 3 || len(d.Tags) != 3 || len(d.Uses) != 3 {
		t.Fatalf("decided %+v", d)
	}
	d.Fail("c", "did not apply")
	d.Fail("nobody", "is not there")
	d.Fail("a", "the balance is full")
	want := []charge.RuleResult{
		{Name: "a", Verdict: charge.RuleSkipped, Reason: charge.SkipError, Detail: "the balance is full"},
		{Name: "b", Verdict: charge.RuleApplied},
		{Name: "c", Verdict: charge.RuleSkipped, Reason: charge.SkipGroup},
	}
	if !reflect.DeepEqual(d.Results, want) {
		t.Errorf("results %+v", d.Results)
	}
	if len(d.Credits) != 1 || d.Credits[0].Amount != 300 {
		t.Errorf("credits %+v", d.Credits)
	}
	book.Settle(&d, c, at)
	if !slices.Equal(c.Tags, []string{"old", "y"}) {
		t.Errorf("tags %v", c.Tags)
	}
	if c.Counter("limit:a:day") != nil || c.Counter("limit:b:day") == nil || c.Counter("limit:b:week") == nil {
		t.Errorf("counters %+v", c.Counters)
	}
	notifications, alerts := book.Render(s, &d)
	if len(notifications) != 1 || notifications[0].Text != "3" || len(alerts) != 1 {
		t.Errorf("said %+v %+v", notifications, alerts)
	}
	d.Fail("b", "neither")
	if notifications, alerts = book.Render(s, &d); len(d.Credits)+len(d.Tags)+len(d.Uses)+len(notifications)+len(alerts) > 0 {
		t.Errorf("left %+v", d)
	}
}

// Nobody reads more problems than these at once, but their number is told.
func TestManyProblems(t *testing.T) {
	var text strings.Builder
	text.WriteString(small)
	for i := range 150 {
		fmt.Fprintf(&text, "unknown%d: 1\n", i)
	}
	_, problems := Load(File{"a", []byte(text.String())})
	if last := problems[len(problems)-1]; len(problems) != problemsMax || !strings.HasSuffix(last.Hint, "; mend these errors first, 50 more are not shown") {
		t.Errorf("%d problems, the last is %v", len(problems), last)
	}
}

// However many warnings there are, every error is told, and a book that does
// not load has one.
func TestWarningsHideNoError(t *testing.T) {
	var text strings.Builder
	text.WriteString(small + "rules:\n")
	for i := range 150 {
		fmt.Fprintf(&text, "  - {name: r%d, on: recharge, then: [{credit: {to: bonus, percent: 1}}]}\n", i)
	}
	book, problems := Load(File{"a", []byte(text.String())})
	if last := problems[len(problems)-1]; book == nil || problems.Failed() || len(problems) != problemsMax || !strings.HasSuffix(last.Hint, "; mend these warnings first, 50 more are not shown") {
		t.Errorf("%d problems, failed %v, the last is %v", len(problems), problems.Failed(), last)
	}
	text.WriteString("  - {name: last, on: recharge, then: [{tagg: x}]}\n")
	book, problems = Load(File{"a", []byte(text.String())})
	if last := problems[len(problems)-1]; book != nil || !problems.Failed() || last.Severity != Error || last.Message != `unknown key "tagg"` {
		t.Errorf("failed %v, the last of %d problems is %v", problems.Failed(), len(problems), last)
	}
}

func FuzzLoad(f *testing.F) {
	f.Add(sample.Rulebook)
	f.Add(read(f, "testdata/scripts/base.yaml"))
	f.Add(read(f, "testdata/every-key.yaml"))
	f.Add([]byte("version: 1\nrules: [{name: a, on: usage, when: \"é\\u00e9 > \\\"\", then: [{credit: }]}]\n"))
	f.Add([]byte("segments:\n  a: >\n    customer.in(\n\n  b: |-\n   x\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		book, problems := Load(File{"fuzz.yaml", data})
		if (book == nil) != problems.Failed() {
			t.Fatalf("book %v, problems %v", book != nil, problems)
		}
		lines := strings.Count(lineEnds.Replace(string(data)), "\n") + 1
		for _, p := range problems {
			if p.Line < 1 || p.Line > lines || p.Column < 1 {
				t.Errorf("a problem stands outside of the file: %v", p)
			}
		}
		if book == nil {
			return
		}
		merged, problems := Merge(File{"a", data}, File{"b", []byte("version: 1\n")})
		if merged == nil {
			t.Fatal(problems)
		}
		if again := mustLoad(t, File{"merged", merged}); len(Changes(book, again)) > 0 {
			t.Errorf("written anew it is another book: %v\n%s", Changes(book, again), merged)
		}
	})
}
