package charge

import (
	"bytes"

	"github.com/go-json-experiment/json/jsontext"
)

// What Extra looks like: both objects are always there, attributes first,
// compact, and with the names of every object in order, so that one content has
// one text.
const (
	extraOpen   = `{"attributes":{`
	extraMiddle = `},"data":{`
	extraClose  = `}}`
)

// extraDepthMax bounds how deep an unknown member may nest.
const extraDepthMax = 32

// extra gathers what no schema names while an event is read.
type extra struct{ attributes, data []byte }

func (x *extra) reset() { x.attributes, x.data = x.attributes[:0], x.data[:0] }

// attribute adds an extension attribute, its value a JSON text.
func (x *extra) attribute(name, raw string, f *faults) {
	var core envelope
	if name == "data" || name == "data_base64" || core.slot(name) != nil {
		f.add(Malformed, name, "is no extension attribute")
		return
	}
	x.attributes = appendMember(x.attributes, name, name, raw, f)
}

// field adds a member of data.
func (x *extra) field(name, raw string, f *faults) {
	x.data = appendMember(x.data, name, "data."+name, raw, f)
}

func appendMember(dst []byte, name, field, raw string, f *faults) []byte {
	if len(dst) > 0 {
		dst = append(dst, ',')
	}
	dst, err := jsontext.AppendQuote(dst, name)
	if err != nil {
		f.add(Malformed, "", "the name %s is not UTF-8", quote(name))
	}
	if _, depth := scanValue([]byte(raw)); depth > extraDepthMax {
		f.add(Malformed, field, "nests deeper than %d levels", extraDepthMax)
	}
	return append(append(dst, ':'), raw...)
}

// join returns what was gathered as an event's Extra.
func (x *extra) join(f *faults) []byte {
	if len(x.attributes) == 0 && len(x.data) == 0 {
		return nil
	}
	raw := append([]byte(extraOpen), x.attributes...)
	raw = append(append(raw, extraMiddle...), x.data...)
	raw = append(raw, extraClose...)
	text, err := jsontext.AppendFormat(nil, raw, jsontext.ReorderRawObjects(true))
	if err != nil {
		f.add(Malformed, "", "attributes or data that no schema names: %s", syntaxDetail(err))
		return nil
	}
	return text
}

// splitExtra returns the two objects of an event's Extra, each nil if it is
// empty.
func splitExtra(text []byte) (attributes, data []byte) {
	const attributesAt = len(extraOpen) - 1 // Where the first object begins.
	if !bytes.HasPrefix(text, []byte(extraOpen)) {
		return nil, nil
	}
	end, _ := scanValue(text[attributesAt:])
	attributes, rest := text[attributesAt:attributesAt+end], text[attributesAt+end:]
	data, ok := bytes.CutPrefix(rest, []byte(extraMiddle[1:len(extraMiddle)-1]))
	if !ok || len(data) < len("{}}") {
		return nil, nil
	}
	return notEmpty(attributes), notEmpty(data[:len(data)-1])
}

func notEmpty(object []byte) []byte {
	if len(object) <= len("{}") {
		return nil
	}
	return object
}

// scanValue returns where the JSON object or array that text begins with ends,
// and how deep it nests. The text is known to be valid JSON; of any other it
// finds some end within the text.
func scanValue(text []byte) (end, depthMax int) {
	depth, quoted := 0, false
	for i := 0; i < len(text); i++ {
		switch b := text[i]; {
		case quoted && b == '\\':
			i++
		case b == '"':
			quoted = !quoted
		case quoted:
		case b == '{' || b == '[':
			depth++
			depthMax = max(depthMax, depth)
		case b == '}' || b == ']':
			if depth--; depth <= 0 {
				return i + 1, depthMax
			}
		}
	}
	return len(text), depthMax
}
