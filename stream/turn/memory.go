package turn

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"

	"recharged/rules"
	"recharged/rules/budget"
	"recharged/state/charge"
	"recharged/state/money"
)

// memory is what a partition remembers of rules. Each rule has a note of its own,
// and so have its share of a budget and, at the rule's home, the treasury. What a
// turn touches is noted at its end, once.
type memory struct {
	book       *rules.Book
	version    uint64
	partitions int
	final      bool  // whoever is short is not to wait
	purse      Purse // nil: the budgets are in the funds

	rules      map[string]*RuleNote
	funds      map[fundName]*budget.Fund
	treasuries map[fundName]*budget.Treasury // of rules at home here
	budgets    []string                      // the rules of the book that have one, in its order

	dirtyRules      map[string]bool
	dirtyFunds      map[fundName]bool
	dirtyTreasuries map[fundName]bool
	failing         map[string]bool // rules with failures that were not told yet
	bytes           int             // that the dirty ones take, estimated
	scratch         []byte
}

// fundName names a budget: a rule that changes the unit of what it gives has
// another one.
type fundName struct {
	unit string
	rule string
}

// RuleNote is what a partition has noted of a rule, over all versions.
type RuleNote struct {
	Results map[string]uint64 // verdicts on the rule where it matched: "applied", or why it was passed over
	Credits []CreditNote      // sorted by balance, then unit
	Treated ArmNote           // of a rule with a holdout: those who may get what it gives
	Held    ArmNote           // and those who are held back

	// Suspended is the version of the rulebook under which the rule failed so
	// often that it must not apply; any newer version lifts it. Zero: none.
	Suspended uint64

	failures uint64 // that were not told the rule's home yet
	detail   string // of the last of them
}

// CreditNote is what a rule gave to a balance.
type CreditNote struct {
	Balance string
	Unit    money.Unit
	Amount  money.Sum
}

// ArmNote counts one arm of a rule with a holdout.
type ArmNote struct {
	Customers uint64 // who met the rule
	Recharges uint64 // of them since
	Amount    money.Sum
}

// Names of notes.
const (
	rulePrefix     = "rule:"
	fundPrefix     = "fund:"
	treasuryPrefix = "treasury:"
)

func (n fundName) note(prefix string) string { return prefix + n.unit + ":" + n.rule }

func parseFundName(name, prefix string) (fundName, bool) {
	unit, rule, ok := strings.Cut(strings.TrimPrefix(name, prefix), ":")
	return fundName{unit, rule}, ok
}

// open reads what an earlier machine has noted.
func (y *memory) open(m *Machine) (err error) {
	*y = memory{
		partitions: m.opts.Partitions, purse: m.opts.Purse,
		rules: map[string]*RuleNote{}, funds: map[fundName]*budget.Fund{}, treasuries: map[fundName]*budget.Treasury{},
		dirtyRules: map[string]bool{}, dirtyFunds: map[fundName]bool{}, dirtyTreasuries: map[fundName]bool{},
		failing: map[string]bool{},
	}
	if m.judge.Book != nil {
		y.adopt(m.judge.Book, m.judge.Version)
	}
	notes := func(prefix string, read func(name string, value []byte) error) {
		m.state.Notes(prefix, func(name string, value []byte) bool {
			if e := read(name, value); e != nil {
				err = fmt.Errorf("%s: %w", name, e)
			}
			return err == nil
		})
	}
	notes(rulePrefix, func(name string, value []byte) error {
		note, err := decodeRuleNote(value)
		rule := strings.TrimPrefix(name, rulePrefix)
		y.rules[rule] = note
		if err == nil && note.failures > 0 {
			y.failing[rule] = true
		}
		return err
	})
	notes(fundPrefix, func(name string, value []byte) error {
		of, _ := parseFundName(name, fundPrefix)
		fund, err := budget.DecodeFund(value)
		y.funds[of] = &fund
		return err
	})
	notes(treasuryPrefix, func(name string, value []byte) error {
		of, _ := parseFundName(name, treasuryPrefix)
		treasury, err := budget.DecodeTreasury(value)
		y.treasuries[of] = treasury
		return err
	})
	return err
}

// adopt goes by another version of the rulebook.
func (y *memory) adopt(book *rules.Book, version uint64) {
	y.book, y.version, y.budgets = book, version, nil
	for _, r := range book.Rules() {
		if r.Budget != 0 {
			y.budgets = append(y.budgets, r.Name)
		}
	}
}

// note writes down what the turn touched.
func (y *memory) note(s State) {
	note := func(name string, value []byte) {
		y.scratch = value
		s.SetNote(name, bytes.Clone(value)) // It is kept: in as few bytes as it takes.
	}
	for name := range y.dirtyRules {
		note(rulePrefix+name, y.rules[name].append(y.scratch[:0]))
	}
	for name := range y.dirtyFunds {
		note(name.note(fundPrefix), y.funds[name].Append(y.scratch[:0]))
	}
	for name := range y.dirtyTreasuries {
		note(name.note(treasuryPrefix), y.treasuries[name].Append(y.scratch[:0]))
	}
	clear(y.dirtyRules)
	clear(y.dirtyFunds)
	clear(y.dirtyTreasuries)
	y.bytes = 0
}

// Estimates of what notes take in a commit.
const (
	ruleNoteBytes     = 120 // and the rule's name twice
	resultNoteBytes   = 16
	creditNoteBytes   = 40
	fundNoteBytes     = 96
	treasuryNoteBytes = 96
	accountNoteBytes  = 24 // of a treasury, for each partition
)

// size estimates what an outcome adds to the notes at most.
func (y *memory) size(o *charge.Outcome) int {
	n := 0
	for i := range o.Rules {
		n += y.ruleSize(o.Rules[i].Name)
	}
	return n
}

func (y *memory) ruleSize(name string) int {
	n := ruleNoteBytes + fundNoteBytes + 3*len(name)
	if note := y.rules[name]; note != nil {
		n += resultNoteBytes*len(note.Results) + creditNoteBytes*len(note.Credits) + len(note.detail)
	}
	return n
}

// rule returns what is noted of a rule, to be changed.
func (y *memory) rule(name string) *RuleNote {
	note := y.rules[name]
	if note == nil {
		note = &RuleNote{}
		y.rules[name] = note
	}
	if !y.dirtyRules[name] {
		y.dirtyRules[name] = true
		y.bytes += y.ruleSize(name)
	}
	return note
}

// fund returns the partition's share of the budget of a rule of the book; nil if
// the rule has none. Who changes it marks it with touchFund.
func (y *memory) fund(rule string) (*budget.Fund, fundName) {
	if y.book == nil {
		return nil, fundName{} // A letter may come before the first rulebook.
	}
	total, unit, ok := y.book.Budget(rule)
	if !ok {
		return nil, fundName{}
	}
	name := fundName{unit.Name, rule}
	fund := y.funds[name]
	if fund == nil {
		fund = &budget.Fund{}
		fund.Adopt(budget.Terms{Version: y.version, Total: total})
		y.funds[name] = fund
	}
	return fund, name
}

// touchFund marks a fund as changed.
func (y *memory) touchFund(name fundName) {
	if !y.dirtyFunds[name] {
		y.dirtyFunds[name] = true
		y.bytes += fundNoteBytes + len(name.rule)
	}
}

// treasury returns the treasury of a budget that is at home here, to be changed.
func (y *memory) treasury(name fundName) *budget.Treasury {
	t := y.treasuries[name]
	if t == nil {
		t = budget.NewTreasury(y.partitions)
		y.treasuries[name] = t
	}
	if !y.dirtyTreasuries[name] {
		y.dirtyTreasuries[name] = true
		y.bytes += treasuryNoteBytes + accountNoteBytes*y.partitions + len(name.rule)
	}
	return t
}

// Fund implements rules.Memory.
func (y *memory) Fund(rule string) rules.Fund {
	if y.purse != nil {
		return y.purse.Fund(rule)
	}
	fund, _ := y.fund(rule)
	if fund == nil {
		return rules.Fund{}
	}
	f := rules.Fund{Slice: fund.Slice(), Left: fund.Left()}
	if y.final {
		f.Left = 0
	}
	return f
}

// Suspended implements rules.Memory.
func (y *memory) Suspended(rule string) bool {
	note := y.rules[rule]
	return note != nil && note.Suspended >= y.version && note.Suspended != 0
}

// learn remembers what the event that was judged last did with rules.
func (m *Machine) learn(o *charge.Outcome) {
	for i := range o.Rules {
		m.memory.result(&o.Rules[i])
	}
	for i := range o.Postings {
		p := &o.Postings[i]
		if rule, ok := strings.CutPrefix(string(p.Account), charge.PromoPrefix); ok && rule == p.Cause {
			given := CreditNote{Balance: p.Balance, Unit: p.Unit}
			given.Amount.Add(p.Amount)
			m.memory.rule(p.Cause).credit(&given)
		}
	}
	for _, a := range m.judge.Decision.Arms {
		note := m.memory.rule(a.Rule)
		arm := &note.Treated
		if a.Held {
			arm = &note.Held
		}
		arm.Customers += uint64(a.Customers)
		arm.Recharges += uint64(a.Recharges)
		arm.Amount.Add(a.Amount)
	}
	for _, s := range m.judge.Decision.Spends {
		if m.memory.purse != nil {
			m.memory.purse.Spend(s.Rule, s.Amount)
			continue
		}
		fund, name := m.memory.fund(s.Rule)
		fund.Spend(s.Amount)
		m.memory.touchFund(name)
		m.queue.stir(s.Rule)
		m.ask(s.Rule)
	}
}

// result counts a verdict.
func (y *memory) result(r *charge.RuleResult) {
	note := y.rule(r.Name)
	if note.Results == nil {
		note.Results = map[string]uint64{}
	}
	result := r.Reason
	if r.Verdict == charge.RuleApplied {
		result = r.Verdict.String()
	}
	note.Results[result]++
	if result == charge.SkipError {
		note.failures++
		note.detail = r.Detail
		y.failing[r.Name] = true
		y.bytes += len(r.Detail)
	}
}

// credit adds to what the rule gave.
func (n *RuleNote) credit(given *CreditNote) {
	i, found := slices.BinarySearchFunc(n.Credits, given, func(c CreditNote, o *CreditNote) int {
		return cmp.Or(strings.Compare(c.Balance, o.Balance), strings.Compare(c.Unit.Name, o.Unit.Name))
	})
	if !found {
		n.Credits = slices.Insert(n.Credits, i, CreditNote{Balance: given.Balance, Unit: given.Unit})
	}
	n.Credits[i].Amount.AddSum(given.Amount)
}

const ruleNoteFormat = 1

// append encodes a note:
//
//	format(1)
//	count of results, each: text, uint
//	count of credits, each: text balance, text unit, uint digits, sum
//	treated and held, each: uint customers, uint recharges, sum amount
//	uint suspended, uint failures, text detail
//
// A text is its length and its bytes, a sum two numbers of 8 bytes, the high one
// first; other numbers are varints.
func (n *RuleNote) append(dst []byte) []byte {
	w := writer{append(dst, ruleNoteFormat)}
	w.uint(uint64(len(n.Results)))
	for _, result := range sortedKeys(n.Results) {
		w.text(result)
		w.uint(n.Results[result])
	}
	w.uint(uint64(len(n.Credits)))
	for i := range n.Credits {
		c := &n.Credits[i]
		w.text(c.Balance)
		w.text(c.Unit.Name)
		w.uint(uint64(c.Unit.Digits))
		w.sum(c.Amount)
	}
	for _, a := range []*ArmNote{&n.Treated, &n.Held} {
		w.uint(a.Customers)
		w.uint(a.Recharges)
		w.sum(a.Amount)
	}
	w.uint(n.Suspended)
	w.uint(n.failures)
	w.text(n.detail)
	return w.data
}

func decodeRuleNote(data []byte) (*RuleNote, error) {
	r := reader{rest: data}
	r.format(ruleNoteFormat)
	n := &RuleNote{}
	for range r.count() {
		if n.Results == nil {
			n.Results = map[string]uint64{}
		}
		result := r.text()
		n.Results[result] = r.uint()
	}
	for range r.count() {
		n.Credits = append(n.Credits, CreditNote{
			Balance: r.text(), Unit: money.Unit{Name: r.text(), Digits: int(r.uint())}, Amount: r.sum(),
		})
	}
	for _, a := range []*ArmNote{&n.Treated, &n.Held} {
		*a = ArmNote{Customers: r.uint(), Recharges: r.uint(), Amount: r.sum()}
	}
	n.Suspended, n.failures = r.uint(), r.uint()
	n.detail = r.text()
	return n, r.close()
}

func (w *writer) sum(s money.Sum) {
	w.instant(charge.Instant(s.Hi))
	w.instant(charge.Instant(s.Lo))
}

func (r *reader) sum() money.Sum {
	return money.Sum{Hi: int64(r.instant()), Lo: uint64(r.instant())}
}
