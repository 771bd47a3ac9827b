package when

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"cel.dev/cel-go/common"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/parser"
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
			f = s.faultAt(s.byteOffset(e.Location.Line(), e.Location.Column()))
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
		return "the expression ends too early", ""
	case strings.HasPrefix(message, "invalid int literal"):
		return "number out of range", ""
	}
	i := slices.IndexFunc(s.tokens, func(t token) bool { return t.start <= offset && offset < t.end })
	if i >= 0 && (strings.HasPrefix(message, "unexpected token") || strings.HasPrefix(message, "unexpected character")) {
		message = "unexpected " + s.text(s.tokens[i])
	}
	return message, s.foreign(i)
}

// foreign returns what to write instead of another language's token.
func (s *script) foreign(i int) string {
	switch {
	case s.is(i, "="):
		return "to compare, write =="
	case s.is(i, "and"):
		return "write &&"
	case s.is(i, "or"):
		return "write ||"
	case s.is(i, "not"), s.is(i-1, "not"):
		return "write !(…)"
	case s.is(i, ">") && s.is(i-1, "<"):
		return "write !="
	case s.is(i, ",") && i > 0 && s.tokens[i-1].kind == number:
		return "the decimal sign is a point"
	}
	return ""
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
