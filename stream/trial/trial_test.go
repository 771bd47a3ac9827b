package trial

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"pgregory.net/rapid"

	"recharged/rules"
	"recharged/state/charge"
)

var update = flag.Bool("update", false, "write what comes out into the scripts")

// TestScripts runs every script of testdata: rulebooks, test files and, after
// each test file, the report on it, or why it cannot be read.
func TestScripts(t *testing.T) {
	paths, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, path := range paths {
		t.Run(filepath.Base(path), func(t *testing.T) {
			script, err := txtar.ParseFile(path)
			if err != nil {
				t.Fatal(err)
			}
			for i := range script.Files {
				file := &script.Files[i]
				if !strings.HasSuffix(file.Name, "_test.yaml") {
					continue
				}
				want, got := &script.Files[i+1], report(script, file)
				if again := report(script, file); again != got {
					t.Errorf("%s: the second time it says\n%s", file.Name, again)
				}
				if *update {
					want.Data = []byte(got)
				} else if string(want.Data) != got {
					t.Errorf("%s: got\n%s\nwant\n%s", file.Name, got, want.Data)
				}
			}
			if *update {
				if err := os.WriteFile(path, txtar.Format(script), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// report runs a test file of a script.
func report(script *txtar.Archive, file *txtar.File) string {
	suite, problems := Read(rules.File{Name: file.Name, Data: file.Data}, func(paths []string) (*rules.Book, error) {
		for _, f := range script.Files {
			if f.Name == paths[0] {
				return load(f.Name, f.Data)
			}
		}
		data, err := os.ReadFile(filepath.Join("testdata", paths[0]))
		if err != nil {
			return nil, fmt.Errorf("there is no %s", paths[0])
		}
		return load(paths[0], data)
	})
	if suite == nil {
		return problems.Error() + "\n"
	}
	var r Report
	r.Run(suite, nil)
	return r.Text(true)
}

func load(name string, data []byte) (*rules.Book, error) {
	book, problems := rules.Load(rules.File{Name: name, Data: data})
	if book == nil {
		return nil, problems
	}
	return book, nil
}

const story = `
rulebook: base.yaml
tests:
  - name: one
    steps: [{at: 2026-11-20, event: {type: recharge, amount: 100}, expect: {rules: {tenth: applied}}}]
  - name: two
    steps: [{at: 2026-11-20, event: {type: recharge, amount: 100}, expect: {rules: {tenth: limit}}}]
`

func suiteOf(t *testing.T, text string) *Suite {
	t.Helper()
	data, err := os.ReadFile("testdata/base.yaml")
	if err != nil {
		t.Fatal(err)
	}
	suite, problems := Read(rules.File{Name: "a_test.yaml", Data: []byte(text)}, func([]string) (*rules.Book, error) {
		return load("base.yaml", data)
	})
	if suite == nil {
		t.Fatal(problems)
	}
	return suite
}

func TestRunOnlySome(t *testing.T) {
	var r Report
	r.Run(suiteOf(t, story), regexp.MustCompile("^one$"))
	if len(r.Tests) != 1 || r.Failed() != 0 {
		t.Errorf("%d tests, %d failed", len(r.Tests), r.Failed())
	}
	if !r.Covered(25) || r.Covered(26) {
		t.Errorf("one rule of four is %d %%", r.Coverage[0].Percent())
	}
}

// The coverage of a book that several files test is one.
func TestCoverageIsOfTheBook(t *testing.T) {
	var r Report
	r.Run(suiteOf(t, story), nil)
	r.Run(suiteOf(t, strings.Replace(story, "type: recharge, amount: 100", "type: visit, city: Oran", 1)), regexp.MustCompile("one"))
	if len(r.Coverage) != 1 || strings.Join(r.Coverage[0].Applied, " ") != "greet tenth" {
		t.Errorf("%+v", r.Coverage)
	}
}

func TestJSON(t *testing.T) {
	var r Report
	r.Run(suiteOf(t, story), nil)
	text, err := json.Marshal(&r)
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		OK             bool
		Passed, Failed int
		Tests          []struct {
			Name, File string
			Line       int
			Failures   []struct {
				Line      int
				Step, Key string
				Diff      []struct{ Mark, Text string }
			}
		}
		Coverage []struct{ Applied, Never []string }
	}
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	if got.OK || got.Passed != 1 || got.Failed != 1 || len(got.Tests) != 2 || len(got.Coverage[0].Never) != 3 {
		t.Fatalf("%s", text)
	}
	failed := got.Tests[1]
	if failed.Line != 6 || len(failed.Failures) != 1 || failed.Failures[0].Key != "rules" || failed.Failures[0].Diff[0].Mark != "-" {
		t.Errorf("%s", text)
	}
}

// What is expected and leaves things open finds partners so that as many as
// possible have one: never fewer than the best of all ways to pair them.
func TestPairsAreAsManyAsPossible(t *testing.T) {
	letters := rapid.SliceOfN(rapid.SampledFrom([]word{"a", "b", "c", "ab", "bc", "ac", "abc"}), 0, 5)
	fits := func(want, got word) bool { return strings.ContainsAny(string(want), string(got)) }
	rapid.Check(t, func(t *rapid.T) {
		want, got := letters.Draw(t, "want"), letters.Draw(t, "got")
		missing := 0
		for _, l := range diffSets(want, got, fits) {
			if l.Mark == Missing {
				missing++
			}
		}
		if best := len(want) - pairs(want, got, fits); missing != best {
			t.Fatalf("%d are missing, %d need be", missing, best)
		}
	})
}

// pairs tries all ways to pair.
func pairs(want, got []word, fits func(a, b word) bool) int {
	if len(want) == 0 {
		return 0
	}
	best := pairs(want[1:], got, fits)
	for i, g := range got {
		if fits(want[0], g) {
			rest := append(append([]word(nil), got[:i]...), got[i+1:]...)
			best = max(best, 1+pairs(want[1:], rest, fits))
		}
	}
	return best
}

func TestHigherNumbers(t *testing.T) {
	for _, test := range []struct {
		from string
		by   int
		want string
	}{{"213770000001", 9, "213770000010"}, {"213779999999", 1, "213780000000"}, {"999999", 1, ""}, {"000009", 991, "001000"}} {
		m, err := charge.ParseMSISDN(test.from)
		if err != nil {
			t.Fatal(err)
		}
		if got, ok := higher(m, test.by); ok != (test.want != "") || ok && got.String() != test.want {
			t.Errorf("%s + %d: %s, %t", test.from, test.by, got, ok)
		}
	}
}

// What is nested deeper than anybody writes is refused before it costs anything.
func TestDepthIsBounded(t *testing.T) {
	for _, text := range []string{strings.Repeat("[", 200_000), strings.Repeat("- ", 200_000), strings.Repeat("{a: ", 100_000), strings.Repeat("x", bytesMax+1)} {
		suite, problems := Read(rules.File{Name: "a_test.yaml", Data: []byte(text)}, nil)
		if suite != nil || len(problems) != 1 {
			t.Errorf("%.10s…: %v", text, problems)
		}
	}
}

// Whatever the file is, reading it and playing its stories never panics, and a
// story that can be told does not break the machine.
func FuzzTrial(f *testing.F) {
	base, err := os.ReadFile("testdata/base.yaml")
	if err != nil {
		f.Fatal(err)
	}
	book, err := load("base.yaml", base)
	if err != nil {
		f.Fatal(err)
	}
	paths, _ := filepath.Glob("testdata/*.txtar")
	for _, path := range paths {
		script, err := txtar.ParseFile(path)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range script.Files {
			f.Add(file.Data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		suite, problems := Read(rules.File{Name: "a_test.yaml", Data: data}, func([]string) (*rules.Book, error) { return book, nil })
		if (suite == nil) == (problems == nil) {
			t.Fatalf("suite %v, problems %v", suite != nil, problems)
		}
		if suite == nil {
			return
		}
		var r Report
		r.Run(suite, nil)
		if text := r.Text(true); strings.Contains(text, ": the machine\n") {
			t.Errorf("%s", text)
		}
	})
}
