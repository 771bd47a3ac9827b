package rules

import (
	"strings"
	"unicode/utf16"
)

// Alphabet is how the characters of a short message are coded.
type Alphabet string

// The alphabets. A message is in GSM7 if that has all of its characters.
const (
	GSM7 Alphabet = "GSM-7" // 3GPP TS 23.038: 7 bits a character, some are written as two
	UCS2 Alphabet = "UCS-2" // 16 bits a character, those beyond the basic plane are two
)

// capacity is what one message holds: alone, and as a part of several, where a
// header says which part it is.
type capacity struct{ alone, part int }

var capacities = map[Alphabet]capacity{GSM7: {160, 153}, UCS2: {70, 67}}

const (
	// gsmBasic are the characters that GSM-7 writes as one. The page feed and the
	// escape itself are left out: no text has them.
	gsmBasic = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ" +
		" !\"#¤%&'()*+,-./0123456789:;<=>?" +
		"¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§" +
		"¿abcdefghijklmnopqrstuvwxyzäöñüà"

	// gsmExtended are those that it writes as an escape and another.
	gsmExtended = `^{}\[~]|€`
)

// gsmUnits returns how many units of GSM-7 write the character, 0 if none do.
func gsmUnits(r rune) int {
	switch {
	case strings.ContainsRune(gsmBasic, r):
		return 1
	case strings.ContainsRune(gsmExtended, r):
		return 2
	}
	return 0
}

// Parts returns how many short messages carry the text, and in which alphabet.
// What is written as two units is never divided between two messages. The empty
// text is one message.
func Parts(text string) (parts int, alphabet Alphabet) {
	m := measureSMS(text)
	return m.parts, m.alphabet
}

// measure is the length of a text as short messages count it.
type measure struct {
	alphabet Alphabet
	units    int
	parts    int
}

func measureSMS(text string) measure {
	m := measure{alphabet: GSM7, parts: 1}
	if strings.ContainsFunc(text, func(r rune) bool { return gsmUnits(r) == 0 }) {
		m.alphabet = UCS2
	}
	room, filled, parts := capacities[m.alphabet], 0, 1
	for _, r := range text {
		n := gsmUnits(r)
		if m.alphabet == UCS2 {
			n = utf16.RuneLen(r)
		}
		if m.units += n; filled+n > room.part {
			parts, filled = parts+1, 0
		}
		filled += n
	}
	if m.units > room.alone {
		m.parts = parts
	}
	return m
}

// plainer are characters that GSM-7 lacks and what it has instead, in pairs.
// Word processors put most of them in unasked.
var plainer = strings.NewReplacer(
	"’", "'", "‘", "'", "‚", ",", "′", "'", "`", "'", "´", "'",
	"“", `"`, "”", `"`, "„", `"`, "«", `"`, "»", `"`,
	"–", "-", "—", "-", "‑", "-", "−", "-", "•", "-", "·", "-", "…", "...",
	"\u00a0", " ", "\u202f", " ", "\u2009", " ", "\t", " ",
	"ç", "c", "œ", "oe", "Œ", "OE", "ê", "e", "ë", "e", "â", "a", "á", "a", "ã", "a",
	"î", "i", "ï", "i", "í", "i", "ô", "o", "ó", "o", "õ", "o", "û", "u", "ú", "u", "ÿ", "y",
	"À", "A", "Â", "A", "Á", "A", "È", "E", "Ê", "E", "Ë", "E", "Î", "I", "Ï", "I", "Í", "I",
	"Ô", "O", "Ó", "O", "Ù", "U", "Û", "U", "Ú", "U", "×", "x", "™", "TM", "®", "(R)", "©", "(C)",
)
