package rules

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
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

// A section is read as it was written, however it is laid out and however large
// it is.
func TestLargeSections(t *testing.T) {
	for _, names := range []int{1, 17, 1500} {
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

// A fault in a large section is told, wherever it stands.
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
		for _, at := range []int{5, 450, 899} {
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

// What editors leave in a file unseen is refused where it stands.
func TestUnseenCharacters(t *testing.T) {
	for _, foreign := range []string{"\x00", "\u0085", "\u2028", "\ufeff", "\uffff"} {
		_, problems := Load(File{"a", []byte("version: 1\r\ntimezone: é" + foreign + "\n")})
		if len(problems) != 1 || problems[0].Line != 2 || problems[0].Column != 12 || problems[0].Hint != "delete it" {
			t.Errorf("%q: %v", foreign, problems)
		}
	}
	mustLoad(t, File{"a", []byte("\ufeff" + strings.ReplaceAll(small, "\n", "\r\n") + "rules: []\r\n")})
}

// In brackets, too, a colon ends a key only before a space.
func TestSpaceAfterColon(t *testing.T) {
	text := strings.Replace(small, "bonus: {unit: ", "bonus: {unit:", 1)
	_, problems := Load(File{"a", []byte(text + "rules: []\n")})
	if !slices.ContainsFunc(problems, func(p Problem) bool { return p.Hint == "put a space after the colon" }) {
		t.Errorf("%s\n%v", text, problems)
	}
}

func TestLengthText(t *testing.T) {
	for d, want := range map[time.Duration]string{
		30 * time.Minute:                "30m",
		10 * time.Second:                "10s",
		20 * time.Hour:                  "20h",
		24 * time.Hour:                  "24h",
		30 * 24 * time.Hour:             "30d",
		90*time.Minute + 20*time.Second: "1h30m20s",
		96 * time.Hour:                  "4d",
		100 * time.Minute:               "1h40m",
		25 * time.Hour:                  "1d1h",
	} {
		if got := lengthText(d); got != want {
			t.Errorf("%v: %s, want %s", d, got, want)
		}
	}
}
