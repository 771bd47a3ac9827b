package rules

import (
	"time"

	"recharged/state/charge"
)

// delay is when a notification may go out: after a while or at a time of the
// day, and never in the quiet hours.
type delay struct {
	wait  time.Duration // zero: none
	at    int           // minute of the local day; anyTime: none
	quiet *dayWindow    // nil: none
}

// dayWindow is a part of every local day in minutes, [open, close); close <=
// open: past midnight.
type dayWindow struct{ open, close int }

const anyTime = -1

// sendAfter returns the first instant from clock on at which the notification
// may go out; zero if that is the clock itself.
func (s *say) sendAfter(clock charge.Instant, location *time.Location) charge.Instant {
	t := clock.Time().In(location).Add(s.delay.wait)
	if s.delay.at != anyTime {
		t = nextTime(t, s.delay.at)
	}
	if s.delay.quiet.covers(t) {
		t = nextTime(t, s.delay.quiet.close)
	}
	if at := charge.NearestInstant(t); at != clock {
		return at
	}
	return 0
}

// covers reports whether a local time lies in the window.
func (w *dayWindow) covers(t time.Time) bool {
	if w == nil {
		return false
	}
	minute := t.Hour()*60 + t.Minute()
	if w.open < w.close {
		return w.open <= minute && minute < w.close
	}
	return w.open <= minute || minute < w.close
}

// nextTime returns the first instant from t on at which clocks on the wall show
// that minute of the day. A minute that is left out when clocks are put forward
// is as far ahead as if they had not been.
func nextTime(t time.Time, minute int) time.Time {
	year, month, day := t.Date()
	sinceMidnight := time.Duration(t.Hour()*60+t.Minute())*time.Minute + time.Duration(t.Second())*time.Second + time.Duration(t.Nanosecond())
	ahead := time.Duration(minute)*time.Minute - sinceMidnight
	if ahead < 0 {
		ahead, day = ahead+24*time.Hour, day+1
	}
	next := t.Add(ahead)
	if next.Hour()*60+next.Minute() == minute%dayMinutes {
		return next
	}
	if changed := time.Date(year, month, day, 0, minute, 0, 0, t.Location()); changed.After(t) {
		return changed
	}
	return next
}

// delay reads when a notification may go out.
func (l *loader) delay(n *node) delay {
	d := delay{at: anyTime, quiet: l.book.quiet}
	if own := n.get("quiet_hours"); own != nil {
		d.quiet = l.quietHours(own)
	}
	after := n.get("send_after")
	text, ok := l.text(after)
	if !ok {
		return d
	}
	if minute, isTime := minuteOf(text); isTime {
		d.at = minute % dayMinutes
		return d
	}
	wait, err := parseSpan(text)
	if err != nil || wait == 0 {
		l.errorf(after.place, `write 30m, 2h or 1d, or a time of the day such as "18:00"`, "%s is neither a duration nor a time of the day", after.describe())
	}
	d.wait = wait
	return d
}

// quietHours reads hours in which no notification goes out; nil for none.
func (l *loader) quietHours(n *node) *dayWindow {
	if n == nil || n.shape == scalar && n.text == "none" {
		return nil
	}
	opens, closes := l.hours(n)
	return &dayWindow{opens, closes}
}
