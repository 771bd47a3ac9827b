package rules

import (
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// The YAML library reads a block mapping by recursion over its keys and copies
// what is left of them at each, so its time grows with the square of their
// number. Sections of thousands of names, such as templates, are therefore read
// in stretches of stretchKeys names, each as a document of its own, and put
// together.

const stretchKeys = 256

// parseTokens parses a document as parser.Parse does, in about linear time.
func parseTokens(tokens token.Tokens) (*ast.File, error) {
	whole, stretches := split(tokens)
	tree, err := parse(whole)
	if err != nil || len(stretches) == 0 {
		return tree, err
	}
	sections := sectionValues(tree)
	for _, s := range stretches {
		part, err := parse(s.tokens)
		if err != nil {
			return nil, err
		}
		section, names := sections[s.section], mappingOf(part)
		if section == nil || names == nil {
			return parse(tokens) // It is not what it looked like.
		}
		section.Values = append(section.Values, names.Values...)
	}
	return tree, nil
}

func parse(tokens token.Tokens) (*ast.File, error) {
	return parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
}

// stretch is a run of names of one section.
type stretch struct {
	section *token.Token // the section's key
	tokens  token.Tokens
}

// split takes all but the first names of large sections out of the tokens.
func split(tokens token.Tokens) (whole token.Tokens, stretches []stretch) {
	s := splitter{}
	for i, t := range tokens {
		switch t.Type {
		case token.MappingStartType, token.SequenceStartType:
			s.flow++
		case token.MappingEndType, token.SequenceEndType:
			s.flow--
		case token.DocumentHeaderType, token.DocumentEndType:
			return tokens, nil
		case token.MappingValueType:
			if s.flow == 0 && i > 0 {
				s.key(tokens, i-1)
			}
		}
	}
	if len(s.bounds) == 0 {
		return tokens, nil
	}
	s.close(len(tokens))
	from := 0
	for i, b := range s.bounds {
		if b.section == nil { // The end of a section.
			from = b.at
			continue
		}
		if i == 0 || s.bounds[i-1].section == nil {
			whole = append(whole, tokens[from:b.at]...)
		}
		stretches = append(stretches, stretch{b.section, tokens[b.at:s.bounds[i+1].at]})
	}
	return append(whole, tokens[from:]...), stretches
}

// splitter follows the keys of a document in block style.
type splitter struct {
	flow    int
	root    int          // column of the sections
	section *token.Token // the one that is open
	column  int          // of its names
	names   int          // how many; 0: it has none in block style, or none yet
	bounds  []bound
}

// bound is where a stretch begins; without a section, where the last one ends.
type bound struct {
	at      int
	section *token.Token
}

// key follows the key of a block mapping.
func (s *splitter) key(tokens token.Tokens, at int) {
	t := tokens[at]
	column := t.Position.Column
	switch {
	case s.root == 0 || column == s.root:
		s.close(at)
		s.root, s.section, s.names = column, t, 0
	case s.names == 0 && follows(tokens, at, s.section):
		s.column, s.names = column, 1
	case s.names > 0 && column == s.column:
		if s.names%stretchKeys == 0 {
			s.bounds = append(s.bounds, bound{at, s.section})
		}
		s.names++
	}
}

// close notes where the last stretch of a section ends.
func (s *splitter) close(at int) {
	if s.names > stretchKeys {
		s.bounds = append(s.bounds, bound{at: at})
	}
}

// follows reports whether the key at that place is the first thing behind the
// section's colon.
func follows(tokens token.Tokens, at int, section *token.Token) bool {
	for at--; at > 0 && tokens[at].Type == token.CommentType; at-- {
	}
	return at > 0 && tokens[at].Type == token.MappingValueType && tokens[at-1] == section
}

// sectionValues returns the sections of a document that are mappings, by key.
func sectionValues(tree *ast.File) map[*token.Token]*ast.MappingNode {
	sections := map[*token.Token]*ast.MappingNode{}
	if root := mappingOf(tree); root != nil {
		for _, v := range root.Values {
			if m, ok := v.Value.(*ast.MappingNode); ok {
				sections[v.Key.GetToken()] = m
			}
		}
	}
	return sections
}

// mappingOf returns the mapping that a document is, or nil.
func mappingOf(tree *ast.File) *ast.MappingNode {
	if len(tree.Docs) != 1 {
		return nil
	}
	m, _ := tree.Docs[0].Body.(*ast.MappingNode)
	return m
}
