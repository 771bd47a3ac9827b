package rules

import (
	"strconv"

	"recharged/state/charge"
)

// nearestHint returns `did you mean "x"?` or nothing.
func nearestHint(name string, candidates []string) string {
	if best := charge.Nearest(name, candidates); best != "" {
		return "did you mean " + strconv.Quote(best) + "?"
	}
	return ""
}
