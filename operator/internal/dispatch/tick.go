package dispatch

import (
	"context"
	"time"

	"github.com/serviceful/serviceful/operator/internal/bus"
	"github.com/serviceful/serviceful/operator/internal/delivery"
	"github.com/serviceful/serviceful/operator/internal/names"
	"github.com/serviceful/serviceful/operator/internal/schedule"
)

// tick takes up a schedule's time. The first time it is handed out the clock is
// set to the next one, unless that of a changed schedule is. ended is true if the function is not called for it.
func (w *worker) tick(ctx context.Context, d *bus.Delivered, end *ending) (a Attempt, ended bool) {
	fired, at, err := timesOf(d, end)
	if err != nil {
		end.verdict = delivery.Malformed(err)
		return w.settle(ctx, d, *end), true
	}
	skip := end.sub.SkipMissed
	if end.progress.Attempts == 0 && d.Replays() == 0 {
		end.missed = func(now time.Time) bool { return !at.Stands(fired.Scheduled, now, skip) }
	}
	call := end.missed == nil || !end.missed(time.Now())
	if f, trigger := end.sub.Function, end.sub.Trigger; d.Subject == names.Tick(f, trigger) {
		turn := at.Turn(fired.Scheduled, time.Now(), skip)
		next := schedule.Fired{Spec: fired.Spec, Scheduled: turn.Next, Series: fired.Series}
		if err := w.cfg.Clocks.SetClock(ctx, f, trigger, next); err != nil {
			w.log.Error("setting a clock", "error", err, "again_in", busyPause)
			_ = d.PutBack(busyPause)
			return Attempt{}, true
		}
		call = turn.Call
	}
	if call {
		return Attempt{}, false
	}
	end.filtered = true
	return w.settle(ctx, d, *end), true
}

// timesOf reads which time a message is, and of what schedule: the trigger's, unless
// that was changed since the clock was set.
func timesOf(d *bus.Delivered, end *ending) (schedule.Fired, *schedule.Schedule, error) {
	fired, err := schedule.Read(&d.Message)
	if err != nil || fired.Spec == end.sub.Schedule.Spec {
		return fired, end.sub.Schedule, err
	}
	times, err := schedule.Parse(fired.Spec)
	return fired, times, err
}
