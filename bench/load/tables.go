package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// tables is the result of a run.
type tables struct {
	options *options
	where   environment
	rows    []*row // at given rates
	found   []*row // at the highest rate that was sustained
}

// String writes everything as Markdown.
func (t *tables) String() string {
	var b strings.Builder
	o := t.options
	fmt.Fprintf(&b, "%s- workload: seed %d, %d customers drawn %s, %d %% recharges; single events unless said otherwise; via %s, %d connections\n",
		t.where, o.seed, customersMax, t.drawn(), rechargesOf100, o.via, o.lanes)
	fmt.Fprintf(&b, "- rows: %v after a warm-up of %v; searches: %v a rate; durable: every acknowledgement is after an fsync, except for %q\n",
		o.length, o.warm, o.step, nameUnsynced)

	b.WriteString("\nLatency in ms, p50 / p99 / p99.9, single events, open loop. The first two count from the intended send time.\n\n" +
		"| events/s | target | → acknowledged | → notification | acknowledged → notification | late > 1 ms | remark |\n" +
		"|---:|---|---|---|---|---:|---|\n")
	for _, r := range t.rows {
		fmt.Fprintf(&b, "| %.0f | %s | %s | %s | %s | %.3f %% |%s |\n", r.rate, r.target,
			quantiles(r.acked), quantiles(r.notified), quantiles(r.said), 100*r.lateShare, r.remark())
	}
	b.WriteString("\nCPU seconds per million events, user and system.\n\n" +
		"| events/s | target | target's process | driver | target's memory, MB |\n|---:|---|---:|---:|---:|\n")
	for _, r := range t.rows {
		fmt.Fprintf(&b, "| %.0f | %s | %.1f | %.1f | %d |\n", r.rate, r.target, r.perMillion(r.cpu), r.perMillion(r.driverCPU), r.rssBytes>>20)
	}
	b.WriteString(t.ratios())
	if len(t.found) > 0 {
		fmt.Fprintf(&b, "\nSustainable rate: the highest at which neither the median nor the backlog grew in %v.\n\n"+
			"| target | events a message | events/s | → notification, ms | target's CPU-s/M | driver's | memory, MB | remark |\n"+
			"|---|---:|---:|---|---:|---:|---:|---|\n", o.step)
		for _, r := range t.found {
			fmt.Fprintf(&b, "| %s | %d | %.0f | %s | %.1f | %.1f | %d |%s |\n", r.target, r.batch, r.rate,
				quantiles(r.notified), r.perMillion(r.cpu), r.perMillion(r.driverCPU), r.rssBytes>>20, r.remark())
		}
	}
	return b.String()
}

func (t *tables) drawn() string {
	if t.options.zipf == 0 {
		return "evenly"
	}
	return fmt.Sprintf("by Zipf %v", t.options.zipf)
}

// ratios writes the system's figures as multiples of each floor's.
func (t *tables) ratios() string {
	var b strings.Builder
	for _, system := range t.rows {
		for _, floor := range t.rows {
			if system.target != nameSystem || floor.target == nameSystem || floor.rate != system.rate {
				continue
			}
			if b.Len() == 0 {
				b.WriteString("\nrecharged as a multiple of the floor, same run.\n\n" +
					"| events/s | against | → notification p50 | p99 | p99.9 | CPU | remark |\n|---:|---|---:|---:|---:|---:|---|\n")
			}
			times := func(q float64) string {
				return fmt.Sprintf("%.2f", float64(system.notified.ValueAtQuantile(q))/float64(max(1, floor.notified.ValueAtQuantile(q))))
			}
			remark := ""
			if system.remark() != "" || floor.remark() != "" {
				remark = " see the rows"
			}
			fmt.Fprintf(&b, "| %.0f | %s | %s | %s | %s | %.2f |%s |\n", system.rate, floor.target, times(50), times(99), times(99.9),
				system.perMillion(system.cpu)/floor.perMillion(floor.cpu), remark)
		}
	}
	return b.String()
}

// remark says what to know before a row is believed; "" if nothing.
func (r *row) remark() string {
	var says []string
	if r.void() {
		says = append(says, fmt.Sprintf("**void**: the driver was late, p99.9 %v", r.lateP999.Round(10*time.Microsecond)))
	}
	if r.saturated {
		says = append(says, "**saturated**: stopped early")
	}
	if r.refused > 0 {
		says = append(says, fmt.Sprintf("%d refused", r.refused))
	}
	if len(says) == 0 {
		return ""
	}
	return " " + strings.Join(says, "; ")
}

func quantiles(h *hdrhistogram.Histogram) string {
	return millis(h, 50) + " / " + millis(h, 99) + " / " + millis(h, 99.9)
}

// millis writes a quantile with three digits.
func millis(h *hdrhistogram.Histogram, q float64) string {
	if h.TotalCount() == 0 {
		return "–"
	}
	ms := float64(h.ValueAtQuantile(q)) / 1000
	switch {
	case ms < 10:
		return fmt.Sprintf("%.2f", ms)
	case ms < 100:
		return fmt.Sprintf("%.1f", ms)
	}
	return fmt.Sprintf("%.0f", ms)
}
