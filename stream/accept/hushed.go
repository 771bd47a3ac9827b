package accept

import (
	"log/slog"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"recharged/state/charge"
)

// hushedLog logs what went wrong for a producer who can't be told: some lines a
// second, however much goes wrong, and in no line a whole MSISDN.
type hushedLog struct {
	logger  *slog.Logger
	limiter *rate.Limiter
	unsaid  atomic.Int64 // lines left out since the last one
}

// At most hushedBurst lines at once, then one every hushedEvery.
const (
	hushedBurst = 10
	hushedEvery = time.Second
)

func newHushedLog(logger *slog.Logger) *hushedLog {
	return &hushedLog{logger: logger, limiter: rate.NewLimiter(rate.Every(hushedEvery), hushedBurst)}
}

func (l *hushedLog) warn(message string, args ...any) {
	if !l.limiter.Allow() {
		l.unsaid.Add(1)
		return
	}
	l.logger.Warn(message, append(args, "unsaid", l.unsaid.Swap(0))...)
}

// rejected logs what was refused of a message that came that way.
func (l *hushedLog) rejected(way string, rejected []Rejected) {
	for i := range rejected {
		r := &rejected[i]
		l.warn("event rejected", "way", way, "index", r.Index, "id", charge.Mask(r.ID), "type", r.Type,
			"reason", string(r.Reason), "field", r.Field, "detail", charge.Mask(r.Detail))
	}
}
