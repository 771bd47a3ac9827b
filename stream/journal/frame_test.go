package journal

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"recharged/state/charge"
)

func someEvent(id string) charge.Event {
	msisdn, _ := charge.ParseMSISDN("213770123456")
	return charge.Event{ID: id, Source: "/ussd-gw/1", Type: charge.Recharge, MSISDN: msisdn, Time: 1_790_000_000_000_000_000,
		Fields: []charge.Field{{Name: "channel", Value: charge.TextValue("app")}}}
}

func someFrames() []Frame {
	return []Frame{
		{Kind: FrameEvents},
		{Kind: FrameEvents, Events: []charge.Event{someEvent("a")}},
		{Kind: FrameEvents, Events: []charge.Event{someEvent("a"), someEvent("b"), someEvent("c")}},
		{Kind: FrameBook, Version: 7, Author: "amina", Source: []byte("version: 1\n")},
		{Kind: FrameBook, Source: []byte{}},
		{Kind: FrameTick},
		{Kind: FrameRetry, Parked: charge.Position{Sequence: 12, Offset: 3}},
		{Kind: FrameDiscard, Parked: charge.Position{Sequence: 1 << 63, Offset: 1<<32 - 1}},
		{Kind: FrameLetter, From: 1023, Number: 1 << 63, Body: []byte("to the treasury")},
		{Kind: FrameLetter, Number: 1, Body: []byte{}},
	}
}

func TestFrameRoundTrip(t *testing.T) {
	for _, f := range someFrames() {
		data := f.Append([]byte("before"))
		got, err := DecodeFrame(data[len("before"):])
		if err != nil || !reflect.DeepEqual(got, f) {
			t.Errorf("%+v became %+v, %v", f, got, err)
		}
		if f.Kind != FrameLetter { // whose body goes to the end of the record
			if _, err := DecodeFrame(append(data[len("before"):], 0)); err == nil {
				t.Errorf("kind %d: a tail was accepted", f.Kind)
			}
		}
	}
}

// No prefix of a frame is one, except where a letter's body is cut.
func TestFrameTruncated(t *testing.T) {
	for _, f := range someFrames() {
		f.Body = nil
		data := f.Append(nil)
		for n := range data {
			if _, err := DecodeFrame(data[:n]); err == nil {
				t.Errorf("kind %d: %d of %d bytes were accepted", f.Kind, n, len(data))
			}
		}
	}
}

func TestFrameRefuses(t *testing.T) {
	for _, c := range []struct {
		name string
		data []byte
		want string
	}{
		{"nothing", nil, "ends too early"},
		{"version", []byte{9, 1, 0, 0, 0, 0}, "version 9"},
		{"kind 0", []byte{frameVersion, 0}, "kind 0"},
		{"kind 99", []byte{frameVersion, 99}, "kind 99"},
		{"many events", []byte{frameVersion, byte(FrameEvents), 0xff, 0xff, 0xff, 0xff}, "item 1 of 4294967295"},
		{"offset", []byte{frameVersion, byte(FrameRetry), 1, 0xff, 0xff, 0xff, 0xff, 0x1f}, "offset"},
		{"endless varint", append([]byte{frameVersion, byte(FrameRetry)}, bytes.Repeat([]byte{0xff}, 11)...), "ends too early"},
		{"letter of a partition that is none", []byte{frameVersion, byte(FrameLetter), 0x80, 0x08, 1}, "partition 1024"},
		{"version 0", []byte{0, byte(FrameTick)}, "version 0"},
		{"book that is too long", append([]byte{frameVersion, byte(FrameBook), 7, 0}, charge.AppendCompressed(nil, make([]byte, BookTextMax+1))...), "4194305 bytes, at most 4194304"},
		{"book that is not compressed", []byte{frameVersion, byte(FrameBook), 7, 0, 3, 'a', 'b', 'c'}, "decompress"},
		{"long author", []byte{frameVersion, byte(FrameBook), 1, 0xff, 0xff, 0xff, 0xff, 0x0f}, "ends too early"},
	} {
		if _, err := DecodeFrame(c.data); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v does not say %q", c.name, err, c.want)
		}
	}
}

// A frame from before the text was compressed has it as it is.
func TestFrameOfVersion1(t *testing.T) {
	for _, c := range []struct {
		data string
		want Frame
	}{
		{"\x01\x02\x07\x05aminaversion: 1\n", Frame{Kind: FrameBook, Version: 7, Author: "amina", Source: []byte("version: 1\n")}},
		{"\x01\x03", Frame{Kind: FrameTick}},
		{"\x01\x04\x0c\x03", Frame{Kind: FrameRetry, Parked: charge.Position{Sequence: 12, Offset: 3}}},
	} {
		got, err := DecodeFrame([]byte(c.data))
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%q became %+v, %v", c.data, got, err)
		}
	}
	events := Frame{Kind: FrameEvents, Events: []charge.Event{someEvent("a")}}
	data := events.Append(nil)
	data[0] = 1
	if got, err := DecodeFrame(data); err != nil || !reflect.DeepEqual(got, events) || EventsIn(data) != 1 {
		t.Errorf("%+v became %+v, %v", events, got, err)
	}
}

// The largest rulebook that can be written by hand fits; a text that is too long,
// or that cannot be made shorter, is named before anything is appended.
func TestCheckBook(t *testing.T) {
	large := ruleText(BookTextMax)
	if err := CheckBook(large); err != nil {
		t.Error(err)
	}
	f := Frame{Kind: FrameBook, Version: 1 << 40, Author: "amina", Source: large}
	data := f.Append(nil)
	if len(data) > BookBytesMax {
		t.Errorf("%d bytes of rules take %d", len(large), len(data))
	}
	if again := f.Append(nil); !bytes.Equal(again, data) {
		t.Error("the same book has two encodings")
	}
	if got, err := DecodeFrame(data); err != nil || !reflect.DeepEqual(got, f) {
		t.Errorf("%d bytes of rules became %d, %v", len(large), len(got.Source), err)
	}

	noise := make([]byte, BookTextMax)
	rand.NewChaCha8([32]byte{1}).Read(noise)
	for _, c := range []struct {
		name   string
		source []byte
		want   string
	}{
		{"long", make([]byte, BookTextMax+1), "the rulebook is too large: 4194305 of 4194304 bytes"},
		{"noise", noise, "too large even compressed: "},
	} {
		err := CheckBook(c.source)
		if tooLarge := (*BookTooLarge)(nil); !errors.As(err, &tooLarge) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v does not say %q", c.name, err, c.want)
		}
	}
}

// ruleText is a rulebook of so many bytes in which every rule has names, numbers
// and words of its own.
func ruleText(size int) []byte {
	random := rand.New(rand.NewPCG(1, 2))
	text := []byte("version: 1\nrules:\n")
	for n := 0; len(text) < size; n++ {
		text = fmt.Appendf(text, `  - name: campaign-%d-%x
    on: recharge
    when: amount >= %d && amount < %d && segment in ["s%d", "s%d"] && wilaya == %d
    from: 2027-%02d-%02d
    group: g%d
    limits: {per_customer: %d per day, budget: %d}
    credit: {to: bonus, amount: %d%% of amount, expires: %dd}
    notify: {template: t%d, channel: sms}
`, n, random.Uint32(), random.IntN(100000), random.IntN(1000000), random.IntN(500), random.IntN(500), random.IntN(58),
			1+random.IntN(12), 1+random.IntN(28), random.IntN(90), 1+random.IntN(5), random.IntN(10_000_000), random.IntN(100), 1+random.IntN(90), random.IntN(2000))
	}
	return text[:size]
}

// What accept writes event by event is the frame that Append makes.
func TestFrameWriter(t *testing.T) {
	var w FrameWriter
	rapid.Check(t, func(t *rapid.T) {
		ids := rapid.SliceOfN(rapid.StringMatching(`[a-z]{1,12}`), 0, 20).Draw(t, "ids")
		f := Frame{Kind: FrameEvents}
		w.Reset()
		for _, id := range ids {
			e := someEvent(id)
			f.Events = append(f.Events, e)
			w.Add(charge.AppendEvent(nil, &e))
		}
		want := f.Append(nil)
		if !bytes.Equal(w.Bytes(), want) || w.Len() != len(want) || w.Count() != len(ids) {
			t.Fatalf("%d events: %d bytes, want %d", w.Count(), w.Len(), len(want))
		}
		if got, err := DecodeFrame(w.Bytes()); err != nil || !reflect.DeepEqual(got, f) {
			t.Fatalf("decoded %+v, %v", got, err)
		}
	})
}

func TestFrameWriterLimits(t *testing.T) {
	var w FrameWriter
	if !w.Fits(FrameBytesMax) {
		t.Error("an empty frame refuses a large event")
	}
	half := make([]byte, FrameBytesMax/2)
	w.Add(half)
	if !w.Fits(FrameBytesMax/2-frameHeaderBytes) || w.Fits(FrameBytesMax/2-frameHeaderBytes+1) {
		t.Errorf("with %d bytes the limit is not %d", w.Len(), FrameBytesMax)
	}
	w.Reset()
	for range FrameEventsMax {
		if !w.Fits(1) {
			t.Fatalf("%d events do not fit", w.Count()+1)
		}
		w.Add([]byte{0})
	}
	if w.Fits(1) {
		t.Errorf("%d events fit", w.Count()+1)
	}
}

func TestFrameWriterAllocates(t *testing.T) {
	var w FrameWriter
	event := bytes.Repeat([]byte{1}, 100)
	pack := func() {
		w.Reset()
		for range 100 {
			w.Add(event)
		}
		_ = w.Bytes()
	}
	if n := testing.AllocsPerRun(10, pack); n > 0 {
		t.Errorf("packing 100 events allocates %v times", n)
	}
}

func FuzzDecodeFrame(f *testing.F) {
	for _, frame := range someFrames() {
		f.Add(frame.Append(nil))
	}
	f.Add([]byte("\x01\x02\x07\x05aminaversion: 1\n"))
	f.Add([]byte{frameVersion, byte(FrameEvents), 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, data []byte) {
		frame, err := DecodeFrame(data)
		if err != nil {
			return
		}
		again, err := DecodeFrame(frame.Append(nil))
		if err != nil || !reflect.DeepEqual(again, frame) {
			t.Errorf("%+v became %+v, %v", frame, again, err)
		}
	})
}
