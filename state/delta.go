package state

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"recharged/state/charge"
)

// A delta is what one turn changes in the state, as its commit carries it:
//
//	format(1) partition(2) clock(8) operation…
//
//	set       1  key length  key  value length  value
//	delete    2  key length  key
//	remember  3  msisdn(8) identity(16) content(8) money(1) ordinal nanoseconds after the clock
//	outcome   4  msisdn(8) index
//
// Lengths, ordinals and indexes are varints. Remember and outcome stand for the
// rows that keys.go names: they are the most frequent, and short this way.
const (
	deltaFormat      = 1
	deltaHeaderBytes = 1 + 2 + 8

	opSet      = 1
	opDelete   = 2
	opRemember = 3
	opOutcome  = 4
)

// errDelta says that a delta is not one.
var errDelta = fmt.Errorf("malformed delta: %w", ErrDamaged)

type deltaWriter struct {
	bytes []byte
	clock charge.Instant
}

func (w *deltaWriter) reset(p charge.Partition, clock charge.Instant) {
	w.bytes = append(w.bytes[:0], deltaFormat)
	w.bytes = binary.BigEndian.AppendUint16(w.bytes, uint16(p))
	w.bytes = binary.BigEndian.AppendUint64(w.bytes, uint64(clock))
	w.clock = clock
}

func (w *deltaWriter) set(key, value []byte) {
	w.bytes = appendBytes(append(w.bytes, opSet), key)
	w.bytes = appendBytes(w.bytes, value)
}

func (w *deltaWriter) delete(key []byte) {
	w.bytes = appendBytes(append(w.bytes, opDelete), key)
}

func (w *deltaWriter) remember(m charge.MSISDN, ordinal uint64, seen Seen, at charge.Instant) {
	w.bytes = binary.BigEndian.AppendUint64(append(w.bytes, opRemember), uint64(m))
	w.bytes = append(w.bytes, seen.Identity[:]...)
	w.bytes = binary.BigEndian.AppendUint64(w.bytes, seen.Content)
	w.bytes = append(w.bytes, boolByte(seen.Money))
	w.bytes = binary.AppendUvarint(w.bytes, ordinal)
	w.bytes = binary.AppendUvarint(w.bytes, uint64(at-w.clock))
}

func (w *deltaWriter) outcome(m charge.MSISDN, index int) {
	w.bytes = binary.BigEndian.AppendUint64(append(w.bytes, opOutcome), uint64(m))
	w.bytes = binary.AppendUvarint(w.bytes, uint64(index))
}

func appendBytes(dst, b []byte) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(b))), b...)
}

func boolByte(b bool) byte {
	if b {
		return 1
	}
	return 0
}

// Fold applies the delta of the commit at that sequence, together with the
// position it leads to: one batch, not synced. Only a durable commit may be
// folded, each once, in the order of the log.
func (s *Store) Fold(p charge.Partition, commit charge.Sequence, delta, position []byte) error {
	batch := s.db.NewBatch()
	defer batch.Close()
	if err := s.foldInto(batch, p, commit, delta); err != nil {
		return fmt.Errorf("fold commit %d/%d: %w", p, commit, err)
	}
	if err := batch.Set(partitionKey(nil, p, tablePosition), position, nil); err != nil {
		return fmt.Errorf("fold commit %d/%d: %w", p, commit, err)
	}
	if err := batch.Commit(pebble.NoSync); err != nil {
		return fmt.Errorf("fold commit %d/%d: %w", p, commit, err)
	}
	s.dirty.Store(true)
	return s.cacheCustomers(delta)
}

// foldInto writes the rows a delta stands for into the batch.
func (s *Store) foldInto(batch *pebble.Batch, p charge.Partition, commit charge.Sequence, delta []byte) error {
	if len(delta) == 0 {
		return nil
	}
	d, err := openDelta(delta)
	if err != nil {
		return err
	}
	if d.partition != p {
		return fmt.Errorf("%w: it is of partition %d", errDelta, d.partition)
	}
	var key, value []byte
	for d.next() {
		switch d.op {
		case opSet:
			err = batch.Set(d.key, d.value, nil)
		case opDelete:
			err = batch.Delete(d.key, nil)
		case opRemember:
			value = binary.BigEndian.AppendUint64(value[:0], d.seen.Content)
			key = identityKey(key[:0], d.msisdn, d.seen.Identity)
			err = batch.Set(key, value, nil)
			key = ordinalKey(key[:0], d.msisdn, d.number)
			value = appendAge(value[:0], d.seen, d.at)
			err = errors.Join(err, batch.Set(key, value, nil))
		case opOutcome:
			key = outcomeKey(key[:0], d.msisdn, commit, uint16(d.number))
			value = binary.BigEndian.AppendUint16(value[:0], uint16(p))
			err = batch.Set(key, value, nil)
		}
		if err != nil {
			return err
		}
	}
	return d.err
}

// cacheCustomers puts the customers that a folded delta sets into the cache.
func (s *Store) cacheCustomers(delta []byte) error {
	if len(delta) == 0 {
		return nil
	}
	d, err := openDelta(delta)
	if err != nil {
		return err
	}
	for d.next() {
		if d.op == opSet && len(d.key) == customerKeyBytes && d.key[2] == tableCustomer {
			s.cacheCustomer(d.key, d.value)
		}
	}
	return d.err
}

// deltaReader walks over the operations of a delta. Its slices point into it.
type deltaReader struct {
	rest      []byte
	partition charge.Partition
	clock     charge.Instant
	err       error

	op         byte
	key, value []byte
	msisdn     charge.MSISDN
	seen       Seen
	number     uint64         // ordinal or index
	at         charge.Instant // when an id was remembered
}

func openDelta(delta []byte) (*deltaReader, error) {
	if len(delta) < deltaHeaderBytes {
		return nil, fmt.Errorf("%w: %d bytes", errDelta, len(delta))
	}
	if delta[0] != deltaFormat {
		return nil, fmt.Errorf("%w: format %d is not known to this version", errDelta, delta[0])
	}
	return &deltaReader{
		partition: charge.Partition(binary.BigEndian.Uint16(delta[1:])),
		clock:     charge.Instant(binary.BigEndian.Uint64(delta[3:])),
		rest:      delta[deltaHeaderBytes:],
	}, nil
}

// next reads the next operation; false at the end or at a fault, see err.
func (d *deltaReader) next() bool {
	if d.err != nil || len(d.rest) == 0 {
		return false
	}
	d.op, d.rest = d.rest[0], d.rest[1:]
	switch d.op {
	case opSet:
		d.key, d.value = d.bytes(), d.bytes()
	case opDelete:
		d.key = d.bytes()
	case opRemember:
		d.msisdn = charge.MSISDN(d.uint64())
		copy(d.seen.Identity[:], d.take(len(d.seen.Identity)))
		d.seen.Content = d.uint64()
		d.seen.Money = d.flag()
		d.number = d.uvarint()
		d.at = d.clock + charge.Instant(d.uvarint())
	case opOutcome:
		d.msisdn = charge.MSISDN(d.uint64())
		d.number = d.uvarint()
	default:
		d.err = fmt.Errorf("%w: operation %d", errDelta, d.op)
	}
	return d.err == nil
}

func (d *deltaReader) take(n int) []byte {
	if d.err != nil || n > len(d.rest) || n < 0 {
		d.err = fmt.Errorf("%w: it ends early", errDelta)
		return nil
	}
	b := d.rest[:n]
	d.rest = d.rest[n:]
	return b
}

func (d *deltaReader) uvarint() uint64 {
	n, width := binary.Uvarint(d.rest)
	if width <= 0 {
		d.err = fmt.Errorf("%w: broken number", errDelta)
		return 0
	}
	d.rest = d.rest[width:]
	return n
}

func (d *deltaReader) bytes() []byte {
	n := d.uvarint()
	if n > uint64(len(d.rest)) {
		d.err = fmt.Errorf("%w: it ends early", errDelta)
		return nil
	}
	return d.take(int(n))
}

func (d *deltaReader) uint64() uint64 {
	if b := d.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

func (d *deltaReader) flag() bool {
	b := d.take(1)
	return b != nil && b[0] != 0
}
