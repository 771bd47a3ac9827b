package rules

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"recharged/rules/sample"
)

// TestBroken checks every rulebook of testdata/broken and compares all problems.
func TestBroken(t *testing.T) {
	paths, err := filepath.Glob("testdata/broken/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, path := range paths {
		script := txtar.Parse(read(t, path))
		for i := 0; i+1 < len(script.Files); i += 2 {
			file, want := script.Files[i], &script.Files[i+1]
			t.Run(filepath.Base(path)+"/"+file.Name, func(t *testing.T) {
				book, problems := Load(File{file.Name, file.Data})
				if (book == nil) != problems.Failed() {
					t.Errorf("a book: %v, although: %v", book != nil, problems)
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

func TestSample(t *testing.T) {
	book, problems := Load(File{"rulebook.yaml", sample.Rulebook})
	if book == nil {
		t.Fatal(problems)
	}
	for _, p := range problems {
		if p.Severity != Warning || !strings.Contains(p.Message, "double-300 credits without any limit") {
			t.Error(p)
		}
	}
	happened := play(t, book, strings.Join([]string{
		"2026-11-20 10:00 recharge amount=350",
		"2026-11-20 18:30 recharge amount=500 channel=app",
		"2026-11-20 18:31 recharge amount=300",
	}, "\n"))
	for _, line := range []string{
		"bonus +350.00 by double-300, now 350.00, until 2026-11-27 10:00",
		"Vous avez rechargé 350 DA. Bonus : 350 DA, valable jusqu'au 27/11/2026 10:00.",
		"bonus +250.00 by friday-tiers",
		"500MB offerts jusqu'au 27/11/2026 18:31.",
	} {
		if !strings.Contains(happened, line) {
			t.Errorf("the sample does not do %q:\n%s", line, happened)
		}
	}
}
