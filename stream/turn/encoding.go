package turn

import (
	"encoding/binary"
	"errors"
	"fmt"

	"recharged/state/charge"
)

// writer and reader are the encoding of notes and letters.
type writer struct{ data []byte }

func (w *writer) byte(b byte)              { w.data = append(w.data, b) }
func (w *writer) uint(n uint64)            { w.data = binary.AppendUvarint(w.data, n) }
func (w *writer) int(n int64)              { w.data = binary.AppendVarint(w.data, n) }
func (w *writer) instant(i charge.Instant) { w.data = binary.BigEndian.AppendUint64(w.data, uint64(i)) }
func (w *writer) text(s string)            { w.uint(uint64(len(s))); w.data = append(w.data, s...) }

func (w *writer) flag(b bool) {
	if b {
		w.byte(1)
	} else {
		w.byte(0)
	}
}

var errCorrupt = errors.New("the encoding is corrupt")

// reader reads what writer wrote. After its first fault it reads zeros only, so
// the fault is looked at once, at the end.
type reader struct {
	rest []byte
	err  error
}

func (r *reader) fail() {
	if r.err == nil {
		r.err = errCorrupt
	}
	r.rest = nil
}

// close returns the fault; bytes left over are one.
func (r *reader) close() error {
	if len(r.rest) > 0 {
		r.fail()
	}
	return r.err
}

func (r *reader) take(n int) []byte {
	if n < 0 || n > len(r.rest) {
		r.fail()
		return nil
	}
	b := r.rest[:n]
	r.rest = r.rest[n:]
	return b
}

func (r *reader) byte() byte {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) flag() bool { return r.byte() != 0 }

// format reads the version of an encoding.
func (r *reader) format(known byte) {
	if f := r.byte(); r.err == nil && f != known {
		r.err, r.rest = fmt.Errorf("format %d is not known to this version", f), nil
	}
}

func (r *reader) uint() uint64 {
	n, size := binary.Uvarint(r.rest)
	if size <= 0 {
		r.fail()
		return 0
	}
	r.rest = r.rest[size:]
	return n
}

func (r *reader) int() int64 {
	n, size := binary.Varint(r.rest)
	if size <= 0 {
		r.fail()
		return 0
	}
	r.rest = r.rest[size:]
	return n
}

// count reads a number of elements, each of which takes a byte at least.
func (r *reader) count() int {
	n := r.uint()
	if n > uint64(len(r.rest)) {
		r.fail()
		return 0
	}
	return int(n)
}

func (r *reader) instant() charge.Instant {
	if b := r.take(8); b != nil {
		return charge.Instant(binary.BigEndian.Uint64(b))
	}
	return 0
}

func (r *reader) text() string { return string(r.take(r.count())) }
