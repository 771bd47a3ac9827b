package main

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/alecthomas/kong"
)

type configCommand struct {
	settings
}

// Help has the example.
func (*configCommand) Help() string {
	return example("recharged config > recharged.yaml", "recharged config --config recharged.yaml --listen 127.0.0.1:9090")
}

// Run prints the effective configuration. What it prints is a configuration
// file that means the same.
func (c *configCommand) Run(s *session, ctx *kong.Context) error {
	if s.json {
		values := map[string]any{}
		eachSetting(ctx, func(key string, flag *kong.Flag) { values[key] = jsonSetting(flag) })
		return printJSON(s.stdout, values)
	}
	var b strings.Builder
	b.WriteString("# Configuration of recharged. What is left out has its default. A flag wins over\n" +
		"# an environment variable, that over this file.\n")
	var sections []string
	eachSetting(ctx, func(key string, flag *kong.Flag) {
		path := strings.Split(key, ".")
		b.WriteString("\n")
		sections = openSections(&b, sections, path[:len(path)-1])
		writeSetting(&b, strings.Repeat("  ", len(path)-1), path[len(path)-1], flag)
	})
	_, err := s.stdout.Write([]byte(b.String()))
	return err
}

// eachSetting visits the settings in the order in which they are declared.
func eachSetting(ctx *kong.Context, visit func(key string, flag *kong.Flag)) {
	for _, flag := range ctx.Selected().Flags {
		if key := flag.Tag.Get(keyTag); key != "" {
			visit(key, flag)
		}
	}
}

// openSections writes the heads of the sections that are not open yet.
func openSections(b *strings.Builder, open, wanted []string) []string {
	same := 0
	for same < len(open) && same < len(wanted) && open[same] == wanted[same] {
		same++
	}
	for i := same; i < len(wanted); i++ {
		fmt.Fprintf(b, "%s%s:\n", strings.Repeat("  ", i), wanted[i])
	}
	return wanted
}

func writeSetting(b *strings.Builder, margin, key string, flag *kong.Flag) {
	const width = 78
	for _, line := range wrap(flag.Help, width-len(margin)) {
		fmt.Fprintf(b, "%s# %s\n", margin, line)
	}
	fmt.Fprintf(b, "%s# Flag --%s, variable %s, default %s.\n", margin, flag.Name, strings.Join(flag.Envs, ", "), firstOf(flag.Default, "none"))
	fmt.Fprintf(b, "%s%s:%s\n", margin, key, yamlSetting(flag, margin))
}

// yamlSetting writes what stands behind the colon of a key.
func yamlSetting(flag *kong.Flag, margin string) string {
	switch value := flag.Target.Interface().(type) {
	case string:
		return " " + yamlString(value)
	case lister:
		text := ""
		for _, line := range value.lines() {
			text += "\n" + margin + "  - " + line
		}
		return firstOf(text, " []")
	default:
		return fmt.Sprint(" ", value)
	}
}

func jsonSetting(flag *kong.Flag) any {
	switch value := flag.Target.Interface().(type) {
	case lister:
		return append([]string{}, value.lines()...)
	case fmt.Stringer:
		return value.String()
	default:
		return value
	}
}

// plainYAML is what nobody could read as anything but a text.
var plainYAML = regexp.MustCompile(`^(/|\./|[a-z]{2,}[_-]?)[A-Za-z0-9_./-]*$`)

func yamlString(text string) string {
	switch text {
	case "true", "false", "null", "yes", "no", "on", "off":
		return strconv.Quote(text)
	}
	if plainYAML.MatchString(text) {
		return text
	}
	return strconv.Quote(text)
}

// wrap breaks a text into lines of at most width characters.
func wrap(text string, width int) []string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(text) {
		if line != "" && len(line)+1+len(word) > width-len("# ") {
			lines = append(lines, line)
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(lines, line)
}
