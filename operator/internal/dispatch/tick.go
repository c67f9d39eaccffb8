package dispatch

import (
	"context"
	"time"

	"github.com/serviceful/serviceful/operator/internal/delivery"
	"github.com/serviceful/serviceful/operator/internal/names"
	"github.com/serviceful/serviceful/operator/internal/schedule"
)

// tick takes up a schedule's time. The first time it is handed out the clock is
// set to the next one, unless that of a changed schedule is. It reports whether
// the function is called for it.
func (w *steps) tick(ctx context.Context, j *job) bool {
	fired, at, err := j.times()
	if err != nil {
		j.verdict = delivery.Malformed(err)
		w.settle(ctx, j)
		return false
	}
	skip := j.sub.SkipMissed
	if j.progress.Attempts == 0 && j.Replays() == 0 {
		j.missed = func(now time.Time) bool { return !at.Stands(fired.Scheduled, now, skip) }
	}
	call := !j.isMissed()
	if f, trigger := j.sub.Function, j.sub.Trigger; j.Subject == names.Tick(f, trigger) {
		turn := at.Turn(fired.Scheduled, time.Now(), skip)
		next := schedule.Fired{Spec: fired.Spec, Scheduled: turn.Next, Series: fired.Series}
		if err := w.cfg.Clocks.SetClock(ctx, f, trigger, next); err != nil {
			w.log.Error("setting a clock", "error", err, "again_in", busyPause)
			_ = j.PutBack(busyPause)
			return false
		}
		call = turn.Call
	}
	if !call {
		w.pass(ctx, j)
	}
	return call
}

// times reads which time a message is, and of what schedule: the trigger's, unless
// that was changed since the clock was set.
func (j *job) times() (schedule.Fired, *schedule.Schedule, error) {
	fired, err := schedule.Read(&j.Message)
	if err != nil || fired.Spec == j.sub.Schedule.Spec {
		return fired, j.sub.Schedule, err
	}
	times, err := schedule.Parse(fired.Spec)
	return fired, times, err
}

// isMissed reports whether it is a schedule's time that is not called for any more.
func (j *job) isMissed() bool { return j.missed != nil && j.missed(time.Now()) }
