package main

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"strings"

	"github.com/alecthomas/kong"
	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// keyTag names a setting's key in the configuration file.
const keyTag = "key"

// fileValue is what the configuration file says of a key, and where.
type fileValue struct {
	text         string
	line, column int
}

// BeforeResolve reads the configuration file, if one is given, and has its
// values used for the settings that have neither flag nor variable.
func (s *settings) BeforeResolve(ctx *kong.Context) error {
	path := ""
	byKey := map[string]*kong.Flag{}
	for _, flag := range ctx.Flags() {
		if flag.Name == "config" {
			path, _ = ctx.FlagValue(flag).(string)
		}
		if key := flag.Tag.Get(keyTag); key != "" {
			byKey[key] = flag
		}
	}
	if path == "" {
		return nil
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return usagef("read the configuration: %v", err)
	}
	values, err := readConfig(path, data, byKey)
	if err != nil {
		return &exitError{exitUsage, err.Error()}
	}
	ctx.AddResolver(kong.ResolverFunc(func(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
		value, given := values[flag.Tag.Get(keyTag)]
		if !given || setInEnvironment(flag) {
			return nil, nil
		}
		return value.text, nil
	}))
	return nil
}

func setInEnvironment(flag *kong.Flag) bool {
	for _, name := range flag.Envs {
		if _, set := os.LookupEnv(name); set {
			return true
		}
	}
	return false
}

// readConfig reads a configuration file. It reports all faults together, each
// with its place.
func readConfig(path string, data []byte, flags map[string]*kong.Flag) (map[string]fileValue, error) {
	file, err := parser.ParseBytes(data, 0)
	if err != nil {
		var syntax *yaml.SyntaxError
		if errors.As(err, &syntax) {
			at := syntax.GetToken().Position
			return nil, fmt.Errorf("%s:%d:%d: %s", path, at.Line, at.Column, syntax.GetMessage())
		}
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	r := configReader{path: path, flags: flags, values: map[string]fileValue{}}
	for i, doc := range file.Docs {
		switch {
		case doc.Body == nil:
		case i > 0:
			r.fault(doc.Body, "a configuration is one document")
		default:
			r.read("", doc.Body)
		}
	}
	if len(r.faults) > 0 {
		return nil, errors.New(strings.Join(r.faults, "\n"))
	}
	return r.values, nil
}

type configReader struct {
	path   string
	flags  map[string]*kong.Flag
	values map[string]fileValue
	faults []string
}

func (r *configReader) fault(n ast.Node, format string, args ...any) {
	at := n.GetToken().Position
	r.faults = append(r.faults, fmt.Sprintf("%s:%d:%d: %s", r.path, at.Line, at.Column, fmt.Sprintf(format, args...)))
}

// read takes what stands under a key, "" for the whole.
func (r *configReader) read(key string, n ast.Node) {
	if flag, known := r.flags[key]; known {
		r.value(key, flag, n)
		return
	}
	var values []*ast.MappingValueNode
	switch n := n.(type) {
	case *ast.MappingNode:
		values = n.Values
	case *ast.MappingValueNode:
		values = []*ast.MappingValueNode{n}
	case *ast.NullNode: // A section with nothing in it.
		return
	default:
		r.fault(n, "%s has keys of its own below it", firstOf(key, "a configuration"))
		return
	}
	for _, v := range values {
		inner := v.Key.GetToken().Value
		if key != "" {
			inner = key + "." + inner
		}
		if !r.known(inner) {
			r.fault(v.Key, "unknown key %q%s", inner, r.suggest(inner))
			continue
		}
		r.read(inner, v.Value)
	}
}

// known reports whether a key is a setting or a section of some.
func (r *configReader) known(key string) bool {
	for name := range r.flags {
		if name == key || strings.HasPrefix(name, key+".") {
			return true
		}
	}
	return false
}

func (r *configReader) suggest(key string) string {
	var names []string
	for name := range r.flags {
		section, _, _ := strings.Cut(name, ".")
		names = append(names, name, section)
	}
	best := closest(key, names)
	if best == "" {
		return "; recharged config prints all there are"
	}
	return fmt.Sprintf("; did you mean %q?", best)
}

// closest returns the name that was probably meant by a word, "" if it is like
// none.
func closest(word string, names []string) string {
	best, distanceMin := "", 4
	for _, name := range names {
		if d := editDistance(word, name); d < distanceMin || d == distanceMin && name < best {
			best, distanceMin = name, d
		}
	}
	return best
}

// value takes the value of a setting, if its flag would.
func (r *configReader) value(key string, flag *kong.Flag, n ast.Node) {
	value := fileValue{line: n.GetToken().Position.Line, column: n.GetToken().Position.Column}
	switch n := n.(type) {
	case *ast.NullNode:
		return // The default holds.
	case *ast.StringNode:
		value.text = n.Value
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
		value.text = n.GetToken().Value
	case *ast.SequenceNode:
		value.text = n.String()
	default:
		r.fault(n, "%s is a single value", key)
		return
	}
	target := reflect.New(flag.Target.Type()).Elem()
	err := flag.Mapper.Decode(&kong.DecodeContext{
		Value: flag.Value, Scan: kong.Scan().PushTyped(value.text, kong.FlagValueToken),
	}, target)
	if err != nil {
		r.fault(n, "%s: %s", key, err)
		return
	}
	r.values[key] = value
}

func firstOf(text, otherwise string) string {
	if text != "" {
		return text
	}
	return otherwise
}

// editDistance counts the insertions, deletions and replacements of bytes that
// make b of a, one row of the table at a time.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replaced := diagonal
			if a[i] != b[j] {
				replaced++
			}
			diagonal = row[j+1]
			row[j+1] = min(replaced, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}
