package when

import (
	"math/bits"

	"recharged/state/money"
)

// remainder returns what is left of a after the whole multiples of b are taken
// away: exact at every scale, with a's sign, never out of range. b is not zero.
func remainder(a, b money.Decimal) money.Decimal {
	n, divisor := magnitude(a.Coefficient), magnitude(b.Coefficient)
	scale := max(a.Scale, b.Scale)
	// Both are counted in units of the finer scale: one factor is 1.
	hi, lo := bits.Mul64(n, pow10(scale-a.Scale))
	divisorHi, divisorLo := bits.Mul64(divisor, pow10(scale-b.Scale))
	rest := lo // If the divisor exceeds 64 bits, it was raised and a was not: a is smaller.
	if divisorHi == 0 {
		rest = bits.Rem64(hi, lo, divisorLo)
	}
	if a.Coefficient < 0 {
		return money.Decimal{Coefficient: -int64(rest), Scale: scale}
	}
	return money.Decimal{Coefficient: int64(rest), Scale: scale}
}

// truncate cuts the digits after the point off.
func truncate(d money.Decimal) money.Decimal {
	return money.Int(d.Coefficient / int64(pow10(d.Scale)))
}

// pow10 returns 10ⁿ for the n of a decimal's scale, at most money.ScaleMax.
func pow10(n uint8) uint64 {
	power := uint64(1)
	for range n {
		power *= 10
	}
	return power
}

func magnitude(n int64) uint64 {
	if n < 0 {
		return -uint64(n)
	}
	return uint64(n)
}
