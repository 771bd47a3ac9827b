// Package money holds exact amounts: integers in the minor unit of whatever
// they count (centimes, bytes, seconds, messages, points), with every overflow
// checked and every rounding named.
//
// It promises that what is written exactly is read exactly: no value passes
// through binary floating point. It refuses to know what an amount is for.
package money

import (
	"errors"
	"fmt"
	"math/big"
	"math/bits"
	"strconv"
	"strings"
)

// Amount counts minor units. A credit is positive, a debit negative.
type Amount int64

// AmountMax bounds every amount and every balance, in both directions. It
// leaves room in an int64 for any sum of a few amounts to be checked after it
// was made.
const AmountMax Amount = 9_000_000_000_000_000

// ErrRange says that a result lies beyond ±AmountMax minor units.
var ErrRange = errors.New("beyond ±9000000000000000 minor units")

// Add returns a+b, or ErrRange.
func (a Amount) Add(b Amount) (Amount, error) {
	sum := a + b // Cannot wrap: both are within ±AmountMax, far below 2⁶².
	if !sum.Valid() || !a.Valid() || !b.Valid() {
		return 0, ErrRange
	}
	return sum, nil
}

// Sub returns a-b, or ErrRange.
func (a Amount) Sub(b Amount) (Amount, error) { return a.Add(-b) }

// Valid reports whether a lies within ±AmountMax.
func (a Amount) Valid() bool { return -AmountMax <= a && a <= AmountMax }

// MulDivDown returns a*num/den rounded towards minus infinity, computed in 128
// bits. It panics unless num >= 0 and den > 0: both come from a checked book.
func (a Amount) MulDivDown(num, den int64) (Amount, error) {
	return a.mulDiv(num, den, false)
}

// MulDivUp returns a*num/den rounded towards plus infinity.
func (a Amount) MulDivUp(num, den int64) (Amount, error) {
	return a.mulDiv(num, den, true)
}

func (a Amount) mulDiv(num, den int64, up bool) (Amount, error) {
	if num < 0 || den <= 0 {
		panic(fmt.Sprintf("money: %d*%d/%d: the factor must not be negative, the divisor must be positive", a, num, den))
	}
	if a < 0 {
		up = !up // Rounding the magnitude the other way rounds the value this way.
	}
	hi, lo := bits.Mul64(magnitude(int64(a)), uint64(num))
	if hi >= uint64(den) {
		return 0, ErrRange
	}
	quotient, rest := bits.Div64(hi, lo, uint64(den))
	if quotient > uint64(AmountMax) {
		return 0, ErrRange // Also keeps the next line from wrapping.
	}
	if up && rest != 0 {
		quotient++
	}
	if quotient > uint64(AmountMax) {
		return 0, ErrRange
	}
	if a < 0 {
		return -Amount(quotient), nil
	}
	return Amount(quotient), nil
}

// Rate is a share in parts per million: 100 % is 1,000,000.
type Rate int64

// RateWhole is 100 %.
const RateWhole Rate = 1_000_000

// Of returns the rate's share of a, rounded down to the minor unit.
func (r Rate) Of(a Amount) (Amount, error) { return a.MulDivDown(int64(r), int64(RateWhole)) }

// Sum adds up amounts of a whole partition over its whole life in 128 bits,
// two's complement; it cannot overflow in practice and is compared exactly.
type Sum struct {
	Hi int64
	Lo uint64
}

// Add adds one amount.
func (s *Sum) Add(a Amount) {
	s.AddSum(Sum{Hi: int64(a) >> 63, Lo: uint64(a)})
}

// AddSum adds another sum.
func (s *Sum) AddSum(t Sum) {
	lo, carry := bits.Add64(s.Lo, t.Lo, 0)
	hi, _ := bits.Add64(uint64(s.Hi), uint64(t.Hi), carry)
	s.Lo, s.Hi = lo, int64(hi)
}

// IsZero reports whether the sum is exactly nothing.
func (s Sum) IsZero() bool { return s == Sum{} }

// Unit is what an amount counts, and with how many decimal digits people write
// it: {"DZD", 2}, {"byte", 0}, {"point", 0}.
type Unit struct {
	Name   string
	Digits int
}

// Format writes a with exactly the unit's digits: "410.00", "-3.50", "1024".
func (u Unit) Format(a Amount) string { return string(u.Append(nil, a)) }

// Append appends what Format returns.
func (u Unit) Append(dst []byte, a Amount) []byte {
	if a < 0 {
		dst = append(dst, '-')
	}
	minor := magnitude(int64(a))
	if u.Digits == 0 {
		return strconv.AppendUint(dst, minor, 10)
	}
	scale := uint64(pow10[u.Digits])
	dst = strconv.AppendUint(dst, minor/scale, 10)
	point := len(dst)
	dst = strconv.AppendUint(dst, scale+minor%scale, 10) // A leading 1 keeps the zeros; the point takes its place.
	dst[point] = '.'
	return dst
}

// FormatSum writes a sum of any size as Format writes an amount.
func (u Unit) FormatSum(s Sum) string {
	n := new(big.Int).Lsh(big.NewInt(s.Hi), 64)
	n.Add(n, new(big.Int).SetUint64(s.Lo))
	sign := ""
	if n.Sign() < 0 {
		sign = "-"
	}
	digits := n.Abs(n).String()
	if u.Digits == 0 {
		return sign + digits
	}
	if missing := u.Digits + 1 - len(digits); missing > 0 {
		digits = strings.Repeat("0", missing) + digits
	}
	whole := len(digits) - u.Digits
	return sign + digits[:whole] + "." + digits[whole:]
}

// Sub takes another sum off.
func (s *Sum) Sub(t Sum) {
	lo, borrow := bits.Sub64(s.Lo, t.Lo, 0)
	hi, _ := bits.Sub64(uint64(s.Hi), uint64(t.Hi), borrow)
	s.Lo, s.Hi = lo, int64(hi)
}

// Short writes a in its shortest exact form, as customers read it: "350" or
// "350.50".
func (u Unit) Short(a Amount) string {
	if u.Digits > 0 && int64(a)%pow10[u.Digits] == 0 {
		return strconv.FormatInt(int64(a)/pow10[u.Digits], 10)
	}
	return u.Format(a)
}

// Parse reads a decimal with at most the unit's digits: "350", "350.5",
// "350.50", "-0.05". It refuses an exponent, more digits, and whatever is not
// a plain decimal; the error names the reason.
func (u Unit) Parse(text string) (Amount, error) {
	d, err := ParseDecimal(text)
	if err != nil {
		return 0, err
	}
	a, err := d.Minor(u.Digits)
	if err != nil {
		return 0, fmt.Errorf("%q: %w", text, err)
	}
	return a, nil
}

// pow10[n] is 10ⁿ, as far as an int64 holds it.
var pow10 = [...]int64{
	1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000,
	1_000_000_000, 10_000_000_000, 100_000_000_000, 1_000_000_000_000,
	10_000_000_000_000, 100_000_000_000_000, 1_000_000_000_000_000,
	10_000_000_000_000_000, 100_000_000_000_000_000, 1_000_000_000_000_000_000,
}
