package rules

import (
	"slices"

	"recharged/state/charge"
)

// Arm starts the timers of the rules that wait for silence after events of this
// type, or starts them anew. The silence begins with the event; with an event
// that comes so late that its silence would be over already, it begins at the
// clock. An event that is older than what a timer counts from changes nothing.
func (b *Book) Arm(c *charge.Customer, e *charge.Event, clock charge.Instant) {
	for _, r := range b.waiting[e.Type] {
		armed := e.Time
		if armed.Add(r.Quiet) <= clock {
			armed = clock
		}
		if t := c.Timer(r.Name); t == nil || t.Armed < armed {
			*c.OpenTimer(r.Name) = charge.Timer{Rule: r.Name, Armed: armed, Due: armed.Add(r.Quiet)}
		}
	}
}

// Lapse takes the timers that are due at that instant off the customer and
// remembers in the decision which rules are to be judged; false if none is. A
// rule that is gone, or waits for nothing any more, is not, and neither is one
// that has become more patient: its timer goes on.
func (b *Book) Lapse(d *Decision, c *charge.Customer, due charge.Instant) bool {
	d.lapsed = d.lapsed[:0]
	kept := c.Timers[:0]
	for _, t := range c.Timers {
		r := b.byName[t.Rule]
		switch {
		case t.Due > due:
			kept = append(kept, t)
		case r == nil || r.After == "":
		case t.Armed.Add(r.Quiet) > due:
			t.Due = t.Armed.Add(r.Quiet)
			kept = append(kept, t)
		default:
			d.lapsed = append(d.lapsed, r)
		}
	}
	clear(c.Timers[len(kept):])
	c.Timers = kept
	slices.SortFunc(d.lapsed, byPriority)
	return len(d.lapsed) > 0
}
