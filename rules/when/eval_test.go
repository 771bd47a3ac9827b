package when

import (
	"strings"
	"testing"

	"recharged/state/charge"
)

func TestEval(t *testing.T) {
	for _, group := range [][]evalCase{
		conditions, exactNumbers, absence, attributes, textAndLists, times, runTimeErrors,
	} {
		for _, tt := range group {
			w := newWords()
			x, faults := Compile(tt.source, w, Any)
			if faults != nil {
				t.Errorf("%s: %v", tt.source, faults)
				continue
			}
			got := ""
			if v, err := x.Eval(w.usual(t)); err != nil {
				got = "error: " + err.Error()
			} else {
				got = show(v)
			}
			if got != tt.want {
				t.Errorf("%s\n got %s\nwant %s", tt.source, got, tt.want)
			}
		}
	}
}

type evalCase struct{ source, want string }

var conditions = []evalCase{
	{`amount > 300 && channel in ["app", "ussd"] && !customer.in("high_value")`, "true"},
	{`customer.in("youth") && customer . in ( 'youth' )`, "true"},
	{`customer.tagged("a \"b\"")`, "true"},
	{`customer.tagged(r'a "b"') && channel != ".in("`, "true"},
	{`"customer.in(" == "customer.in("`, "true"},
	{"amount > 300 // .in(\n && true", "true"},
	{`!!gift`, "false"},
	{`gift ? 1 : 2`, "2"},
	{`(amount > 300 ? "big" : "small") == "big"`, "true"},
	{`false && 1/0 == 1`, "false"},
	{`1/0 == 1 && false`, "false"},
	{`true || 1/0 == 1`, "true"},
	{`1/0 == 1 || true`, "true"},
	{`1/0 == 1 || false`, "error: 1/0: division by zero"},
	{`true && 1/0 == 1`, "error: 1/0: division by zero"},
	{`gift == false`, "true"},
	{`true != false`, "true"},
	{`has(amount) && has(customer.main) && !has(gift)`, "true"},
}

var exactNumbers = []evalCase{
	{`amount >= 300.10`, "true"},
	{`amount == 300.1`, "true"},
	{`amount > 300.10`, "false"},
	{`amount > 300.09999999999999`, "true"},
	{`0.1 + 0.2 == 0.3`, "true"},
	{`0.1 + 0.2`, "0.3"},
	{`9007199254740993 == 9007199254740992`, "false"},
	{`9223372036854775807 - 1`, "9223372036854775806"},
	{`5 == 5.0`, "true"},
	{`7 / 2`, "3.5"},
	{`2 / 3`, "0.666666"},
	{`-2 / 3`, "-0.666666"},
	{`7 % 3`, "1"},
	{`-7 % 3`, "-1"},
	{`7 % -3`, "1"},
	{`7.5 % 0.4`, "0.3"},
	{`0.000000000000000001 % 9000000000000000000`, "0.000000000000000001"},
	{`9000000000000000000 % 0.000000000000000007`, "0.000000000000000002"},
	{`- 5 + 3`, "-2"},
	{`-(amount)`, "-300.1"},
	{`amount - -1`, "301.1"},
	{`--amount`, "300.1"},
	{`2 + 3 * 4 - 6 / 3`, "12"},
	{`(2 + 3) * 4`, "20"},
	{`int(2.9)`, "2"},
	{`int(-2.9)`, "-2"},
	{`int("12.7") + double("0.5")`, "12.5"},
	{`double(7)`, "7"},
	{`string(amount) + "!"`, `"300.1!"`},
	{`string(true) + string(gift) + string("x")`, `"truefalsex"`},
	{`amount in [300, 300.1]`, "true"},
	{`amount in [300, amount - 1]`, "false"},
	{`[1, 2, 3].exists(n, n > amount / 101)`, "true"},
	{`[1, 2, 3].all(n, n < 3)`, "false"},
	{`size([1, 2])`, "2"},
}

var absence = []evalCase{
	{`nothing.number == 1`, "false"},
	{`nothing.number != 1`, "false"},
	{`nothing.number < 1 || nothing.number >= 1`, "false"},
	{`nothing.number == nothing.number`, "false"},
	{`nothing.number in [1]`, "false"},
	{`"x" in nothing.list`, "false"},
	{`!(nothing.number == 1)`, "true"},
	{`nothing.truth`, "missing"},
	{`!nothing.truth`, "true"},
	{`nothing.truth == false`, "false"},
	{`nothing.truth ? 1 : 2`, "2"},
	{`nothing.number + 1`, "missing"},
	{`-nothing.number`, "missing"},
	{`1 + nothing.number * 2 > 0`, "false"},
	{`nothing.text + "x"`, "missing"},
	{`nothing.text.startsWith("")`, "false"},
	{`nothing.text.startsWith("") || false`, "false"},
	{`channel.startsWith(nothing.text)`, "false"},
	{`size(nothing.text)`, "missing"},
	{`nothing.list.exists(x, true) || nothing.list.all(x, true)`, "false"},
	{`nothing.time.getHours()`, "missing"},
	{`nothing.time < time`, "false"},
	{`has(nothing.number)`, "false"},
	{`has(customer.attributes.none)`, "false"},
	{`!customer.attributes.none`, "true"},
	// These read as their type's zero value.
	{`gift`, "false"},
	{`left == duration("0s")`, "true"},
	{`until < time`, "true"},
}

var attributes = []evalCase{
	{`customer.attributes.age < 26`, "true"},
	{`customer.attributes.age == "24"`, "false"},
	{`customer.attributes.age != "24"`, "true"},
	{`customer.attributes.age + 1`, "25"},
	{`customer.attributes.town + "!"`, `"Oran!"`},
	{"customer.attributes.`home-town` == 'Sétif'", "true"},
	{`customer.attributes.vip && !gift`, "true"},
	{`customer.attributes.town.startsWith("Or")`, "true"},
	{`customer.attributes.town in ["Oran"]`, "true"},
	{`customer.attributes.age in ["24"]`, "false"},
	{`customer.attributes.age in [24]`, "true"},
	{`"film" in customer.attributes.likes`, "true"},
	{`customer.attributes.likes.exists(x, x.startsWith("fo"))`, "true"},
	{`customer.attributes.likes.all(x, x.startsWith("f") && size(x) == 4)`, "true"},
	{`size(customer.attributes.likes)`, "2"},
	{`customer.attributes.likes == ["film", "food"]`, "true"},
	{`customer.attributes.age * customer.attributes.age + customer.attributes.age`, "600"},
	{`customer.attributes.town + customer.attributes.town`, `"OranOran"`},
	{`customer.attributes.age - customer.attributes.age == 0`, "true"},
	{`customer.attributes.age * customer.attributes.town`, "error: customer.attributes.age is a number, customer.attributes.town is text"},
	{`(gift ? amount : customer.attributes.age) > 20`, "true"},
	{`customer.attributes.age in [1, customer.main / 0]`, "error: customer.main / 0: division by zero"},
	{`(customer).attributes.age == (24)`, "true"},
	{`customer.attributes.age < "x"`, "error: customer.attributes.age is a number, compared with text"},
	{`customer.attributes.town < 30`, "error: customer.attributes.town is text, compared with a number"},
	{`customer.attributes.town + 1`, "error: customer.attributes.town is text, 1 is a number"},
	{`customer.attributes.town && true`, "error: customer.attributes.town is text, true or false is needed"},
	{`-customer.attributes.town`, "error: customer.attributes.town is text, a number is needed"},
	{`customer.attributes.age.startsWith("2")`, "error: customer.attributes.age is a number, text is needed"},
	{`channel.startsWith(customer.attributes.age)`, "error: customer.attributes.age is a number, text is needed"},
	{`"x" in customer.attributes.town`, "error: customer.attributes.town is text, a list of text is needed"},
	{`customer.attributes.town.all(x, true)`, "error: customer.attributes.town is text, a list of text is needed"},
	{`customer.attributes.vip < customer.attributes.vip`, "error: customer.attributes.vip is true or false, which has no order"},
	{`int(customer.attributes.town)`, `error: int(customer.attributes.town): "Oran": not a plain decimal number`},
}

var textAndLists = []evalCase{
	{`channel + "-" + 'x'`, `"app-x"`},
	{`"abc" < "abd" && "Z" < "a"`, "true"},
	{`size("Sétif") == 5 && "Sétif".size() == 5`, "true"},
	{`channel.startsWith("a") && channel.endsWith("p") && channel.contains("pp")`, "true"},
	{`channel.matches("^a.p$") && !channel.matches("^p")`, "true"},
	{`"ÀbC".lowerAscii() + "ÀbC".upperAscii()`, `"ÀbcÀBC"`},
	{`"football" in topics && !("golf" in topics)`, "true"},
	{`channel in [channel + "x", channel]`, "true"},
	{`["a", channel] == ["a", "app"]`, "true"},
	{`["a", channel]`, `["a" "app"]`},
	{`[] == topics`, "false"},
	{`"x" in []`, "false"},
	{`topics.exists(t, t == "music" && amount > 300)`, "true"},
	{`topics.exists(t, t.contains("oo")) && topics.all(t, t in ["music", "football"])`, "true"},
	{`topics.exists(amount, amount == "music")`, "true"},
	{`[channel].exists(c, c == "app") && [].all(c, false)`, "true"},
	{`topics.exists(t, 1/0 == 1 || t == "music")`, "true"},
	{`topics.all(t, 1/0 == 1 || t == "music")`, "error: 1/0: division by zero"},
	{`"""a "b\" """ == 'a "b" '`, "true"},
	{`r"\" + R'\"' + '' == "\\\\\""`, "true"},
	{`'\u0041\n' == "A\n"`, "true"},
}

var times = []evalCase{
	{`time > timestamp("2026-11-06T23:30:14Z")`, "true"},
	{`time == timestamp("2026-11-07T00:30:15+01:00")`, "true"},
	{`time - duration("24h")`, "2026-11-05T23:30:15Z"},
	{`duration("1d") + time`, "2026-11-07T23:30:15Z"},
	{`time - timestamp("2026-11-06T00:00:00Z")`, "23h30m15s"},
	{`duration("1h30m") + duration("30m") - duration("1w")`, "-166h0m0s"},
	{`quiet > duration("1d") && quiet <= duration("36h")`, "true"},
	{`quiet.getHours()`, "36"},
	{`quiet.getMinutes() / 60 == quiet.getHours()`, "true"},
	{`quiet.getSeconds()`, "129600"},
	{`time.getHours()`, "0"},
	{`time.getHours("UTC")`, "23"},
	{`time.getHours("-08:00")`, "15"},
	{`time.getDayOfWeek()`, "6"},
	{`time.getDayOfWeek("UTC")`, "5"},
	{`time.getDate() == 7 && time.getDayOfMonth() == 6 && time.getMonth() == 10`, "true"},
	{`time.getFullYear() * 1000 + time.getDayOfYear()`, "2026310"},
	{`time.getMinutes() * 100 + time.getSeconds()`, "3015"},
	{`time.getHours("Africa/Algiers") == time.getHours()`, "true"},
}

var runTimeErrors = []evalCase{
	{`amount / (customer.main - 50)`, "error: amount / (customer.main - 50): division by zero"},
	{`amount % 0`, "error: amount % 0: division by zero"},
	{`9223372036854775807 + amount > 0`, "error: 9223372036854775807 + amount: decimal number out of range"},
	{`3037000500 * 3037000500 == 0`, "error: 3037000500 * 3037000500: decimal number out of range"},
	{`time + duration("2500000h") > time`, "error: time + duration(\"2500000h\"): time or duration out of range"},
	{`duration("-2500000h") - duration("2500000h")`, "error: duration(\"-2500000h\") - duration(\"2500000h\"): time or duration out of range"},
}

// A value of another kind than the vocabulary promised is an error, not a guess.
func TestBrokenPromise(t *testing.T) {
	w := newWords()
	x := mustCompile(t, "amount > 300", Bool)
	for want, value := range map[string]charge.Value{
		"amount is text, a number is needed":      charge.TextValue("400"),
		"amount is an object, a number is needed": {Kind: charge.Object},
	} {
		_, err := x.Holds(w.with(t, map[string]charge.Value{"amount": value}))
		if err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestWantedType(t *testing.T) {
	w := newWords()
	for _, tt := range []struct {
		source string
		want   Type
		got    string
	}{
		{"customer.main", Number, "50"},
		{"nothing.truth", Bool, "false"},
		{"nothing.number", Number, "missing"},
		{"customer.attributes.age", Number, "24"},
		{"customer.attributes.town", Number, "error: customer.attributes.town is text, a number is needed"},
		{"customer.attributes.town", Bool, "error: customer.attributes.town is text, true or false is needed"},
		{"topics", List, `["football" "music"]`},
	} {
		v, err := mustCompile(t, tt.source, tt.want).Eval(w.usual(t))
		got := show(v)
		if err != nil {
			got = "error: " + err.Error()
		}
		if got != tt.got {
			t.Errorf("%s as %v: got %s, want %s", tt.source, tt.want, got, tt.got)
		}
	}
}

// The bound on steps holds though || absorbs the error of the part that reached
// it, and a text cannot be doubled without end.
func TestRunTimeLimits(t *testing.T) {
	w := newWords()
	long := w.with(t, map[string]charge.Value{
		"topics":  charge.ListValue(make([]string, 200)),
		"channel": charge.TextValue(strings.Repeat("x", textBytesMax/2+1)),
	})
	for source, want := range map[string]string{
		`topics.all(x, !("a" in topics))`:                   "more than 10000 steps over lists",
		`topics.exists(x, "a" in topics) || true`:           "more than 10000 steps over lists",
		`topics.all(x, x == "")`:                            "",
		`channel + channel == ""`:                           "channel + channel: text longer than 65536 bytes",
		`channel + "x" != ""`:                               "",
		`topics.all(x, 1 in [2, 3, 1] && !("b" in topics))`: "more than 10000 steps over lists",
	} {
		holds, err := mustCompile(t, source, Bool).Holds(long)
		if want == "" && (err != nil || !holds) || want != "" && (err == nil || err.Error() != want || holds) {
			t.Errorf("%s: got %v, %v, want error %q", source, holds, err, want)
		}
	}
}

func TestSignaturesAreIndexedByFunction(t *testing.T) {
	for i, s := range signatures {
		if int(s.fn) != i {
			t.Errorf("%s lies at %d, its number is %d", s.name, i, s.fn)
		}
	}
	for typ, kind := range map[Type]charge.Kind{Bool: charge.Bool, Number: charge.Number, Text: charge.Text, List: charge.List, Time: charge.Time, Span: charge.Span} {
		if charge.Kind(typ) != kind {
			t.Errorf("type %v is not the number of kind %v", typ, kind)
		}
	}
}
