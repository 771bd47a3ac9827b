package charge

import (
	"slices"

	"recharged/state/money"
)

// Kind tells what a Value holds.
type Kind uint8

// The kinds of value. Their numbers are part of the encodings: append only.
const (
	Missing Kind = iota
	Bool
	Number
	Text
	List
	Time
	Span
	Object
)

// Value is one datum of an event or an attribute of a customer. The closed set
// of kinds keeps values unboxed and comparisons exact. The zero Value is
// Missing.
type Value struct {
	Kind   Kind
	Scale  uint8    // of a Number
	Bits   int64    // Bool: 0 or 1. Number: coefficient. Time: Instant. Span: nanoseconds.
	Text   string   // Text
	List   []string // List
	Fields []Field  // Object, sorted by name
}

// Field is a named value.
type Field struct {
	Name  string
	Value Value
}

// BoolValue, NumberValue and the others make a value of their kind.
func BoolValue(b bool) Value {
	if b {
		return Value{Kind: Bool, Bits: 1}
	}
	return Value{Kind: Bool}
}

// NumberValue makes a Number.
func NumberValue(d money.Decimal) Value {
	return Value{Kind: Number, Bits: d.Coefficient, Scale: d.Scale}
}

// TextValue makes a Text.
func TextValue(text string) Value { return Value{Kind: Text, Text: text} }

// ListValue makes a List; it keeps the slice.
func ListValue(list []string) Value { return Value{Kind: List, List: list} }

// TimeValue makes a Time.
func TimeValue(i Instant) Value { return Value{Kind: Time, Bits: int64(i)} }

// Bool returns the truth of a Bool; of any other kind, false.
func (v Value) Bool() bool { return v.Kind == Bool && v.Bits == 1 }

// Decimal returns a Number's value.
func (v Value) Decimal() money.Decimal {
	return money.Decimal{Coefficient: v.Bits, Scale: v.Scale}
}

// Equal reports whether both are of one kind and mean the same; 1.50 equals
// 1.5. Missing equals nothing, not even itself.
func (v Value) Equal(w Value) bool {
	if v.Kind != w.Kind {
		return false
	}
	switch v.Kind {
	case Bool, Time, Span:
		return v.Bits == w.Bits
	case Number:
		return v.Decimal().Cmp(w.Decimal()) == 0
	case Text:
		return v.Text == w.Text
	case List:
		return slices.Equal(v.List, w.List)
	case Object:
		return slices.EqualFunc(v.Fields, w.Fields, func(f, g Field) bool {
			return f.Name == g.Name && f.Value.Equal(g.Value)
		})
	}
	return false
}

// Find returns the field of that name, or a Missing value.
func Find(fields []Field, name string) Value {
	for i := range fields {
		if fields[i].Name == name {
			return fields[i].Value
		}
	}
	return Value{}
}
