package emit

import (
	"sync"
	"sync/atomic"

	"recharged/state/charge"
)

// Kind is a kind of item in the live feed.
type Kind uint8

// The kinds of item.
const (
	KindOutcome Kind = iota
	KindNotification
	KindAlert
	kinds
)

func (k Kind) String() string {
	return [kinds]string{"outcome", "notification", "alert"}[k]
}

// Item is something that happened, ready to be shown. Its Data is shared by all
// who get it and must not be changed.
type Item struct {
	Kind   Kind
	ID     string        // the id of the output
	MSISDN charge.MSISDN // zero for an alert
	Data   []byte        // JSON
}

// Feed hands what was committed to whoever looks on right now. It never makes
// its publisher wait: a follower who is too slow misses items and is told how
// many. Nothing depends on it; what must arrive goes through the sinks.
type Feed struct {
	mu        sync.RWMutex // guards followers
	followers map[*Follower]struct{}
	watched   [kinds]atomic.Int32 // followers of each kind
}

// NewFeed returns a Feed without followers.
func NewFeed() *Feed { return &Feed{followers: make(map[*Follower]struct{})} }

// Wanted reports whether an item of that kind would be seen by anybody; if not,
// its publisher can save itself the encoding.
func (f *Feed) Wanted(k Kind) bool { return f.watched[k].Load() > 0 }

// Publish hands an item to the followers. It never blocks.
func (f *Feed) Publish(item Item) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	for follower := range f.followers {
		if follower.kinds[item.Kind] {
			follower.offer(item)
		}
	}
}

// Followed is an item as a follower gets it.
type Followed struct {
	Item
	Missed uint64 // so many items before this one were lost to this follower
}

// Follower is one who looks on, from Follow until Close.
type Follower struct {
	Items <-chan Followed // closed by Close

	feed  *Feed
	kinds [kinds]bool
	items chan Followed

	mu     sync.Mutex // guards missed, and its order with what is sent to items
	missed uint64
}

// Follow begins to look on at those kinds of item; none means all. The buffer
// is how many items may wait for the follower before it misses some.
func (f *Feed) Follow(buffer int, of ...Kind) *Follower {
	items := make(chan Followed, max(1, buffer))
	w := &Follower{Items: items, feed: f, items: items}
	if len(of) == 0 {
		of = []Kind{KindOutcome, KindNotification, KindAlert}
	}
	for _, k := range of {
		w.kinds[k] = true
	}
	f.mu.Lock()
	f.followers[w] = struct{}{}
	f.mu.Unlock()
	w.count(1)
	return w
}

// count adds the follower to, or takes it from, the count of each kind.
func (w *Follower) count(n int32) {
	for k, follows := range w.kinds {
		if follows {
			w.feed.watched[k].Add(n)
		}
	}
}

// offer hands over an item, or counts it as missed.
func (w *Follower) offer(item Item) {
	w.mu.Lock()
	defer w.mu.Unlock()
	select {
	case w.items <- Followed{item, w.missed}:
		w.missed = 0
	default:
		w.missed++
	}
}

// Missed returns how many items were lost since the last one that was handed
// over, which the next one will tell.
func (w *Follower) Missed() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.missed
}

// Close ends following. Once the follower is off the list nobody sends to its
// channel any more: whoever sends holds the list.
func (w *Follower) Close() {
	w.feed.mu.Lock()
	_, following := w.feed.followers[w]
	delete(w.feed.followers, w)
	w.feed.mu.Unlock()
	if following {
		w.count(-1)
		close(w.items)
	}
}
