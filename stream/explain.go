package stream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"recharged/rules"
	"recharged/state"
	"recharged/state/charge"
	"recharged/state/ledger"
	"recharged/state/money"
	"recharged/stream/journal"
	"recharged/stream/turn"
)

// To explain is to judge once more, on copies: by the judge that the turns have,
// and so with their answer. Nothing is appended, noted or remembered.

// Explanation is what an event would do, or did, and why.
type Explanation struct {
	Event   charge.Event
	Outcome charge.Outcome
	Said    turn.Said
	Rules   []rules.Explanation // of each rule of the book, in the order in which they are judged; none if the rules were not asked
	After   *charge.Customer    // as the event leaves the customer; nil if that is not known any more
	Book    *rules.Book         // that judged it

	// Doubt says why there is no more than what was recorded; empty if the event
	// was judged once more and came to the same.
	Doubt string
}

// Explain tells what an event would do if it came at that time, as of the last
// commit: an event that the door would let in. It judges by the newest rulebook.
// What the partition does not hold of a budget but may have for the asking is
// taken as given.
func (p *Processor) Explain(e *charge.Event, at charge.Instant) (*Explanation, error) {
	o := p.owners[e.MSISDN.Slot().PartitionOf(len(p.owners))]
	row, err := p.store.Position(o.id)
	if err != nil {
		return nil, err
	}
	position, err := decodePosition(row)
	if err != nil {
		return nil, err
	}
	x := &retrial{processor: p, clock: max(at, position.Clock)}
	x.judge.Book, x.judge.Version = p.Book()
	x.customer.MSISDN = e.MSISDN
	if _, err := p.store.Customer(e.MSISDN, &x.customer); err != nil {
		return nil, err
	}
	memory, err := p.recall(o, x.judge.Book, x.judge.Version)
	if err != nil {
		return nil, err
	}
	x.judge.Memory = memory
	x.pass()
	content, known, err := p.store.Seen(e.MSISDN, e.Identity())
	if err != nil {
		return nil, err
	}
	if known {
		return x.known(e, content == e.Content()), nil
	}
	return x.explain(e), nil
}

// recall returns what a partition remembers of rules, as of its last commit.
func (p *Processor) recall(o *owner, book *rules.Book, version uint64) (rules.Memory, error) {
	notes := state.NewVolatile()
	err := p.store.Notes(o.id, "", func(name string, value []byte) bool {
		notes.SetNote(name, bytes.Clone(value))
		return true
	})
	if err != nil {
		return nil, err
	}
	machine, err := turn.New(turn.Options{Partition: o.id, Partitions: o.count, State: notes, Compile: p.compile}, turn.Place{Version: version, Book: book})
	if err != nil {
		return nil, err
	}
	return hopeful{machine.Memory()}, nil
}

// hopeful is a memory that has already got all that it may have for the asking.
type hopeful struct{ rules.Memory }

func (h hopeful) Fund(rule string) rules.Fund {
	f := h.Memory.Fund(rule)
	return rules.Fund{Slice: f.Slice + f.Left}
}

// retrial judges events of one customer once more.
type retrial struct {
	processor *Processor
	judge     turn.Judge
	customer  charge.Customer // before the next event
	clock     charge.Instant
	frames    map[charge.Sequence]*journal.Frame
}

// take makes the customer what the judge left it as.
func (x *retrial) take() { x.customer.CopyFrom(&x.judge.After) }

// pass lets happen to the customer what time has brought about by the clock.
func (x *retrial) pass() {
	for due := x.customer.NextDue(); due != 0 && due <= x.clock; due = x.customer.NextDue() {
		if x.customer.NextExpiry() == due {
			x.judge.Expire(&x.customer, x.clock)
		} else {
			x.judge.Timer(&x.customer, due, x.clock)
		}
		x.take()
	}
}

// explain judges an event and tells why the rules say what they say.
func (x *retrial) explain(e *charge.Event) *Explanation {
	outcome, said, refusal := x.judge.Event(&x.customer, e, x.clock)
	if refusal != nil {
		return x.end(e, charge.Parked, string(refusal.Reason), refusal.Detail)
	}
	var after charge.Customer
	after.CopyFrom(&x.judge.After)
	return &Explanation{
		Event: *e, Outcome: outcome, Said: said, After: &after, Book: x.judge.Book,
		Rules: x.why(e, &outcome),
	}
}

// why tells of each rule why the outcome has of it what it has. What the rules
// were asked about is made anew: the event's own effect, without theirs.
func (x *retrial) why(e *charge.Event, o *charge.Outcome) []rules.Explanation {
	var after charge.Customer
	after.CopyFrom(&x.customer)
	var effect ledger.Effect
	if e.Type != charge.TimerType && e.Type != charge.ExpiryType {
		x.judge.Book.Plan().Apply(&after, e, x.clock, &effect)
	}
	return x.judge.Book.Explain(&rules.Subject{
		Event: e, Before: &x.customer, After: &after,
		Charged: effect.Charged, Shortfall: effect.Shortfall, Clock: x.clock, Memory: x.judge.Memory,
	}, o.Rules)
}

// known is the end of an event whose id came before.
func (x *retrial) known(e *charge.Event, same bool) *Explanation {
	if same {
		return x.end(e, charge.Duplicate, "", "an event of this source and id came before: it has no second effect")
	}
	return x.end(e, charge.Parked, string(charge.IDConflict), "an event of this source and id came before with other content; send corrections under an id of their own")
}

// end explains an event that no rule is asked about.
func (x *retrial) end(e *charge.Event, result charge.Result, reason, detail string) *Explanation {
	return &Explanation{
		Event: *e, After: &x.customer, Book: x.judge.Book,
		Outcome: charge.Outcome{
			EventID: e.ID, Source: e.Source, Type: e.Type, MSISDN: e.MSISDN, Time: e.Time, Accepted: x.clock,
			Result: result, Reason: reason, Detail: detail, Rulebook: x.judge.Version, Money: x.judge.Book.Plan().Currency,
		},
	}
}

// ErrNoEvent says that a customer has no outcome of such an event.
var ErrNoEvent = errors.New("no event of this id has taken effect for this customer")

// ExplainPast tells why an event had the outcome that it had. An empty source
// means any. Of several outcomes of one event, of which all but one are repeats,
// it is the newest that is none.
//
// The customer is taken as the last commit before left it; what happened to it in
// the same commit before the event is judged once more, and so is the event, by
// the rulebooks of then. What the budgets held is not known any more: whether
// they held enough, and whether rules were suspended, is in the outcomes. What
// comes of it must be what was recorded, else the explanation says that it is in
// doubt and has the record alone.
func (p *Processor) ExplainPast(ctx context.Context, m charge.MSISDN, id, source string) (*Explanation, error) {
	ref, o, err := p.findOutcome(ctx, m, id, source)
	if err != nil {
		return nil, err
	}
	return p.judgeAgain(ctx, ref, &o)
}

// judgeAgain explains an outcome, or says why it is in doubt.
func (p *Processor) judgeAgain(ctx context.Context, ref state.OutcomeRef, o *charge.Outcome) (*Explanation, error) {
	edition, err := p.Edition(ctx, o.Rulebook)
	if err != nil {
		return nil, err
	}
	if edition.Book == nil {
		return nil, fmt.Errorf("rulebook %d of the event: %w", o.Rulebook, errBook)
	}
	x := &retrial{processor: p, clock: o.Accepted, frames: map[charge.Sequence]*journal.Frame{}}
	explained, err := x.past(ctx, ref, o)
	var doubt *doubtful
	switch {
	case err == nil:
		return explained, nil
	case errors.Is(err, journal.ErrNoRecord):
		doubt = &doubtful{"the logs do not hold any more what it takes to judge it once more"}
	case !errors.As(err, &doubt):
		return nil, err
	}
	return &Explanation{
		Event: eventOf(o), Outcome: *o, Book: edition.Book, Rules: recordedRules(o), Doubt: doubt.why,
	}, nil
}

// doubtful is the error of a retrial that does not lead to what was recorded.
type doubtful struct{ why string }

func (d *doubtful) Error() string { return d.why }

// timelinePage is how many outcomes are looked through at a time.
const timelinePage = 200

// findOutcome finds the newest outcome of an event that is no duplicate; if
// there is none, the newest.
func (p *Processor) findOutcome(ctx context.Context, m charge.MSISDN, id, source string) (state.OutcomeRef, charge.Outcome, error) {
	var found *TimelineEntry
	for before := ""; ; {
		page, err := p.Timeline(ctx, m, before, timelinePage)
		if err != nil {
			return state.OutcomeRef{}, charge.Outcome{}, err
		}
		for i := range page {
			o := &page[i].Outcome
			if o.EventID != id || source != "" && o.Source != source {
				continue
			}
			if found == nil || found.Outcome.Result == charge.Duplicate {
				found = &page[i]
			}
		}
		ended := len(page) < timelinePage
		switch {
		case found != nil && (ended || found.Outcome.Result != charge.Duplicate):
			ref, err := parseRef(found.Ref)
			return ref, found.Outcome, err
		case ended:
			return state.OutcomeRef{}, charge.Outcome{}, ErrNoEvent
		}
		before = page[len(page)-1].Ref
	}
}

// past judges an outcome's event once more, and what happened to the customer in
// the same commit before it.
func (x *retrial) past(ctx context.Context, ref state.OutcomeRef, o *charge.Outcome) (*Explanation, error) {
	if err := x.before(ctx, o.MSISDN, ref); err != nil {
		return nil, err
	}
	commit, err := x.processor.readCommit(ctx, ref.Partition, ref.Commit)
	if err != nil {
		return nil, err
	}
	for i := range commit.Outcomes[:ref.Index] {
		earlier := &commit.Outcomes[i]
		if earlier.MSISDN != o.MSISDN || earlier.Result != charge.Applied {
			continue
		}
		if _, _, err := x.again(ctx, ref.Partition, earlier); err != nil {
			return nil, err
		}
		x.take()
	}
	if o.Result != charge.Applied {
		return x.setAside(ctx, ref.Partition, o)
	}
	e, said, err := x.again(ctx, ref.Partition, o)
	if err != nil {
		return nil, err
	}
	x.judge.Memory = nil // What it knew is in the outcome; the numbers nobody knows.
	after := x.judge.After
	return &Explanation{Event: e, Outcome: *o, Said: said, Rules: x.why(&e, o), After: &after, Book: x.judge.Book}, nil
}

// setAside explains an outcome that says everything itself: nobody asked the
// rules, and the customer stayed as it was.
func (x *retrial) setAside(ctx context.Context, partition charge.Partition, o *charge.Outcome) (*Explanation, error) {
	if err := x.adopt(ctx, o); err != nil {
		return nil, err
	}
	e, err := x.event(ctx, partition, o)
	if err != nil {
		return nil, err
	}
	return &Explanation{Event: e, Outcome: *o, After: &x.customer, Book: x.judge.Book}, nil
}

// before finds the customer as the last commit before left it.
func (x *retrial) before(ctx context.Context, m charge.MSISDN, ref state.OutcomeRef) error {
	before := state.OutcomeRef{Partition: ref.Partition, Commit: ref.Commit}
	for {
		refs, err := x.processor.store.Timeline(m, before, 1)
		if err != nil {
			return err
		}
		if len(refs) == 0 {
			x.customer = charge.Customer{MSISDN: m} // It was the first event.
			return nil
		}
		commit, err := x.processor.readCommit(ctx, refs[0].Partition, refs[0].Commit)
		if err != nil {
			return err
		}
		// A commit in which all that came was a duplicate has not changed it.
		if found, err := state.CustomerIn(commit.Delta, m, &x.customer); err != nil || found {
			return err
		}
		before = state.OutcomeRef{Partition: refs[0].Partition, Commit: refs[0].Commit}
	}
}

// again judges the event of an outcome once more. It leaves the customer to the
// judge, or returns doubt if something else comes of it than what was recorded.
func (x *retrial) again(ctx context.Context, partition charge.Partition, o *charge.Outcome) (charge.Event, turn.Said, error) {
	if err := x.adopt(ctx, o); err != nil {
		return charge.Event{}, turn.Said{}, err
	}
	var judged charge.Outcome
	var said turn.Said
	e := eventOf(o)
	switch o.Type {
	case charge.ExpiryType:
		judged, _ = x.judge.Expire(&x.customer, o.Accepted)
	case charge.TimerType:
		x.rearm(o)
		judged, said, _ = x.judge.Timer(&x.customer, o.Time, o.Accepted)
	default:
		var err error
		if e, err = x.event(ctx, partition, o); err != nil {
			return charge.Event{}, turn.Said{}, err
		}
		var refusal *ledger.Refusal
		if judged, said, refusal = x.judge.Event(&x.customer, &e, o.Accepted); refusal != nil {
			return charge.Event{}, turn.Said{}, &doubtful{fmt.Sprintf("judged once more, event %s is refused: %v", o.EventID, refusal)}
		}
	}
	judged.Position = o.Position
	if !bytes.Equal(charge.AppendOutcome(nil, &judged), charge.AppendOutcome(nil, o)) {
		return charge.Event{}, turn.Said{}, &doubtful{fmt.Sprintf("judged once more, event %s comes to something else than what was recorded", o.EventID)}
	}
	return e, said, nil
}

// adopt goes by the rulebook and the memory of an outcome.
func (x *retrial) adopt(ctx context.Context, o *charge.Outcome) error {
	x.clock, x.judge.Memory = o.Accepted, recorded{o}
	if x.judge.Version == o.Rulebook {
		return nil
	}
	edition, err := x.processor.Edition(ctx, o.Rulebook)
	if err != nil {
		return err
	}
	if edition.Book == nil {
		return &doubtful{fmt.Sprintf("rulebook %d does not load in this version of recharged", o.Rulebook)}
	}
	x.judge.Book, x.judge.Version = edition.Book, o.Rulebook
	return nil
}

// event reads the event of an outcome from the event log.
func (x *retrial) event(ctx context.Context, partition charge.Partition, o *charge.Outcome) (charge.Event, error) {
	at := o.Position
	frame := x.frames[at.Sequence]
	if frame == nil {
		record, err := x.processor.owners[partition].events.Get(ctx, at.Sequence)
		if err != nil {
			return charge.Event{}, err
		}
		decoded, err := journal.DecodeFrame(record.Data)
		if err != nil {
			return charge.Event{}, err
		}
		frame = &decoded
		x.frames[at.Sequence] = frame
	}
	if int(at.Offset) >= len(frame.Events) || frame.Events[at.Offset].ID != o.EventID {
		return charge.Event{}, &doubtful{fmt.Sprintf("the event log does not have event %s where its outcome says", o.EventID)}
	}
	return frame.Events[at.Offset], nil
}

// rearm gives the customer the timers back that were taken off it before they
// were judged, because they had to wait for a budget.
func (x *retrial) rearm(o *charge.Outcome) {
	for _, r := range x.judge.Book.Rules() {
		judged := slices.ContainsFunc(o.Rules, func(result charge.RuleResult) bool { return result.Name == r.Name })
		if judged && x.customer.Timer(r.Name) == nil {
			*x.customer.OpenTimer(r.Name) = charge.Timer{Rule: r.Name, Armed: o.Time.Add(-r.Quiet), Due: o.Time}
		}
	}
}

// recorded is what the memory of rules was like, as far as an outcome tells.
type recorded struct{ *charge.Outcome }

// Fund returns nothing of a budget that did not hold enough, else more than
// enough.
func (r recorded) Fund(rule string) rules.Fund {
	if r.passedOver(rule, charge.SkipBudget) {
		return rules.Fund{}
	}
	return rules.Fund{Slice: money.AmountMax}
}

// Suspended reports whether the rule was.
func (r recorded) Suspended(rule string) bool { return r.passedOver(rule, charge.SkipSuspended) }

func (r recorded) passedOver(rule, reason string) bool {
	return slices.ContainsFunc(r.Rules, func(result charge.RuleResult) bool {
		return result.Name == rule && result.Reason == reason
	})
}

// eventOf is the event of an outcome, as far as the outcome knows it.
func eventOf(o *charge.Outcome) charge.Event {
	return charge.Event{ID: o.EventID, Source: o.Source, Type: o.Type, MSISDN: o.MSISDN, Time: o.Time}
}

// recordedRules are the rules of an outcome without an explanation.
func recordedRules(o *charge.Outcome) []rules.Explanation {
	all := make([]rules.Explanation, len(o.Rules))
	for i, r := range o.Rules {
		all[i] = rules.Explanation{Name: r.Name, Applies: r.Verdict == charge.RuleApplied, Reason: r.Reason, Detail: r.Detail}
	}
	return all
}
