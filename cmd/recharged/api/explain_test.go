package api

import (
	"net/http"
	"strings"
	"testing"
)

func TestExplain(t *testing.T) {
	d := openDoor(t, nil)
	ask := func(body string) answer { return d.do("POST", "/v1/explain", body, "Content-Type", "application/json") }
	var x Explanation
	ask(`{"msisdn":"+`+msisdn+`","event":{"type":"recharge","data":{"amount":200}}}`).want(t, http.StatusOK).decode(t, &x)
	double := x.Rules[0]
	if double.Name != "double-300" || double.Applies || double.Reason != "condition" || double.Failed != "amount > 300" || *double.Saw["amount"] != "200.00" ||
		double.Detail != "amount > 300 is false: amount is 200" {
		t.Errorf("double-300: %+v", double)
	}
	if x.Result != "applied" || x.Past || x.Rulebook != 1 || len(x.Postings) != 1 || x.Postings[0].Amount != "200.00" || x.Balances["main"].Amount != "200.00" ||
		x.Event.Subject != msisdn || x.Event.Source != "/explain" || x.Event.ID == "" || x.Event.Time != x.Clock {
		t.Errorf("explanation: %+v", x)
	}
	d.do("GET", "/v1/customers/"+msisdn, "").want(t, http.StatusNotFound)

	d.send("r", "recharge", `{"amount":"350.00","channel":"ussd"}`)
	ask(`{"msisdn":"`+msisdn+`","past":{"id":"r"}}`).want(t, http.StatusOK).decode(t, &x)
	if !x.Past || x.Doubt != "" || !x.Rules[0].Applies || len(x.Postings) != 2 || len(x.Messages) != 1 || x.Messages[0].Text != "Bonus : 350 DA." ||
		!strings.Contains(string(x.Event.Data), `"channel":"ussd"`) {
		t.Errorf("past: %+v", x)
	}
	ask(event("r", "recharge", `{"amount":1}`)).want(t, http.StatusUnprocessableEntity)
	ask(`{"event":`+event("r", "recharge", `{"amount":1}`)+`}`).want(t, http.StatusOK).contains(t, `"result":"parked","reason":"id_conflict"`)
	ask(`{"msisdn":"`+msisdn+`","event":{"type":"contact","time":"2001-01-01T00:00:00Z","data":{"channel":"app"}}}`).want(t, http.StatusOK).contains(t, `"reason":"too_late"`)
	d.send("r2", "recharge", `{"amount":10}`)
	ask(`{"msisdn":"`+msisdn+`","event":{"type":"recharge","data":{"amount":10}}}`).want(t, http.StatusOK).
		contains(t, `"alerts":[{"rule":"velocity","severity":"warning","summary":"3 recharges"`)
}

func TestExplainRefusesAsTheDoorDoes(t *testing.T) {
	d := openDoor(t, nil)
	tests := []struct{ body, answer string }{
		{`{"msisdn":"` + msisdn + `","event":{"type":"recharge","data":{"amount":-5}}}`, `"location":"body.event.data.amount","value":"bad_amount"`},
		{`{"msisdn":"` + msisdn + `","event":{"type":"rechagre"}}`, `"location":"body.event.type","value":"unknown_type"`},
		{`{"msisdn":"` + msisdn + `","event":{"id":"a","id":"b","type":"recharge","data":{"amount":5}}}`, `"value":"malformed"`},
		{`{"msisdn":"` + msisdn + `","event":{}}`, `"location":"body.event.type","value":"missing_attribute"`},
		{`{"msisdn":"` + msisdn + `","event":7}`, `"value":"malformed"`},
		{`{"event":{"type":"recharge","data":{"amount":5}}}`, `"location":"body.event.subject","value":"missing_attribute"`},
		{`{"msisdn":"12ab","event":{"type":"recharge","data":{"amount":5}}}`, `"location":"body.msisdn","value":"bad_subject"`},
		{`{"msisdn":"` + msisdn + `","event":{"type":"recharge","subject":"213770999999","data":{"amount":5}}}`, `"location":"body.event.subject"`},
		{`{"msisdn":"` + msisdn + `"}`, `ask about one event`},
		{`{"msisdn":"` + msisdn + `","event":{"type":"recharge","data":{"amount":5}},"past":{"id":"r"}}`, `ask about one event`},
		{`{"past":{"id":"r"}}`, `"location":"body.msisdn"`},
	}
	for _, test := range tests {
		d.do("POST", "/v1/explain", test.body, "Content-Type", "application/json").want(t, http.StatusUnprocessableEntity).contains(t, test.answer)
	}
	d.do("POST", "/v1/explain", `{"msisdn":"`+msisdn+`","past":{"id":"r"}}`, "Content-Type", "application/json").want(t, http.StatusNotFound)
	d.do("GET", "/v1/explain", "").want(t, http.StatusMethodNotAllowed)
}
