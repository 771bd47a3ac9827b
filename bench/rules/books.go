package main

import (
	"fmt"
	"strings"
	"time"

	"recharged/rules"
	"recharged/state/charge"
	"recharged/state/ledger"
	"recharged/state/money"
)

const head = `version: 1
currency: DZD
timezone: Africa/Algiers
balances:
  main: {unit: DZD}
  bonus: {unit: DZD, validity: 7d}
counters:
  recharges_7d: {on: recharge, window: 7d}
  recharged_30d: {on: recharge, sum: amount, window: 30d}
segments:
  youth: customer.attributes.age < 26
  senior: customer.attributes.age >= 60
  regular: customer.recharged_30d >= 1000
rules:
`

// at is when the event happens: a Friday evening in Algiers.
var at = charge.Instant(time.Date(2026, 11, 20, 18, 30, 0, 0, time.UTC).UnixNano())

// subject is a recharge of 450 dinars in the app, of a customer of 22 years who
// lives in Oran and recharged twenty times in the week.
func subject() *rules.Subject {
	c := &charge.Customer{Recharges: 30, LastRecharge: at}
	c.OpenBalance("main").Parts = []charge.Part{{Amount: 40_000}}
	c.SetAttribute("age", charge.NumberValue(money.Int(22)))
	c.SetAttribute("town", charge.TextValue("oran"))
	for _, memory := range []string{ledger.MemoryOf("recharges_7d", charge.Recharge, ""), ledger.MemoryOf("recharged_30d", charge.Recharge, "amount")} {
		step := int64(10080)
		if strings.HasPrefix(memory, "recharged_30d") {
			step = 43_200
		}
		recent := c.OpenCounter(memory, step)
		for i := range int64(20) {
			recent.Buckets = append(recent.Buckets, charge.Bucket{Index: int64(at)/(step*1e9) - 20 + i, Value: 1})
		}
	}
	return &rules.Subject{
		Event: &charge.Event{Type: charge.Recharge, Time: at, Fields: []charge.Field{
			{Name: "amount", Value: charge.NumberValue(money.Decimal{Coefficient: 45_000, Scale: 2})},
			{Name: "channel", Value: charge.TextValue("app")},
		}},
		Before: c, After: c, Clock: at,
	}
}

var (
	channels = []string{"app", "ussd", "pos", "bank", "voucher"}
	towns    = []string{"oran", "alger", "setif", "annaba", "tlemcen", "batna", "djelfa", "biskra", "bejaia", "adrar"}
	days     = []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}
)

// campaigns writes a book of rules such as campaigns have, of which so many
// match the event of subject, spread evenly. What keeps the others from matching
// is now the amount, now the channel, the town, the day, the dates, the segment
// or what the customer did before.
func campaigns(count, matching int) string {
	var b strings.Builder
	b.WriteString(head)
	matched := 0
	for i := range count {
		channel, town, segment, day, least, from := "app", "oran", "youth", "fri", 50*(i%9), 2025
		condition := "customer.recharges_7d < 50"
		if matched*count <= i*matching && matched < matching {
			matched++
		} else {
			switch j := i / 7; i % 7 {
			case 0:
				least = 500 + 50*(j%90)
			case 1:
				channel = channels[1+j%4]
			case 2:
				town = towns[1+j%9]
			case 3:
				day = days[j%5]
			case 4:
				from = 2027 + j%3
			case 5:
				segment = "senior"
			case 6:
				condition = fmt.Sprintf("customer.recharges_7d == %d", j%15)
			}
		}
		fmt.Fprintf(&b, `  - name: c%05d
    on: recharge
    when: amount >= %d && channel in ["%s", "kiosk"] && customer.attributes.town == "%s" && customer.in("%s") && %s
    schedule: {from: %d-01-01, until: %d-06-01, days: [%s], hours: "18:00-22:00"}
    priority: %d
    limits: {per_customer: [{count: 1, per: day}]}
    then: [{credit: {to: bonus, percent: 10}}]
`, i, least, channel, town, segment, condition, from, from+2, day, i%4)
	}
	return b.String()
}

// hardSet is a book that is hard on an index.
type hardSet struct {
	name, book string
	matching   int
}

func hardSets(count int) []hardSet {
	book := func(rule func(i int) string) string {
		var b strings.Builder
		b.WriteString(head)
		for i := range count {
			fmt.Fprintf(&b, "  - {name: r%05d, on: recharge, %sthen: [{tag: x}]}\n", i, rule(i))
		}
		return b.String()
	}
	when := func(format string, args ...any) string {
		return "when: '" + fmt.Sprintf(format, args...) + "', "
	}
	return []hardSet{
		{"every rule its own range of the amount", book(func(i int) string {
			return when("amount >= %d.%02d && amount < %d.%02d", 450+(i+99)/100, i%100, 1000-i/100, i%100)
		}), 1},
		{"every rule its own town", book(func(i int) string {
			if i == count/2 {
				return when(`customer.attributes.town == "oran"`)
			}
			return when(`customer.attributes.town == "town-%d"`, i)
		}), 1},
		{"no rule has a condition", book(func(int) string { return "" }), count},
		{"all computed, in twenty ways", book(func(i int) string { return when("amount * 2 + customer.main == %d", 1281+i%20) }), count / 20},
		{"all computed, each in its own way", book(func(i int) string { return when("amount * 2 + customer.main == %d", 1300-count/2+i) }), 1},
		{"every rule its own attribute", book(func(i int) string {
			if i == count/2 {
				return when(`customer.attributes.town == "oran"`)
			}
			return when(`customer.attributes.a%d == "x"`, i)
		}), 1},
		{"three rules an attribute", book(func(i int) string {
			if i == count/2 {
				return when(`customer.attributes.town == "oran"`)
			}
			return when(`customer.attributes.a%d == "x"`, i/3)
		}), 1},
	}
}
