package rules

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// largeSections writes a book with sections of so many names, laid out in every
// way that YAML allows.
func largeSections(names int) string {
	var b strings.Builder
	b.WriteString(small + "segments: # of everybody\n\n  # the first\n")
	for i := range names {
		switch i % 4 {
		case 0:
			fmt.Fprintf(&b, "  s%d: customer.main > %d\n", i, i)
		case 1:
			fmt.Fprintf(&b, "  \"s%d\": >\n    customer.main >\n    %d\n", i, i)
		case 2:
			fmt.Fprintf(&b, "  's%d': 'customer.main > %d' # a remark\n  # another\n", i, i)
		case 3:
			fmt.Fprintf(&b, "  s%d:\n    customer.main\n    > %d\n", i, i)
		}
	}
	b.WriteString("templates:\n")
	for i := range names {
		switch i % 3 {
		case 0:
			fmt.Fprintf(&b, "    t%d:\n        fr: |\n            t: %d\n        en: x\n", i, i)
		case 1:
			fmt.Fprintf(&b, "    t%d: {fr: \"t: %d\",\n  en: x}\n", i, i)
		case 2:
			fmt.Fprintf(&b, "    t%d: {\n  fr: 't: %d', en: x}\n\n", i, i)
		}
	}
	b.WriteString("counters: {}\nrules:\n- name: r\n  on: recharge\n  then: [{tag: x}]\n")
	return b.String()
}

// A section that is read in stretches is the section that was written.
func TestLargeSections(t *testing.T) {
	for _, names := range []int{1, stretchKeys - 1, stretchKeys, stretchKeys + 1, 2 * stretchKeys, 2*stretchKeys + 1, 1500} {
		text := largeSections(names)
		doc := readDocument(new(report), []File{{"a", []byte(text)}})
		segments, templates := doc.root.get("segments"), doc.root.get("templates")
		if len(segments.entries) != names || len(templates.entries) != names || len(doc.root.get("rules").items) != 1 || len(doc.root.entries) != 7 {
			t.Fatalf("%d names: %d segments, %d templates, %d sections", names, len(segments.entries), len(templates.entries), len(doc.root.entries))
		}
		lines := strings.Split(text, "\n")
		for i := range names {
			e, want := segments.entries[i], fmt.Sprintf("customer.main > %d", i)
			if got := strings.Join(strings.Fields(e.value.text), " "); e.key != fmt.Sprintf("s%d", i) || got != want {
				t.Fatalf("segment %d is %s: %q", i, e.key, got)
			}
			if !strings.Contains(lines[e.line-1], e.key) {
				t.Fatalf("segment %s does not stand in line %d: %s", e.key, e.line, lines[e.line-1])
			}
			if got := strings.TrimSpace(templates.entries[i].value.get("fr").text); got != fmt.Sprintf("t: %d", i) {
				t.Fatalf("template %d is %q", i, got)
			}
		}
	}
}

// A fault in any stretch is told, at its place.
func TestLargeSectionsFaults(t *testing.T) {
	text := func(line string, at int) []byte {
		var b strings.Builder
		b.WriteString(small + "segments:\n")
		for i := range 900 {
			if i == at {
				b.WriteString(line + "\n")
			}
			fmt.Fprintf(&b, "  s%d: customer.main > %d\n", i, i)
		}
		return []byte(b.String() + "rules: [{name: r, on: recharge, then: [{tag: x}]}]\n")
	}
	for line, want := range map[string]string{
		"  s0: customer.main > 1":    `key "s0" stands twice`,
		" out: customer.main > 1":    "",
		"    deep: customer.main":    "",
		"  - dash":                   "",
		"  open: \"customer":         "close the quotes",
		"  s: customer.main > [1":    "",
		"  bad: customer.mian > 1":   "unknown name customer.mian",
		"stray: {a: b}":              "",
		"  both: customer.main: 300": "",
	} {
		for _, at := range []int{5, 255, 256, 257, 511, 512, 700} {
			_, problems := Load(File{"a", text(line, at)})
			found := slices.ContainsFunc(problems, func(p Problem) bool {
				return p.Severity == Error && strings.Contains(p.Message+": "+p.Hint, want)
			})
			if !found {
				t.Errorf("%q before line %d: %.300v", line, at, problems)
			}
		}
	}
}
