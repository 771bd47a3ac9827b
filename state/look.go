package state

import (
	"encoding/binary"
	"fmt"

	"recharged/state/charge"
)

// Seen returns the content of the event of a customer that is remembered under
// that identity, and whether there is one, as of the last commit. It is for any
// goroutine; a turn asks its Partition.
func (s *Store) Seen(m charge.MSISDN, identity [16]byte) (content uint64, seen bool, err error) {
	row, err := s.get(identityKey(nil, m, identity))
	if err != nil || row == nil {
		return 0, false, err
	}
	if len(row) != 8 {
		return 0, false, fmt.Errorf("look up an id of %s: %w: row has %d bytes", m.Masked(), ErrDamaged, len(row))
	}
	return binary.BigEndian.Uint64(row), true, nil
}

// CustomerIn reads a customer as the delta of a commit leaves it; false if the
// delta does not change it.
func CustomerIn(delta []byte, m charge.MSISDN, c *charge.Customer) (bool, error) {
	if len(delta) == 0 {
		return false, nil // Of a claim.
	}
	d, err := openDelta(delta)
	if err != nil {
		return false, err
	}
	key := string(customerKey(nil, m))
	for d.next() {
		if d.op == opSet && string(d.key) == key {
			if err := charge.DecodeCustomer(d.value, c); err != nil {
				return false, fmt.Errorf("decode customer %s: %w: %w", m.Masked(), ErrDamaged, err)
			}
			return true, nil
		}
	}
	return false, d.err
}
