package trial

import (
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"recharged/state/charge"
	"recharged/state/money"
)

// envelopeKeys are the keys of an event that are not fields of its data.
var envelopeKeys = []string{"type", "id", "source", "msisdn", "time"}

// defaultSource is the source of an event that names none.
const defaultSource = "/test"

// event reads an event through the door that producers use: what a test sends
// is checked as what they send is.
func (b *binder) event(n *node, s *step, index int) *charge.Event {
	if !b.names(n, "an event", "{type: recharge, amount: 350}") {
		return nil
	}
	kind := n.get("type")
	if kind == nil {
		b.fault(n.place, "add type: recharge", "the event has no type")
		return nil
	}
	schema := b.book.Catalog().Types[kind.text]
	if schema == nil {
		b.known(kind.place, "event type", kind.text, slices.Sorted(maps.Keys(b.book.Catalog().Types)))
		return nil
	}
	envelope := map[string]any{
		"specversion": "1.0", "id": "step-" + strconv.Itoa(index+1), "source": defaultSource,
		"type": kind.text, "subject": s.customer.String(), "time": s.at.Time().Format(time.RFC3339Nano),
	}
	data, faults := map[string]any{}, len(b.problems)
	for _, e := range n.entries {
		switch e.key {
		case "type", "msisdn":
		case "id", "source":
			envelope[e.key], _ = b.text(e.value)
		case "time":
			envelope["time"] = b.instant(e.value).Time().Format(time.RFC3339Nano)
		default:
			b.field(schema, e, data)
		}
	}
	envelope["data"] = data
	if len(b.problems) > faults {
		return nil
	}
	text, err := json.Marshal(envelope)
	if err != nil {
		b.fault(n.place, "", "the event cannot be written: %s", err)
		return nil
	}
	e, rejection := b.decoder.Event(text)
	if rejection != nil {
		b.rejected(n, rejection)
		return nil
	}
	return &e
}

// textKinds are the kinds of field that hold a text.
var textKinds = []charge.FieldKind{charge.TextField, charge.CurrencyField, charge.ServiceField}

// field puts one field of an event's data into the data.
func (b *binder) field(schema *charge.Schema, e entry, data map[string]any) {
	names := make([]string, len(schema.Fields))
	kind := charge.FieldKind(0)
	for i, f := range schema.Fields {
		names[i] = f.Name
		if f.Name == e.key {
			kind = f.Kind
		}
	}
	if !slices.Contains(names, e.key) {
		b.fault(e.place, suggest(e.key, append(names, envelopeKeys...)), "a %s has no field %q", schema.Type, e.key)
		return
	}
	switch value := e.value; {
	case value.shape == scalar && (kind == charge.CountField || kind == charge.SignedField):
		data[e.key] = counted(value)
	case value.shape == scalar && kind == charge.TimeField && !value.quoted:
		data[e.key] = b.instant(value).Time().Format(time.RFC3339Nano)
	case value.shape == scalar && slices.Contains(textKinds, kind):
		data[e.key] = value.text // However it looks: cell: 1021.
	default:
		data[e.key] = plain(value)
	}
}

// counted returns a count, which may be written as a size or a duration.
func counted(n *node) any {
	digits, negative := strings.CutPrefix(n.text, "-")
	for _, parse := range []func(string) (money.Amount, error){money.ParseSize, money.ParseSpan} {
		if amount, err := parse(digits); err == nil && !number.MatchString(n.text) {
			if negative {
				amount = -amount
			}
			return int64(amount)
		}
	}
	return plain(n)
}

// number is what JSON takes for a number, without an exponent.
var number = regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?$`)

// plain returns a value as JSON has it. A number keeps its digits.
func plain(n *node) any {
	switch n.shape {
	case list:
		items := make([]any, len(n.items))
		for i := range n.items {
			items[i] = plain(n.items[i])
		}
		return items
	case mapping:
		fields := make(map[string]any, len(n.entries))
		for _, e := range n.entries {
			fields[e.key] = plain(e.value)
		}
		return fields
	case nothing:
		return nil
	}
	switch {
	case n.quoted:
		return n.text
	case number.MatchString(n.text):
		return json.Number(n.text)
	case n.text == "true" || n.text == "false":
		return n.text == "true"
	}
	return n.text
}

// rejected tells, where the fault stands, what the door says of the event.
func (b *binder) rejected(n *node, rejection *charge.Rejection) {
	key := strings.TrimPrefix(rejection.Field, "data.")
	if key == "subject" {
		key = "msisdn"
	}
	at := n.place
	if value := n.get(key); value != nil {
		at = value.place
	}
	if key != "" {
		key += ": "
	}
	b.fault(at, "", "refused at the door, %s: %s%s", rejection.Reason, key, rejection.Detail)
}
