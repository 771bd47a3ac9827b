package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"

	"recharged/cmd/recharged/api"
)

// tokens is the list auth.tokens.
type tokens api.Keyring

// token is an entry of it in YAML.
type token struct {
	Name    string   `yaml:"name"`
	Hash    string   `yaml:"hash"`
	Scopes  []string `yaml:"scopes"`
	Expires string   `yaml:"expires"`
}

// UnmarshalText reads the list as YAML.
func (t *tokens) UnmarshalText(text []byte) error {
	var list []token
	if err := yaml.UnmarshalWithOptions(text, &list, yaml.Strict()); err != nil {
		return fmt.Errorf("not a list of {name, hash, scopes, expires}: %s", firstLine(err.Error()))
	}
	*t = nil
	for i, entry := range list {
		parsed, err := entry.parse()
		if err != nil {
			return fmt.Errorf("token %d (%s): %w", i+1, entry.Name, err)
		}
		if slices.ContainsFunc(*t, func(other api.Token) bool { return other.Name == parsed.Name }) {
			return fmt.Errorf("there are two tokens named %s", parsed.Name)
		}
		*t = append(*t, parsed)
	}
	return nil
}

func (t *token) parse() (api.Token, error) {
	parsed := api.Token{Name: t.Name}
	err := api.CheckTokenName(t.Name)
	if err != nil {
		return parsed, err
	}
	if parsed.Hash, err = api.ParseHash(t.Hash); err != nil {
		return parsed, err
	}
	if parsed.Scopes, err = parseScopes(t.Scopes); err != nil {
		return parsed, err
	}
	if t.Expires != "" {
		parsed.Expires, err = parseExpiry(t.Expires)
	}
	return parsed, err
}

func parseScopes(names []string) ([]api.Scope, error) {
	var scopes []api.Scope
	for _, name := range names {
		if !slices.Contains(api.Scopes(), api.Scope(name)) {
			return nil, fmt.Errorf("there is no scope %q: scopes are %s", name, scopeNames(api.Scopes()))
		}
		scopes = append(scopes, api.Scope(name))
	}
	if len(scopes) == 0 {
		return nil, fmt.Errorf("it has no scopes: scopes are %s", scopeNames(api.Scopes()))
	}
	return scopes, nil
}

func scopeNames(scopes []api.Scope) string {
	names := make([]string, len(scopes))
	for i, s := range scopes {
		names[i] = string(s)
	}
	return strings.Join(names, ", ")
}

// parseExpiry reads a day or a time.
func parseExpiry(text string) (time.Time, error) {
	for _, layout := range []string{time.DateOnly, time.RFC3339} {
		if at, err := time.Parse(layout, text); err == nil {
			return at, nil
		}
	}
	return time.Time{}, fmt.Errorf("%q is no day such as 2027-01-31", text)
}

func (t tokens) lines() []string {
	var lines []string
	for i := range t {
		lines = append(lines, tokenLine(&t[i]))
	}
	return lines
}

// tokenLine writes a token as an entry of auth.tokens.
func tokenLine(t *api.Token) string {
	line := fmt.Sprintf("{name: %s, hash: %q, scopes: [%s]", t.Name, t.HashText(), scopeNames(t.Scopes))
	if !t.Expires.IsZero() {
		line += ", expires: " + t.Expires.UTC().Format(time.RFC3339)
	}
	return line + "}"
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line
}

type tokenCommand struct {
	New tokenNewCommand `cmd:"" help:"Make a token: it is printed once and kept nowhere."`
}

// Help has the example.
func (*tokenCommand) Help() string {
	return example("recharged token new ussd-gateway --scopes ingest")
}

type tokenNewCommand struct {
	Name    string   `arg:"" help:"Whose it is: lower-case letters, digits and hyphens."`
	Scopes  []string `default:"ingest" help:"What it allows: ingest, read, rules, operate."`
	Expires string   `placeholder:"DAY" help:"Day or time from which it is void; a year from now if left out."`
}

// Help has the example.
func (tokenNewCommand) Help() string {
	return example("recharged token new ussd-gateway --scopes ingest", "recharged token new grafana --scopes read --expires 2027-01-31")
}

// Run prints a new token and what the configuration needs of it.
func (c *tokenNewCommand) Run(s *session) error {
	if err := api.CheckTokenName(c.Name); err != nil {
		return usagef("%v", err)
	}
	scopes, err := parseScopes(c.Scopes)
	if err != nil {
		return usagef("%v", err)
	}
	expires := time.Now().AddDate(1, 0, 0).UTC().Truncate(time.Second)
	if c.Expires != "" {
		if expires, err = parseExpiry(c.Expires); err != nil {
			return usagef("%v", err)
		}
	}
	text, t := api.NewToken(c.Name, scopes, expires)
	if s.json {
		return printJSON(s.stdout, map[string]any{
			"token": text, "name": t.Name, "hash": t.HashText(), "scopes": t.Scopes, "expires": t.Expires.Format(time.RFC3339),
		})
	}
	_, err = fmt.Fprintf(s.stdout, `Token, shown this once:

  %s

Configuration, which holds only its hash:

  auth:
    tokens:
      - %s

Its holder sends it as "Authorization: Bearer %s…", or to NATS as token or password.
`, text, tokenLine(&t), text[:len("rch_")+len(t.Name)+1])
	return err
}
