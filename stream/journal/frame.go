package journal

import (
	"encoding/binary"
	"fmt"

	"recharged/state/charge"
)

// FrameKind says what a record of the event log holds.
type FrameKind uint8

// The kinds of frame. Their numbers are part of the encoding: append only.
const (
	FrameEvents  FrameKind = iota + 1 // events of customers
	FrameBook                         // a rulebook version takes effect
	FrameTick                         // time has passed
	FrameRetry                        // a parked event is to be tried again
	FrameDiscard                      // a parked event is to be dropped
	FrameLetter                       // what another partition, or this one, has to say
)

// Limits of a frame of events. Whoever packs one stays within them; decoding
// does not depend on them, so that they can change.
const (
	FrameBytesMax  = 512 << 10
	FrameEventsMax = 4096
)

// Limits of a rulebook. Its text is what a frame gives and takes; compressed it is
// carried twice, in a frame and then in the commit that puts it in force, where
// it shares the record with what else the turn did.
const (
	BookTextMax  = 4 << 20
	BookBytesMax = 600 << 10 // of the compressed text
)

// frameVersion is the first byte of every frame. Version 1, which can still be
// read, has the text of a book as it is.
const frameVersion = 2

// frameHeaderBytes precede the events of a frame of events.
const frameHeaderBytes = 6

// eventBytesGuess is how small an encoded event is at least thought to be when
// memory is set aside before the events are decoded.
const eventBytesGuess = 32

// Frame is one record of the event log.
//
//	+---------+------+----------------------------------------------+
//	| version | kind | body                                         |
//	| 1 byte  | 1    | by kind                                      |
//	+---------+------+----------------------------------------------+
//	events         : count, 4 bytes big endian | count encoded events
//	book           : number uvarint | author length uvarint, bytes | text, compressed
//	tick           : nothing
//	retry, discard : sequence uvarint | offset uvarint
//	letter         : from uvarint | number uvarint | body
//
// The count of events has a fixed width so that it can be filled in last.
type Frame struct {
	Kind    FrameKind
	Events  []charge.Event  // FrameEvents
	Version uint64          // FrameBook: its number
	Author  string          // FrameBook
	Source  []byte          // FrameBook: the rulebook's text, which CheckBook has let pass
	Parked  charge.Position // FrameRetry, FrameDiscard: where the event is in this log

	From   charge.Partition // FrameLetter: whose commit it was in
	Number uint64           // FrameLetter: counts those from there to here, from 1
	Body   []byte           // FrameLetter: opaque here
}

// BookTooLarge is the error of a rulebook that no record holds.
type BookTooLarge struct {
	Bytes, Max int
	Compressed bool // that is what was measured; otherwise the text
}

func (e *BookTooLarge) Error() string {
	if e.Compressed {
		return fmt.Sprintf("the rulebook is too large even compressed: %d of %d bytes", e.Bytes, e.Max)
	}
	return fmt.Sprintf("the rulebook is too large: %d of %d bytes", e.Bytes, e.Max)
}

// CheckBook returns a *BookTooLarge for the text of a rulebook that does not fit
// into a frame, nor into the commit that puts it in force. It compresses the
// text to find out.
func CheckBook(source []byte) error {
	if len(source) > BookTextMax {
		return &BookTooLarge{Bytes: len(source), Max: BookTextMax}
	}
	if n := len(charge.AppendCompressed(nil, source)); n > BookBytesMax {
		return &BookTooLarge{Bytes: n, Max: BookBytesMax, Compressed: true}
	}
	return nil
}

// Append appends the encoded frame to dst. It panics on a rulebook whose text is
// too long: no one could read the frame again.
func (f *Frame) Append(dst []byte) []byte {
	dst = append(dst, frameVersion, byte(f.Kind))
	switch f.Kind {
	case FrameEvents:
		dst = binary.BigEndian.AppendUint32(dst, uint32(len(f.Events)))
		for i := range f.Events {
			dst = charge.AppendEvent(dst, &f.Events[i])
		}
	case FrameBook:
		if len(f.Source) > BookTextMax {
			panic(fmt.Sprintf("journal: frame with a rulebook of %d bytes, at most %d are read", len(f.Source), BookTextMax))
		}
		dst = binary.AppendUvarint(dst, f.Version)
		dst = appendText(dst, f.Author)
		dst = charge.AppendCompressed(dst, f.Source)
	case FrameTick:
	case FrameRetry, FrameDiscard:
		dst = appendPosition(dst, f.Parked)
	case FrameLetter:
		dst = binary.AppendUvarint(dst, uint64(f.From))
		dst = binary.AppendUvarint(dst, f.Number)
		dst = append(dst, f.Body...)
	default:
		panic(fmt.Sprintf("journal: frame of unknown kind %d", f.Kind))
	}
	return dst
}

// EventsIn returns how many events a frame holds, without decoding them.
func EventsIn(frame []byte) int {
	if len(frame) < frameHeaderBytes || FrameKind(frame[1]) != FrameEvents {
		return 0
	}
	return int(binary.BigEndian.Uint32(frame[2:]))
}

// DecodeFrame decodes one record of the event log. The frame's Body is a part of
// data.
func DecodeFrame(data []byte) (Frame, error) {
	f, err := decodeFrame(data)
	if err != nil {
		return Frame{}, fmt.Errorf("decode frame of %d bytes: %w", len(data), err)
	}
	return f, nil
}

func decodeFrame(data []byte) (f Frame, err error) {
	r := decoder{rest: data}
	version := r.version(frameVersion)
	f.Kind = FrameKind(r.byte())
	switch f.Kind {
	case FrameEvents:
		f.Events = r.events(binary.BigEndian.Uint32(r.fixed(4)))
	case FrameBook:
		f.Version = r.uvarint()
		f.Author = r.text()
		f.Source = r.source(version)
	case FrameTick:
	case FrameRetry, FrameDiscard:
		f.Parked = r.position()
	case FrameLetter:
		f.From = r.partition()
		f.Number = r.uvarint()
		f.Body, r.rest = r.rest, nil
	default:
		if r.err == nil {
			return f, fmt.Errorf("kind %d is unknown", f.Kind)
		}
	}
	return f, r.end()
}

// source reads the text of a book, which goes to the end of the frame.
func (r *decoder) source(version byte) []byte {
	text := r.rest
	r.rest = nil
	if version == 1 || r.err != nil {
		return text
	}
	text, err := charge.Decompress(text, BookTextMax)
	if err != nil {
		r.fail(err)
	}
	return text
}

// FrameWriter packs events that are already encoded into a frame of events. The
// zero FrameWriter is ready for use, by one goroutine.
type FrameWriter struct {
	data  []byte
	count int
}

// Reset empties the frame and keeps its memory.
func (w *FrameWriter) Reset() { w.data, w.count = w.data[:0], 0 }

// Fits reports whether an encoded event of that many bytes still fits into the
// limits of a frame. An empty frame takes an event of any size.
func (w *FrameWriter) Fits(eventBytes int) bool {
	return w.count == 0 || w.count < FrameEventsMax && w.Len()+eventBytes <= FrameBytesMax
}

// Add appends an encoded event, which it copies.
func (w *FrameWriter) Add(encodedEvent []byte) {
	if len(w.data) == 0 {
		w.data = append(w.data, frameVersion, byte(FrameEvents), 0, 0, 0, 0)
	}
	w.data = append(w.data, encodedEvent...)
	w.count++
}

// Count returns how many events there are.
func (w *FrameWriter) Count() int { return w.count }

// Len returns how many bytes the frame has.
func (w *FrameWriter) Len() int { return max(len(w.data), frameHeaderBytes) }

// Bytes returns the frame. It is valid until Reset or Add.
func (w *FrameWriter) Bytes() []byte {
	if len(w.data) == 0 {
		w.data = append(w.data, frameVersion, byte(FrameEvents), 0, 0, 0, 0)
	}
	binary.BigEndian.PutUint32(w.data[2:], uint32(w.count))
	return w.data
}
