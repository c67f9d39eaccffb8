package dispatch

import (
	"context"
	"sync"
	"time"

	"github.com/serviceful/serviceful/operator/internal/bus"
	"github.com/serviceful/serviceful/operator/internal/wiring"
)

// askAhead is how many messages are asked for ahead (bus.Consume says why); how
// many come is for the consumer's MaxAckPending to bound.
const askAhead = 500

// busyPause is how long a message is put back that memory has no room for.
const busyPause = time.Second

// worker delivers the messages of one subscription as they come. Two contexts
// bound it: waiting ends when it stops, so that nothing new is called; calling ends
// Grace later, so that calls under way are broken off.
type worker struct {
	*steps
	batches batches
	begin   func([][]*job) // calls batches

	pull   func()             // ends the pulling
	unwait context.CancelFunc // ends waiting
	uncall context.CancelFunc // ends calling
	busy   sync.WaitGroup     // messages at work, each from take to leave
	heart  sync.WaitGroup     // what beats for them

	mu     sync.Mutex
	atWork map[*job]bool
}

func newWorker(s *steps) *worker { return &worker{steps: s, atWork: map[*job]bool{}} }

// start begins to pull. The worker outlives ctx, which bounds the start alone.
func (w *worker) start(ctx context.Context) error {
	calling, uncall := context.WithCancel(context.WithoutCancel(ctx))
	waiting, unwait := context.WithCancel(calling)
	w.uncall, w.unwait = uncall, unwait
	w.heart.Go(func() { w.beat(calling, w.all) })
	w.begin = func(batches [][]*job) { w.deliverAll(waiting, calling, batches) }
	w.batches.wake = func(number int) { w.begin(w.batches.expire(number)) }
	context.AfterFunc(waiting, func() { w.begin(w.batches.stop()) })
	sub := w.sub.Load()
	w.change(sub)
	pull, err := w.cfg.Source.Consume(ctx, sub.Stream, sub.Consumer, askAhead, func(d *bus.Delivered) { w.take(calling, d) })
	if err != nil {
		w.uncall()
		w.heart.Wait()
		return err
	}
	w.pull = pull
	return nil
}

// change has the worker go on with what its subscription is now.
func (w *worker) change(sub *wiring.Subscription) {
	w.sub.Store(sub)
	w.begin(w.batches.allow(sub.Concurrency))
}

// stop ends the worker: 1 no more messages, 2 those that wait for an instance or
// for others of their batch are handed back, 3 calls under way get Grace to end, 4
// the rest is broken off. When ctx is done, Grace is over too.
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

// take prepares a message: at once if nothing is to be waited for, else in a
// goroutine of its own. The consumer's MaxAckPending bounds how many are at work, and
// memory how much they are.
func (w *worker) take(calling context.Context, d *bus.Delivered) {
	j := &job{Delivered: d, sub: w.sub.Load(), taken: time.Now()}
	if !w.memory.take(j.size()) {
		_ = d.PutBack(busyPause) // a lost one is delivered again after AckWait
		return
	}
	w.cfg.Meter.Begin(j.sub)
	w.mu.Lock()
	w.atWork[j] = true
	w.mu.Unlock()
	w.batches.expect(j)
	w.busy.Add(1)
	if j.plain(calling) {
		w.enter(j, w.passes(calling, j))
		return
	}
	go func() { w.enter(j, w.prepare(calling, j)) }()
}

// enter has a message that is prepared wait for its call, or leave if it is not to
// be called.
func (w *worker) enter(j *job, call bool) {
	w.begin(w.batches.add(j, call, w.memory.tight()))
	if !call {
		w.leave(j)
	}
}

// deliverAll delivers batches, each in a goroutine of its own.
func (w *worker) deliverAll(waiting, calling context.Context, batches [][]*job) {
	for _, jobs := range batches {
		go func() {
			w.deliver(waiting, calling, jobs)
			w.begin(w.batches.ended())
			for _, j := range jobs {
				w.leave(j)
			}
		}()
	}
}

// leave is the end of what take began, whatever became of the message.
func (w *worker) leave(j *job) {
	w.memory.give(j.size())
	w.cfg.Meter.End(j.sub, j.attempt())
	w.mu.Lock()
	delete(w.atWork, j)
	w.mu.Unlock()
	w.busy.Done()
}

// all are the messages at work that were taken before a time.
func (w *worker) all(before time.Time) (all []*bus.Delivered) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for j := range w.atWork {
		if j.taken.Before(before) {
			all = append(all, j.Delivered)
		}
	}
	return all
}
