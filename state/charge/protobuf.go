package charge

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"

	"recharged/state/money"
)

// The field numbers of event.proto.
const (
	batchEvents protowire.Number = 1

	eventID      protowire.Number = 1
	eventSource  protowire.Number = 2
	eventType    protowire.Number = 3
	eventSubject protowire.Number = 4
	eventTime    protowire.Number = 5
	eventData    protowire.Number = 6
	eventExtra   protowire.Number = 7

	fieldName    protowire.Number = 1
	fieldText    protowire.Number = 2
	fieldFlag    protowire.Number = 3
	fieldInteger protowire.Number = 4
	fieldDecimal protowire.Number = 5
	fieldList    protowire.Number = 6
	fieldObject  protowire.Number = 7
	fieldTime    protowire.Number = 8

	listElements protowire.Number = 1 // of TextList and FieldList
)

// protobufFieldsMax bounds how many fields an event's data may have.
const protobufFieldsMax = 256

var (
	errNotUTF8    = errors.New("a text is not UTF-8")
	errWireType   = errors.New("a field does not have the type of event.proto")
	errFieldCount = fmt.Errorf("data has more than %d fields", protobufFieldsMax)
)

// wire is one field of a Protobuf message: its bits, or the bytes from start to end.
type wire struct {
	number     protowire.Number
	kind       protowire.Type
	bits       uint64
	start, end int
}

// nextWire reads the field at that place of a message, whose last byte comes
// before end, and returns where the next one begins.
func nextWire(data []byte, at, end int) (wire, int, error) {
	number, kind, n := protowire.ConsumeTag(data[at:end])
	if n < 0 {
		return wire{}, at, protowire.ParseError(n)
	}
	at += n
	w := wire{number: number, kind: kind}
	switch rest := data[at:end]; kind {
	case protowire.VarintType:
		w.bits, n = protowire.ConsumeVarint(rest)
	case protowire.Fixed64Type:
		w.bits, n = protowire.ConsumeFixed64(rest)
	case protowire.BytesType:
		var content []byte
		content, n = protowire.ConsumeBytes(rest)
		w.start, w.end = at+n-len(content), at+n
	default:
		n = protowire.ConsumeFieldValue(number, kind, rest)
	}
	if n < 0 {
		return wire{}, at, protowire.ParseError(n)
	}
	return w, at + n, nil
}

// Protobuf reads an EventBatch of event.proto and hands each event to its
// caller, with its rejection if it has one. A fault of the batch itself is
// returned and ends it; the events before it were handed out.
func (d *Decoder) Protobuf(data []byte, each func(index int, e Event, r *Rejection)) *Rejection {
	for index, at := 0, 0; at < len(data); {
		w, next, err := nextWire(data, at, len(data))
		if err == nil && w.number == batchEvents && w.kind != protowire.BytesType {
			err = errWireType
		}
		if err != nil {
			return &Rejection{Reason: Malformed, Detail: fmt.Sprintf(
				"the Protobuf batch is broken at event %d, byte %d: %s", index, at, protobufDetail(err))}
		}
		if at = next; w.number != batchEvents {
			continue // A field of a later version of event.proto.
		}
		e, r := d.message(data[w.start:w.end])
		each(index, e, r)
		index++
	}
	return nil
}

// IsProtobuf reports whether data is an EventBatch by its look: nothing but
// events, each as long as it says. An empty one is not.
func IsProtobuf(data []byte) bool {
	for at := 0; at < len(data); {
		w, next, err := nextWire(data, at, len(data))
		if err != nil || w.number != batchEvents || w.kind != protowire.BytesType {
			return false
		}
		at = next
	}
	return len(data) > 0
}

func protobufDetail(err error) string {
	if errors.Is(err, errNotUTF8) || errors.Is(err, errWireType) || errors.Is(err, errFieldCount) {
		return err.Error()
	}
	return "it is not a Protobuf message of event.proto"
}

// message reads one Event message.
func (d *Decoder) message(data []byte) (Event, *Rejection) {
	if len(data) > EventBytesMax {
		return Event{}, tooLarge(len(data))
	}
	d.begin(string(data), data)
	d.envelope.specversion = attribute{"1.0", true}
	var fields []Field
	var more string
	for next := 0; next < len(data); {
		w, after, err := nextWire(data, next, len(data))
		if err == nil {
			next, err = after, d.messageField(data, w, &fields, &more)
		}
		if err != nil {
			return Event{ID: d.envelope.id.text}, &Rejection{Reason: Malformed, Detail: "the event cannot be read: " + protobufDetail(err)}
		}
	}
	var f faults
	e, schema := d.identify(&f)
	if f.worst != nil {
		return e, f.worst
	}
	d.readExtra(more, schema, &f)
	d.wireFields(&e, schema, fields, &f)
	return d.seal(e, schema, &f)
}

// messageField puts one field of an Event message where it belongs.
func (d *Decoder) messageField(data []byte, w wire, fields *[]Field, more *string) (err error) {
	v := &d.envelope
	switch w.number {
	case eventID:
		v.id, err = d.wireAttribute(w)
	case eventSource:
		v.source, err = d.wireAttribute(w)
	case eventType:
		v.kind, err = d.wireAttribute(w)
	case eventSubject:
		v.subject, err = d.wireAttribute(w)
	case eventTime:
		v.at = Instant(w.bits)
		v.time.set = v.at != 0
		err = w.want(protowire.Fixed64Type)
	case eventExtra:
		*more, err = d.wireText(w)
	case eventData:
		if err = w.want(protowire.BytesType); err != nil {
			return err
		}
		if len(*fields) == protobufFieldsMax {
			return errFieldCount
		}
		var field Field
		field, err = d.wireField(data, w, 0)
		*fields = append(*fields, field)
	}
	return err
}

func (w wire) want(kind protowire.Type) error {
	if w.kind != kind {
		return errWireType
	}
	return nil
}

func (d *Decoder) wireText(w wire) (string, error) {
	if err := w.want(protowire.BytesType); err != nil {
		return "", err
	}
	text := d.text[w.start:w.end]
	if !utf8.ValidString(text) {
		return "", errNotUTF8
	}
	return text, nil
}

// wireAttribute reads an attribute; Protobuf knows no difference between an
// empty and an absent text.
func (d *Decoder) wireAttribute(w wire) (attribute, error) {
	text, err := d.wireText(w)
	return attribute{text, text != ""}, err
}

// wireField reads one Field message. An object within an object stays Missing,
// which nothing accepts.
func (d *Decoder) wireField(data []byte, field wire, depth int) (Field, error) {
	var out Field
	for next := field.start; next < field.end; {
		w, after, err := nextWire(data, next, field.end)
		if err != nil {
			return out, err
		}
		next = after
		kind, text := protowire.VarintType, ""
		switch w.number {
		case fieldName, fieldText, fieldDecimal, fieldList, fieldObject:
			kind = protowire.BytesType
		case fieldTime:
			kind = protowire.Fixed64Type
		case fieldFlag, fieldInteger:
		default:
			continue // A field of a later version of event.proto.
		}
		if err := w.want(kind); err != nil {
			return out, err
		}
		switch w.number {
		case fieldName:
			out.Name, err = d.wireText(w)
		case fieldText:
			text, err = d.wireText(w)
			out.Value = TextValue(text)
		case fieldFlag:
			out.Value = BoolValue(w.bits != 0)
		case fieldInteger:
			out.Value = NumberValue(money.Int(protowire.DecodeZigZag(w.bits)))
		case fieldDecimal:
			out.Value, err = d.wireDecimal(w)
		case fieldList:
			out.Value, err = d.wireList(data, w)
		case fieldObject:
			if depth == 0 {
				out.Value, err = d.wireObject(data, w)
			}
		case fieldTime:
			out.Value = TimeValue(Instant(w.bits))
		}
		if err != nil {
			return out, err
		}
	}
	return out, nil
}

// wireDecimal reads a decimal number, not parsed yet.
func (d *Decoder) wireDecimal(w wire) (Value, error) {
	text, err := d.wireText(w)
	if text == "" {
		return TextValue(""), err // No number: whoever wants one refuses it.
	}
	return Value{Kind: Number, Text: text}, err
}

func (d *Decoder) wireList(data []byte, list wire) (Value, error) {
	v := Value{Kind: List}
	for next := list.start; next < list.end; {
		w, after, err := nextWire(data, next, list.end)
		if err != nil {
			return v, err
		}
		if next = after; w.number == listElements {
			text, err := d.wireText(w)
			if err != nil {
				return v, err
			}
			v.List = append(v.List, text)
		}
	}
	return v, nil
}

func (d *Decoder) wireObject(data []byte, object wire) (Value, error) {
	v := Value{Kind: Object}
	for next := object.start; next < object.end; {
		w, after, err := nextWire(data, next, object.end)
		if err != nil {
			return v, err
		}
		if next = after; w.number == listElements {
			if err := w.want(protowire.BytesType); err != nil {
				return v, err
			}
			field, err := d.wireField(data, w, 1)
			if err != nil {
				return v, err
			}
			v.Fields = append(v.Fields, field)
		}
	}
	return v, nil
}

// readExtra reads the JSON text with what no schema names.
func (d *Decoder) readExtra(text string, schema *Schema, f *faults) {
	if text == "" {
		return
	}
	d.begin(text, []byte(text))
	if err := d.readData(); err != nil {
		f.add(Malformed, "extra", "must be a JSON object: %s", syntaxDetail(err))
		return
	}
	outer := slices.Clone(d.data)
	for i := range outer {
		m := &outer[i]
		if m.name != "attributes" && m.name != "data" || text[m.start] != '{' {
			f.add(Malformed, "extra", "must have nothing but the objects attributes and data")
			return
		}
		d.enter(m)
		for d.tokens.PeekKind() != '}' {
			var name, value member
			if d.readValue(&name) != nil || d.readValue(&value) != nil {
				return // It was found to be valid just now.
			}
			unquoted, raw := d.unquote(m.start+name.start, m.start+name.end), text[m.start+value.start:m.start+value.end]
			switch {
			case m.name == "attributes":
				d.extra.attribute(unquoted, raw, f)
			case schema.field(unquoted) != nil:
				f.addData(Malformed, unquoted, "belongs into data, not into extra")
			default:
				d.extra.field(unquoted, raw, f)
			}
		}
	}
}

// field returns the spec of that name, or nil.
func (s *Schema) field(name string) *FieldSpec {
	for i := range s.Fields {
		if s.Fields[i].Name == name {
			return &s.Fields[i]
		}
	}
	return nil
}

// wireFields puts the fields that the schema names into the event, and the
// others into its Extra.
func (d *Decoder) wireFields(e *Event, schema *Schema, fields []Field, f *faults) {
	for i := range fields {
		if slices.ContainsFunc(fields[:i], func(other Field) bool { return other.Name == fields[i].Name }) {
			f.addData(Malformed, fields[i].Name, "is there twice")
		}
	}
	for i := range schema.Fields {
		spec := &schema.Fields[i]
		k := slices.IndexFunc(fields, func(field Field) bool { return field.Name == spec.Name })
		if k < 0 {
			f.absent(spec)
			continue
		}
		if v, ok := d.catalog.read(e, spec, fields[k].Value, f); ok {
			e.Fields = append(e.Fields, Field{spec.Name, v})
		}
	}
	for i := range fields {
		if field := &fields[i]; schema.field(field.Name) == nil {
			d.unknownWireField(field, f)
		}
	}
}

func (d *Decoder) unknownWireField(field *Field, f *faults) {
	v, ok := field.Value, true
	switch v.Kind {
	case Number:
		v, ok = readNumber(v, field.Name, f)
	case Object:
		v, ok = readAttributes(v, field.Name, f)
	}
	if ok {
		d.extra.field(field.Name, string(appendValueJSON(nil, v)), f)
	}
}

// AppendProtobuf appends the event as one more event of an EventBatch. Batches
// are made by appending events one after the other.
func AppendProtobuf(dst []byte, e *Event) []byte {
	m := appendWireText(nil, eventID, e.ID)
	m = appendWireText(m, eventSource, e.Source)
	m = appendWireText(m, eventType, e.Type)
	m = appendWireText(m, eventSubject, e.MSISDN.String())
	m = protowire.AppendTag(m, eventTime, protowire.Fixed64Type)
	m = protowire.AppendFixed64(m, uint64(e.Time))
	for i := range e.Fields {
		m = appendWireField(m, eventData, &e.Fields[i])
	}
	if len(e.Extra) > 0 {
		m = appendWireText(m, eventExtra, string(e.Extra))
	}
	return appendWireBytes(dst, batchEvents, m)
}

func appendWireText(dst []byte, number protowire.Number, text string) []byte {
	return protowire.AppendString(protowire.AppendTag(dst, number, protowire.BytesType), text)
}

func appendWireBytes(dst []byte, number protowire.Number, message []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(dst, number, protowire.BytesType), message)
}

func appendWireVarint(dst []byte, number protowire.Number, n uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(dst, number, protowire.VarintType), n)
}

func appendWireField(dst []byte, number protowire.Number, field *Field) []byte {
	m := appendWireText(nil, fieldName, field.Name)
	switch v := field.Value; v.Kind {
	case Text:
		m = appendWireText(m, fieldText, v.Text)
	case Bool:
		m = appendWireVarint(m, fieldFlag, uint64(v.Bits))
	case Number:
		if v.Scale == 0 {
			m = appendWireVarint(m, fieldInteger, protowire.EncodeZigZag(v.Bits))
		} else {
			m = appendWireText(m, fieldDecimal, v.Decimal().String())
		}
	case List:
		var list []byte
		for _, text := range v.List {
			list = appendWireText(list, listElements, text)
		}
		m = appendWireBytes(m, fieldList, list)
	case Object:
		var list []byte
		for i := range v.Fields {
			list = appendWireField(list, listElements, &v.Fields[i])
		}
		m = appendWireBytes(m, fieldObject, list)
	case Time:
		m = protowire.AppendFixed64(protowire.AppendTag(m, fieldTime, protowire.Fixed64Type), uint64(v.Bits))
	default:
		panic("charge: an event has a field of kind " + strconv.Itoa(int(v.Kind)))
	}
	return appendWireBytes(dst, number, m)
}
