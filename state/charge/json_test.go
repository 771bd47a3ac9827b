package charge_test

import (
	"testing"

	"github.com/go-json-experiment/json/jsontext"
	"pgregory.net/rapid"

	"recharged/state/charge"
	"recharged/state/money"
)

// goldenOutcome is a recharge that a rule doubled.
func goldenOutcome() *charge.Outcome {
	msisdn, err := charge.ParseMSISDN("213770123456")
	if err != nil {
		panic(err)
	}
	at := instant("2026-11-21T10:00:00Z")
	return &charge.Outcome{
		EventID: "01JD", Source: "/ussd-gw/1", Type: charge.Recharge, MSISDN: msisdn, Time: at, Accepted: at + 1_500_000,
		Position: charge.Position{Sequence: 42, Offset: 3}, Result: charge.Applied, Rulebook: 7,
		Postings: []charge.Posting{
			{Balance: "main", Account: charge.AccountRecharge, Amount: 35000, Unit: dinar, Cause: "recharge", After: 41000},
			{Balance: "bonus", Account: "promo:double-300", Amount: 35000, Unit: dinar, Cause: "double-300",
				Expires: instant("2026-11-28T10:00:00Z"), After: 35000},
		},
		Rules: []charge.RuleResult{
			{Name: "double-300", Verdict: charge.RuleApplied},
			{Name: "friday-tiers", Verdict: charge.RuleSkipped, Reason: charge.SkipGroup},
		},
		Money: dinar, Amount: 35000, Channel: "ussd",
	}
}

const goldenOutcomeJSON = `{"event":"01JD","source":"/ussd-gw/1","type":"recharge","msisdn":"213770123456","time":"2026-11-21T10:00:00Z",` +
	`"result":"applied","rulebook":7,` +
	`"postings":[{"balance":"main","amount":"350.00","cause":"recharge","after":"410.00"},` +
	`{"balance":"bonus","amount":"350.00","cause":"double-300","expires":"2026-11-28T10:00:00Z","after":"350.00"}],` +
	`"rules":[{"name":"double-300","result":"applied"},{"name":"friday-tiers","result":"skipped","reason":"group"}],` +
	`"shortfall":"0.00"}`

func TestOutcomeJSON(t *testing.T) {
	parked := charge.Outcome{
		EventID: "x", Source: "/a", Type: charge.Usage, MSISDN: goldenOutcome().MSISDN, Time: goldenOutcome().Time,
		Result: charge.Parked, Reason: string(charge.TooLate), Detail: "older than 48h", Rulebook: 2, Money: dinar,
	}
	usage := charge.Outcome{
		EventID: "u", Source: "/b", Type: charge.Usage, MSISDN: parked.MSISDN, Time: parked.Time, Result: charge.Applied, Rulebook: 2,
		Postings:  []charge.Posting{{Balance: "data", Account: charge.AccountUsage, Amount: -1024, Unit: money.Byte, Cause: "usage"}},
		Rules:     []charge.RuleResult{{Name: "r", Verdict: charge.RuleSkipped, Reason: charge.SkipError, Detail: "no age"}},
		Shortfall: 305, Money: dinar,
	}
	for name, test := range map[string]struct {
		outcome *charge.Outcome
		want    string
	}{
		"a doubled recharge": {goldenOutcome(), goldenOutcomeJSON},
		"parked": {&parked, `{"event":"x","source":"/a","type":"usage","msisdn":"213770123456","time":"2026-11-21T10:00:00Z",` +
			`"result":"parked","reason":"too_late","detail":"older than 48h","rulebook":2,"postings":[],"rules":[],"shortfall":"0.00"}`},
		"usage": {&usage, `{"event":"u","source":"/b","type":"usage","msisdn":"213770123456","time":"2026-11-21T10:00:00Z",` +
			`"result":"applied","rulebook":2,"postings":[{"balance":"data","amount":"-1024","cause":"usage","after":"0"}],` +
			`"rules":[{"name":"r","result":"skipped","reason":"error","detail":"no age"}],"shortfall":"3.05"}`},
	} {
		if got := string(charge.AppendOutcomeJSON(nil, test.outcome)); got != test.want {
			t.Errorf("%s:\ngot  %s\nwant %s", name, got, test.want)
		}
	}
}

func TestCloudEventsOut(t *testing.T) {
	at := instant("2026-11-21T10:00:00.0015Z")
	n := charge.Notification{
		MSISDN: goldenOutcome().MSISDN, EventID: "01JD", Source: "/ussd-gw/1", Rule: "double-300", Channel: "sms", Template: "doubled",
		Language: "ar", Text: "رصيدك \"350\" DA\n", Time: at,
	}
	later := n
	later.SendAfter = instant("2026-11-22T08:00:00Z")
	a := charge.Alert{Name: "velocity", Severity: "warning", Summary: "6 recharges <10m>", StartsAt: at}
	over := a
	over.Labels, over.EndsAt = []charge.Label{{"partition", "0"}, {"zone", "é"}}, instant("2026-11-21T11:00:00Z")
	open := func(id, kind, subject string) string {
		return `{"specversion":"1.0","id":"` + id + `","source":"/recharged","type":"` + kind + `",` + subject +
			`"time":"2026-11-21T10:00:00.0015Z","datacontenttype":"application/json","data":`
	}
	const subject = `"subject":"213770123456",`
	const message = `{"template":"doubled","language":"ar","text":"رصيدك \"350\" DA\n","rule":"double-300","event":"01JD"`
	const alert = `{"name":"velocity","severity":"warning","summary":"6 recharges <10m>","labels":`
	for name, test := range map[string]struct{ got, want string }{
		"notification": {string(charge.AppendNotificationEvent(nil, "0-5-0", &n)),
			open("0-5-0", "recharged.notification", subject) + message + `}}`},
		"notification for later": {string(charge.AppendNotificationEvent(nil, "0-5-1", &later)),
			open("0-5-1", "recharged.notification", subject) + message + `,"send_after":"2026-11-22T08:00:00Z"}}`},
		"alert": {string(charge.AppendAlertEvent(nil, "0-5-a0", &a)),
			open("0-5-a0", "recharged.alert", "") + alert + `{},"starts_at":"2026-11-21T10:00:00.0015Z"}}`},
		"alert that is over": {string(charge.AppendAlertEvent(nil, "0-5-a1", &over)),
			open("0-5-a1", "recharged.alert", "") + alert + `{"partition":"0","zone":"é"},"starts_at":"2026-11-21T10:00:00.0015Z","ends_at":"2026-11-21T11:00:00Z"}}`},
		"outcome": {string(charge.AppendOutcomeEvent([]byte("x"), "0-5-o0", goldenOutcome())),
			"x" + open("0-5-o0", "recharged.outcome", subject) + goldenOutcomeJSON + `}`},
	} {
		if test.got != test.want {
			t.Errorf("%s:\ngot  %s\nwant %s", name, test.got, test.want)
		}
	}
}

// Whatever texts hold, what goes out is strict JSON.
func TestOutputIsValidJSON(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		wild := rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) })
		o := outcomes().Draw(t, "outcome")
		o.EventID, o.Detail = wild.Draw(t, "id"), wild.Draw(t, "detail")
		n := charge.Notification{MSISDN: o.MSISDN, Text: wild.Draw(t, "text"), Time: o.Time, SendAfter: orNever().Draw(t, "after")}
		a := charge.Alert{Summary: wild.Draw(t, "summary"), StartsAt: o.Time, Labels: []charge.Label{{"a", wild.Draw(t, "label")}, {"b", ""}}}
		for _, text := range [][]byte{
			charge.AppendOutcomeEvent(nil, wild.Draw(t, "o"), &o), charge.AppendNotificationEvent(nil, "n", &n), charge.AppendAlertEvent(nil, "a", &a),
		} {
			if !jsontext.Value(text).IsValid() {
				t.Fatalf("no valid JSON: %q", text)
			}
		}
	})
}
