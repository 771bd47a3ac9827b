package state

import (
	"encoding/binary"
	"errors"
	"fmt"

	"recharged/state/charge"
	"recharged/state/money"
)

// ErrDamaged says that a row or a delta is none that was ever written: the same
// error comes back however often it is read.
var ErrDamaged = errors.New("the state is damaged: stop the program, move the state folder away, and start it again; the state is built from the commit logs")

// RowBytes estimates, generously, how large a customer's row is.
func RowBytes(c *charge.Customer) int {
	const row, balance, part, counter, bucket, timer = 64, 16, 20, 24, 8, 20
	n := row
	for i := range c.Balances {
		n += balance + len(c.Balances[i].Name) + part*len(c.Balances[i].Parts)
	}
	for i := range c.Counters {
		n += counter + len(c.Counters[i].Name) + bucket*len(c.Counters[i].Buckets)
	}
	for i := range c.Attributes {
		n += FieldBytes(&c.Attributes[i])
	}
	for _, tag := range c.Tags {
		n += 2 + len(tag)
	}
	for i := range c.Timers {
		n += timer + len(c.Timers[i].Rule)
	}
	return n
}

// FieldBytes estimates, generously, how large an encoded field is.
func FieldBytes(f *charge.Field) int {
	n := 16 + len(f.Name) + len(f.Value.Text)
	for _, item := range f.Value.List {
		n += 2 + len(item)
	}
	for i := range f.Value.Fields {
		n += FieldBytes(&f.Value.Fields[i])
	}
	return n
}

// Seen is an event's id as it is remembered.
type Seen struct {
	Identity [16]byte // of source and id
	Content  uint64   // fingerprint of what the event said
	Money    bool     // the long horizon applies
}

// appendAge encodes the row that finds the oldest ids of a customer.
func appendAge(dst []byte, seen Seen, clock charge.Instant) []byte {
	dst = append(dst, seen.Identity[:]...)
	dst = binary.BigEndian.AppendUint64(dst, uint64(clock))
	return append(dst, boolByte(seen.Money))
}

func decodeAge(row []byte) (seen Seen, clock charge.Instant, err error) {
	if len(row) != 16+8+1 {
		return Seen{}, 0, fmt.Errorf("%w: row of an id has %d bytes", ErrDamaged, len(row))
	}
	copy(seen.Identity[:], row)
	seen.Money = row[24] != 0
	return seen, charge.Instant(binary.BigEndian.Uint64(row[16:])), nil
}

// bookFormat is the first byte of the rulebook's row. Before there were formats
// it was the first byte of the version, which is zero.
const bookFormat = 1

func appendBook(dst []byte, version uint64, source []byte) []byte {
	dst = binary.BigEndian.AppendUint64(append(dst, bookFormat), version)
	return charge.AppendCompressed(dst, source)
}

func decodeBook(row []byte) (uint64, []byte, error) {
	if len(row) < 1+8 {
		return 0, nil, fmt.Errorf("%w: row of the rulebook has %d bytes", ErrDamaged, len(row))
	}
	if row[0] == 0 {
		return binary.BigEndian.Uint64(row), row[8:], nil
	}
	source, err := charge.Decompress(row[9:], bookTextMax)
	if err != nil || row[0] != bookFormat {
		return 0, nil, fmt.Errorf("row of the rulebook of format %d: %w: %w", row[0], ErrDamaged, err)
	}
	return binary.BigEndian.Uint64(row[1:]), source, nil
}

// bookTextMax bounds what a damaged row can make of memory.
const bookTextMax = 64 << 20

func appendSum(dst []byte, sum money.Sum) []byte {
	dst = binary.BigEndian.AppendUint64(dst, uint64(sum.Hi))
	return binary.BigEndian.AppendUint64(dst, sum.Lo)
}

func decodeSum(row []byte) (money.Sum, error) {
	if len(row) != 16 {
		return money.Sum{}, fmt.Errorf("%w: row of a ledger total has %d bytes", ErrDamaged, len(row))
	}
	return money.Sum{Hi: int64(binary.BigEndian.Uint64(row)), Lo: binary.BigEndian.Uint64(row[8:])}, nil
}

// ParkedEvent is an event that was set aside, with the reason.
type ParkedEvent struct {
	Partition charge.Partition
	Position  charge.Position // of the event in the event log; names it for ever
	Event     charge.Event
	Reason    charge.ParkReason
	Detail    string
	At        charge.Instant // the log's clock when it was parked
}

// append encodes all but the partition and position, which are the row's key.
func (e *ParkedEvent) append(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint64(dst, uint64(e.At))
	dst = appendBytes(dst, []byte(e.Reason))
	dst = appendBytes(dst, []byte(e.Detail))
	return charge.AppendEvent(dst, &e.Event)
}

func decodeParked(key, row []byte) (ParkedEvent, error) {
	if len(key) != 1+2+1+8+4 || len(row) < 8 {
		return ParkedEvent{}, fmt.Errorf("parked event %x: %w: row has %d bytes", key, ErrDamaged, len(row))
	}
	e := ParkedEvent{
		Partition: charge.Partition(binary.BigEndian.Uint16(key[1:])),
		Position: charge.Position{
			Sequence: charge.Sequence(binary.BigEndian.Uint64(key[4:])),
			Offset:   binary.BigEndian.Uint32(key[12:]),
		},
		At: charge.Instant(binary.BigEndian.Uint64(row)),
	}
	d := deltaReader{rest: row[8:]}
	e.Reason = charge.ParkReason(d.bytes())
	e.Detail = string(d.bytes())
	if d.err != nil {
		return ParkedEvent{}, fmt.Errorf("parked event %x: %w: %w", key, ErrDamaged, d.err)
	}
	event, _, err := charge.DecodeEvent(d.rest)
	if err != nil {
		return ParkedEvent{}, fmt.Errorf("parked event %x: %w: %w", key, ErrDamaged, err)
	}
	e.Event = event
	return e, nil
}

// Tally counts what a partition holds and has done since the first event.
type Tally struct {
	Customers uint64
	Events    uint64            // that ended: applied, duplicate or parked
	Parked    map[string]uint64 // that are parked now, by reason
}

// unpark counts one event less that is parked.
func (t *Tally) unpark(reason charge.ParkReason) {
	if t.Parked[string(reason)]--; t.Parked[string(reason)] == 0 {
		delete(t.Parked, string(reason))
	}
}

func (t *Tally) append(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, t.Customers)
	dst = binary.AppendUvarint(dst, t.Events)
	for _, reason := range sortedKeys(t.Parked) {
		dst = appendBytes(dst, []byte(reason))
		dst = binary.AppendUvarint(dst, t.Parked[reason])
	}
	return dst
}

func decodeTally(row []byte) (Tally, error) {
	t := Tally{Parked: map[string]uint64{}}
	if row == nil {
		return t, nil
	}
	d := deltaReader{rest: row}
	t.Customers, t.Events = d.uvarint(), d.uvarint()
	for len(d.rest) > 0 && d.err == nil {
		reason := string(d.bytes())
		t.Parked[reason] = d.uvarint()
	}
	if d.err != nil {
		return Tally{}, fmt.Errorf("row of the tally: %w: %w", ErrDamaged, d.err)
	}
	return t, nil
}
