package ledger

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"recharged/state/charge"
	"recharged/state/money"
)

// This file reads the words of a script: name=value, times, spans, quantities.

func arguments(words []string) map[string]string {
	args := map[string]string{}
	for _, word := range words {
		if name, value, ok := strings.Cut(word, "="); ok {
			args[name] = value
		}
	}
	return args
}

func instant(text string) (charge.Instant, error) {
	for _, layout := range []string{"2006-01-02", "2006-01-02T15:04", "2006-01-02T15:04:05"} {
		if t, err := time.Parse(layout, text); err == nil {
			return charge.Instant(t.UnixNano()), nil
		}
	}
	return 0, fmt.Errorf("%q is no time", text)
}

func timeText(i charge.Instant) string {
	return strings.TrimSuffix(i.Time().Format("2006-01-02T15:04:05.999999999"), ":00")
}

func span(text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	seconds, err := money.ParseSpan(text)
	return time.Duration(seconds) * time.Second, err
}

func quantity(text string) (money.Amount, error) {
	if n, err := money.ParseSize(text); err == nil {
		return n, nil
	}
	return money.ParseSpan(text)
}

func (p *player) unit(name string) money.Unit {
	if unit, ok := money.Currency(name); ok {
		return unit
	}
	return money.Unit{Name: name}
}

// fields reads an event's data as the schema of its type says; what no schema
// names is a number.
func (p *player) fields(eventType string, args map[string]string) ([]charge.Field, error) {
	kinds := map[string]charge.FieldKind{}
	for _, schema := range charge.BuiltinSchemas() {
		if schema.Type == eventType {
			for _, f := range schema.Fields {
				kinds[f.Name] = f.Kind
			}
		}
	}
	var fields []charge.Field
	for _, name := range slices.Sorted(maps.Keys(args)) {
		value, err := p.value(kinds[name], args[name])
		if err != nil {
			return nil, err
		}
		fields = append(fields, charge.Field{Name: name, Value: value})
	}
	return fields, nil
}

func (p *player) value(kind charge.FieldKind, text string) (charge.Value, error) {
	switch kind {
	case charge.MoneyField:
		amount, err := p.plan.Currency.Parse(text)
		return charge.NumberValue(p.plan.Currency.Decimal(amount)), err
	case charge.CountField:
		n, err := quantity(text)
		return charge.NumberValue(money.Int(int64(n))), err
	case charge.ListField:
		return charge.ListValue(strings.Split(text, ",")), nil
	case charge.AttributesField:
		object := charge.Value{Kind: charge.Object}
		for _, pair := range strings.Split(text, ",") {
			name, text, _ := strings.Cut(pair, ":")
			object.Fields = append(object.Fields, charge.Field{Name: name, Value: attribute(text)})
		}
		return object, nil
	case charge.SignedField, 0:
		d, err := money.ParseDecimal(text)
		return charge.NumberValue(d), err
	default:
		return charge.TextValue(text), nil
	}
}

func attribute(text string) charge.Value {
	if d, err := money.ParseDecimal(text); err == nil {
		return charge.NumberValue(d)
	}
	if text == "true" || text == "false" {
		return charge.BoolValue(text == "true")
	}
	return charge.TextValue(text)
}
