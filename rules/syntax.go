package rules

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// What is not YAML is told in the library's words, with a line at best. To
// whoever has never heard of YAML these say little, so a scout goes over a text
// that was refused, looks for the usual mistakes and shows each on the line that
// must be changed. It knows YAML well enough to find mistakes, not to read it:
// what a text says, and whether it says anything, the library alone decides.

// explain reports why the YAML library refused the text.
func explain(r *report, file *sourceFile, err error) {
	s := scout{text: file.text, plain: -1}
	if f := s.search(); f != nil {
		message := f.message
		if !f.refused {
			message = "not valid YAML: " + message
		}
		r.errorf(file.placeAt(f.at), f.hint, "%s", message)
		return
	}
	message, line := strings.TrimPrefix(err.Error(), "yaml: "), 1
	if m := libraryLine.FindStringSubmatch(message); m != nil {
		line, _ = strconv.Atoi(m[1])
		message = m[2]
		if strings.HasPrefix(message, "did not find expected") {
			line++ // Its parser counts lines from 0, its scanner from 1.
		}
	}
	line = min(max(line, 1), len(file.lines))
	r.errorf(place{file, line, indent(file.line(line)) + 1}, quoteText, "not valid YAML: %s", message)
}

var libraryLine = regexp.MustCompile(`(?s)^line (\d{1,9}): (.*)$`)

// fault is what the scout found.
type fault struct {
	at            int // the byte that is shown
	message, hint string
	refused       bool // it is YAML, of the kind that a rulebook does not need
}

const (
	quoteText  = `put a text that has brackets, quotes or a colon in it in quotes: '…'`
	splitText  = "put a text with a colon in quotes: '…'; a key stands on a line of its own, or in { }"
	closeText  = "put all of the text in quotes; within single quotes an apostrophe is written twice"
	braceText  = "put a text that begins with { or [ in quotes: '…'"
	colonNever = "a colon is not allowed here"
)

// scout walks a text: line by line where collections are written in lines, over
// as many lines as they take through quotes, brackets and blocks of text.
type scout struct {
	text   string
	at     int     // the byte at which the next line begins
	levels []level // the open collections in lines, their columns ascending

	// What the last line left: nothing yet behind a colon or dash; a text
	// without quotes that begins at plain, -1 if there is none.
	pending bool
	plain   int
}

// level is a collection that is written in lines.
type level struct {
	column int // from 0
	list   bool
}

func (s *scout) search() *fault {
	for s.at < len(s.text) {
		if f := s.line(); f != nil {
			return f
		}
	}
	return nil
}

// lineEnd returns where the line of a byte ends.
func (s *scout) lineEnd(at int) int {
	if n := strings.IndexByte(s.text[at:], '\n'); n >= 0 {
		return at + n
	}
	return len(s.text)
}

// rest returns what stands on the line from there, without a remark.
func (s *scout) rest(at int) string {
	line := s.text[at:s.lineEnd(at)]
	for i := range line {
		if line[i] == '#' && (i == 0 && s.blankBefore(at) || i > 0 && isSpace(line[i-1])) {
			line = line[:i]
			break
		}
	}
	return strings.TrimRight(line, " \t")
}

func (s *scout) blankBefore(at int) bool { return at == 0 || isBlank(s.text[at-1]) }

func isSpace(b byte) bool { return b == ' ' || b == '\t' }
func isBlank(b byte) bool { return isSpace(b) || b == '\n' }

// skip returns the next byte on the line that is no space.
func (s *scout) skip(at int) int {
	for at < len(s.text) && isSpace(s.text[at]) {
		at++
	}
	return at
}

// endLine goes to the next line.
func (s *scout) endLine(at int) { s.at = s.lineEnd(at) + 1 }

// line looks at a line, or at all the lines of a text that begins on it.
func (s *scout) line() *fault {
	start := s.at
	rest := s.rest(start)
	column := indent(s.text[start:s.lineEnd(start)])
	at := start + column
	switch {
	case strings.TrimLeft(rest, " \t") == "":
		s.endLine(start)
		return nil
	case column == 0 && (rest == "---" || rest == "..." || strings.HasPrefix(rest, "--- ")):
		*s = scout{text: s.text, plain: -1}
		s.endLine(start)
		return nil
	case rest[0] == '%' && len(s.levels) == 0:
		return &fault{at, noTags, quoteMarks, true}
	case s.text[at] == '\t':
		return &fault{at: at, message: "a tab cannot indent a line", hint: "use spaces"}
	}
	if s.plain >= 0 && column > s.parent() {
		return s.continued(at, rest[column:])
	}
	s.plain = -1
	fresh, f := s.enter(at, column)
	if f != nil {
		return f
	}
	return s.item(at, column, fresh)
}

// parent returns the column of the innermost collection.
func (s *scout) parent() int {
	if len(s.levels) == 0 {
		return -1
	}
	return s.levels[len(s.levels)-1].column
}

// continued looks at a line that goes on with the text above.
func (s *scout) continued(at int, rest string) *fault {
	if colonAt(rest) < 0 {
		s.endLine(at)
		return nil
	}
	above := s.text[:s.plain]
	line := s.text[strings.LastIndexByte(above, '\n')+1 : s.lineEnd(s.plain)]
	if !strings.Contains(line, ":") && !strings.HasPrefix(strings.TrimLeft(line, " "), "- ") {
		return noColon(s.plain)
	}
	return &fault{at: at, message: colonNever, hint: "it is indented too far: begin it below the line above"}
}

func noColon(at int) *fault {
	return &fault{at: at, message: "a key without a colon", hint: "put a colon behind the key"}
}

// enter finds the collection that a line belongs to, and reports whether none
// was there yet.
func (s *scout) enter(at, column int) (fresh bool, f *fault) {
	misplaced := &fault{at: at, message: "a value is not allowed here", hint: "indent it like the lines that it belongs to"}
	dash := s.isDash(at)
	if column > s.parent() {
		if len(s.levels) > 0 && !s.pending {
			return false, misplaced
		}
		if s.levels = append(s.levels, level{column, dash}); len(s.levels) > depthMax {
			return false, tooDeep(at)
		}
		return true, nil
	}
	for s.parent() > column {
		s.levels = s.levels[:len(s.levels)-1]
	}
	if s.parent() == column && s.levels[len(s.levels)-1].list && !dash {
		s.levels = s.levels[:len(s.levels)-1] // A list may stand right below its key.
	}
	if s.parent() != column {
		return false, misplaced
	}
	if top := s.levels[len(s.levels)-1]; dash && !top.list {
		if !s.pending {
			return false, misplaced
		}
		s.levels = append(s.levels, level{column, true})
	}
	return false, nil
}

func tooDeep(at int) *fault {
	return &fault{at: at, message: fmt.Sprintf(noDeeper, depthMax), refused: true}
}

// isDash reports whether an item of a list begins there.
func (s *scout) isDash(at int) bool {
	return s.text[at] == '-' && (at+1 == len(s.text) || isBlank(s.text[at+1]))
}

var (
	noSpace = regexp.MustCompile(`^[a-z_0-9-]+:[^ /]`)
	noDash  = regexp.MustCompile(`^-[a-z]`)
)

// item looks at what begins at that column: dashes, then a key or a value.
func (s *scout) item(at, column int, fresh bool) *fault {
	for s.isDash(at) {
		next := s.skip(at + 1)
		if next == len(s.text) || s.text[next] == '\n' || s.text[next] == '#' {
			s.pending = true
			s.endLine(at)
			return nil
		}
		column += next - at
		at, fresh = next, true
		if s.levels = append(s.levels, level{column, s.isDash(at)}); len(s.levels) > depthMax {
			return tooDeep(at)
		}
	}
	rest := s.rest(at)
	if noDash.MatchString(rest) {
		return &fault{at: at, message: "a dash without a space", hint: "put a space after the dash"}
	}
	key, f := s.key(at, rest)
	switch {
	case f != nil:
		return f
	case key > 0:
		return s.value(at + key)
	case noSpace.MatchString(rest):
		return &fault{at: at, message: "a key without a value", hint: "put a space after the colon"}
	case !fresh:
		return noColon(at)
	}
	s.levels = s.levels[:len(s.levels)-1]
	return s.value(at)
}

// key returns how long a key with its colon is, 0 if there is none.
func (s *scout) key(at int, rest string) (int, *fault) {
	switch rest[0] {
	case '"', '\'':
		end, f := s.quoted(at)
		if f == nil && !strings.Contains(s.text[at:end], "\n") && strings.HasPrefix(s.rest(s.skip(end)), ":") {
			return s.skip(end) + 1 - at, nil
		}
		return 0, f
	case '?':
		if len(rest) == 1 || isSpace(rest[1]) {
			return 0, &fault{at, noComplex, quoteMarks, true}
		}
	case '[', '{':
		return 0, nil
	}
	colon := colonAt(rest)
	switch {
	case colon < 0:
		return 0, nil
	case colon == 0:
		return 0, &fault{at: at, message: "a key is missing", hint: "write a key before the colon"}
	}
	return colon + 1, s.marked(at)
}

// colonAt returns where a line has a colon that ends a key, -1 if it has none.
func colonAt(line string) int {
	for i := range len(line) {
		if line[i] == ':' && (i+1 == len(line) || isSpace(line[i+1])) {
			return i
		}
	}
	return -1
}

// marked looks for a mark with which no text can begin.
func (s *scout) marked(at int) *fault {
	switch mark := s.text[at]; mark {
	case '&', '*':
		return &fault{at, noAnchors, quoteMarks, true}
	case '!':
		return &fault{at, noTags, quoteMarks, true}
	case ']', '}':
		return &fault{at: at, message: "the " + string(mark) + " closes nothing", hint: quoteText}
	case '%', '@', '`':
		return &fault{at: at, message: "'" + string(mark) + "' is a reserved character", hint: "put the text in quotes"}
	}
	return nil
}

var blockHeader = regexp.MustCompile(`^[|>][-+0-9]*$`)

// value looks at what stands behind a colon or dash.
func (s *scout) value(at int) *fault {
	at = s.skip(at)
	rest := s.rest(at)
	s.pending = rest == ""
	if s.pending {
		s.endLine(at)
		return nil
	}
	switch mark := rest[0]; mark {
	case '"', '\'':
		end, f := s.quoted(at)
		return s.closed(at, end, closeText, f)
	case '[', '{':
		end, f := s.flow(at)
		return s.closed(at, end, braceText, f)
	case '|', '>':
		if !blockHeader.MatchString(rest) {
			return &fault{at: at, message: "a text stands behind " + string(mark), hint: "the text begins on the next line"}
		}
		s.block(at)
		return nil
	}
	if f := s.marked(at); f != nil {
		return f
	}
	if s.isDash(at) {
		return &fault{at: at, message: "a list is not allowed here", hint: "its items begin on the next line, or stand in [ ]"}
	}
	if colonAt(rest) >= 0 {
		return &fault{at: at, message: colonNever, hint: splitText}
	}
	s.plain = at
	s.endLine(at)
	return nil
}

// closed looks at what stands behind a text in quotes or a collection in
// brackets: nothing can.
func (s *scout) closed(begin, end int, hint string, f *fault) *fault {
	if f != nil {
		return f
	}
	at := s.skip(end)
	if s.rest(at) == "" {
		s.endLine(at)
		return nil
	}
	if mark := s.text[begin]; (mark == '"' || mark == '\'') && strings.Contains(s.text[begin:end], "\n") {
		return openQuotes(begin)
	}
	if s.text[at] == ']' || s.text[at] == '}' {
		return s.marked(at)
	}
	return &fault{at: at, message: "a text is not allowed behind the closing " + s.text[end-1:end], hint: hint}
}

// block passes over the lines of a text that is indented deeper than its key.
func (s *scout) block(at int) {
	s.endLine(at)
	for s.at < len(s.text) {
		line := s.text[s.at:s.lineEnd(s.at)]
		if indent(line) <= s.parent() && strings.TrimLeft(line, " ") != "" {
			return
		}
		s.endLine(s.at)
	}
}

func openQuotes(at int) *fault {
	return &fault{at: at, message: "the quotes are not closed", hint: "close the quotes"}
}

// quoted returns where a text in quotes ends.
func (s *scout) quoted(at int) (end int, f *fault) {
	quote := s.text[at]
	for i := at + 1; i < len(s.text); i++ {
		switch {
		case quote == '"' && s.text[i] == '\\':
			if i++; i < len(s.text) && !strings.Contains("0abt\tnvfre \"/\\N_LPxuU\n", s.text[i:i+1]) {
				return 0, &fault{
					at: i, message: "the escape character " + strconv.Quote(s.character(i)) + " is unknown",
					hint: `write \\ for a backslash, or put the text in single quotes`,
				}
			}
		case s.text[i] != quote:
		case quote == '\'' && strings.HasPrefix(s.text[i+1:], "'"):
			i++
		default:
			return i + 1, nil
		}
	}
	return 0, openQuotes(at)
}

// character returns the character at a byte.
func (s *scout) character(at int) string {
	for _, r := range s.text[at:] {
		return string(r)
	}
	return ""
}

// flow returns where a collection in brackets ends. A fault on a line below an
// open bracket is one of the bracket: where YAML gives up nothing is wrong.
func (s *scout) flow(begin int) (end int, f *fault) {
	w := flow{scout: s, at: begin}
	for w.at < len(s.text) {
		if f = w.step(); f != nil || len(w.open) == 0 {
			break
		}
	}
	if len(w.open) == 0 {
		return w.at, f
	}
	last := w.open[len(w.open)-1].at
	closing := map[byte]string{'[': "]", '{': "}"}[s.text[last]]
	switch {
	case f == nil || !f.refused && f.message == "" && strings.Contains(s.text[last:f.at], "\n"):
		return 0, &fault{at: last, message: "the " + s.text[last:last+1] + " is not closed", hint: "add " + closing + "; " + quoteText}
	case f.message == "":
		f.message, f.hint = "',' or '"+closing+"' must be specified", quoteText
	}
	return 0, f
}

// flow is a walk through brackets.
type flow struct {
	*scout
	at   int
	open []bracket
}

// bracket is one that is open, and what has been read of its current item.
type bracket struct {
	at    int
	colon bool // a key was
	text  bool // a text without quotes has begun
	done  bool // a text in quotes or a collection has ended
}

// step moves on. A fault without a message is one of the bracket.
func (w *flow) step() *fault {
	at, b := w.at, w.text[w.at]
	w.at++
	if len(w.open) == 0 {
		w.open = append(w.open, bracket{at: at})
		return nil
	}
	in := &w.open[len(w.open)-1]
	wrong := &fault{at: at}
	switch {
	case isBlank(b):
	case b == '#' && w.blankBefore(at):
		w.at = w.lineEnd(at)
	case b == '[' || b == '{':
		if in.text || in.done {
			return wrong
		}
		if w.open = append(w.open, bracket{at: at}); len(w.open)+len(w.levels) > depthMax {
			return tooDeep(at)
		}
	case b == ']' || b == '}':
		if (b == ']') != (w.text[in.at] == '[') {
			return wrong
		}
		if w.open = w.open[:len(w.open)-1]; len(w.open) > 0 {
			w.open[len(w.open)-1].done = true
		}
	case b == ',':
		*in = bracket{at: in.at}
	case b == ':' && (in.done || w.at == len(w.text) || isBlank(w.text[w.at]) || strings.IndexByte(",[]{}", w.text[w.at]) >= 0):
		if in.colon {
			return &fault{at: w.secondColon(at)}
		}
		in.colon, in.text, in.done = true, false, false
	case in.done:
		return wrong
	case !in.text && (b == '"' || b == '\''):
		end, f := w.quoted(at)
		w.at, in.done = end, true
		return f
	case !in.text:
		in.text = true
		return w.marked(at)
	}
	return nil
}

// secondColon returns what shows best that an item has two colons: the bracket
// that the line opens behind the second one, if it does, or that colon.
func (w *flow) secondColon(at int) int {
	next := strings.IndexAny(w.text[at:w.lineEnd(at)], ",[]{}")
	if next >= 0 && (w.text[at+next] == '[' || w.text[at+next] == '{') {
		return at + next
	}
	return at
}

func indent(line string) int { return len(line) - len(strings.TrimLeft(line, " ")) }
