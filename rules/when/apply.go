package when

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"recharged/state/charge"
	"recharged/state/money"
)

// call applies a function. Of what is absent a condition is false and anything
// else is absent.
func (m *machine) call(n *node, out *charge.Value) error {
	target := n.kids[0]
	if n.fn == fnSize && target.op == opList {
		*out = wholeNumber(int64(len(target.kids)))
		return nil
	}
	var v charge.Value
	if err := m.eval(target, &v); err != nil {
		return err
	}
	switch {
	case v.Kind == charge.Missing:
		*out = v
		if n.typ == Bool {
			*out = charge.BoolValue(false)
		}
		return nil
	case !signatures[n.fn].on.has(Type(v.Kind)):
		return needs(target, v.Kind, signatures[n.fn].needs)
	}
	switch {
	case len(n.kids) == 2:
		return m.search(n, v.Text, out)
	case n.fn == fnMatches:
		*out = charge.BoolValue(n.pattern.MatchString(v.Text))
	case v.Kind == charge.Time:
		*out = wholeNumber(partOf(n.fn, charge.Instant(v.Bits).Time().In(n.location)))
	case v.Kind == charge.Span:
		*out = wholeNumber(whole(n.fn, time.Duration(v.Bits)))
	default:
		converted, err := convert(n.fn, &v)
		if err != nil {
			return fmt.Errorf("%s: %w", n.text, err)
		}
		*out = converted
	}
	return nil
}

// search looks for the text of the second operand in that of the first.
func (m *machine) search(n *node, text string, out *charge.Value) error {
	var part charge.Value
	if err := m.eval(n.kids[1], &part); err != nil {
		return err
	}
	found := false
	switch {
	case part.Kind == charge.Missing:
	case part.Kind != charge.Text:
		return needs(n.kids[1], part.Kind, Text.String())
	case n.fn == fnStartsWith:
		found = strings.HasPrefix(text, part.Text)
	case n.fn == fnEndsWith:
		found = strings.HasSuffix(text, part.Text)
	default:
		found = strings.Contains(text, part.Text)
	}
	*out = charge.BoolValue(found)
	return nil
}

func wholeNumber(n int64) charge.Value { return charge.NumberValue(money.Int(n)) }

// partOf counts as CEL does: see the package comment.
func partOf(fn function, t time.Time) int64 {
	switch fn {
	case fnFullYear:
		return int64(t.Year())
	case fnMonth:
		return int64(t.Month() - 1)
	case fnDate:
		return int64(t.Day())
	case fnDayOfMonth:
		return int64(t.Day() - 1)
	case fnDayOfWeek:
		return int64(t.Weekday())
	case fnDayOfYear:
		return int64(t.YearDay() - 1)
	case fnHours:
		return int64(t.Hour())
	case fnMinutes:
		return int64(t.Minute())
	}
	return int64(t.Second())
}

func whole(fn function, d time.Duration) int64 {
	switch fn {
	case fnHours:
		return int64(d / time.Hour)
	case fnMinutes:
		return int64(d / time.Minute)
	}
	return int64(d / time.Second)
}

// convert applies the functions from one value to another.
func convert(fn function, v *charge.Value) (charge.Value, error) {
	switch fn {
	case fnSize:
		if v.Kind == charge.List {
			return wholeNumber(int64(len(v.List))), nil
		}
		return wholeNumber(int64(utf8.RuneCountInString(v.Text))), nil
	case fnLowerASCII:
		return charge.TextValue(strings.Map(lowerASCII, v.Text)), nil
	case fnUpperASCII:
		return charge.TextValue(strings.Map(upperASCII, v.Text)), nil
	case fnString:
		return charge.TextValue(textOf(v)), nil
	}
	d := v.Decimal()
	if v.Kind == charge.Text {
		var err error
		if d, err = money.ParseDecimal(v.Text); err != nil {
			return charge.Value{}, err
		}
	}
	if fn == fnInt {
		d = truncate(d)
	}
	return charge.NumberValue(d), nil
}

func lowerASCII(r rune) rune {
	if 'A' <= r && r <= 'Z' {
		return r + 'a' - 'A'
	}
	return r
}

func upperASCII(r rune) rune {
	if 'a' <= r && r <= 'z' {
		return r - 'a' + 'A'
	}
	return r
}

func textOf(v *charge.Value) string {
	switch v.Kind {
	case charge.Number:
		return v.Decimal().String()
	case charge.Bool:
		if v.Bits == 1 {
			return "true"
		}
		return "false"
	}
	return v.Text
}
