package workload

import (
	"cmp"
	"fmt"
	"time"
)

// fold is the work on one event.
type fold struct {
	oracle     *Oracle
	customer   *Customer
	event      *Incoming
	story      *Story
	mainBefore int64
	charged    int64 // of a usage: what was really taken

	groupTaken bool
	gifts      []gift
	says       []func()
}

// gift is a rule's credit. All rules are judged before any of it is given.
type gift struct {
	rule, balance string
	amount        int64
	expires       time.Time
}

const largest = 9_000_000_000_000_000

// apply gives the customer the event's own effect.
func (f *fold) apply() {
	c, e := f.customer, f.event
	switch e.Type {
	case "recharge":
		amount, _ := e.number("amount", 2)
		c.Recharges++
		c.Recharged += amount
		c.rechargeTimes = append(c.rechargeTimes, e.Time)
		c.Tags["silent"] = true // In the end, when no other recharge has come.
		if c.Tried != nil && !e.Time.Before(c.Tried.since) {
			c.Tried.Recharges++
			c.Tried.Amount += amount
		}
		f.credit("main", "recharge", amount, time.Time{})
	case "usage":
		f.use()
	case "adjustment":
		f.adjust()
	case "profile":
		if names, ok := e.Data["unset"].([]any); ok {
			for _, name := range names {
				delete(c.Attributes, name.(string))
			}
		}
		if set, ok := e.Data["set"].(map[string]any); ok {
			for name, value := range set {
				c.Attributes[name] = value
			}
		}
	}
}

// use charges what the event names; or else takes the service's own balance and
// prices what is left, started units whole.
func (f *fold) use() {
	due, named := f.event.number("charge", 2)
	if !named {
		units, _ := f.event.number("units", 0)
		switch f.event.text("service") {
		case "voice":
			units -= f.debit("minutes", "usage", units)
			due = 400 * ((units + 59) / 60)
		case "data":
			units -= f.debit("data", "usage", units)
			due = 50 * ((units + 999_999) / 1_000_000)
		case "sms":
			due = 500 * units
		}
	}
	f.charged = f.debit("bonus", "usage", due)
	f.charged += f.debit("main", "usage", due-f.charged)
	f.story.Shortfall = due - f.charged
	f.customer.Spent += f.charged
}

func (f *fold) adjust() {
	balance := f.event.text("balance")
	validity, known := map[string]time.Duration{
		"main": 0, "bonus": 30 * day, "data": 7 * day, "minutes": 30 * day, "points": 0,
	}[balance]
	if !known {
		f.story.Result, f.story.Reason = "parked", "unknown_balance"
		return
	}
	amount, _ := f.event.number("amount", digits(balance))
	switch {
	case amount > largest-f.customer.Total(balance):
		f.story.Result, f.story.Reason = "parked", "overflow"
	case amount < 0:
		taken := f.debit(balance, "adjustment", -amount)
		if digits(balance) == 2 {
			f.story.Shortfall = -amount - taken
		}
	case validity == 0:
		f.credit(balance, "adjustment", amount, time.Time{})
	default:
		f.credit(balance, "adjustment", amount, f.event.Time.Add(validity))
	}
}

const day = 24 * time.Hour

func (f *fold) credit(balance, cause string, amount int64, expires time.Time) {
	if amount == 0 {
		return
	}
	f.customer.Balances[balance] = append(f.customer.Balances[balance], Part{amount, expires})
	f.story.Postings[balance+" "+cause] += amount
}

// debit takes up to so much, from the part that expires first, and returns how
// much there was.
func (f *fold) debit(balance, cause string, amount int64) int64 {
	parts := f.customer.Balances[balance]
	var taken int64
	for taken < amount {
		first := -1
		for i, p := range parts {
			if p.Amount > 0 && (first < 0 || sooner(p.Expires, parts[first].Expires)) {
				first = i
			}
		}
		if first < 0 {
			break
		}
		share := min(parts[first].Amount, amount-taken)
		parts[first].Amount -= share
		taken += share
	}
	if taken > 0 {
		f.story.Postings[balance+" "+cause] -= taken
	}
	return taken
}

func sooner(a, b time.Time) bool {
	return !a.IsZero() && (b.IsZero() || a.Before(b))
}

// judge asks the rules of the rulebook, each written out, in the order of their
// priority and name.
func (f *fold) judge() {
	e, c := f.event, f.customer
	switch e.Type {
	case "recharge":
		f.judgeRecharge()
	case "usage":
		units, _ := e.number("units", 0)
		if e.text("service") == "voice" && units > 300 && f.allowed("long-call", f.day(), 5) {
			f.gift("long-call", "bonus", f.charged/10, 7*day)
		}
		if f.mainBefore >= 5000 && c.Total("main") < 5000 {
			f.applied("low-balance")
			f.notify("low-balance", "sms", "low_balance", map[string]string{
				"fr": "Votre solde est de %s DA.",
				"ar": "رصيدك %s دج.",
				"en": "Your balance is DA %s.",
			}, func() []any { return []any{short(c.Total("main"))} })
		}
		f.chance("rebate", "rebates", f.charged*33/100, "budget")
	case "contact":
		if e.text("channel") == "shop" {
			f.applied("visit")
			f.gift("visit", "points", 10, day)
		}
	case "survey":
		nps, _ := e.number("nps", 0)
		if nps <= 6 {
			f.applied("detractor")
			c.Tags["detractor"] = true
		}
		if nps >= 9 {
			f.applied("promoter")
			c.Tags["promoter"] = true
			delete(c.Tags, "detractor")
		}
	}
}

func (f *fold) judgeRecharge() {
	e, c := f.event, f.customer
	amount, _ := e.number("amount", 2)
	channel := e.text("channel")
	if channel == "app" && f.allowed("app-first", f.day(), 1) {
		f.groupTaken = true
		f.gift("app-first", "points", 50, 0)
	}
	if channel == "app" || channel == "ussd" {
		if f.groupTaken {
			f.skipped("any-channel", "group")
		} else {
			f.applied("any-channel")
			f.gift("any-channel", "points", amount*5/100/100, 0)
		}
	}
	if amount > 30000 {
		f.applied("double-300")
		f.gift("double-300", "bonus", amount, 7*day)
		f.notify("double-300", "sms", "doubled", map[string]string{
			"fr": "Vous avez rechargé %s DA. Bonus : %s DA, valable jusqu'au %s.",
			"ar": "لقد عبأت %s دج. مكافأة: %s دج، صالحة إلى %s.",
			"en": "You recharged DA %s. Bonus: DA %s, valid until %s.",
		}, func() []any {
			return []any{short(amount), short(amount), f.local(e.Time.Add(7 * day)).Format("02/01/2006 15:04")}
		})
	}
	if amount >= 10000 {
		f.chance("gift-"+cmp.Or(channel, "other"), "gifts", Gift, "budget")
	}
	if velocity := c.RechargesSince(10*time.Minute, e.Time); velocity > 5 &&
		f.allowed("recharge-velocity", f.local(e.Time).Format("2006-01-02 15h"), 1) {
		f.oracle.Alerts = append(f.oracle.Alerts, Alert{"recharge-velocity", "warning",
			fmt.Sprintf("%s: %d recharges in 10 minutes", c.MSISDN, velocity)})
	}
	f.chance("refund", "refunds", amount/5, "budget")
	if amount >= 10000 && f.allowed("step-up", f.day(), 2) {
		bonus := amount * 5 / 100
		switch {
		case amount >= 50000:
			bonus = min(amount*125/1000, 7500)
		case amount >= 25000:
			bonus = amount * 75 / 1000
		}
		f.gift("step-up", "bonus", bonus, 30*day)
	}
	if c.RechargesSince(7*day, e.Time) == 3 {
		f.applied("third-recharge")
		f.gift("third-recharge", "data", 500_000_000, 7*day)
		f.notify("third-recharge", "app", "third", map[string]string{
			"fr": "Troisième recharge en 7 jours : 500 Mo offerts.",
			"en": "Third recharge in 7 days: 500 MB for you.",
		}, func() []any { return nil })
	}
	if amount >= 20000 {
		f.chance("trial", "trials", 1, "holdout")
		if c.Tried == nil {
			c.Tried = &Tried{since: e.Time}
		}
	}
	if age, known := c.Attributes["age"]; known && minor(fmt.Sprint(age), 0) < 26 && amount >= 20000 &&
		f.allowed("youth-data", "campaign", 3) {
		f.gift("youth-data", "data", 100_000_000, 7*day)
	}
}

// allowed records a use of a rule whose condition holds, unless its limit is
// reached, and its verdict either way.
func (f *fold) allowed(rule, period string, count int) bool {
	use := rule + " " + period
	if f.customer.uses[use] == count {
		f.skipped(rule, "limit")
		return false
	}
	f.customer.uses[use]++
	f.applied(rule)
	return true
}

func (f *fold) applied(rule string) { f.story.Rules = append(f.story.Rules, rule+" applied") }

func (f *fold) skipped(rule, reason string) {
	f.story.Rules = append(f.story.Rules, rule+" skipped "+reason)
}

// chance notes a rule whose verdict is not for the oracle to know.
func (f *fold) chance(rule, balance string, amount int64, otherwise string) {
	f.story.Rules = append(f.story.Rules, rule)
	f.story.Chances = append(f.story.Chances, Chance{rule, balance, amount, otherwise})
}

func (f *fold) gift(rule, balance string, amount int64, validity time.Duration) {
	g := gift{rule: rule, balance: balance, amount: amount}
	if validity != 0 {
		g.expires = f.event.Time.Add(validity)
	}
	f.gifts = append(f.gifts, g)
}

// notify says something in the customer's language, else French.
func (f *fold) notify(rule, channel, template string, texts map[string]string, values func() []any) {
	f.says = append(f.says, func() {
		language, _ := f.customer.Attributes["language"].(string)
		if texts[language] == "" {
			language = "fr"
		}
		text := texts[language]
		if v := values(); v != nil {
			text = fmt.Sprintf(text, v...)
		}
		f.oracle.Notes = append(f.oracle.Notes, Note{
			MSISDN: f.customer.MSISDN, EventID: f.event.ID, Rule: rule,
			Channel: channel, Template: template, Language: language, Text: text,
		})
	})
}

// give posts what the rules gave, then says what they say.
func (f *fold) give() {
	for _, g := range f.gifts {
		f.credit(g.balance, g.rule, g.amount, g.expires)
	}
	for _, say := range f.says {
		say()
	}
}

// local returns an instant in the rulebook's timezone: Algeria is one hour ahead
// of UTC all year.
func (f *fold) local(t time.Time) time.Time { return t.In(time.FixedZone("", 3600)) }

func (f *fold) day() string { return f.local(f.event.Time).Format(time.DateOnly) }
