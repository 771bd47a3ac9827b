package stream

import (
	"math"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"recharged/state/money"
)

func gathered(t *testing.T, registry *prometheus.Registry) map[string][]string {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	series := map[string][]string{}
	for _, f := range families {
		for _, m := range f.Metric {
			series[f.GetName()] = append(series[f.GetName()], m.String())
		}
	}
	return series
}

// What nobody has done yet is there at zero: one can only alert on what exists.
func TestEveryMetricIsThereFromTheStart(t *testing.T) {
	registry := prometheus.NewRegistry()
	startProcessor(t, t.TempDir(), func(o *Options) { o.Registry = registry })
	series := gathered(t, registry)
	for _, name := range []string{
		"events_total", "event_seconds", "stage_seconds", "recharge_amount_total", "usage_charged_total",
		"rule_results_total", "rule_credited_total", "shortfall_total", "notifications_total", "alerts_total",
		"log_lag_records", "log_lag_seconds", "parked_events", "parked_total", "customers", "state_bytes",
		"cache_requests_total", "ledger_imbalance", "rulebook_info", "build_info",
	} {
		if len(series["recharged_"+name]) == 0 {
			t.Errorf("recharged_%s has no series", name)
		}
	}
}

func TestNoNumberOfACustomerBecomesALabel(t *testing.T) {
	registry := prometheus.NewRegistry()
	p := startProcessor(t, t.TempDir(), func(o *Options) { o.Registry = registry })
	for i, channel := range []string{"213779999999", "+213 779999", strings.Repeat("x", 300), "app"} {
		event := rechargeJSON(string(rune('a'+i)), 1, "5")
		send(t, p, strings.Replace(event, `"app"`, `"`+channel+`"`, 1))
	}
	settled(t, p)
	all := strings.Join(gathered(t, registry)["recharged_recharge_amount_total"], "\n")
	if strings.Contains(all, "779999") || strings.Contains(all, "xxxx") || !strings.Contains(all, `"app"`) || !strings.Contains(all, `"other"`) {
		t.Errorf("channels:\n%s", all)
	}
}

func TestASmallNegativeSumIsNotRoundedAway(t *testing.T) {
	var sum money.Sum
	sum.Add(-5)
	if got := sumValue(sum); got != -5 {
		t.Errorf("-5 is shown as %v", got)
	}
	for range 3 {
		sum.AddSum(money.Sum{Hi: 1})
	}
	if got := sumValue(sum); math.Abs(got-3*math.Pow(2, 64)) > 1e6 {
		t.Errorf("3·2⁶⁴-5 is shown as %v", got)
	}
}
