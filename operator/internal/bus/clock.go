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
	now := time.Now()
	due := s.Schedule.First(now)
	if s.Paused || due.IsZero() {
		due = schedule.Never
	}
	for {
		there, last, err := l.Bus.clock(ctx, s.Function, s.Trigger)
		still := due.Equal(schedule.Never)
		if err != nil || last > 0 && there.Spec == s.Schedule.Spec && there.Scheduled.Equal(schedule.Never) == still {
			return err
		}
		if last == 0 && !still {
			come, err := l.Bus.come(ctx, s.Function, s.Trigger)
			if err != nil || come.Spec == s.Schedule.Spec {
				return err
			}
		}
		to := schedule.Fired{Spec: s.Schedule.Spec, Scheduled: due, Series: max(now.UnixNano(), there.Series+1)}
		_, err = l.Bus.StoreIf(ctx, schedule.Clock(s.Function, s.Trigger, to), last)
		if !errors.Is(err, ErrConflict) { // else it was set meanwhile
			return err
		}
	}
}

// SetClock sets a trigger's clock to a time, unless it is set already: by the same
// series, or a later one. One of an earlier series gives way.
func (b *Bus) SetClock(ctx context.Context, f names.Function, trigger string, to schedule.Fired) error {
	for last := uint64(0); ; {
		_, err := b.StoreIf(ctx, schedule.Clock(f, trigger, to), last)
		if !errors.Is(err, ErrConflict) {
			return err
		}
		var there schedule.Fired
		there, last, err = b.clock(ctx, f, trigger)
		if err != nil || last > 0 && there.Series >= to.Series {
			return err
		}
	}
}

// clock is what a trigger's clock is set to; its sequence is 0 if there is none.
func (b *Bus) clock(ctx context.Context, f names.Function, trigger string) (schedule.Fired, uint64, error) {
	m, err := b.lastTime(ctx, f, names.Clock(f, trigger))
	if m == nil {
		return schedule.Fired{}, 0, err
	}
	fired, _ := schedule.Read(m) // one of another version's form is of no schedule
	return fired, m.Sequence, nil
}

// come is the last time of a trigger that has come and was not settled yet; zero:
// there is none.
func (b *Bus) come(ctx context.Context, f names.Function, trigger string) (schedule.Fired, error) {
	m, err := b.lastTime(ctx, f, names.Tick(f, trigger))
	if m == nil {
		return schedule.Fired{}, err
	}
	fired, _ := schedule.Read(m)
	return fired, nil
}

func (b *Bus) lastTime(ctx context.Context, f names.Function, subject string) (*envelope.Message, error) {
	m, err := b.Last(ctx, names.Work(f.Namespace), subject)
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("looking for a clock: %w", err)
	}
	return m, nil
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
