package rules

import (
	"bytes"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/rogpeppe/go-internal/txtar"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"recharged/rules/sample"
)

// compileSchema gives the schema to a validator that was written by others.
func compileSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(Schema()))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("rulebook.json", document); err != nil {
		t.Fatal(err)
	}
	compiled, err := c.Compile("rulebook.json")
	if err != nil {
		t.Fatal(err)
	}
	return compiled
}

// validate reads YAML as an editor does and holds it to the schema.
func validate(t *testing.T, compiled *jsonschema.Schema, text []byte) error {
	t.Helper()
	data, err := yaml.YAMLToJSON(text)
	if err != nil {
		return err
	}
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	return compiled.Validate(document)
}

// What loads is valid: an editor marks nothing in a book that is in order.
func TestSchemaAcceptsBooks(t *testing.T) {
	compiled := compileSchema(t)
	books := map[string][]byte{"sample": sample.Rulebook, "every-key": read(t, "testdata/every-key.yaml")}
	base := File{"base.yaml", read(t, "testdata/scripts/base.yaml")}
	paths, err := filepath.Glob("testdata/scripts/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, path := range paths {
		books[path], _ = Merge(base, File{path, txtar.Parse(read(t, path)).Files[0].Data})
	}
	for name, text := range books {
		if err := validate(t, compiled, text); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What the loader refuses because of its shape, the schema refuses too.
func TestSchemaRefusesBrokenShapes(t *testing.T) {
	shape := regexp.MustCompile(`unknown key|must be a|has no (version|currency|name|on|then|after|quiet|template|severity|summary|to|from|unit|window|type|count|per|price):|expected a text`)
	compiled := compileSchema(t)
	paths, err := filepath.Glob("testdata/broken/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	refused := 0
	for _, path := range paths {
		for _, file := range txtar.Parse(read(t, path)).Files {
			if file.Name == "problems" {
				continue
			}
			_, problems := Load(File{file.Name, file.Data})
			if !slices.ContainsFunc(problems, func(p Problem) bool { return p.Severity == Error && shape.MatchString(p.Message) }) {
				continue
			}
			if refused++; validate(t, compiled, file.Data) == nil {
				t.Errorf("%s/%s is valid, although: %v", path, file.Name, problems)
			}
		}
	}
	if refused < 10 {
		t.Errorf("only %d books were of a broken shape", refused)
	}
}

// testdata/every-key.yaml has every key of every form, the loader reads each of
// them, and so does the schema: what it must not be, both refuse.
func TestEveryKey(t *testing.T) {
	compiled := compileSchema(t)
	source := read(t, "testdata/every-key.yaml")
	mustLoad(t, File{"every-key.yaml", source})
	doc := readDocument(new(report), []File{{"every-key.yaml", source}})
	used := map[string]bool{}
	var walk func(n *node)
	walk = func(n *node) {
		for _, item := range n.items {
			walk(item)
		}
		for i := range n.entries {
			e := &n.entries[i]
			used[e.key] = true
			value := e.value
			walk(value)
			e.value = &node{shape: list, flow: true, items: []*node{{shape: list, flow: true, items: []*node{{shape: scalar, text: "1"}}}}}
			var w yamlWriter
			w.block(doc.root, 0)
			if _, problems := Load(File{"broken.yaml", []byte(w.String())}); !problems.Failed() {
				t.Errorf("the loader does not look at %s of line %d", e.key, e.line)
			}
			if validate(t, compiled, []byte(w.String())) == nil {
				t.Errorf("the schema lets anything be %s of line %d", e.key, e.line)
			}
			e.value = value
		}
	}
	walk(doc.root)
	for _, f := range append(forms(), documentForm) {
		for _, k := range f.keys {
			if !used[k.name] {
				t.Errorf("%s of %s is not in every-key.yaml", k.name, f.name)
			}
			if !strings.HasSuffix(k.about, ".") {
				t.Errorf("%s of %s is not described in a sentence: %q", k.name, f.name, k.about)
			}
		}
	}
}
