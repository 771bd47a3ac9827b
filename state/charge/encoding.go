package charge

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"recharged/state/money"
)

// The encodings are made of these pieces:
//
//	uint     unsigned varint: seven bits a byte, the lowest first
//	int      zigzag varint: small numbers of either sign are short
//	text     uint length, then that many bytes
//	word     uint w: if w is odd, words[w>>1]; else a text of w>>1 bytes follows
//	instant  int seconds<<2|g, then for g > 0: uint fraction of the second in
//	         units of 1000^-g seconds; g is 0 to 3, so that whole seconds and
//	         milliseconds are short
//	list of  uint count, then the elements
//	value    kind byte, then by kind:
//	           Missing  nothing
//	           Bool     one byte, 0 or 1
//	           Number   scale byte, int coefficient
//	           Text     text
//	           List     list of text
//	           Time     instant
//	           Span     int nanoseconds
//	           Object   list of: text name, value
//	record   uint length of what follows, then that: Event, Outcome,
//	         Notification and Alert are records, so that one follows another
//
// All of it is deterministic: equal values have equal encodings. Formats only
// grow at their ends: words, kinds and codes are appended to, never renumbered.
// Values are also what Event.Content hashes, so their bytes never change.

// words are names that occur so often that a number stands for them. Their
// order is part of the encodings: append only, up to 64 to stay in one byte.
var words = [...]string{
	Recharge, Usage, CDR, Profile, Adjustment, Contact, Grievance, Survey, ExpiryType,
	"amount", "currency", "channel", "pos", "cell", "voucher", "service", "units", "charge", "ref",
	"peer", "set", "unset", "balance", "reason", "topic", "severity", "nps", "comment",
	"voice", "sms", "data", "main", "bonus", "points", "ussd", "app", "web",
	"info", "warning", "critical", SkipLimit, SkipBudget, SkipGroup, SkipHoldout, SkipSuspended, SkipError,
	TimerType,
}

// wordNumbers inverts words; it is never written to.
var wordNumbers = func() map[string]uint64 {
	numbers := make(map[string]uint64, len(words))
	for i, word := range words {
		numbers[word] = uint64(i)
	}
	return numbers
}()

func appendText(dst []byte, text string) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(text)))
	return append(dst, text...)
}

func appendWord(dst []byte, word string) []byte {
	if n, ok := wordNumbers[word]; ok {
		return binary.AppendUvarint(dst, n<<1|1)
	}
	dst = binary.AppendUvarint(dst, uint64(len(word))<<1)
	return append(dst, word...)
}

const nanosPerSecond = 1_000_000_000

func appendInstant(dst []byte, i Instant) []byte {
	seconds, fraction := int64(i)/nanosPerSecond, int64(i)%nanosPerSecond
	if fraction < 0 {
		seconds, fraction = seconds-1, fraction+nanosPerSecond
	}
	groups := int64(0)
	if fraction != 0 {
		groups = 3
		for fraction%1000 == 0 {
			fraction, groups = fraction/1000, groups-1
		}
	}
	dst = binary.AppendVarint(dst, seconds<<2|groups)
	if groups > 0 {
		dst = binary.AppendUvarint(dst, uint64(fraction))
	}
	return dst
}

func appendAmount(dst []byte, a money.Amount) []byte { return binary.AppendVarint(dst, int64(a)) }

func appendUnit(dst []byte, u money.Unit) []byte {
	return append(appendWord(dst, u.Name), byte(u.Digits))
}

func appendValue(dst []byte, v Value) []byte {
	dst = append(dst, byte(v.Kind))
	switch v.Kind {
	case Missing:
	case Bool:
		dst = append(dst, byte(v.Bits))
	case Number:
		dst = binary.AppendVarint(append(dst, v.Scale), v.Bits)
	case Text:
		dst = appendText(dst, v.Text)
	case List:
		dst = binary.AppendUvarint(dst, uint64(len(v.List)))
		for _, text := range v.List {
			dst = appendText(dst, text)
		}
	case Time:
		dst = appendInstant(dst, Instant(v.Bits))
	case Span:
		dst = binary.AppendVarint(dst, v.Bits)
	case Object:
		dst = binary.AppendUvarint(dst, uint64(len(v.Fields)))
		for i := range v.Fields {
			dst = appendText(dst, v.Fields[i].Name)
			dst = appendValue(dst, v.Fields[i].Value)
		}
	default:
		panic(fmt.Sprintf("charge: encode a value of unknown kind %d", v.Kind))
	}
	return dst
}

// closeRecord puts the length of what was appended since start before it.
func closeRecord(dst []byte, start int) []byte {
	size := len(dst) - start
	var prefix [binary.MaxVarintLen64]byte
	n := binary.PutUvarint(prefix[:], uint64(size))
	dst = append(dst, prefix[:n]...)
	copy(dst[start+n:], dst[start:start+size])
	copy(dst[start:], prefix[:n])
	return dst
}

// Faults in an encoding.
var (
	errShort   = errors.New("the encoding ends too early")
	errCorrupt = errors.New("the encoding is corrupt")
)

// objectDepthMax bounds how deep objects nest in an encoded value.
const objectDepthMax = 8

// reader decodes one record. After its first fault it reads zeros only, so the
// fault is looked at once, at the end.
type reader struct {
	data []byte
	at   int    // of the next byte
	copy string // data, once a text of it was asked for: all texts share this one copy
	err  error
}

// openRecord returns a reader of the record that data begins with, and what
// follows the record.
func openRecord(data []byte) (reader, []byte) {
	size, n := binary.Uvarint(data)
	if n <= 0 || size > uint64(len(data)-n) {
		return reader{err: errShort}, nil
	}
	end := n + int(size)
	return reader{data: data[n:end:end]}, data[end:]
}

// close returns the reader's fault; bytes left over are one.
func (r *reader) close(subject string) error {
	if r.err == nil && r.at != len(r.data) {
		r.fail(errCorrupt)
	}
	if r.err != nil {
		return fmt.Errorf("decode %s: %w", subject, r.err)
	}
	return nil
}

func (r *reader) fail(err error) {
	if r.err == nil {
		r.err = fmt.Errorf("byte %d: %w", r.at, err)
	}
	r.at = len(r.data)
}

func (r *reader) byte() byte {
	if r.at >= len(r.data) {
		r.fail(errShort)
		return 0
	}
	r.at++
	return r.data[r.at-1]
}

// code reads a byte that must not exceed last.
func (r *reader) code(last uint8) uint8 {
	b := r.byte()
	if b > last {
		r.fail(errCorrupt)
		return 0
	}
	return b
}

func (r *reader) uint() uint64 {
	n, size := binary.Uvarint(r.data[r.at:])
	if size <= 0 {
		r.fail(errShort)
		return 0
	}
	r.at += size
	return n
}

func (r *reader) int() int64 {
	n, size := binary.Varint(r.data[r.at:])
	if size <= 0 {
		r.fail(errShort)
		return 0
	}
	r.at += size
	return n
}

func (r *reader) fixed64() uint64 {
	if len(r.data)-r.at < 8 {
		r.fail(errShort)
		return 0
	}
	r.at += 8
	return binary.BigEndian.Uint64(r.data[r.at-8:])
}

// count reads the number of elements that follow, each at least that many bytes
// long: a count that the rest cannot hold is refused before it is allocated.
func (r *reader) count(elementBytesMin int) int {
	n := r.uint()
	if n > uint64((len(r.data)-r.at)/elementBytesMin) {
		r.fail(errShort)
		return 0
	}
	return int(n)
}

// bytes returns the next n bytes of the data itself.
func (r *reader) bytes(n uint64) []byte {
	if n > uint64(len(r.data)-r.at) {
		r.fail(errShort)
		return nil
	}
	r.at += int(n)
	return r.data[r.at-int(n) : r.at]
}

// text reads a text. It returns old, if that is the text.
func (r *reader) text(old string) string { return r.string(r.bytes(r.uint()), old) }

func (r *reader) string(b []byte, old string) string {
	if string(b) == old {
		return old
	}
	if r.copy == "" {
		r.copy = string(r.data)
	}
	return r.copy[r.at-len(b) : r.at]
}

// word reads a word. It returns old, if that is the word.
func (r *reader) word(old string) string {
	w := r.uint()
	if w&1 == 0 {
		return r.string(r.bytes(w>>1), old)
	}
	if w>>1 >= uint64(len(words)) {
		r.fail(errCorrupt)
		return ""
	}
	return words[w>>1]
}

func (r *reader) instant() Instant {
	head := r.int()
	seconds, groups := head>>2, head&3
	fraction := uint64(0)
	if groups > 0 {
		fraction = r.uint()
	}
	for range 3 - groups {
		if groups > 0 && fraction < nanosPerSecond {
			fraction *= 1000
		}
	}
	i := seconds*nanosPerSecond + int64(fraction) // May wrap on the way to the smallest instants.
	if fraction >= nanosPerSecond || seconds < math.MinInt64/nanosPerSecond-1 || seconds > math.MaxInt64/nanosPerSecond ||
		(i < 0) != (seconds < 0) {
		r.fail(errCorrupt)
		return 0
	}
	return Instant(i)
}

func (r *reader) amount() money.Amount { return money.Amount(r.int()) }

func (r *reader) msisdn() MSISDN {
	m := MSISDN(r.fixed64())
	if m != 0 && !m.valid() {
		r.fail(errCorrupt)
	}
	return m
}

func (r *reader) unit(old money.Unit) money.Unit {
	return money.Unit{Name: r.word(old.Name), Digits: int(r.code(money.ScaleMax))}
}

// value reads a value; its texts are old's where they are the same.
func (r *reader) value(old string, depth int) Value {
	v := Value{Kind: Kind(r.code(uint8(Object)))}
	switch v.Kind {
	case Bool:
		v.Bits = int64(r.code(1))
	case Number:
		v.Scale = r.code(money.ScaleMax)
		v.Bits = r.int()
	case Text:
		v.Text = r.text(old)
	case List:
		v.List = make([]string, r.count(1))
		for i := range v.List {
			v.List[i] = r.text("")
		}
	case Time:
		v.Bits = int64(r.instant())
	case Span:
		v.Bits = r.int()
	case Object:
		if depth == objectDepthMax {
			r.fail(errCorrupt)
		}
		v.Fields = make([]Field, r.count(2))
		for i := range v.Fields {
			v.Fields[i] = Field{Name: r.text(""), Value: r.value("", depth+1)}
		}
	}
	return v
}
