package trial

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"

	"recharged/rules"
	"recharged/state/charge"
)

// place is where something stands in the file. Lines and columns count from 1.
type place struct{ line, column int }

// shape is what kind of node a node is.
type shape uint8

const (
	nothing shape = iota // an absent value or null
	scalar
	list
	mapping
)

// node is a value of the file. A scalar keeps its text as it was written, so
// that an amount never passes through anything inexact.
type node struct {
	place
	shape   shape
	quoted  bool
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

// describe names what a node is, for messages.
func (n *node) describe() string {
	switch n.shape {
	case mapping:
		return "a mapping"
	case list:
		return "a list"
	case nothing:
		return "empty"
	}
	return strconv.Quote(n.text)
}

// reader reads a file. It goes on after a fault, so that all are told at once.
type reader struct {
	file     string
	problems rules.Problems
}

func (r *reader) fault(at place, hint, format string, args ...any) {
	p := rules.Problem{
		File: r.file, Line: at.line, Column: at.column, Severity: rules.Error,
		Message: fmt.Sprintf(format, args...), Hint: hint,
	}
	if !slices.Contains(r.problems, p) {
		r.problems = append(r.problems, p)
	}
}

// What is read at most: the YAML library is slow with what nobody writes.
const (
	bytesMax = 512 << 10
	depthMax = 32
)

// parse reads the file's one document, nil after a fault.
func (r *reader) parse(data []byte) *node {
	top := place{1, 1}
	if len(data) > bytesMax {
		r.fault(top, "make several files of it", "the file has %d bytes, at most %d are read", len(data), bytesMax)
		return nil
	}
	tokens := lexer.Tokenize(string(data))
	if !r.shallow(tokens) {
		return nil
	}
	tree, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		message := err.Error()
		if known := yaml.Error(nil); errors.As(err, &known) {
			message = known.GetMessage()
			if t := known.GetToken(); t != nil {
				top = place{t.Position.Line, max(1, t.Position.Column)}
			}
		}
		r.fault(top, "", "not valid YAML: %s", message)
		return nil
	}
	var root *node
	for _, d := range tree.Docs {
		switch {
		case d.Body == nil:
		case root != nil:
			r.fault(r.node(d.Body).place, "put each in a file of its own", "a test file holds one document, this is a second one")
		default:
			root = r.node(d.Body)
		}
	}
	if root == nil {
		r.fault(top, "start with rulebook: rulebook.yaml", "the test file is empty")
	}
	return root
}

// shallow reports whether brackets, and dashes on one line, are nested as people
// nest them. Lines cannot be indented very deep in a file of bytesMax.
func (r *reader) shallow(tokens token.Tokens) bool {
	brackets, dashes, line := 0, 0, 0
	for _, t := range tokens {
		if t.Position.Line != line {
			line, dashes = t.Position.Line, 0
		}
		switch t.Type {
		case token.MappingStartType, token.SequenceStartType:
			brackets++
		case token.MappingEndType, token.SequenceEndType:
			brackets--
		case token.SequenceEntryType, token.MappingKeyType:
			dashes++
		}
		if brackets > depthMax || dashes > depthMax {
			r.fault(place{line, max(1, t.Position.Column)}, "", "nested more than %d deep", depthMax)
			return false
		}
	}
	return true
}

// node converts what the YAML library has read.
func (r *reader) node(n ast.Node) *node {
	at := n.GetToken().Position
	out := &node{place: place{at.Line, max(1, at.Column)}}
	switch n := n.(type) {
	case *ast.MappingNode:
		out.shape = mapping
		r.entries(out, n.Values)
		if !n.IsFlowStyle && len(out.entries) > 0 {
			out.place = out.entries[0].place
		}
		out.mend(n)
	case *ast.MappingValueNode:
		out.shape = mapping
		r.entries(out, []*ast.MappingValueNode{n})
	case *ast.SequenceNode:
		out.shape = list
		for _, item := range n.Values {
			out.items = append(out.items, r.node(item))
		}
	case *ast.LiteralNode:
		out.shape, out.quoted, out.text = scalar, true, n.Value.Value
	case *ast.StringNode:
		out.shape, out.text = scalar, n.Value
		out.quoted = n.Token.Type == token.SingleQuoteType || n.Token.Type == token.DoubleQuoteType
	case *ast.NullNode:
	case ast.ScalarNode:
		out.shape, out.text = scalar, n.GetToken().Value
	default:
		r.fault(out.place, "", "%s is not allowed in a test file", n.Type())
	}
	return out
}

// mend makes a text again of one that the YAML library takes for a mapping within
// brackets, because it has a colon without a space: bonus +350 until 2026-11-27 10:00.
func (n *node) mend(from *ast.MappingNode) {
	colon := from.GetToken()
	if colon.Type != token.MappingValueType || len(n.entries) != 1 {
		return
	}
	e := n.entries[0]
	if at := e.value.place; e.value.shape == scalar && at.line == colon.Position.Line && at.column == colon.Position.Column+1 {
		*n = node{place: e.place, shape: scalar, text: e.key + ":" + e.value.text}
	}
}

// entries converts keys and values, and refuses a key that stands twice.
func (r *reader) entries(out *node, values []*ast.MappingValueNode) {
	for _, v := range values {
		key := v.Key.GetToken()
		e := entry{place: place{key.Position.Line, max(1, key.Position.Column)}, key: key.Value, value: r.node(v.Value)}
		if out.get(e.key) != nil {
			r.fault(e.place, "", "the key %q stands twice", e.key)
			continue
		}
		if e.value.shape == nothing {
			e.value.place = e.place
		}
		out.entries = append(out.entries, e)
	}
	if len(out.entries) > 0 && out.column > out.entries[0].column {
		out.place = out.entries[0].place // The token of a single entry is its colon.
	}
}

// mapping reports whether n is a mapping that has these keys only; what names
// it for messages.
func (r *reader) mapping(n *node, what string, keys ...string) bool {
	if n.shape != mapping {
		r.fault(n.place, "its keys are "+strings.Join(keys, ", "), "%s must be a mapping, this is %s", what, n.describe())
		return false
	}
	for _, e := range n.entries {
		if !slices.Contains(keys, e.key) {
			r.fault(e.place, suggest(e.key, keys), "unknown key %q", e.key)
		}
	}
	return true
}

// names reports whether n is a mapping of names that the author chose.
func (r *reader) names(n *node, what, example string) bool {
	if n.shape != mapping {
		r.fault(n.place, "write "+example, "%s must be a mapping, this is %s", what, n.describe())
	}
	return n.shape == mapping
}

// list returns the items of a list, none after a fault.
func (r *reader) list(n *node, what string) []*node {
	if n.shape != list {
		r.fault(n.place, "write [ … ] or a line with a dash for each", "%s must be a list, this is %s", what, n.describe())
	}
	return n.items
}

// text reads a scalar as text.
func (r *reader) text(n *node) (string, bool) {
	if n.shape != scalar {
		r.fault(n.place, "", "expected a text, this is %s", n.describe())
	}
	return n.text, n.shape == scalar
}

// texts reads a list of texts.
func (r *reader) texts(n *node, what string) []string {
	var out []string
	for _, item := range r.list(n, what) {
		if text, ok := r.text(item); ok {
			out = append(out, text)
		}
	}
	return out
}

// known reads a name that must be one of those; what names what it is of.
func (r *reader) known(at place, what, name string, names []string) bool {
	if slices.Contains(names, name) {
		return true
	}
	r.fault(at, suggest(name, names), "there is no %s %q", what, name)
	return false
}

// suggest says which of the names was meant, or, if none is near, which there are.
func suggest(name string, names []string) string {
	if best := charge.Nearest(name, names); best != "" {
		return "did you mean " + strconv.Quote(best) + "?"
	}
	const namesMax = 20
	switch {
	case len(names) == 0:
		return "there is none"
	case len(names) > namesMax:
		return "there are " + strings.Join(names[:namesMax], ", ") + " and others"
	}
	return "there are " + strings.Join(names, ", ")
}
