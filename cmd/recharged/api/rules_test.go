package api

import (
	"testing"

	"recharged/stream"
)

// The arms of a holdout are compared by what a customer recharged for.
func TestHoldoutUplift(t *testing.T) {
	for _, test := range []struct {
		name                  string
		treated, held         stream.ArmStat
		ofTreated, ofHeld, by string
	}{
		{"more", stream.ArmStat{Customers: 950, Amount: "38000.00"}, stream.ArmStat{Customers: 50, Amount: "1500.00"}, "40.00", "30.00", "10.00"},
		{"less", stream.ArmStat{Customers: 3, Amount: "10.00"}, stream.ArmStat{Customers: 3, Amount: "20.00"}, "3.33", "6.67", "-3.33"},
		{"large", stream.ArmStat{Customers: 1, Amount: "90000000000000000000.01"}, stream.ArmStat{Customers: 1, Amount: "0.00"}, "90000000000000000000.01", "0.00", "90000000000000000000.01"},
		{"nobody held back", stream.ArmStat{Customers: 2, Amount: "10.00"}, stream.ArmStat{Amount: "0.00"}, "5.00", "", ""},
		{"no digits", stream.ArmStat{Customers: 2, Amount: "11"}, stream.ArmStat{Customers: 2, Amount: "4"}, "6", "2", "4"},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := describeHoldout(&test.treated, &test.held)
			if h.Treated.Average != test.ofTreated || h.Holdout.Average != test.ofHeld || h.Uplift != test.by {
				t.Errorf("%q, %q: %q, want %q, %q: %q", h.Treated.Average, h.Holdout.Average, h.Uplift, test.ofTreated, test.ofHeld, test.by)
			}
		})
	}
}
