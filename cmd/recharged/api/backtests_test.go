package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

func backtestOf(rulebook, more string) string {
	text, err := json.Marshal(rulebook)
	if err != nil {
		panic(err)
	}
	return fmt.Sprintf(`{"rulebook":%s%s}`, text, more)
}

func TestBacktest(t *testing.T) {
	d := openDoor(t, nil)
	d.send("a", "recharge", `{"amount":350}`)
	d.send("b", "recharge", `{"amount":200}`)
	order := func(body string) answer {
		return d.do("POST", "/v1/backtests", body, "Content-Type", "application/json")
	}
	var started BacktestStarted
	order(backtestOf(strings.Replace(testBook, "amount > 300", "amount > 100", 1), "")).want(t, http.StatusAccepted).decode(t, &started)
	var b Backtest
	await := func(id string) {
		eventually(t, "the backtest has ended", func() bool {
			b = Backtest{}
			d.do("GET", "/v1/backtests/"+id, "").want(t, http.StatusOK).decode(t, &b)
			return b.State != "running"
		})
	}
	await(started.ID)
	if b.State != "done" || b.Progress != 1 || b.Result == nil || b.Ended == "" || b.Error != "" {
		t.Fatalf("backtest: %+v", b)
	}
	r := b.Result
	if r.Events != 2 || r.Customers != 1 || r.Rules[0].Credited["bonus"] != "550.00" || r.Difference.Rules[0].Credited["bonus"] != "200.00" ||
		r.Difference.Units[0].Changed.More != 1 || r.Gifts[0].Winners[0].MSISDN != "213*******56" {
		t.Errorf("result: %+v", r)
	}
	d.do("DELETE", "/v1/backtests/"+started.ID, "").want(t, http.StatusAccepted)
	d.do("GET", "/v1/backtests/"+started.ID, "").contains(t, `"state":"done"`)

	order(backtestOf(testBook, `,"from":"2001-01-01T00:00:00Z","to":"2001-01-02T00:00:00Z"`)).want(t, http.StatusAccepted).decode(t, &started)
	await(started.ID)
	if b.State != "done" || b.Result.Events != 0 || b.From != "2001-01-01T00:00:00Z" {
		t.Errorf("an empty window: %+v", b)
	}
	var list struct{ Backtests []Backtest }
	d.do("GET", "/v1/backtests", "").want(t, http.StatusOK).decode(t, &list)
	if len(list.Backtests) != 2 || list.Backtests[0].ID != started.ID || list.Backtests[0].Result != nil {
		t.Errorf("list: %+v", list)
	}
}

func TestBacktestRefuses(t *testing.T) {
	d := openDoor(t, nil)
	d.send("a", "recharge", `{"amount":350}`)
	for _, test := range []struct {
		body   string
		status int
		answer string
	}{
		{backtestOf(strings.Replace(testBook, "amount > 300", "amuont > 300", 1), ""), http.StatusUnprocessableEntity, `"problems":[{`},
		{backtestOf(testBook, `,"from":"2026-01-02T00:00:00Z","to":"2026-01-01T00:00:00Z"`), http.StatusUnprocessableEntity, "from must be before to"},
		{backtestOf(testBook, `,"from":"1001-01-02T00:00:00Z"`), http.StatusUnprocessableEntity, `"location":"body.from"`},
		{backtestOf(testBook, `,"form":"2026-01-02T00:00:00Z"`), http.StatusUnprocessableEntity, "form"},
		{`{}`, http.StatusUnprocessableEntity, "rulebook"},
		{backtestOf(strings.NewReplacer("  bonus: {unit: DZD, order: 10, validity: 30d}\n", "", "{credit: {to: bonus, percent: 100, validity: 7d}}, ", "", "Bonus : {credited.bonus} DA.", "Oui").Replace(testBook), ""), http.StatusConflict, "customers hold"},
	} {
		d.do("POST", "/v1/backtests", test.body, "Content-Type", "application/json").want(t, test.status).contains(t, test.answer)
	}
	d.do("GET", "/v1/backtests/none", "").want(t, http.StatusNotFound)
	d.do("DELETE", "/v1/backtests/none", "").want(t, http.StatusNotFound)
	d.do("GET", "/v1/backtests", "").want(t, http.StatusOK).contains(t, `"backtests":[]`)
}
