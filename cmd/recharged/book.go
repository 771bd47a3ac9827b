package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"recharged/cmd/recharged/api"
	"recharged/rules"
)

// readRulebook reads rulebook files, and the YAML files of folders in the order
// of their names, except tests.
func readRulebook(paths ...string) ([]rules.File, error) {
	var files []rules.File
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			return nil, usagef("read the rulebook: %v", err)
		}
		names := []string{path}
		if info.IsDir() {
			if names, err = yamlFiles(path, false); err != nil {
				return nil, err
			}
		}
		for _, name := range names {
			data, err := os.ReadFile(name)
			if err != nil {
				return nil, usagef("read the rulebook: %v", err)
			}
			files = append(files, rules.File{Name: name, Data: data})
		}
	}
	return files, nil
}

// isTest reports whether a file of a rulebook's folder holds tests.
func isTest(path string) bool {
	return strings.HasSuffix(strings.TrimSuffix(path, filepath.Ext(path)), "_test")
}

// yamlFiles lists the YAML files of a folder: those that hold tests, or the others.
func yamlFiles(folder string, tests bool) ([]string, error) {
	var names []string
	err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		ext := filepath.Ext(path)
		if !entry.IsDir() && (ext == ".yaml" || ext == ".yml") && isTest(path) == tests {
			names = append(names, path)
		}
		return nil
	})
	if err != nil {
		return nil, usagef("read the rulebook folder: %v", err)
	}
	if len(names) == 0 && tests {
		return nil, usagef("there are no tests, files whose names end in _test.yaml, in the folder %s", folder)
	}
	if len(names) == 0 {
		return nil, usagef("there are no .yaml files in the folder %s", folder)
	}
	slices.Sort(names)
	return names, nil
}

// problemLines shows problems as compilers do, hints below.
func problemLines(problems []api.Problem) string {
	var b strings.Builder
	for _, p := range problems {
		fmt.Fprintf(&b, "%s:%d:%d: %s: %s\n", p.File, p.Line, p.Column, p.Severity, p.Message)
		if p.Hint != "" {
			fmt.Fprintf(&b, "    %s\n", p.Hint)
		}
	}
	return b.String()
}

type checkCommand struct {
	Files []string `arg:"" name:"rulebook" help:"Rulebook files, or folders of them; together they are one rulebook."`
}

// Help has the example.
func (*checkCommand) Help() string { return example("recharged check promotions/") }

// Run checks a rulebook without any server.
func (c *checkCommand) Run(s *session) error {
	files, err := readRulebook(c.Files...)
	if err != nil {
		return err
	}
	book, problems := rules.Load(files...)
	shown := api.DescribeProblems(problems)
	if s.json {
		err = printJSON(s.stdout, map[string]any{"ok": book != nil, "problems": shown})
	} else {
		_, err = fmt.Fprint(s.stdout, problemLines(shown)+checkSummary(book, problems))
	}
	if err == nil && book == nil {
		return no()
	}
	return err
}

func checkSummary(book *rules.Book, problems rules.Problems) string {
	warnings := 0
	for _, p := range problems {
		if p.Severity == rules.Warning {
			warnings++
		}
	}
	errors := len(problems) - warnings
	if book == nil {
		return fmt.Sprintf("not good: %s, %s\n", count(errors, "error"), count(warnings, "warning"))
	}
	return fmt.Sprintf("good: %s, %s\n", count(len(book.Rules()), "rule"), count(warnings, "warning"))
}

// count writes a number and a word in its singular or plural.
func count(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return fmt.Sprintf("%d %ss", n, word)
}
