package ledger

import (
	"fmt"
	"slices"
	"strconv"

	"recharged/state/charge"
	"recharged/state/money"
)

// partsMax bounds the parts of one balance, and with them the size of a
// customer. Credits with equal expiry share a part, so only that many different
// expiries reach it.
const partsMax = 1000

// Effect is what happened to a customer's balances. Expire, Apply and Credit
// add to it; Reset empties it and keeps its memory for the next event.
type Effect struct {
	Postings []charge.Posting

	// Charged is the money that a usage really took. Shortfall is the money that
	// it should have taken as well but that was not there, and what was not there
	// of a debit by hand from a money balance.
	Charged, Shortfall money.Amount
}

// Reset empties the effect.
func (fx *Effect) Reset() {
	fx.Postings = fx.Postings[:0]
	fx.Charged, fx.Shortfall = 0, 0
}

// post is the only place where an amount changes. It moves posting.Amount
// between the part of a balance and the posting's account and writes that down:
// into the posting of the same balance among those from first on, so that one
// debit is one posting a balance, or else into a new one. A part that is used
// up is removed, so the parts behind it move up.
func (fx *Effect) post(b *charge.Balance, part int, posting charge.Posting, first int, clock charge.Instant) {
	amount := &b.Parts[part].Amount
	*amount += posting.Amount
	switch {
	case *amount < 0:
		panic(fmt.Sprintf("ledger: a posting of %d leaves %d in a part of balance %s", posting.Amount, *amount, b.Name))
	case *amount == 0:
		b.Parts = slices.Delete(b.Parts, part, part+1)
	}
	posting.Balance, posting.After = b.Name, b.Total(clock)
	for i := first; i < len(fx.Postings); i++ {
		if fx.Postings[i].Balance == b.Name {
			fx.Postings[i].Amount += posting.Amount
			fx.Postings[i].After = posting.After
			return
		}
	}
	fx.Postings = append(fx.Postings, posting)
}

// Credit is an amount that an account gives to a balance.
type Credit struct {
	Balance string
	Amount  money.Amount // not negative; nothing happens for zero
	Account charge.Account
	Cause   string
	Expires charge.Instant // zero: never
}

// Credit gives the amount to the customer. It refuses a balance that the plan
// does not know, and what would make a balance too large or too fragmented; the
// customer holds what it held before then. An amount that has expired already at
// this clock is posted like any other; it is worth nothing, and the next Expire
// removes it.
func (p *Plan) Credit(c *charge.Customer, cr Credit, clock charge.Instant, fx *Effect) *Refusal {
	plan, refusal := p.balance(cr.Balance)
	switch {
	case refusal != nil:
		return refusal
	case cr.Amount < 0:
		panic(fmt.Sprintf("ledger: %s credits %d to balance %s", cr.Cause, cr.Amount, cr.Balance))
	case cr.Amount == 0:
		return nil
	}
	b := c.OpenBalance(cr.Balance)
	held, part := money.Amount(0), len(b.Parts)
	for i := range b.Parts {
		held += b.Parts[i].Amount
		if b.Parts[i].Expires == cr.Expires {
			part = i
		}
	}
	if _, err := held.Add(cr.Amount); err != nil {
		return refuse(charge.Overflow, "balance "+cr.Balance+" would hold "+err.Error())
	}
	if part == len(b.Parts) {
		if part == partsMax {
			return refuse(charge.Overflow, "balance "+cr.Balance+" would have more than "+strconv.Itoa(partsMax)+" expiries")
		}
		b.Parts = append(b.Parts, charge.Part{Expires: cr.Expires})
	}
	fx.post(b, part, charge.Posting{
		Account: cr.Account, Amount: cr.Amount, Unit: plan.Unit, Cause: cr.Cause, Expires: cr.Expires,
	}, len(fx.Postings), clock)
	return nil
}

// Expire removes every part that has expired at this clock; each is a posting
// of its own. It needs no plan for a balance: one that the book no longer
// declares expires too, in a unit of its own name.
func (p *Plan) Expire(c *charge.Customer, clock charge.Instant, fx *Effect) {
	for i := range c.Balances {
		b := &c.Balances[i]
		for part := 0; part < len(b.Parts); {
			if b.Parts[part].Live(clock) {
				part++
				continue
			}
			unit := money.Unit{Name: b.Name}
			if plan, ok := p.Balance(b.Name); ok {
				unit = plan.Unit
			}
			fx.post(b, part, charge.Posting{
				Account: charge.AccountExpiry, Amount: -b.Parts[part].Amount, Unit: unit, Cause: charge.ExpiryType,
			}, len(fx.Postings), clock)
		}
	}
}

// debit is an amount that is to be taken from some balances.
type debit struct {
	from    purse
	name    string // the service, or for oneBalance the balance
	amount  money.Amount
	account charge.Account
	cause   string
}

// purse says which balances a debit may draw on.
type purse uint8

const (
	unitsOfService purse = iota // those that carry the service and count its units
	moneyOfService              // those in the currency that are not reserved to another service
	oneBalance                  // the named one, whether usage may consume it or not
)

// allows reports whether the debit may draw on the balance.
func (p *Plan) allows(d *debit, b *BalancePlan) bool {
	switch d.from {
	case unitsOfService:
		return b.Spend && b.Service == d.name && b.Unit != p.Currency
	case moneyOfService:
		return b.Spend && (b.Service == "" || b.Service == d.name) && b.Unit == p.Currency
	default:
		return b.Name == d.name
	}
}

// take debits up to d.amount and returns how much there was: one posting for
// each balance that was drawn on.
func (p *Plan) take(c *charge.Customer, d *debit, clock charge.Instant, fx *Effect) money.Amount {
	first, taken := len(fx.Postings), money.Amount(0)
	for taken < d.amount {
		plan, b, part := p.next(c, d, clock)
		if b == nil {
			break
		}
		share := min(b.Parts[part].Amount, d.amount-taken)
		fx.post(b, part, charge.Posting{
			Account: d.account, Amount: -share, Unit: plan.Unit, Cause: d.cause,
		}, first, clock)
		taken += share
	}
	return taken
}

// next returns the part that the debit consumes next, or no balance when there
// is none: of the parts that are worth something at this clock the one whose
// balance has the lowest order, then the one that expires first, then the
// oldest. A balance has one part for each expiry, which is as old as its
// first credit; between balances of one order and parts of one expiry, names
// decide.
func (p *Plan) next(c *charge.Customer, d *debit, clock charge.Instant) (plan *BalancePlan, b *charge.Balance, part int) {
	for i := range p.Balances {
		candidate := &p.Balances[i]
		if !p.allows(d, candidate) || plan != nil && candidate.Order > plan.Order {
			continue
		}
		held := c.Balance(candidate.Name)
		if held == nil {
			continue
		}
		for j := range held.Parts {
			if !held.Parts[j].Live(clock) {
				continue
			}
			if plan == nil || candidate.Order < plan.Order || expiresBefore(held.Parts[j], b.Parts[part]) {
				plan, b, part = candidate, held, j
			}
		}
	}
	return plan, b, part
}

// expiresBefore reports whether x expires before y; what never expires comes last.
func expiresBefore(x, y charge.Part) bool {
	return x.Expires != 0 && (y.Expires == 0 || x.Expires < y.Expires)
}
