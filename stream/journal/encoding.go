package journal

import (
	"encoding/binary"
	"errors"
	"fmt"

	"recharged/state/charge"
)

// decoder reads encoded fields. It remembers its first fault and from then on
// yields zeros, so that decoding is a list of fields and one check at the end.
// It never reads past the data and never allocates more than the data can fill.
type decoder struct {
	rest []byte
	err  error
}

var (
	errTruncated = errors.New("the data ends too early")
	errTrailing  = errors.New("there is data after the end")
)

func (r *decoder) fail(err error) {
	if r.err == nil {
		r.err = err
	}
	r.rest = nil
}

func (r *decoder) byte() byte { return r.fixed(1)[0] }

// version reads the version of an encoding, of which newest is the last one known.
func (r *decoder) version(newest byte) byte {
	v := r.byte()
	if v == 0 || v > newest {
		r.fail(fmt.Errorf("version %d is unknown, this program knows 1 to %d", v, newest))
	}
	return v
}

func (r *decoder) partition() charge.Partition {
	p := r.uvarint()
	if p >= charge.Slots {
		r.fail(fmt.Errorf("partition %d is beyond the last, %d", p, charge.Slots-1))
		return 0
	}
	return charge.Partition(p)
}

func (r *decoder) fixed(n int) []byte {
	if len(r.rest) < n {
		r.fail(errTruncated)
		return make([]byte, n)
	}
	field := r.rest[:n:n]
	r.rest = r.rest[n:]
	return field
}

func (r *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(r.rest)
	if n <= 0 {
		r.fail(errTruncated)
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

// length reads the length of something of which each unit takes at least a byte.
func (r *decoder) length() int {
	n := r.uvarint()
	if n > uint64(len(r.rest)) {
		r.fail(errTruncated)
		return 0
	}
	return int(n)
}

func (r *decoder) bytes() []byte {
	n := r.length()
	field := r.rest[:n:n]
	r.rest = r.rest[n:]
	return field
}

func (r *decoder) anchor() (a Anchor) {
	a.Created = r.instant()
	a.Sequence = charge.Sequence(r.uvarint())
	a.Stamp = r.instant()
	copy(a.Hash[:], r.fixed(len(a.Hash)))
	return a
}

func (r *decoder) text() string { return string(r.bytes()) }

func (r *decoder) instant() charge.Instant {
	return charge.Instant(binary.BigEndian.Uint64(r.fixed(8)))
}

func (r *decoder) position() charge.Position {
	sequence, offset := r.uvarint(), r.uvarint()
	if offset > uint64(^uint32(0)) {
		r.fail(fmt.Errorf("offset %d does not fit into 32 bits", offset))
		return charge.Position{}
	}
	return charge.Position{Sequence: charge.Sequence(sequence), Offset: uint32(offset)}
}

func (r *decoder) events(count uint32) []charge.Event {
	return decodeList(r, int(count), eventBytesGuess, charge.DecodeEvent)
}

// decodeList decodes count values one after the other. Memory is set aside for
// no more of them than the data could hold at bytesGuess each.
func decodeList[T any](r *decoder, count, bytesGuess int, decode func([]byte) (T, []byte, error)) []T {
	if r.err != nil || count == 0 {
		return nil
	}
	list := make([]T, 0, min(count, len(r.rest)/bytesGuess+1))
	for i := range count {
		value, rest, err := decode(r.rest)
		if err != nil {
			r.fail(fmt.Errorf("item %d of %d: %w", i+1, count, err))
			return nil
		}
		list, r.rest = append(list, value), rest
	}
	return list
}

// end returns the first fault; data that is left over is one.
func (r *decoder) end() error {
	if r.err == nil && len(r.rest) > 0 {
		return errTrailing
	}
	return r.err
}

func appendText(dst []byte, text string) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(text)))
	return append(dst, text...)
}

func appendInstant(dst []byte, i charge.Instant) []byte {
	return binary.BigEndian.AppendUint64(dst, uint64(i))
}

func appendPosition(dst []byte, p charge.Position) []byte {
	dst = binary.AppendUvarint(dst, uint64(p.Sequence))
	return binary.AppendUvarint(dst, uint64(p.Offset))
}
