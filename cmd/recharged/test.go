package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"recharged/rules"
	"recharged/stream/trial"
)

type testCommand struct {
	Files    []string `arg:"" name:"file" help:"Test files, or folders of them: the files whose names end in _test.yaml."`
	Only     string   `name:"run" placeholder:"REGEXP" help:"Run the tests whose names match."`
	Coverage int      `placeholder:"PERCENT" help:"Fail if the tests apply fewer than so many percent of the rules."`
	Verbose  bool     `short:"v" help:"Name the tests that pass, too."`
}

// Help has the example.
func (*testCommand) Help() string {
	return example("recharged test promotions/ --coverage 100", "recharged test --run 'win-?back' promotions/campaign_test.yaml") + `

A test is a story: a customer, what happens, and what is expected of it.

    rulebook: rulebook.yaml
    tests:
      - name: a recharge over 300 is doubled
        customer: {attributes: {language: en}, balances: {main: 100}}
        steps:
          - at: 2026-11-20 10:00
            event: {type: recharge, amount: 350, channel: app}
            expect:
              postings: [main +350, bonus +350]
              rules: {double-300: applied}
              notifications: [doubled]
          - after: 7d
            expect: {postings: [bonus -350 by expiry]}
        finally: {balances: {main: 450, bonus: 0}}

What is not mentioned is not checked. Exit codes: 0 all passed, 1 a test failed or too few rules are covered, 2 a file cannot be read.`
}

// Run runs the tests without any server.
func (c *testCommand) Run(s *session) error {
	var only *regexp.Regexp
	if c.Only != "" {
		var err error
		if only, err = regexp.Compile(c.Only); err != nil {
			return usagef("--run is not a regular expression: %v", err)
		}
	}
	suites, err := readSuites(c.Files)
	if err != nil {
		return err
	}
	var report trial.Report
	for _, suite := range suites {
		report.Run(suite, only)
	}
	if s.json {
		err = printJSON(s.stdout, &report)
	} else {
		_, err = fmt.Fprint(s.stdout, report.Text(c.Verbose))
	}
	switch {
	case err != nil:
		return err
	case len(report.Tests) == 0:
		return &exitError{exitNo, "no test has a name that matches " + c.Only}
	case report.Failed() > 0:
		return no()
	case !report.Covered(c.Coverage):
		return &exitError{exitNo, fmt.Sprintf("the tests apply fewer than %d %% of the rules", c.Coverage)}
	}
	return nil
}

// readSuites reads test files, and those of folders, and tells the faults of all.
func readSuites(paths []string) ([]*trial.Suite, error) {
	var suites []*trial.Suite
	var faults []string
	books := map[string]*rules.Book{}
	for _, path := range paths {
		names := []string{path}
		if info, err := os.Stat(path); err == nil && info.IsDir() {
			if names, err = yamlFiles(path, true); err != nil {
				return nil, err
			}
		}
		for _, name := range names {
			data, err := os.ReadFile(name)
			if err != nil {
				return nil, usagef("read the tests: %v", err)
			}
			suite, problems := trial.Read(rules.File{Name: name, Data: data}, func(paths []string) (*rules.Book, error) {
				return openBook(filepath.Dir(name), paths, books)
			})
			if suite == nil {
				faults = append(faults, problems.Error())
				continue
			}
			suites = append(suites, suite)
		}
	}
	if len(faults) > 0 {
		return nil, &exitError{exitUsage, "the tests cannot be read\n" + strings.Join(faults, "\n")}
	}
	return suites, nil
}

// openBook loads the rulebook of a test file, whose folder its paths begin in.
// Each rulebook is loaded once.
func openBook(folder string, paths []string, books map[string]*rules.Book) (*rules.Book, error) {
	whole := make([]string, len(paths))
	for i, path := range paths {
		if whole[i] = path; !filepath.IsAbs(path) {
			whole[i] = filepath.Join(folder, path)
		}
	}
	key := strings.Join(whole, "\x00")
	if book := books[key]; book != nil {
		return book, nil
	}
	files, err := readRulebook(whole...)
	if err != nil {
		return nil, err
	}
	book, problems := rules.Load(files...)
	if book == nil {
		return nil, errors.New("the rulebook is not good\n" + problems.Error())
	}
	books[key] = book
	return book, nil
}
