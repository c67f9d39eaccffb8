package dispatch

import (
	"cmp"
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/serviceful/serviceful/operator/internal/bus"
	"github.com/serviceful/serviceful/operator/internal/delivery"
	"github.com/serviceful/serviceful/operator/internal/envelope"
	"github.com/serviceful/serviceful/operator/internal/event"
	"github.com/serviceful/serviceful/operator/internal/order"
	"github.com/serviceful/serviceful/operator/internal/wiring"
)

// session calls an ordered trigger's messages while the claim is had. It begins a
// call only while it is complete: it holds every message that the consumer has
// handed out and nobody has settled. So none is called before another one of its
// value that somebody else still has.
type session struct {
	o     *ordered
	sub   *wiring.Subscription                          // its stream and consumer are for good
	over  func() bool                                   // nothing new is called any more
	begin func(sub *wiring.Subscription, batch []*held) // a call, in a goroutine of its own
	busy  sync.WaitGroup                                // calls under way
	look  chan struct{}                                 // whether it is complete is to be looked at

	mu       sync.Mutex
	lanes    *order.Lanes[*held]
	last     uint64 // Delivery of the message that came last
	complete bool
	gaps     int                    // how often it was found not to be
	atWork   int                    // calls under way
	filling  time.Time              // since when a batch waits for others; zero: none does
	wake     *time.Timer            // for those that wait
	before   map[uint64]order.Tried // what the holder before knew of those that have not come yet
}

// held is a message from its arrival until it is settled.
type held struct {
	*bus.Delivered
	size   int64 // of its body
	kept   int64 // bytes of memory that it takes while it waits; 0: its content was dropped
	taken  int64 // bytes of memory that it takes while it is at work
	since  time.Time
	gone   bool // it is not in its stream any more
	acking bool // the server may have settled it already

	mu     sync.Mutex
	handed *bus.Delivered // the same as it was handed out last

	tried order.Tried
	try   envelope.Try // the last
}

func newSession(o *ordered, before map[uint64]order.Tried) *session {
	s := &session{o: o, sub: o.sub.Load(), lanes: order.NewLanes[*held](), look: make(chan struct{}, 1), before: before}
	s.wake = time.AfterFunc(time.Hour, s.goOn)
	s.wake.Stop()
	return s
}

// run is the session until waiting ends or the trigger is paused (nil), or the claim
// is lost or the consumer is not the same any more. When calling ends, calls under
// way are broken off.
func (s *session) run(waiting, calling context.Context) error {
	calling, uncall := context.WithCancelCause(calling)
	defer uncall(nil)
	waiting, unwait := context.WithCancel(waiting)
	defer unwait()
	breakOff := func(err error) {
		uncall(err)
		unwait()
	}
	s.over = func() bool { return waiting.Err() != nil }
	s.begin = func(sub *wiring.Subscription, batch []*held) {
		s.busy.Go(func() { s.call(waiting, calling, sub, batch) })
	}
	pull, err := s.o.cfg.Source.Consume(calling, s.sub.Stream, s.sub.Consumer, askAhead, s.arrive)
	if err != nil {
		return err
	}
	var tending sync.WaitGroup
	tended, untend := context.WithCancel(context.WithoutCancel(calling))
	tending.Go(func() { s.o.keepClaim(tended, s.tried, breakOff) })
	tending.Go(func() { s.o.beat(tended, s.handed) })
	tending.Go(func() {
		if err := s.collect(tended); err != nil {
			breakOff(err)
		}
	})
	s.o.session.Store(s)
	s.goOn()
	s.untilPaused(waiting)
	s.o.session.Store(nil)
	unwait()
	s.rest()
	pull()
	s.busy.Wait()
	untend()
	tending.Wait()
	s.release()
	return context.Cause(calling)
}

// rest returns when all is counted that was about to be called when it was over.
func (s *session) rest() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wake.Stop()
}

// untilPaused waits until nothing new is to be called.
func (s *session) untilPaused(waiting context.Context) {
	for !s.o.sub.Load().Paused {
		select {
		case <-waiting.Done():
			return
		case <-s.o.changed:
		}
	}
}

// arrive takes a message in. One that was handed out to somebody else, or got lost
// on its way, shows by the gap that it leaves.
func (s *session) arrive(d *bus.Delivered) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d.Delivery != s.last+1 {
		s.incomplete()
	}
	s.last = d.Delivery
	if h, ok := s.lanes.Get(d.Sequence); ok {
		d.Drop()
		h.hand(d)
		return
	}
	if s.complete && d.Deliveries > 1 { // it was settled a moment ago, too late to stop it
		_ = d.Ack()
		return
	}
	tried := s.before[d.Sequence]
	h := &held{Delivered: d, handed: d, size: int64(len(d.Body)), since: time.Now(), tried: tried, try: envelope.Try{Broke: tried.Broke}}
	delete(s.before, d.Sequence)
	value := s.value(d)
	if s.o.memory.keep(perHeld + h.size) {
		h.kept = perHeld + h.size
	} else {
		d.Drop()
	}
	s.lanes.Add(d.Sequence, value, h)
	s.advance()
}

// value is that of the attribute that the trigger is ordered by, however it is
// spelled. What the filters do not let pass is not called, and waits for nothing.
func (s *session) value(d *bus.Delivered) string {
	sub := s.o.sub.Load()
	if sub.Match != nil && !sub.Match(event.FromStored(d.Header, d.Body)) {
		return ""
	}
	return strings.Clone(event.Decode(d.Header.Get(event.HeaderName(sub.OrderBy))))
}

// goOn begins what may be called.
func (s *session) goOn() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.advance()
}

// advance begins what may be called now, and has the rest be looked at in time. mu
// is held.
func (s *session) advance() {
	sub, now, filled := s.o.sub.Load(), time.Now(), time.Time{}
	for s.complete && !s.over() && s.atWork < sub.Concurrency {
		if filled = s.fills(sub, now); !filled.IsZero() {
			break
		}
		batch := s.gather(sub, now)
		if len(batch) == 0 {
			break
		}
		s.atWork++
		s.begin(sub, batch)
	}
	at := s.lanes.Wake()
	if at.IsZero() || !filled.IsZero() && filled.Before(at) {
		at = filled
	}
	if !at.IsZero() && s.complete && !s.over() {
		s.wake.Reset(time.Until(at))
	}
}

// fills returns until when a batch that is not full waits for others; zero: it
// does not.
func (s *session) fills(sub *wiring.Subscription, now time.Time) time.Time {
	n := s.lanes.Ready(now)
	switch {
	case n == 0 || n >= sub.Batch.Size:
		s.filling = time.Time{}
		return time.Time{}
	case s.filling.IsZero():
		s.filling = now
	}
	until := s.filling.Add(cmp.Or(sub.Batch.Window, linger))
	if !until.After(now) || s.o.memory.tight() {
		s.filling = time.Time{}
		return time.Time{}
	}
	return until
}

// gather takes the messages of a call out of their lanes: one, or with batches
// several, each of another value. One that was called before goes alone.
func (s *session) gather(sub *wiring.Subscription, now time.Time) (batch []*held) {
	for bytes := int64(0); len(batch) < max(1, sub.Batch.Size); {
		h, ok := s.lanes.Next(now)
		if !ok {
			break
		}
		if len(batch) > 0 && (h.alone() || bytes+h.size > batchBytes) {
			s.lanes.Again(h.Sequence, now)
			break
		}
		s.o.memory.unkeep(h.kept)
		h.kept = 0
		if h.taken = sizeOf(sub, h.size); !s.o.memory.take(h.taken) {
			h.Drop()
			s.lanes.Again(h.Sequence, now.Add(busyPause))
			break
		}
		batch, bytes = append(batch, h), bytes+h.size
		if h.alone() {
			break
		}
	}
	return batch
}

// call makes one call with messages: each is settled then, or waits in its place.
func (s *session) call(waiting, calling context.Context, sub *wiring.Subscription, batch []*held) {
	jobs := make([]*job, len(batch))
	var prepared []*job
	for i, h := range batch {
		jobs[i] = &job{Delivered: h.Delivered, sub: sub, taken: time.Now(), held: h}
		if s.fetch(calling, h) {
			s.o.cfg.Meter.Begin(sub)
			if s.o.prepare(calling, jobs[i]) {
				prepared = append(prepared, jobs[i])
			}
		}
	}
	if len(prepared) > 0 {
		s.o.deliver(waiting, calling, prepared)
	}
	s.mu.Lock()
	s.atWork-- // another call may be made while the server is told how these ended
	s.advance()
	s.mu.Unlock()
	var ending sync.WaitGroup
	for _, j := range jobs[1:] {
		ending.Go(func() { s.leave(calling, j) })
	}
	s.leave(calling, jobs[0])
	ending.Wait()
}

// fetch reads what was dropped of a message that waited. It reports whether the
// message is whole.
func (s *session) fetch(calling context.Context, h *held) bool {
	if h.Header != nil {
		return true
	}
	err := h.Fetch(calling, s.sub.Stream)
	if h.gone = errors.Is(err, bus.ErrNotFound); h.gone {
		s.o.log.Warn("a message that waited for its turn is not in its stream any more", "sequence", h.Sequence)
	}
	return err == nil
}

// leave is the end of a message's turn, whatever became of it.
func (s *session) leave(calling context.Context, j *job) {
	h, again := j.held, time.Time{}
	if h.Header != nil {
		s.o.cfg.Meter.End(j.sub, j.attempt())
	}
	switch {
	case !h.gone && !j.settled:
		again = time.Now().Add(busyPause)
	case !h.gone && j.verdict.Action == delivery.Retry:
		h.note(j)
		again = time.Now().Add(j.verdict.Delay)
	case !s.settled(calling, h):
		again = time.Now().Add(busyPause)
	}
	s.o.memory.give(h.taken)
	s.mu.Lock()
	defer s.mu.Unlock()
	if again.IsZero() {
		s.lanes.Done(h.Sequence)
	} else {
		h.Drop()
		s.lanes.Again(h.Sequence, again)
	}
	s.advance()
}

// settled tells the server that a message is settled until it says that it knows:
// only then the next of its value is called, so that the order is the same to one
// who takes over. It reports whether the server has said so.
func (s *session) settled(calling context.Context, h *held) bool {
	s.mu.Lock()
	h.acking = true
	s.mu.Unlock()
	for {
		ctx, cancel := context.WithTimeout(calling, s.o.cfg.AckWait/renewals)
		err := h.latest().AckConfirmed(ctx)
		cancel()
		if err == nil || calling.Err() != nil {
			return err == nil
		}
		s.o.log.Debug("settling a message", "error", err)
		s.mu.Lock()
		s.incomplete() // the consumer may be another one
		s.mu.Unlock()
		sleep(calling, busyPause/10)
	}
}
