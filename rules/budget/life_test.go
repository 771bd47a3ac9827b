package budget

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"recharged/state/money"
)

var update = flag.Bool("update", false, "write what the scripts do into them")

// The scripts tell typical lives. A line that begins with > is a command, the
// others are what happens.
//
//	> partitions N total T   a new world; nobody has adopted its book
//	> publish T              a book with another total
//	> adopt P …              partitions adopt the newest book
//	> event P A …            an event at P whose rule would give A; and more of them
//	> deliver                everything that is under way, until it is quiet
//	> show                   all sides
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("scripts: %v, %v", files, err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := play(t, string(data))
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != string(data) {
				t.Errorf("%s: got\n%s", file, got)
			}
		})
	}
}

func play(t *testing.T, script string) string {
	var w *world
	var out strings.Builder
	say := func(format string, args ...any) { fmt.Fprintf(&out, "    "+format+"\n", args...) }
	for line := range strings.Lines(script) {
		command, ok := strings.CutPrefix(line, "> ")
		if strings.HasPrefix(line, "#") || strings.TrimSpace(line) == "" || ok {
			out.WriteString(line)
		}
		if !ok {
			continue
		}
		word, rest, _ := strings.Cut(strings.TrimSpace(command), " ")
		args := numbers(t, rest)
		switch word {
		case "partitions":
			w = newWorld(t, int(args[0]), args[1])
			w.trace = say
		case "publish":
			w.publish(args[0])
		case "adopt":
			for _, p := range args {
				w.adopt(int(p))
			}
		case "event":
			for _, amount := range args[1:] {
				w.event(int(args[0]), amount)
			}
		case "deliver":
			w.quiet()
			w.checkQuiet()
		case "show":
			for p, s := range w.sides {
				say("p%d    slice %d, spent %d, left %d", p, s.fund.Slice(), s.fund.Spent(), s.fund.Left())
			}
			say("home  remaining %d of %d", w.treasury.Remaining(), w.treasury.Total())
		default:
			t.Fatalf("unknown command %q", line)
		}
	}
	return out.String()
}

func numbers(t *testing.T, text string) []money.Amount {
	var list []money.Amount
	for _, word := range strings.Fields(text) {
		if word == "total" {
			continue
		}
		var n money.Amount
		if _, err := fmt.Sscan(word, &n); err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		list = append(list, n)
	}
	return list
}

// What the protocol costs: a budget of 5 million dinars, given away in gifts of
// 20 to 500 dinars until nothing fits any more.
func TestMessagesPerSpend(t *testing.T) {
	for _, test := range []struct {
		name       string
		partitions int
		skew       int // of 100 events, so many happen at partition 0 besides its share
		max        int // messages for 1,000 spends
	}{
		{"1", 1, 0, 10}, {"2", 2, 0, 20}, {"8", 8, 0, 60}, {"16", 16, 0, 120}, {"64", 64, 0, 600},
		{"8 skewed", 8, 90, 60}, {"16 skewed", 16, 90, 120},
	} {
		t.Run(test.name, func(t *testing.T) {
			const seed = 7
			dice := rand.New(rand.NewPCG(seed, uint64(test.partitions)))
			w := newWorld(t, test.partitions, 5_000_000_00)
			for p := range w.sides {
				w.adopt(p)
			}
			waited := 0
			for w.twin.spent < w.treasury.Total()-20_00 {
				if w.events > 40_000 {
					t.Fatalf("seed %d: %d spent after %d events", seed, w.twin.spent, w.events)
				}
				p := dice.IntN(test.partitions)
				if dice.IntN(100) < test.skew {
					p = 0
				}
				before := len(w.sides[p].waiting)
				w.event(p, money.Amount(20_00+dice.Int64N(480_01)))
				waited += max(0, len(w.sides[p].waiting)-before)
				for range 2 { // Letters take a few events' time.
					w.deliverUp(dice.IntN(test.partitions))
					w.deliverDown(dice.IntN(test.partitions))
				}
			}
			w.quiet()
			w.checkFlight()
			w.checkQuiet()
			messages := w.sent[Ask] + w.sent[Grant] + w.sent[Recall] + w.sent[Yield]
			t.Logf("seed %d: %d spends, %d refusals, %d events waited; asks %d, recalls %d, messages %d: %d for 1,000 spends",
				seed, w.spends, w.refusals, waited, w.sent[Ask], w.sent[Recall], messages, messages*1000/w.spends)
			if messages*1000 > test.max*w.spends {
				t.Errorf("%d messages for %d spends, at most %d for 1,000 are reasonable", messages, w.spends, test.max)
			}
		})
	}
}
