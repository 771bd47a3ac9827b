// Package cmd_test holds the tree to its own rules: who may import whom, what
// pure packages may touch, and how long a function may get. A rule that matters
// is a test.
package cmd_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "recharged"

// layers lists the packages from the nouns to the surfaces. A package may
// import what stands in a line above its own; packages of one line may not
// import each other. To add a package is to choose its line.
var layers = [][]string{
	{"state/money"},
	{"state/charge"},
	{"state/ledger"},
	{"state", "rules/when", "rules/budget"},
	{"rules/index"},
	{"rules", "rules/sample"},
	{"stream/journal"},
	{"stream/accept", "stream/emit", "stream/turn"},
	{"stream/trial", "stream/backtest"},
	{"stream"},
	{"cmd/recharged/api"},
	{"cmd/recharged"},
	{"bench/workload"},
	{"bench/load", "bench/rules", "bench/backtest"},
}

// pure packages decide about money: their answer is a function of their
// arguments.
var pure = []string{"state/money", "state/charge", "state/ledger", "rules/when", "rules/budget", "rules/index", "rules", "stream/turn"}

// impure is what a pure package must not import.
var impure = []string{
	"os", "io/fs", "net", "net/http", "math/rand", "math/rand/v2", "crypto/rand", "log", "syscall",
	"os/exec", "os/signal", "unsafe",
}

// seams are packages that are small because they stand between two others.
var seams = []string{"rules/sample"}

const (
	functionLinesMax = 70
	packageLinesMin  = 150
)

// source is one parsed file that is no test.
type source struct {
	path string
	pkg  string // folder, relative to the module
	file *ast.File
	set  *token.FileSet
}

func parseTree(t *testing.T) []source {
	t.Helper()
	var sources []source
	set := token.NewFileSet()
	root := ".."
	err := filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		base := entry.Name()
		if entry.IsDir() && name != root && (strings.HasPrefix(base, ".") || base == "node_modules" || base == "testdata") {
			return fs.SkipDir
		}
		if !strings.HasSuffix(base, ".go") || strings.HasSuffix(base, "_test.go") {
			return nil
		}
		file, err := parser.ParseFile(set, name, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		folder, err := filepath.Rel(root, filepath.Dir(name))
		sources = append(sources, source{name, filepath.ToSlash(folder), file, set})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return sources
}

func layerOf(pkg string) int {
	return slices.IndexFunc(layers, func(line []string) bool { return slices.Contains(line, pkg) })
}

func TestLayers(t *testing.T) {
	for _, s := range parseTree(t) {
		own := layerOf(s.pkg)
		if own < 0 {
			t.Errorf("%s: package %s has no line in the list of layers", s.path, s.pkg)
			continue
		}
		for _, spec := range s.file.Imports {
			imported, _ := strconv.Unquote(spec.Path.Value)
			inside, ok := strings.CutPrefix(imported, module+"/")
			if ok && layerOf(inside) >= own {
				t.Errorf("%s: imports %s, which does not stand above it", s.set.Position(spec.Pos()), imported)
			}
			if slices.Contains(pure, s.pkg) && slices.Contains(impure, imported) {
				t.Errorf("%s: a pure package imports %s", s.set.Position(spec.Pos()), imported)
			}
		}
	}
}

func TestPurePackagesKnowNoClockAndNoFloat(t *testing.T) {
	clock := []string{"Now", "Since", "Until", "Sleep", "After", "Tick", "NewTimer", "NewTicker", "AfterFunc"}
	for _, s := range parseTree(t) {
		if !slices.Contains(pure, s.pkg) {
			continue
		}
		ast.Inspect(s.file, func(node ast.Node) bool {
			at := func() token.Position { return s.set.Position(node.Pos()) }
			switch n := node.(type) {
			case *ast.Ident:
				if n.Name == "float32" || n.Name == "float64" {
					t.Errorf("%s: %s in a pure package", at(), n.Name)
				}
			case *ast.BasicLit:
				if n.Kind == token.FLOAT {
					t.Errorf("%s: the floating-point number %s in a pure package", at(), n.Value)
				}
			case *ast.SelectorExpr:
				if x, ok := n.X.(*ast.Ident); ok && x.Name == "time" && slices.Contains(clock, n.Sel.Name) {
					t.Errorf("%s: time.%s in a pure package", at(), n.Sel.Name)
				}
			}
			return true
		})
	}
}

func TestFunctionsAreShort(t *testing.T) {
	for _, s := range parseTree(t) {
		for _, decl := range s.file.Decls {
			f, ok := decl.(*ast.FuncDecl)
			if !ok {
				continue
			}
			lines := s.set.Position(f.End()).Line - s.set.Position(f.Pos()).Line + 1
			if lines > functionLinesMax {
				t.Errorf("%s: %s has %d lines, %d are allowed", s.set.Position(f.Pos()), f.Name.Name, lines, functionLinesMax)
			}
		}
	}
}

func TestEveryPackageSaysWhatItIsAndEarnsItsPlace(t *testing.T) {
	documented, lines := map[string]int{}, map[string]int{}
	for _, s := range parseTree(t) {
		lines[s.pkg] += s.set.Position(s.file.End()).Line
		if s.file.Doc == nil {
			continue
		}
		documented[s.pkg]++
		want := "Package " + path.Base(s.pkg) + " "
		if s.file.Name.Name == "main" {
			want = "Command " + path.Base(s.pkg) + " "
		}
		if text := s.file.Doc.Text(); !strings.HasPrefix(text, want) {
			t.Errorf("%s: the package comment begins %.30q, not %q", s.path, text, want)
		}
	}
	for pkg, n := range lines {
		if documented[pkg] != 1 {
			t.Errorf("package %s has %d package comments, not one", pkg, documented[pkg])
		}
		if n < packageLinesMin && !slices.Contains(seams, pkg) {
			t.Errorf("package %s has %d lines: let it be part of another, or name it a seam", pkg, n)
		}
	}
}

// The top level is fixed; a stranger sees the architecture in it.
func TestTopLevel(t *testing.T) {
	allowed := []string{
		"cmd", "stream", "rules", "state", "bench", "deploy",
		"go.mod", "go.sum", "Makefile", "README.md", "LICENSE",
	}
	made := []string{"bin", "data"} // by the Makefile's targets; ignored by git
	entries, err := filepath.Glob("../*")
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		name := filepath.Base(entry)
		if strings.HasPrefix(name, ".") || slices.Contains(allowed, name) || slices.Contains(made, name) {
			continue
		}
		t.Errorf("%s stands at the top level, where only %s belong", name, strings.Join(allowed, ", "))
	}
}
