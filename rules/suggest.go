package rules

import (
	"regexp"
	"strconv"
	"strings"
	"unicode"

	"recharged/state/charge"
)

// nearest is nearestHint for candidates that the author chose, who may have
// chosen thousands: it does not look once nobody would see the answer.
func (r *report) nearest(name string, candidates func() []string) string {
	if r.full() {
		return ""
	}
	return nearestHint(name, candidates())
}

// nearestHint returns `did you mean "x"?` or nothing.
func nearestHint(name string, candidates []string) string {
	if best := charge.Nearest(name, candidates); best != "" {
		return "did you mean " + strconv.Quote(best) + "?"
	}
	return ""
}

// writtenNumber is how people write numbers: 1 000, 1'000.50, 12,5, 100 DA.
var writtenNumber = regexp.MustCompile(`^([0-9][0-9_' \x{a0}\x{202f}]*)(?:([.,])([0-9]+))?[ \x{a0}]*([^0-9]*)$`)

// separators are what people put between the digits of a number.
var separators = strings.NewReplacer("_", "", "'", "", " ", "", "\u00a0", "", "\u202f", "")

// numberHint says how to write a number that somebody wrote in another way, or
// nothing.
func numberHint(text string) string {
	if strings.ContainsFunc(text, foreignDigit) {
		return "write the digits 0 to 9"
	}
	parts := writtenNumber.FindStringSubmatch(strings.TrimPrefix(text, "-"))
	if parts == nil {
		return ""
	}
	whole, sign, fraction, unit := separators.Replace(parts[1]), parts[2], parts[3], parts[4]
	number := whole
	if fraction != "" {
		number += "." + fraction
	}
	switch {
	case sign == "," && len(fraction) == 3:
		return "write " + whole + fraction + ", or " + number + " if the comma is the decimal sign"
	case sign == ",":
		return "the decimal sign is a point: write " + number
	case unit != "" || whole != parts[1]:
		return "write the number alone: " + number
	case strings.HasPrefix(text, "-"):
		return "it cannot be negative"
	}
	return ""
}

// foreignDigit reports digits of other scripts, such as the Arabic ones.
func foreignDigit(r rune) bool { return r > '9' && unicode.IsDigit(r) }

func allDigits(text string) bool {
	return text != "" && strings.Trim(text, "0123456789") == ""
}
