package rules

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

// TestLint checks the rulebooks of testdata/lint, each on top of base.yaml, and
// compares all problems. A part whose name begins with "fine" has none.
func TestLint(t *testing.T) {
	base := read(t, "testdata/lint/base.yaml")
	paths, err := filepath.Glob("testdata/lint/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, path := range paths {
		script := txtar.Parse(read(t, path))
		for i := 0; i+1 < len(script.Files); i += 2 {
			file, want := script.Files[i], &script.Files[i+1]
			t.Run(filepath.Base(path)+"/"+file.Name, func(t *testing.T) {
				book, problems := Load(File{"base.yaml", base}, File{file.Name, file.Data})
				if book == nil {
					t.Fatal(problems)
				}
				if strings.HasPrefix(file.Name, "fine") && len(problems) > 0 {
					t.Errorf("%s: a false alarm: %v", path, problems)
				}
				got := []byte(problems.Error() + "\n")
				if *update {
					want.Data = got
				} else if string(got) != string(want.Data) {
					t.Errorf("%s: got\n%swant\n%s", path, got, want.Data)
				}
			})
		}
		if *update {
			if err := os.WriteFile(path, txtar.Format(script), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestParts(t *testing.T) {
	for _, test := range []struct {
		name, text string
		parts      int
		alphabet   Alphabet
	}{
		{"nothing", "", 1, GSM7},
		{"one message", strings.Repeat("a", 160), 1, GSM7},
		{"two messages", strings.Repeat("a", 161), 2, GSM7},
		{"two full messages", strings.Repeat("a", 306), 2, GSM7},
		{"three messages", strings.Repeat("a", 307), 3, GSM7},
		{"the euro sign counts two", strings.Repeat("a", 158) + "€", 1, GSM7},
		{"and may be one too many", strings.Repeat("a", 159) + "€", 2, GSM7},
		{"an escape is not divided", strings.Repeat("a", 152) + "€" + strings.Repeat("a", 152), 3, GSM7},
		{"French in GSM-7", "éèàùìòÉÇäöñüÄÖÑÜß§¡¿ÅåØøÆæ", 1, GSM7},
		{"but for the small cedilla", "ç", 1, UCS2},
		{"and the circumflex", "ê", 1, UCS2},
		{"a full message in UCS-2", strings.Repeat("ç", 70), 1, UCS2},
		{"one character more", strings.Repeat("ç", 71), 2, UCS2},
		{"two full messages in UCS-2", strings.Repeat("ç", 134), 2, UCS2},
		{"three in UCS-2", strings.Repeat("ç", 135), 3, UCS2},
		{"an emoji counts two", strings.Repeat("ç", 69) + "😀", 2, UCS2},
		{"and is not divided", strings.Repeat("ç", 66) + "😀" + strings.Repeat("ç", 66), 3, UCS2},
		{"Arabic", "لقد قمت بتعبئة", 1, UCS2},
	} {
		t.Run(test.name, func(t *testing.T) {
			if parts, alphabet := Parts(test.text); parts != test.parts || alphabet != test.alphabet {
				t.Errorf("%d in %s, want %d in %s", parts, alphabet, test.parts, test.alphabet)
			}
		})
	}
}

// What is proposed instead of a character must be what GSM-7 has.
func TestPlainer(t *testing.T) {
	for _, r := range "’‘‚′`´“”„«»–—‑−•·…\u00a0\u202f\u2009\tçœŒêëâáãîïíôóõûúÿÀÂÁÈÊËÎÏÍÔÓÙÛÚ×™®©" {
		if _, alphabet := Parts(plainer.Replace(string(r))); alphabet != GSM7 {
			t.Errorf("%c becomes %q, which is %s", r, plainer.Replace(string(r)), alphabet)
		}
		if gsmUnits(r) != 0 {
			t.Errorf("%c needs no other character", r)
		}
	}
}

// A rule that is asked at every event is told of once there are many rules
// beside it.
func TestLintOfManyRules(t *testing.T) {
	for _, rules := range []int{manyRulesMin - 1, manyRulesMin} {
		var b strings.Builder
		b.WriteString(small + "rules:\n")
		for i := range rules {
			condition := fmt.Sprintf("amount > %d", 1+i)
			if i == 0 {
				condition = "amount > 500 || customer.main > 3"
			}
			fmt.Fprintf(&b, "  - {name: r%d, on: recharge, when: '%s', then: [{tag: t}]}\n", i, condition)
		}
		_, problems := Load(File{"a", []byte(b.String())})
		if told := strings.Contains(problems.Error(), "rule r0 is asked at every recharge"); told != (rules == manyRulesMin) {
			t.Errorf("%d rules: %v", rules, problems)
		}
	}
}

// Comparing the rules of one large group ends after a bounded number of steps.
func TestLintIsBounded(t *testing.T) {
	var b strings.Builder
	b.WriteString(small + "rules:\n")
	for i := range 2000 {
		fmt.Fprintf(&b, "  - {name: r%d, on: recharge, group: g, when: amount > %d && cell == \"c%d\", then: [{tag: t}]}\n", i, i+1, i)
	}
	var r report
	l := &loader{report: &r, doc: readDocument(&r, []File{{"a", []byte(b.String())}}), book: &Book{}}
	l.load()
	n := l.linter()
	n.run()
	if n.steps >= 0 || len(r.problems) > 0 {
		t.Errorf("%d steps are left: %v", n.steps, r.problems)
	}
}
