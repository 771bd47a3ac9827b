package rules

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"recharged/rules/when"
	"recharged/state/money"
)

// languages warns of templates that lack a language which the others have, and
// of texts that leave out what the same text says in another language.
func (n *linter) languages() {
	having := map[string]int{}
	for _, t := range n.allTemplates {
		for _, e := range t.texts {
			having[e.key]++
		}
	}
	own, asked := n.book.language, n.doc.root.get("language") != nil
	var common []string // to most templates
	for language, count := range having {
		if 2*count > len(n.allTemplates) && language != own {
			common = append(common, language)
		}
	}
	slices.Sort(common)
	for _, t := range n.allTemplates {
		for _, language := range common {
			if !t.speaks(language) {
				n.warnf(t.place, "add "+language+": \"…\"; without it its readers get another language",
					"template %s has no text in %s, as %d of %d templates have", t.name, language, having[language], len(n.allTemplates))
			}
		}
		if (asked || having[own] > 0) && !t.speaks(own) {
			n.warnf(t.place, "add "+own+": \"…\"; without it they get "+t.texts[0].key,
				"template %s has no text in %s, the language of customers who have none of their own", t.name, own)
		}
	}
	rules := map[string]*rule{} // one that uses the template
	for _, r := range n.book.rules {
		for i := range r.says {
			rules[r.says[i].template] = r
		}
	}
	for _, t := range n.allTemplates {
		if r := rules[t.name]; r != nil {
			n.forgotten(t, r)
		}
	}
}

func (t *template) speaks(language string) bool {
	return slices.ContainsFunc(t.texts, func(e entry) bool { return e.key == language })
}

// languagesComparedMax is how many languages of one template are compared.
const languagesComparedMax = 64

// forgotten warns of a {name} that one language of a template has and another
// leaves out.
func (n *linter) forgotten(t *template, r *rule) {
	var names []string
	said := map[string]string{} // by name: the first language that says it
	texts := t.texts[:min(len(t.texts), languagesComparedMax)]
	own := make([]map[string]bool, len(texts))
	for i, e := range texts {
		own[i] = map[string]bool{}
		braces(e.value.text, func(string) {}, func(name string, _ int) {
			if name = strings.TrimSpace(name); name == "credited" { // Another name of the first credit.
				name += "." + r.credits[0].balance.Name
			}
			own[i][name] = true
			if _, known := said[name]; !known {
				said[name] = e.key
				names = append(names, name)
			}
		})
	}
	for i, e := range texts {
		for _, name := range names {
			if !own[i][name] && n.shown[Warning] < problemsMax {
				n.warnf(e.value.place, "put {"+name+"} in, or take it out of the others",
					"template %s leaves out {%s} in %s, and says it in %s", t.name, name, e.key, said[name])
			}
		}
	}
}

// longText is a text of a template in one language, at its longest.
type longText struct {
	text    string
	measure measure
}

// messages warns of texts that do not fit into one short message, values
// included. A template that several rules send is told of once, at its longest.
func (n *linter) messages() {
	longest := map[string][]longText{} // by template
	for _, r := range n.book.rules {
		for i := range r.says {
			s := &r.says[i]
			if s.severity != "" || s.channel != defaultChannel {
				continue
			}
			long := longest[s.template]
			if long == nil {
				long = make([]longText, len(s.texts))
				longest[s.template] = long
			}
			for j := range s.texts {
				text := n.fill(s.texts[j].pieces, r)
				if m := measureSMS(text); m.units > long[j].measure.units {
					long[j].text, long[j].measure = text, m
				}
			}
		}
	}
	for _, t := range n.allTemplates {
		for j, long := range longest[t.name] {
			if long.measure.parts > 1 {
				n.tooLong(t, t.texts[j], long.text, long.measure)
			}
		}
	}
}

// tooLong says how many messages a text needs, and why.
func (n *linter) tooLong(t *template, e entry, text string, m measure) {
	at, why, hint := e.value.place, "", ""
	plain := plainer.Replace(text)
	if p := measureSMS(plain); p.alphabet != m.alphabet && p.parts < m.parts {
		offset := strings.IndexFunc(e.value.text, foreignToGSM)
		at = e.value.locate(max(offset, 0))
		swaps := substitutes(e.value.text)
		first, _ := utf8.DecodeRuneInString(e.value.text[max(offset, 0):])
		why = fmt.Sprintf(", because %c is not in %s", first, GSM7)
		hint = fmt.Sprintf("write %s: then it is %d", strings.Join(swaps, ", "), p.parts)
	} else {
		room := capacities[m.alphabet]
		fits := room.part * (m.parts - 1)
		if m.parts == 2 {
			fits = room.alone
		}
		hint = fmt.Sprintf("%d characters less make it %d", m.units-fits, m.parts-1)
	}
	n.warnf(at, hint, "template %s in %s can take %d SMS: up to %d characters in %s%s", t.name, e.key, m.parts, m.units, m.alphabet, why)
}

func foreignToGSM(r rune) bool { return gsmUnits(r) == 0 }

// substitutes says what to write for the characters that GSM-7 lacks.
func substitutes(text string) []string {
	var swaps []string
	for _, r := range text {
		if !foreignToGSM(r) {
			continue
		}
		shown := string(r)
		if strings.TrimSpace(shown) == "" {
			shown = fmt.Sprintf("the character U+%04X", r)
		}
		instead := plainer.Replace(string(r))
		if instead == " " {
			instead = "a space"
		}
		if swap := instead + " for " + shown; !slices.Contains(swaps, swap) {
			swaps = append(swaps, swap)
		}
	}
	return swaps
}

// fill writes a text with values about as long as they get.
func (n *linter) fill(pieces []piece, r *rule) string {
	var b strings.Builder
	for _, p := range pieces {
		switch p.slot {
		case slotNone:
			b.WriteString(p.literal)
		case slotVariable:
			b.WriteString(figure(variableLength(&n.book.variables[p.ref>>1])))
		case slotFirst, slotCredited:
			b.WriteString(longestGift(r, p.credit))
		case slotExpires:
			b.WriteString(expiryLayout)
		}
	}
	return b.String()
}

func figure(length int) string { return strings.Repeat("0", length) }

// longestGift is what a credit can come to: what is fixed as it is written, a
// share as long as money gets.
func longestGift(r *rule, credit int) string {
	unit := r.credits[credit].balance.Unit
	longest := ""
	for i := range r.tiers {
		g := r.tiers[i].gifts[credit]
		text := figure(quantityLength(unit))
		if g.rate == 0 {
			text = quantity(unit, unit.Decimal(g.fixed))
		}
		if len(text) > len(longest) {
			longest = text
		}
	}
	return longest
}

// Lengths of values in texts: not the longest that can be, but the longest that
// a text is commonly asked to hold.
const (
	countLength  = 5
	wholeLength  = 5 // of an amount, before the point
	sizeLength   = 7 // 123.4GB
	wordLength   = 12
	idLength     = 36
	msisdnLength = 15
)

func quantityLength(unit money.Unit) int {
	switch {
	case unit == money.Byte:
		return sizeLength
	case unit.Digits > 0:
		return wholeLength + 1 + unit.Digits
	}
	return countLength
}

func variableLength(v *variable) int {
	switch v.source {
	case fromMSISDN:
		return msisdnLength
	case fromID, fromSource:
		return idLength
	case fromTracking:
		return len("70")
	}
	switch v.Type {
	case when.Number:
		return quantityLength(v.unit)
	case when.Time:
		return len(expiryLayout)
	case when.Bool:
		return len("false")
	}
	return wordLength
}
