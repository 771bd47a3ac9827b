package money

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"strconv"
	"strings"
)

// Decimal is an exact decimal number, Coefficient × 10^-Scale: the number of
// the rule language and of customers' attributes. Amounts of every unit convert
// into it without loss, so 300.10 compares with 30010 centimes exactly.
type Decimal struct {
	Coefficient int64
	Scale       uint8
}

// ScaleMax is the largest number of digits after the point.
const ScaleMax = 18

// Faults in a decimal's text.
var (
	ErrSyntax   = errors.New("not a plain decimal number")
	ErrExponent = errors.New("an exponent is not allowed, write the number out")
	ErrDigits   = errors.New("too many digits after the point")
	ErrDecimal  = errors.New("decimal number out of range")
)

// Int returns the decimal of a whole number.
func Int(n int64) Decimal { return Decimal{Coefficient: n} }

// Decimal returns a as a number of the unit's major units.
func (u Unit) Decimal(a Amount) Decimal {
	return Decimal{Coefficient: int64(a), Scale: uint8(u.Digits)}
}

// ParseDecimal reads digits with an optional minus sign and point, nothing else.
func ParseDecimal(text string) (Decimal, error) {
	digits, negative := strings.CutPrefix(text, "-")
	whole, fraction, point := strings.Cut(digits, ".")
	if !allDigits(whole) || point && !allDigits(fraction) {
		if mantissa, _, found := strings.Cut(strings.ToLower(text), "e"); found {
			if _, err := ParseDecimal(mantissa); err == nil {
				return Decimal{}, fmt.Errorf("%q: %w", text, ErrExponent)
			}
		}
		return Decimal{}, fmt.Errorf("%q: %w", text, ErrSyntax)
	}
	fraction = strings.TrimRight(fraction, "0")
	if len(fraction) > ScaleMax {
		return Decimal{}, fmt.Errorf("%q: %w", text, ErrDigits)
	}
	n, err := strconv.ParseInt(whole+fraction, 10, 64)
	if err != nil {
		return Decimal{}, fmt.Errorf("%q: %w", text, ErrDecimal)
	}
	if negative {
		n = -n
	}
	return Decimal{Coefficient: n, Scale: uint8(len(fraction))}, nil
}

// ParseNumber reads a number as JSON writes it, also with an exponent: 1e5 is
// 100000, 1.5e-3 is 0.0015. Of a fraction it keeps as many digits as a Decimal
// holds, ScaleMax at most, and cuts off the rest. A whole part that is too large
// is ErrDecimal.
func ParseNumber(text string) (Decimal, error) {
	mantissa, exponent := text, 0
	if i := strings.IndexAny(text, "eE"); i >= 0 {
		var err error
		mantissa = text[:i]
		if exponent, err = strconv.Atoi(text[i+1:]); errors.Is(err, strconv.ErrSyntax) {
			return Decimal{}, fmt.Errorf("%q: %w", text, ErrSyntax)
		}
	}
	digits, negative := strings.CutPrefix(mantissa, "-")
	whole, fraction, point := strings.Cut(digits, ".")
	if !allDigits(whole) || point && !allDigits(fraction) {
		return Decimal{}, fmt.Errorf("%q: %w", text, ErrSyntax)
	}
	digits = strings.TrimLeft(whole+fraction, "0")
	if digits == "" {
		return Decimal{}, nil
	}
	// What is left is 0.digits × 10^exponent, with an exponent that cannot wrap.
	exponent = min(max(exponent, -1<<40), 1<<40) + len(digits) - len(fraction)
	n, scale, fits := cut(digits, exponent)
	if !fits {
		return Decimal{}, fmt.Errorf("%q: %w", text, ErrDecimal)
	}
	if negative {
		n = -n
	}
	return Decimal{n, scale}.trim(), nil
}

// cut returns 0.digits × 10^exponent as a coefficient with as large a scale as
// fits, the digits after that cut off; false if its whole part does not fit.
func cut(digits string, exponent int) (n int64, scale uint8, fits bool) {
	const digitsMax = 19 // of an int64
	if exponent > digitsMax {
		return 0, 0, false
	}
	for scale := ScaleMax; scale >= 0; scale-- {
		kept := exponent + scale
		if kept <= 0 {
			return 0, 0, true
		}
		text := digits[:min(kept, len(digits))] + strings.Repeat("0", max(kept-len(digits), 0))
		if n, err := strconv.ParseInt(text, 10, 64); err == nil {
			return n, uint8(scale), true
		}
	}
	return 0, 0, false
}

func allDigits(text string) bool {
	for i := range len(text) {
		if text[i] < '0' || text[i] > '9' {
			return false
		}
	}
	return len(text) > 0
}

// Minor returns d in minor units of a unit with that many digits. It refuses to
// round: ErrDigits if d is finer, ErrRange if it lies beyond ±AmountMax.
func (d Decimal) Minor(digits int) (Amount, error) {
	for int(d.Scale) > digits {
		if d.Coefficient%10 != 0 {
			return 0, ErrDigits
		}
		d.Coefficient, d.Scale = d.Coefficient/10, d.Scale-1
	}
	return Amount(d.Coefficient).scaleUp(digits - int(d.Scale))
}

// MinorDown returns d in minor units, rounded towards minus infinity.
func (d Decimal) MinorDown(digits int) (Amount, error) {
	if int(d.Scale) <= digits {
		return Amount(d.Coefficient).scaleUp(digits - int(d.Scale))
	}
	divisor := pow10[int(d.Scale)-digits]
	q := d.Coefficient / divisor
	if d.Coefficient%divisor < 0 {
		q--
	}
	if a := Amount(q); a.Valid() {
		return a, nil
	}
	return 0, ErrRange
}

func (a Amount) scaleUp(digits int) (Amount, error) {
	if !a.Valid() {
		return 0, ErrRange
	}
	if digits >= len(pow10) {
		if a == 0 {
			return 0, nil
		}
		return 0, ErrRange
	}
	return a.mulDiv(pow10[digits], 1, false)
}

// Cmp returns -1, 0 or 1 as d is less than, equal to or greater than e. It is
// exact at every scale: the smaller scale is raised in 128 bits.
func (d Decimal) Cmp(e Decimal) int {
	if d.Scale == e.Scale {
		return cmp.Compare(d.Coefficient, e.Coefficient)
	}
	if (d.Coefficient < 0) != (e.Coefficient < 0) {
		return cmp.Compare(d.Coefficient, e.Coefficient)
	}
	x, y := d.raise(e.Scale), e.raise(d.Scale)
	if d.Coefficient < 0 {
		x, y = y, x
	}
	return x.cmp(y)
}

// wide is an unsigned number of 128 bits: the room in which decimals meet.
type wide struct{ hi, lo uint64 }

func (w wide) cmp(v wide) int {
	return cmp.Or(cmp.Compare(w.hi, v.hi), cmp.Compare(w.lo, v.lo))
}

// raise returns the magnitude of d at the larger of its own and the other
// scale: 2⁶³·10¹⁸ < 2¹²³ fits.
func (d Decimal) raise(scale uint8) wide {
	if scale <= d.Scale {
		return wide{lo: magnitude(d.Coefficient)}
	}
	hi, lo := bits.Mul64(magnitude(d.Coefficient), uint64(pow10[scale-d.Scale]))
	return wide{hi, lo}
}

// decimal returns ±w × 10^-scale in its shortest form, or ErrDecimal if no
// Decimal is exactly that.
func (w wide) decimal(negative bool, scale int) (Decimal, error) {
	for scale > 0 {
		hi, rest := w.hi/10, w.hi%10
		lo, rest := bits.Div64(rest, w.lo, 10)
		if rest != 0 {
			break
		}
		w, scale = wide{hi, lo}, scale-1
	}
	if w.hi != 0 || w.lo > math.MaxInt64 || scale > ScaleMax {
		return Decimal{}, ErrDecimal
	}
	n := int64(w.lo)
	if negative {
		n = -n
	}
	return Decimal{n, uint8(scale)}, nil
}

// Add returns d+e exactly, or ErrDecimal.
func (d Decimal) Add(e Decimal) (Decimal, error) { return d.add(e, e.Coefficient < 0) }

// Sub returns d-e exactly, or ErrDecimal.
func (d Decimal) Sub(e Decimal) (Decimal, error) { return d.add(e, e.Coefficient >= 0) }

// add returns d plus the magnitude of e with the given sign.
func (d Decimal) add(e Decimal, eNegative bool) (Decimal, error) {
	x, y := d.raise(e.Scale), e.raise(d.Scale)
	negative := d.Coefficient < 0
	scale := int(max(d.Scale, e.Scale))
	if negative == eNegative {
		lo, carry := bits.Add64(x.lo, y.lo, 0)
		hi, _ := bits.Add64(x.hi, y.hi, carry) // Below 2¹²⁴.
		return wide{hi, lo}.decimal(negative, scale)
	}
	if x.cmp(y) < 0 {
		x, y, negative = y, x, eNegative
	}
	lo, borrow := bits.Sub64(x.lo, y.lo, 0)
	hi, _ := bits.Sub64(x.hi, y.hi, borrow)
	return wide{hi, lo}.decimal(negative, scale)
}

// Neg returns -d, or ErrDecimal.
func (d Decimal) Neg() (Decimal, error) { return Decimal{}.Sub(d) }

// Mul returns d*e exactly, or ErrDecimal.
func (d Decimal) Mul(e Decimal) (Decimal, error) {
	hi, lo := bits.Mul64(magnitude(d.Coefficient), magnitude(e.Coefficient))
	return wide{hi, lo}.decimal((d.Coefficient < 0) != (e.Coefficient < 0), int(d.Scale)+int(e.Scale))
}

// QuotientScale is how many digits after the point a quotient keeps; the rest
// is cut off (rounded towards zero).
const QuotientScale = 6

// Quo returns d/e cut off after QuotientScale digits, or ErrDecimal, also for a
// division by zero.
func (d Decimal) Quo(e Decimal) (Decimal, error) {
	if e.Coefficient == 0 {
		return Decimal{}, ErrDecimal
	}
	d, e = d.trim(), e.trim()
	shift := QuotientScale + int(e.Scale) - int(d.Scale)
	num, den := magnitude(d.Coefficient), magnitude(e.Coefficient)
	if shift < 0 {
		num /= uint64(pow10[-shift]) // Cutting off twice cuts off the same digits.
	}
	quotient, rest := wide{lo: num / den}, num%den
	for ; shift > 0; shift-- { // Long division, a digit at a time.
		hi, lo := bits.Mul64(rest, 10)
		var digit uint64
		digit, rest = bits.Div64(hi, lo, den)
		var fits bool
		if quotient, fits = quotient.append(digit); !fits {
			return Decimal{}, ErrDecimal
		}
	}
	return quotient.decimal((d.Coefficient < 0) != (e.Coefficient < 0), QuotientScale)
}

// append returns w with one more digit at its end, and whether that fits.
func (w wide) append(digit uint64) (wide, bool) {
	over, hi := bits.Mul64(w.hi, 10)
	carry, lo := bits.Mul64(w.lo, 10)
	lo, carryDigit := bits.Add64(lo, digit, 0)
	hi, carryOut := bits.Add64(hi, carry, carryDigit)
	return wide{hi, lo}, over == 0 && carryOut == 0
}

// magnitude returns |n|, also of the smallest integer.
func magnitude(n int64) uint64 {
	if n < 0 {
		return -uint64(n)
	}
	return uint64(n)
}

// trim drops zeros at the end of the fraction.
func (d Decimal) trim() Decimal {
	for d.Scale > 0 && d.Coefficient%10 == 0 {
		d.Coefficient, d.Scale = d.Coefficient/10, d.Scale-1
	}
	return d
}

// String writes d in its shortest exact form: "300.1", "-5", "0".
func (d Decimal) String() string {
	d = d.trim()
	if d.Scale == 0 {
		return strconv.FormatInt(d.Coefficient, 10)
	}
	digits := strconv.FormatUint(magnitude(d.Coefficient), 10)
	if missing := int(d.Scale) + 1 - len(digits); missing > 0 {
		digits = strings.Repeat("0", missing) + digits
	}
	point := len(digits) - int(d.Scale)
	text := digits[:point] + "." + digits[point:]
	if d.Coefficient < 0 {
		return "-" + text
	}
	return text
}
