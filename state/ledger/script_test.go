package ledger

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"recharged/state/charge"
	"recharged/state/money"
)

var update = flag.Bool("update", false, "rewrite the answers in testdata")

// TestScripts runs the scripts of testdata. A line at the margin is a part of
// the rulebook or something that happens, the indented lines below it are what
// the ledger answers.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			script, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := newPlayer().play(t, string(script))
			switch {
			case got == string(script):
			case *update:
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			default:
				t.Error(firstDifference(string(script), got))
			}
		})
	}
}

func firstDifference(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range min(len(w), len(g)) {
		if w[i] != g[i] {
			return fmt.Sprintf("line %d:\nwant %q\ngot  %q\nthe whole answer:\n%s", i+1, w[i], g[i], got)
		}
	}
	return "lines are missing:\n" + got
}

// player runs one script: one customer under one plan.
type player struct {
	plan     Plan
	customer charge.Customer
	clock    charge.Instant
	out      strings.Builder
}

func newPlayer() *player {
	return &player{plan: Plan{
		Location: time.UTC,
		Ahead:    5 * time.Minute,
		Services: charge.BuiltinServices(),
	}}
}

// play returns the script with the answers of the ledger.
func (p *player) play(t *testing.T, script string) string {
	for i, line := range strings.Split(strings.TrimSuffix(script, "\n"), "\n") {
		if strings.HasPrefix(line, " ") {
			continue
		}
		p.out.WriteString(line + "\n")
		words := strings.Fields(strings.SplitN(line, "#", 2)[0])
		if len(words) == 0 {
			continue
		}
		var err error
		if words[0] == "at" {
			err = p.happen(words[1], words[2], words[3:])
		} else {
			err = p.declare(words[0], words[1:])
		}
		if err != nil {
			t.Fatalf("line %d: %s: %v", i+1, line, err)
		}
	}
	return p.out.String()
}

func (p *player) say(format string, args ...any) {
	p.out.WriteString(strings.TrimRight(fmt.Sprintf("  "+format, args...), " ") + "\n")
}

// declare changes the plan.
func (p *player) declare(what string, words []string) (err error) {
	args := arguments(words)
	switch what {
	case "currency":
		p.plan.Currency, _ = money.Currency(words[0])
	case "lateness":
		p.plan.Lateness, err = span(words[0])
	case "service":
		p.plan.Services = append(p.plan.Services, words[0])
	case "type":
		p.plan.Types = append(p.plan.Types, words[0])
	case "dedup":
		p.plan.Dedup.Money, _ = span(args["money"])
		p.plan.Dedup.Other, err = span(args["other"])
		p.plan.Dedup.Keep, _ = strconv.ParseUint(args["keep"], 10, 64)
	case "balance":
		b := BalancePlan{Name: words[0], Unit: p.unit(words[1]), Service: args["service"], Spend: args["spend"] != "no"}
		b.Order, _ = strconv.Atoi(args["order"])
		b.Validity, err = span(args["validity"])
		p.plan.Balances = declare(p.plan.Balances, b, func(b BalancePlan) string { return b.Name })
	case "without":
		p.plan.Balances = slices.DeleteFunc(p.plan.Balances, func(b BalancePlan) bool { return b.Name == words[0] })
	case "tariff":
		tariff := TariffPlan{Service: words[0]}
		tariff.Price, err = p.plan.Currency.Parse(words[1])
		per, _ := quantity(words[3])
		tariff.Per = int64(per)
		p.plan.Tariffs = declare(p.plan.Tariffs, tariff, func(t TariffPlan) string { return t.Service })
	case "counter":
		c := CounterPlan{Name: words[0], On: args["on"], Sum: args["sum"], Memory: MemoryOf(words[0], args["on"], args["sum"])}
		if slices.Contains([]string{"amount", "charge", "charged"}, c.Sum) {
			c.Digits = p.plan.Currency.Digits
		}
		c.Window, err = span(args["window"])
		p.plan.Counters = declare(p.plan.Counters, c, func(c CounterPlan) string { return c.Name })
	default:
		err = fmt.Errorf("unknown declaration %q", what)
	}
	return err
}

// declare puts the item into its place by name, instead of one of the same name.
func declare[T any](items []T, item T, nameOf func(T) string) []T {
	i, ok := slices.BinarySearchFunc(items, nameOf(item), func(t T, name string) int {
		return strings.Compare(nameOf(t), name)
	})
	if ok {
		items[i] = item
		return items
	}
	return slices.Insert(items, i, item)
}

// happen lets the clock reach that time and something happen.
func (p *player) happen(clock, verb string, words []string) error {
	now, err := instant(clock)
	if err != nil {
		return err
	}
	p.clock = now
	args := arguments(words)
	switch verb {
	case "expire":
		var fx Effect
		p.plan.Expire(&p.customer, now, &fx)
		p.sayEffect("", &fx)
	case "show":
		p.show()
	case "read":
		plan, ok := p.plan.Counter(words[0])
		if !ok {
			return fmt.Errorf("unknown counter %q", words[0])
		}
		value := p.plan.CounterValue(&p.customer, plan, now)
		p.say("%s = %s", plan.Name, money.Unit{Digits: plan.Digits}.Format(money.Amount(value)))
	case "forget":
		seen, err := instant(args["seen"])
		if err != nil {
			return err
		}
		newer, err := strconv.ParseUint(args["newer"], 10, 64)
		if err != nil {
			return err
		}
		p.say("%v", p.plan.MayForget(newer, seen, now, IsMoney(args["type"])))
	case "credit":
		return p.credit(args)
	default:
		return p.event(verb, args)
	}
	return nil
}

// credit gives what a rule would give.
func (p *player) credit(args map[string]string) (err error) {
	plan, ok := p.plan.Balance(args["to"])
	unit := money.Unit{}
	if ok {
		unit = plan.Unit
	}
	cr := Credit{Balance: args["to"], Account: charge.PromoPrefix + charge.Account(args["rule"]), Cause: args["rule"]}
	if cr.Amount, err = unit.Parse(args["amount"]); err != nil {
		return err
	}
	if args["expires"] != "" {
		if cr.Expires, err = instant(args["expires"]); err != nil {
			return err
		}
	}
	p.try("credit", func(c *charge.Customer, fx *Effect) *Refusal {
		return p.plan.Credit(c, cr, p.clock, fx)
	})
	return nil
}

// event lets an event take effect as the turn does: admit, expire, apply.
func (p *player) event(eventType string, args map[string]string) error {
	e := charge.Event{Type: eventType, Time: p.clock}
	if text, ok := args["time"]; ok {
		at, err := instant(text)
		if err != nil {
			return err
		}
		e.Time = at
		delete(args, "time")
	}
	var err error
	if e.Fields, err = p.fields(eventType, args); err != nil {
		return err
	}
	p.try(eventType, func(c *charge.Customer, fx *Effect) *Refusal {
		if refusal := p.plan.Admit(&e, p.clock); refusal != nil {
			return refusal
		}
		p.plan.Expire(c, p.clock, fx)
		return p.plan.Apply(c, &e, p.clock, fx)
	})
	return nil
}

// try works on a copy of the customer and keeps it unless it was refused.
func (p *player) try(eventType string, change func(*charge.Customer, *Effect) *Refusal) {
	var working charge.Customer
	var fx Effect
	working.CopyFrom(&p.customer)
	if refusal := change(&working, &fx); refusal != nil {
		p.say("parked %s", refusal.Error())
		return
	}
	p.customer = working
	p.sayEffect(eventType, &fx)
}

func (p *player) sayEffect(eventType string, fx *Effect) {
	for _, posting := range fx.Postings {
		sign := ""
		if posting.Amount > 0 {
			sign = "+"
		}
		expires := ""
		if posting.Expires != 0 {
			expires = "until " + timeText(posting.Expires)
		}
		p.say("%-7s %10s %-5s %-11s after %-10s %s", posting.Balance, sign+posting.Unit.Format(posting.Amount),
			posting.Unit.Name, posting.Account, posting.Unit.Format(posting.After), expires)
	}
	if eventType == charge.Usage || fx.Shortfall != 0 {
		p.say("charged %s, shortfall %s", p.plan.Currency.Format(fx.Charged), p.plan.Currency.Format(fx.Shortfall))
	}
}

// show tells what the customer is.
func (p *player) show() {
	for _, b := range p.customer.Balances {
		unit := money.Unit{Name: b.Name}
		if plan, ok := p.plan.Balance(b.Name); ok {
			unit = plan.Unit
		}
		p.say("%s %s", b.Name, unit.Format(b.Total(p.clock)))
		for _, part := range b.Parts {
			if part.Expires != 0 {
				p.say("  %s until %s", unit.Format(part.Amount), timeText(part.Expires))
			}
		}
	}
	for _, f := range p.customer.Attributes {
		p.say("attribute %s = %s", f.Name, valueText(f.Value))
	}
	p.say("recharges %d, tracking %d", p.customer.Recharges, p.customer.Tracking(p.clock))
}

func valueText(v charge.Value) string {
	switch v.Kind {
	case charge.Number:
		return v.Decimal().String()
	case charge.Bool:
		return strconv.FormatBool(v.Bool())
	default:
		return v.Text
	}
}
