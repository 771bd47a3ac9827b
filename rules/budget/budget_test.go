package budget

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"recharged/state/charge"
	"recharged/state/money"
)

// What a sound transport and a sound memory cannot bring about is a panic that
// names the values.
func TestBrokenInvariantsPanic(t *testing.T) {
	fund := func() *Fund {
		f := &Fund{}
		f.Adopt(Terms{1, 100})
		return f
	}
	treasury := func() *Treasury { // Partition 0 was granted 50 and is recalled, because 1 asks for 60.
		c := NewTreasury(2)
		c.Receive(0, Message{Kind: Ask, Terms: Terms{1, 100}, Amount: 50})
		c.Receive(1, Message{Kind: Ask, Terms: Terms{1, 100}, Amount: 60})
		return c
	}
	tests := []struct {
		name, want string
		do         func()
	}{
		{"spend more than the slice", "spend 1 of", func() { fund().Spend(1) }},
		{"spend less than nothing", "spend -1 of", func() { fund().Spend(-1) }},
		{"grant that nobody asked for", "Amount:5", func() { fund().Receive(Message{Kind: Grant, Terms: Terms{1, 100}, Amount: 5}) }},
		{"fund is asked", "Kind:1", func() { fund().Receive(Message{Kind: Ask, Terms: Terms{1, 100}}) }},
		{"two totals of one version", "Total:101", func() { fund().Adopt(Terms{1, 101}) }},
		{"total below nothing", "Total:-1", func() { fund().Adopt(Terms{2, -1}) }},
		{"no partitions", "treasury of 0", func() { NewTreasury(0) }},
		{"partition that is none", "partition 2", func() { treasury().Receive(2, Message{Kind: Ask, Terms: Terms{1, 100}}) }},
		{"second ask", "partition 1", func() { treasury().Receive(1, Message{Kind: Ask, Terms: Terms{1, 100}}) }},
		{"treasury is granted", "Kind:2", func() { treasury().Receive(0, Message{Kind: Grant, Terms: Terms{1, 100}}) }},
		{"ask by another total", "Total:99", func() { treasury().Receive(0, Message{Kind: Ask, Terms: Terms{1, 99}}) }},
		{"yield that nobody recalled", "Kind:4", func() { treasury().Receive(1, Message{Kind: Yield}) }},
		{"yield of more than was granted", "Amount:51", func() { treasury().Receive(0, Message{Kind: Yield, Amount: 51}) }},
		{"yield that lost a unit", "Amount:20", func() { treasury().Receive(0, Message{Kind: Yield, Amount: 20, Spent: 29}) }},
		{"second yield", "Amount:20", func() {
			c := treasury()
			c.Receive(0, Message{Kind: Yield, Amount: 20, Spent: 30})
			c.Receive(0, Message{Kind: Yield, Amount: 20, Spent: 30})
		}},
		{"encode a message of no kind", "kind 0", func() { Message{}.Append(nil) }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			defer func() {
				if text, _ := recover().(string); !strings.HasPrefix(text, "budget: ") || !strings.Contains(text, test.want) {
					t.Errorf("panic %q, want one with %q", text, test.want)
				}
			}()
			test.do()
		})
	}
}

// The treasury's answers, message by message.
func TestTreasuryAnswers(t *testing.T) {
	type step struct {
		from    charge.Partition
		message Message
		want    []Reply
	}
	var terms Terms
	ask := func(need money.Amount) Message { return Message{Kind: Ask, Terms: terms, Amount: need} }
	yield := func(amount, spent money.Amount) Message { return Message{Kind: Yield, Amount: amount, Spent: spent} }
	grant := func(amount, bound money.Amount) Message {
		return Message{Kind: Grant, Terms: terms, Amount: amount, Bound: bound}
	}
	recall := Message{Kind: Recall}
	play := func(name string, steps []step) {
		c := NewTreasury(3)
		for i, s := range steps {
			if got := c.Receive(s.from, s.message); !slices.Equal(got, s.want) {
				t.Errorf("%s, step %d: %+v, want %+v", name, i+1, got, s.want)
			}
		}
	}

	// Who asks later, for what would still fit, does not overtake; only what is
	// asked ahead is answered at once.
	terms = Terms{1, 100}
	play("order of arrival", []step{
		{0, ask(60), []Reply{{0, grant(60, 40)}}},
		{1, ask(50), []Reply{{0, recall}}},
		{2, ask(30), nil},
		{0, ask(0), []Reply{{0, grant(0, 100)}}}, // What it was recalled may be on its way.
		{0, yield(15, 45), []Reply{{1, grant(50, 5)}, {1, recall}}},
		{1, yield(20, 30), []Reply{{2, grant(0, 25)}}},
		{0, ask(25), []Reply{{0, grant(25, 0)}}},
	})
	// All begin with the same, and nothing is kept back: a flood that no letter
	// overtakes finds all of it.
	terms = Terms{1, 300}
	play("equal shares", []step{
		{2, ask(0), []Reply{{2, grant(100, 200)}}},
		{0, ask(0), []Reply{{0, grant(100, 200)}}},
		{1, ask(0), []Reply{{1, grant(100, 200)}}},
		{2, ask(0), []Reply{{2, grant(0, 200)}}},
	})
	// A share is taken of what no waiting need wants: here a half of 90, not of 800: another holds
	// nothing either.
	terms = Terms{1, 1200}
	play("needs before shares", []step{
		{0, ask(900), []Reply{{0, grant(900, 300)}}},
		{1, ask(400), []Reply{{0, recall}}},
		{2, ask(10), nil},
		{0, ask(700), nil},
		{0, yield(900, 0), []Reply{{1, grant(400, 800)}, {2, grant(45, 1155)}, {0, grant(700, 500)}}},
	})
}

func TestDecodersRefuse(t *testing.T) {
	c := NewTreasury(2)
	c.Receive(0, Message{Kind: Ask, Terms: Terms{1, 100}, Amount: 50})
	c.Receive(1, Message{Kind: Ask, Terms: Terms{1, 100}, Amount: 60})
	good := map[string][]byte{
		"message":  Message{Kind: Grant, Terms: Terms{1, 100}, Amount: 5, Bound: -7}.Append(nil),
		"fund":     (&Fund{terms: Terms{1, 100}, slice: 5, left: -3, asking: true}).Append(nil),
		"treasury": c.Append(nil),
	}
	decode := map[string]func([]byte) error{
		"message":  func(data []byte) error { _, err := DecodeMessage(data); return err },
		"fund":     func(data []byte) error { _, err := DecodeFund(data); return err },
		"treasury": func(data []byte) error { _, err := DecodeTreasury(data); return err },
	}
	for name, data := range good {
		if err := decode[name](data); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for n := range data {
			if decode[name](data[:n]) == nil {
				t.Errorf("%s: the first %d of %d bytes are taken for the whole", name, n, len(data))
			}
		}
		if decode[name](append(bytes.Clone(data), 0)) == nil {
			t.Errorf("%s: a byte too many is passed over", name)
		}
		if err := decode[name](append([]byte{9}, data[1:]...)); err == nil || !strings.Contains(err.Error(), "version") {
			t.Errorf("%s of version 9: %v", name, err)
		}
	}
	c.waiting = append(c.waiting, c.waiting...)
	if decode["treasury"](c.Append(nil)) == nil {
		t.Error("a partition that waits twice is taken")
	}
	c.waiting = nil
	c.remaining++
	if decode["treasury"](c.Append(nil)) == nil {
		t.Error("a treasury with a unit too many is taken")
	}
	if decode["fund"]((&Fund{slice: money.AmountMax + 1}).Append(nil)) == nil {
		t.Error("an amount out of range is taken")
	}
}

// Whatever bytes come, decoding does not panic, and what is understood is
// written to be understood the same.
func FuzzDecode(f *testing.F) {
	c := NewTreasury(3)
	c.Receive(2, Message{Kind: Ask, Terms: Terms{7, 1000}, Amount: 600})
	f.Add(c.Append(nil))
	c.Receive(1, Message{Kind: Ask, Terms: Terms{7, 1000}, Amount: 600})
	f.Add(c.Append(nil))
	fund := Fund{terms: Terms{3, 500}, slice: 20, spent: 30, left: -450, low: 10, asking: true}
	f.Add(fund.Append(nil))
	for _, m := range []Message{
		{Kind: Ask, Terms: Terms{1, 2}, Amount: 3}, {Kind: Grant, Terms: Terms{1, 2}, Amount: 3, Bound: -4},
		{Kind: Recall}, {Kind: Yield, Amount: 1, Spent: money.AmountMax},
	} {
		f.Add(m.Append(nil))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if m, err := DecodeMessage(data); err == nil {
			if again, err := DecodeMessage(m.Append(nil)); err != nil || again != m {
				t.Errorf("message %+v became %+v, %v", m, again, err)
			}
		}
		if fund, err := DecodeFund(data); err == nil {
			if again, err := DecodeFund(fund.Append(nil)); err != nil || again != fund {
				t.Errorf("fund %+v became %+v, %v", fund, again, err)
			}
		}
		if c, err := DecodeTreasury(data); err == nil {
			once := c.Append(nil)
			if again, err := DecodeTreasury(once); err != nil || !bytes.Equal(again.Append(nil), once) {
				t.Errorf("treasury %+v became %+v, %v", c, again, err)
			}
			c.Adopt(Terms{c.terms.Version + 1, c.terms.Total}) // Serves.
		}
	})
}
