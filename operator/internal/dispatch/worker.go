package dispatch

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/serviceful/serviceful/operator/internal/bus"
	"github.com/serviceful/serviceful/operator/internal/delivery"
	"github.com/serviceful/serviceful/operator/internal/envelope"
	"github.com/serviceful/serviceful/operator/internal/event"
	"github.com/serviceful/serviceful/operator/internal/names"
	"github.com/serviceful/serviceful/operator/internal/wiring"
)

// askAhead is how many messages are asked for ahead (bus.Consume says why); how
// many come is for the consumer's MaxAckPending to bound.
const askAhead = 500

// busyPause is how long a message is put back that memory has no room for.
const busyPause = time.Second

// worker delivers the messages of one subscription. Two contexts bound it:
// waiting ends when it stops, so that nothing new is called; calling ends Grace
// later, so that calls under way are broken off.
type worker struct {
	cfg    *Config
	memory *memory
	sub    atomic.Pointer[wiring.Subscription]
	log    *slog.Logger

	pull   func()             // ends the pulling
	unwait context.CancelFunc // ends waiting
	uncall context.CancelFunc // ends calling
	busy   sync.WaitGroup     // messages at work
	heart  sync.WaitGroup     // what beats for them

	mu     sync.Mutex
	atWork map[*bus.Delivered]time.Time // since when
}

func newWorker(cfg *Config, memory *memory, sub *wiring.Subscription) *worker {
	w := &worker{cfg: cfg, memory: memory, atWork: map[*bus.Delivered]time.Time{}}
	w.sub.Store(sub)
	w.log = cfg.Logger.With("function", sub.Function.String(), "trigger", sub.Trigger)
	return w
}

// start begins to pull. The worker outlives ctx, which bounds the start alone.
func (w *worker) start(ctx context.Context) error {
	calling, uncall := context.WithCancel(context.WithoutCancel(ctx))
	waiting, unwait := context.WithCancel(calling)
	w.uncall, w.unwait = uncall, unwait
	w.heart.Go(func() { w.beat(calling) })
	sub := w.sub.Load()
	pull, err := w.cfg.Source.Consume(ctx, sub.Stream, sub.Consumer, askAhead, func(d *bus.Delivered) { w.take(waiting, calling, d) })
	if err != nil {
		w.uncall()
		w.heart.Wait()
		return err
	}
	w.pull = pull
	return nil
}

// stop ends the worker: 1 no more messages, 2 those that wait for an instance
// are handed back, 3 calls under way get Grace to end, 4 the rest is broken off.
// When ctx is done, Grace is over too.
func (w *worker) stop(ctx context.Context) {
	w.pull()
	w.unwait()
	ctx, cancel := context.WithTimeout(ctx, w.cfg.Grace)
	context.AfterFunc(ctx, w.uncall)
	w.busy.Wait()
	cancel()
	w.uncall()
	w.heart.Wait()
}

// take gives a message a goroutine of its own; the consumer's MaxAckPending
// bounds how many there are, and memory how much they are.
func (w *worker) take(waiting, calling context.Context, d *bus.Delivered) {
	if !w.memory.take(d.Body) {
		_ = d.PutBack(busyPause) // a lost one is delivered again after AckWait
		return
	}
	sub, now := w.sub.Load(), time.Now()
	w.cfg.Meter.Begin(sub)
	w.mu.Lock()
	w.atWork[d] = now
	w.mu.Unlock()
	w.busy.Go(func() {
		defer w.memory.give(d.Body)
		w.cfg.Meter.End(sub, w.deliver(waiting, calling, d, ending{sub: sub, taken: now}))
		w.mu.Lock()
		delete(w.atWork, d)
		w.mu.Unlock()
	})
}

// beat keeps the messages at work from being delivered again, until calls are
// broken off. Each gives its first sign of life after half of AckWait at the
// latest.
func (w *worker) beat(calling context.Context) {
	heartbeat := w.cfg.AckWait / 3
	tick := time.NewTicker(heartbeat)
	defer tick.Stop()
	for {
		select {
		case <-calling.Done():
			return
		case <-tick.C:
		}
		w.mu.Lock()
		for d, since := range w.atWork {
			if time.Since(since) >= heartbeat/2 {
				_ = d.InProgress() // a lost one costs a redelivery at worst
			}
		}
		w.mu.Unlock()
	}
}

// deliver brings one message to its end: done, put off, dead, or handed back
// because the worker stops.
func (w *worker) deliver(waiting, calling context.Context, d *bus.Delivered, end ending) Attempt {
	switch ended, err := d.Ended(calling); {
	case err != nil:
		_ = d.Release()
		return Attempt{}
	case ended:
		_ = d.Ack()
		return Attempt{}
	}
	p, err := d.Progress()
	if err != nil {
		end.verdict = delivery.Malformed(err)
		return w.settle(calling, d, end)
	}
	end.progress = p
	if end.sub.Schedule != nil {
		if a, ended := w.tick(calling, d, &end); ended {
			return a
		}
	}
	policy := end.sub.Policy
	m := delivery.Message{Attempts: p.Attempts, Tries: p.Tries, Due: p.Due, Problem: p.Last.Problem}
	verdict, overdue := delivery.Overdue(policy, m, time.Now())
	if overdue { // unless its trigger is newer, or was paused
		since, err := w.cfg.Source.Since(calling, end.sub.Stream, end.sub.Consumer)
		if err != nil {
			_ = d.PutBack(busyPause)
			return Attempt{}
		}
		if since.After(m.Due) {
			m.Due = since
			verdict, overdue = delivery.Overdue(policy, m, time.Now())
		}
	}
	if overdue {
		end.verdict = verdict
		return w.settle(calling, d, end)
	}
	end.progress.Due = m.Due
	outcome, err := w.call(waiting, calling, d, &end)
	end.took = time.Since(end.taken)
	switch {
	case err != nil && waiting.Err() != nil:
		_ = d.Release() // a lost one is delivered again after AckWait
		return Attempt{}
	case err != nil:
		end.verdict = delivery.Malformed(err)
	default:
		end.called = outcome.Called
		end.verdict = delivery.Decide(policy, m, outcome, time.Now(), rand.Float64())
	}
	return w.settle(calling, d, end)
}

// ending is how a message ends and what it leaves behind.
type ending struct {
	sub      *wiring.Subscription
	taken    time.Time                // when it was handed out
	took     time.Duration            // from then to the end of its call; 0 where there was none
	called   bool                     // the function got it, or may have
	filtered bool                     // the filters do not let it pass, or it is a time that was missed
	missed   func(now time.Time) bool // of a schedule's time that was not called for yet: whether it is too late to; else nil
	progress envelope.Progress
	verdict  delivery.Verdict
	answer   *envelope.Answer // nil where there was none
	events   []*event.Event   // of the answer; published before the message is settled
}

// attempt is what the meter is told of it.
func (e ending) attempt() Attempt {
	a := Attempt{Settled: true, Verdict: e.verdict, Called: e.called, Filtered: e.filtered, Took: e.took}
	if e.progress.Tries == 0 && !e.progress.First.IsZero() {
		a.First, a.Waited = true, max(0, e.taken.Sub(e.progress.First))
	}
	return a
}

// status is the answer's; 0 where there was none.
func (e ending) status() int {
	if e.answer == nil {
		return 0
	}
	return e.answer.Status
}

// settle carries out a verdict: what is to be kept is stored, and only then is
// the message acknowledged. While the store is not available it tries again,
// under heartbeats, until calls are broken off; then the message is left to be
// delivered again.
func (w *worker) settle(calling context.Context, d *bus.Delivered, end ending) Attempt {
	for pause := 100 * time.Millisecond; ; pause = min(2*pause, 5*time.Second) {
		err := w.keep(calling, d, end)
		if err == nil {
			break
		}
		if errors.Is(err, bus.ErrTooLarge) && end.verdict.Action != delivery.Die { // it will not get smaller
			end.verdict = delivery.TooLarge(end.verdict, err)
			continue
		}
		w.log.Error("storing what a message leaves behind", "error", err, "again_in", pause)
		select {
		case <-time.After(pause):
		case <-calling.Done():
			return Attempt{}
		}
	}
	w.report(d, end)
	_ = d.Ack() // a lost one is a duplicate, never a loss
	return end.attempt()
}

// keep stores what a verdict leaves behind. Doing it twice is doing it once.
func (w *worker) keep(ctx context.Context, d *bus.Delivered, end ending) error {
	sub, v, now := end.sub, end.verdict, time.Now()
	item, _ := names.ParseWork(d.Subject)
	last := bus.Ending{Function: sub.Function, Trigger: sub.Trigger, Verdict: v, Last: end.answer, Now: now}
	switch v.Action {
	case delivery.Succeed:
		if len(end.events) > 0 {
			if err := w.cfg.Events.PublishEvents(ctx, sub.Function.Namespace, end.events); err != nil {
				return err
			}
		}
		if sub.Policy.Source == delivery.Call {
			return w.cfg.Keeper.StoreResult(ctx, item, envelope.Succeeded, last)
		}
		return nil
	case delivery.Fail:
		return w.cfg.Keeper.StoreResult(ctx, item, envelope.Failed, last)
	case delivery.Retry:
		p := end.progress
		p.Attempts, p.Tries, p.Last.Problem = v.Attempts, p.Tries+1, v.Message
		if v.Attempts > end.progress.Attempts {
			p.Last.Status = end.status()
		}
		target := names.Again(d.Subject, sub.Function, sub.Trigger, p.Origin)
		_, err := w.cfg.Keeper.Store(ctx, envelope.Retry(&d.Message, target, p, now.Add(v.Delay)))
		return err
	default: // Die
		if sub.Policy.Source == delivery.Mail {
			last.Function, last.Trigger = item.Function, names.MailTrigger
		}
		return w.cfg.Keeper.Bury(ctx, &d.Message, last)
	}
}

func (w *worker) report(d *bus.Delivered, end ending) {
	v := end.verdict
	key, id := "id", end.progress.Origin
	if end.sub.Policy.Source == delivery.Event {
		key, id = "event_id", d.Header.Get("ce-id")
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
