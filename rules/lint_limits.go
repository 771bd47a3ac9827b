package rules

import (
	"math/bits"
	"strconv"
	"time"

	"recharged/state/charge"
)

// limitsComparedMax is how many limits of one rule are compared with each other.
const limitsComparedMax = 50

// limitsOf warns of limits that another limit of the same rule, or the rule's
// schedule, never lets anybody reach.
func (n *linter) limitsOf(r *rule) {
	if len(r.limits) > limitsComparedMax {
		return
	}
	dead := make([]bool, len(r.limits))
	for i := range r.limits {
		for j := range r.limits {
			most, bounded := r.limits[j].most(&r.limits[i], r.schedule, n.book)
			if i == j || dead[j] || !bounded || most > r.limits[i].count {
				continue
			}
			dead[i] = true
			items := n.nodes[r.Name].get("limits").get("per_customer").items
			hint := "leave it out"
			if most > 1 {
				hint += ", or make its count less than " + strconv.FormatInt(most, 10)
			}
			n.warnf(items[i].place, hint, "rule %s: the limit of %s never bites, because that of %s lets at most %d through in that time",
				r.Name, limitWords(items[i]), limitWords(items[j]), most)
			break
		}
	}
}

// limitWords writes a limit as "3 per week".
func limitWords(limit *node) string {
	return limit.get("count").text + " per " + limit.get("per").text
}

// most returns how many uses the limit allows at most within one period of the
// other, which it may not bound at all.
func (m *limit) most(other *limit, s *schedule, b *Book) (most int64, bounded bool) {
	var touched int64 // how many periods of m a period of the other meets at most
	switch {
	case m.period == wholeCampaign:
		touched = 1
	case other.period == wholeCampaign:
		touched = m.duringSchedule(s, b)
	case m.period != rollingWindow && other.period != rollingWindow:
		touched = m.within(other.period, s)
	default:
		touched = ceilDiv(other.longest(), m.shortest())
		if m.period != rollingWindow {
			touched++ // The other's window begins somewhere within one of them.
		}
	}
	return touched * m.count, touched > 0 && touched < 1<<31 // A count fits in 31 bits.
}

// within returns how many calendar periods of m one of the other kind meets;
// 0 if that is not known.
func (m *limit) within(other period, s *schedule) int64 {
	hours, days := s.hoursOfDay(), s.daysOfWeek()
	switch {
	case m.period == other || other < m.period && !(other == weekly && m.period == monthly):
		return 1 // An hour lies in one day, a day in one week and in one month.
	case other == weekly && m.period == monthly:
		return 2
	}
	switch [2]period{m.period, other} {
	case [2]period{hourly, daily}:
		return hours
	case [2]period{hourly, weekly}:
		return hours * days
	case [2]period{hourly, monthly}:
		return hours * min(31, 5*days)
	case [2]period{daily, weekly}:
		return days
	case [2]period{daily, monthly}:
		return min(31, 5*days)
	case [2]period{weekly, monthly}:
		return 6
	}
	return 0
}

// hoursOfDay returns on how many hours of one calendar day a schedule lies.
func (s *schedule) hoursOfDay() int64 {
	switch {
	case s == nil:
		return 24
	case s.open < s.close:
		return int64((s.close+59)/60 - s.open/60)
	}
	return min(24, int64((s.close+59)/60+24-s.open/60)) // Past midnight.
}

// daysOfWeek returns on how many days of one calendar week a schedule lies.
func (s *schedule) daysOfWeek() int64 {
	if s == nil {
		return 7
	}
	days := s.days
	if s.open >= s.close {
		days |= days<<1&everyDay | days>>6 // Past midnight.
	}
	return int64(bits.OnesCount8(days))
}

// duringSchedule returns how many of the limit's periods a schedule meets; 0 if
// it has no end or no beginning.
func (m *limit) duringSchedule(s *schedule, b *Book) int64 {
	if s == nil || s.from == 0 || s.until == 0 {
		return 0
	}
	if m.period == rollingWindow {
		return ceilDiv(s.until.Time().Sub(s.from.Time()), m.rolling)
	}
	meets := func(p period) int64 {
		index := func(at charge.Instant) int64 { return (&limit{period: p}).index(at, b.plan.Location, b.weekStart) }
		return index(s.until-1) - index(s.from) + 1
	}
	days := min(meets(daily), meets(weekly)*s.daysOfWeek())
	switch m.period {
	case hourly:
		return min(meets(hourly), days*s.hoursOfDay())
	case daily:
		return days
	}
	return meets(m.period)
}

// shortest and longest bound how long one of the limit's periods is, clocks that
// are put forward and back included. Of a rolling window the longest is what it
// really looks back to.
func (m *limit) shortest() time.Duration {
	const day = 24 * time.Hour
	return [...]time.Duration{
		hourly: time.Hour / 2, daily: day - time.Hour, weekly: 7*day - time.Hour, monthly: 28*day - time.Hour,
		wholeCampaign: 0, rollingWindow: m.rolling,
	}[m.period]
}

func (m *limit) longest() time.Duration {
	const day = 24 * time.Hour
	if m.period == rollingWindow {
		return m.reach() + m.step()
	}
	return [...]time.Duration{
		hourly: 2 * time.Hour, daily: day + time.Hour, weekly: 7*day + time.Hour, monthly: 31*day + time.Hour, wholeCampaign: 0,
	}[m.period]
}

func ceilDiv(a, b time.Duration) int64 { return int64((a + b - 1) / b) }
