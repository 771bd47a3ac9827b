package journal

import (
	"bytes"
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
	}
}

func TestFrameRoundTrip(t *testing.T) {
	for _, f := range someFrames() {
		data := f.Append([]byte("before"))
		got, err := DecodeFrame(data[len("before"):])
		if err != nil || !reflect.DeepEqual(got, f) {
			t.Errorf("%+v became %+v, %v", f, got, err)
		}
		if f.Kind != FrameBook { // whose text goes to the end of the record
			if _, err := DecodeFrame(append(data[len("before"):], 0)); err == nil {
				t.Errorf("kind %d: a tail was accepted", f.Kind)
			}
		}
	}
}

// No prefix of a frame is one, except where a book's text is cut.
func TestFrameTruncated(t *testing.T) {
	for _, f := range someFrames() {
		if f.Kind == FrameBook {
			f.Source = nil
		}
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
		{"long author", []byte{frameVersion, byte(FrameBook), 1, 0xff, 0xff, 0xff, 0xff, 0x0f}, "ends too early"},
	} {
		if _, err := DecodeFrame(c.data); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v does not say %q", c.name, err, c.want)
		}
	}
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
