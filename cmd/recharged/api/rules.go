package api

import (
	"context"
	"math/big"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"recharged/rules"
	"recharged/stream"
)

func (a *API) registerRules() {
	huma.Register(a.huma, huma.Operation{
		OperationID: "rule-stats", Method: http.MethodGet, Path: "/v1/rules/stats", Tags: []string{"rulebook"},
		Summary: "What each rule has done, what is left of its budget, and the two arms of its holdout",
		Description: "Of the rules of the newest rulebook, in the order in which they are judged. A rule that is edited and keeps its name keeps its figures. " +
			"They are those of the last commits and survive restarts.",
		Security: needs(Read, Rules),
	}, a.ruleStats)
	a.handle(&huma.Operation{
		OperationID: "rulebook-schema", Method: http.MethodGet, Path: "/v1/rulebook/schema", Tags: []string{"rulebook"},
		Summary: "The JSON Schema of a rulebook, for editors", Security: open(), Metadata: always(),
		Responses: map[string]*huma.Response{
			"200": response("A JSON Schema, draft 2020-12.", map[string]*huma.MediaType{typeSchema: {Schema: &huma.Schema{Type: huma.TypeObject}}}),
		},
	}, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", typeSchema)
		_, _ = w.Write(rules.Schema())
	})
}

const typeSchema = "application/schema+json"

// RuleStat is what a rule has done.
type RuleStat struct {
	Name      string            `json:"name"`
	Results   map[string]uint64 `json:"results" doc:"Where it matched: applied, or why it was passed over (limit, budget, group, holdout, suspended, error), and how often."`
	Credited  map[string]string `json:"credited" doc:"What it gave, by balance, in the balance's unit."`
	Budget    *Budget           `json:"budget,omitempty"`
	Holdout   *Holdout          `json:"holdout,omitempty"`
	Suspended bool              `json:"suspended" doc:"It failed too often and waits for a rulebook in which it is mended."`
}

// Budget is what is left of what a rule may give.
type Budget struct {
	Unit      string `json:"unit"`
	Total     string `json:"total"`
	Spent     string `json:"spent"`
	Remaining string `json:"remaining" doc:"Negative if more was spent before the budget was lowered."`
}

// Holdout compares the customers who may get what a rule gives with those who are held back.
type Holdout struct {
	Treated Arm    `json:"treated"`
	Holdout Arm    `json:"holdout"`
	Uplift  string `json:"uplift,omitempty" doc:"By how much a treated customer recharged for more than one held back, in the currency; negative if for less. Absent while an arm has no customer."`
}

// Arm is one side of a holdout.
type Arm struct {
	Customers uint64 `json:"customers" doc:"Who met the rule."`
	Recharges uint64 `json:"recharges" doc:"How often they have recharged since."`
	Amount    string `json:"amount" doc:"What those recharges came to, in the currency."`
	Average   string `json:"average,omitempty" doc:"The same by customer, rounded: what the arms are compared by. Absent without a customer."`
}

type ruleStatsOutput struct {
	Body struct {
		Rules []RuleStat `json:"rules"`
	}
}

func (a *API) ruleStats(ctx context.Context, _ *struct{}) (*ruleStatsOutput, error) {
	stats, err := a.processor.RuleStats(ctx)
	if err != nil {
		return nil, a.failed(ctx, "reading what the rules have done", err)
	}
	out := &ruleStatsOutput{}
	out.Body.Rules = make([]RuleStat, len(stats))
	for i := range stats {
		out.Body.Rules[i] = describeStat(&stats[i])
	}
	return out, nil
}

func describeStat(s *stream.RuleStat) RuleStat {
	shown := RuleStat{Name: s.Rule, Results: s.Results, Credited: map[string]string{}, Suspended: s.Suspended}
	for _, c := range s.Credited {
		shown.Credited[c.Balance] = c.Amount
	}
	if b := s.Budget; b != nil {
		shown.Budget = &Budget{Unit: b.Unit, Total: b.Total, Spent: b.Spent, Remaining: b.Remaining}
	}
	if s.Treated != nil {
		shown.Holdout = describeHoldout(s.Treated, s.Held)
	}
	return shown
}

func describeHoldout(treated, held *stream.ArmStat) *Holdout {
	h := &Holdout{Treated: describeArm(treated), Holdout: describeArm(held)}
	ofTreated, ofHeld := average(treated), average(held)
	_, fraction, _ := strings.Cut(treated.Amount, ".")
	digits := len(fraction) // of the currency
	if ofTreated != nil {
		h.Treated.Average = ofTreated.FloatString(digits)
	}
	if ofHeld != nil {
		h.Holdout.Average = ofHeld.FloatString(digits)
	}
	if ofTreated != nil && ofHeld != nil {
		h.Uplift = new(big.Rat).Sub(ofTreated, ofHeld).FloatString(digits)
	}
	return h
}

func describeArm(s *stream.ArmStat) Arm {
	return Arm{Customers: s.Customers, Recharges: s.Recharges, Amount: s.Amount}
}

// average divides what an arm recharged for by its customers; nil if it has none.
func average(s *stream.ArmStat) *big.Rat {
	sum, ok := new(big.Rat).SetString(s.Amount)
	if !ok || s.Customers == 0 {
		return nil
	}
	return sum.Quo(sum, new(big.Rat).SetUint64(s.Customers))
}
