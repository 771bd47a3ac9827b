package rules

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"

	"recharged/state/charge"
)

// schedule is when a rule may apply, by event time in the book's timezone.
type schedule struct {
	from, until charge.Instant // [from, until); zero: no bound
	days        uint8          // one bit a weekday, Sunday lowest
	open, close int            // minutes of the day, [open, close); close <= open: past midnight
}

const (
	everyDay   = 1<<7 - 1
	dayMinutes = 24 * 60
)

// covers reports whether the schedule lets an event of that instant through. A
// window of hours that wraps midnight belongs to the day on which it opened.
func (s *schedule) covers(at charge.Instant, location *time.Location) bool {
	if s == nil {
		return true
	}
	if at < s.from || s.until != 0 && at >= s.until {
		return false
	}
	local := at.Time().In(location)
	day, minute := local.Weekday(), local.Hour()*60+local.Minute()
	switch {
	case s.open < s.close:
		if minute < s.open || minute >= s.close {
			return false
		}
	case minute >= s.open:
	case minute < s.close:
		day = (day + 6) % 7
	default:
		return false
	}
	return s.days>>day&1 == 1
}

// schedule reads a rule's schedule.
func (l *loader) schedule(n *node) *schedule {
	if n == nil || !l.isMapping(n, "schedule", scheduleForm) {
		return nil
	}
	s := &schedule{days: everyDay, close: dayMinutes}
	s.from, s.until = l.instant(n.get("from")), l.instant(n.get("until"))
	if s.from != 0 && s.until != 0 && s.from >= s.until {
		l.errorf(n.get("until").place, "the end is not part of the schedule", "the schedule ends before it begins")
	}
	if days := n.get("days"); days != nil && l.isList(days, "days") {
		s.days = 0
		for _, d := range days.items {
			if day, ok := l.weekday(d); ok {
				s.days |= 1 << day
			}
		}
		if len(days.items) == 0 {
			l.errorf(days.place, "leave days out for every day", "days is empty")
		}
	}
	if hours := n.get("hours"); hours != nil {
		s.open, s.close = l.hours(hours)
	}
	return s
}

// localLayouts are how a date and a time of day are written without an offset:
// they are in the rulebook's timezone, and a date alone is its midnight.
var localLayouts = []string{time.DateOnly, "2006-01-02 15:04", "2006-01-02T15:04", time.DateTime, "2006-01-02T15:04:05"}

// instant reads a local date and time or an RFC 3339 time.
func (l *loader) instant(n *node) charge.Instant {
	text, ok := l.text(n)
	if !ok {
		return 0
	}
	t, err := time.Parse(time.RFC3339, text)
	for i := 0; err != nil && i < len(localLayouts); i++ {
		t, err = time.ParseInLocation(localLayouts[i], text, l.book.plan.Location)
	}
	at, inRange := charge.InstantOf(t)
	if err != nil || !inRange {
		l.errorf(n.place, "write 2026-11-01, or 2026-11-01 18:00", "%q is not a date", text)
		return 0
	}
	return at
}

var weekdays = []string{"sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"}

// weekday reads a day of the week, "friday" or "fri".
func (l *loader) weekday(n *node) (time.Weekday, bool) {
	text, ok := l.text(n)
	if !ok {
		return 0, false
	}
	for i, day := range weekdays {
		if text == day || text == day[:3] {
			return time.Weekday(i), true
		}
	}
	hint := "write sun, mon, tue, wed, thu, fri or sat"
	if lower := strings.ToLower(text); slices.ContainsFunc(weekdays, func(d string) bool { return lower == d || lower == d[:3] }) {
		hint = "write " + lower
	}
	l.errorf(n.place, hint, "%q is not a day of the week", text)
	return 0, false
}

// hours reads a window of the day, "18:00-22:00".
func (l *loader) hours(n *node) (opens, closes int) {
	text, ok := l.text(n)
	if !ok {
		return 0, dayMinutes
	}
	first, last, dash := strings.Cut(text, "-")
	opens, okFirst := minuteOf(strings.TrimSpace(first))
	closes, okLast := minuteOf(strings.TrimSpace(last))
	if !dash || !okFirst || !okLast || opens == closes || opens == dayMinutes {
		l.errorf(n.place, hoursHint(first, last), "%q is not a span of hours", text)
		return 0, dayMinutes
	}
	return opens, closes
}

// hoursHint says how to write a span of hours.
func hoursHint(first, last string) string {
	opens, okFirst := minuteOf(fullHour(first))
	closes, okLast := minuteOf(fullHour(last))
	if okFirst && okLast && opens != closes && opens != dayMinutes {
		return "write " + strconv.Quote(fullHour(first)+"-"+fullHour(last))
	}
	return `write "18:00-22:00"; "22:00-02:00" runs past midnight`
}

// fullHour writes 6:00, 6h and 6 as 06:00.
func fullHour(text string) string {
	hour, minute, _ := strings.Cut(strings.Replace(strings.TrimSpace(text), "h", ":", 1), ":")
	if len(hour) == 1 {
		hour = "0" + hour
	}
	return hour + ":" + cmp.Or(minute, "00")
}

// minuteOf reads "18:00", up to "24:00".
func minuteOf(text string) (int, bool) {
	if text == "24:00" {
		return dayMinutes, true
	}
	t, err := time.Parse("15:04", text)
	return t.Hour()*60 + t.Minute(), err == nil && len(text) == len("15:04")
}
