package rules

import (
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
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

// placeAt returns the place of a byte.
func (f *sourceFile) placeAt(at int) place {
	begin := strings.LastIndexByte(f.text[:at], '\n') + 1
	return place{f, 1 + strings.Count(f.text[:at], "\n"), 1 + utf8.RuneCountInString(f.text[begin:at])}
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

// isForeign reports characters that no editor shows and no rulebook needs: some
// of them end a line in one tool and not in another.
func isForeign(r rune) bool {
	switch r {
	case '\t', '\n':
		return false
	case '\u2028', '\u2029', '\ufeff', '\ufffe', '\uffff':
		return true
	}
	return unicode.IsControl(r)
}

// parseFile reads one file into a tree; nil after a fault.
func parseFile(r *report, f File) *node {
	text := strings.TrimPrefix(string(f.Data), "\ufeff")
	if strings.Contains(text, "\r") {
		text = lineEnds.Replace(text)
	}
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
	if at := strings.IndexFunc(text, isForeign); at >= 0 {
		foreign, _ := utf8.DecodeRuneInString(text[at:])
		r.errorf(file.placeAt(at), "delete it", "a character that cannot be seen, %U", foreign)
		return nil
	}
	bodies, err := parseYAML(text)
	if err != nil {
		explain(r, file, err)
		return nil
	}
	c := converter{report: r, file: file}
	switch len(bodies) {
	case 0:
		r.errorf(top, "start with version: 1", "the rulebook is empty")
		return nil
	case 1:
	default:
		r.errorf(c.place(bodies[1]), "put each in a file of its own", "a rulebook file holds one document, this is a second one")
		return nil
	}
	root := c.document(bodies[0])
	if c.refused {
		return nil
	}
	if root.shape != mapping {
		r.errorf(root.place, "start with version: 1", "a rulebook is a mapping of sections")
		return nil
	}
	return root
}

// parseYAML returns the first documents of a text that are not empty, two at
// most. The library bounds by itself how deep it goes. It panics where it is at
// odds with itself; what strangers write must not end the program.
func parseYAML(text string) (bodies []*yaml.Node, err error) {
	defer func() {
		if fault := recover(); fault != nil {
			bodies, err = nil, fmt.Errorf("parse YAML: %v", fault)
		}
	}()
	decoder := yaml.NewDecoder(strings.NewReader(text))
	for len(bodies) < 2 {
		var document yaml.Node
		if err := decoder.Decode(&document); err == io.EOF {
			break
		} else if err != nil {
			return nil, err
		}
		if body := document.Content[0]; !isNull(body) || body.Value != "" {
			bodies = append(bodies, body)
		}
	}
	return bodies, nil
}

// isNull reports whether nothing was written there, or null.
func isNull(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && n.Tag == "!!null" && n.Style == 0
}

// converter turns the YAML library's tree into ours. It refuses what a rulebook
// does not need and what would make it expensive: anchors and aliases, tags,
// deep nesting, mappings of enormous length. It gives up at the first.
type converter struct {
	report  *report
	file    *sourceFile
	refused bool
	spare   []node // nodes to use

	// A byte of the file and its place: nodes come in the order of the file.
	at           int
	line, column int
}

func (c *converter) place(n *yaml.Node) place {
	return place{c.file, min(n.Line, len(c.file.lines)), n.Column}
}

func (c *converter) refuse(at place, hint, format string, args ...any) {
	if !c.refused {
		c.report.errorf(at, hint, format, args...)
	}
	c.refused = true
}

// document converts a document's root. Directives stand above it.
func (c *converter) document(root *yaml.Node) *node {
	for line := 1; line < root.Line; line++ {
		if strings.HasPrefix(c.file.line(line), "%") {
			c.refuse(place{c.file, line, 1}, quoteMarks, "%s", noTags)
		}
	}
	return c.convert(root, 1)
}

// What is refused of YAML, and how to write what was not meant as that.
const (
	noAnchors  = "anchors and aliases are not allowed in a rulebook"
	noTags     = "YAML tags and directives are not allowed in a rulebook"
	noDeeper   = "nested more than %d deep"
	noComplex  = "complex keys are not allowed in a rulebook"
	quoteMarks = "put all of a text that has & * ! ? or % in quotes: '…'"
)

// byteAt returns the byte at which a node stands: of what is quoted or in
// brackets the quote or bracket, of what has an anchor or a tag its mark.
func (c *converter) byteAt(n *yaml.Node) byte {
	if c.line == 0 || n.Line < c.line || n.Line == c.line && n.Column < c.column {
		c.at, c.line, c.column = c.file.offset(n.Line, 1), n.Line, 1
	}
	for c.at < len(c.file.text) && (c.line < n.Line || c.line == n.Line && c.column < n.Column) {
		if c.file.text[c.at] == '\n' {
			c.line, c.column = c.line+1, 0
		}
		if c.at++; c.at == len(c.file.text) || utf8.RuneStart(c.file.text[c.at]) {
			c.column++
		}
	}
	if c.at == len(c.file.text) {
		return 0
	}
	return c.file.text[c.at]
}

// convert converts a node so deep in the document.
func (c *converter) convert(n *yaml.Node, depth int) *node {
	if len(c.spare) == 0 {
		c.spare = make([]node, 512)
	}
	out := &c.spare[0]
	c.spare = c.spare[1:]
	out.place = c.place(n)
	switch c.byteAt(n) {
	case '&', '*':
		c.refuse(out.place, quoteMarks, "%s", noAnchors)
	case '!':
		c.refuse(out.place, quoteMarks, "%s", noTags)
	}
	switch n.Kind {
	case yaml.MappingNode:
		out.shape, out.flow = mapping, n.Style&yaml.FlowStyle != 0
		c.entries(out, n, depth)
	case yaml.SequenceNode:
		out.shape, out.flow = list, n.Style&yaml.FlowStyle != 0
		c.items(out, n, depth)
	case yaml.ScalarNode:
		c.scalar(out, n)
	}
	return out
}

func (c *converter) scalar(out *node, n *yaml.Node) {
	if isNull(n) {
		return
	}
	out.shape, out.text = scalar, n.Value
	switch {
	case n.Style&yaml.SingleQuotedStyle != 0:
		out.style = single
	case n.Style&yaml.DoubleQuotedStyle != 0:
		out.style = double
	case n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0:
		out.style = block
	}
}

// tooDeep refuses a collection that is nested too deep.
func (c *converter) tooDeep(out *node, depth int) bool {
	if depth > depthMax {
		c.refuse(out.place, "", noDeeper, depthMax)
	}
	return depth > depthMax
}

func (c *converter) items(out *node, n *yaml.Node, depth int) {
	if c.tooDeep(out, depth) {
		return
	}
	out.items = make([]*node, 0, len(n.Content))
	for _, item := range n.Content {
		if c.refused {
			return
		}
		out.items = append(out.items, c.convert(item, depth+1))
	}
}

// entries converts the keys and values of a mapping and refuses a key that
// stands twice. A mapping's place is its first key's, or its bracket's. A
// section may have more keys than what stands in it.
func (c *converter) entries(out *node, n *yaml.Node, depth int) {
	if c.tooDeep(out, depth) {
		return
	}
	most := mappingKeysMax
	if depth == 2 {
		most = sectionKeysMax
	}
	if len(n.Content)/2 > most {
		c.refuse(c.place(n.Content[2*most]), "", "more than %d keys in one mapping", most)
		return
	}
	out.entries = make([]entry, 0, len(n.Content)/2)
	var index map[string]int // of the entries, where they are many
	if cap(out.entries) > 16 {
		index = make(map[string]int, cap(out.entries))
	}
	for i := 0; i < len(n.Content) && !c.refused; i += 2 {
		e := c.key(n, n.Content[i])
		if first := out.earlier(index, e.key); first != nil {
			c.report.errorf(e.place, "", "key %q stands twice, first at %d:%d", e.key, first.line, first.column)
			continue
		}
		if index != nil {
			index[e.key] = len(out.entries)
		}
		e.value = c.convert(n.Content[i+1], depth+1)
		if e.value.shape == nothing {
			e.value.place = e.place
		}
		out.entries = append(out.entries, e)
	}
}

// earlier returns the entry that has a key already, or nil. The index may be nil.
func (n *node) earlier(index map[string]int, key string) *entry {
	if index != nil {
		if i, ok := index[key]; ok {
			return &n.entries[i]
		}
		return nil
	}
	for i := range n.entries {
		if n.entries[i].key == key {
			return &n.entries[i]
		}
	}
	return nil
}

// key converts a key, which is a text. One behind a question mark stands to the
// right of where its block mapping begins.
func (c *converter) key(of, n *yaml.Node) entry {
	at := c.place(n)
	switch first := c.byteAt(n); {
	case first == '&' || first == '*' || n.Tag == "!!merge":
		c.refuse(at, quoteMarks, "%s", noAnchors)
	case first == '!':
		c.refuse(at, quoteMarks, "%s", noTags)
	case n.Kind != yaml.ScalarNode, of.Style&yaml.FlowStyle == 0 && n.Column != of.Column:
		c.refuse(at, quoteMarks, "%s", noComplex)
	case n.Value == "" && n.Style == 0:
		c.refuse(at, "write a key before the colon", "a key is missing")
	}
	return entry{place: at, key: n.Value}
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
