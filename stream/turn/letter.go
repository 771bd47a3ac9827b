package turn

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"recharged/rules/budget"
	"recharged/state/charge"
	"recharged/stream/journal"
)

// A rule's home is the partition that keeps what concerns the rule in all
// partitions: the treasury of its budget, and how often it fails. The others
// talk to it in letters, and so does the home to itself: an answer must not
// depend on who is at home where.
//
// The body of a letter is its kind and then, texts as in notes:
//
//	budget   1  text unit, text rule, a budget message to the end
//	failures 2  text rule, uint version, uint count, text detail
//	suspend  3  text rule, uint version
const (
	letterBudget   = 1
	letterFailures = 2
	letterSuspend  = 3
)

// correspondence is with one partition: how many letters were sent there and how
// many came from there.
type correspondence struct{ sent, received uint64 }

const lettersPrefix = "letters:"

func letterNote(with charge.Partition) string { return lettersPrefix + strconv.Itoa(int(with)) }

// home returns the partition where a rule is at home.
func (m *Machine) home(rule string) charge.Partition {
	return charge.SlotOf(rule).PartitionOf(m.opts.Partitions)
}

// with returns the correspondence with a partition.
func (m *Machine) with(p charge.Partition) *correspondence {
	c := m.letters[p]
	if c == nil {
		c = &correspondence{}
		m.letters[p] = c
	}
	return c
}

// openLetters reads what an earlier machine has noted.
func (m *Machine) openLetters() (err error) {
	m.letters = map[charge.Partition]*correspondence{}
	m.state.Notes(lettersPrefix, func(name string, value []byte) bool {
		var p int
		if p, err = strconv.Atoi(strings.TrimPrefix(name, lettersPrefix)); err == nil {
			r := reader{rest: value}
			r.format(1)
			m.letters[charge.Partition(p)] = &correspondence{r.uint(), r.uint()}
			err = r.close()
		}
		if err != nil {
			err = fmt.Errorf("%s: %w", name, err)
		}
		return err == nil
	})
	return err
}

// remember notes how far a correspondence has come.
func (m *Machine) remember(p charge.Partition, c *correspondence) {
	w := writer{[]byte{1}}
	w.uint(c.sent)
	w.uint(c.received)
	m.state.SetNote(letterNote(p), w.data)
}

// send addresses a letter to a partition.
func (m *Machine) send(to charge.Partition, body []byte) {
	c := m.with(to)
	c.sent++
	m.remember(to, c)
	m.now.Letters = append(m.now.Letters, journal.Letter{To: to, Number: c.sent, Body: body})
	m.bytes += letterBytes + len(body)
}

// letterBytes is what a letter takes in a commit besides its body.
const letterBytes = 24

// runLetter takes in a letter, then judges what waited for it.
func (m *Machine) runLetter() (finished bool, err error) {
	if m.next.Offset == 0 {
		if m.full() {
			return false, nil
		}
		m.steps++
		if err := m.receive(m.record.Frame); err != nil {
			return false, fmt.Errorf("event log record %d/%d: %w", m.opts.Partition, m.record.Sequence, err)
		}
		m.next.Offset = 1
	}
	if settled, err := m.settle(); err != nil || !settled {
		return false, err
	}
	if r := (reader{rest: m.record.Frame.Body}); r.byte() == letterBudget {
		if _, rule := r.text(), r.text(); r.err == nil {
			m.ask(rule)
		}
	}
	m.finish()
	return true, nil
}

// receive takes in a letter, unless it came before.
func (m *Machine) receive(f *journal.Frame) error {
	c := m.with(f.From)
	switch {
	case f.Number <= c.received:
		return nil
	case f.Number > c.received+1:
		return fmt.Errorf("letter %d of partition %d comes after %d: %w", f.Number, f.From, c.received, ErrLetters)
	}
	c.received++
	m.remember(f.From, c)
	r := reader{rest: f.Body}
	switch kind := r.byte(); kind {
	case letterBudget:
		name := fundName{unit: r.text(), rule: r.text()}
		message, err := budget.DecodeMessage(r.rest)
		if r.err != nil || err != nil {
			return fmt.Errorf("a letter about a budget: %w: %w %w", ErrUnreadable, r.err, err)
		}
		m.receiveBudget(f.From, name, message)
		return nil
	case letterFailures:
		rule, version, count, detail := r.text(), r.uint(), r.uint(), r.text()
		if r.close() == nil {
			m.countFailures(rule, version, count, detail)
		}
	case letterSuspend:
		rule, version := r.text(), r.uint()
		if r.close() == nil {
			note := m.memory.rule(rule)
			note.Suspended = max(note.Suspended, version)
		}
	default:
		return fmt.Errorf("a letter of kind %d: %w", kind, ErrUnreadable)
	}
	if r.err != nil {
		return fmt.Errorf("a letter: %w: %w", ErrUnreadable, r.err)
	}
	return nil
}

// receiveBudget takes in what a fund says to a treasury that is at home here, or
// what the treasury says to the fund.
func (m *Machine) receiveBudget(from charge.Partition, name fundName, message budget.Message) {
	if message.ForTreasury() {
		m.reply(name, m.memory.treasury(name).Receive(from, message))
		return
	}
	fund := m.memory.funds[name]
	if fund == nil {
		fund = &budget.Fund{}
		m.memory.funds[name] = fund
	}
	answer, ok := fund.Receive(message)
	m.memory.touchFund(name)
	m.queue.stir(name.rule)
	if ok {
		m.sendBudget(m.home(name.rule), name, answer)
	}
}

func (m *Machine) reply(name fundName, replies []budget.Reply) {
	for _, r := range replies {
		m.sendBudget(r.To, name, r.Message)
	}
}

func (m *Machine) sendBudget(to charge.Partition, name fundName, message budget.Message) {
	w := writer{[]byte{letterBudget}}
	w.text(name.unit)
	w.text(name.rule)
	m.send(to, message.Append(w.data))
}

// ask asks for more of a rule's budget, if that is due.
func (m *Machine) ask(rule string) {
	fund, name := m.memory.fund(rule)
	if fund == nil {
		return
	}
	if message, ok := fund.Ask(m.queue.need(rule)); ok {
		m.memory.touchFund(name)
		m.sendBudget(m.home(rule), name, message)
	}
}

// adoptBudget makes the budget of a rule known: to the fund here, and to the
// treasury, if it is at home here.
func (m *Machine) adoptBudget(rule string) {
	total, _, _ := m.memory.book.Budget(rule)
	terms := budget.Terms{Version: m.memory.version, Total: total}
	fund, name := m.memory.fund(rule)
	fund.Adopt(terms)
	m.memory.touchFund(name)
	m.queue.stir(rule)
	if m.home(rule) == m.opts.Partition {
		m.reply(name, m.memory.treasury(name).Adopt(terms))
	}
	m.ask(rule)
}

// Failures are counted by the minute of the home's clock.
const (
	failuresWindow = time.Minute
	failuresMax    = 100
)

// Alerts of the processor itself.
const (
	AlertFailing   = "rule_failing"
	AlertSuspended = "rule_suspended"
)

// tellFailures tells the homes of rules that failed during the record how often.
func (m *Machine) tellFailures() {
	if len(m.memory.failing) == 0 {
		return
	}
	for _, rule := range sortedKeys(m.memory.failing) {
		note := m.memory.rule(rule)
		w := writer{[]byte{letterFailures}}
		w.text(rule)
		w.uint(m.judge.Version)
		w.uint(note.failures)
		w.text(note.detail)
		note.failures, note.detail = 0, ""
		m.send(m.home(rule), w.data)
	}
	clear(m.memory.failing)
}

// failures is what the home of a rule counts: since when, under which version of
// the rulebook, and how many.
type failures struct {
	version uint64
	since   charge.Instant
	count   uint64
	told    bool // that the rule is suspended
}

func failuresNote(rule string) string { return "failures:" + rule }

// countFailures counts failures of a rule that is at home here, raises an alert
// at the first of a minute, and suspends the rule everywhere when there are too
// many.
func (m *Machine) countFailures(rule string, version, count uint64, detail string) {
	var f failures
	if note := m.state.Note(failuresNote(rule)); note != nil {
		r := reader{rest: note}
		r.format(1)
		f = failures{r.uint(), r.instant(), r.uint(), r.flag()}
	}
	if version < f.version {
		return // Of a rulebook that has been mended since.
	}
	if version > f.version || m.clock.Sub(f.since) >= failuresWindow {
		f = failures{version: version, since: m.clock, told: f.told && version == f.version}
		m.alert(charge.Alert{
			Name: AlertFailing, Severity: "warning",
			Summary: fmt.Sprintf("Rule %s fails, its events are charged without it: %s", rule, detail),
		}, rule)
	}
	f.count += count
	if f.count >= failuresMax && !f.told {
		f.told = true
		w := writer{[]byte{letterSuspend}}
		w.text(rule)
		w.uint(version)
		for to := range charge.Partition(m.opts.Partitions) {
			m.send(to, slices.Clone(w.data))
		}
		m.alert(charge.Alert{
			Name: AlertSuspended, Severity: "critical",
			Summary: fmt.Sprintf("Rule %s failed %d times within a minute and is suspended: %s. Publish a rulebook in which it is mended; that lifts the suspension.",
				rule, f.count, strings.TrimSuffix(detail, ".")),
		}, rule)
	}
	w := writer{[]byte{1}}
	w.uint(f.version)
	w.instant(f.since)
	w.uint(f.count)
	w.flag(f.told)
	m.state.SetNote(failuresNote(rule), w.data)
}

// alert raises an alert of the processor about a rule.
func (m *Machine) alert(a charge.Alert, rule string) {
	a.Labels = []charge.Label{{Name: "rule", Value: rule}}
	a.StartsAt = m.clock
	m.now.Alerts = append(m.now.Alerts, a)
	m.bytes += alertBytes(&a)
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
