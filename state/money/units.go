package money

import (
	"fmt"
	"strings"
)

// Units that are not money: what tariffs and bundles count.
var (
	Byte    = Unit{Name: "byte"}
	Second  = Unit{Name: "second"}
	Message = Unit{Name: "message"}
)

// Currency returns the unit of an ISO 4217 code, with the number of its minor
// digits as that standard lists it.
func Currency(code string) (Unit, bool) {
	if len(code) != 3 {
		return Unit{}, false
	}
	for digits, codes := range currencies {
		if i := strings.Index(codes, code); i >= 0 && i%4 == 0 {
			return Unit{Name: code, Digits: digits}, true
		}
	}
	return Unit{}, false
}

// currencies lists the active codes of ISO 4217 by their number of minor
// digits, each followed by a space.
var currencies = [...]string{
	0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF ",
	2: "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BOV BRL " +
		"BSD BTN BWP BYN BZD CAD CDF CHE CHF CHW CNY COP COU CRC CUP CVE CZK " +
		"DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD " +
		"HNL HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR " +
		"LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MXV MYR MZN " +
		"NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR " +
		"SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT " +
		"TOP TRY TTD TWD TZS UAH USD USN UYU UZS VED VES WST XCD XCG YER ZAR " +
		"ZMW ZWG ",
	3: "BHD IQD JOD KWD LYD OMR TND ",
	4: "CLF UYW ",
}

// sizes and spans are the suffixes of quantities in a rulebook.
var (
	sizes = map[string]int64{
		"": 1, "B": 1, "kB": 1_000, "MB": 1_000_000, "GB": 1_000_000_000, "TB": 1_000_000_000_000,
		"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40,
	}
	spans = map[string]int64{"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
)

// ParseSize reads a whole number of bytes: "500MB", "1GiB", "1.5GB", "42".
func ParseSize(text string) (Amount, error) {
	return parseSuffixed(text, sizes, "a size such as 500MB, 2GB or 64KiB")
}

// ParseSpan reads a whole number of seconds: "60s", "10m", "24h", "7d", "2w".
func ParseSpan(text string) (Amount, error) {
	return parseSuffixed(text, spans, "a duration such as 60s, 10m, 24h, 7d or 2w")
}

func parseSuffixed(text string, factors map[string]int64, want string) (Amount, error) {
	number := strings.TrimRight(text, "BbGKMTWdhikmsw")
	factor, known := factors[text[len(number):]]
	d, err := ParseDecimal(number)
	if err != nil || !known || d.Coefficient < 0 {
		return 0, fmt.Errorf("%q is not %s", text, want)
	}
	product, err := d.Mul(Int(factor))
	if err != nil {
		return 0, fmt.Errorf("%q: %w", text, ErrRange)
	}
	a, err := product.Minor(0)
	if err != nil {
		return 0, fmt.Errorf("%q in whole bytes or seconds: %w", text, err)
	}
	return a, nil
}
