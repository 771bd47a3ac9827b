package charge

import "recharged/state/money"

// Result is how an accepted event ended.
type Result uint8

// The results. Their numbers are part of the encodings: append only.
const (
	Applied Result = iota + 1
	Duplicate
	Parked
)

func (r Result) String() string {
	return [...]string{"none", "applied", "duplicate", "parked"}[r]
}

// MarshalText writes the result's name.
func (r Result) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// ParkReason is why an event was set aside.
type ParkReason string

// The reasons to park an event.
const (
	TooLate        ParkReason = "too_late"
	FromTheFuture  ParkReason = "from_the_future"
	IDConflict     ParkReason = "id_conflict"
	Overflow       ParkReason = "overflow"
	UnknownBalance ParkReason = "unknown_balance"
	Unsupported    ParkReason = "unsupported" // the book in force does not know the event's type, service or currency any more
	UnfitAmount    ParkReason = "bad_amount"  // the book in force cannot count the event's amount, for example because its balance's unit has fewer digits
)

// ParkReasons returns all of them.
func ParkReasons() []ParkReason {
	return []ParkReason{TooLate, FromTheFuture, IDConflict, Overflow, UnknownBalance, UnfitAmount, Unsupported}
}

// Account is the other side of a posting: whose money it was, or becomes.
type Account string

// The accounts. What a rule gives comes from the account PromoPrefix + rule.
const (
	AccountRecharge   Account = "recharge"   // cash that was paid in
	AccountUsage      Account = "usage"      // revenue
	AccountExpiry     Account = "expiry"     // what expired unused
	AccountAdjustment Account = "adjustment" // corrections by hand
	PromoPrefix               = "promo:"
)

// Posting moves an amount between a customer's balance and an account: the
// balance gets Amount, the account gets -Amount, so every posting sums to zero.
type Posting struct {
	Balance string
	Account Account
	Amount  money.Amount // credit > 0, debit < 0, in the balance's unit
	Unit    money.Unit   // the balance's unit when the posting was made
	Cause   string       // "recharge", "usage", "adjustment", "expiry", or the rule's name
	Expires Instant      // of the part credited; zero: never, or a debit
	After   money.Amount // what the balance was worth afterwards
}

// RuleVerdict is what became of a rule whose condition held.
type RuleVerdict uint8

// The verdicts. Their numbers are part of the encodings: append only.
const (
	RuleApplied RuleVerdict = iota + 1
	RuleSkipped
)

func (v RuleVerdict) String() string { return [...]string{"none", "applied", "skipped"}[v] }

// MarshalText writes the verdict's name.
func (v RuleVerdict) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// The reasons why a rule that matched was passed over.
const (
	SkipLimit     = "limit"
	SkipBudget    = "budget"
	SkipGroup     = "group"
	SkipHoldout   = "holdout"
	SkipSuspended = "suspended"
	SkipError     = "error"
)

// RuleResult is the verdict on one rule that matched an event.
type RuleResult struct {
	Name    string
	Verdict RuleVerdict
	Reason  string // of RuleSkipped
	Detail  string // of SkipError: what failed
}

// Position is a place in an event log: a record, and an event in it.
type Position struct {
	Sequence Sequence
	Offset   uint32
}

// ExpiryType is the type of the outcome that the passing of time has: a part of
// a balance expired. It is no event that anybody can send.
const ExpiryType = "expiry"

// TimerType is the type of the event that a rule's timer makes when it is due.
// The processor judges it like any other, but nobody can send it.
const TimerType = "timer"

// Outcome is what one accepted event did.
type Outcome struct {
	EventID  string
	Source   string
	Type     string
	MSISDN   MSISDN
	Time     Instant  // event time
	Accepted Instant  // the log's clock
	Position Position // where the event is in the event log
	Result   Result
	Reason   string // of Parked
	Detail   string // of Parked: in words
	Rulebook uint64 // version that judged it

	Postings  []Posting
	Rules     []RuleResult
	Shortfall money.Amount // of a usage, in money: what could not be covered
	Money     money.Unit   // the currency, which Shortfall and Amount are in

	// What live metrics and the live feed show of the event.
	Amount  money.Amount // of a recharge
	Channel string       // of a recharge or contact
	Service string       // of a usage or cdr
}

// Notification is a message that a customer is to get.
type Notification struct {
	MSISDN    MSISDN
	EventID   string
	Source    string
	Rule      string
	Channel   string
	Template  string
	Language  string
	Text      string
	Time      Instant // the log's clock
	SendAfter Instant // zero: at once
}

// Alert is something that people in operations should know.
type Alert struct {
	Name     string // of the rule, or of the system's own alert
	Severity string
	Summary  string
	Labels   []Label // sorted by name
	StartsAt Instant
	EndsAt   Instant // zero: unknown
}

// Label is a name and a value.
type Label struct{ Name, Value string }
