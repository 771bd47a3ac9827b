package rules

import (
	"errors"
	"regexp"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/token"
)

// What is not YAML is told in the library's words. To whoever has never heard
// of YAML these say little, so the usual mistakes get a hint, and the fault is
// shown on the line that must be changed.

// reportSyntax reports what the YAML library refused.
func reportSyntax(r *report, file *sourceFile, tokens token.Tokens, err error) {
	fault := syntaxFault{file: file, tokens: tokens, at: place{file, 1, 1}, message: err.Error()}
	var known yaml.Error
	if errors.As(err, &known) {
		fault.message = known.GetMessage()
		if t := known.GetToken(); t != nil {
			fault.at, fault.token = placeOf(file, t), t
		}
	}
	fault.report(r)
}

// syntaxFault is a fault of the YAML library.
type syntaxFault struct {
	file    *sourceFile
	tokens  token.Tokens
	token   *token.Token // may be nil
	at      place
	message string
}

// syntaxHints are hints that need no look at the text: the first whose words
// the library's message has.
var syntaxHints = []struct{ words, hint string }{
	{"could not find end character", "close the quotes"},
	{"map key-value is pre-defined", "put all of the text in quotes; within single quotes an apostrophe is written twice"},
	{"is a reserved character", "put the text in quotes"},
	{"invalid header option", "the text begins on the next line"},
	{"unknown escape character", `write \\ for a backslash, or put the text in single quotes`},
}

func (f *syntaxFault) report(r *report) {
	hint := ""
	switch {
	case strings.Contains(f.message, "cannot start any token") && strings.Contains(f.message, "\t"):
		f.message, hint = "a tab cannot indent a line", "use spaces"
	case strings.Contains(f.message, "must be specified"), strings.Contains(f.message, "not found"):
		hint = f.brackets()
	case strings.Contains(f.message, "mapping value is not allowed"):
		hint = f.colons()
	case strings.Contains(f.message, "unexpected key name"), strings.Contains(f.message, "non-map value"):
		hint = `a key and its value are written "key: value"`
		if noSpace.MatchString(f.file.line(f.at.line)) {
			hint = "put a space after the colon"
		}
	case strings.Contains(f.message, "pre-defined") && !strings.ContainsAny(f.file.line(f.at.line), `'"`):
		hint = f.noColon()
	default:
		for _, h := range syntaxHints {
			if strings.Contains(f.message, h.words) {
				hint = h.hint
				break
			}
		}
		if hint == "" && strings.Contains(f.message, "value is not allowed") {
			hint = f.misplaced()
		}
	}
	r.errorf(f.at, hint, "not valid YAML: %s", f.message)
}

const quoteText = `put a text that has brackets, quotes or a colon in it in quotes: '…'`

// brackets looks for the bracket that is not closed: where the library gives
// up, lines below, nothing is wrong.
func (f *syntaxFault) brackets() string {
	var open []*token.Token
	for _, t := range f.tokens {
		if t == f.token && t.Type != token.MappingStartType && t.Type != token.SequenceStartType {
			break
		}
		switch t.Type {
		case token.MappingStartType, token.SequenceStartType:
			open = append(open, t)
		case token.MappingEndType, token.SequenceEndType:
			open = open[:max(len(open)-1, 0)]
		}
	}
	if len(open) == 0 {
		return quoteText
	}
	last := open[len(open)-1]
	at := placeOf(f.file, last)
	if at.line == f.at.line && f.at.column > at.column {
		return quoteText
	}
	closing := "}"
	if last.Type == token.SequenceStartType {
		closing = "]"
	}
	f.at, f.message = at, "the "+last.Value+" is not closed"
	return "add " + closing + "; " + quoteText
}

var (
	noSpace   = regexp.MustCompile(`^ *(- +)?[a-z_0-9-]+:[^ ]`)
	noDash    = regexp.MustCompile(`^ *-[a-z]`)
	twoColons = regexp.MustCompile(`: .*:( |$)`)
)

// colons explains a colon where none can be: in a text, after a dash without a
// space, or in a line that is indented deeper than the line above, whose text
// it thereby continues.
func (f *syntaxFault) colons() string {
	line := f.file.line(f.at.line)
	switch {
	case noDash.MatchString(line):
		return "put a space after the dash"
	case twoColons.MatchString(line):
		return "put a text with a colon in quotes: '…'; a key stands on a line of its own, or in { }"
	}
	if next := f.file.line(f.at.line + 1); indent(next) > indent(line) && strings.Contains(next, ":") {
		f.at = place{f.file, f.at.line + 1, indent(next) + 1}
		return "it is indented too far: begin it below the line above"
	}
	return quoteText
}

// noColon explains what stands below a key that has no colon.
func (f *syntaxFault) noColon() string {
	if above := f.file.line(f.at.line - 1); f.at.line > 1 && above != "" && !strings.Contains(above, ":") {
		f.at = place{f.file, f.at.line - 1, indent(above) + 1}
		return "put a colon behind the key"
	}
	return f.misplaced()
}

// misplaced explains a value where none can be.
func (f *syntaxFault) misplaced() string {
	if indent(f.file.line(f.at.line)) == f.at.column-1 {
		return "indent it like the lines that it belongs to"
	}
	return "put a text that begins with { or [ in quotes: '…'"
}

func indent(line string) int { return len(line) - len(strings.TrimLeft(line, " ")) }
