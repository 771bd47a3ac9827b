package accept

import (
	"bytes"
	"fmt"
	"mime"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"recharged/state/charge"
)

// BatchEventsMax is how many events one batch may hold. With the queue's limit
// it bounds what a partition keeps in memory. A larger batch is refused whole.
const BatchEventsMax = 1 << 18

// Encoding is how the events of one message are written.
type Encoding uint8

// The encodings.
const (
	JSON     Encoding = iota // one structured CloudEvent, or a JSON array of them
	Event                    // one structured CloudEvent
	Array                    // a JSON array of structured CloudEvents
	Lines                    // NDJSON: one structured CloudEvent a line
	Protobuf                 // one EventBatch
)

// EncodingOf returns the encoding that a content type names, parameters such as
// a charset aside; false if it names none.
func EncodingOf(contentType string) (Encoding, bool) {
	media, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		return 0, false
	}
	switch media {
	case "application/cloudevents+json":
		return Event, true
	case "application/cloudevents-batch+json":
		return Array, true
	case "application/x-ndjson":
		return Lines, true
	case "application/protobuf":
		return Protobuf, true
	}
	return 0, false
}

// isAttribute reports whether a header, in lower case, is an attribute of binary
// mode: ce-id on HTTP and NATS, ce_id on Kafka.
func isAttribute(header string) bool {
	return len(header) > attributeName && header[:2] == "ce" && (header[2] == '-' || header[2] == '_')
}

// attributeName is where the attribute's name begins in such a header.
const attributeName = 3

// BinaryAttributes returns the CloudEvents attributes among the headers of a
// message in binary mode, named as the decoder wants them; false if the message
// is not in binary mode. Header names are compared without regard to case, and
// the content type, which there speaks of the data, becomes datacontenttype.
// Values are decoded as the HTTP binding of CloudEvents encodes them, so that an
// event is the same in either mode; Kafka has no such encoding.
func BinaryAttributes(header map[string][]string) (map[string]string, bool) {
	var attributes map[string]string
	contentType := ""
	for name, values := range header {
		lower := strings.ToLower(name)
		switch {
		case len(values) == 0:
		case isAttribute(lower):
			if attributes == nil {
				attributes = make(map[string]string, len(header))
			}
			value := values[0]
			if lower[attributeName-1] == '-' {
				value = unescape(value)
			}
			attributes[lower[attributeName:]] = value
		case lower == "content-type":
			contentType = values[0]
		}
	}
	if attributes == nil {
		return nil, false
	}
	if _, given := attributes["datacontenttype"]; !given && contentType != "" {
		attributes["datacontenttype"] = contentType
	}
	return attributes, true
}

// unescape decodes the value of a header: a quoted string loses its quotes and
// backslashes, then each %XX becomes the byte it stands for. What only begins
// like an escape stays as it is.
func unescape(value string) string {
	if n := len(value); n >= 2 && value[0] == '"' && value[n-1] == '"' {
		value = unquote(value[1 : n-1])
	}
	if strings.IndexByte(value, '%') < 0 {
		return value
	}
	text := make([]byte, 0, len(value))
	for i := 0; i < len(value); i++ {
		if value[i] == '%' && i+2 < len(value) {
			if b, err := strconv.ParseUint(value[i+1:i+3], 16, 8); err == nil {
				text, i = append(text, byte(b)), i+2
				continue
			}
		}
		text = append(text, value[i])
	}
	return string(text)
}

// unquote drops each backslash that stands before another character.
func unquote(text string) string {
	plain := make([]byte, 0, len(text))
	for i := 0; i < len(text); i++ {
		if text[i] == '\\' && i+1 < len(text) {
			i++
		}
		plain = append(plain, text[i])
	}
	return string(plain)
}

// Batch is the unit of work: the events that came in one request, message or
// chunk of a file, each either checked and encoded for the log or rejected.
// It is for one goroutine. Accept takes it over: it is not to be used after.
type Batch struct {
	gateway *Gateway
	catalog *charge.Catalog
	decoder *charge.Decoder // of that catalog

	encoded  []byte // the events that are to be accepted, one after the other
	items    []item // where each ends, and where it goes
	counts   []int  // of the items, by partition
	rejected []Rejected
	seen     int // events that were decoded, accepted or not
}

// item is one event of a batch: the bytes from the end of the item before it.
type item struct {
	end       int
	partition charge.Partition
}

// NewBatch returns an empty batch whose events are checked against the catalog
// in force now.
func (g *Gateway) NewBatch() *Batch {
	b, ok := g.batches.Get().(*Batch)
	if !ok {
		b = &Batch{gateway: g, counts: make([]int, len(g.partitions))}
	}
	if c := g.opts.Catalog(); b.catalog != c {
		b.catalog, b.decoder = c, charge.NewDecoder(c)
	}
	return b
}

// batchBytesKept is the largest buffer that is kept for the next batch.
const batchBytesKept = 1 << 20

// release gives the batch's memory to a later one. The rejections are the
// verdict's by now.
func (b *Batch) release() {
	if cap(b.encoded) > batchBytesKept {
		return
	}
	b.clear()
	b.gateway.batches.Put(b)
}

func (b *Batch) clear() {
	b.encoded, b.items, b.rejected, b.seen = b.encoded[:0], b.items[:0], nil, 0
	clear(b.counts)
}

// Decode reads the events of a message into an empty batch. An event that is refused is a rejection
// and doesn't touch the others. A body that breaks off or is too long, so that
// not every event in it can be told from the next, is refused whole: the batch
// then holds one rejection and nothing else.
func (b *Batch) Decode(encoding Encoding, body []byte) {
	var fault *charge.Rejection
	switch {
	case encoding == Protobuf:
		fault = b.decoder.Protobuf(body, b.add)
	case encoding == Lines:
		if err := b.decoder.Lines(bytes.NewReader(body), b.add); err != nil {
			fault = &charge.Rejection{Reason: charge.Malformed, Detail: err.Error()}
		}
	case encoding == Array, encoding == JSON && isArray(body):
		fault = b.decoder.Batch(body, b.add)
	default:
		e, r := b.decoder.Event(body)
		b.add(0, e, r)
	}
	if b.seen > BatchEventsMax {
		fault = &charge.Rejection{Reason: charge.TooLarge,
			Detail: fmt.Sprintf("a batch has at most %d events, this has %d: send several", BatchEventsMax, b.seen)}
	}
	if fault != nil {
		b.refuse(fault)
	}
}

// DecodeBinary reads one event in binary mode into an empty batch: its attributes
// by name, as BinaryAttributes returns them, and its data.
func (b *Batch) DecodeBinary(attributes map[string]string, data []byte) {
	e, r := b.decoder.Binary(attributes, data)
	b.add(0, e, r)
}

// decodeMessage reads a message whose headers tell how it is written. Without
// such a header it is in the usual encoding; without any content type, what is
// no JSON but has the look of a Protobuf batch is read as that.
func (b *Batch) decodeMessage(header map[string][]string, body []byte, usual Encoding) {
	typed := false
	for name, values := range header {
		if len(values) > 0 && strings.EqualFold(name, "content-type") {
			typed = true
			if encoding, known := EncodingOf(values[0]); known {
				b.Decode(encoding, body)
				return
			}
		}
	}
	if attributes, binary := BinaryAttributes(header); binary {
		b.DecodeBinary(attributes, body)
		return
	}
	if usual == JSON && !typed && charge.IsProtobuf(body) && !jsontext.Value(body).IsValid() {
		usual = Protobuf
	}
	b.Decode(usual, body)
}

// add takes the decoder's answer about one event.
func (b *Batch) add(index int, e charge.Event, r *charge.Rejection) {
	b.seen++
	if b.seen > BatchEventsMax {
		return // Decode refuses the whole.
	}
	if r != nil {
		b.rejected = append(b.rejected, Rejected{Index: index, ID: e.ID, Reason: r.Reason, Field: r.Field, Detail: r.Detail, Type: b.label(e.Type)})
		return
	}
	b.encoded = charge.AppendEvent(b.encoded, &e)
	p := e.MSISDN.Slot().PartitionOf(len(b.counts))
	b.items = append(b.items, item{len(b.encoded), p})
	b.counts[p]++
}

// label returns the type if it is one of the catalog's.
func (b *Batch) label(eventType string) string {
	if _, known := b.catalog.Types[eventType]; known {
		return eventType
	}
	return typeUnknown
}

// refuse turns down all that the batch holds.
func (b *Batch) refuse(fault *charge.Rejection) {
	b.clear()
	b.rejected = append(b.rejected, Rejected{Reason: fault.Reason, Field: fault.Field,
		Detail: fault.Detail + " (nothing of the message was accepted)", Type: typeUnknown})
}

// isArray reports whether the first character of a JSON text opens an array.
func isArray(body []byte) bool {
	body = bytes.TrimLeft(body, " \t\r\n")
	return len(body) > 0 && body[0] == '['
}
