// Package charge is the vocabulary of charging: events, customers, balances,
// postings, outcomes, and their encodings.
//
// It promises that a value that was encoded is decoded to the same value by
// every later version, and that what comes from outside is either understood
// whole or refused with a reason. It refuses to know what an event does: that
// is the ledger's and the rules' business.
package charge

import (
	"fmt"
	"log/slog"
	"math"
	"time"
)

// MSISDN is a customer's number: 6 to 15 E.164 digits, packed as binary coded
// decimal so that it is eight bytes everywhere and leading zeros survive:
//
//	bits 63..60   number of digits
//	bits 59..0    the digits, four bits each, the first one highest
//
// Zero is no number. In a log line it shows masked.
type MSISDN uint64

// Digits of an MSISDN.
const (
	msisdnDigitsMin = 6
	msisdnDigitsMax = 15
)

// ParseMSISDN reads 6 to 15 digits; a leading + is dropped.
func ParseMSISDN(text string) (MSISDN, error) {
	digits := text
	if len(digits) > 0 && digits[0] == '+' {
		digits = digits[1:]
	}
	if len(digits) < msisdnDigitsMin || len(digits) > msisdnDigitsMax {
		return 0, fmt.Errorf("an MSISDN has %d to %d digits, this has %d characters", msisdnDigitsMin, msisdnDigitsMax, len(digits))
	}
	m := MSISDN(len(digits)) << 60
	for i := range len(digits) {
		if digits[i] < '0' || digits[i] > '9' {
			return 0, fmt.Errorf("an MSISDN has digits only, character %d is %q", i+1, digits[i])
		}
		m |= MSISDN(digits[i]-'0') << (56 - 4*i)
	}
	return m, nil
}

// String returns the digits.
func (m MSISDN) String() string { return string(m.Append(nil)) }

// Append appends the digits.
func (m MSISDN) Append(dst []byte) []byte {
	for i := range int(m >> 60) {
		dst = append(dst, '0'+byte(m>>(56-4*i)&0xf))
	}
	return dst
}

// Masked hides all but the first three and the last two digits.
func (m MSISDN) Masked() string {
	digits := m.Append(nil)
	for i := 3; i < len(digits)-2; i++ {
		digits[i] = '*'
	}
	return string(digits)
}

// LogValue masks the number in every log line.
func (m MSISDN) LogValue() slog.Value { return slog.StringValue(m.Masked()) }

// MarshalText writes the digits, for JSON that its reader may see.
func (m MSISDN) MarshalText() ([]byte, error) { return m.Append(nil), nil }

// Slots is the fixed number of slots that customers hash to.
const Slots = 1024

// Slot is the unit in which customers are assigned to partitions.
type Slot uint16

// Slot returns the customer's slot, that of the digits.
func (m MSISDN) Slot() Slot {
	var digits [msisdnDigitsMax]byte
	return SlotOf(m.Append(digits[:0]))
}

// SlotOf returns the slot of a name: FNV-1a in 32 bits, modulo Slots.
func SlotOf[T string | []byte](name T) Slot {
	const offset, prime = 2166136261, 16777619
	hash := uint32(offset)
	for i := range len(name) {
		hash = (hash ^ uint32(name[i])) * prime
	}
	return Slot(hash % Slots)
}

// valid reports whether m is packed as ParseMSISDN packs it.
func (m MSISDN) valid() bool {
	n := int(m >> 60)
	if n < msisdnDigitsMin {
		return false
	}
	for i := range msisdnDigitsMax {
		digit := m >> (56 - 4*i) & 0xf
		if digit > 9 || i >= n && digit != 0 {
			return false
		}
	}
	return true
}

// Partition numbers one pair of logs and the customers whose slots it holds.
type Partition uint16

// PartitionOf maps a slot to one of n partitions.
func (s Slot) PartitionOf(n int) Partition { return Partition(int(s) % n) }

// Sequence is a position in a log, as the log numbers its records: from 1.
type Sequence uint64

// Instant is a point in time: nanoseconds since 1970 in UTC. Zero is no time.
type Instant int64

// Sooner returns the earlier of two instants of which zero is none.
func Sooner(a, b Instant) Instant {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// InstantOf returns t, or false if t lies outside the years 1971 to 2261 of UTC:
// what 64 bits hold, and well away from zero. It is for clocks and rulebooks,
// where any other time is a mistake.
func InstantOf(t time.Time) (Instant, bool) {
	if y := t.UTC().Year(); y < 1971 || y > 2261 {
		return 0, false
	}
	return Instant(t.UnixNano()), true
}

// NearestInstant returns the instant nearest to t: what 64 bits cannot hold is
// the first or the last one, in the years 1677 and 2262, and 1970 itself, whose
// zero means no time, is one nanosecond later.
func NearestInstant(t time.Time) Instant {
	switch first, last := Instant(math.MinInt64), Instant(math.MaxInt64); {
	case t.Before(first.Time()):
		return first
	case t.After(last.Time()):
		return last
	}
	if nanos := t.UnixNano(); nanos != 0 {
		return Instant(nanos)
	}
	return 1
}

// Time returns the instant in UTC.
func (i Instant) Time() time.Time { return time.Unix(0, int64(i)).UTC() }

// Add returns the instant d later; it saturates at both ends of time.
func (i Instant) Add(d time.Duration) Instant {
	switch sum := i + Instant(d); {
	case d > 0 && sum < i:
		return math.MaxInt64
	case d < 0 && sum > i:
		return math.MinInt64
	default:
		return sum
	}
}

// Sub returns how much later i is than j; it saturates at what a duration holds,
// 292 years.
func (i Instant) Sub(j Instant) time.Duration {
	switch difference := i - j; {
	case i > j && difference < 0:
		return math.MaxInt64
	case i < j && difference > 0:
		return math.MinInt64
	default:
		return time.Duration(difference)
	}
}

// MarshalText writes RFC 3339 in UTC with as many digits of the second as there are.
func (i Instant) MarshalText() ([]byte, error) {
	return i.Time().AppendFormat(nil, time.RFC3339Nano), nil
}
