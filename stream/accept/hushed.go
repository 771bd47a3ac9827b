package accept

import (
	"log/slog"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
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
		l.warn("event rejected", "way", way, "index", r.Index, "id", masked(r.ID), "type", r.Type,
			"reason", string(r.Reason), "field", r.Field, "detail", masked(r.Detail))
	}
}

// masked hides in a text from outside whatever could be an MSISDN: of six digits
// or more in a row all but the first three and the last two, as MSISDN.Masked
// does.
func masked(text string) string {
	const digitsMin, head, tail = 6, 3, 2
	out := []byte(text)
	for i := 0; i < len(out); {
		end := i
		for end < len(out) && '0' <= out[end] && out[end] <= '9' {
			end++
		}
		if end-i >= digitsMin {
			for j := i + head; j < end-tail; j++ {
				out[j] = '*'
			}
		}
		i = end + 1
	}
	return string(out)
}
