package ledger

import (
	"errors"
	"strconv"

	"recharged/state/charge"
	"recharged/state/money"
)

// attributesMax bounds the attributes of one customer.
const attributesMax = 256

// Apply gives the customer the event's own effect, its counters included. A
// type without an effect of its own is counted only. On a refusal the customer
// and the effect are undefined: the caller works on a copy and throws it away.
func (p *Plan) Apply(c *charge.Customer, e *charge.Event, clock charge.Instant, fx *Effect) *Refusal {
	var refusal *Refusal
	switch e.Type {
	case charge.Recharge:
		refusal = p.recharge(c, e, clock, fx)
	case charge.Usage:
		refusal = p.usage(c, e, clock, fx)
	case charge.Adjustment:
		refusal = p.adjust(c, e, clock, fx)
	case charge.Profile:
		refusal = describe(c, e)
	}
	if refusal != nil {
		return refusal
	}
	return p.count(c, e, clock, fx)
}

// recharge credits the main balance.
func (p *Plan) recharge(c *charge.Customer, e *charge.Event, clock charge.Instant, fx *Effect) *Refusal {
	main, refusal := p.balance(MainBalance)
	if refusal != nil {
		return refusal
	}
	amount, refusal := amountIn(main.Unit, e, "amount")
	if refusal != nil {
		return refusal
	}
	if amount <= 0 {
		return refuse(charge.UnfitAmount, "a recharge is more than nothing")
	}
	credit := Credit{Balance: MainBalance, Amount: amount, Account: charge.AccountRecharge, Cause: charge.Recharge}
	if main.Validity > 0 {
		credit.Expires = e.Time.Add(main.Validity)
	}
	c.Recharges++
	c.LastRecharge = max(c.LastRecharge, e.Time)
	return p.Credit(c, credit, clock, fx)
}

// usage takes the charge that the event names, or else the service's units and
// the price of those that were not there. Without a tariff nothing can be
// priced: units beyond the balances are not charged then.
func (p *Plan) usage(c *charge.Customer, e *charge.Event, clock charge.Instant, fx *Effect) *Refusal {
	d := debit{from: moneyOfService, name: e.Text("service"), account: charge.AccountUsage, cause: charge.Usage}
	if e.Field("charge").Kind == charge.Number {
		var refusal *Refusal
		if d.amount, refusal = amountIn(p.Currency, e, "charge"); refusal != nil {
			return refusal
		}
		if d.amount < 0 {
			return refuse(charge.UnfitAmount, "a charge is not negative")
		}
	} else {
		units, _ := e.Count("units")
		if units < 0 {
			return refuse(charge.UnfitAmount, "units are not negative")
		}
		bundle := d
		bundle.from, bundle.amount = unitsOfService, money.Amount(units)
		units -= int64(p.take(c, &bundle, clock, fx))
		var refusal *Refusal
		if d.amount, refusal = p.price(d.name, units); refusal != nil {
			return refusal
		}
	}
	fx.Charged = p.take(c, &d, clock, fx)
	fx.Shortfall = d.amount - fx.Charged
	return nil
}

// price returns what the tariff asks for that many units; one that was only
// started is charged whole.
func (p *Plan) price(service string, units int64) (money.Amount, *Refusal) {
	tariff, ok := p.tariff(service)
	if !ok || units == 0 {
		return 0, nil
	}
	if tariff.Per <= 0 {
		return 0, refuse(charge.Unsupported, "the tariff of "+service+" is per "+strconv.FormatInt(tariff.Per, 10)+" units")
	}
	started := (units-1)/tariff.Per + 1
	price, err := tariff.Price.MulDivUp(started, 1)
	if err != nil {
		return 0, refuse(charge.Overflow, "the price of "+strconv.FormatInt(units, 10)+" units of "+service+" is "+err.Error())
	}
	return price, nil
}

// adjust credits or debits one balance by hand. A credit lives as long as the
// balance's validity says. A debit is cut at zero: the posting shows what was
// taken, and for a balance in the currency the shortfall shows the rest.
func (p *Plan) adjust(c *charge.Customer, e *charge.Event, clock charge.Instant, fx *Effect) *Refusal {
	name := e.Text("balance")
	plan, refusal := p.balance(name)
	if refusal != nil {
		return refusal
	}
	amount, refusal := amountIn(plan.Unit, e, "amount")
	if refusal != nil {
		return refusal
	}
	if amount >= 0 {
		credit := Credit{Balance: name, Amount: amount, Account: charge.AccountAdjustment, Cause: charge.Adjustment}
		if plan.Validity > 0 {
			credit.Expires = e.Time.Add(plan.Validity)
		}
		return p.Credit(c, credit, clock, fx)
	}
	d := debit{from: oneBalance, name: name, amount: -amount, account: charge.AccountAdjustment, cause: charge.Adjustment}
	taken := p.take(c, &d, clock, fx)
	if plan.Unit == p.Currency {
		fx.Shortfall = d.amount - taken
	}
	return nil
}

// describe changes the customer's attributes. What the event unsets goes first,
// so an attribute that it also sets is set.
func describe(c *charge.Customer, e *charge.Event) *Refusal {
	for _, name := range e.Field("unset").List {
		c.UnsetAttribute(name)
	}
	for _, f := range e.Field("set").Fields {
		c.SetAttribute(f.Name, f.Value)
	}
	if len(c.Attributes) > attributesMax {
		return refuse(charge.Overflow, "a customer has at most "+strconv.Itoa(attributesMax)+" attributes, this one would have "+strconv.Itoa(len(c.Attributes)))
	}
	return nil
}

// amountIn reads a field as an amount of that unit, exactly.
func amountIn(unit money.Unit, e *charge.Event, name string) (money.Amount, *Refusal) {
	v := e.Field(name)
	if v.Kind != charge.Number {
		return 0, refuse(charge.UnfitAmount, name+" is not a number")
	}
	amount, err := v.Decimal().Minor(unit.Digits)
	switch {
	case errors.Is(err, money.ErrDigits):
		return 0, refuse(charge.UnfitAmount, name+" "+v.Decimal().String()+" is finer than "+unit.Name+" counts, which is to "+strconv.Itoa(unit.Digits)+" digits")
	case err != nil:
		return 0, refuse(charge.Overflow, name+" "+v.Decimal().String()+" is "+err.Error())
	}
	return amount, nil
}
