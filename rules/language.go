package rules

import (
	"slices"
	"strings"
)

// form is a mapping of the language: the keys that it may have. The loader
// refuses every other key, and Schema tells editors of these.
type form struct {
	name  string // in the schema
	about string
	keys  []key
	names []string // of the keys
}

// key is a key of a form, with what its value may be.
type key struct {
	name  string
	about string
	value *schema
	must  bool
}

func newForm(name, about string, keys ...key) *form {
	f := &form{name: name, about: about, keys: keys}
	for _, k := range keys {
		f.names = append(f.names, k.name)
	}
	return f
}

// needed marks a key that its form cannot do without.
func needed(k key) key {
	k.must = true
	return k
}

// The forms of the language, from the leaves to the whole.
var (
	fieldForm = newForm("field", "A field of a declared event type.",
		needed(key{name: "type", about: "What the field holds.", value: oneOf(kindNames()...)}),
		key{name: "required", about: "Whether an event without the field is refused.", value: ofTruth()},
	)

	dedupForm = newForm("dedup", "How long the ids of events are remembered; upwards only.",
		key{name: "money", about: "Of recharges and adjustments; at least 72h and the lateness.", value: ofSpan()},
		key{name: "other", about: "Of all other events; at least 1h.", value: ofSpan()},
		key{name: "keep", about: "How many of a customer's newest ids are kept however old they are; at least 256.", value: ofWhole()},
	)

	balanceForm = newForm("balance", "Something that customers hold.",
		needed(key{name: "unit", about: "The currency, byte, second, message, or a word of your own such as point, which counts whole things.", value: ofText()}),
		key{name: "service", about: "The service whose units it holds, or, in the currency, the only service that it pays.", value: ofText()},
		key{name: "order", about: "Lower is consumed first; 100 if it is left out.", value: ofWhole()},
		key{name: "validity", about: "How long a credit lives that says nothing else; without it a credit never expires.", value: ofSpan()},
		key{name: "spend", about: "Whether usage may consume it; true if it is left out.", value: ofTruth()},
	)

	tariffForm = newForm("tariff", "The price of a service; started units are charged.",
		needed(key{name: "price", about: "In the currency.", value: ofAmount()}),
		needed(key{name: "per", about: "For how much: 60s, 1MB, 1.", value: ofAmount()}),
	)

	counterForm = newForm("counter", "What is remembered of a customer's events in a window that slides with time.",
		needed(key{name: "on", about: "The event type that it counts.", value: ofText()}),
		key{name: "sum", about: "The field that it adds up; without it, how many events there were.", value: ofText()},
		needed(key{name: "window", about: "How far it looks back: 10m, 7d.", value: ofSpan()}),
	)

	scheduleForm = newForm("schedule", "When the rule may apply, by the time at which the event happened.",
		key{name: "from", about: "The first day, from its midnight on, or an instant of RFC 3339.", value: ofText()},
		key{name: "until", about: "The end, which is not part of it: a day's midnight or an instant.", value: ofText()},
		key{name: "days", about: "The days of the week; all of them if it is left out.", value: listOf(oneOf(dayNames()...))},
		key{name: "hours", about: `The hours of the day, "18:00-22:00"; "22:00-02:00" runs past midnight and belongs to the day on which it began.`, value: ofText()},
	)

	tierForm = newForm("tier", "What the credits without a percent or amount of their own give from an amount on.",
		needed(key{name: "from", about: "The least amount of the recharge, or charge of the usage.", value: ofAmount()}),
		percentKey, amountKey, minKey, maxKey,
	)

	limitForm = newForm("limit", "How often the rule may apply to one customer.",
		needed(key{name: "count", about: "So often at most.", value: ofWhole()}),
		needed(key{name: "per", about: "A period of the calendar, campaign for the rule's whole life, or a duration such as 24h, which is a rolling window.", value: ofText()}),
	)

	limitsForm = newForm("limits", "What bounds the rule.",
		key{name: "per_customer", about: "How often it may apply to one customer; all of them hold.", value: listOf(refTo(limitForm))},
		key{name: "budget", about: "What all its credits together may come to over the rule's life, in the credited balance's unit; never overspent.", value: ofAmount()},
	)

	creditForm = newForm("credit", "Credits a balance of the customer.",
		needed(key{name: "to", about: "The balance.", value: ofText()}),
		percentKey, amountKey,
		key{name: "of", about: "What the percent is taken of, such as customer.main, instead of the event's own amount.", value: ofExpression()},
		minKey, maxKey,
		key{name: "validity", about: "How long the credit lives, counted from when the event happened; without it, the balance's.", value: ofSpan()},
	)

	notifyForm = newForm("notification", "Sends the customer a text.",
		needed(key{name: "template", about: "The template of the text.", value: ofText()}),
		key{name: "channel", about: "The way it goes; sms if it is left out.", value: ofText()},
		key{name: "send_after", about: `How long it waits, 2h, or the time of the day for which it waits, "18:00".`, value: ofText()},
		key{name: "quiet_hours", about: `The hours in which it waits, "21:00-08:00", or none; without it, the rulebook's.`, value: ofText()},
	)

	alertForm = newForm("alert", "Tells people in operations.",
		needed(key{name: "severity", about: "How bad it is.", value: oneOf(severities...)}),
		needed(key{name: "summary", about: "What happened; {names} in braces are filled in.", value: ofText()}),
		key{name: "labels", about: "Fixed texts by which alerts are routed.", value: mapOf(ofScalar())},
	)

	actionForm = newForm("action", "One thing that the rule does.",
		key{name: "credit", about: creditForm.about, value: refTo(creditForm)},
		key{name: "notify", about: notifyForm.about, value: refTo(notifyForm)},
		key{name: "alert", about: alertForm.about, value: refTo(alertForm)},
		key{name: "tag", about: "Puts a tag on the customer.", value: ofText()},
		key{name: "untag", about: "Takes a tag off the customer.", value: ofText()},
	)

	ruleForm = newForm("rule", "What happens when something happens to a customer, or when nothing does for a while.",
		needed(key{name: "name", about: "What it is called in outcomes and statistics. Limits, budget and timers belong to the name.", value: ofText()}),
		key{name: "title", about: "What it is for, in words.", value: ofText()},
		key{name: "on", about: "The event type that it follows.", value: ofText()},
		key{name: "after", about: "Instead of on: the event type whose absence it waits for.", value: ofText()},
		key{name: "quiet", about: "With after: how long nothing of that type may come.", value: ofSpan()},
		key{name: "when", about: "The condition; without it, always.", value: ofCondition()},
		key{name: "schedule", about: scheduleForm.about, value: refTo(scheduleForm)},
		key{name: "priority", about: "Higher is asked first; 0 if it is left out. Then by name.", value: ofWhole()},
		key{name: "group", about: "Of the rules of one group at most one applies to an event.", value: ofText()},
		key{name: "tiers", about: "What it gives by the event's amount: the highest tier that is reached.", value: listOf(refTo(tierForm))},
		key{name: "limits", about: limitsForm.about, value: refTo(limitsForm)},
		key{name: "holdout", about: "The share of the customers that are matched and recorded, but get nothing: 5%.", value: ofAmount()},
		needed(key{name: "then", about: "What it does.", value: listOf(refTo(actionForm))}),
	)

	documentForm = newForm("rulebook", "What a mobile operator's marketing and operations say about money, balances and rules.",
		needed(key{name: "version", about: "Of the language: 1.", value: &schema{Enum: []any{1, "1"}}}),
		needed(key{name: "currency", about: "Its three letters of ISO 4217; its minor digits set the precision of money.", value: ofText()}),
		key{name: "timezone", about: "Where calendar days, hours and schedules are taken, such as Africa/Algiers; UTC if it is left out.", value: ofText()},
		key{name: "language", about: "Of texts for customers who have none; fr if it is left out.", value: ofText()},
		key{name: "week_start", about: "The first day of the week; sunday if it is left out.", value: oneOf(dayNames()...)},
		key{name: "lateness", about: "How late an event may come; 48h if it is left out.", value: ofSpan()},
		key{name: "quiet_hours", about: `The hours in which no notification goes out, "21:00-08:00"; a notification may say otherwise.`, value: ofText()},
		key{name: "dedup", about: dedupForm.about, value: refTo(dedupForm)},
		key{name: "services", about: "Services beside voice, sms and data.", value: listOf(ofText())},
		key{name: "types", about: "Event types beside the built-in ones: the fields of each, as name: kind or name: {type: …, required: true}.",
			value: section(orNothing(mapOf(anyOf(oneOf(kindNames()...), refTo(fieldForm)))))},
		needed(key{name: "balances", about: "What customers hold. main, in the currency, must be there: recharges credit it.", value: section(refTo(balanceForm))}),
		key{name: "tariffs", about: "What services cost.", value: section(refTo(tariffForm))},
		key{name: "counters", about: "What is remembered of events.", value: section(refTo(counterForm))},
		key{name: "segments", about: "Named conditions over the customer.", value: section(ofCondition())},
		key{name: "templates", about: "Texts for customers, one for each language.", value: section(mapOf(ofText()))},
		key{name: "rules", about: "What happens when.", value: orNothing(listOf(refTo(ruleForm)))},
	)
)

// The keys that say how much a credit or a tier gives.
var (
	percentKey = key{name: "percent", about: "A share of the recharge's amount, of the usage's charge, or of what of names; rounded down.", value: ofAmount()}
	amountKey  = key{name: "amount", about: "A fixed amount in the balance's unit: 100, 500MB.", value: ofAmount()}
	minKey     = key{name: "min", about: "The least that a percent comes to.", value: ofAmount()}
	maxKey     = key{name: "max", about: "The most that a percent comes to.", value: ofAmount()}
)

// forms returns all of them but the whole.
func forms() []*form {
	return []*form{
		fieldForm, dedupForm, balanceForm, tariffForm, counterForm, scheduleForm, tierForm,
		limitForm, limitsForm, creditForm, notifyForm, alertForm, actionForm, ruleForm,
	}
}

// misnamed are keys that people expect, and what is meant.
var misnamed = map[string]string{
	"events": `did you mean "types"?`, "event_types": `did you mean "types"?`,
}

// elsewhere says in which other form a key stands that this one does not have.
func (f *form) elsewhere(name string) string {
	for _, other := range append(forms(), documentForm) {
		if other != f && slices.Contains(other.names, name) {
			return "it is a key of " + other.name
		}
	}
	return ""
}

// dayNames are the names of the days, short and long.
func dayNames() []string {
	var names []string
	for _, day := range weekdays {
		names = append(names, day[:3], day)
	}
	return names
}

// article puts a or an before a word.
func article(word string) string {
	if strings.ContainsRune("aeiou", rune(word[0])) {
		return "an " + word
	}
	return "a " + word
}
