package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The tests of the sample rulebook pass, and leave no rule out.
func TestSampleRulebook(t *testing.T) {
	code, stdout, stderr := runWith("", "test", "--coverage=100", "../../rules/sample")
	if code != exitOK {
		t.Errorf("exit %d\n%s%s", code, stdout, stderr)
	}
}

func TestExitCodesOfTest(t *testing.T) {
	const book = "version: 1\ncurrency: DZD\nbalances: {main: {unit: DZD}}\nrules: [{name: a, on: recharge, then: [tag: a]}]\n"
	const story = "rulebook: rulebook.yaml\ntests: [{name: a, steps: [{at: 2026-11-20, event: {type: recharge, amount: 1}, expect: {rules: {a: VERDICT}}}]}]\n"
	for _, test := range []struct {
		name, book, story string
		code              int
		says              string
	}{
		{"passes", book, strings.Replace(story, "VERDICT", "applied", 1), exitOK, "1 passed"},
		{"fails", book, strings.Replace(story, "VERDICT", "limit", 1), exitNo, "1 failed"},
		{"is no test", book, "tests", exitUsage, "a_test.yaml:1:1: error: a test file must be a mapping"},
		{"is of a rulebook that is not good", "version: 2\n", story, exitUsage, "the rulebook is not good"},
		{"is not there", book, "", exitUsage, "a_test.yaml"},
	} {
		folder := t.TempDir()
		write := func(name, text string) {
			if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		write("rulebook.yaml", test.book)
		if test.story != "" {
			write("a_test.yaml", test.story)
		}
		code, stdout, stderr := runWith("", "test", filepath.Join(folder, "a_test.yaml"))
		if code != test.code || !strings.Contains(stdout+stderr, test.says) {
			t.Errorf("a test that %s: exit %d, says %s%s", test.name, code, stdout, stderr)
		}
	}
}
