package money_test

import (
	"errors"
	"fmt"
	"math"
	"math/big"
	"testing"

	"pgregory.net/rapid"

	"recharged/state/money"
)

var dinar = money.Unit{Name: "DZD", Digits: 2}

func amounts() *rapid.Generator[money.Amount] {
	bound := int64(money.AmountMax)
	return rapid.Map(rapid.OneOf(
		rapid.Int64Range(-bound, bound), rapid.Int64Range(-1000, 1000), rapid.SampledFrom([]int64{-bound, 0, bound}),
	), func(n int64) money.Amount { return money.Amount(n) })
}

func TestUnitRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		unit := money.Unit{Name: "X", Digits: rapid.IntRange(0, 4).Draw(t, "digits")}
		a := amounts().Draw(t, "amount")
		for _, text := range []string{unit.Format(a), unit.Short(a), unit.Decimal(a).String()} {
			if back, err := unit.Parse(text); err != nil || back != a {
				t.Fatalf("%d is written %q and read %d, %v", a, text, back, err)
			}
		}
	})
}

func TestUnitFormat(t *testing.T) {
	for _, test := range []struct {
		unit          money.Unit
		amount        money.Amount
		format, short string
	}{
		{dinar, 41000, "410.00", "410"},
		{dinar, 35050, "350.50", "350.50"},
		{dinar, 5, "0.05", "0.05"},
		{dinar, -350, "-3.50", "-3.50"},
		{dinar, -5, "-0.05", "-0.05"},
		{dinar, 0, "0.00", "0"},
		{dinar, -100, "-1.00", "-1"},
		{money.Byte, 1024, "1024", "1024"},
		{money.Unit{Name: "TND", Digits: 3}, 1001, "1.001", "1.001"},
		{dinar, money.AmountMax, "90000000000000.00", "90000000000000"},
		{money.Unit{Digits: 18}, math.MinInt64, "-9.223372036854775808", "-9.223372036854775808"},
	} {
		if got := test.unit.Format(test.amount); got != test.format {
			t.Errorf("Format(%d) = %q, want %q", test.amount, got, test.format)
		}
		if got := test.unit.Short(test.amount); got != test.short {
			t.Errorf("Short(%d) = %q, want %q", test.amount, got, test.short)
		}
	}
}

func TestUnitParseRefuses(t *testing.T) {
	for text, want := range map[string]error{
		"350.505":               money.ErrDigits,
		"3.5e2":                 money.ErrExponent,
		"NaN":                   money.ErrSyntax,
		"":                      money.ErrSyntax,
		"90000000000000.01":     money.ErrRange,
		"-90000000000000.01":    money.ErrRange,
		"99999999999999999999":  money.ErrDecimal,
		"9223372036854775807":   money.ErrRange,
		"0.0000000000000000001": money.ErrDigits,
	} {
		if a, err := dinar.Parse(text); !errors.Is(err, want) {
			t.Errorf("Parse(%q) = %d, %v, want %v", text, a, err, want)
		}
	}
	if a, err := dinar.Parse("350.500"); a != 35050 || err != nil {
		t.Errorf("zeros at the end are no digits too many: %d, %v", a, err)
	}
}

func TestAddAndSub(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := amounts().Draw(t, "a"), amounts().Draw(t, "b")
		sum, err := a.Add(b)
		if fits := (a + b).Valid(); fits != (err == nil) || fits && sum != a+b {
			t.Fatalf("%d+%d = %d, %v", a, b, sum, err)
		}
		difference, err := a.Sub(b)
		if fits := (a - b).Valid(); fits != (err == nil) || fits && difference != a-b {
			t.Fatalf("%d-%d = %d, %v", a, b, difference, err)
		}
	})
	for _, wild := range []money.Amount{math.MaxInt64, math.MinInt64} {
		if sum, err := wild.Add(wild); !errors.Is(err, money.ErrRange) {
			t.Errorf("%d twice is %d, %v", wild, sum, err)
		}
		if rest, err := money.Amount(0).Sub(wild); !errors.Is(err, money.ErrRange) {
			t.Errorf("0-%d is %d, %v", wild, rest, err)
		}
	}
}

func TestMulDivAgainstBig(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := amounts().Draw(t, "a")
		num := rapid.OneOf(rapid.Int64Range(0, 100), rapid.Int64Range(0, math.MaxInt64)).Draw(t, "num")
		den := rapid.OneOf(rapid.Int64Range(1, 100), rapid.Int64Range(1, math.MaxInt64)).Draw(t, "den")
		product := new(big.Int).Mul(big.NewInt(int64(a)), big.NewInt(num))
		down, rest := new(big.Int).DivMod(product, big.NewInt(den), new(big.Int)) // Euclid: down for a positive divisor.
		up := new(big.Int).Set(down)
		if rest.Sign() != 0 {
			up.Add(up, big.NewInt(1))
		}
		check(t, "down", down, a.MulDivDown, num, den)
		check(t, "up", up, a.MulDivUp, num, den)
	})
}

func check(t *rapid.T, name string, want *big.Int, mulDiv func(num, den int64) (money.Amount, error), num, den int64) {
	got, err := mulDiv(num, den)
	fits := want.CmpAbs(big.NewInt(int64(money.AmountMax))) <= 0
	switch {
	case fits && (err != nil || int64(got) != want.Int64()):
		t.Fatalf("%s: *%d/%d = %d, %v, want %d", name, num, den, got, err, want)
	case !fits && !errors.Is(err, money.ErrRange):
		t.Fatalf("%s: *%d/%d = %d, %v, want ErrRange", name, num, den, got, err)
	}
}

// A quotient of exactly 2⁶⁴-1 with a rest was once rounded up to zero.
func TestMulDivUpDoesNotWrap(t *testing.T) {
	if got, err := money.Amount(1190112520884487201).MulDivUp(31, 2); !errors.Is(err, money.ErrRange) {
		t.Errorf("got %d, %v, want ErrRange", got, err)
	}
}

func TestRatePercent(t *testing.T) {
	for _, test := range []struct {
		rate         money.Rate
		amount, want money.Amount
	}{
		{money.RateWhole, 35000, 35000},
		{500_000, 35001, 17500},
		{333_333, 100, 33},
		{200_000, 4, 0},
		{50_000, -1, -1}, // Down is towards minus infinity.
		{2 * money.RateWhole, 35000, 70000},
	} {
		if got, err := test.rate.Of(test.amount); got != test.want || err != nil {
			t.Errorf("%d ppm of %d = %d, %v, want %d", test.rate, test.amount, got, err, test.want)
		}
	}
	if got, err := (2 * money.RateWhole).Of(money.AmountMax); !errors.Is(err, money.ErrRange) {
		t.Errorf("200 %% of all money: %d, %v", got, err)
	}
}

func TestSumAgainstBig(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var left, right money.Sum
		want := new(big.Int)
		for i, n := range rapid.SliceOfN(rapid.Int64(), 0, 50).Draw(t, "amounts") {
			side := &left
			if i%2 == 1 {
				side = &right
			}
			side.Add(money.Amount(n))
			want.Add(want, big.NewInt(n))
		}
		left.AddSum(right)
		got := new(big.Int).Lsh(big.NewInt(left.Hi), 64)
		got.Add(got, new(big.Int).SetUint64(left.Lo))
		if got.Cmp(want) != 0 || left.IsZero() != (want.Sign() == 0) {
			t.Fatalf("sum %+v is %d, want %d", left, got, want)
		}
	})
}

func TestCurrency(t *testing.T) {
	for code, digits := range map[string]int{"DZD": 2, "AED": 2, "ZWG": 2, "TND": 3, "JPY": 0, "XPF": 0, "CLF": 4, "UYW": 4} {
		if unit, ok := money.Currency(code); !ok || unit != (money.Unit{Name: code, Digits: digits}) {
			t.Errorf("Currency(%q) = %v, %v, want %d digits", code, unit, ok, digits)
		}
	}
	for _, code := range []string{"", "DZ", "dzd", "DZDX", "XXX", "D A", "ED ", " AF", "   "} {
		if unit, ok := money.Currency(code); ok {
			t.Errorf("Currency(%q) = %v", code, unit)
		}
	}
}

func TestParseSizeAndSpan(t *testing.T) {
	for text, want := range map[string]money.Amount{
		"42": 42, "42B": 42, "500MB": 500_000_000, "1.5GB": 1_500_000_000, "1KiB": 1024, "2TiB": 2 << 40, "0": 0,
	} {
		if got, err := money.ParseSize(text); got != want || err != nil {
			t.Errorf("ParseSize(%q) = %d, %v, want %d", text, got, err, want)
		}
	}
	for text, want := range map[string]money.Amount{"60s": 60, "10m": 600, "24h": 86400, "7d": 604800, "2w": 1209600, "1.5h": 5400} {
		if got, err := money.ParseSpan(text); got != want || err != nil {
			t.Errorf("ParseSpan(%q) = %d, %v, want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "MB", "1.5B", "-1MB", "1mb", "1XB", "9000000TB", "99999999999999999999B", "1MBGB", "1 MB"} {
		if got, err := money.ParseSize(text); err == nil {
			t.Errorf("ParseSize(%q) = %d", text, got)
		}
	}
	for _, text := range []string{"", "60", "s", "0.5s", "-1h", "1y", "1hm"} {
		if got, err := money.ParseSpan(text); err == nil {
			t.Errorf("ParseSpan(%q) = %d", text, got)
		}
	}
}

func ExampleUnit_Parse() {
	dinar, _ := money.Currency("DZD")
	amount, err := dinar.Parse("350.5")
	fmt.Println(int64(amount), dinar.Format(amount), err)
	_, err = dinar.Parse("350.505")
	fmt.Println(err)
	// Output:
	// 35050 350.50 <nil>
	// "350.505": too many digits after the point
}

func TestFormatSum(t *testing.T) {
	var wide money.Sum
	for range 3000 {
		wide.Add(money.AmountMax)
	}
	for _, c := range []struct {
		unit money.Unit
		sum  money.Sum
		want string
	}{
		{money.Unit{"DZD", 2}, money.Sum{}, "0.00"},
		{money.Unit{"DZD", 2}, money.Sum{Lo: 5}, "0.05"},
		{money.Unit{"DZD", 2}, money.Sum{Hi: -1, Lo: 1<<64 - 105}, "-1.05"},
		{money.Unit{"byte", 0}, money.Sum{Lo: 1024}, "1024"},
		{money.Unit{"DZD", 2}, wide, "270000000000000000.00"},
	} {
		if got := c.unit.FormatSum(c.sum); got != c.want {
			t.Errorf("%+v in %s is %s, want %s", c.sum, c.unit.Name, got, c.want)
		}
	}
	less := wide
	less.Sub(money.Sum{Lo: 1})
	less.Sub(wide)
	if less != (money.Sum{Hi: -1, Lo: 1<<64 - 1}) {
		t.Errorf("the difference is %+v", less)
	}
}
