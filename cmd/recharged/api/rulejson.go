package api

import (
	"fmt"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// yamlToJSON writes a YAML document as JSON with the same keys in the same
// order. It works on the document's text, so that numbers keep their digits.
func yamlToJSON(source []byte) ([]byte, error) {
	file, err := parser.ParseBytes(source, 0)
	if err != nil {
		return nil, fmt.Errorf("parse YAML: %w", err)
	}
	if len(file.Docs) == 0 || file.Docs[0].Body == nil {
		return []byte("{}"), nil
	}
	return appendNode(nil, file.Docs[0].Body)
}

func appendNode(dst []byte, n ast.Node) ([]byte, error) {
	switch n := n.(type) {
	case *ast.MappingNode:
		return appendMapping(dst, n.Values)
	case *ast.MappingValueNode:
		return appendMapping(dst, []*ast.MappingValueNode{n})
	case *ast.SequenceNode:
		return appendSequence(dst, n.Values)
	case *ast.NullNode:
		return append(dst, "null"...), nil
	case *ast.BoolNode:
		return fmt.Appendf(dst, "%t", n.Value), nil
	case *ast.IntegerNode, *ast.FloatNode:
		text := n.GetToken().Value
		if v := jsontext.Value(text); v.IsValid() {
			return append(dst, text...), nil
		}
		return jsontext.AppendQuote(dst, text)
	case *ast.StringNode:
		return jsontext.AppendQuote(dst, n.Value)
	case *ast.LiteralNode:
		return jsontext.AppendQuote(dst, n.Value.Value)
	}
	return nil, fmt.Errorf("line %d: a rulebook has no %s", n.GetToken().Position.Line, n.Type())
}

func appendMapping(dst []byte, values []*ast.MappingValueNode) ([]byte, error) {
	dst = append(dst, '{')
	for i, v := range values {
		if i > 0 {
			dst = append(dst, ',')
		}
		key := v.Key.GetToken().Value
		var err error
		if dst, err = jsontext.AppendQuote(dst, key); err != nil {
			return nil, fmt.Errorf("key %q: %w", key, err)
		}
		if dst, err = appendNode(append(dst, ':'), v.Value); err != nil {
			return nil, err
		}
	}
	return append(dst, '}'), nil
}

func appendSequence(dst []byte, values []ast.Node) ([]byte, error) {
	dst = append(dst, '[')
	for i, v := range values {
		if i > 0 {
			dst = append(dst, ',')
		}
		var err error
		if dst, err = appendNode(dst, v); err != nil {
			return nil, err
		}
	}
	return append(dst, ']'), nil
}
