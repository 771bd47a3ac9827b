package charge_test

import (
	"cmp"
	"slices"

	"pgregory.net/rapid"

	"recharged/state/charge"
	"recharged/state/money"
)

var dinar = money.Unit{Name: "DZD", Digits: 2}

// catalog knows the types every rulebook knows and one declared type with a
// field of every kind.
func catalog() *charge.Catalog {
	c := &charge.Catalog{
		Currency: dinar,
		Services: append(charge.BuiltinServices(), "mms"),
		Types:    map[string]*charge.Schema{},
		Balances: map[string]money.Unit{"main": dinar, "bonus": dinar, "data": money.Byte},
	}
	for _, schema := range append(charge.BuiltinSchemas(), &charge.Schema{Type: "roaming", Fields: []charge.FieldSpec{
		{Name: "country", Kind: charge.TextField, Required: true},
		{Name: "deposit", Kind: charge.MoneyField},
		{Name: "days", Kind: charge.CountField, Min: 1, Max: 30},
		{Name: "factor", Kind: charge.NumberField},
		{Name: "abroad", Kind: charge.BoolField},
		{Name: "from", Kind: charge.TimeField},
		{Name: "networks", Kind: charge.ListField},
		{Name: "about", Kind: charge.AttributesField},
	}}) {
		c.Types[schema.Type] = schema
	}
	return c
}

func msisdns() *rapid.Generator[charge.MSISDN] {
	return rapid.Map(rapid.StringMatching(`[0-9]{6,15}`), func(digits string) charge.MSISDN {
		m, err := charge.ParseMSISDN(digits)
		if err != nil {
			panic(err)
		}
		return m
	})
}

// instants draws event times: whole seconds, milliseconds, any nanosecond.
func instants() *rapid.Generator[charge.Instant] {
	const first, last = 31_536_000, 9_214_646_399 // 1971-01-01 to 2261-12-31, in seconds
	return rapid.Custom(func(t *rapid.T) charge.Instant {
		seconds := rapid.Int64Range(first, last).Draw(t, "seconds")
		step := rapid.SampledFrom([]int64{1_000_000_000, 1_000_000, 1000, 1}).Draw(t, "step")
		fraction := rapid.Int64Range(0, 999_999_999).Draw(t, "fraction") / step * step
		return charge.Instant(seconds*1_000_000_000 + fraction)
	})
}

// orNever draws an instant, or none.
func orNever() *rapid.Generator[charge.Instant] {
	return rapid.OneOf(rapid.Just(charge.Instant(0)), instants())
}

func amounts() *rapid.Generator[money.Amount] {
	return rapid.Custom(func(t *rapid.T) money.Amount {
		bound := int64(money.AmountMax)
		return money.Amount(rapid.OneOf(rapid.Int64Range(-100_000, 100_000), rapid.Int64Range(-bound, bound)).Draw(t, "amount"))
	})
}

// texts draws texts of all scripts, and such as need escaping in JSON.
func texts() *rapid.Generator[string] {
	return rapid.OneOf(
		rapid.StringN(0, 20, 200),
		rapid.SampledFrom([]string{"", "ussd", "مرحبا", `"quoted" \ back`, "line\nbreak", "\u2028", "\x00", "😀", "<&>"}),
	)
}

func names() *rapid.Generator[string] { return rapid.StringMatching(`[a-zA-Z_][a-zA-Z0-9_]{0,11}`) }

func numbers() *rapid.Generator[charge.Value] {
	return rapid.Custom(func(t *rapid.T) charge.Value {
		d, err := money.ParseDecimal(rapid.StringMatching(`-?[0-9]{1,9}(\.[0-9]{1,9})?`).Draw(t, "number"))
		if err != nil {
			panic(err)
		}
		return charge.NumberValue(d)
	})
}

// attributeValues draws what an attribute of a customer can be.
func attributeValues() *rapid.Generator[charge.Value] {
	return rapid.OneOf(
		numbers(),
		rapid.Map(texts(), charge.TextValue),
		rapid.Map(rapid.Bool(), charge.BoolValue),
		rapid.Map(rapid.SliceOfN(texts(), 1, 4), charge.ListValue),
	)
}

// namedFields draws attributes, sorted by name.
func namedFields() *rapid.Generator[[]charge.Field] {
	return rapid.Custom(func(t *rapid.T) []charge.Field {
		fields := rapid.SliceOfNDistinct(rapid.Custom(func(t *rapid.T) charge.Field {
			return charge.Field{Name: names().Draw(t, "name"), Value: attributeValues().Draw(t, "value")}
		}), 1, 5, func(f charge.Field) string { return f.Name }).Draw(t, "attributes")
		slices.SortFunc(fields, func(a, b charge.Field) int { return cmp.Compare(a.Name, b.Name) })
		return fields
	})
}

// events draws events that pass the door.
func events() *rapid.Generator[charge.Event] {
	return rapid.Custom(func(t *rapid.T) charge.Event {
		c := catalog()
		eventType := rapid.SampledFrom([]string{
			charge.Recharge, charge.Usage, charge.CDR, charge.Profile, charge.Adjustment, charge.Contact, charge.Grievance, charge.Survey, "roaming",
		}).Draw(t, "type")
		e := charge.Event{
			ID:     rapid.StringMatching(`[A-Za-z0-9 é"\\-]{1,30}`).Draw(t, "id"),
			Source: rapid.SampledFrom([]string{"/ussd-gw/1", "urn:ccn:2", "https://host/x%20y?q=1#f"}).Draw(t, "source"),
			Type:   eventType,
			MSISDN: msisdns().Draw(t, "msisdn"),
			Time:   instants().Draw(t, "time"),
			Extra: []byte(rapid.SampledFrom([]string{
				"", `{"attributes":{"traceparent":"00-ab-01"},"data":{}}`,
				`{"attributes":{"a":1,"b":{"x":[1,"}\"{"]}},"data":{"unknown":[1.50,null,{"ك":"]"}],"zone":true}}`,
				`{"attributes":{},"data":{"campaign":"{","n":1e400}}`,
			}).Draw(t, "extra")),
		}
		if len(e.Extra) == 0 {
			e.Extra = nil
		}
		for _, spec := range c.Types[eventType].Fields {
			if spec.Required || rapid.Bool().Draw(t, "has "+spec.Name) {
				e.Fields = append(e.Fields, charge.Field{Name: spec.Name, Value: fieldValue(t, &spec)})
			}
		}
		return e
	})
}

func fieldValue(t *rapid.T, spec *charge.FieldSpec) charge.Value {
	switch spec.Kind {
	case charge.MoneyField:
		return charge.NumberValue(dinar.Decimal(money.Amount(rapid.Int64Range(1, int64(money.AmountMax)).Draw(t, spec.Name))))
	case charge.CountField:
		most := spec.Max
		if most == 0 {
			most = int64(money.AmountMax)
		}
		return charge.NumberValue(money.Int(rapid.Int64Range(spec.Min, most).Draw(t, spec.Name)))
	case charge.NumberField:
		return numbers().Draw(t, spec.Name)
	case charge.SignedField:
		return numbers().Filter(func(v charge.Value) bool { return v.Bits != 0 }).Draw(t, spec.Name)
	case charge.BoolField:
		return charge.BoolValue(rapid.Bool().Draw(t, spec.Name))
	case charge.TimeField:
		return charge.TimeValue(instants().Draw(t, spec.Name))
	case charge.ListField:
		return charge.ListValue(rapid.SliceOfN(texts(), 1, 4).Draw(t, spec.Name))
	case charge.AttributesField:
		return charge.Value{Kind: charge.Object, Fields: namedFields().Draw(t, spec.Name)}
	case charge.CurrencyField:
		return charge.TextValue("DZD")
	case charge.ServiceField:
		return charge.TextValue(rapid.SampledFrom([]string{"voice", "sms", "data", "mms"}).Draw(t, spec.Name))
	}
	if spec.Name == "balance" {
		return charge.TextValue(rapid.SampledFrom([]string{"unknown", "loyalty"}).Draw(t, spec.Name)) // Any number of digits fits.
	}
	return charge.TextValue(texts().Draw(t, spec.Name))
}

// customers draws customers whose slices are sorted by name.
func customers() *rapid.Generator[charge.Customer] {
	return rapid.Custom(func(t *rapid.T) charge.Customer {
		c := charge.Customer{
			MSISDN:       msisdns().Draw(t, "msisdn"),
			Recharges:    rapid.Int64Range(0, 1<<40).Draw(t, "recharges"),
			LastRecharge: orNever().Draw(t, "last"),
			Seen:         rapid.Uint64().Draw(t, "seen"),
			Forgotten:    rapid.Uint64().Draw(t, "forgotten"),
		}
		balanceNames := rapid.OneOf(names(), rapid.SampledFrom([]string{"main", "bonus", "data"}))
		for _, name := range rapid.SliceOfN(balanceNames, 0, 5).Draw(t, "balances") {
			b := c.OpenBalance(name)
			for range rapid.IntRange(0, 3).Draw(t, "parts") {
				b.Parts = append(b.Parts, charge.Part{Amount: amounts().Draw(t, "amount"), Expires: orNever().Draw(t, "expires")})
			}
		}
		for _, name := range rapid.SliceOfN(names(), 0, 4).Draw(t, "attributes") {
			c.SetAttribute(name, attributeValues().Draw(t, "value"))
		}
		for _, tag := range rapid.SliceOfN(names(), 0, 4).Draw(t, "tags") {
			c.Tag(tag)
		}
		for _, name := range rapid.SliceOfN(names(), 0, 4).Draw(t, "counters") {
			counter := c.OpenCounter(name, rapid.Int64Range(0, 100_000).Draw(t, "step"))
			for range rapid.IntRange(0, 5).Draw(t, "buckets") {
				counter.Buckets = append(counter.Buckets, charge.Bucket{Index: rapid.Int64().Draw(t, "index"), Value: rapid.Int64().Draw(t, "value")})
			}
		}
		for _, name := range rapid.SliceOfN(names(), 0, 4).Draw(t, "timers") {
			*c.OpenTimer(name) = charge.Timer{Rule: name, Armed: instants().Draw(t, "armed"), Due: instants().Draw(t, "due")}
		}
		return c
	})
}

// outcomes draws outcomes.
func outcomes() *rapid.Generator[charge.Outcome] {
	units := rapid.SampledFrom([]money.Unit{dinar, money.Byte, money.Second, {Name: "point"}})
	return rapid.Custom(func(t *rapid.T) charge.Outcome {
		o := charge.Outcome{
			EventID: texts().Draw(t, "id"), Source: texts().Draw(t, "source"),
			Type:   rapid.SampledFrom([]string{charge.Recharge, charge.Usage, charge.ExpiryType, "roaming"}).Draw(t, "type"),
			MSISDN: msisdns().Draw(t, "msisdn"), Time: instants().Draw(t, "time"), Accepted: instants().Draw(t, "accepted"),
			Position: charge.Position{Sequence: charge.Sequence(rapid.Uint64().Draw(t, "sequence")), Offset: rapid.Uint32().Draw(t, "offset")},
			Result:   rapid.SampledFrom([]charge.Result{charge.Applied, charge.Duplicate, charge.Parked}).Draw(t, "result"),
			Reason:   texts().Draw(t, "reason"), Detail: texts().Draw(t, "detail"),
			Rulebook: rapid.Uint64().Draw(t, "rulebook"), Money: dinar,
			Shortfall: amounts().Draw(t, "shortfall"), Amount: amounts().Draw(t, "amount"),
			Channel: texts().Draw(t, "channel"), Service: texts().Draw(t, "service"),
		}
		for range rapid.IntRange(0, 3).Draw(t, "postings") {
			p := charge.Posting{
				Balance: names().Draw(t, "balance"), Cause: names().Draw(t, "cause"), Unit: units.Draw(t, "unit"),
				Amount: amounts().Draw(t, "amount"), After: amounts().Draw(t, "after"), Expires: orNever().Draw(t, "expires"),
			}
			p.Account = rapid.SampledFrom([]charge.Account{
				charge.AccountRecharge, charge.AccountUsage, charge.AccountExpiry, charge.AccountAdjustment,
				charge.Account(charge.PromoPrefix + p.Cause), "promo:another", "",
			}).Draw(t, "account")
			o.Postings = append(o.Postings, p)
		}
		for range rapid.IntRange(0, 3).Draw(t, "rules") {
			o.Rules = append(o.Rules, charge.RuleResult{
				Name: names().Draw(t, "rule"), Verdict: charge.RuleVerdict(rapid.IntRange(1, 2).Draw(t, "verdict")),
				Reason: rapid.SampledFrom([]string{"", charge.SkipLimit, charge.SkipError}).Draw(t, "skip"), Detail: texts().Draw(t, "why"),
			})
		}
		return o
	})
}
