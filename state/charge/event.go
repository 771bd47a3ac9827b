package charge

import "recharged/state/money"

// The event types that every rulebook knows.
const (
	Recharge   = "recharge"
	Usage      = "usage"
	CDR        = "cdr"
	Profile    = "profile"
	Adjustment = "adjustment"
	Contact    = "contact"
	Grievance  = "grievance"
	Survey     = "survey"
)

// Event is something that happened to one customer, as its producer reported
// it. An event that was accepted is never changed.
type Event struct {
	ID     string
	Source string
	Type   string
	MSISDN MSISDN
	Time   Instant // when it happened: event time
	Fields []Field // what the type's schema names and the event carries, in the schema's order

	// Extra is a JSON object {"attributes":{…},"data":{…}} of what no schema
	// names, kept for whoever reads the event later; nil when there is none.
	// Its "attributes" (for example a traceparent) may differ between two
	// sendings of one event; everything else is the event's content.
	Extra []byte
}

// Field returns what the event carries under that name, or a Missing value.
func (e *Event) Field(name string) Value { return Find(e.Fields, name) }

// Text returns a text field, or "".
func (e *Event) Text(name string) string { return e.Field(name).Text }

// Money returns a money field in minor units, which the decoder has checked,
// and whether the event carries it.
func (e *Event) Money(name string) (money.Amount, bool) {
	v := e.Field(name)
	return money.Amount(v.Bits), v.Kind == Number
}

// Count returns a whole-number field, and whether the event carries it.
func (e *Event) Count(name string) (int64, bool) {
	v := e.Field(name)
	return v.Bits, v.Kind == Number
}

// FieldKind says what a field of an event's data may hold.
type FieldKind uint8

// The kinds of field.
const (
	TextField       FieldKind = iota + 1 // a string
	MoneyField                           // money, stored as a Number whose coefficient is in minor units and whose scale is the currency's digits
	CountField                           // an integer of scale 0
	NumberField                          // any decimal; an exponent is written out, and digits of the fraction beyond what money.Decimal holds are cut off
	BoolField                            // true or false
	TimeField                            // RFC 3339; what no Instant holds becomes the nearest one
	ListField                            // a list of strings
	AttributesField                      // an object of attribute → string, number (as NumberField), boolean or list of strings
	CurrencyField                        // text that must be the rulebook's currency
	ServiceField                         // text that must be a declared service
	SignedField                          // a signed decimal, read in the unit of the event's balance when it takes effect
)

// FieldSpec describes one field of an event type. The bounds hold for numbers.
type FieldSpec struct {
	Name     string
	Kind     FieldKind
	Required bool
	Positive bool  // money: > 0 instead of >= 0
	Min, Max int64 // counts; Max 0 means no bound
}

// Schema describes the data of one event type.
type Schema struct {
	Type   string
	Fields []FieldSpec
}

// Catalog is what the door needs of a rulebook to check an event. It is
// immutable.
type Catalog struct {
	Currency money.Unit
	Services []string              // built in and declared
	Types    map[string]*Schema    // built in and declared
	Balances map[string]money.Unit // so that an adjustment is read in its balance's unit
}

// BuiltinServices are the services that every rulebook knows.
var builtinServices = []string{"voice", "sms", "data"}

// BuiltinServices returns the services that every rulebook knows.
func BuiltinServices() []string { return append([]string(nil), builtinServices...) }

// BuiltinSchemas returns the event types that every rulebook knows.
func BuiltinSchemas() []*Schema {
	return []*Schema{
		{Recharge, []FieldSpec{
			{Name: "amount", Kind: MoneyField, Required: true, Positive: true},
			{Name: "currency", Kind: CurrencyField},
			{Name: "channel", Kind: TextField},
			{Name: "pos", Kind: TextField},
			{Name: "cell", Kind: TextField},
			{Name: "voucher", Kind: TextField},
		}},
		{Usage, []FieldSpec{
			{Name: "service", Kind: ServiceField, Required: true},
			{Name: "units", Kind: CountField, Required: true},
			{Name: "charge", Kind: MoneyField},
			{Name: "currency", Kind: CurrencyField},
			{Name: "ref", Kind: TextField},
			{Name: "peer", Kind: TextField},
			{Name: "cell", Kind: TextField},
		}},
		{CDR, []FieldSpec{
			{Name: "service", Kind: ServiceField, Required: true},
			{Name: "units", Kind: CountField, Required: true},
			{Name: "ref", Kind: TextField, Required: true},
			{Name: "peer", Kind: TextField},
			{Name: "cell", Kind: TextField},
		}},
		{Profile, []FieldSpec{
			{Name: "set", Kind: AttributesField},
			{Name: "unset", Kind: ListField},
		}},
		{Adjustment, []FieldSpec{
			{Name: "balance", Kind: TextField, Required: true},
			{Name: "amount", Kind: SignedField, Required: true},
			{Name: "reason", Kind: TextField, Required: true},
		}},
		{Contact, []FieldSpec{
			{Name: "channel", Kind: TextField, Required: true},
			{Name: "topic", Kind: TextField},
		}},
		{Grievance, []FieldSpec{
			{Name: "topic", Kind: TextField, Required: true},
			{Name: "severity", Kind: TextField},
		}},
		{Survey, []FieldSpec{
			{Name: "nps", Kind: CountField, Required: true, Max: 10},
			{Name: "comment", Kind: TextField},
		}},
	}
}

// RejectReason is why an event was refused at the door. A refused event was
// never accepted and leaves no trace but a count.
type RejectReason string

// The reasons to refuse an event.
const (
	Malformed        RejectReason = "malformed"
	MissingAttribute RejectReason = "missing_attribute"
	BadSubject       RejectReason = "bad_subject"
	BadTime          RejectReason = "bad_time"
	UnknownType      RejectReason = "unknown_type"
	BadAmount        RejectReason = "bad_amount"
	BadCurrency      RejectReason = "bad_currency"
	UnknownService   RejectReason = "unknown_service"
	TooLarge         RejectReason = "too_large"
)

// EventBytesMax is the largest event that is accepted, in bytes as sent.
const EventBytesMax = 64 << 10

// Rejection says why an event was refused, and which field is to blame. It is
// an error for the producer, not for us.
type Rejection struct {
	Reason RejectReason
	Field  string // attribute or data field, for example "data.amount"; may be empty
	Detail string // what is wrong and what to do, in one sentence
}

func (r *Rejection) Error() string {
	if r.Field == "" {
		return string(r.Reason) + ": " + r.Detail
	}
	return string(r.Reason) + ": " + r.Field + ": " + r.Detail
}
