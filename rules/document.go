package rules

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/token"
)

// Limits on a rulebook's text. They keep checking a hostile one cheap.
const (
	documentBytesMax = 4 << 20 // ten thousand rules with their templates
	depthMax         = 32
	mappingKeysMax   = 4096
	sectionKeysMax   = 20_000
)

// sourceFile is a file's text, kept to find positions in it. Its index makes
// that cheap however long a line is.
type sourceFile struct {
	name  string
	text  string
	lines []int // the number of each line's first character
	marks []int // the byte offset of every marksEvery-th character
}

// marksEvery is how many characters a search walks at most.
const marksEvery = 256

func newSourceFile(name, text string) *sourceFile {
	f := &sourceFile{name: name, text: text, lines: []int{0}}
	character := 0
	for at, r := range text {
		if character%marksEvery == 0 {
			f.marks = append(f.marks, at)
		}
		if character++; r == '\n' {
			f.lines = append(f.lines, character)
		}
	}
	return f
}

// line returns the text of a line; of one that there is not, nothing.
func (f *sourceFile) line(n int) string {
	text, _, _ := strings.Cut(f.text[f.offset(n, 1):], "\n")
	return text
}

// offset returns the byte at a line and column, the end of the text for what
// lies beyond it.
func (f *sourceFile) offset(line, column int) int {
	if line < 1 || line > len(f.lines) {
		return len(f.text)
	}
	character := f.lines[line-1] + column - 1
	if character/marksEvery >= len(f.marks) {
		return len(f.text)
	}
	at := f.marks[character/marksEvery]
	for range character % marksEvery {
		_, size := utf8.DecodeRuneInString(f.text[at:])
		at += size
	}
	return at
}

// place is where something stands: line and column count from 1, the column in
// characters.
type place struct {
	file         *sourceFile
	line, column int
}

// shape is what kind of node a node is.
type shape uint8

const (
	nothing shape = iota // an absent value or null
	scalar
	list
	mapping
)

// style is how a scalar was written.
type style uint8

const (
	plain style = iota
	single
	double
	block
)

// node is a value of the document. Scalars keep their text as it was written,
// so that a number never passes through anything inexact.
type node struct {
	place
	shape   shape
	style   style
	flow    bool   // of a list or mapping: written in brackets
	text    string // of a scalar
	items   []*node
	entries []entry
}

// entry is a key and its value.
type entry struct {
	place
	key   string
	value *node
}

// get returns the value of a key, or nil.
func (n *node) get(key string) *node {
	for i := range n.entries {
		if n.entries[i].key == key {
			return n.entries[i].value
		}
	}
	return nil
}

// lineEnds makes every line end in \n, however the file was written.
var lineEnds = strings.NewReplacer("\r\n", "\n", "\r", "\n")

// isControl reports characters that no editor shows and no rulebook needs.
func isControl(r rune) bool { return unicode.IsControl(r) && r != '\t' && r != '\n' }

// parseFile reads one file into a tree; nil after a fault.
func parseFile(r *report, f File) *node {
	text := lineEnds.Replace(strings.TrimPrefix(string(f.Data), "\ufeff"))
	top := place{&sourceFile{name: f.Name}, 1, 1}
	switch {
	case len(f.Data) > documentBytesMax:
		r.errorf(top, "make it smaller", "the rulebook has %d bytes, at most %d are read", len(f.Data), documentBytesMax)
		return nil
	case !utf8.ValidString(text):
		r.errorf(top, "save the file as UTF-8", "the rulebook is not valid UTF-8")
		return nil
	}
	file := newSourceFile(f.Name, text)
	top.file = file
	if at := strings.IndexFunc(text, isControl); at >= 0 {
		line := text[strings.LastIndexByte(text[:at], '\n')+1 : at]
		r.errorf(place{file, 1 + strings.Count(text[:at], "\n"), 1 + utf8.RuneCountInString(line)}, "delete it", "a control character")
		return nil
	}
	tokens := lexer.Tokenize(text)
	if !gate(r, file, tokens) {
		return nil
	}
	tree, err := parseTokens(tokens)
	if err != nil {
		reportSyntax(r, file, tokens, err)
		return nil
	}
	var bodies []ast.Node
	for _, d := range tree.Docs {
		if d.Body != nil {
			bodies = append(bodies, d.Body)
		}
	}
	switch len(bodies) {
	case 0:
		r.errorf(top, "start with version: 1", "the rulebook is empty")
		return nil
	case 1:
	default:
		c := converter{report: r, file: file}
		r.errorf(c.convert(bodies[1]).place, "put each in a file of its own", "a rulebook file holds one document, this is a second one")
		return nil
	}
	c := converter{report: r, file: file}
	root := c.convert(bodies[0])
	if root.shape != mapping {
		r.errorf(root.place, "start with version: 1", "a rulebook is a mapping of sections")
		return nil
	}
	return root
}

func placeOf(file *sourceFile, t *token.Token) place {
	return place{file, min(t.Position.Line, len(file.lines)), max(1, t.Position.Column)}
}

// gate refuses, before anything recursive looks at the text, what a rulebook
// does not need and what would make reading it expensive: anchors and aliases,
// tags, deep nesting, mappings of enormous length.
func gate(r *report, file *sourceFile, tokens token.Tokens) bool {
	var g nesting
	for _, t := range tokens {
		refused := ""
		switch t.Type {
		case token.InvalidType:
			(&syntaxFault{file: file, at: placeOf(file, t), message: t.Error}).report(r)
			return false
		case token.AnchorType, token.AliasType, token.MergeKeyType:
			refused = "anchors and aliases are not allowed in a rulebook"
		case token.TagType, token.DirectiveType:
			refused = "YAML tags and directives are not allowed in a rulebook"
		case token.MappingKeyType:
			refused = "complex keys are not allowed in a rulebook"
		}
		if refused != "" {
			r.errorf(placeOf(file, t), "put all of a text that has & * ! ? or % in quotes: '…'", "%s", refused)
			return false
		}
		if g.see(t); g.depth() > depthMax {
			r.errorf(placeOf(file, t), "", "nested more than %d deep", depthMax)
			return false
		}
		if most := g.keysMax(); g.keys() > most {
			r.errorf(placeOf(file, t), "", "more than %d keys in one mapping", most)
			return false
		}
	}
	return true
}

// nesting follows the tokens of a document: a stack of open collections, the
// columns of those in block style below those in brackets, with their keys.
type nesting struct {
	levels []level
	flow   int
}

type level struct{ column, keys int }

func (g *nesting) depth() int { return len(g.levels) }

func (g *nesting) keys() int {
	if len(g.levels) == 0 {
		return 0
	}
	return g.levels[len(g.levels)-1].keys
}

// keysMax is how many keys the innermost mapping may have: a section has more
// than what stands in it.
func (g *nesting) keysMax() int {
	if g.depth() == 2 {
		return sectionKeysMax
	}
	return mappingKeysMax
}

func (g *nesting) see(t *token.Token) {
	switch t.Type {
	case token.MappingStartType, token.SequenceStartType:
		g.flow++
		g.levels = append(g.levels, level{})
	case token.MappingEndType, token.SequenceEndType:
		if g.flow > 0 {
			g.flow--
			g.levels = g.levels[:len(g.levels)-1]
		}
	case token.SequenceEntryType:
		g.enter(t.Position.Column)
	case token.MappingValueType:
		if t.Prev != nil {
			g.enter(t.Prev.Position.Column)
		}
		if len(g.levels) > 0 {
			g.levels[len(g.levels)-1].keys++
		}
	}
}

// enter opens or returns to the block collection at that column.
func (g *nesting) enter(column int) {
	if g.flow > 0 {
		return
	}
	for len(g.levels) > 0 && g.levels[len(g.levels)-1].column > column {
		g.levels = g.levels[:len(g.levels)-1]
	}
	if len(g.levels) == 0 || g.levels[len(g.levels)-1].column < column {
		g.levels = append(g.levels, level{column: column})
	}
}

// converter turns the YAML library's tree into ours. The depth was bounded by gate.
type converter struct {
	report *report
	file   *sourceFile
}

func (c *converter) convert(n ast.Node) *node {
	out := &node{place: placeOf(c.file, n.GetToken())}
	switch n := n.(type) {
	case *ast.MappingNode:
		out.shape, out.flow = mapping, n.IsFlowStyle
		c.entries(out, n.Values)
	case *ast.MappingValueNode:
		out.shape = mapping
		c.entries(out, []*ast.MappingValueNode{n})
	case *ast.SequenceNode:
		out.shape, out.flow = list, n.IsFlowStyle
		for _, item := range n.Values {
			out.items = append(out.items, c.convert(item))
		}
	case *ast.LiteralNode:
		out.shape, out.style, out.text = scalar, block, n.Value.Value
	case *ast.StringNode:
		out.shape, out.text = scalar, n.Value
		switch n.Token.Type {
		case token.SingleQuoteType:
			out.style = single
		case token.DoubleQuoteType:
			out.style = double
		}
	case *ast.NullNode:
	case ast.ScalarNode:
		out.shape, out.text = scalar, n.GetToken().Value
	default:
		c.report.errorf(out.place, "", "%s is not allowed in a rulebook", n.Type())
	}
	return out
}

// entries converts the keys and values of a mapping and refuses a key that
// stands twice. A mapping's place is its first key's, or its bracket's.
func (c *converter) entries(out *node, values []*ast.MappingValueNode) {
	first := make(map[string]place, len(values))
	for _, v := range values {
		key := v.Key.GetToken()
		e := entry{place: placeOf(c.file, key), key: key.Value}
		if at, twice := first[e.key]; twice {
			c.report.errorf(e.place, "", "key %q stands twice, first at %d:%d", e.key, at.line, at.column)
			continue
		}
		first[e.key] = e.place
		e.value = c.convert(v.Value)
		if e.value.shape == nothing {
			e.value.place = e.place
		}
		out.entries = append(out.entries, e)
	}
	if !out.flow && len(out.entries) > 0 {
		out.place = out.entries[0].place
	}
}

// locate returns the place of a byte of a scalar's text. It walks source and
// text together; where the source was folded, escaped or indented it steps over
// what the text does not have. In plain and quoted text on one line it is
// exact.
func (n *node) locate(offset int) place {
	line, column := n.line, n.column
	switch n.style {
	case single, double:
		column++
	case block:
		line, column = line+1, 1
	}
	w := walker{source: n.file.text[n.file.offset(line, column):], line: line, column: column, style: n.style}
	offset = min(max(offset, 0), len(n.text))
	for _, r := range n.text[:offset] {
		w.step(r)
	}
	if next, _ := utf8.DecodeRuneInString(n.text[offset:]); offset < len(n.text) {
		w.settle(next)
	}
	return place{n.file, w.line, w.column}
}

// walker is a cursor in a file: what is left of it, and where that begins.
type walker struct {
	source       string
	line, column int
	style        style
}

// next moves over one character of the source.
func (w *walker) next() {
	r, size := utf8.DecodeRuneInString(w.source)
	w.source = w.source[size:]
	if w.column++; r == '\n' {
		w.line, w.column = w.line+1, 1
	}
}

// step moves past the source of one character of the text.
func (w *walker) step(r rune) {
	if !w.settle(r) {
		return // A space that folding made of a line's end: passed already.
	}
	for range w.width() {
		w.next()
	}
}

// settle moves over blank source that the text does not have, and reports
// whether the source then shows the character.
func (w *walker) settle(r rune) bool {
	isBlank := func(r rune) bool { return r == ' ' || r == '\t' || r == '\n' }
	for {
		source, _ := utf8.DecodeRuneInString(w.source)
		if source == '\\' && w.style == double {
			return true
		}
		if source == r || source == utf8.RuneError || !isBlank(source) {
			return source != utf8.RuneError && (source == r || !isBlank(r))
		}
		w.next()
	}
}

// width returns how many characters of the source write the one at the cursor.
func (w *walker) width() int {
	switch {
	case w.style == single && strings.HasPrefix(w.source, "''"):
		return 2
	case w.style == double && strings.HasPrefix(w.source, `\`) && len(w.source) > 1:
		switch w.source[1] {
		case 'x':
			return 4
		case 'u':
			return 6
		case 'U':
			return 10
		}
		return 2
	}
	return 1
}
