package dispatch

import (
	"context"
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

// heartbeat is how often every message at work gives a sign of life.
const heartbeat = bus.AckWait / 3

// worker delivers the messages of one subscription.
type worker struct {
	cfg *Config
	sub atomic.Pointer[wiring.Subscription]
	log *slog.Logger

	pull    func()             // ends the pulling
	waiting context.Context    // ends when the worker stops: nothing new is called
	calling context.Context    // ends Grace later: calls under way are broken off
	unwait  context.CancelFunc // ends waiting
	uncall  context.CancelFunc // ends calling
	busy    sync.WaitGroup     // messages at work, and the heart

	mu     sync.Mutex
	atWork map[*bus.Delivered]time.Time // since when
}

func newWorker(cfg *Config, sub *wiring.Subscription) *worker {
	w := &worker{cfg: cfg, atWork: map[*bus.Delivered]time.Time{}}
	w.sub.Store(sub)
	w.log = cfg.Logger.With("function", sub.Function.String(), "trigger", sub.Trigger)
	w.calling, w.uncall = context.WithCancel(context.Background())
	w.waiting, w.unwait = context.WithCancel(w.calling)
	return w
}

func (w *worker) start(ctx context.Context) error {
	sub := w.sub.Load()
	w.busy.Go(w.beat)
	pull, err := w.cfg.Source.Consume(ctx, sub.Stream, sub.Consumer, sub.Concurrency, w.take)
	if err != nil {
		w.uncall()
		w.busy.Wait()
		return err
	}
	w.pull = pull
	return nil
}

// stop ends the worker: 1 no more messages, 2 those that wait for an instance
// are handed back, 3 calls under way get Grace to end, 4 the rest is broken off.
func (w *worker) stop() {
	w.pull()
	w.unwait()
	grace := time.AfterFunc(w.cfg.Grace, w.uncall)
	w.busy.Wait()
	grace.Stop()
	w.uncall()
}

// take gives a message a goroutine of its own; the consumer's MaxAckPending
// bounds how many there are.
func (w *worker) take(d *bus.Delivered) {
	w.mu.Lock()
	w.atWork[d] = time.Now()
	w.mu.Unlock()
	w.busy.Go(func() {
		w.deliver(d)
		w.mu.Lock()
		delete(w.atWork, d)
		w.mu.Unlock()
	})
}

// beat keeps the messages at work from being delivered again, until calls are
// broken off.
func (w *worker) beat() {
	tick := time.NewTicker(heartbeat)
	defer tick.Stop()
	for {
		select {
		case <-w.calling.Done():
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
func (w *worker) deliver(d *bus.Delivered) {
	sub := w.sub.Load()
	p, err := d.Progress()
	if err != nil {
		w.settle(d, sub, ending{verdict: delivery.Malformed(err)})
		return
	}
	end := ending{progress: p}
	m := delivery.Message{Attempts: p.Attempts, Tries: p.Tries, Due: p.First}
	verdict, overdue := delivery.Overdue(sub.Policy, m, time.Now())
	if overdue {
		end.verdict = verdict
		w.settle(d, sub, end)
		return
	}
	outcome, err := w.call(d, sub, &end)
	switch {
	case err != nil && w.waiting.Err() != nil:
		_ = d.Release() // a lost one is delivered again after AckWait
		return
	case err != nil:
		end.verdict = delivery.Malformed(err)
	default:
		end.verdict = delivery.Decide(sub.Policy, m, outcome, time.Now(), rand.Float64())
	}
	w.settle(d, sub, end)
}

// ending is what a message leaves behind.
type ending struct {
	progress envelope.Progress
	verdict  delivery.Verdict
	answer   *envelope.Answer // nil where there was none
	events   []*event.Event   // of the answer; published before the message is settled
}

// settle carries out a verdict: what is to be kept is stored, and only then is
// the message acknowledged. While the store is not available it tries again,
// under heartbeats, until calls are broken off; then the message is left to be
// delivered again.
func (w *worker) settle(d *bus.Delivered, sub *wiring.Subscription, end ending) {
	for pause := 100 * time.Millisecond; ; pause = min(2*pause, 5*time.Second) {
		err := w.keep(d, sub, end)
		if err == nil {
			break
		}
		w.log.Error("storing what a message leaves behind", "error", err, "again_in", pause)
		select {
		case <-time.After(pause):
		case <-w.calling.Done():
			return
		}
	}
	w.report(sub, end)
	_ = d.Ack() // a lost one is a duplicate, never a loss
}

// keep stores what a verdict leaves behind. Doing it twice is doing it once.
func (w *worker) keep(d *bus.Delivered, sub *wiring.Subscription, end ending) error {
	ctx, v, now := w.calling, end.verdict, time.Now()
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
		p.Attempts, p.Tries = v.Attempts, p.Tries+1
		target := d.Subject
		if sub.Policy.Source == delivery.Event {
			target = names.EventRetry(sub.Function, sub.Trigger, p.Origin)
		}
		_, err := w.cfg.Keeper.Store(ctx, envelope.Retry(&d.Message, target, p, now.Add(v.Delay)))
		return err
	default: // Die
		if sub.Policy.Source == delivery.Mail {
			last.Function, last.Trigger = item.Function, envelope.MailTrigger
		}
		return w.cfg.Keeper.Bury(ctx, &d.Message, last)
	}
}

func (w *worker) report(sub *wiring.Subscription, end ending) {
	v := end.verdict
	pairs := []any{"origin", end.progress.Origin, "attempt", v.Attempts}
	switch v.Action {
	case delivery.Succeed:
		w.log.Debug("delivered", pairs...)
	case delivery.Fail:
		w.log.Info("call failed", append(pairs, "problem", v.Message)...)
	case delivery.Retry:
		w.log.Info("put off", append(pairs, "delay", v.Delay.Round(time.Millisecond), "problem", v.Message)...)
	case delivery.Die:
		w.log.Warn("dead", append(pairs, "reason", v.Reason, "problem", v.Message)...)
	}
}
