package state

import (
	"encoding/binary"
	"fmt"

	"recharged/state/charge"
)

// Rows. A customer's rows begin with the slot, so that slots can move between
// partitions; a partition's own rows begin with 0xff, which no slot does.
// Numbers are big endian, so that rows sort as their numbers do.
//
//	slot(2) 'c' msisdn(8)                        a customer
//	slot(2) 'i' msisdn(8) identity(16)           an id seen: content(8)
//	slot(2) 'n' msisdn(8) ordinal(8)             the same by age: identity(16) clock(8) money(1)
//	slot(2) 'o' msisdn(8) commit(8) index(2)     an outcome in the commit log: partition(2)
//	slot(2) 't' due(8) msisdn(8)                 a timer
//	0xff partition(2) 'a' unit 0x00 account      a ledger total: sum(16)
//	0xff partition(2) 'b'                        the rulebook in force: 1 version(8) text, compressed; before: version(8) text
//	0xff partition(2) 'm' name                   a note
//	0xff partition(2) 'k' sequence(8) offset(4)  a parked event
//	0xff partition(2) 'p'                        the position
//	0xff partition(2) 'z'                        the tally
const (
	tableCustomer = 'c'
	tableIdentity = 'i'
	tableOrdinal  = 'n'
	tableOutcome  = 'o'
	tableTimer    = 't'

	tableTotal    = 'a'
	tableBook     = 'b'
	tableParked   = 'k'
	tableNote     = 'm'
	tablePosition = 'p'
	tableTally    = 'z'

	partitionPrefix = 0xff

	customerKeyBytes = 2 + 1 + 8
)

func slotKey(dst []byte, s charge.Slot, table byte) []byte {
	return append(binary.BigEndian.AppendUint16(dst, uint16(s)), table)
}

func memberKey(dst []byte, m charge.MSISDN, table byte) []byte {
	return binary.BigEndian.AppendUint64(slotKey(dst, m.Slot(), table), uint64(m))
}

func customerKey(dst []byte, m charge.MSISDN) []byte {
	return memberKey(dst, m, tableCustomer)
}

func identityKey(dst []byte, m charge.MSISDN, identity [16]byte) []byte {
	return append(memberKey(dst, m, tableIdentity), identity[:]...)
}

func ordinalKey(dst []byte, m charge.MSISDN, ordinal uint64) []byte {
	return binary.BigEndian.AppendUint64(memberKey(dst, m, tableOrdinal), ordinal)
}

func outcomeKey(dst []byte, m charge.MSISDN, commit charge.Sequence, index uint16) []byte {
	dst = binary.BigEndian.AppendUint64(memberKey(dst, m, tableOutcome), uint64(commit))
	return binary.BigEndian.AppendUint16(dst, index)
}

func timerKey(dst []byte, m charge.MSISDN, due charge.Instant) []byte {
	dst = binary.BigEndian.AppendUint64(slotKey(dst, m.Slot(), tableTimer), uint64(due))
	return binary.BigEndian.AppendUint64(dst, uint64(m))
}

// tableOf returns the table of a key, which may be said where the key may not:
// it holds the customer's number.
func tableOf(key []byte) byte {
	switch {
	case len(key) > 3 && key[0] == partitionPrefix:
		return key[3]
	case len(key) > 2:
		return key[2]
	}
	return '?'
}

// timerOf reads a timer's key back.
func timerOf(key []byte) (charge.Instant, charge.MSISDN, error) {
	if len(key) != 2+1+8+8 {
		return 0, 0, fmt.Errorf("%w: the key of a timer has %d bytes", ErrDamaged, len(key))
	}
	due := binary.BigEndian.Uint64(key[3:])
	return charge.Instant(due), charge.MSISDN(binary.BigEndian.Uint64(key[11:])), nil
}

func partitionKey(dst []byte, p charge.Partition, table byte) []byte {
	dst = append(dst, partitionPrefix)
	return append(binary.BigEndian.AppendUint16(dst, uint16(p)), table)
}

func parkedKey(dst []byte, p charge.Partition, at charge.Position) []byte {
	dst = binary.BigEndian.AppendUint64(partitionKey(dst, p, tableParked), uint64(at.Sequence))
	return binary.BigEndian.AppendUint32(dst, at.Offset)
}

func noteKey(dst []byte, p charge.Partition, name string) []byte {
	return append(partitionKey(dst, p, tableNote), name...)
}

func totalKey(dst []byte, p charge.Partition, unit string, account charge.Account) []byte {
	dst = append(partitionKey(dst, p, tableTotal), unit...)
	return append(append(dst, 0), account...)
}

// after returns the smallest key that is greater than every key with the prefix.
func after(prefix []byte) []byte {
	end := append([]byte(nil), prefix...)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i]++; end[i] != 0 {
			return end[:i+1]
		}
	}
	return nil
}
