package main

import (
	"fmt"
	"testing"
)

// What is measured is what was meant to be measured: so many rules match, and
// the index says what its twin says.
func TestAnswers(t *testing.T) {
	for _, count := range []int{1, 10, 130} {
		for _, matching := range []int{1, count/2 + 1, count} {
			t.Run(fmt.Sprintf("rules=%d/matching=%d", count, matching), func(t *testing.T) {
				if _, err := measure(campaigns(count, matching), matching, 0); err != nil {
					t.Error(err)
				}
			})
		}
	}
	for _, set := range hardSets(200) {
		t.Run(set.name, func(t *testing.T) {
			if _, err := measure(set.book, set.matching, 0); err != nil {
				t.Error(err)
			}
		})
	}
	if _, err := measure(campaigns(10, 2), 3, 0); err == nil {
		t.Error("a wrong answer was measured")
	}
}
