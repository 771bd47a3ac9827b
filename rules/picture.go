package rules

import (
	"fmt"

	"recharged/state/charge"
	"recharged/state/money"
)

// picture is what the rules of one event are judged on: the event, the customer
// before and after the event's own effect, and the clock. It computes a value
// when it is first asked for and keeps it, so a rule costs the more the less
// the rules before it have in common with it. Counters and schedules follow the
// event's own time, balances the clock.
type picture struct {
	book    *Book
	subject *Subject
	after   side // reads customer.…, and the event
	before  side // the same expressions, read on before.…
	known   []known
	turn    uint32  // marks what of known belongs to this picture
	asked   []asked // conditions that several rules share, by matcher.go
}

// known is a value that was computed, or the fault of a segment whose condition
// fails.
type known struct {
	turn  uint32
	value charge.Value
	fault error
}

// side reads a picture with the customer as it was after or before the event.
type side struct {
	picture *picture
	bit     int
}

// look turns the picture to another subject.
func (p *picture) look(b *Book, s *Subject) {
	if p.book != b || len(p.known) != 2*len(b.variables) {
		p.book, p.known, p.asked, p.turn = b, make([]known, 2*len(b.variables)), make([]asked, b.shared), 0
	}
	if p.turn++; p.turn == 0 {
		clear(p.known)
		clear(p.asked)
		p.turn = 1
	}
	p.subject = s
	p.after, p.before = side{p, 0}, side{p, 1}
}

// Read returns the value of a reference; of a segment whose condition fails, one
// of a kind that nobody expects.
func (s *side) Read(ref int) charge.Value {
	ref |= s.bit
	k := &s.picture.known[ref]
	if k.turn != s.picture.turn {
		// Marked first: the language has no circles, but a picture must end.
		k.turn, k.value, k.fault = s.picture.turn, charge.Value{}, nil
		k.value, k.fault = s.picture.compute(&s.picture.book.variables[ref>>1], ref&1 == 1)
		if k.fault != nil {
			k.value = charge.Value{Kind: charge.Object}
		}
	}
	return k.value
}

// Fault returns why a reference that was read has no value.
func (s *side) Fault(ref int) error { return s.picture.known[ref|s.bit].fault }

func (p *picture) compute(v *variable, before bool) (charge.Value, error) {
	e, currency := p.subject.Event, p.book.plan.Currency
	switch v.source {
	case fromField:
		return e.Field(v.name), nil
	case fromSet:
		return charge.Find(e.Field("set").Fields, v.name), nil
	case fromTime:
		return charge.TimeValue(e.Time), nil
	case fromSource:
		return charge.TextValue(e.Source), nil
	case fromType:
		return charge.TextValue(e.Type), nil
	case fromID:
		return charge.TextValue(e.ID), nil
	case fromMSISDN:
		return charge.TextValue(e.MSISDN.String()), nil
	case fromCharged:
		return charge.NumberValue(currency.Decimal(p.subject.Charged)), nil
	case fromShortfall:
		return charge.NumberValue(currency.Decimal(p.subject.Shortfall)), nil
	}
	c, reader := p.subject.After, &p.after
	if before {
		c, reader = p.subject.Before, &p.before
	}
	if v.source == fromSegment {
		return p.inSegment(v.index, reader)
	}
	return p.ofCustomer(v, c), nil
}

// ofCustomer reads what a customer is and has.
func (p *picture) ofCustomer(v *variable, c *charge.Customer) charge.Value {
	at := p.subject.Event.Time
	switch v.source {
	case fromBalance:
		return charge.NumberValue(v.unit.Decimal(c.Total(p.book.plan.Balances[v.index].Name, p.subject.Clock)))
	case fromCounter:
		plan := &p.book.plan.Counters[v.index]
		value := p.book.plan.CounterValue(c, plan, at)
		return charge.NumberValue(money.Decimal{Coefficient: value, Scale: uint8(plan.Digits)})
	case fromAttribute:
		return c.Attribute(v.name)
	case fromTag:
		return charge.BoolValue(c.Tagged(v.name))
	case fromRecharges:
		return charge.NumberValue(money.Int(c.Recharges))
	case fromDaysSinceRecharge:
		if days := c.DaysSinceRecharge(at); days >= 0 {
			return charge.NumberValue(money.Int(days))
		}
		return charge.Value{}
	case fromTracking:
		return charge.NumberValue(money.Int(c.Tracking(at)))
	}
	panic(fmt.Sprintf("rules: variable %q has no source of a customer: %d", v.name, v.source))
}

func (p *picture) inSegment(i int, reader *side) (charge.Value, error) {
	s := &p.book.segments[i]
	in, err := s.when.Holds(reader)
	if err != nil {
		return charge.Value{}, fmt.Errorf("segment %s: %w", s.name, err)
	}
	return charge.BoolValue(in), nil
}
