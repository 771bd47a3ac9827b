package emit

import (
	"bytes"
	"fmt"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"recharged/state/charge"
	"recharged/stream/journal"
)

// delivered returns the ids of the letters in all event logs, each log in its
// order. What else is there is passed over; a letter must say what was written,
// to whom it is.
func (w *world) delivered() []string {
	w.t.Helper()
	js, err := jetstream.New(w.core())
	if err != nil {
		w.t.Fatal(err)
	}
	var ids []string
	for p := range charge.Partition(testPartitions) {
		stream, err := js.Stream(w.t.Context(), w.journal.EventLog(p).Name())
		if err != nil {
			w.t.Fatal(err)
		}
		for seq := range stream.CachedInfo().State.LastSeq {
			m, err := stream.GetMsg(w.t.Context(), seq+1)
			if err != nil {
				w.t.Fatal(err)
			}
			frame, err := journal.DecodeFrame(m.Data)
			if err != nil {
				w.t.Fatal(err)
			}
			if frame.Kind != journal.FrameLetter {
				continue
			}
			id := m.Header.Get(jetstream.MsgIDHeader)
			if want := fmt.Sprintf("%d-%d-%d", frame.From, p, frame.Number); string(frame.Body) != want || id != "letter-"+want {
				w.t.Errorf("the letter %s in the log of partition %d says %s", id, p, frame.Body)
			}
			ids = append(ids, id)
		}
	}
	return ids
}

// limit sets how many records the event log of a partition takes; -1: any number.
func (w *world) limit(p charge.Partition, records int64) {
	w.t.Helper()
	js, err := jetstream.New(w.core())
	if err != nil {
		w.t.Fatal(err)
	}
	stream, err := js.Stream(w.t.Context(), w.journal.EventLog(p).Name())
	if err != nil {
		w.t.Fatal(err)
	}
	config := stream.CachedInfo().Config
	config.MaxMsgs = records
	if _, err := js.UpdateStream(w.t.Context(), config); err != nil {
		w.t.Fatal(err)
	}
}

// TestReceiverAway: the log of one receiver takes no more letters for a while.
// Nothing overtakes, nothing is left out, the other sinks go on, and events come
// in beside the letters.
func TestReceiverAway(t *testing.T) {
	w := newWorld(t)
	if err := w.journal.CommitLog(0).Create(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.limit(1, 4)
	r := w.emitter(w.core(), w.public())
	var door sync.WaitGroup
	door.Go(func() {
		frame := journal.Frame{Kind: journal.FrameTick}
		for range 100 {
			if _, err := w.journal.EventLog(0).Append(t.Context(), frame.Append(nil), ""); err != nil {
				t.Error(err)
			}
		}
	})
	for range 30 {
		w.commit(0)
	}
	r.await("errors", func() bool { return r.errors[Letters] > retriesMax+1 })
	r.await("the other sinks", r.reached(w, all, Notifications, Alerts, Outcomes))
	lag, err := r.Lag(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if lag[Letters][0].Pending == 0 || r.reached(w, all, Letters)() {
		t.Errorf("letters that are not delivered count as delivered: %+v", lag)
	}
	w.limit(1, -1)
	r.await("the end", r.reached(w, all, Letters))
	door.Wait()
	w.verify(w.public())
}

// TestReceiverHasNoLogYet: at the very first start a letter waits until the
// receiver has made its log.
func TestReceiverHasNoLogYet(t *testing.T) {
	w := newWorld(t)
	js, err := jetstream.New(w.core())
	if err != nil {
		t.Fatal(err)
	}
	if err := js.DeleteStream(t.Context(), w.journal.EventLog(1).Name()); err != nil {
		t.Fatal(err)
	}
	if err := w.journal.CommitLog(0).Create(t.Context()); err != nil {
		t.Fatal(err)
	}
	r := w.emitter(w.core(), w.public())
	for range 7 {
		w.commit(0)
	}
	r.await("errors", func() bool { return r.errors[Letters] > 0 })
	if err := w.journal.EventLog(1).Create(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.await("the end", r.reached(w, all, Letters, Notifications, Alerts, Outcomes))
	w.verify(w.public())
}

// TestLettersAgain: who does not know how far the one before came delivers again,
// the same letters with the same ids, so that each is in its log once.
func TestLettersAgain(t *testing.T) {
	w := newWorld(t)
	for p := range charge.Partition(testPartitions) {
		if err := w.journal.CommitLog(p).Create(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	sent := make(chan *nats.Msg, 1<<16)
	watching := w.core()
	if _, err := watching.ChanSubscribe("recharged.in.>", sent); err != nil {
		t.Fatal(err)
	}
	write := func() {
		for range 12 {
			for p := range charge.Partition(testPartitions) {
				w.commit(p)
			}
		}
	}
	write()
	first := w.emitter(w.core(), w.public())
	first.await("some commits", first.reached(w, 3, Letters))
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	js, err := jetstream.New(w.core())
	if err != nil {
		t.Fatal(err)
	}
	for p := range charge.Partition(testPartitions) {
		if err := js.DeleteConsumer(t.Context(), w.journal.CommitLog(p).Name(), string(Letters)); err != nil {
			t.Fatal(err)
		}
	}
	write()
	second := w.emitter(w.core(), w.public())
	second.await("the end", second.reached(w, all, Letters, Notifications, Alerts, Outcomes))
	w.verify(w.public())

	if err := watching.Flush(); err != nil {
		t.Fatal(err)
	}
	said, again := make(map[string][]byte), 0
	for len(sent) > 0 {
		m := <-sent
		id := m.Header.Get(jetstream.MsgIDHeader)
		if before, repeated := said[id]; repeated {
			again++
			if !bytes.Equal(m.Data, before) {
				t.Errorf("%s was %q and then %q", id, before, m.Data)
			}
		}
		said[id] = m.Data
	}
	if again == 0 || len(said) != len(w.want[Letters]) {
		t.Errorf("%d letters were sent, %d of them again; want %d", len(said), again, len(w.want[Letters]))
	}
}

// TestLetterToNobody: a letter that has no receiver is an error for ever, and no
// other letter of its pack is delivered either.
func TestLetterToNobody(t *testing.T) {
	w := newWorld(t)
	commit := journal.Commit{Letters: []journal.Letter{{To: 0, Number: 1}, {To: testPartitions, Number: 1}}}
	p := postman{w.journal.EventLog, testPartitions}
	err := p.sendAll(t.Context(), letterSink.outputs(&commit, 1), func(i int, result string) {
		t.Errorf("letter %d: %s", i, result)
	})
	if want := "deliver letter-0-2-1: there are 2 partitions"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	if got := w.delivered(); len(got) > 0 {
		t.Errorf("delivered %v", got)
	}
}
