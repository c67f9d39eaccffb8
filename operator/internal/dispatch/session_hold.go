package dispatch

import (
	"context"
	"errors"
	"time"

	"github.com/serviceful/serviceful/operator/internal/bus"
	"github.com/serviceful/serviceful/operator/internal/envelope"
	"github.com/serviceful/serviceful/operator/internal/order"
)

// hand notes how a message was handed out again.
func (h *held) hand(d *bus.Delivered) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.handed = d
}

// latest is the message as it was handed out last.
func (h *held) latest() *bus.Delivered {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.handed
}

// note keeps how far a message has come whose call has failed.
func (h *held) note(j *job) {
	h.mu.Lock()
	defer h.mu.Unlock()
	p := j.putOff()
	h.tried, h.try = order.Tried{Attempts: p.Attempts, Tries: p.Tries, Broke: p.Last.Broke}, p.Last
}

// progress adds to a message's progress how it went here, or with the holder
// before.
func (h *held) progress(p envelope.Progress) envelope.Progress {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.tried.Tries > p.Tries {
		p.Attempts, p.Tries, p.Last = h.tried.Attempts, h.tried.Tries, h.try
	}
	return p
}

// alone reports whether the message may share no call with others.
func (h *held) alone() bool { return h.progress(envelope.Progress{}).Alone() }

// tried is what the next holder of the claim has to know.
func (s *session) tried() map[uint64]order.Tried {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[uint64]order.Tried{}
	for sequence, t := range s.before {
		out[sequence] = t
	}
	for h := range s.lanes.All() {
		h.mu.Lock()
		if h.tried.Tries > 0 {
			out[h.Sequence] = h.tried
		}
		h.mu.Unlock()
	}
	return out
}

// handed are the messages that are held since before a time, each as it was handed
// out last.
func (s *session) handed(before time.Time) (all []*bus.Delivered) {
	for _, h := range s.all() {
		if h.since.Before(before) {
			all = append(all, h.latest())
		}
	}
	return all
}

func (s *session) all() []*held {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]*held, 0, s.lanes.Len())
	for h := range s.lanes.All() {
		all = append(all, h)
	}
	return all
}

// release hands back what is not settled.
func (s *session) release() {
	for _, h := range s.all() {
		s.o.memory.unkeep(h.kept)
		_ = h.latest().Release() // a lost one is delivered again after AckWait
	}
}

// errConsumerGone is why a session ends whose messages are another consumer's.
var errConsumerGone = errors.New("the trigger's consumer was removed and made again")

// incomplete has nothing new be called until it is known that the session holds
// all that was handed out. mu is held.
func (s *session) incomplete() {
	s.complete = false
	s.gaps++
	select {
	case s.look <- struct{}{}:
	default:
	}
}

// collect finds out whether the session is complete, whenever it is not, until ctx
// ends.
func (s *session) collect(ctx context.Context) error {
	var made time.Time
	pause := min(s.o.cfg.AckWait/50, 100*time.Millisecond)
	for {
		s.mu.Lock()
		gaps := s.gaps
		s.mu.Unlock()
		out, err := s.o.cfg.Source.Outstanding(ctx, s.sub.Stream, s.sub.Consumer)
		switch {
		case err != nil:
			s.o.log.Debug("looking whether another one has messages", "error", err)
		case !made.IsZero() && !made.Equal(out.Made):
			return errConsumerGone
		default:
			made = out.Made
		}
		if err == nil && s.completes(out, gaps) {
			select {
			case <-ctx.Done():
				return nil
			case <-s.look:
				continue
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
	}
}

// completes reports whether the session holds all that the consumer had handed out
// then, when it had seen so many gaps. Only what had been handed out by then
// counts, and only what is surely not settled.
func (s *session) completes(out bus.Outstanding, gaps int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if gaps != s.gaps {
		return false
	}
	n := 0
	for h := range s.lanes.All() {
		if !h.acking && h.latest().Delivery <= out.Delivery {
			n++
		}
	}
	if n < out.Count {
		return false
	}
	if !s.complete {
		s.complete = true
		s.last = max(s.last, out.Delivery)
		clear(s.before)
		s.advance()
	}
	return true
}
