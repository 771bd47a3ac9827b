package charge

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// Decoder reads events in the encodings that producers send, and checks them
// against a catalog. An event it returns keeps nothing of its input. It reuses
// its buffers: one goroutine at a time.
type Decoder struct {
	catalog *Catalog

	text   string // the event being read: every text without an escape is a part of it
	input  bytes.Buffer
	tokens *jsontext.Decoder
	items  *jsontext.Decoder // of a batch, while tokens reads one of them
	lines  *bufio.Reader

	attributes []member
	data       []member
	envelope   envelope
	extra      extra
}

// member is one name of a JSON object and where its value stands in the text.
type member struct {
	name       string
	start, end int
	used       bool
}

// envelope holds the attributes that CloudEvents defines and we understand.
type envelope struct {
	specversion, id, source, kind, subject, time, contentType attribute

	at Instant // instead of the text of time, where an encoding has no text for it
}

type attribute struct {
	text string
	set  bool
}

// slot returns where the attribute of that name belongs, or nil if it is an
// extension.
func (v *envelope) slot(name string) *attribute {
	switch name {
	case "specversion":
		return &v.specversion
	case "id":
		return &v.id
	case "source":
		return &v.source
	case "type":
		return &v.kind
	case "subject":
		return &v.subject
	case "time":
		return &v.time
	case "datacontenttype":
		return &v.contentType
	}
	return nil
}

// NewDecoder returns a decoder that checks against c.
func NewDecoder(c *Catalog) *Decoder {
	d := &Decoder{catalog: c}
	// The strict defaults hold for an event: UTF-8 only, no name twice. A batch
	// is read leniently, so that such a fault is blamed on its item alone.
	d.tokens = jsontext.NewDecoder(&d.input)
	d.items = jsontext.NewDecoder(&d.input)
	return d
}

// Event reads one event in CloudEvents' structured JSON. With a rejection, the
// event has what could be read of its id, source and type.
func (d *Decoder) Event(data []byte) (Event, *Rejection) {
	if len(data) > EventBytesMax {
		return Event{ID: d.earlyID(data)}, tooLarge(len(data))
	}
	d.begin(string(data), data)
	dataKind, err := d.readEnvelope()
	if err != nil {
		return d.unreadable(err)
	}
	var f faults
	for i := range d.attributes {
		d.attribute(&d.attributes[i], &f)
	}
	switch dataKind {
	case '{', 'n', jsontext.KindInvalid: // An object, null, or not there at all.
	default:
		f.add(Malformed, "data", "must be a JSON object")
	}
	e, schema := d.identify(&f)
	if f.worst != nil {
		return e, f.worst
	}
	return d.finish(e, schema, &f)
}

// begin resets the decoder to read one event, which is both the text and the data.
func (d *Decoder) begin(text string, data []byte) {
	d.text = text
	d.input = *bytes.NewBuffer(data)
	d.tokens.Reset(&d.input)
	d.attributes, d.data = d.attributes[:0], d.data[:0]
	d.envelope = envelope{}
	d.extra.reset()
}

// errNotObject and errTrailing are faults of a JSON text as a whole.
var (
	errNotObject = errors.New("the event must be one JSON object")
	errTrailing  = errors.New("something follows the JSON object")
)

// readEnvelope reads the whole event into attributes and data, and returns what
// kind of JSON value its data is.
func (d *Decoder) readEnvelope() (dataKind jsontext.Kind, err error) {
	if err := d.openObject(); err != nil {
		return 0, err
	}
	for d.tokens.PeekKind() != '}' {
		m, err := d.readName()
		if err != nil {
			return 0, err
		}
		if m.name != "data" {
			if err := d.readValue(&m); err != nil {
				return 0, err
			}
			d.attributes = append(d.attributes, m)
			continue
		}
		dataKind = d.tokens.PeekKind()
		if dataKind == '{' {
			d.data, err = d.readMembers(d.data)
		} else {
			err = d.tokens.SkipValue()
		}
		if err != nil {
			return 0, err
		}
	}
	return dataKind, d.closeObject()
}

func (d *Decoder) openObject() error {
	switch token, err := d.tokens.ReadToken(); {
	case err == io.EOF:
		return errNotObject
	case err != nil:
		return err
	case token.Kind() != '{':
		return errNotObject
	}
	return nil
}

// closeObject reads the end of the outermost object, after which nothing may follow.
func (d *Decoder) closeObject() error {
	if _, err := d.tokens.ReadToken(); err != nil {
		return err
	}
	if _, err := d.tokens.ReadToken(); err == nil {
		return errTrailing
	} else if err != io.EOF {
		return err
	}
	return nil
}

// readMembers reads an object within the event, appending its members to dst.
func (d *Decoder) readMembers(dst []member) ([]member, error) {
	if _, err := d.tokens.ReadToken(); err != nil {
		return dst, err
	}
	for d.tokens.PeekKind() != '}' {
		m, err := d.readName()
		if err != nil {
			return dst, err
		}
		if err := d.readValue(&m); err != nil {
			return dst, err
		}
		dst = append(dst, m)
	}
	_, err := d.tokens.ReadToken()
	return dst, err
}

// readName reads the name of a member. The number of bytes that a value of
// tokens takes is what tells its place: where the reader stands after it.
func (d *Decoder) readName() (member, error) {
	raw, err := d.tokens.ReadValue()
	if err != nil {
		return member{}, err
	}
	end := int(d.tokens.InputOffset())
	return member{name: d.unquote(end-len(raw), end)}, nil
}

func (d *Decoder) readValue(m *member) error {
	raw, err := d.tokens.ReadValue()
	if err != nil {
		return err
	}
	m.end = int(d.tokens.InputOffset())
	m.start = m.end - len(raw)
	return nil
}

// unquote returns the text of the JSON string at that place of the event.
func (d *Decoder) unquote(start, end int) string {
	quoted := d.text[start:end]
	if strings.IndexByte(quoted, '\\') < 0 {
		return quoted[1 : len(quoted)-1]
	}
	text, _ := jsontext.AppendUnquote(nil, quoted) // It was found to be valid when it was read.
	return string(text)
}

// attribute puts one attribute of the envelope where it belongs. A null is as
// good as absent.
func (d *Decoder) attribute(m *member, f *faults) {
	slot := d.envelope.slot(m.name)
	switch kind := d.text[m.start]; {
	case m.name == "data_base64":
		f.add(Malformed, m.name, "binary data is not accepted, send a JSON object as data")
	case kind == 'n':
	case slot == nil:
		d.extra.attribute(m.name, d.text[m.start:m.end], f)
	case kind != '"':
		*slot = attribute{set: true} // It is there, so it is not missing.
		f.add(attributeFault(m.name), m.name, "must be a JSON string")
	default:
		*slot = attribute{d.unquote(m.start, m.end), true}
	}
}

// attributeFault returns the reason that is given when an attribute is not of
// its type: its own, if it has one.
func attributeFault(name string) RejectReason {
	switch name {
	case "subject":
		return BadSubject
	case "time":
		return BadTime
	}
	return Malformed
}

// unreadable returns the rejection of an event that is no JSON object, with its
// id if that was read before the fault.
func (d *Decoder) unreadable(err error) (Event, *Rejection) {
	return Event{ID: d.idSoFar()}, &Rejection{Reason: Malformed, Detail: "this is not valid JSON, or not one event: " + syntaxDetail(err)}
}

// earlyID returns the id of an event that is too large, if it comes so early in
// it that an event of the full size would have it; else "".
func (d *Decoder) earlyID(data []byte) string {
	data = data[:min(len(data), EventBytesMax)]
	d.begin(string(data), data)
	_, _ = d.readEnvelope() // It breaks off, at the latest where the data is cut.
	return d.idSoFar()
}

// idSoFar returns the id among the attributes that were read, or "".
func (d *Decoder) idSoFar() string {
	for _, m := range d.attributes {
		if m.name == "id" && d.text[m.start] == '"' {
			return d.unquote(m.start, m.end)
		}
	}
	return ""
}

// syntaxDetail says what is wrong with a JSON text, without its reader's name.
func syntaxDetail(err error) string {
	if err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) {
		return "it ends too early"
	}
	return strings.TrimPrefix(err.Error(), "jsontext: ")
}

// identify makes an event of the envelope, without its data.
func (d *Decoder) identify(f *faults) (Event, *Schema) {
	v := &d.envelope
	e := Event{ID: v.id.text, Source: v.source.text, Type: v.kind.text}
	if v.specversion.set && v.specversion.text != "1.0" {
		f.add(Malformed, "specversion", `must be "1.0", this is %s`, quote(v.specversion.text))
	}
	if v.contentType.set && !isJSON(v.contentType.text) {
		f.add(Malformed, "datacontenttype", "must be application/json or absent, this is %s", quote(v.contentType.text))
	}
	for _, name := range [...]string{"specversion", "id", "source", "type", "subject", "time"} {
		if !v.slot(name).set {
			f.add(MissingAttribute, name, "is required and absent, add it to the event")
		}
	}
	if v.subject.set {
		var err error
		if e.MSISDN, err = ParseMSISDN(v.subject.text); err != nil {
			f.add(BadSubject, "subject", "must be the customer's MSISDN: %s", err)
		}
	}
	switch {
	case v.at != 0:
		e.Time = v.at
	case v.time.set:
		e.Time = parseTime(v.time.text, "time", f)
	}
	schema := d.catalog.checkEnvelope(&e, v, f)
	if schema != nil {
		e.Type = schema.Type // One text for all events of the type.
	}
	return e, schema
}

// isJSON reports whether a content type is JSON; parameters do not matter.
func isJSON(contentType string) bool {
	media, _, _ := strings.Cut(contentType, ";")
	return strings.EqualFold(strings.TrimSpace(media), "application/json")
}

// parseTime reads any time of RFC 3339, of whatever year: whether an event comes
// too late is not for the door to say. A time that no Instant holds becomes the
// nearest one. A leap second is refused, as no clock of ours has one.
func parseTime(text, field string, f *faults) Instant {
	upper := strings.ToUpper(text) // RFC 3339 allows t and z, the parser does not.
	t, err := time.Parse(time.RFC3339Nano, upper)
	if err != nil || !looksLikeRFC3339(upper) {
		f.add(BadTime, field, "must be a time of RFC 3339 such as 2026-11-21T10:00:00Z, this is %s", quote(text))
		return 0
	}
	return NearestInstant(t)
}

// looksLikeRFC3339 refuses what time.Parse lets pass: hours of one digit,
// decimal commas, and offsets of a day or more.
func looksLikeRFC3339(text string) bool {
	const clock = "2006-01-02T15:04:05"
	if len(text) <= len(clock) || text[13] != ':' || strings.Contains(text, ",") {
		return false
	}
	zone := text[max(len(text)-len("+00:00"), len(clock)):]
	return text[len(text)-1] == 'Z' || zone[1:3] < "24" && zone[4:] < "60"
}

func checkTime(i Instant, field string, f *faults) {
	if i == 0 {
		f.add(BadTime, field, "must be a time, zero is none")
	}
}

// finish puts the data into the event and checks it.
func (d *Decoder) finish(e Event, schema *Schema, f *faults) (Event, *Rejection) {
	d.fields(&e, schema, f)
	return d.seal(e, schema, f)
}

// seal adds what no schema names to the event and checks its data.
func (d *Decoder) seal(e Event, schema *Schema, f *faults) (Event, *Rejection) {
	if e.Extra = d.extra.join(f); f.worst == nil {
		d.catalog.checkFields(&e, schema, f)
	}
	return e, f.worst
}

// Binary reads one event in CloudEvents' binary mode: its attributes by their
// names without a prefix, in lower case, and its data.
func (d *Decoder) Binary(attributes map[string]string, data []byte) (Event, *Rejection) {
	size := len(data)
	for name, value := range attributes {
		size += len(name) + len(value)
	}
	if size > EventBytesMax {
		return Event{ID: attributes["id"]}, tooLarge(size)
	}
	d.begin(string(data), data)
	var f faults
	for name, value := range attributes {
		if slot := d.envelope.slot(name); slot != nil {
			*slot = attribute{value, true}
			continue
		}
		quoted, err := jsontext.AppendQuote(nil, value)
		if err != nil {
			f.add(Malformed, name, "must be UTF-8")
		}
		d.extra.attribute(name, string(quoted), &f)
	}
	var err error
	if len(bytes.TrimSpace(data)) > 0 {
		err = d.readData()
	}
	if err != nil {
		f.add(Malformed, "data", "must be a JSON object: %s", syntaxDetail(err))
	}
	e, schema := d.identify(&f)
	if f.worst != nil {
		return e, f.worst
	}
	return d.finish(e, schema, &f)
}

// readData reads an input that is nothing but an event's data.
func (d *Decoder) readData() error {
	if err := d.openObject(); err != nil {
		return err
	}
	for d.tokens.PeekKind() != '}' {
		m, err := d.readName()
		if err != nil {
			return err
		}
		if err := d.readValue(&m); err != nil {
			return err
		}
		d.data = append(d.data, m)
	}
	return d.closeObject()
}

// Batch reads a JSON array of events and hands each to its caller, with its
// rejection if it has one. A fault of the array itself is returned and ends the
// batch; the events before it were handed out.
func (d *Decoder) Batch(data []byte, each func(index int, e Event, r *Rejection)) *Rejection {
	input := bytes.NewBuffer(data)
	d.items.Reset(input, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	index := 0
	fault := func(err error) *Rejection {
		return &Rejection{Reason: Malformed, Detail: fmt.Sprintf(
			"the JSON array of events is broken at event %d, byte %d: %s", index, d.items.InputOffset(), syntaxDetail(err))}
	}
	if token, err := d.items.ReadToken(); err != nil || token.Kind() != '[' {
		if err == nil {
			err = errors.New("a batch must be a JSON array")
		}
		return fault(err)
	}
	for d.items.PeekKind() != ']' {
		item, err := d.items.ReadValue()
		if err != nil {
			return fault(err)
		}
		e, r := d.Event(item)
		each(index, e, r)
		index++
	}
	if _, err := d.items.ReadToken(); err != nil {
		return fault(err)
	}
	if _, err := d.items.ReadToken(); err != io.EOF {
		return fault(errors.New("something follows the array"))
	}
	return nil
}

// Lines reads an event a line and hands each to its caller, with its rejection
// if it has one; blank lines do not count. The error is the reader's.
func (d *Decoder) Lines(r io.Reader, each func(index int, e Event, r *Rejection)) error {
	if d.lines == nil {
		d.lines = bufio.NewReaderSize(nil, EventBytesMax+len("\r\n"))
	}
	d.lines.Reset(r)
	defer d.lines.Reset(nil) // Keep the buffer, not the caller's reader.
	for index := 0; ; {
		line, err := d.lines.ReadSlice('\n')
		size := len(line)
		if err == bufio.ErrBufferFull {
			e := Event{ID: d.earlyID(line)}
			var rest int
			rest, err = d.skipLine()
			each(index, e, tooLarge(size+rest))
			index++
		} else if line = bytes.TrimSpace(line); len(line) > 0 && (err == nil || err == io.EOF) {
			e, rejection := d.Event(line)
			each(index, e, rejection)
			index++
		}
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			return fmt.Errorf("read line of event %d: %w", index, err)
		}
	}
}

// skipLine reads to the end of a line, and returns how many bytes that were.
func (d *Decoder) skipLine() (int, error) {
	size := 0
	for {
		part, err := d.lines.ReadSlice('\n')
		size += len(part)
		if err != bufio.ErrBufferFull {
			return size, err
		}
	}
}
