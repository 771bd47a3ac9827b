package api

import (
	"fmt"

	"github.com/go-json-experiment/json/jsontext"
	"go.yaml.in/yaml/v3"
)

// yamlToJSON writes a YAML document as JSON with the same keys in the same
// order. It works on the document's text, so that numbers keep their digits.
func yamlToJSON(source []byte) ([]byte, error) {
	var document yaml.Node
	if err := yaml.Unmarshal(source, &document); err != nil {
		return nil, fmt.Errorf("parse YAML: %w", err)
	}
	if len(document.Content) == 0 {
		return []byte("{}"), nil
	}
	return appendNode(nil, document.Content[0])
}

func appendNode(dst []byte, n *yaml.Node) ([]byte, error) {
	switch n.Kind {
	case yaml.MappingNode:
		return appendMapping(dst, n.Content)
	case yaml.SequenceNode:
		return appendSequence(dst, n.Content)
	case yaml.ScalarNode:
		return appendScalar(dst, n)
	}
	return nil, fmt.Errorf("line %d: a rulebook has no aliases", n.Line)
}

func appendScalar(dst []byte, n *yaml.Node) ([]byte, error) {
	switch n.Tag {
	case "!!null":
		return append(dst, "null"...), nil
	case "!!bool", "!!int", "!!float":
		if jsontext.Value(n.Value).IsValid() {
			return append(dst, n.Value...), nil
		}
	}
	return jsontext.AppendQuote(dst, n.Value)
}

func appendMapping(dst []byte, content []*yaml.Node) ([]byte, error) {
	dst = append(dst, '{')
	for i := 0; i < len(content); i += 2 {
		if i > 0 {
			dst = append(dst, ',')
		}
		key := content[i].Value
		var err error
		if dst, err = jsontext.AppendQuote(dst, key); err != nil {
			return nil, fmt.Errorf("key %q: %w", key, err)
		}
		if dst, err = appendNode(append(dst, ':'), content[i+1]); err != nil {
			return nil, err
		}
	}
	return append(dst, '}'), nil
}

func appendSequence(dst []byte, values []*yaml.Node) ([]byte, error) {
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
