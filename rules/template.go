package rules

import (
	"cmp"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"recharged/rules/when"
	"recharged/state/charge"
	"recharged/state/money"
)

// template is a text in several languages as the book has it. Its names are
// resolved once for every rule that uses it, because the rule's event type and
// credits decide what they mean.
type template struct {
	place
	name  string
	texts []entry // language and text, in the order of the file
	used  bool
}

// text is a template's text in one language, compiled for one rule.
type text struct {
	language string
	pieces   []piece
}

// piece is a part of a text: either literal or a value to be put in.
type piece struct {
	literal string
	slot    slot
	ref     int // of slotVariable
	credit  int // of slotCredited: one of the rule's credits to that balance
}

type slot uint8

const (
	slotNone slot = iota
	slotVariable
	slotFirst    // what the rule's first credit came to
	slotCredited // the sum of the rule's credits to one balance
	slotExpires  // when the rule's first credit ends
)

// expiryLayout is how a customer reads an instant.
const expiryLayout = "02/01/2006 15:04"

// braces splits a text at its {names}. {{ writes a brace, and so does a closing
// one that nothing has opened. It calls literal and name in turn, name with the
// offset of the name's first byte, and returns the offset of a brace that is
// never closed, or -1.
func braces(s string, literal func(string), name func(string, int)) (unclosed int) {
	for at := 0; at < len(s); {
		i := strings.IndexAny(s[at:], "{}")
		if i < 0 {
			literal(s[at:])
			break
		}
		literal(s[at : at+i])
		at += i
		switch {
		case strings.HasPrefix(s[at:], "{{"), strings.HasPrefix(s[at:], "}}"):
			literal(s[at : at+1])
			at += 2
		case s[at] == '}':
			literal("}")
			at++
		default:
			end := strings.IndexByte(s[at:], '}')
			if end < 0 {
				return at
			}
			name(s[at+1:at+end], at+1)
			at += end + 1
		}
	}
	return -1
}

// compileText resolves the names of a text for one rule.
func (l *loader) compileText(n *node, r *rule, v vocabulary) []piece {
	var pieces []piece
	literal := func(s string) {
		if last := len(pieces) - 1; last >= 0 && pieces[last].slot == slotNone {
			pieces[last].literal += s
		} else if s != "" {
			pieces = append(pieces, piece{literal: s})
		}
	}
	name := func(s string, offset int) {
		p, problem, hint := l.slot(strings.TrimSpace(s), r, v)
		if problem != "" {
			l.errorAt(n, offset, hint, "%s (rule %s)", problem, r.Name)
		}
		pieces = append(pieces, p)
	}
	// An unclosed brace was reported when the text was read.
	braces(n.text, literal, name)
	return pieces
}

// slot resolves one name of a text, or says what is wrong with it.
func (l *loader) slot(name string, r *rule, v vocabulary) (p piece, problem, hint string) {
	if name == "" {
		return p, "the braces are empty", "put a name in, such as {amount}, or write {{ for a brace"
	}
	head, balance, _ := strings.Cut(name, ".")
	switch head {
	case "credited", "expires":
		if len(r.credits) == 0 {
			return p, "{" + name + "} has no meaning in a rule that credits nothing", ""
		}
	case "before":
		return p, "{" + name + "} is not available in a text", "use {customer." + balance + "}"
	}
	switch {
	case name == "credited":
		return piece{slot: slotFirst}, "", ""
	case head == "credited":
		at := slices.IndexFunc(r.credits, func(c credit) bool { return c.balance.Name == balance })
		if at < 0 {
			return p, "the rule does not credit " + strconv.Quote(balance), "it credits " + r.credits[0].balance.Name
		}
		return piece{slot: slotCredited, credit: at}, "", ""
	case name == "expires":
		if r.credits[0].validity == 0 {
			return p, "{expires} has no meaning: the rule's first credit never expires", "give it a validity such as 7d"
		}
		return piece{slot: slotExpires}, "", ""
	}
	found, err := v.Variable(strings.Split(name, "."))
	if err != nil {
		if refusal := (*when.Refusal)(nil); errors.As(err, &refusal) {
			return p, refusal.Message, refusal.Hint
		}
		return p, err.Error(), nearestHint(name, append(v.Names(), "credited", "expires"))
	}
	return piece{slot: slotVariable, ref: found.Ref}, "", ""
}

// checkUnused looks for names that mean nothing to any rule that could send a
// template which none sends.
func (l *loader) checkUnused() {
	for _, t := range l.allTemplates {
		if t.used {
			continue
		}
		for _, e := range t.texts {
			braces(e.value.text, func(string) {}, func(name string, offset int) {
				if problem, hint := l.meaningless(strings.TrimSpace(name)); problem != "" {
					l.errorAt(e.value, offset, hint, "%s", problem)
				}
			})
		}
	}
}

// meaningless says what is wrong with a name that no rule could put into a text.
func (l *loader) meaningless(name string) (problem, hint string) {
	anyRule := rule{RuleInfo: RuleInfo{Name: "any"}}
	for i := range l.book.plan.Balances {
		anyRule.credits = append(anyRule.credits, credit{balance: &l.book.plan.Balances[i], validity: 1})
	}
	for _, typeName := range append([]string{charge.Recharge, charge.Usage}, l.typeNames()...) {
		_, wrong, help := l.slot(name, &anyRule, vocabulary{l, l.schemas[typeName]})
		if wrong == "" {
			return "", ""
		}
		problem, hint = cmp.Or(problem, wrong), cmp.Or(hint, help)
	}
	return problem, hint
}

// appendTo writes the piece. The given credits are those of its rule.
func (p *piece) appendTo(dst []byte, pic *picture, r *rule, given []given) []byte {
	switch p.slot {
	case slotVariable:
		return pic.appendValue(dst, p.ref)
	case slotFirst:
		unit := r.credits[0].balance.Unit
		return append(dst, quantity(unit, unit.Decimal(given[0].amount))...)
	case slotCredited:
		balance := r.credits[p.credit].balance
		var sum money.Amount
		for i := range given {
			if r.credits[i].balance == balance {
				sum += given[i].amount // A few amounts within AmountMax cannot wrap.
			}
		}
		return append(dst, quantity(balance.Unit, balance.Unit.Decimal(sum))...)
	case slotExpires:
		return given[0].expires.Time().In(pic.book.plan.Location).AppendFormat(dst, expiryLayout)
	}
	return append(dst, p.literal...)
}

// appendValue writes a variable's value as a customer reads it.
func (p *picture) appendValue(dst []byte, ref int) []byte {
	v := &p.book.variables[ref>>1]
	value := p.after.Read(ref)
	switch value.Kind {
	case charge.Missing:
		if v.Zero && v.Type == when.Number {
			return append(dst, '0')
		}
	case charge.Number:
		return append(dst, quantity(v.unit, value.Decimal())...)
	case charge.Text:
		return append(dst, value.Text...)
	case charge.Bool:
		return strconv.AppendBool(dst, value.Bool())
	case charge.List:
		return append(dst, strings.Join(value.List, ", ")...)
	case charge.Time:
		return charge.Instant(value.Bits).Time().In(p.book.plan.Location).AppendFormat(dst, expiryLayout)
	case charge.Span:
		return append(dst, time.Duration(value.Bits).String()...)
	}
	return dst
}

// quantity writes a number of a unit: bytes with the suffix that makes them
// shortest, money and everything else in the shortest exact form of the unit.
func quantity(unit money.Unit, d money.Decimal) string {
	if unit == money.Byte {
		return size(d)
	}
	amount, err := d.Minor(unit.Digits)
	if err != nil {
		return d.String()
	}
	return unit.Short(amount)
}

// size writes bytes in the shortest exact way: "500MB", "1.5GB", "1234567B".
func size(d money.Decimal) string {
	shortest := d.String() + "B"
	for i, suffix := range []string{"kB", "MB", "GB"} {
		scaled := money.Decimal{Coefficient: d.Coefficient, Scale: d.Scale + 3*uint8(i+1)}
		if s := scaled.String() + suffix; scaled.Cmp(money.Int(1)) >= 0 && len(s) <= len(shortest) {
			shortest = s
		}
	}
	return shortest
}

// textMax is the longest text of a template or summary, in characters.
const textMax = 2000

// readTemplates reads the section of that name.
func (l *loader) readTemplates() {
	l.templates = map[string]*template{}
	for _, e := range l.section("templates") {
		t := &template{place: e.place, name: e.key}
		l.checkName(e.place, "template", e.key, pathNameMarks)
		l.allTemplates = append(l.allTemplates, t)
		l.templates[t.name] = t
		if !l.wantMapping(e.value, "a template", "write {fr: \"…\", ar: \"…\"}") {
			continue
		}
		for _, language := range e.value.entries {
			if !isName(strings.ToLower(language.key), "-") || len(language.key) > 16 {
				l.errorf(language.place, "write fr, ar or en", "%q is not a language", language.key)
			}
			if l.checkText(language.value) {
				t.texts = append(t.texts, language)
			}
		}
		if len(e.value.entries) == 0 {
			l.errorf(e.place, "add fr: \"…\"", "template %s has no language", e.key)
		}
	}
}

// checkText checks a text without knowing the rules that use it.
func (l *loader) checkText(n *node) bool {
	s, ok := l.text(n)
	if !ok {
		return false
	}
	if utf8.RuneCountInString(s) > textMax {
		l.errorf(n.place, "", "the text is longer than %d characters", textMax)
		return false
	}
	if at := braces(s, func(string) {}, func(string, int) {}); at >= 0 {
		l.errorAt(n, at, "close it with }, or write {{ for a brace", "the brace is never closed")
		return false
	}
	return true
}
