package dispatch

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/serviceful/serviceful/operator/internal/bus"
	"github.com/serviceful/serviceful/operator/internal/delivery"
	"github.com/serviceful/serviceful/operator/internal/envelope"
	"github.com/serviceful/serviceful/operator/internal/event"
	"github.com/serviceful/serviceful/operator/internal/names"
	"github.com/serviceful/serviceful/operator/internal/wiring"
)

// publish stores the events of an answer, before the messages are settled that
// it answers. It reports whether they may be.
func (w *steps) publish(calling context.Context, jobs []*job, events []*event.Event) bool {
	if len(events) == 0 {
		return true
	}
	return w.insist(calling, func() error {
		err := w.cfg.Events.PublishEvents(calling, jobs[0].sub.Function.Namespace, events)
		if !errors.Is(err, bus.ErrTooLarge) {
			return err
		}
		for _, j := range jobs {
			if j.outcome.Called {
				j.verdict = delivery.TooLarge(j.verdict, err)
			}
		}
		return nil
	})
}

// settle carries out a verdict: what is to be kept is stored, and only then is
// the message acknowledged. If calls are broken off before, the message is left
// to be delivered again.
func (w *steps) settle(calling context.Context, j *job) {
	kept := j.keepsNothing() || w.insist(calling, func() error {
		err := w.keep(calling, j)
		if errors.Is(err, bus.ErrTooLarge) && j.verdict.Action != delivery.Die { // it will not get smaller
			j.verdict = delivery.TooLarge(j.verdict, err)
			err = w.keep(calling, j)
		}
		return err
	})
	if !kept {
		return
	}
	w.report(calling, j)
	j.end()
	j.settled = true
}

// insist does a step of settling until it is done: while the store is not
// available it tries again, under heartbeats. It reports false when calls are
// broken off before.
func (w *steps) insist(calling context.Context, step func() error) bool {
	for pause := 100 * time.Millisecond; ; pause = min(2*pause, 5*time.Second) {
		err := step()
		if err == nil {
			return true
		}
		w.log.Error("storing what a message leaves behind", "error", err, "again_in", pause)
		if sleep(calling, pause); calling.Err() != nil {
			return false
		}
	}
}

// keepsNothing reports whether a message leaves nothing behind, and is settled in
// no time.
func (j *job) keepsNothing() bool {
	if j.verdict.Action != delivery.Succeed || j.sub.Policy.Source == delivery.Call || j.sub.Relays() {
		return false
	}
	to, _ := j.destination()
	return to == (wiring.Destination{})
}

// keep stores what a verdict leaves behind. Doing it twice is doing it once.
func (w *steps) keep(ctx context.Context, j *job) error {
	sub, v, now := j.sub, j.verdict, time.Now()
	switch sub.Policy.Source {
	case delivery.Change:
		return w.cfg.Changes.TellChange(ctx, &j.Message)
	case delivery.DueRetry:
		_, err := w.cfg.Keeper.Store(ctx, envelope.Return(&j.Message))
		return err
	}
	if err := w.tell(ctx, j, now); err != nil {
		return err
	}
	item, _ := names.ParseWork(j.Subject)
	last := bus.Ending{Function: sub.Function, Trigger: sub.Trigger, Verdict: v, Last: j.answer, Now: now}
	switch v.Action {
	case delivery.Succeed:
		if sub.Policy.Source == delivery.Call {
			return w.cfg.Keeper.StoreResult(ctx, item, envelope.Succeeded, last)
		}
		return nil
	case delivery.Fail:
		return w.cfg.Keeper.StoreResult(ctx, item, envelope.Failed, last)
	case delivery.Retry:
		if j.held != nil { // it waits in its place
			return nil
		}
		p := j.putOff()
		target := names.Again(j.Subject, sub.Function, sub.Trigger, p.Origin)
		_, err := w.cfg.Keeper.Store(ctx, envelope.Retry(&j.Message, target, p, now.Add(v.Delay)))
		return err
	default: // Die
		if sub.Policy.Source == delivery.Mail {
			last.Function, last.Trigger = item.Function, names.MailTrigger
		}
		return w.cfg.Keeper.Bury(ctx, &j.Message, last)
	}
}

func (w *steps) report(ctx context.Context, j *job) {
	v := j.verdict
	if v.Action == delivery.Succeed && !w.log.Enabled(ctx, slog.LevelDebug) { // most are
		return
	}
	key, id := "id", j.progress.Origin
	if j.sub.Policy.Source == delivery.Event {
		key, id = "event_id", j.Header.Get("ce-id")
	}
	pairs := []any{key, id, "attempt", v.Attempts}
	switch v.Action {
	case delivery.Succeed:
		w.log.Debug("delivered", pairs...)
	case delivery.Fail:
		w.log.Debug("call failed", append(pairs, "problem", v.Message)...)
	case delivery.Retry:
		w.log.Info("put off", append(pairs, "delay", v.Delay.Round(time.Millisecond), "problem", v.Message)...)
	case delivery.Die:
		w.log.Warn("dead", append(pairs, "reason", v.Reason, "problem", v.Message)...)
	}
}
