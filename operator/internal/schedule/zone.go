package schedule

import "time"

// everyHour is set in the hours of a cron that has "*" there.
const everyHour = 1 << 63

// next is the first time of a cron later than t, where clocks are put forward and
// back:
//
//   - A cron that names its hours is due once for each time that it says. One that
//     the clock leaves out is due when the clock is put forward, and one that the
//     clock shows twice is due the first time.
//   - A cron of every hour is due whenever the clock shows its minute: once an
//     hour, however the hours are called.
func (s *Schedule) next(t time.Time) time.Time {
	if s.fields.Hour&everyHour != 0 {
		return s.nextShown(t)
	}
	for wall := clock(t.In(s.zone)); ; {
		wall = s.fields.Next(wall)
		if wall.IsZero() {
			return wall
		}
		if due := first(wall, s.zone); due.After(t) {
			return due
		}
	}
}

// nextShown looks at one period after the other in which the clock is not put
// forward or back.
func (s *Schedule) nextShown(t time.Time) time.Time {
	for period := t.In(s.zone); ; {
		_, offset := period.Zone()
		_, end := period.ZoneBounds()
		wall := s.fields.Next(t.UTC().Add(seconds(offset)))
		if wall.IsZero() {
			return wall
		}
		if due := wall.Add(-seconds(offset)); end.IsZero() || due.Before(end) {
			return due
		}
		period, t = end.In(s.zone), end.Add(-time.Nanosecond)
	}
}

// first is when a clock in a zone first shows a time, or passes it by.
func first(wall time.Time, zone *time.Location) time.Time {
	t := time.Date(wall.Year(), wall.Month(), wall.Day(), wall.Hour(), wall.Minute(), wall.Second(), 0, zone)
	start, end := t.ZoneBounds()
	switch shown := clock(t); {
	case shown.After(wall): // it is not shown, and t is after the leap
		return start.UTC()
	case shown.Before(wall): // or before
		return end.UTC()
	case start.IsZero():
		return t.UTC()
	}
	_, offset := start.Add(-time.Nanosecond).Zone()
	if earlier := wall.Add(-seconds(offset)); earlier.Before(start) {
		return earlier
	}
	return t.UTC()
}

// clock is what a clock shows at t, as if it were in UTC.
func clock(t time.Time) time.Time {
	_, offset := t.Zone()
	return t.UTC().Add(seconds(offset))
}

func seconds(n int) time.Duration { return time.Duration(n) * time.Second }
