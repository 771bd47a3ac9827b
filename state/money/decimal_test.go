package money_test

import (
	"errors"
	"math"
	"math/big"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"recharged/state/money"
)

// decimals draws decimals of all sizes, among them many near the bounds.
func decimals() *rapid.Generator[money.Decimal] {
	return rapid.Custom(func(t *rapid.T) money.Decimal {
		coefficient := rapid.OneOf(
			rapid.Int64(), rapid.Int64Range(-1000, 1000),
			rapid.SampledFrom([]int64{0, 1, -1, math.MaxInt64, -math.MaxInt64, math.MaxInt64 / 10, 1e18, -1e18, 5e17}),
		).Draw(t, "coefficient")
		return money.Decimal{Coefficient: coefficient, Scale: rapid.Uint8Range(0, money.ScaleMax).Draw(t, "scale")}
	})
}

func rat(d money.Decimal) *big.Rat {
	scale := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(d.Scale)), nil)
	return new(big.Rat).SetFrac(big.NewInt(d.Coefficient), scale)
}

// representable reports whether some Decimal is exactly r.
func representable(r *big.Rat) bool {
	scaled := new(big.Rat).Set(r)
	for range money.ScaleMax + 1 {
		if scaled.IsInt() {
			return scaled.Num().CmpAbs(big.NewInt(math.MaxInt64)) <= 0
		}
		scaled.Mul(scaled, big.NewRat(10, 1))
	}
	return false
}

func TestParseNumber(t *testing.T) {
	for text, want := range map[string]money.Decimal{
		"0": {}, "-0.00e5": {}, "0e99999999999999999999": {}, "24": {Coefficient: 24}, "1e5": {Coefficient: 100000}, "1.50E+2": {Coefficient: 150},
		"1.5e-3": {Coefficient: 15, Scale: 4}, "-12.5e1": {Coefficient: -125}, "1e-18": {Coefficient: 1, Scale: 18},
		"9e18": {Coefficient: 9e18}, "9223372036854775807": {Coefficient: math.MaxInt64}, "-9223372036854775807.9": {Coefficient: -math.MaxInt64},
		"0.0000000000000000019": {Coefficient: 1, Scale: 18}, "-0.9999999999999999999": {Coefficient: -999999999999999999, Scale: 18},
		"3.14159265358979323846": {Coefficient: 3141592653589793238, Scale: 18}, "12345.123456789012345678": {Coefficient: 1234512345678901234, Scale: 14},
		"9e-19": {}, "1e-400": {}, "1e-99999999999999999999": {}, "0." + strings.Repeat("0", 1000) + "1e1001": {Coefficient: 1},
		"1" + strings.Repeat("0", 1000) + "e-1000": {Coefficient: 1},
	} {
		if got, err := money.ParseNumber(text); got != want || err != nil {
			t.Errorf("ParseNumber(%q) = %v, %v, want %v", text, got, err, want)
		}
	}
	for text, want := range map[string]error{
		"9223372036854775808": money.ErrDecimal, "1e19": money.ErrDecimal, "-1e400": money.ErrDecimal, "1e99999999999999999999": money.ErrDecimal,
		"": money.ErrSyntax, "1.": money.ErrSyntax, ".5": money.ErrSyntax, "1e": money.ErrSyntax, "e5": money.ErrSyntax, "1e5.0": money.ErrSyntax,
		"+1": money.ErrSyntax, "NaN": money.ErrSyntax, "1_000": money.ErrSyntax, "--1": money.ErrSyntax,
	} {
		if d, err := money.ParseNumber(text); !errors.Is(err, want) {
			t.Errorf("ParseNumber(%q) = %v, %v, want %v", text, d, err, want)
		}
	}
}

// A number is read with as many digits after the point as fit, the rest cut off.
func TestParseNumberAgainstBig(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`-?[0-9]{1,22}(\.[0-9]{1,25})?([eE][+-]?[0-9]{1,2})?`).Draw(t, "text")
		exact, ok := new(big.Rat).SetString(text)
		if !ok {
			t.Fatalf("%q is no number", text)
		}
		var want *big.Rat
		for scale := money.ScaleMax; scale >= 0 && want == nil; scale-- {
			power := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(scale)), nil)
			scaled := new(big.Int).Mul(exact.Num(), power)
			scaled.Quo(scaled, exact.Denom())
			if scaled.CmpAbs(big.NewInt(math.MaxInt64)) <= 0 {
				want = new(big.Rat).SetFrac(scaled, power)
			}
		}
		got, err := money.ParseNumber(text)
		if (err == nil) != (want != nil) || want != nil && rat(got).Cmp(want) != 0 {
			t.Fatalf("%q is read as %v, %v, want %v", text, got, err, want)
		}
	})
}

func TestDecimalCmpAgainstBig(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d, e := decimals().Draw(t, "d"), decimals().Draw(t, "e")
		if got, want := d.Cmp(e), rat(d).Cmp(rat(e)); got != want {
			t.Fatalf("%v.Cmp(%v) = %d, want %d", d, e, got, want)
		}
	})
}

func TestDecimalArithmeticAgainstBig(t *testing.T) {
	operations := map[string]struct {
		ours func(d, e money.Decimal) (money.Decimal, error)
		twin func(d, e *big.Rat) *big.Rat
	}{
		"add": {money.Decimal.Add, func(d, e *big.Rat) *big.Rat { return d.Add(d, e) }},
		"sub": {money.Decimal.Sub, func(d, e *big.Rat) *big.Rat { return d.Sub(d, e) }},
		"mul": {money.Decimal.Mul, func(d, e *big.Rat) *big.Rat { return d.Mul(d, e) }},
		"quo": {money.Decimal.Quo, quotient},
		"neg": {func(d, _ money.Decimal) (money.Decimal, error) { return d.Neg() },
			func(d, _ *big.Rat) *big.Rat { return d.Neg(d) }},
	}
	for name, op := range operations {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				d, e := decimals().Draw(t, "d"), decimals().Draw(t, "e")
				got, err := op.ours(d, e)
				want := op.twin(rat(d), rat(e))
				if want == nil || !representable(want) {
					if !errors.Is(err, money.ErrDecimal) {
						t.Fatalf("%v, %v: got %v, %v, want ErrDecimal (%v)", d, e, got, err, want)
					}
					return
				}
				if err != nil || rat(got).Cmp(want) != 0 {
					t.Fatalf("%v, %v: got %v, %v, want %v", d, e, got, err, want)
				}
			})
		})
	}
}

// quotient is d/e cut off after QuotientScale digits; nil for a division by zero.
func quotient(d, e *big.Rat) *big.Rat {
	if e.Sign() == 0 {
		return nil
	}
	shift := new(big.Int).Exp(big.NewInt(10), big.NewInt(money.QuotientScale), nil)
	exact := new(big.Rat).Quo(d, e)
	exact.Mul(exact, new(big.Rat).SetInt(shift))
	cut := new(big.Int).Quo(exact.Num(), exact.Denom()) // Towards zero.
	return new(big.Rat).SetFrac(cut, shift)
}

func TestDecimalTextRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := decimals().Draw(t, "d")
		if d.Coefficient == math.MinInt64 {
			d.Coefficient++
		}
		back, err := money.ParseDecimal(d.String())
		if err != nil || back.Cmp(d) != 0 || back.String() != d.String() {
			t.Fatalf("%+v is written %q and read %+v, %v", d, d.String(), back, err)
		}
	})
}

func TestParseDecimal(t *testing.T) {
	for _, test := range []struct {
		text string
		want string
		err  error
	}{
		{"0", "0", nil},
		{"-0", "0", nil},
		{"350", "350", nil},
		{"350.50", "350.5", nil},
		{"-0.05", "-0.05", nil},
		{"007", "7", nil},
		{"9223372036854775807", "9223372036854775807", nil},
		{"9223372036854775808", "", money.ErrDecimal},
		{"0.000000000000000001", "0.000000000000000001", nil},
		{"0.0000000000000000001", "", money.ErrDigits},
		{"1.0000000000000000000000", "1", nil},
		{"1e3", "", money.ErrExponent},
		{"-1.5E-3", "", money.ErrExponent},
		{"e", "", money.ErrSyntax},
		{"hello", "", money.ErrSyntax},
		{"NaN", "", money.ErrSyntax},
		{"Infinity", "", money.ErrSyntax},
		{"+5", "", money.ErrSyntax},
		{"--5", "", money.ErrSyntax},
		{".5", "", money.ErrSyntax},
		{"5.", "", money.ErrSyntax},
		{"1,5", "", money.ErrSyntax},
		{"1.2.3", "", money.ErrSyntax},
		{"0x10", "", money.ErrSyntax},
		{"1_000", "", money.ErrSyntax},
		{" 1", "", money.ErrSyntax},
		{"٣٥٠", "", money.ErrSyntax},
		{"", "", money.ErrSyntax},
		{"-", "", money.ErrSyntax},
	} {
		d, err := money.ParseDecimal(test.text)
		if !errors.Is(err, test.err) || err == nil && d.String() != test.want {
			t.Errorf("ParseDecimal(%q) = %s, %v, want %s, %v", test.text, d, err, test.want, test.err)
		}
	}
}

func TestDecimalMinor(t *testing.T) {
	for _, test := range []struct {
		text   string
		digits int
		exact  money.Amount
		err    error
		down   money.Amount
	}{
		{"350.50", 2, 35050, nil, 35050},
		{"350.505", 2, 0, money.ErrDigits, 35050},
		{"-350.505", 2, 0, money.ErrDigits, -35051},
		{"0.001", 0, 0, money.ErrDigits, 0},
		{"-0.001", 0, 0, money.ErrDigits, -1},
		{"90000000000000", 2, money.AmountMax, nil, money.AmountMax},
		{"-90000000000000", 2, -money.AmountMax, nil, -money.AmountMax},
	} {
		d, err := money.ParseDecimal(test.text)
		if err != nil {
			t.Fatal(err)
		}
		if a, err := d.Minor(test.digits); a != test.exact || !errors.Is(err, test.err) {
			t.Errorf("%s.Minor(%d) = %d, %v, want %d, %v", test.text, test.digits, a, err, test.exact, test.err)
		}
		if a, err := d.MinorDown(test.digits); a != test.down || err != nil {
			t.Errorf("%s.MinorDown(%d) = %d, %v, want %d", test.text, test.digits, a, err, test.down)
		}
	}
	beyond := money.Decimal{Coefficient: int64(money.AmountMax) + 1}
	if _, err := beyond.Minor(0); !errors.Is(err, money.ErrRange) {
		t.Errorf("beyond AmountMax: %v", err)
	}
	if _, err := beyond.MinorDown(2); !errors.Is(err, money.ErrRange) {
		t.Errorf("beyond AmountMax, rounded down: %v", err)
	}
}
