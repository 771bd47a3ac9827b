package when

import (
	"strings"
	"testing"
)

func TestFaults(t *testing.T) {
	for _, tt := range faultCases {
		x, faults := Compile(tt.source, newWords(), Bool)
		if x != nil {
			t.Errorf("%s: compiled", tt.source)
		}
		var got []string
		for _, f := range faults {
			got = append(got, f.Error())
		}
		if g, w := strings.Join(got, "\n"), strings.Join(tt.want, "\n"); g != w {
			t.Errorf("%.80s\n got %s\nwant %s", tt.source, g, w)
		}
	}
}

type faultCase struct {
	source string
	want   []string
}

func one(source, want string) faultCase { return faultCase{source, []string{want}} }

var faultCases = []faultCase{
	// Several faults at once, by position; columns count characters.
	{"customer.man > 3 &&\n  'é' == chanel && amount == 'x' &&\n\ttopics.exists(x, x > 1)", []string{
		"1:1: unknown name customer.man: did you mean customer.main?",
		"2:10: unknown name chanel: did you mean channel?",
		"2:27: amount is a number, 'x' is text",
		"3:21: x is text, 1 is a number",
	}},
	{`gift ? [1] : [2]`, []string{
		"1:8: [1] is a list of numbers: it can stand after in and before size, exists and all",
		"1:14: [2] is a list of numbers: it can stand after in and before size, exists and all",
	}},

	// What is not an expression.
	one(" ", "1:1: the expression is empty"),
	one("\xff", "1:1: the expression is not UTF-8 text"),
	one("amount > ", "1:10: the expression ends too early"),
	one("amount = 300", "1:8: unexpected =: to compare, write =="),
	one("amount > 300 and gift", "1:14: unexpected and: write &&"),
	one("amount > 300 or gift", "1:14: unexpected or: write ||"),
	one("not gift", "1:5: unexpected gift: write !(…)"),
	one(`channel not in ["a"]`, "1:9: unexpected not: write !(…)"),
	one("amount <> 3", "1:9: unexpected >: write !="),
	one("amount > 300,50", "1:13: unexpected ,: the decimal sign is a point"),
	one("amount > 300 &", "1:14: unexpected single '&', expected '&&'"),
	one("(amount > 300", "1:14: expected ')'"),
	one("amount > 300)", "1:13: unexpected )"),
	one("channel == 'é' && channel == 'app\n'", "1:30: unterminated string literal"),
	one("éa > 1", "1:1: unexpected é"),
	one("gift || else", "1:9: reserved identifier: else"),
	one(strings.Repeat("(", 40)+"gift"+strings.Repeat(")", 40), "1:1: the expression is nested deeper than 32 levels: name parts of it as segments"),
	one(strings.Repeat("1+", 40)+"1 > 2", "1:1: the expression is nested deeper than 32 levels: name parts of it as segments"),
	one(strings.Repeat("a", 4097), "1:1: the expression has 4097 characters, at most 4096 are allowed"),
	one("amount in ["+strings.Repeat("1,", 600)+"1]", "1:1006: the expression has more than 500 parts: name parts of it as segments"),

	// What other languages and word processors write.
	one("amount => 300", "1:8: unexpected =: write >="),
	one("amount =< 300", "1:8: unexpected =: write <="),
	one("amount > 300 AND gift", "1:14: unexpected AND: write &&"),
	one("amount > 300 Or gift", "1:14: unexpected Or: write ||"),
	one("NOT gift", "1:5: unexpected gift: write !(…)"),
	one("channel == “app”", `1:12: unexpected “: write straight quotes: "…"`),
	one("channel == «app»", `1:12: unexpected «: write straight quotes: "…"`),
	one("channel == ’app’", `1:12: unexpected ’: write straight quotes: "…"`),
	one("amount ≥ 300", "1:8: unexpected ≥: write >="),
	one("amount ≤ 300", "1:8: unexpected ≤: write <="),
	one("amount ≠ 300", "1:8: unexpected ≠: write !="),
	one("amount > ٣٠٠", "1:10: unexpected ٣: write the digits 0 to 9"),
	one("amount > 500MB", "1:10: unexpected 500MB: in a condition bytes are plain numbers: write 500000000"),
	one("amount > 10m", "1:10: unexpected 10m: in a condition seconds are plain numbers: write 600"),
	one("amount > 1_000", "1:10: unexpected 1_000: write the number alone: 1000"),
	one("amount > 300DA", "1:10: unexpected 300DA: write the number alone"),
	one("amount > 300 DA", "1:14: unexpected DA: write the number alone: 300"),
	one("amount > 300 DA && gift", "1:14: unexpected DA: write the number alone: 300"),
	one("amount > 300%", "1:14: the expression ends too early: write the number alone: 300"),
	one("amount > 300% && gift", "1:15: unexpected &&: write the number alone: 300"),
	one("amount > 300 300", "1:14: unexpected 300"),
	one("3 < amount < 5", "1:12: 3 < amount is true or false, which has no order: write 3 < amount && amount < 5"),
	one("channel == ussd", `1:12: unknown name ussd: a text stands in quotes: "ussd"`),
	one("time > '2026-11-01'", `1:6: time is a time, '2026-11-01' is text: write timestamp("2026-11-01T00:00:00+01:00")`),
	one("time > '2026-11-01T10:00:00Z'", `1:6: time is a time, '2026-11-01T10:00:00Z' is text: write timestamp("2026-11-01T10:00:00Z")`),
	one("'yesterday' < time", `1:13: 'yesterday' is text, time is a time: write timestamp("2026-11-01T00:00:00Z")`),
	one("quiet > '24h'", `1:7: quiet is a duration, '24h' is text: write duration("24h")`),

	// What CEL has and the rule language has not.
	one("null == amount", "1:1: null is not part of the rule language: has(name) tells whether a value is there"),
	one("b'x' == channel", "1:1: b'x' is not part of the rule language: has(name) tells whether a value is there"),
	one("{'a': 1}", "1:1: maps and messages are not part of the rule language"),
	one("Sim{a: 1}", "1:4: maps and messages are not part of the rule language"),
	one("topics[0] == 'x'", "1:7: indexes are not part of the rule language: has(x), x in list and list.exists(x, …) look into values"),
	one("topics.map(x, x) == topics", `1:8: map is not a function on text, lists or times: a question such as customer.in("name") takes one text in quotes`),
	one("topics.exists(x, topics.all(y, x == y))", "1:25: all inside of exists or all is not part of the rule language"),

	// Numbers.
	one("5u < amount", `1:1: "5u": not a plain decimal number: write a number as 300 or 300.10`),
	one("1e3 < amount", `1:1: "1e3": an exponent is not allowed, write the number out: write a number as 300 or 300.10`),
	one("amount > -0x10", `1:10: "-0x10": not a plain decimal number: write a number as 300 or 300.10`),
	one(".5 < amount", `1:1: ".5": not a plain decimal number: write a number as 300 or 300.10`),
	one("99999999999999999999 > amount", "1:1: number out of range"),
	one("9999999999999999.9999 > amount", `1:1: "9999999999999999.9999": decimal number out of range: write a number as 300 or 300.10`),
	one("0.1234567890123456789 > amount", `1:1: "0.1234567890123456789": too many digits after the point: write a number as 300 or 300.10`),

	// Names and functions.
	one("amont > 300", "1:1: unknown name amont: did you mean amount?"),
	one("TRUE && gift", "1:1: unknown name TRUE: did you mean true?"),
	one("customer.attributes.in > 1", "1:1: unknown name customer.attributes.in"),
	one(".amount > 1", "1:1: only a name has fields, and it starts with a letter: write customer.attributes.age"),
	one("(amount + 1).x > 1", "1:13: only a name has fields, and it starts with a letter: write customer.attributes.age"),
	one("topics.exists(x, x.y == 'a')", "1:18: x is text, it has no fields"),
	one("channel.startWith('a')", `1:9: channel.startWith does not know "a": did you mean startsWith?`),
	one("startsWith(channel, 'a')", "1:1: unknown function startsWith: write it after a value: x.startsWith(…)"),
	one("sise(channel) > 1", "1:1: unknown function sise: did you mean size?"),
	one("customer.in('yuth')", `1:10: customer.in does not know "yuth"`),
	one("customer.in(channel)", `1:10: in takes a text in quotes: write customer.in("channel")`),
	one("customer.in(1)", `1:10: in is not a function on text, lists or times: a question such as customer.in("name") takes one text in quotes`),

	// Arguments.
	one("channel.startsWith()", "1:9: startsWith takes one value in parentheses, not 0"),
	one("channel.size(1) > 1", "1:9: size takes nothing in parentheses, not 1"),
	one("size(topics, 1) > 1", "1:1: size takes one value, not 2"),
	one("size(1) > 1", "1:1: 1 is a number, size needs text or a list"),
	one("channel.startsWith(1)", "1:20: 1 is a number, text is needed"),
	one("channel.matches(channel)", "1:17: matches takes a text in quotes"),
	one("channel.matches('(')", "1:17: '(' is not a pattern: missing closing ): `(`"),
	one("channel.matches('(a{100}){10}')", "1:17: the pattern '(a{100}){10}' needs 1022 steps, at most 100 are allowed: shorten it, or repeat less"),
	one("channel.getHours() > 1", "1:9: channel is text, getHours needs a time or a duration"),
	one("time.getHours('Mars') > 1", `1:15: unknown time zone 'Mars': write "Africa/Algiers", "UTC" or "+01:00"`),
	one("time.getHours('Local') > 1", `1:15: unknown time zone 'Local': write "Africa/Algiers", "UTC" or "+01:00"`),
	one("quiet.getHours('UTC') > 1", "1:16: quiet is a duration, it has no time zone"),
	one("timestamp('2026') < time", `1:11: '2026' is not a time: write "2026-11-01T00:00:00Z" or "2026-11-01T00:00:00+01:00"`),
	one("timestamp('1960-01-01T00:00:00Z') < time", "1:11: '1960-01-01T00:00:00Z' is out of range"),
	one("timestamp(channel) < time", "1:1: timestamp takes one text in quotes"),
	one("duration('x') < quiet", `1:10: "x" is not a duration such as 60s, 10m, 24h, 7d or 1h30m`),
	one("duration('99999999w') < quiet", `1:10: "99999999w" is not a duration such as 60s, 10m, 24h, 7d or 1h30m`),
	one("has()", "1:1: has takes one name, not 0"),
	one("has(channel == 'x')", "1:5: channel == 'x' is not a name: write has(amount)"),
	one("has(customer.in('youth'))", "1:5: customer.in('youth') is not a name: write has(amount)"),
	one("topics.exists(x)", `1:8: exists takes a name and a condition on it: write list.exists(x, x == "a")`),
	one("amount.all(x, true)", "1:8: amount is a number, all needs a list"),
	one("topics.all(x, size(x))", "1:15: size(x) is a number, true or false is needed"),

	// Types.
	one("amount", "1:1: amount is a number, true or false is needed"),
	one("gift && (amount)", "1:9: amount is a number, true or false is needed"),
	one(`amount == "300"`, `1:8: amount is a number, "300" is text: write 300 without quotes`),
	one(`(amount + 1) * 2 == "x"`, `1:18: (amount + 1) * 2 is a number, "x" is text`),
	one("gift < true", "1:6: gift is true or false, which has no order"),
	one("gift == time", "1:6: gift is true or false, time is a time"),
	one("amount + channel == 1", "1:8: amount is a number, channel is text"),
	one("time + time == time", "1:6: time is a time, which + does not take"),
	one("channel - 'a' == 'b'", "1:9: channel is text, which - does not take"),
	one("-channel == 'a'", "1:1: channel is text, - needs a number"),
	one("gift ? 1 : 'x'", "1:8: 1 is a number, 'x' is text: both sides of : are of one type"),
	one("[1] == [1]", "1:5: [1] is a list of numbers, which == does not take"),
	one("customer.attributes.likes == [1]", "1:27: customer.attributes.likes is any value, [1] is a list of numbers"),
	one("size([1] + [2]) > 1", "1:10: [1] is a list of numbers, which + does not take"),
	{"nope(1) && size(nope) > 1 && has(nope)", []string{
		"1:1: unknown function nope", `1:17: unknown name nope: a text stands in quotes: "nope"`, `1:34: unknown name nope: a text stands in quotes: "nope"`,
	}},
	one("['a', 1] == topics", "1:7: 'a' is text, 1 is a number: a list holds either text or numbers"),
	one("[gift] == topics", "1:2: gift is true or false, a list holds either text or numbers: string(…) and double(…) convert"),
	one("channel in 'app'", `1:9: 'app' is text, in needs a list: write text.contains("part"), or ["a", "b"]`),
	one("channel in [1]", "1:9: channel is text, [1] is a list of numbers"),
	one("amount in amount", "1:8: amount is a number, in needs a list"),
	one("amount in customer.attributes.likes", "1:8: amount is a number, a list of attributes holds text"),
}

func TestFaultOffsetIsInBytes(t *testing.T) {
	_, faults := Compile("channel == 'é' &&\nnope", newWords(), Bool)
	if len(faults) != 1 || faults[0].Offset != len("channel == 'é' &&\n") {
		t.Errorf("got %+v", faults)
	}
}

func TestFaultsAreLimited(t *testing.T) {
	_, faults := Compile(strings.Repeat("x && ", 50)+"x", newWords(), Bool)
	if len(faults) != faultsMax {
		t.Errorf("got %d faults", len(faults))
	}
}
