// Command recharged runs the processor of recharge and usage events, and talks
// to one that runs: it sends events, publishes rulebooks and shows customers.
//
// It promises that a mistake of its user is answered with one message that says
// what to do, and that its exit code tells how it went. It refuses to know
// anything about money: it wires what others know.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"
	"golang.org/x/term"
)

// version of this program; a release sets it when it is linked.
var version = "dev"

// Exit codes.
const (
	exitOK          = 0
	exitNo          = 1 // the answer is no: rejected events, a broken rulebook, an unknown customer, a start that did not work
	exitUsage       = 2
	exitUnreachable = 3
)

// commands is the command line.
type commands struct {
	Serve    serveCommand    `cmd:"" help:"Run everything."`
	Load     loadCommand     `cmd:"" help:"Send events from files."`
	Check    checkCommand    `cmd:"" help:"Check a rulebook."`
	Test     testCommand     `cmd:"" help:"Run a rulebook's tests."`
	Publish  publishCommand  `cmd:"" help:"Make a rulebook the newest version."`
	Backtest backtestCommand `cmd:"" help:"Replay the past under a draft of the rulebook."`
	Rulebook rulebookCommand `cmd:"" help:"Show the live rulebook, its history and differences."`
	Rules    rulesCommand    `cmd:"" help:"What each rule has done, and what is left of its budget."`
	Customer customerCommand `cmd:"" help:"Show what a customer has."`
	Timeline timelineCommand `cmd:"" help:"Show what happened to a customer and why."`
	Explain  explainCommand  `cmd:"" help:"Tell why each rule applies to an event, or does not."`
	Tail     tailCommand     `cmd:"" help:"Follow what happens, live."`
	Parked   parkedCommand   `cmd:"" help:"List, retry or discard events that were set aside."`
	Config   configCommand   `cmd:"" help:"Print the effective configuration, commented."`
	Token    tokenCommand    `cmd:"" help:"Make a token for a producer or a person."`
	Version  versionCommand  `cmd:"" help:"Print the version."`

	Output      string           `enum:"table,json" default:"table" env:"RECHARGED_OUTPUT" help:"How to print: table or json." placeholder:"table|json"`
	VersionFlag kong.VersionFlag `name:"version" help:"Print the version and exit."`
}

// Help has the example.
func (*commands) Help() string {
	return example("recharged serve --demo", "recharged load events.ndjson", "recharged customer 213770123456")
}

// session is what a command runs with.
type session struct {
	ctx    context.Context // ends with the first SIGINT or SIGTERM; the second one kills
	stdin  io.Reader
	stdout io.Writer
	stderr io.Writer
	json   bool // print JSON

	variables []string // of the environment, that are settings
}

// exitError is an error with an exit code. Its message may be empty: everything
// was said.
type exitError struct {
	code    int
	message string
}

func (e *exitError) Error() string { return e.message }

// no is the error of a command whose answer was printed and is no.
func no() error { return &exitError{code: exitNo} }

func usagef(format string, args ...any) error {
	return &exitError{exitUsage, fmt.Sprintf(format, args...)}
}

func main() {
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run executes a command line and returns its exit code.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) (code int) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // The next signal has its usual effect.

	// The parser ends the program after --help and --version; here it ends run.
	type ended int
	defer func() {
		if cause := recover(); cause != nil {
			status, ok := cause.(ended)
			if !ok {
				panic(cause)
			}
			code = int(status)
		}
	}()
	var cli commands
	parser, err := kong.New(&cli,
		kong.Name("recharged"),
		kong.Description("A stream processor for recharge and usage events: events go in; balances, notifications, alerts and live metrics come out."),
		kong.Writers(stdout, stderr),
		kong.Exit(func(status int) { panic(ended(status)) }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.ValueFormatter(helpWithDefault),
		kong.Vars{"version": versionText()},
	)
	if err != nil {
		panic(err) // The tags of the command line are wrong, whatever the arguments are.
	}
	parsed, err := parser.Parse(args)
	if err != nil {
		return complain(stderr, err)
	}
	s := &session{
		ctx: ctx, stdin: stdin, stdout: stdout, stderr: stderr, json: cli.Output == "json",
		variables: variablesOf(parser.Model.Node),
	}
	return complain(stderr, parsed.Run(s))
}

// variablesOf lists the environment variables that flags are read from.
func variablesOf(n *kong.Node) []string {
	var names []string
	for _, flag := range n.Flags {
		names = append(names, flag.Envs...)
	}
	for _, child := range n.Children {
		names = append(names, variablesOf(child)...)
	}
	return names
}

// helpWithDefault is the help of a flag and its default.
func helpWithDefault(v *kong.Value) string {
	help := kong.DefaultHelpValueFormatter(v)
	if v.HasDefault && !v.IsBool() && v.Default != "" {
		help += " Default: " + v.Default + "."
	}
	return help
}

// complain prints an error and returns its exit code.
func complain(stderr io.Writer, err error) int {
	if err == nil {
		return exitOK
	}
	code, message := exitNo, err.Error()
	var exit *exitError
	var parse *kong.ParseError
	switch {
	case errors.As(err, &exit):
		code = exit.code
	case errors.As(err, &parse):
		code, message = exitUsage, explainParse(parse)+" (see recharged --help)"
	}
	if message != "" {
		fmt.Fprintln(stderr, "recharged:", message)
	}
	return code
}

// explainParse is the message of a command line that is wrong. What stands where
// a command should is called one.
func explainParse(err *kong.ParseError) string {
	word, unexpected := strings.CutPrefix(err.Error(), "unexpected argument ")
	if node := err.Context.Selected(); !unexpected || node != nil && len(node.Children) == 0 {
		return err.Error()
	}
	word, suggestion, suggested := strings.Cut(word, ", ")
	if suggested {
		suggestion = ", " + suggestion
	}
	return fmt.Sprintf("unknown command %q%s", word, suggestion)
}

// isTerminal reports whether a person looks at what is written there.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

type versionCommand struct{}

// Help has the example.
func (versionCommand) Help() string { return example("recharged version") }

// Run prints the version.
func (versionCommand) Run(s *session) error {
	if s.json {
		return printJSON(s.stdout, map[string]string{"version": version, "revision": revision()})
	}
	_, err := fmt.Fprintln(s.stdout, versionText())
	return err
}

func versionText() string {
	text := "recharged " + version
	if r := revision(); r != "" {
		text += " (" + r + ")"
	}
	return text
}

// revision is the commit that this program was built from.
func revision() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return s.Value[:min(12, len(s.Value))]
		}
	}
	return ""
}

// example is the end of a command's help.
func example(lines ...string) string {
	text := "Example:"
	for _, line := range lines {
		text += "\n\n    " + line
	}
	return text
}
