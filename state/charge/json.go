package charge

import (
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"recharged/state/money"
)

// The types and the source of the CloudEvents that go out.
const (
	NotificationType = "recharged.notification"
	AlertType        = "recharged.alert"
	OutcomeType      = "recharged.outcome"

	outputSource = "/recharged"
)

// appendQuoted appends a JSON string. What is not UTF-8 in it is replaced by
// U+FFFD: no such text passes the door.
func appendQuoted(dst []byte, text string) []byte {
	dst, _ = jsontext.AppendQuote(dst, text)
	return dst
}

// appendName appends the name of an object's next member.
func appendName(dst []byte, name string) []byte {
	if dst[len(dst)-1] != '{' {
		dst = append(dst, ',')
	}
	return append(appendQuoted(dst, name), ':')
}

func appendMemberText(dst []byte, name, text string) []byte {
	return appendQuoted(appendName(dst, name), text)
}

func appendMemberTime(dst []byte, name string, i Instant) []byte {
	dst = append(appendName(dst, name), '"')
	return append(i.Time().AppendFormat(dst, time.RFC3339Nano), '"')
}

// appendMemberAmount appends an amount as a string, with exactly its unit's digits.
func appendMemberAmount(dst []byte, name string, a money.Amount, u money.Unit) []byte {
	dst = append(appendName(dst, name), '"')
	return append(u.Append(dst, a), '"')
}

func appendMemberMSISDN(dst []byte, name string, m MSISDN) []byte {
	dst = append(appendName(dst, name), '"')
	return append(m.Append(dst), '"')
}

// AppendEventJSON appends the event as a CloudEvent in structured JSON, with
// all that its producer sent: read again, it is the same event.
func AppendEventJSON(dst []byte, e *Event) []byte {
	dst = append(dst, `{"specversion":"1.0"`...)
	dst = appendMemberText(dst, "id", e.ID)
	dst = appendMemberText(dst, "source", e.Source)
	dst = appendMemberText(dst, "type", e.Type)
	dst = appendMemberMSISDN(dst, "subject", e.MSISDN)
	dst = appendMemberTime(dst, "time", e.Time)
	attributes, data := splitExtra(e.Extra)
	dst = appendMembers(dst, attributes)
	dst = append(appendName(dst, "data"), '{')
	for i := range e.Fields {
		dst = appendName(dst, e.Fields[i].Name)
		dst = appendValueJSON(dst, e.Fields[i].Value)
	}
	dst = appendMembers(dst, data)
	return append(dst, "}}"...)
}

// appendMembers appends the members of another object to the one that is open.
func appendMembers(dst, object []byte) []byte {
	if len(object) == 0 {
		return dst
	}
	if dst[len(dst)-1] != '{' {
		dst = append(dst, ',')
	}
	return append(dst, object[1:len(object)-1]...)
}

// appendValueJSON appends a value as a producer would have sent it: numbers as
// JSON numbers with all their digits, spans in seconds as a rulebook writes them.
func appendValueJSON(dst []byte, v Value) []byte {
	switch v.Kind {
	case Bool:
		return strconv.AppendBool(dst, v.Bits == 1)
	case Number:
		return money.Unit{Digits: int(v.Scale)}.Append(dst, money.Amount(v.Bits))
	case Text:
		return appendQuoted(dst, v.Text)
	case List:
		dst = append(dst, '[')
		for i, text := range v.List {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = appendQuoted(dst, text)
		}
		return append(dst, ']')
	case Time:
		dst = append(dst, '"')
		return append(Instant(v.Bits).Time().AppendFormat(dst, time.RFC3339Nano), '"')
	case Span:
		return appendQuoted(dst, strconv.FormatInt(v.Bits/nanosPerSecond, 10)+"s")
	case Object:
		dst = append(dst, '{')
		for i := range v.Fields {
			dst = appendValueJSON(appendName(dst, v.Fields[i].Name), v.Fields[i].Value)
		}
		return append(dst, '}')
	}
	return append(dst, "null"...)
}

// AppendOutcomeJSON appends the outcome as timelines and feeds show it.
func AppendOutcomeJSON(dst []byte, o *Outcome) []byte {
	dst = appendMemberText(append(dst, '{'), "event", o.EventID)
	dst = appendMemberText(dst, "source", o.Source)
	dst = appendMemberText(dst, "type", o.Type)
	dst = appendMemberMSISDN(dst, "msisdn", o.MSISDN)
	dst = appendMemberTime(dst, "time", o.Time)
	dst = appendMemberText(dst, "result", o.Result.String())
	if o.Result == Parked {
		dst = appendMemberText(dst, "reason", o.Reason)
		dst = appendMemberText(dst, "detail", o.Detail)
	}
	dst = strconv.AppendUint(appendName(dst, "rulebook"), o.Rulebook, 10)
	dst = append(appendName(dst, "postings"), '[')
	for i := range o.Postings {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendPostingJSON(dst, &o.Postings[i])
	}
	dst = append(appendName(append(dst, ']'), "rules"), '[')
	for i := range o.Rules {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendRuleJSON(dst, &o.Rules[i])
	}
	dst = appendMemberAmount(append(dst, ']'), "shortfall", o.Shortfall, o.Money)
	return append(dst, '}')
}

func appendPostingJSON(dst []byte, p *Posting) []byte {
	dst = appendMemberText(append(dst, '{'), "balance", p.Balance)
	dst = appendMemberAmount(dst, "amount", p.Amount, p.Unit)
	dst = appendMemberText(dst, "cause", p.Cause)
	if p.Expires != 0 {
		dst = appendMemberTime(dst, "expires", p.Expires)
	}
	return append(appendMemberAmount(dst, "after", p.After, p.Unit), '}')
}

func appendRuleJSON(dst []byte, r *RuleResult) []byte {
	dst = appendMemberText(append(dst, '{'), "name", r.Name)
	dst = appendMemberText(dst, "result", r.Verdict.String())
	if r.Reason != "" {
		dst = appendMemberText(dst, "reason", r.Reason)
	}
	if r.Detail != "" {
		dst = appendMemberText(dst, "detail", r.Detail)
	}
	return append(dst, '}')
}

// openCloudEvent appends the attributes of an event that goes out, up to the
// value of its data, after which one brace closes it. Its id stays the same
// however often it is sent. A zero subject is left out.
func openCloudEvent(dst []byte, id, eventType string, subject MSISDN, at Instant) []byte {
	dst = append(dst, `{"specversion":"1.0"`...)
	dst = appendMemberText(dst, "id", id)
	dst = appendMemberText(dst, "source", outputSource)
	dst = appendMemberText(dst, "type", eventType)
	if subject != 0 {
		dst = appendMemberMSISDN(dst, "subject", subject)
	}
	dst = appendMemberTime(dst, "time", at)
	return append(dst, `,"datacontenttype":"application/json","data":`...)
}

// AppendOutcomeEvent appends the outcome as a CloudEvent with that id.
func AppendOutcomeEvent(dst []byte, id string, o *Outcome) []byte {
	dst = openCloudEvent(dst, id, OutcomeType, o.MSISDN, o.Accepted)
	return append(AppendOutcomeJSON(dst, o), '}')
}

// AppendNotificationEvent appends the notification as a CloudEvent with that id.
func AppendNotificationEvent(dst []byte, id string, n *Notification) []byte {
	dst = openCloudEvent(dst, id, NotificationType, n.MSISDN, n.Time)
	dst = appendMemberText(append(dst, '{'), "template", n.Template)
	dst = appendMemberText(dst, "language", n.Language)
	dst = appendMemberText(dst, "text", n.Text)
	dst = appendMemberText(dst, "rule", n.Rule)
	dst = appendMemberText(dst, "event", n.EventID)
	if n.SendAfter != 0 {
		dst = appendMemberTime(dst, "send_after", n.SendAfter)
	}
	return append(dst, "}}"...)
}

// AppendAlertEvent appends the alert as a CloudEvent with that id; its time is
// when the alert started.
func AppendAlertEvent(dst []byte, id string, a *Alert) []byte {
	dst = openCloudEvent(dst, id, AlertType, 0, a.StartsAt)
	dst = appendMemberText(append(dst, '{'), "name", a.Name)
	dst = appendMemberText(dst, "severity", a.Severity)
	dst = appendMemberText(dst, "summary", a.Summary)
	dst = append(appendName(dst, "labels"), '{')
	for _, label := range a.Labels {
		dst = appendMemberText(dst, label.Name, label.Value)
	}
	dst = appendMemberTime(append(dst, '}'), "starts_at", a.StartsAt)
	if a.EndsAt != 0 {
		dst = appendMemberTime(dst, "ends_at", a.EndsAt)
	}
	return append(dst, "}}"...)
}
