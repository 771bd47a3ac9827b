package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os/user"
	"strconv"
	"strings"

	"recharged/cmd/recharged/api"
	"recharged/rules"
)

type publishCommand struct {
	serverFlags
	Files     []string `arg:"" optional:"" name:"rulebook" help:"Rulebook files, or folders of them; together they are one rulebook."`
	Rollback  uint64   `placeholder:"N" help:"Publish this older version again instead of files. It gets a number of its own."`
	IfVersion uint64   `placeholder:"N" help:"Publish only if this is the newest version, so that nobody else's change is overwritten."`
}

// Help has the example.
func (*publishCommand) Help() string {
	return example("recharged publish promotions/ --if-version 7", "recharged publish --rollback 5")
}

// Run checks a rulebook here, where its files have names, and publishes it.
func (c *publishCommand) Run(s *session) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	files, err := c.rulebook(s, client)
	if err != nil {
		return err
	}
	if book, problems := rules.Load(files...); book == nil {
		return s.showBroken(api.DescribeProblems(problems))
	}
	source, problems := rules.Merge(files...)
	if source == nil {
		return s.showBroken(api.DescribeProblems(problems))
	}
	header := map[string]string{"Content-Type": "application/yaml", "X-Author": author()}
	if c.IfVersion > 0 {
		header["If-Match"] = strconv.Quote(strconv.FormatUint(c.IfVersion, 10))
	}
	var published api.Published
	err = client.call(s.ctx, request{method: http.MethodPut, path: "/v1/rulebook", header: header, body: source}, &published)
	var p *problem
	if errors.As(err, &p) && len(p.Problems) > 0 {
		nameProblems(p.Problems, files)
		return s.showBroken(p.Problems)
	}
	if err != nil {
		return err
	}
	nameProblems(published.Problems, files)
	if s.json {
		return printJSON(s.stdout, published)
	}
	text := problemLines(published.Problems) + fmt.Sprintf("published as version %d\n", published.Version)
	for _, change := range published.Changes {
		text += "  " + change + "\n"
	}
	_, err = io.WriteString(s.stdout, text)
	return err
}

// rulebook returns the files to publish: those given, or an older version.
func (c *publishCommand) rulebook(s *session, client *client) ([]rules.File, error) {
	switch {
	case c.Rollback == 0 && len(c.Files) == 0:
		return nil, usagef("give rulebook files, or --rollback N to publish an older version again")
	case c.Rollback == 0:
		return readRulebook(c.Files...)
	case len(c.Files) > 0:
		return nil, usagef("give either rulebook files or --rollback, not both")
	}
	source, err := client.rulebook(s, c.Rollback, "application/yaml")
	if err != nil {
		return nil, err
	}
	return []rules.File{{Name: fmt.Sprintf("version %d", c.Rollback), Data: source}}, nil
}

// showBroken prints why a rulebook is not published.
func (s *session) showBroken(problems []api.Problem) error {
	var err error
	if s.json {
		err = printJSON(s.stdout, map[string]any{"ok": false, "problems": problems})
	} else {
		_, err = fmt.Fprint(s.stdout, problemLines(problems)+"not published: the rulebook has errors\n")
	}
	if err != nil {
		return err
	}
	return no()
}

// author is who publishes, as far as this machine knows.
func author() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return ""
}

// nameProblems gives the problems that a server found the name of the file that
// was sent. Of several files one was made, whose lines are nobody's.
func nameProblems(problems []api.Problem, files []rules.File) {
	name := api.DraftName + " (merged)"
	if len(files) == 1 {
		name = files[0].Name
	}
	for i := range problems {
		if problems[i].File == api.DraftName {
			problems[i].File = name
		}
	}
}

type rulebookCommand struct {
	Show    rulebookShowCommand    `cmd:"" default:"withargs" help:"Print the newest rulebook, or one version."`
	History rulebookHistoryCommand `cmd:"" help:"Who published which version when, and what changed."`
	Diff    rulebookDiffCommand    `cmd:"" help:"What is different between two versions."`
	Schema  rulebookSchemaCommand  `cmd:"" help:"Print the JSON Schema of a rulebook, for editors."`
}

// Help has the example.
func (*rulebookCommand) Help() string {
	return example("recharged rulebook", "recharged rulebook history", "recharged rulebook diff 6 7", "recharged rulebook schema > rulebook.schema.json")
}

type rulebookShowCommand struct {
	serverFlags
	Number uint64 `arg:"" optional:"" name:"version" help:"Which version; the newest if left out."`
}

// Help has the example.
func (*rulebookShowCommand) Help() string {
	return example("recharged rulebook show > rulebook.yaml", "recharged rulebook show 3")
}

// Run prints a rulebook as it was published.
func (c *rulebookShowCommand) Run(s *session) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	kind := "application/yaml"
	if s.json {
		kind = "application/json"
	}
	source, err := client.rulebook(s, c.Number, kind)
	if err != nil {
		return err
	}
	if s.json {
		return printJSON(s.stdout, json.RawMessage(source))
	}
	_, err = s.stdout.Write(source)
	return err
}

// rulebook reads a version of the rulebook; 0 is the newest.
func (c *client) rulebook(s *session, version uint64, kind string) ([]byte, error) {
	path := "/v1/rulebook"
	if version > 0 {
		path += "/versions/" + strconv.FormatUint(version, 10)
	}
	answer, err := c.send(s.ctx, request{method: http.MethodGet, path: path, header: map[string]string{"Accept": kind}})
	if err != nil {
		return nil, asExit(err)
	}
	defer answer.Body.Close()
	source, err := io.ReadAll(answer.Body)
	if err != nil {
		return nil, &exitError{exitUnreachable, fmt.Sprintf("the rulebook broke off: %v", err)}
	}
	return source, nil
}

type rulebookHistoryCommand struct {
	serverFlags
	Limit int `default:"20" help:"How many versions at most."`
}

// Help has the example.
func (*rulebookHistoryCommand) Help() string { return example("recharged rulebook history") }

// Run lists versions, newest first.
func (c *rulebookHistoryCommand) Run(s *session) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	var page struct {
		Versions []api.Version `json:"versions"`
		Next     string        `json:"next"`
	}
	if err := client.get(s.ctx, "/v1/rulebook/versions", url.Values{"limit": {strconv.Itoa(c.Limit)}}, &page); err != nil {
		return err
	}
	if s.json {
		return printJSON(s.stdout, page)
	}
	lines := []string{"version\tat\tauthor\tchanges"}
	for _, v := range page.Versions {
		head := fmt.Sprintf("%d\t%s\t%s\t", v.Version, localTime(v.At), v.Author)
		if len(v.Changes) == 0 {
			lines = append(lines, head)
		}
		for _, change := range v.Changes {
			lines = append(lines, head+change)
			head = "\t\t\t"
		}
	}
	return table(s.stdout, lines...)
}

type rulebookDiffCommand struct {
	serverFlags
	Old string `arg:"" help:"A version, or a file or folder."`
	New string `arg:"" help:"A version, or a file or folder."`
}

// Help has the example.
func (*rulebookDiffCommand) Help() string {
	return example("recharged rulebook diff 6 7", "recharged rulebook diff 7 promotions/")
}

// Run tells the differences.
func (c *rulebookDiffCommand) Run(s *session) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	old, err := client.load(s, c.Old)
	if err != nil {
		return err
	}
	book, err := client.load(s, c.New)
	if err != nil {
		return err
	}
	changes := rules.Changes(old, book)
	if s.json {
		return printJSON(s.stdout, map[string]any{"changes": append([]string{}, changes...)})
	}
	if len(changes) == 0 {
		changes = []string{"no difference"}
	}
	_, err = fmt.Fprintln(s.stdout, strings.Join(changes, "\n"))
	return err
}

// load reads a rulebook by its version or from files.
func (c *client) load(s *session, name string) (*rules.Book, error) {
	var files []rules.File
	if version, err := strconv.ParseUint(name, 10, 64); err == nil {
		source, err := c.rulebook(s, version, "application/yaml")
		if err != nil {
			return nil, err
		}
		files = []rules.File{{Name: "version " + name, Data: source}}
	} else if files, err = readRulebook(name); err != nil {
		return nil, err
	}
	book, problems := rules.Load(files...)
	if book == nil {
		return nil, s.showBroken(api.DescribeProblems(problems))
	}
	return book, nil
}
