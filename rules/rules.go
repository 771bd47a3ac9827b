// Package rules turns a rulebook, the YAML that marketing and operations write,
// into an immutable Book, and judges events by it: which rules apply, what they
// credit, whom they tell.
//
// It promises that a book which loads can be obeyed: every name resolves, every
// amount is exact, and every fault is reported with its line and column. The
// same book, picture, memory and event give the same decision, always. It
// refuses to know the time, to keep state and to move money: its caller brings
// the clock, the customer and what is left of budgets, and posts the credits.
package rules

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"recharged/state/charge"
	"recharged/state/ledger"
	"recharged/state/money"
)

// File is a rulebook, or a part of one.
type File struct {
	Name string // for messages
	Data []byte
}

// Severity is how bad a problem is.
type Severity uint8

// The severities.
const (
	Warning Severity = iota + 1 // the book loads, but its author may have meant something else
	Error                       // the book does not load
)

func (s Severity) String() string { return [...]string{"none", "warning", "error"}[s] }

// MarshalText writes the severity's name.
func (s Severity) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Problem is one fault of a rulebook and where it stands. Lines and columns
// count from 1, columns in characters.
type Problem struct {
	File         string
	Line, Column int
	Severity     Severity
	Message      string
	Hint         string // what to do about it; may be empty
}

// String writes a problem as compilers do: "promo.yaml:12:9: error: unknown key
// \"wehn\": did you mean \"when\"?".
func (p Problem) String() string {
	text := fmt.Sprintf("%s:%d:%d: %s: %s", p.File, p.Line, p.Column, p.Severity, p.Message)
	if p.Hint != "" {
		text += ": " + p.Hint
	}
	return text
}

// Problems are the faults of a rulebook in the order of the files and lines.
type Problems []Problem

// Failed reports whether one of them is an Error.
func (ps Problems) Failed() bool {
	return slices.ContainsFunc(ps, func(p Problem) bool { return p.Severity == Error })
}

// Error writes one problem a line.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// Book is a rulebook, compiled. It is immutable and may be used by any number
// of goroutines at once.
type Book struct {
	plan     ledger.Plan
	catalog  charge.Catalog
	source   []byte
	digest   string
	document *document // what Changes compares

	language  string
	weekStart time.Weekday
	segments  []segment // sorted by name
	variables []variable
	quiet     *dayWindow          // of every notification that has none of its own; nil: none
	rules     []*rule             // by priority, high first, then name
	matchers  map[string]*matcher // by event type
	byName    map[string]*rule
	waiting   map[string][]*rule // the rules with a timer, by the event type that arms it
	groups    int
	shared    int  // conditions that several rules of a type share, at most
	holdouts  bool // whether a rule has one
}

// Plan returns what the ledger needs of the book. It must not be changed.
func (b *Book) Plan() *ledger.Plan { return &b.plan }

// Catalog returns what the door needs of the book. It must not be changed.
func (b *Book) Catalog() *charge.Catalog { return &b.catalog }

// Source returns the book as one YAML document. It must not be changed.
func (b *Book) Source() []byte { return b.source }

// Digest returns "sha256:" and the hash of Source.
func (b *Book) Digest() string { return b.digest }

func digestOf(source []byte) string {
	sum := sha256.Sum256(source)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// RuleInfo is what lists show of a rule.
type RuleInfo struct {
	Name     string
	Title    string
	On       string // the event type; empty for a rule with a timer
	Priority int
	Group    string

	After      string        // of a rule with a timer: the event type that arms it
	Quiet      time.Duration // how long nothing of that type may come
	Budget     money.Amount  // what all credits of the rule together may come to; zero: no bound
	BudgetUnit money.Unit
	Holdout    money.Rate // the share of the customers that get nothing; zero: none

	Credits    []string // balances it may credit
	Channels   []string // of its notifications
	Severities []string // of its alerts
}

// Rules lists the rules in the order in which they are judged.
func (b *Book) Rules() []RuleInfo {
	infos := make([]RuleInfo, len(b.rules))
	for i, r := range b.rules {
		info := r.RuleInfo
		for j := range r.credits {
			info.Credits = append(info.Credits, r.credits[j].balance.Name)
		}
		for j := range r.says {
			if s := &r.says[j]; s.severity != "" {
				info.Severities = append(info.Severities, s.severity)
			} else {
				info.Channels = append(info.Channels, s.channel)
			}
		}
		infos[i] = info
	}
	return infos
}

// Budget returns what the credits of a rule may come to over the rule's life;
// false if the book has no such rule or the rule no budget.
func (b *Book) Budget(rule string) (total money.Amount, unit money.Unit, ok bool) {
	r := b.byName[rule]
	if r == nil || r.Budget == 0 {
		return 0, money.Unit{}, false
	}
	return r.Budget, r.BudgetUnit, true
}

// Segments returns the names of the segments that the customer is in at that
// instant, sorted. A segment whose condition fails has nobody in it.
func (b *Book) Segments(c *charge.Customer, at charge.Instant) []string {
	var names []string
	var p picture
	p.look(b, &Subject{Event: &charge.Event{MSISDN: c.MSISDN, Time: at}, After: c, Clock: at})
	for i := range b.segments {
		if in, err := b.segments[i].when.Holds(&p.after); err == nil && in {
			names = append(names, b.segments[i].name)
		}
	}
	return names
}

// Load compiles a rulebook of one or several files. The book is nil if any
// problem is an Error.
func Load(files ...File) (*Book, Problems) {
	var r report
	doc := readDocument(&r, files)
	if doc == nil {
		return nil, r.sorted(files)
	}
	l := &loader{report: &r, doc: doc, book: &Book{document: doc}}
	l.load()
	if r.failed {
		return nil, r.sorted(files)
	}
	l.book.source = doc.text
	l.book.digest = digestOf(l.book.source)
	return l.book, r.sorted(files)
}

// Merge makes one YAML document of several files: the entries of a section
// stand together, rules are appended, comments are lost. A single file is
// returned as it is. The result is nil if the files cannot be merged.
func Merge(files ...File) ([]byte, Problems) {
	var r report
	doc := readDocument(&r, files)
	if r.failed {
		return nil, r.sorted(files)
	}
	return doc.text, r.sorted(files)
}

// problemsMax bounds how many problems of one severity are reported at once;
// nobody mends more before the next check.
const problemsMax = 100

// report collects problems, each severity on its own: no number of warnings
// hides an error.
type report struct {
	problems Problems
	shown    [Error + 1]int
	unshown  [Error + 1]int // problems beyond problemsMax
	failed   bool
}

// full reports whether another error would not be shown, so that it is not
// worth the work to find where it stands.
func (r *report) full() bool { return r.shown[Error] >= problemsMax }

func (r *report) errorf(at place, hint, format string, args ...any) {
	r.failed = true
	r.add(at, Error, hint, fmt.Sprintf(format, args...))
}

// errorAt is errorf at a byte of a scalar's text.
func (r *report) errorAt(n *node, offset int, hint, format string, args ...any) {
	at := n.place
	if !r.full() {
		at = n.locate(offset)
	}
	r.errorf(at, hint, format, args...)
}

func (r *report) warnf(at place, hint, format string, args ...any) {
	r.add(at, Warning, hint, fmt.Sprintf(format, args...))
}

func (r *report) add(at place, severity Severity, hint, message string) {
	p := Problem{Line: at.line, Column: at.column, Severity: severity, Message: message, Hint: hint}
	if at.file != nil {
		p.File = at.file.name
	}
	switch {
	case slices.Contains(r.problems, p):
	case r.shown[severity] >= problemsMax:
		r.unshown[severity]++
	default:
		r.shown[severity]++
		r.problems = append(r.problems, p)
	}
}

// sorted returns the problems in the order of the files, then of the lines.
func (r *report) sorted(files []File) Problems {
	order := func(p Problem) int {
		return slices.IndexFunc(files, func(f File) bool { return f.Name == p.File })
	}
	slices.SortStableFunc(r.problems, func(p, q Problem) int {
		return cmp.Or(cmp.Compare(order(p), order(q)), cmp.Compare(p.Line, q.Line), cmp.Compare(p.Column, q.Column))
	})
	r.tellUnshown()
	return r.problems
}

// tellUnshown says in the hint of the last problem of a severity how many more
// there are: that is no problem of its own.
func (r *report) tellUnshown() {
	for i := len(r.problems) - 1; i >= 0; i-- {
		p := &r.problems[i]
		n := r.unshown[p.Severity]
		if n == 0 {
			continue
		}
		r.unshown[p.Severity] = 0
		if p.Hint != "" {
			p.Hint += "; "
		}
		p.Hint += fmt.Sprintf("mend these %ss first, %d more are not shown", p.Severity, n)
	}
}
