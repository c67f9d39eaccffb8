package bus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/serviceful/serviceful/operator/internal/envelope"
	"github.com/serviceful/serviceful/operator/internal/names"
	"github.com/serviceful/serviceful/operator/internal/schedule"
	"github.com/serviceful/serviceful/operator/internal/wiring"
)

// ensureClock makes a trigger's clock what its subscription says. One that says
// so already is left alone, and so is one whose time has come: the dispatcher sets
// it anew when it takes the time up. A clock that is to stand still is set to
// never: with none, a dispatcher that has not heard of it would set one.
func (l Layout) ensureClock(ctx context.Context, s *wiring.Subscription) error {
	for {
		due := s.Schedule.First(time.Now())
		if s.Paused || due.IsZero() {
			due = schedule.Never
		}
		there, err := l.clock(ctx, s)
		if err != nil || there.says(s.Schedule.Spec, due) {
			return err
		}
		_, err = l.Bus.StoreIf(ctx, schedule.Clock(s.Function, s.Trigger, s.Schedule.Spec, due), there.sequence)
		if !errors.Is(err, ErrConflict) { // else it was set meanwhile
			return err
		}
	}
}

// clock is a trigger's clock, or a time of it that has come and nobody has taken
// up.
type clock struct {
	schedule.Fired
	sequence uint64 // of the clock; 0: there is none
	come     bool
}

// says reports whether a clock shows a schedule's times, or stands still, as one
// does that is set to due.
func (c clock) says(spec schedule.Spec, due time.Time) bool {
	still := due.Equal(schedule.Never)
	if c.come {
		return c.Spec == spec && !still
	}
	return c.sequence > 0 && c.Spec == spec && c.Scheduled.Equal(schedule.Never) == still
}

func (l Layout) clock(ctx context.Context, s *wiring.Subscription) (clock, error) {
	for _, subject := range []string{names.Clock(s.Function, s.Trigger), names.Tick(s.Function, s.Trigger)} {
		m, err := l.Bus.Last(ctx, s.Stream, subject)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return clock{}, fmt.Errorf("looking for the clock of trigger %q: %w", s.Trigger, err)
		}
		return readClock(m), nil
	}
	return clock{}, nil
}

// readClock reads a clock or a time. One of another version's form is of no
// schedule, and is set anew.
func readClock(m *envelope.Message) clock {
	c := clock{come: names.IsTick(m.Subject)}
	if !c.come {
		c.sequence = m.Sequence
	}
	c.Fired, _ = schedule.Read(m)
	return c
}

// removeClock removes a trigger's clock and the times that have come: nobody was
// promised a call for them.
func (l Layout) removeClock(ctx context.Context, o Orphan) error {
	ticks := names.TickFilter(o.Function, o.Trigger)
	for _, subject := range []string{names.Clock(o.Function, o.Trigger), names.Schedule(ticks), ticks} {
		if err := l.Bus.purge(ctx, o.Stream, subject); err != nil {
			return err
		}
	}
	return nil
}
