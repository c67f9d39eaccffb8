package schedule

import "time"

// Late is how long after its time a call may begin without being late.
const Late = time.Minute

// Turn is what is done when a time has come.
type Turn struct {
	Call bool      // the function is called for it
	Next time.Time // when the clock is set to; the zero time: never again
}

// Turn says what is done at now when the time due has come. Where times were
// missed and are not skipped, the latest of them has its turn next.
func (s *Schedule) Turn(due, now time.Time, skip bool) Turn {
	if now.Before(due) { // by another machine's clock it has come
		now = due
	}
	stands := s.Stands(due, now, skip)
	if !stands && !skip {
		return Turn{Next: s.Latest(due, now)}
	}
	return Turn{Call: stands, Next: s.After(due, now)}
}

// Stands reports whether the function is still to be called at now for the time
// due, for which it has not been called yet. With skip it is until the time is
// late; else until a time of the schedule has come that lies later than that,
// which is called for in its place.
func (s *Schedule) Stands(due, now time.Time, skip bool) bool {
	if skip {
		return now.Sub(due) <= Late
	}
	instead := s.After(due, due.Add(Late))
	return instead.IsZero() || now.Before(instead)
}
