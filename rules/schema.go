package rules

import (
	"bytes"
	"encoding/json"
)

// Schema returns the JSON Schema of a rulebook, draft 2020-12, for editors: they
// complete keys, show what each is for, and mark those that there are not. It
// knows the shape of a rulebook, not its meaning; that is Load's.
func Schema() []byte {
	whole := documentForm.schema()
	whole.Version = "https://json-schema.org/draft/2020-12/schema"
	whole.Title = "Rulebook"
	for _, f := range forms() {
		whole.Defs = append(whole.Defs, property{f.name, f.schema()})
	}
	text, err := json.MarshalIndent(whole, "", "  ")
	if err != nil {
		panic("rules: the language's own schema cannot be written: " + err.Error())
	}
	return append(text, '\n')
}

// schema is what JSON Schema can say of a value, as far as the language needs
// it; the fields are in the order in which they are written.
type schema struct {
	Version     string     `json:"$schema,omitempty"`
	Ref         string     `json:"$ref,omitempty"`
	Title       string     `json:"title,omitempty"`
	Description string     `json:"description,omitempty"`
	Type        any        `json:"type,omitempty"` // a name or several
	Enum        []any      `json:"enum,omitempty"`
	AnyOf       []*schema  `json:"anyOf,omitempty"`
	OneOf       []*schema  `json:"oneOf,omitempty"`
	Items       *schema    `json:"items,omitempty"`
	Properties  properties `json:"properties,omitempty"`
	Additional  any        `json:"additionalProperties,omitempty"` // false, or a schema
	Required    []string   `json:"required,omitempty"`
	PropsMin    int        `json:"minProperties,omitempty"`
	PropsMax    int        `json:"maxProperties,omitempty"`
	Defs        properties `json:"$defs,omitempty"`
}

// properties keep their order, which is the order in which people think of them.
type properties []property

type property struct {
	name  string
	value *schema
}

// MarshalJSON writes an object.
func (ps properties) MarshalJSON() ([]byte, error) {
	var out bytes.Buffer
	out.WriteByte('{')
	for i, p := range ps {
		if i > 0 {
			out.WriteByte(',')
		}
		name, err := json.Marshal(p.name)
		if err != nil {
			return nil, err
		}
		value, err := json.Marshal(p.value)
		if err != nil {
			return nil, err
		}
		out.Write(name)
		out.WriteByte(':')
		out.Write(value)
	}
	out.WriteByte('}')
	return out.Bytes(), nil
}

// schema returns the form's schema: its keys and no others.
func (f *form) schema() *schema {
	s := &schema{Description: f.about, Type: "object", Additional: false}
	for _, k := range f.keys {
		value := *k.value
		value.Description = k.about
		s.Properties = append(s.Properties, property{k.name, &value})
		if k.must {
			s.Required = append(s.Required, k.name)
		}
	}
	switch f {
	case ruleForm: // It follows an event or waits for silence.
		s.OneOf = []*schema{{Required: []string{"on"}}, {Required: []string{"after", "quiet"}}}
	case actionForm:
		s.PropsMin, s.PropsMax = 1, 1
	case limitsForm:
		s.PropsMin = 1
	}
	return s
}

func refTo(f *form) *schema { return &schema{Ref: "#/$defs/" + f.name} }

func listOf(item *schema) *schema { return &schema{Type: "array", Items: item} }

func mapOf(value *schema) *schema { return &schema{Type: "object", Additional: value} }

// section is a mapping of names at the top, which may be left empty.
func section(value *schema) *schema { return orNothing(mapOf(value)) }

// orNothing lets a value be left out after its key.
func orNothing(s *schema) *schema {
	s.Type = []any{s.Type, "null"}
	return s
}

func anyOf(choices ...*schema) *schema { return &schema{AnyOf: choices} }

func oneOf(names ...string) *schema {
	s := &schema{}
	for _, name := range names {
		s.Enum = append(s.Enum, name)
	}
	return s
}

func ofText() *schema { return &schema{Type: "string"} }

func ofTruth() *schema { return &schema{Type: "boolean"} }

func ofWhole() *schema { return &schema{Type: "integer"} }

// ofAmount is a number, or one with a suffix: 500MB, 60s, 5%.
func ofAmount() *schema { return &schema{Type: []any{"number", "string"}} }

// ofSpan is a duration, such as 7d.
func ofSpan() *schema { return ofText() }

// ofScalar is a text that may look like something else.
func ofScalar() *schema { return &schema{Type: []any{"string", "number", "boolean"}} }

// ofExpression is an expression; a number alone is one too.
func ofExpression() *schema { return ofAmount() }

// ofCondition is an expression; true and false are some too.
func ofCondition() *schema { return &schema{Type: []any{"string", "boolean"}} }
