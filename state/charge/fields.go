package charge

import (
	"bytes"
	"errors"
	"slices"
	"strings"

	"recharged/state/money"
)

// fields puts the members of data that the schema names into the event, and the
// others into its Extra.
func (d *Decoder) fields(e *Event, schema *Schema, f *faults) {
	e.Fields = make([]Field, 0, min(len(d.data), len(schema.Fields)))
	for i := range schema.Fields {
		spec := &schema.Fields[i]
		m := d.member(spec.Name)
		if m == nil || d.text[m.start] == 'n' { // A null is as good as absent.
			f.absent(spec)
			continue
		}
		if v, ok := d.catalog.read(e, spec, d.value(m, spec, f), f); ok {
			e.Fields = append(e.Fields, Field{spec.Name, v})
		}
	}
	if len(e.Fields) == 0 {
		e.Fields = nil // There is one way to have none.
	}
	for i := range d.data {
		if m := &d.data[i]; !m.used {
			d.extra.field(m.name, d.text[m.start:m.end], f)
		}
	}
}

// member returns the member of data with that name, and marks it as used.
func (d *Decoder) member(name string) *member {
	for i := range d.data {
		if d.data[i].name == name {
			d.data[i].used = true
			return &d.data[i]
		}
	}
	return nil
}

// value returns a JSON value as it stands. A number is not parsed yet: it is a
// Number with a Text. An array or object is read only where the schema expects
// one, anywhere else it is Missing, which nothing accepts.
func (d *Decoder) value(m *member, spec *FieldSpec, f *faults) Value {
	switch d.text[m.start] {
	case '"':
		return TextValue(d.unquote(m.start, m.end))
	case 't', 'f':
		return BoolValue(d.text[m.start] == 't')
	case '[':
		if spec.Kind == ListField || spec.Kind == AttributesField {
			return d.list(m)
		}
	case '{':
		if spec.Kind == AttributesField {
			return d.object(m, f)
		}
	case 'n':
	default:
		return Value{Kind: Number, Text: d.text[m.start:m.end]}
	}
	return Value{}
}

// list reads an array of strings; any other array is Missing.
func (d *Decoder) list(m *member) Value {
	v := Value{Kind: List}
	d.enter(m)
	for d.tokens.PeekKind() != ']' {
		item := member{}
		if d.readValue(&item) != nil || d.text[m.start+item.start] != '"' {
			return Value{}
		}
		v.List = append(v.List, d.unquote(m.start+item.start, m.start+item.end))
	}
	return v
}

// object reads an object of attributes.
func (d *Decoder) object(m *member, f *faults) Value {
	v := Value{Kind: Object}
	d.enter(m)
	var inner []member
	for d.tokens.PeekKind() != '}' {
		name, value := member{}, member{}
		if d.readValue(&name) != nil || d.readValue(&value) != nil {
			return Value{}
		}
		value.name = d.unquote(m.start+name.start, m.start+name.end)
		value.start, value.end = value.start+m.start, value.end+m.start
		inner = append(inner, value)
	}
	for i := range inner {
		// An attribute cannot be an object of its own: as a list it is not read.
		v.Fields = append(v.Fields, Field{inner[i].name, d.value(&inner[i], &FieldSpec{Kind: ListField}, f)})
	}
	return v
}

// enter begins to read the array or object at that place again, from within.
// It was found to be valid when the event was read.
func (d *Decoder) enter(m *member) {
	d.input = *bytes.NewBufferString(d.text[m.start:m.end])
	d.tokens.Reset(&d.input)
	_, _ = d.tokens.ReadToken()
}

// read makes of a value as it was sent the value that the schema wants; any
// fault is added to f. The event has the fields before this one.
func (c *Catalog) read(e *Event, spec *FieldSpec, v Value, f *faults) (Value, bool) {
	field := spec.Name
	switch spec.Kind {
	case TextField:
		return v, f.expect(v, field, Malformed, "a string", Text)
	case CurrencyField:
		return v, f.expect(v, field, BadCurrency, "a string", Text)
	case ServiceField:
		return v, f.expect(v, field, UnknownService, "a string", Text)
	case BoolField:
		return v, f.expect(v, field, Malformed, "true or false", Bool)
	case ListField:
		return v, f.expect(v, field, Malformed, "a list of strings", List)
	case MoneyField:
		return c.readMoney(v, field, f)
	case CountField:
		return readCount(v, field, f)
	case NumberField:
		return readNumber(v, field, f)
	case SignedField:
		return c.readSigned(e, v, field, f)
	case TimeField:
		if v.Kind == Time || !f.expect(v, field, BadTime, "a time of RFC 3339, as a string", Text) {
			return v, v.Kind == Time
		}
		i := parseTime(v.Text, "data."+field, f)
		return TimeValue(i), i != 0
	case AttributesField:
		return readAttributes(v, field, f)
	}
	return v, false
}

// decimal returns the exact value of a Number, or of a Text, as it was sent.
func decimal(v Value) (money.Decimal, error) {
	if v.Kind == Text || v.Text != "" {
		return money.ParseDecimal(v.Text)
	}
	return v.Decimal(), nil
}

// isFiner reports whether a number was sent with more digits after the point
// than the unit has, even if they are zeros: who writes 350.500 means another
// currency.
func isFiner(v Value, unit money.Unit) bool {
	_, fraction, _ := strings.Cut(v.Text, ".")
	return len(fraction) > unit.Digits
}

// readMoney reads an amount of the currency, sent as a number or as a string.
func (c *Catalog) readMoney(v Value, field string, f *faults) (Value, bool) {
	if v.Kind != Text && !f.expect(v, field, BadAmount, "an amount, as a number or a string", Number) {
		return v, false
	}
	var amount money.Amount
	number, err := decimal(v)
	if err == nil {
		amount, err = number.Minor(c.Currency.Digits)
	}
	if err == nil && isFiner(v, c.Currency) {
		err = money.ErrDigits
	}
	if err != nil {
		f.addData(BadAmount, field, "must be a plain decimal amount of %s with at most %d digits after the point: %s",
			c.Currency.Name, c.Currency.Digits, amountFault(err))
		return v, false
	}
	return NumberValue(c.Currency.Decimal(amount)), true
}

// readSigned reads an amount in the unit of the event's balance, sent as a number
// or as a string. The unit of a balance that the rulebook does not know is not
// known either: the event is parked later.
func (c *Catalog) readSigned(e *Event, v Value, field string, f *faults) (Value, bool) {
	if v.Kind != Text && !f.expect(v, field, BadAmount, "an amount, as a number or a string", Number) {
		return v, false
	}
	number, err := decimal(v)
	if err != nil {
		f.addData(BadAmount, field, "must be a plain decimal number: %s", amountFault(err))
		return v, false
	}
	unit, known := c.Balances[e.Text("balance")]
	if known && isFiner(v, unit) {
		f.addData(BadAmount, field, "must have at most %d digits after the point, in %s: %s", unit.Digits, unit.Name, money.ErrDigits)
		return v, false
	}
	return NumberValue(number), true
}

func readCount(v Value, field string, f *faults) (Value, bool) {
	if !f.expect(v, field, Malformed, "a whole number", Number) {
		return v, false
	}
	var n money.Amount
	number, err := decimal(v)
	if err == nil {
		n, err = number.Minor(0)
	}
	switch {
	case errors.Is(err, money.ErrRange):
		f.addData(Malformed, field, "must be a whole number: beyond ±%d", money.AmountMax)
	case err != nil:
		f.addData(Malformed, field, "must be a whole number: %s", amountFault(err))
	}
	return NumberValue(money.Int(int64(n))), err == nil
}

// readNumber reads any number that is no amount, also with an exponent; digits
// of a fraction that money.Decimal does not hold are cut off.
func readNumber(v Value, field string, f *faults) (Value, bool) {
	if !f.expect(v, field, Malformed, "a number", Number) || v.Text == "" {
		return v, v.Kind == Number
	}
	number, err := money.ParseNumber(v.Text)
	if err != nil {
		f.addData(Malformed, field, "must be a decimal number: %s", amountFault(err))
	}
	return NumberValue(number), err == nil
}

// readAttributes reads the values of attributes and sorts them by name.
func readAttributes(v Value, field string, f *faults) (Value, bool) {
	if !f.expect(v, field, Malformed, "an object of attribute names and values", Object) {
		return v, false
	}
	ok := true
	for i := range v.Fields {
		a := &v.Fields[i]
		switch a.Value.Kind {
		case Text, Bool, List:
		case Number:
			value, valid := readNumber(a.Value, field+"."+clip(a.Name), f)
			a.Value, ok = value, ok && valid
		default:
			f.addData(Malformed, field+"."+clip(a.Name), "%s", attributeKinds+"; to remove an attribute, list its name in data.unset")
			ok = false
		}
	}
	slices.SortFunc(v.Fields, func(a, b Field) int { return strings.Compare(a.Name, b.Name) })
	return v, ok
}
