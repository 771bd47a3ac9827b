package trial

import "fmt"

// Mark says whose line of a difference it is.
type Mark byte

// The marks.
const (
	Same    Mark = ' ' // as expected, or an explanation
	Missing Mark = '-' // expected, and not there
	Extra   Mark = '+' // there, and not expected
)

// MarshalText writes the mark.
func (m Mark) MarshalText() ([]byte, error) { return []byte{byte(m)}, nil }

// Line is a line of a difference.
type Line struct {
	Mark Mark   `json:"mark"`
	Text string `json:"text"`
}

// diffOne compares two values.
func diffOne(want, got string) []Line {
	if want == got {
		return nil
	}
	return []Line{{Missing, orNothing(want)}, {Extra, orNothing(got)}}
}

func orNothing(text string) string {
	if text == "" {
		return "nothing"
	}
	return text
}

// diffTexts compares two sets of texts.
func diffTexts(want, got []string) []Line {
	w, g := make([]word, len(want)), make([]word, len(got))
	for i := range want {
		w[i] = word(want[i])
	}
	for i := range got {
		g[i] = word(got[i])
	}
	return diffSets(w, g, func(a, b word) bool { return a == b })
}

// word is a text that writes itself.
type word string

func (w word) String() string { return string(w) }

// diffSets compares what a test expects with what there is, in any order. What
// is expected may leave things open, so that it fits several of what there is:
// pairs are found so that as many as possible have their own.
func diffSets[T fmt.Stringer](want, got []T, fits func(want, got T) bool) []Line {
	pairOf := make([]int, len(got)) // of want, counted from 1; 0: none
	for i := range want {
		augment(want, got, fits, i, pairOf, make([]bool, len(got)))
	}
	paired := make([]bool, len(want))
	var lines []Line
	differs := false
	for i, g := range got {
		if w := pairOf[i]; w > 0 {
			paired[w-1] = true
			lines = append(lines, Line{Same, g.String()})
		}
	}
	for i, w := range want {
		if !paired[i] {
			differs = true
			lines = append(lines, Line{Missing, w.String()})
		}
	}
	for i, g := range got {
		if pairOf[i] == 0 {
			differs = true
			lines = append(lines, Line{Extra, g.String()})
		}
	}
	if !differs {
		return nil
	}
	return lines
}

// augment gives want[i] a partner, if need be one whose own can take another.
func augment[T any](want, got []T, fits func(want, got T) bool, i int, pairOf []int, tried []bool) bool {
	for j := range got {
		if tried[j] || !fits(want[i], got[j]) {
			continue
		}
		tried[j] = true
		if pairOf[j] == 0 || augment(want, got, fits, pairOf[j]-1, pairOf, tried) {
			pairOf[j] = i + 1
			return true
		}
	}
	return false
}
