package charge

import (
	"crypto/sha256"
	"encoding/binary"
)

// AppendEvent appends the event's encoding, a record:
//
//	+--------+----+--------+------+--------+------+--------+-------+
//	| length | id | source | type | MSISDN | time | fields | extra |
//	+--------+----+--------+------+--------+------+--------+-------+
//	  uint    text  text    word   8 bytes  instant list of  text
//	                               as packed        word name,
//	                                                value
func AppendEvent(dst []byte, e *Event) []byte {
	start := len(dst)
	dst = appendText(dst, e.ID)
	dst = appendText(dst, e.Source)
	dst = appendWord(dst, e.Type)
	dst = binary.BigEndian.AppendUint64(dst, uint64(e.MSISDN))
	dst = appendInstant(dst, e.Time)
	dst = binary.AppendUvarint(dst, uint64(len(e.Fields)))
	for i := range e.Fields {
		dst = appendWord(dst, e.Fields[i].Name)
		dst = appendValue(dst, e.Fields[i].Value)
	}
	dst = binary.AppendUvarint(dst, uint64(len(e.Extra)))
	return closeRecord(append(dst, e.Extra...), start)
}

// DecodeEvent reads the event that data begins with, and returns what follows
// it. The event keeps nothing of data.
func DecodeEvent(data []byte) (e Event, rest []byte, err error) {
	r, rest := openRecord(data)
	e.ID = r.text("")
	e.Source = r.text("")
	e.Type = r.word("")
	e.MSISDN = r.msisdn()
	e.Time = r.instant()
	if n := r.count(2); n > 0 {
		e.Fields = make([]Field, n)
	}
	for i := range e.Fields {
		e.Fields[i] = Field{Name: r.word(""), Value: r.value("", 0)}
	}
	if extra := r.bytes(r.uint()); len(extra) > 0 {
		e.Extra = append([]byte(nil), extra...)
	}
	return e, rest, r.close("event")
}

// Identity is what makes two sendings the same event: the first 16 bytes of the
// SHA-256 of its source, as a text, followed by its id.
func (e *Event) Identity() [16]byte {
	var room [256]byte
	sum := sha256.Sum256(append(appendText(room[:0], e.Source), e.ID...))
	return [16]byte(sum[:16])
}

// Content is a fingerprint of what the event says: type, customer, time and
// data, also the data that no schema names, but not its extension attributes.
// Two sendings of one event with different contents are a conflict.
//
// It is kept with the event's identity, so its input never changes: no word
// stands for a name in it.
func (e *Event) Content() uint64 {
	var room [512]byte
	b := appendText(room[:0], e.Type)
	b = binary.BigEndian.AppendUint64(b, uint64(e.MSISDN))
	b = binary.BigEndian.AppendUint64(b, uint64(e.Time))
	for i := range e.Fields {
		b = appendText(b, e.Fields[i].Name)
		b = appendValue(b, e.Fields[i].Value)
	}
	_, data := splitExtra(e.Extra)
	sum := sha256.Sum256(append(b, data...))
	return binary.BigEndian.Uint64(sum[:8])
}
