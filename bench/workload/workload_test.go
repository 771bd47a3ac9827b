package workload

import (
	"encoding/json"
	"fmt"
	"go/parser"
	"go/token"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

var base = time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC)

func generate(seed uint64) []Event {
	return Generate(Options{Seed: seed, Events: 5000, Customers: 500, Base: base, Expiries: time.Minute})
}

// TestGenerateIsSeeded: one seed, one stream.
func TestGenerateIsSeeded(t *testing.T) {
	same := func(a, b Event) bool {
		return string(a.Body) == string(b.Body) && a.Customer == b.Customer && a.Reject == b.Reject
	}
	if !slices.EqualFunc(generate(7), generate(7), same) {
		t.Error("two streams of one seed differ")
	}
	if slices.EqualFunc(generate(7), generate(8), same) {
		t.Error("two seeds give one stream")
	}
}

// TestGenerateIsWhatItSays: the mix has everything that it promises, and usage
// comes about five times as often as recharges.
func TestGenerateIsWhatItSays(t *testing.T) {
	kinds, rejects, busiest := map[string]int{}, map[string]int{}, map[int]int{}
	o := NewOracle(base)
	for _, e := range generate(1) {
		busiest[e.Customer]++
		if e.Reject != "" {
			rejects[e.Reject]++
			continue
		}
		kinds[read(e.Body).Type]++
		o.Fold(e.Body)
	}
	for _, kind := range []string{"recharge", "usage", "adjustment", "profile", "contact", "survey", "grievance", "cdr"} {
		if kinds[kind] == 0 {
			t.Errorf("no event of type %s", kind)
		}
	}
	if ratio := kinds["usage"] / kinds["recharge"]; ratio < 4 || ratio > 5 {
		t.Errorf("%d usages and %d recharges, want about 5:1", kinds["usage"], kinds["recharge"])
	}
	for _, reason := range []string{
		"malformed", "missing_attribute", "bad_subject", "bad_time", "unknown_type",
		"bad_amount", "bad_currency", "unknown_service", "too_large",
	} {
		if rejects[reason] == 0 {
			t.Errorf("nothing to be rejected as %s", reason)
		}
	}
	if most := slices.Max(slices.Collect(maps.Values(busiest))); most < 100 {
		t.Errorf("the busiest customer of 500 has %d of 5000 events, want many more than its share", most)
	}
	wanted := map[string]int64{} // by rule that chance decides
	for _, story := range o.Stories {
		for _, c := range story.Chances {
			wanted[c.Rule] += c.Amount
		}
	}
	for rule, budget := range Budgets(5000) {
		if wanted[rule]*9 < budget.Total*10 || budget.Total*3 < wanted[rule] {
			t.Errorf("%s would give %d, its budget is %d: want it gone before the end, not at the beginning", rule, wanted[rule], budget.Total)
		}
	}
	if wanted["trial"] == 0 {
		t.Error("nobody meets the rule with a holdout")
	}
	verdicts, parked, conflicts := map[string]int{}, map[string]int{}, 0
	for _, story := range o.Stories {
		parked[story.Reason]++
		conflicts += story.Conflicts
		for _, rule := range story.Rules {
			verdicts[rule]++
		}
	}
	for _, reason := range []string{"too_late", "from_the_future", "unknown_balance", "overflow"} {
		if parked[reason] == 0 {
			t.Errorf("nothing to be parked as %s", reason)
		}
	}
	for _, verdict := range []string{
		"double-300 applied", "step-up applied", "step-up skipped limit", "app-first applied", "app-first skipped limit",
		"any-channel applied", "any-channel skipped group", "third-recharge applied", "youth-data applied",
		"youth-data skipped limit", "long-call applied", "long-call skipped limit", "low-balance applied",
		"visit applied", "detractor applied", "promoter applied", "recharge-velocity applied", "recharge-velocity skipped limit",
	} {
		if verdicts[verdict] == 0 {
			t.Errorf("no event makes the verdict %s", verdict)
		}
	}
	if conflicts == 0 || len(o.Notes) == 0 || len(o.Alerts) == 0 {
		t.Errorf("%d conflicts, %d notifications, %d alerts", conflicts, len(o.Notes), len(o.Alerts))
	}
}

// event writes an event of one customer.
func event(id, kind, at, data string) []byte {
	envelope, err := json.Marshal(map[string]any{
		"specversion": "1.0", "id": id, "source": "/test", "type": kind, "subject": "+213770000000",
		"time": at, "data": json.RawMessage(data),
	})
	if err != nil {
		panic(err)
	}
	return envelope
}

// TestOracle checks the oracle against amounts that were worked out by hand.
func TestOracle(t *testing.T) {
	o := NewOracle(base)
	o.Fold(event("1", "recharge", "2026-11-21T08:00:00Z", `{"amount":"350.5","channel":"app"}`))
	c := o.Customers["213770000000"]
	// 350.50 to main; doubled, and 7.5 % of it rounded down, to bonus.
	if main, bonus, points := c.Total("main"), c.Total("bonus"), c.Total("points"); main != 35050 || bonus != 35050+2628 || points != 50 {
		t.Fatalf("main %d, bonus %d, points %d", main, bonus, points)
	}
	if c.Tried == nil || c.Tried.Recharges != 0 || !c.Tags["silent"] {
		t.Errorf("tried %+v, tags %v", c.Tried, c.Tags)
	}
	first := o.Stories[Key("/test", "1")]
	rules, postings := first.Settled([]string{"app-first applied", "gift-app applied", "refund skipped budget", "trial applied"})
	if want := "app-first applied,any-channel skipped group,double-300 applied,gift-app applied,refund skipped budget,step-up applied,trial applied"; strings.Join(rules, ",") != want {
		t.Errorf("settled rules %q", rules)
	}
	if postings["gifts gift-app"] != 5000 || postings["refunds refund"] != 0 || postings["trials trial"] != 1 || first.Postings["gifts gift-app"] != 0 {
		t.Errorf("settled postings %v", postings)
	}
	if n := o.Notes[0]; n.Text != "Vous avez rechargé 350.50 DA. Bonus : 350.50 DA, valable jusqu'au 28/11/2026 09:00." {
		t.Errorf("notification %q", n.Text)
	}
	o.Fold(event("1", "recharge", "2026-11-21T08:00:00Z", `{"amount":"350.5","channel":"app"}`)) // A repeat.
	o.Fold(event("1", "recharge", "2026-11-21T08:00:00Z", `{"amount":"10"}`))                    // A conflict.
	if c.Recharges != 1 || o.Stories[Key("/test", "1")].Conflicts != 1 {
		t.Errorf("%d recharges, %d conflicts, want 1 and 1", c.Recharges, o.Stories[Key("/test", "1")].Conflicts)
	}
	// 361 s are 7 started minutes: 28.00, from the bonus that expires first; a
	// tenth of it comes back.
	o.Fold(event("2", "usage", "2026-11-21T08:10:00Z", `{"service":"voice","units":361}`))
	live := c.Live("bonus", base)
	if len(live) != 3 || live[0].Amount != 35050-2800 || live[1].Amount != 280 || live[2].Amount != 2628 {
		t.Errorf("bonus in parts %v", live)
	}
	o.Fold(event("3", "usage", "2026-11-21T08:11:00Z", `{"service":"sms","units":1,"charge":"1000"}`))
	story := o.Stories[Key("/test", "3")]
	if left := c.Total("main") + c.Total("bonus"); left != 0 || story.Shortfall != 100000-35050-35158 {
		t.Errorf("left %d, shortfall %d", left, story.Shortfall)
	}
	if note := o.Notes[len(o.Notes)-1]; note.Text != "Votre solde est de 0 DA." {
		t.Errorf("notification %q", note.Text)
	}
	o.Fold(event("4", "recharge", "2026-11-18T08:00:00Z", `{"amount":"100"}`))
	if late := o.Stories[Key("/test", "4")]; late.Result != "parked" || late.Reason != "too_late" || c.Recharges != 1 {
		t.Errorf("late event %+v, %d recharges", late, c.Recharges)
	}
}

// TestRulebook: every budget stands in the rulebook, and nothing that looks like
// the word for one is left.
func TestRulebook(t *testing.T) {
	book := string(Rulebook(1000))
	for rule, budget := range Budgets(1000) {
		if text := fmt.Sprintf("budget: %d.%02d}", budget.Total/100, budget.Total%100); !strings.Contains(book, text) {
			t.Errorf("%s has no %s", rule, text)
		}
	}
	if strings.Contains(book, "$") {
		t.Error("a word for a budget is left")
	}
}

// TestOracleIsIndependent: what the oracle shared with the code under test, it
// could not find wrong.
func TestOracleIsIndependent(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range parsed.Imports {
			if path, _ := strconv.Unquote(i.Path.Value); strings.HasPrefix(path, "recharged/") {
				t.Errorf("%s imports %s", file, path)
			}
		}
	}
}
