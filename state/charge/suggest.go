package charge

import "strings"

// suggest returns a hint at the known name that is nearest to a wrong one, or,
// if none is near, at all of them.
func suggest(name string, known []string) string {
	best, distanceMin := "", 3 // Two slips of the finger are near.
	if len(name) <= 64 {
		for _, candidate := range known {
			if d := editDistance(strings.ToLower(name), candidate); d < distanceMin && d < len(candidate) {
				best, distanceMin = candidate, d
			}
		}
	}
	if best != "" {
		return ": did you mean " + quote(best) + "?"
	}
	const namesMax = 20
	if len(known) > namesMax {
		return ": it knows " + strings.Join(known[:namesMax], ", ") + " and others"
	}
	return ": it knows " + strings.Join(known, ", ")
}

// editDistance counts the insertions, deletions and replacements of bytes that
// make b of a (Levenshtein), one row of the table at a time.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replaced := diagonal
			if a[i] != b[j] {
				replaced++
			}
			diagonal = row[j+1]
			row[j+1] = min(replaced, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}
