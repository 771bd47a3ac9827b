package when

import (
	"slices"
	"strings"
	"unicode/utf8"
)

// The scanner splits a source into CEL's tokens a second time, beside cel-go's
// parser, for what the parser's tree does not keep: the text of number literals
// (the tree holds them as binary floating point), the exact extent of a
// sub-expression, and the method name in, which CEL reserves. It is lax: what
// is not CEL is left to the parser to refuse.

type tokenKind uint8

const (
	symbol tokenKind = iota
	word
	number
	quoted
)

type token struct {
	kind       tokenKind
	start, end int // bytes
	character  int // of the start, from the start of the source
	match      int // index of the bracket's partner; 0 if it has none
}

// script is a source and its tokens.
type script struct {
	source string
	tokens []token
}

// symbolPairs are the symbols of two characters.
var symbolPairs = [...]string{"&&", "||", "==", "!=", "<=", ">="}

func scan(source string) script {
	s := script{source: source, tokens: make([]token, 0, len(source)/4+4)}
	var open []int
	character := 0
	for at := 0; at < len(source); {
		kind, end := next(source, at)
		if end < 0 { // Space or a comment.
			end = -end
		} else {
			t := token{kind: kind, start: at, end: end, character: character}
			i := len(s.tokens)
			switch source[at] {
			case '(', '[', '{':
				open = append(open, i)
			case ')', ']', '}':
				if n := len(open); n > 0 {
					t.match, open = open[n-1], open[:n-1]
					s.tokens[t.match].match = i
				}
			}
			s.tokens = append(s.tokens, t)
		}
		character += utf8.RuneCountInString(source[at:end])
		at = end
	}
	return s
}

// next returns the kind and the end of the token at that offset, or the negated
// end of what separates tokens.
func next(source string, at int) (tokenKind, int) {
	rest := source[at:]
	switch c := rest[0]; {
	case strings.IndexByte(" \t\r\n\f", c) >= 0:
		return symbol, -(at + 1)
	case strings.HasPrefix(rest, "//"):
		if line := strings.IndexByte(rest, '\n'); line >= 0 {
			return symbol, -(at + line + 1)
		}
		return symbol, -len(source)
	case digit(c) || c == '.' && len(rest) > 1 && digit(rest[1]):
		return number, at + numberLength(rest)
	case c == '`':
		if end := strings.IndexByte(rest[1:], '`'); end >= 0 {
			return word, at + end + 2
		}
		return word, len(source)
	}
	if length := quotedLength(rest); length > 0 {
		return quoted, at + length
	}
	if length := wordLength(rest); length > 0 {
		return word, at + length
	}
	if len(rest) > 1 && slices.Contains(symbolPairs[:], rest[:2]) {
		return symbol, at + 2
	}
	_, size := utf8.DecodeRuneInString(rest)
	return symbol, at + size
}

func digit(c byte) bool { return '0' <= c && c <= '9' }

func letter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' || c == '_' }

func wordLength(rest string) int {
	n := 0
	for n < len(rest) && (letter(rest[n]) || n > 0 && digit(rest[n])) {
		n++
	}
	return n
}

// numberLength covers what CEL and careless people write: 12, 1.5, .5, 0x1f,
// 1e-9, 12u.
func numberLength(rest string) int {
	n := 0
	for n < len(rest) {
		c := rest[n]
		exponent := n > 0 && rest[n-1]|0x20 == 'e' && !strings.HasPrefix(rest, "0x") && !strings.HasPrefix(rest, "0X")
		switch {
		case digit(c), letter(c):
		case c == '.' && n+1 < len(rest) && digit(rest[n+1]):
		case (c == '+' || c == '-') && exponent:
		default:
			return n
		}
		n++
	}
	return n
}

// quotedLength is the length of the text or bytes literal at the start of rest,
// prefix and quotes included; 0 if there is none.
func quotedLength(rest string) int {
	open := 0
	for open < 2 && open < len(rest) && strings.IndexByte("rRbB", rest[open]) >= 0 {
		open++
	}
	if open == len(rest) || rest[open] != '"' && rest[open] != '\'' {
		return 0
	}
	raw := strings.ContainsAny(rest[:open], "rR")
	quote := rest[open : open+1]
	if triple := strings.Repeat(quote, 3); strings.HasPrefix(rest[open:], triple) {
		quote = triple
	}
	for n := open + len(quote); n < len(rest); n++ {
		switch {
		case rest[n] == '\\' && !raw:
			n++
		case strings.HasPrefix(rest[n:], quote):
			return n + len(quote)
		}
	}
	return len(rest)
}

func (s *script) text(t token) string { return s.source[t.start:t.end] }

// at returns the index of the token that starts at that character.
func (s *script) at(character int) (int, bool) {
	return slices.BinarySearchFunc(s.tokens, character, func(t token, c int) int { return t.character - c })
}

// is reports whether token i exists and reads so.
func (s *script) is(i int, text string) bool {
	return i >= 0 && i < len(s.tokens) && s.text(s.tokens[i]) == text
}

// span returns the source from token lo to token hi.
func (s *script) span(lo, hi int) string {
	return s.source[s.tokens[lo].start:s.tokens[hi].end]
}

// masked returns the source with every in that follows a point replaced by a
// name of the same length that CEL does not reserve.
func (s *script) masked() string {
	var b []byte
	for i, t := range s.tokens {
		if i > 0 && s.text(t) == "in" && s.is(i-1, ".") {
			if b == nil {
				b = []byte(s.source)
			}
			copy(b[t.start:t.end], "__")
		}
	}
	if b == nil {
		return s.source
	}
	return string(b)
}

// widen takes the parentheses around tokens lo to hi into the extent, and the
// pairs of signs before it that the parser drops (!!a is a).
func (s *script) widen(lo, hi int) (int, int) {
	for {
		switch {
		case s.is(lo-1, "(") && s.is(hi+1, ")") && s.tokens[lo-1].match == hi+1 && !s.operandEnds(lo-2):
			lo, hi = lo-1, hi+1
		case s.is(lo-1, "!") && s.is(lo-2, "!"):
			lo -= 2
		case s.is(lo-1, "-") && s.is(lo-2, "-") && !s.operandEnds(lo-3):
			lo -= 2
		default:
			return lo, hi
		}
	}
}

// operandEnds reports whether an operand ends with token i, so that a
// parenthesis after it is a call's and a minus after it takes two operands.
func (s *script) operandEnds(i int) bool {
	if i < 0 {
		return false
	}
	switch t := s.tokens[i]; t.kind {
	case word:
		return s.text(t) != "in" || s.is(i-1, ".")
	case number, quoted:
		return true
	}
	return s.is(i, ")") || s.is(i, "]")
}
