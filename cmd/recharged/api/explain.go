package api

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"recharged/rules"
	"recharged/state/charge"
	"recharged/stream"
)

// Question asks why: what an event would do, or why one did what it did. Exactly
// one of Event and Past is given.
type Question struct {
	MSISDN string          `json:"msisdn,omitempty" example:"213770123456" doc:"May be left out if the event has a subject."`
	Event  json.RawMessage `json:"event,omitempty" doc:"A CloudEvent that did not happen. It may leave out specversion, id, source, subject and time: the time is now then. Otherwise it must be one that POST /v1/events accepts."`
	Past   *PastEvent      `json:"past,omitempty" doc:"An event that did happen."`
}

// PastEvent names an event that happened.
type PastEvent struct {
	ID     string `json:"id" minLength:"1"`
	Source string `json:"source,omitempty" doc:"Absent: any."`
}

// Explanation is what an event does, and why each rule applies or not.
type Explanation struct {
	MSISDN    string             `json:"msisdn"`
	Event     CloudEvent         `json:"event" doc:"As it was judged. Of an event that the logs do not hold any more there are no data."`
	Past      bool               `json:"past" doc:"Whether it happened."`
	Result    string             `json:"result" enum:"applied,duplicate,parked"`
	Reason    string             `json:"reason,omitempty" doc:"Why it is parked."`
	Detail    string             `json:"detail,omitempty"`
	Rulebook  uint64             `json:"rulebook" doc:"The version that judges it."`
	Clock     string             `json:"clock" format:"date-time" doc:"The time at which it is judged."`
	Doubt     string             `json:"doubt,omitempty" doc:"Why a past event could not be judged once more: then there is no more than what was recorded."`
	Rules     []RuleExplanation  `json:"rules" doc:"Every rule, in the order in which they are judged. None, if the event is a duplicate or parked."`
	Postings  []Posting          `json:"postings"`
	Shortfall string             `json:"shortfall" example:"0.00"`
	Balances  map[string]Balance `json:"balances,omitempty" doc:"As the event leaves them."`
	Messages  []Message          `json:"notifications"`
	Alerts    []AlertMessage     `json:"alerts"`
}

// RuleExplanation is why a rule applies or not.
type RuleExplanation struct {
	Name    string             `json:"name"`
	Title   string             `json:"title,omitempty"`
	On      string             `json:"on,omitempty" doc:"The event type that it is for; absent if it waits for silence."`
	Applies bool               `json:"applies"`
	Reason  string             `json:"reason,omitempty" enum:"type,schedule,tiers,condition,group,suspended,holdout,limit,budget,error" doc:"Why it does not apply: type to condition say that it does not match, the others that it was passed over."`
	Failed  string             `json:"failed,omitempty" example:"amount >= 300" doc:"The first condition that is not true, as it is written."`
	Saw     map[string]*string `json:"saw,omitempty" doc:"What was looked at, by name; null: absent."`
	Detail  string             `json:"detail" doc:"Why, in words."`
}

// Message is a notification.
type Message struct {
	Rule      string `json:"rule"`
	Channel   string `json:"channel"`
	Template  string `json:"template"`
	Language  string `json:"language"`
	Text      string `json:"text"`
	SendAfter string `json:"send_after,omitempty" format:"date-time" doc:"Absent: at once."`
}

// AlertMessage is an alert that a rule raises.
type AlertMessage struct {
	Rule     string            `json:"rule"`
	Severity string            `json:"severity"`
	Summary  string            `json:"summary"`
	Labels   map[string]string `json:"labels"`
}

func (a *API) registerExplain() {
	huma.Register(a.huma, huma.Operation{
		OperationID: "explain", Method: http.MethodPost, Path: "/v1/explain", Tags: []string{"customers"},
		Summary: "Why each rule applies to an event, or does not",
		Description: "Judges an event as if it came now, or once more one that came in the past, on copies: nothing changes. " +
			"With msisdn and event it tells what would happen; with msisdn and past, why something did or did not. " +
			"What a budget held in the past is not known any more; whether it held enough was recorded.",
		Security: needs(Read), MaxBodyBytes: questionBytesMax, Errors: []int{http.StatusNotFound},
	}, a.explain)
}

// questionBytesMax lets an event of any size through that the door would.
const questionBytesMax = charge.EventBytesMax + 4<<10

type questionInput struct{ Body Question }

type explanationOutput struct{ Body Explanation }

func (a *API) explain(ctx context.Context, in *questionInput) (*explanationOutput, error) {
	q := &in.Body
	switch {
	case (q.Event == nil) == (q.Past == nil):
		return nil, huma.NewError(http.StatusUnprocessableEntity, "ask about one event: event, which did not happen, or past, which did")
	case q.Past != nil:
		return a.explainPast(ctx, q)
	}
	at, ok := charge.InstantOf(a.now())
	if !ok {
		return nil, huma.NewError(http.StatusServiceUnavailable, "the clock of this machine is wrong")
	}
	e, err := a.asked(q, at)
	if err != nil {
		return nil, err
	}
	explained, err := a.processor.Explain(e, at)
	if err != nil {
		return nil, a.failed(ctx, "explaining the event", err)
	}
	return &explanationOutput{describeExplanation(explained, false)}, nil
}

func (a *API) explainPast(ctx context.Context, q *Question) (*explanationOutput, error) {
	m, err := charge.ParseMSISDN(q.MSISDN)
	if err != nil {
		return nil, refusedField("msisdn", charge.BadSubject, err.Error())
	}
	explained, err := a.processor.ExplainPast(ctx, m, q.Past.ID, q.Past.Source)
	if errors.Is(err, stream.ErrNoEvent) {
		return nil, huma.NewError(http.StatusNotFound, err.Error())
	}
	if err != nil {
		return nil, a.failed(ctx, "explaining the past event", err)
	}
	return &explanationOutput{describeExplanation(explained, true)}, nil
}

// refusedField is the error of a question with a fault in one place.
func refusedField(field string, reason charge.RejectReason, detail string) error {
	return huma.NewError(http.StatusUnprocessableEntity, fmt.Sprintf("%s in %s: %s", reason, field, detail),
		&huma.ErrorDetail{Location: "body." + field, Message: detail, Value: string(reason)})
}

// asked reads the event of a question as the door does, after what it may leave
// out was put in.
func (a *API) asked(q *Question, at charge.Instant) (*charge.Event, error) {
	msisdn := strings.TrimPrefix(q.MSISDN, "+")
	if msisdn != "" {
		if _, err := charge.ParseMSISDN(msisdn); err != nil {
			return nil, refusedField("msisdn", charge.BadSubject, err.Error())
		}
	}
	book, _ := a.processor.Book()
	e, rejection := charge.NewDecoder(book.Catalog()).Event(complete(q.Event, msisdn, at))
	if rejection != nil {
		field := "event"
		if rejection.Field != "" {
			field += "." + rejection.Field
		}
		return nil, refusedField(field, rejection.Reason, rejection.Detail)
	}
	if msisdn != "" && e.MSISDN.String() != msisdn {
		return nil, refusedField("event.subject", charge.BadSubject, "the event is of another customer than msisdn names")
	}
	return &e, nil
}

// complete puts into an event what it leaves out, in front of the rest: the text
// of the rest stays as it is, with its faults. What is no object stays whole.
func complete(event []byte, msisdn string, at charge.Instant) []byte {
	var given map[string]json.RawMessage
	if json.Unmarshal(event, &given) != nil || given == nil {
		return event
	}
	out := []byte{'{'}
	add := func(name, value string) {
		if _, there := given[name]; there || value == "" {
			return
		}
		quoted, err := json.Marshal(value)
		if err != nil {
			return // A text always encodes.
		}
		out = append(append(out, `"`+name+`":`...), quoted...)
		out = append(out, ',')
	}
	add("specversion", "1.0")
	add("id", "explain-"+rand.Text())
	add("source", "/explain")
	add("subject", msisdn)
	add("time", at.Time().Format(time.RFC3339Nano))
	rest := bytes.TrimSpace(bytes.TrimLeft(event, " \t\r\n")[1:])
	if len(given) == 0 {
		out = bytes.TrimSuffix(out, []byte{','})
	}
	return append(out, rest...)
}

func describeExplanation(x *stream.Explanation, past bool) Explanation {
	o := &x.Outcome
	shown := Explanation{
		MSISDN: o.MSISDN.String(), Past: past, Result: o.Result.String(), Reason: o.Reason, Detail: o.Detail,
		Rulebook: o.Rulebook, Clock: timeText(o.Accepted), Doubt: x.Doubt, Shortfall: o.Money.Format(o.Shortfall),
		Rules: make([]RuleExplanation, len(x.Rules)), Postings: make([]Posting, len(o.Postings)),
		Messages: make([]Message, len(x.Said.Notifications)), Alerts: make([]AlertMessage, len(x.Said.Alerts)),
	}
	if err := json.Unmarshal(charge.AppendEventJSON(nil, &x.Event), &shown.Event); err != nil {
		panic(err) // It was written by our own hand.
	}
	for i := range x.Rules {
		shown.Rules[i] = describeRule(&x.Rules[i])
	}
	for i := range o.Postings {
		p := &o.Postings[i]
		shown.Postings[i] = Posting{Balance: p.Balance, Amount: p.Unit.Format(p.Amount), Cause: p.Cause, After: p.Unit.Format(p.After)}
		if p.Expires != 0 {
			shown.Postings[i].Expires = timeText(p.Expires)
		}
	}
	for i := range x.Said.Notifications {
		shown.Messages[i] = describeMessage(&x.Said.Notifications[i])
	}
	for i := range x.Said.Alerts {
		shown.Alerts[i] = describeAlert(&x.Said.Alerts[i])
	}
	if x.After != nil {
		shown.Balances = describeBalances(x.Book, x.After, o.Accepted)
	}
	return shown
}

func describeBalances(book *rules.Book, c *charge.Customer, at charge.Instant) map[string]Balance {
	shown := map[string]Balance{}
	for i := range book.Plan().Balances {
		b := &book.Plan().Balances[i]
		shown[b.Name] = describeBalance(b.Unit, c.Balance(b.Name), at)
	}
	return shown
}

func describeRule(x *rules.Explanation) RuleExplanation {
	shown := RuleExplanation{Name: x.Name, Title: x.Title, On: x.On, Applies: x.Applies, Reason: x.Reason, Failed: x.Failed, Detail: x.Detail}
	for _, s := range x.Saw {
		if shown.Saw == nil {
			shown.Saw = map[string]*string{}
		}
		shown.Saw[s.Name] = nil
		if !s.Absent {
			shown.Saw[s.Name] = &s.Value
		}
	}
	return shown
}

func describeMessage(n *charge.Notification) Message {
	shown := Message{Rule: n.Rule, Channel: n.Channel, Template: n.Template, Language: n.Language, Text: n.Text}
	if n.SendAfter != 0 {
		shown.SendAfter = timeText(n.SendAfter)
	}
	return shown
}

func describeAlert(n *charge.Alert) AlertMessage {
	shown := AlertMessage{Rule: n.Name, Severity: n.Severity, Summary: n.Summary, Labels: make(map[string]string, len(n.Labels))}
	for _, l := range n.Labels {
		shown.Labels[l.Name] = l.Value
	}
	return shown
}
