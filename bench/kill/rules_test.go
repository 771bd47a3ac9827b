package kill

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"time"

	"recharged/bench/workload"
)

// The rules of the rulebook with a holdout, and that waits for silence.
const (
	trialRule  = "trial"
	silentRule = "come-back"
)

// silentTimeline reads the timeline of a customer, once the last recharge in it is
// followed by the end of its silence.
func (r *run) silentTimeline(msisdn string) (outcomes []outcome, err error) {
	err = poll(10*time.Second, func() error {
		if outcomes, err = r.timeline(msisdn); err != nil {
			return err
		}
		for _, o := range outcomes {
			switch {
			case o.Type == "timer":
				return nil
			case o.Type == "recharge" && o.Result == "applied":
				return errors.New("nothing happened when the silence after the last recharge was over")
			}
		}
		return nil
	})
	return outcomes, err
}

// verifySilences demands that a silence ends once, after a recharge, and gives
// what it is to give; it returns how many did.
func verifySilences(outcomes []outcome) (n int, err error) {
	waiting := false
	for _, o := range slices.Backward(outcomes) {
		switch {
		case o.Type == "recharge" && o.Result == "applied":
			waiting = true
		case o.Type != "timer":
		case !waiting:
			return n, fmt.Errorf("%s: the silence after a recharge ended twice", o.Event)
		case !slices.Equal(o.verdicts(), []string{silentRule + " applied"}) || !maps.Equal(o.sums(), map[string]int64{"lures " + silentRule: 1}):
			return n, fmt.Errorf("%s: rules %q, postings %v", o.Event, o.verdicts(), o.sums())
		default:
			waiting = false
			n++
		}
	}
	return n, nil
}

// tally is what the timelines say that each rule did.
type tally map[string]*deeds

type deeds struct {
	results  map[string]uint64
	credited map[string]int64 // by balance
}

func (t tally) of(rule string) *deeds {
	if t[rule] == nil {
		t[rule] = &deeds{map[string]uint64{}, map[string]int64{}}
	}
	return t[rule]
}

func (t tally) add(o outcome) {
	for _, rule := range o.Rules {
		result := rule.Reason
		if rule.Result == "applied" {
			result = rule.Result
		}
		t.of(rule.Name).results[result]++
	}
	for _, p := range o.Postings {
		if p.Cause != "recharge" && p.Cause != "usage" && p.Cause != "adjustment" && p.Cause != "expiry" {
			t.of(p.Cause).credited[p.Balance] += minor(p.Amount, p.Balance)
		}
	}
}

// verifyBudgets compares what all customers got out of the budgets with what is
// in them. That every credit is one that the rule gives is for the stories to
// say, and that nothing is refused that a budget holds, for the logs.
func (r *run) verifyBudgets(tally tally, faults *faults) {
	wanted := map[string]int64{} // if there were no budgets
	for _, story := range r.oracle.Stories {
		for _, chance := range story.Chances {
			wanted[chance.Rule] += chance.Amount
		}
	}
	for rule, budget := range workload.Budgets(len(r.events)) {
		did := tally.of(rule)
		switch given := did.credited[budget.Balance]; {
		case wanted[rule] <= budget.Total:
			faults.add("%s would give %d if it could, its budget is %d: this proves nothing", rule, wanted[rule], budget.Total)
		case given > budget.Total:
			faults.add("%s gave %d to all customers together, its budget is %d", rule, given, budget.Total)
		case budget.Equal != 0 && int64(did.results["applied"])*budget.Equal != given:
			faults.add("%s gave %d in %d gifts of %d", rule, given, did.results["applied"], budget.Equal)
		}
	}
}

// arms are those of the rule with a holdout.
type arms struct{ Treated, Holdout arm }

type arm struct{ Customers, Recharges, Amount int64 }

// verifyHoldout demands that a customer always gets what a rule with a holdout
// gives, or never, and that one in five never does.
func (r *run) verifyHoldout(seen map[string]*traces, faults *faults) (both arms) {
	held := map[string]bool{}
	for key, story := range r.oracle.Stories {
		got := seen[key]
		if got == nil || !slices.ContainsFunc(story.Chances, func(c workload.Chance) bool { return c.Rule == trialRule }) {
			continue
		}
		msisdn, out := story.Event.Subject, slices.Contains(got.outcome.verdicts(), trialRule+" skipped holdout")
		if before, known := held[msisdn]; known && before != out {
			faults.add("customer %s is in both arms of %s", msisdn, trialRule)
		}
		held[msisdn] = out
	}
	for msisdn, out := range held {
		arm, tried := &both.Treated, r.oracle.Customers[msisdn].Tried
		if out {
			arm = &both.Holdout
		}
		arm.Customers++
		arm.Recharges += tried.Recharges
		arm.Amount += tried.Amount
	}
	// The numbers of the customers are always the same, and so are the arms: the
	// fewest that there are in a test differ by less than this from one in five.
	if all := int64(len(held)); 5*both.Holdout.Customers < all*7/10 || 5*both.Holdout.Customers > all*13/10 {
		faults.add("of %d customers %d are held out, want about one in five", all, both.Holdout.Customers)
	}
	return both
}

// ruleStat is a rule of the statistics.
type ruleStat struct {
	Name     string
	Results  map[string]uint64
	Credited map[string]json.RawMessage
	Budget   *struct{ Total, Spent, Remaining json.RawMessage }
	Holdout  *struct {
		Treated, Holdout struct {
			Customers, Recharges int64
			Amount               json.RawMessage
		}
	}
}

func (r *run) ruleStats() ([]ruleStat, error) {
	var stats struct{ Rules []ruleStat }
	err := r.get("/v1/rules/stats", &stats)
	return stats.Rules, err
}

// verifyStats compares the statistics of all rules with the timelines, and the
// metric of the budgets with both.
func (r *run) verifyStats(tally tally, want arms, faults *faults) {
	stats, err := r.ruleStats()
	if err != nil {
		faults.add("%v", err)
	}
	metrics, err := r.read("/metrics")
	if err != nil {
		faults.add("metrics: %v", err)
	}
	remaining, budgets := map[string]string{}, workload.Budgets(len(r.events))
	for _, match := range budgetMetric.FindAllStringSubmatch(string(metrics), -1) {
		remaining[match[1]] = match[2]
	}
	for _, s := range stats {
		did := tally.of(s.Name)
		if !maps.Equal(s.Results, did.results) {
			faults.add("the statistics of %s say %v, the timelines %v", s.Name, s.Results, did.results)
		}
		credited := map[string]int64{}
		for balance, amount := range s.Credited {
			credited[balance] = minor(amount, balance)
		}
		if !maps.Equal(credited, did.credited) {
			faults.add("the statistics of %s say that it gave %v, the timelines %v", s.Name, credited, did.credited)
		}
		if budget, has := budgets[s.Name]; has || s.Budget != nil {
			left := budget.Total - did.credited[budget.Balance]
			if s.Budget == nil || minor(s.Budget.Total, budget.Balance) != budget.Total || minor(s.Budget.Remaining, budget.Balance) != left {
				faults.add("the budget of %s is %s, want %d of which %d are left", s.Name, s.Budget, budget.Total, left)
			}
			if metric, err := strconv.ParseFloat(remaining[s.Name], 64); err != nil || int64(metric*100+0.5) != left {
				faults.add("by the metrics %q are left of the budget of %s, want %d centimes", remaining[s.Name], s.Name, left)
			}
		}
		if s.Holdout != nil {
			treated, held := s.Holdout.Treated, s.Holdout.Holdout
			got := arms{
				arm{treated.Customers, treated.Recharges, minor(treated.Amount, "main")},
				arm{held.Customers, held.Recharges, minor(held.Amount, "main")},
			}
			if got != want {
				faults.add("the arms of %s are %+v, want %+v", s.Name, got, want)
			}
		}
		delete(tally, s.Name)
	}
	for rule := range tally {
		faults.add("rule %s is not in the statistics", rule)
	}
}

var budgetMetric = regexp.MustCompile(`(?m)^recharged_rule_budget_remaining\{rule="([^"]+)"\} (\S+)$`)

// watchBudgets looks at the budgets again and again until that is done, and
// returns how often the server let it, and the first time that more was spent
// than there was.
func (r *run) watchBudgets(done <-chan struct{}) (looks int, overrun error) {
	const every = 50 * time.Millisecond
	budgets := workload.Budgets(len(r.events))
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-done:
			return looks, overrun
		case <-ticker.C:
		}
		stats, err := r.ruleStats()
		if err != nil {
			continue // It may be dead.
		}
		looks++
		for _, s := range stats {
			if s.Budget == nil || overrun != nil {
				continue
			}
			budget := budgets[s.Name]
			left, given := minor(s.Budget.Remaining, budget.Balance), minor(s.Credited[budget.Balance], budget.Balance)
			if left < 0 || left > budget.Total || given > budget.Total {
				overrun = fmt.Errorf("of the %d that %s may give, %d are left and %d were given", budget.Total, s.Name, left, given)
			}
		}
	}
}
