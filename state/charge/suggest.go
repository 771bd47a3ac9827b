package charge

import "strings"

// suggest returns a hint at the known name that is nearest to a wrong one, or,
// if none is near, at all of them.
func suggest(name string, known []string) string {
	if best := Nearest(name, known); best != "" {
		return ": did you mean " + quote(best) + "?"
	}
	const namesMax = 20
	if len(known) > namesMax {
		return ": it knows " + strings.Join(known[:namesMax], ", ") + " and others"
	}
	return ": it knows " + strings.Join(known, ", ")
}

// nameBytesMax is the longest name that is compared with others.
const nameBytesMax = 128

// Nearest returns the candidate that name was most likely meant to be, or "":
// the one with the fewest typing errors, if they are few for the length of the
// name's last part.
func Nearest(name string, candidates []string) string {
	if len(name) > nameBytesMax {
		return ""
	}
	last := name[strings.LastIndexByte(name, '.')+1:]
	best, bestErrors := "", 1+len(last)/3
	for _, c := range candidates {
		if n := typingErrors(name, c); n < bestErrors || n == bestErrors && best == "" {
			best, bestErrors = c, n
		}
	}
	return best
}

// typingErrors counts the letters to insert, delete, replace or swap with their
// neighbour to get from a to b, the case of a letter aside.
func typingErrors(a, b string) int {
	twoAbove, above := make([]int, len(b)+1), make([]int, len(b)+1)
	row := make([]int, len(b)+1)
	for j := range above {
		above[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if lower(a[i-1]) == lower(b[j-1]) {
				cost = 0
			}
			row[j] = min(above[j]+1, row[j-1]+1, above[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], twoAbove[j-2]+1)
			}
		}
		twoAbove, above, row = above, row, twoAbove
	}
	return above[len(b)]
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}
