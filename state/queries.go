package state

import (
	"encoding/binary"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"recharged/state/charge"
)

// scan visits the rows whose keys have the prefix, in order, until visit
// returns false. The slices hold during the visit only.
func (s *Store) scan(prefix []byte, visit func(key, row []byte) (bool, error)) error {
	rows, err := s.db.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: after(prefix)})
	if err != nil {
		return err
	}
	defer rows.Close()
	for ok := rows.First(); ok; ok = rows.Next() {
		row, err := rows.ValueAndErr()
		if err != nil {
			return err
		}
		if more, err := visit(rows.Key(), row); err != nil || !more {
			return err
		}
	}
	return rows.Error()
}

// firstTimer returns when the first timer of a slot is due, zero if it has none.
func (s *Store) firstTimer(slot charge.Slot) (charge.Instant, error) {
	var first charge.Instant
	err := s.scan(slotKey(nil, slot, tableTimer), func(key, _ []byte) (bool, error) {
		due, _, err := timerOf(key)
		first = due
		return false, err
	})
	return first, err
}

// OutcomeRef says where an outcome is: in which commit, and which of it.
type OutcomeRef struct {
	Partition charge.Partition
	Commit    charge.Sequence
	Index     uint16
}

// Timeline returns up to limit outcomes of a customer, the newest first, that
// come before the given one; before a zero ref comes nothing but the newest.
func (s *Store) Timeline(m charge.MSISDN, before OutcomeRef, limit int) ([]OutcomeRef, error) {
	prefix := memberKey(nil, m, tableOutcome)
	upper := after(prefix)
	if before != (OutcomeRef{}) {
		upper = outcomeKey(nil, m, before.Commit, before.Index)
	}
	rows, err := s.db.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: upper})
	if err != nil {
		return nil, fmt.Errorf("read timeline of %s: %w", m.Masked(), err)
	}
	defer rows.Close()
	var refs []OutcomeRef
	for ok := rows.Last(); ok && len(refs) < limit; ok = rows.Prev() {
		row, err := rows.ValueAndErr()
		key := rows.Key()
		if err != nil {
			return nil, fmt.Errorf("read timeline of %s: %w", m.Masked(), err)
		}
		if len(row) != 2 || len(key) != len(prefix)+10 {
			return nil, fmt.Errorf("read timeline of %s: %w: row of %d bytes under a key of %d", m.Masked(), ErrDamaged, len(row), len(key))
		}
		refs = append(refs, OutcomeRef{
			Partition: charge.Partition(binary.BigEndian.Uint16(row)),
			Commit:    charge.Sequence(binary.BigEndian.Uint64(key[len(prefix):])),
			Index:     binary.BigEndian.Uint16(key[len(prefix)+8:]),
		})
	}
	return refs, rows.Error()
}

// Parked visits a partition's parked events, the newest first, beginning
// before that position (zero: at the newest), until visit returns false.
func (s *Store) Parked(p charge.Partition, before charge.Position, visit func(ParkedEvent) bool) error {
	prefix := partitionKey(nil, p, tableParked)
	upper := after(prefix)
	if before != (charge.Position{}) {
		upper = parkedKey(nil, p, before)
	}
	rows, err := s.db.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: upper})
	if err != nil {
		return fmt.Errorf("read parked events of partition %d: %w", p, err)
	}
	defer rows.Close()
	for ok := rows.Last(); ok; ok = rows.Prev() {
		row, err := rows.ValueAndErr()
		if err != nil {
			return fmt.Errorf("read parked events of partition %d: %w", p, err)
		}
		e, err := decodeParked(rows.Key(), row)
		if err != nil {
			return err
		}
		if !visit(e) {
			return nil
		}
	}
	return rows.Error()
}

// ParkedAt returns one parked event, and whether there is one.
func (s *Store) ParkedAt(p charge.Partition, at charge.Position) (ParkedEvent, bool, error) {
	key := parkedKey(nil, p, at)
	row, err := s.get(key)
	if err != nil || row == nil {
		return ParkedEvent{}, false, err
	}
	e, err := decodeParked(key, row)
	return e, err == nil, err
}

// Holders counts how many customers hold something under each of the named
// balances, looking at every customer.
func (s *Store) Holders(balances []string) (map[string]int, error) {
	held := map[string]int{}
	var c charge.Customer
	for slot := range charge.Slot(charge.Slots) {
		err := s.scan(slotKey(nil, slot, tableCustomer), func(_, row []byte) (bool, error) {
			if err := charge.DecodeCustomer(row, &c); err != nil {
				return false, err
			}
			for _, name := range balances {
				if b := c.Balance(name); b != nil && len(b.Parts) > 0 {
					held[name]++
				}
			}
			return true, nil
		})
		if err != nil {
			return nil, fmt.Errorf("count holders in slot %d: %w", slot, err)
		}
	}
	return held, nil
}
