package charge

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"recharged/state/money"
)

// Bounds of an event's parts.
const (
	idCharactersMax        = 128
	sourceBytesMax         = 1024
	textBytesMax           = 4096
	listEntriesMax         = 256
	attributesMax          = 256
	attributeCharactersMax = 64
)

// rejectOrder is the order in which reasons are given: of several faults the
// producer hears the first in this order.
var rejectOrder = [...]RejectReason{
	TooLarge, Malformed, MissingAttribute, BadSubject, BadTime, UnknownType, BadAmount, BadCurrency, UnknownService,
}

// faults keeps the fault of an event that is to be told.
type faults struct{ worst *Rejection }

func (f *faults) add(reason RejectReason, field, format string, args ...any) {
	if f.worst != nil && slices.Index(rejectOrder[:], f.worst.Reason) <= slices.Index(rejectOrder[:], reason) {
		return
	}
	f.worst = &Rejection{Reason: reason, Field: clip(field), Detail: fmt.Sprintf(format, args...)}
}

// addData adds a fault of a field of data, whose whole name is made only now.
func (f *faults) addData(reason RejectReason, field, format string, args ...any) {
	f.add(reason, "data."+field, format, args...)
}

// absent adds a fault if the field that is not there is required.
func (f *faults) absent(spec *FieldSpec) {
	if spec.Required {
		f.addData(MissingAttribute, spec.Name, "is required and absent, add it to data")
	}
}

// expect adds a fault unless the value is of that kind.
func (f *faults) expect(v Value, field string, reason RejectReason, what string, kind Kind) bool {
	if v.Kind != kind {
		f.addData(reason, field, "must be %s", what)
	}
	return v.Kind == kind
}

func tooLarge(size int) *Rejection {
	return &Rejection{Reason: TooLarge, Detail: fmt.Sprintf(
		"one event must not exceed %d bytes, this has %d: leave out what is not needed", EventBytesMax, size)}
}

// amountFault says what is wrong with a number, without repeating its text.
func amountFault(err error) string {
	for _, fault := range [...]error{money.ErrExponent, money.ErrSyntax, money.ErrDigits, money.ErrDecimal, money.ErrRange} {
		if errors.Is(err, fault) {
			return fault.Error()
		}
	}
	return err.Error()
}

// quote returns a text from outside as it may stand in a message.
func quote(text string) string { return fmt.Sprintf("%q", clip(text)) }

// clip returns the beginning of a text that may be long.
func clip(text string) string {
	const bytesMax = 80
	if len(text) <= bytesMax {
		return text
	}
	return strings.ToValidUTF8(text[:bytesMax], "") + "…"
}

// Check makes the checks that every encoding shares. An event that a Decoder
// returned without a rejection passes. It changes nothing.
func (c *Catalog) Check(e *Event) *Rejection {
	var f faults
	all := attribute{set: true}
	schema := c.checkEnvelope(e, &envelope{id: all, source: all, kind: all}, &f)
	if !e.MSISDN.valid() {
		f.add(BadSubject, "subject", "must be the customer's MSISDN")
	}
	checkTime(e.Time, "time", &f)
	if schema != nil {
		c.checkFields(e, schema, &f)
	}
	return f.worst
}

// checkEnvelope checks those of id, source and type that are set, and returns
// the type's schema.
func (c *Catalog) checkEnvelope(e *Event, v *envelope, f *faults) *Schema {
	if v.id.set {
		checkID(e.ID, f)
	}
	if v.source.set && !isURIReference(e.Source) {
		f.add(Malformed, "source", "must be a URI reference such as /ussd-gw/1 of at most %d bytes, this is %s",
			sourceBytesMax, quote(e.Source))
	}
	if !v.kind.set {
		return nil
	}
	schema := c.Types[e.Type]
	if schema == nil {
		known := slices.Sorted(maps.Keys(c.Types))
		f.add(UnknownType, "type", "the rulebook does not know the event type %s%s", quote(e.Type), suggest(e.Type, known))
		return nil
	}
	return schema
}

func checkID(id string, f *faults) {
	n := utf8.RuneCountInString(id)
	switch {
	case n == 0 || n > idCharactersMax:
		f.add(Malformed, "id", "must have 1 to %d characters, this has %d", idCharactersMax, n)
	case !utf8.ValidString(id):
		f.add(Malformed, "id", "must be UTF-8")
	case strings.ContainsFunc(id, unicode.IsControl):
		f.add(Malformed, "id", "must not hold control characters")
	}
}

// isURIReference reports whether text is a URI reference of RFC 3986, as far as
// its characters, its escapes and its scheme go.
func isURIReference(text string) bool {
	if text == "" || len(text) > sourceBytesMax {
		return false
	}
	for i := 0; i < len(text); i++ {
		switch b := text[i]; {
		case isLetter(b), isDigit(b), strings.IndexByte("-._~:/?#[]@!$&'()*+,;=", b) >= 0:
		case b == '%' && i+2 < len(text) && isHex(text[i+1]) && isHex(text[i+2]):
		default:
			return false
		}
	}
	if strings.Count(text, "#") > 1 {
		return false
	}
	first, _, _ := strings.Cut(text, "/")
	scheme, _, found := strings.Cut(first, ":")
	return !found || isScheme(scheme)
}

func isScheme(text string) bool {
	for i := range len(text) {
		if b := text[i]; !isLetter(b) && (i == 0 || !isDigit(b) && strings.IndexByte("+-.", b) < 0) {
			return false
		}
	}
	return text != ""
}

func isLetter(b byte) bool { return 'a' <= b|0x20 && b|0x20 <= 'z' }
func isDigit(b byte) bool  { return '0' <= b && b <= '9' }
func isHex(b byte) bool    { return isDigit(b) || 'a' <= b|0x20 && b|0x20 <= 'f' }

// checkFields checks the event's fields against its schema, whose order they keep.
func (c *Catalog) checkFields(e *Event, schema *Schema, f *faults) {
	rest := e.Fields
	for i := range schema.Fields {
		spec := &schema.Fields[i]
		if len(rest) == 0 || rest[0].Name != spec.Name {
			f.absent(spec)
			continue
		}
		c.checkField(e, spec, rest[0].Value, f)
		rest = rest[1:]
	}
	if len(rest) > 0 {
		f.addData(Malformed, rest[0].Name, "is not a field of type %s, or not in its place", schema.Type)
	}
}

func (c *Catalog) checkField(e *Event, spec *FieldSpec, v Value, f *faults) {
	field := spec.Name
	switch spec.Kind {
	case TextField:
		checkText(v, field, f)
	case CurrencyField:
		if v.Kind != Text || v.Text != c.Currency.Name {
			f.addData(BadCurrency, field, "must be %s, the rulebook's currency, or absent; this is %s", c.Currency.Name, quote(v.Text))
		}
	case ServiceField:
		if v.Kind != Text || !slices.Contains(c.Services, v.Text) {
			f.addData(UnknownService, field, "the rulebook does not know the service %s%s", quote(v.Text), suggest(v.Text, c.Services))
		}
	case MoneyField:
		c.checkMoney(spec, v, field, f)
	case CountField:
		if !f.expect(v, field, Malformed, "a whole number", Number) || v.Scale != 0 || v.Bits < spec.Min ||
			spec.Max != 0 && v.Bits > spec.Max || !money.Amount(v.Bits).Valid() {
			f.addData(Malformed, field, "must be a whole number %s", bounds(spec))
		}
	case NumberField:
		f.expect(v, field, Malformed, "a number", Number)
	case SignedField:
		c.checkSigned(e, v, field, f)
	case BoolField:
		f.expect(v, field, Malformed, "true or false", Bool)
	case TimeField:
		if f.expect(v, field, BadTime, "a time", Time) {
			checkTime(Instant(v.Bits), "data."+field, f)
		}
	case ListField:
		checkList(v, field, f)
	case AttributesField:
		checkAttributes(v, field, f)
	}
}

func bounds(spec *FieldSpec) string {
	if spec.Max != 0 {
		return fmt.Sprintf("from %d to %d", spec.Min, spec.Max)
	}
	return fmt.Sprintf("of at least %d", spec.Min)
}

func checkText(v Value, field string, f *faults) {
	switch {
	case !f.expect(v, field, Malformed, "a string", Text):
	case len(v.Text) > textBytesMax:
		f.addData(Malformed, field, "must have at most %d bytes, this has %d", textBytesMax, len(v.Text))
	case !utf8.ValidString(v.Text):
		f.addData(Malformed, field, "must be UTF-8")
	}
}

func (c *Catalog) checkMoney(spec *FieldSpec, v Value, field string, f *faults) {
	amount := money.Amount(v.Bits)
	switch {
	case !f.expect(v, field, BadAmount, "an amount", Number):
	case int(v.Scale) != c.Currency.Digits || !amount.Valid():
		f.addData(BadAmount, field, "must be an amount of %s: %s", c.Currency.Name, money.ErrRange)
	case spec.Positive && amount <= 0:
		f.addData(BadAmount, field, "must be more than zero, this is %s", c.Currency.Format(amount))
	case amount < 0:
		f.addData(BadAmount, field, "must not be negative, this is %s", c.Currency.Format(amount))
	}
}

// checkSigned checks an amount in the unit of the event's balance. A balance
// that the rulebook does not know is no fault here: the event is parked later.
func (c *Catalog) checkSigned(e *Event, v Value, field string, f *faults) {
	if !f.expect(v, field, BadAmount, "an amount", Number) {
		return
	}
	if v.Bits == 0 {
		f.addData(BadAmount, field, "must not be zero")
		return
	}
	unit, known := c.Balances[e.Text("balance")]
	if !known {
		return
	}
	if _, err := v.Decimal().Minor(unit.Digits); err != nil {
		f.addData(BadAmount, field, "must have at most %d digits after the point, in %s: %s", unit.Digits, unit.Name, err)
	}
}

func checkList(v Value, field string, f *faults) {
	if !f.expect(v, field, Malformed, "a list of strings", List) {
		return
	}
	if len(v.List) > listEntriesMax {
		f.addData(Malformed, field, "must have at most %d entries, this has %d", listEntriesMax, len(v.List))
	}
	for _, text := range v.List {
		checkText(TextValue(text), field, f)
	}
}

func checkAttributes(v Value, field string, f *faults) {
	if !f.expect(v, field, Malformed, "an object", Object) {
		return
	}
	if len(v.Fields) > attributesMax {
		f.addData(Malformed, field, "must have at most %d attributes, this has %d", attributesMax, len(v.Fields))
	}
	for i := range v.Fields {
		a := &v.Fields[i]
		name := func() string { return field + "." + clip(a.Name) }
		switch {
		case !isAttributeName(a.Name):
			f.addData(Malformed, name(), "an attribute's name must have 1 to %d printable characters, no space first or last",
				attributeCharactersMax)
		case i > 0 && v.Fields[i-1].Name >= a.Name:
			f.addData(Malformed, name(), "is there twice")
		}
		switch a.Value.Kind {
		case Text:
			checkText(a.Value, name(), f)
		case List:
			checkList(a.Value, name(), f)
		case Bool, Number:
		default:
			f.addData(Malformed, name(), attributeKinds)
		}
	}
}

// attributeKinds says what an attribute of a customer may be.
const attributeKinds = "must be a string, a number, true, false or a list of strings"

func isAttributeName(name string) bool {
	unprintable := func(r rune) bool { return !unicode.IsPrint(r) }
	n := utf8.RuneCountInString(name)
	return 1 <= n && n <= attributeCharactersMax && utf8.ValidString(name) &&
		!strings.ContainsFunc(name, unprintable) && strings.TrimSpace(name) == name
}
