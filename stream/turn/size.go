package turn

import (
	"recharged/state"
	"recharged/state/charge"
)

// Estimates of encoded sizes: generous, so that a turn stops in time.

func outcomeBytes(o *charge.Outcome, said Said) int {
	const outcome, posting, result, message = 160, 64, 24, 96
	n := outcome + len(o.EventID) + len(o.Source) + len(o.Detail) +
		posting*len(o.Postings)
	for i := range o.Postings {
		n += len(o.Postings[i].Balance) + len(o.Postings[i].Account) + len(o.Postings[i].Cause)
	}
	for i := range o.Rules {
		n += result + len(o.Rules[i].Name) + len(o.Rules[i].Detail)
	}
	for i := range said.Notifications {
		m := &said.Notifications[i]
		n += message + len(m.Text) + len(m.EventID) + len(m.Source) + len(m.Rule) + len(m.Template)
	}
	for i := range said.Alerts {
		n += alertBytes(&said.Alerts[i])
	}
	return n
}

func alertBytes(a *charge.Alert) int {
	const message = 96
	n := message + len(a.Name) + len(a.Summary)
	for _, l := range a.Labels {
		n += 4 + len(l.Name) + len(l.Value)
	}
	return n
}

func eventBytes(e *charge.Event) int {
	n := 64 + len(e.ID) + len(e.Source) + len(e.Extra)
	for i := range e.Fields {
		n += state.FieldBytes(&e.Fields[i])
	}
	return n
}
