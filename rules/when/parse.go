package when

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"cel.dev/cel-go/common"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/parser"

	"recharged/state/money"
)

// parse reads the source with cel-go's parser, without macros: has, exists and
// all reach the checker as the calls they are written as.
func parse(source string) (*script, *ast.AST, []Fault) {
	if !utf8.ValidString(source) {
		return nil, nil, []Fault{{Line: 1, Column: 1, Message: "the expression is not UTF-8 text"}}
	}
	if n := utf8.RuneCountInString(source); n > SourceMax {
		message := fmt.Sprintf("the expression has %d characters, at most %d are allowed", n, SourceMax)
		return nil, nil, []Fault{{Line: 1, Column: 1, Message: message}}
	}
	s := scan(source)
	if len(s.tokens) == 0 {
		return nil, nil, []Fault{{Line: 1, Column: 1, Message: "the expression is empty"}}
	}
	p, err := parser.NewParser(
		parser.EnablePrattParser(true), // Its offsets are exact and its messages short.
		parser.EnableVariadicOperatorASTs(true),
		parser.MaxRecursionDepth(DepthMax),
		parser.ExpressionSizeCodePointLimit(SourceMax),
		parser.ErrorRecoveryLimit(faultsMax),
	)
	if err != nil {
		panic(fmt.Sprintf("when: the parser refuses its constant options: %v", err))
	}
	tree, errs := p.Parse(common.NewTextSource(s.masked()))
	if found := errs.GetErrors(); len(found) > 0 {
		return nil, nil, s.syntaxFaults(found)
	}
	return &s, tree, nil
}

// syntaxFaults translates the parser's errors. Only the first on a line is
// kept: what follows it is mostly its echo.
func (s *script) syntaxFaults(errs []*common.Error) []Fault {
	var faults []Fault
	lines := map[int]bool{}
	for _, e := range errs {
		f := Fault{Line: 1, Column: 1}
		if e.Location.Line() > 0 {
			f = s.faultAt(s.tokenStart(s.byteOffset(e.Location.Line(), e.Location.Column())))
		}
		if lines[f.Line] {
			continue
		}
		lines[f.Line] = true
		f.Message, f.Hint = s.syntaxMessage(e.Message, f.Offset)
		faults = append(faults, f)
		if strings.HasPrefix(f.Message, "unterminated") {
			break
		}
	}
	return faults
}

// syntaxMessage says in the rule language's words what the parser says in its
// own, with a hint for whoever knows another language.
func (s *script) syntaxMessage(message string, offset int) (string, string) {
	message = strings.TrimPrefix(message, "Syntax error: ")
	switch {
	case strings.HasPrefix(message, "expression recursion limit"):
		return fmt.Sprintf("the expression is nested deeper than %d levels", DepthMax), "name parts of it as segments"
	case strings.Contains(message, "<EOF>"):
		return "the expression ends too early", s.foreign(len(s.tokens))
	case strings.HasPrefix(message, "invalid int literal"):
		return "number out of range", ""
	}
	i := slices.IndexFunc(s.tokens, func(t token) bool { return t.start <= offset && offset < t.end })
	if i >= 0 && (strings.HasPrefix(message, "unexpected token") || strings.HasPrefix(message, "unexpected character")) {
		message = "unexpected " + s.text(s.tokens[i])
	}
	if i < 0 {
		i, _ = slices.BinarySearchFunc(s.tokens, offset, func(t token, at int) int { return t.start - at })
	}
	return message, s.foreign(i)
}

// foreign returns what to write instead of another language's token.
func (s *script) foreign(i int) string {
	switch {
	case s.is(i, "=") && s.is(i+1, ">"), s.is(i, ">") && s.is(i-1, "="):
		return "write >="
	case s.is(i, "=") && s.is(i+1, "<"), s.is(i, "<") && s.is(i-1, "="):
		return "write <="
	case s.is(i, "="):
		return "to compare, write =="
	case s.is(i, ">") && s.is(i-1, "<"):
		return "write !="
	case s.is(i, ",") && i > 0 && s.tokens[i-1].kind == number:
		return "the decimal sign is a point"
	case s.is(i-1, "%") && i > 1 && s.tokens[i-2].kind == number:
		return "write the number alone: " + s.text(s.tokens[i-2])
	}
	if i > 0 && i <= len(s.tokens) {
		if strings.EqualFold(s.text(s.tokens[i-1]), "not") {
			return "write !(…)"
		}
		if hint := s.foreignNumber(i); hint != "" {
			return hint
		}
	}
	if i < 0 || i >= len(s.tokens) {
		return ""
	}
	text := s.text(s.tokens[i])
	if r, _ := utf8.DecodeRuneInString(text); r > '9' && unicode.IsDigit(r) {
		return "write the digits 0 to 9"
	}
	return foreignSigns[strings.ToLower(text)]
}

// foreignSigns are signs of other languages and of word processors.
var foreignSigns = map[string]string{
	"and": "write &&", "or": "write ||", "not": "write !(…)",
	"≥": "write >=", "≤": "write <=", "≠": "write !=", "×": "write *", "÷": "write /",
	"“": straightQuotes, "”": straightQuotes, "‘": straightQuotes, "’": straightQuotes, "«": straightQuotes, "»": straightQuotes,
}

const straightQuotes = `write straight quotes: "…"`

// foreignNumber says how to write a number that has a unit or separators: 500MB
// or 1_000, which the scanner takes for one token, or 300 DA.
func (s *script) foreignNumber(i int) string {
	if i < len(s.tokens) && s.tokens[i].kind == number {
		text := s.text(s.tokens[i])
		if _, err := money.ParseDecimal(text); err == nil {
			return ""
		}
		if size, err := money.ParseSize(text); err == nil {
			return fmt.Sprintf("in a condition bytes are plain numbers: write %d", size)
		}
		if span, err := money.ParseSpan(text); err == nil {
			return fmt.Sprintf("in a condition seconds are plain numbers: write %d", span)
		}
		if bare := strings.ReplaceAll(text, "_", ""); strings.Trim(bare, "0123456789") == "" {
			return "write the number alone: " + bare
		}
		return "write the number alone"
	}
	if i < len(s.tokens) && s.tokens[i].kind == word && s.tokens[i-1].kind == number && foreignSigns[strings.ToLower(s.text(s.tokens[i]))] == "" {
		return "write the number alone: " + s.text(s.tokens[i-1])
	}
	return ""
}

// tokenStart returns the offset, or the start of the number that it lies in.
func (s *script) tokenStart(offset int) int {
	for _, t := range s.tokens {
		if t.kind == number && t.start < offset && offset < t.end {
			return t.start
		}
	}
	return offset
}

// byteOffset returns where the column (from 0, in characters) of a line lies.
func (s *script) byteOffset(line, column int) int {
	offset := 0
	for ; line > 1; line-- {
		end := strings.IndexByte(s.source[offset:], '\n')
		if end < 0 {
			break
		}
		offset += end + 1
	}
	for i := range s.source[offset:] {
		if column == 0 {
			return offset + i
		}
		column--
	}
	return len(s.source)
}

// faultAt returns a fault with the position of a byte offset filled in.
func (s *script) faultAt(offset int) Fault {
	before := s.source[:offset]
	line := strings.LastIndexByte(before, '\n') + 1
	return Fault{
		Offset: offset,
		Line:   1 + strings.Count(before, "\n"),
		Column: 1 + utf8.RuneCountInString(before[line:]),
	}
}
