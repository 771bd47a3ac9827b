// Command rules measures what it costs to judge one event, by how many rules the
// rulebook has and how many of them match, and prints the tables of
// bench/README.md.
//
// Every figure stands beside its naive twin, the same rules asked one after the
// other, and every measured decision is compared with that twin's. The first
// table is of campaigns as marketing writes them; the second of rulebooks that
// are made to be hard on an index.
package main

import (
	"flag"
	"fmt"
	"os"
	"reflect"
	"runtime"
	"text/tabwriter"
	"time"

	"recharged/rules"
)

func main() {
	each := flag.Duration("time", 300*time.Millisecond, "how long each figure is measured")
	flag.Parse()
	if err := run(*each); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(each time.Duration) error {
	fmt.Printf("%s, %s/%s, %d CPUs\n\n", runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU())
	if err := campaignTable(each); err != nil {
		return err
	}
	if err := hardTable(each); err != nil {
		return err
	}
	return loadTable()
}

// campaignTable prints the cost by number of rules and of matches. The last
// column is the cost beside that of ten rules with as many matches, or of as
// many rules as match.
func campaignTable(each time.Duration) error {
	w := newTable("rules", "matching", "an event", "one by one", "times", "beside few rules")
	for _, matching := range []int{1, 10, 100} {
		var few time.Duration
		for _, count := range []int{1, 10, 100, 1000, 10_000} {
			if matching > count {
				continue
			}
			f, err := measure(campaigns(count, matching), matching, each)
			if err != nil {
				return fmt.Errorf("rules=%d matching=%d: %w", count, matching, err)
			}
			if few == 0 || count == 10 {
				few = f.decide
			}
			w.row(count, matching, f.decide, f.scan, ratio(f.scan, f.decide), ratio(f.decide, few))
		}
	}
	return w.flush()
}

func hardTable(each time.Duration) error {
	w := newTable("ten thousand rules", "matching", "an event", "one by one", "times")
	for _, set := range hardSets(10_000) {
		f, err := measure(set.book, set.matching, each)
		if err != nil {
			return fmt.Errorf("rules=%s: %w", set.name, err)
		}
		w.row(set.name, set.matching, f.decide, f.scan, ratio(f.scan, f.decide))
	}
	return w.flush()
}

// loadTable prints what it costs to publish a rulebook: reading, checking,
// compiling and indexing it.
func loadTable() error {
	w := newTable("rules", "YAML kB", "loaded in", "heap MB")
	for _, count := range []int{100, 1000, 10_000} {
		text := campaigns(count, 1)
		best := time.Duration(1<<63 - 1)
		var book *rules.Book
		for range 5 {
			book = nil
			runtime.GC()
			begin := time.Now()
			var err error
			if book, err = load(text); err != nil {
				return err
			}
			best = min(best, time.Since(begin))
		}
		w.row(count, len(text)/1000, best.Round(time.Millisecond/10), heapOf(&book)/1_000_000)
	}
	return w.flush()
}

// heapOf returns what the heap loses when the book goes.
func heapOf(book **rules.Book) uint64 {
	var with, without runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&with)
	runtime.KeepAlive(*book)
	*book = nil
	runtime.GC()
	runtime.ReadMemStats(&without)
	return with.HeapAlloc - without.HeapAlloc
}

// figures are the costs of one event.
type figures struct{ decide, scan time.Duration }

// measure judges one event by the book, with the index and without.
func measure(text string, matching int, each time.Duration) (figures, error) {
	book, err := load(text)
	if err != nil {
		return figures{}, err
	}
	s := subject()
	var indexed, scanned rules.Decision
	f := figures{
		decide: best(each, func() { book.Decide(s, &indexed) }),
		scan:   best(each, func() { book.Scan(s, &scanned) }),
	}
	if len(indexed.Results) != matching {
		return f, fmt.Errorf("%d rules match, not %d", len(indexed.Results), matching)
	}
	if !reflect.DeepEqual(indexed.Results, scanned.Results) || !reflect.DeepEqual(indexed.Credits, scanned.Credits) || !reflect.DeepEqual(indexed.Tags, scanned.Tags) {
		return f, fmt.Errorf("with the index %v, one by one %v", indexed.Results, scanned.Results)
	}
	return f, nil
}

func load(text string) (*rules.Book, error) {
	book, problems := rules.Load(rules.File{Name: "campaigns.yaml", Data: []byte(text)})
	if book == nil {
		return nil, problems
	}
	return book, nil
}

// best returns the mean cost of the best of ten rounds: what disturbs a machine
// only ever adds.
func best(each time.Duration, f func()) time.Duration {
	const rounds = 10
	least := time.Duration(1<<63 - 1)
	repeat := 1
	for round := 0; round < rounds; {
		begin := time.Now()
		for range repeat {
			f()
		}
		took := time.Since(begin)
		if took < each/rounds && took < time.Second {
			repeat *= 2
			continue
		}
		least = min(least, took/time.Duration(repeat))
		round++
	}
	return least
}

func ratio(a, b time.Duration) string { return fmt.Sprintf("%.1f", float64(a)/float64(max(b, 1))) }

// table writes Markdown.
type table struct{ *tabwriter.Writer }

func newTable(titles ...any) table {
	t := table{tabwriter.NewWriter(os.Stdout, 0, 0, 1, ' ', 0)}
	t.row(titles...)
	rules := make([]any, len(titles))
	for i := range rules {
		rules[i] = "---"
	}
	t.row(rules...)
	return t
}

func (t table) row(cells ...any) {
	for _, c := range cells {
		fmt.Fprintf(t, "| %v\t", c)
	}
	fmt.Fprintln(t, "|")
}

func (t table) flush() error {
	fmt.Fprintln(t)
	return t.Flush()
}
