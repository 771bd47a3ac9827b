package emit

import (
	"strconv"
	"sync"
	"testing"
)

func TestFeedTellsWhatWasMissed(t *testing.T) {
	f := NewFeed()
	slow, quick := f.Follow(2), f.Follow(10, KindNotification)
	for i := range 5 {
		f.Publish(Item{Kind: KindOutcome, ID: strconv.Itoa(i)})
	}
	f.Publish(Item{Kind: KindNotification, ID: "n"})
	if got := slow.Missed(); got != 4 {
		t.Errorf("the slow one missed %d, want 4", got)
	}
	for _, want := range []string{"0", "1"} {
		if got := <-slow.Items; got.ID != want || got.Missed != 0 {
			t.Errorf("got %+v, want %s and nothing missed", got, want)
		}
	}
	f.Publish(Item{Kind: KindAlert, ID: "a"})
	if got := <-slow.Items; got.ID != "a" || got.Missed != 4 || slow.Missed() != 0 {
		t.Errorf("got %+v, want a and 4 missed", got)
	}
	if got := <-quick.Items; got.ID != "n" || got.Missed != 0 || len(quick.Items) != 0 {
		t.Errorf("got %+v and %d more, want n and nothing else", got, len(quick.Items))
	}
}

func TestFeedWanted(t *testing.T) {
	f := NewFeed()
	wanted := func() [kinds]bool {
		return [kinds]bool{f.Wanted(KindOutcome), f.Wanted(KindNotification), f.Wanted(KindAlert)}
	}
	if got, want := wanted(), [kinds]bool{}; got != want {
		t.Errorf("with nobody looking on: %v, want %v", got, want)
	}
	w := f.Follow(1, KindOutcome)
	if !f.Wanted(KindOutcome) || f.Wanted(KindNotification) {
		t.Errorf("with a follower of outcomes: %v", wanted())
	}
	w.Close()
	w.Close()
	f.Publish(Item{Kind: KindOutcome})
	if _, open := <-w.Items; open || f.Wanted(KindOutcome) {
		t.Error("a closed follower still follows")
	}
}

// TestFeedAccounts: whatever followers come and go, each item that was published
// to one is delivered or counted.
func TestFeedAccounts(t *testing.T) {
	const publishers, each = 4, 500
	f := NewFeed()
	steady := f.Follow(8, KindOutcome)
	var publishing, others sync.WaitGroup
	for range publishers {
		publishing.Go(func() {
			for range each {
				f.Publish(Item{Kind: KindOutcome})
			}
		})
		others.Go(func() {
			for range 100 {
				w := f.Follow(1)
				select {
				case <-w.Items:
				default:
				}
				w.Close()
			}
		})
	}
	var accounted uint64
	done := make(chan struct{})
	go func() {
		defer close(done)
		for item := range steady.Items {
			accounted += 1 + item.Missed
		}
	}()
	publishing.Wait()
	others.Wait()
	missed := steady.Missed()
	steady.Close()
	<-done
	if accounted+missed != publishers*each {
		t.Errorf("%d delivered or told, %d missed at the end, %d published", accounted, missed, publishers*each)
	}
}
