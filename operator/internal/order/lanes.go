package order

import (
	"container/heap"
	"iter"
	"slices"
	"time"
)

// Lanes hold the messages of an ordered trigger that are not settled. Those of
// equal values are in one lane: only the first of a lane may be called, and while
// it is, or waits to be called again, the lane stands still. They are not for
// concurrent use.
type Lanes[T any] struct {
	held    map[uint64]*place[T]
	lanes   map[string]*lane[T] // of values
	ready   lanesBy[T]          // whose first may be called, by its sequence
	waiting lanesBy[T]          // whose first waits, by the time it waits for
}

// place is a message's place in its lane.
type place[T any] struct {
	sequence uint64
	item     T
	lane     *lane[T]
	until    time.Time // it is not called before
}

type lane[T any] struct {
	value  string // "": of a single message that has none
	queue  []*place[T]
	atWork bool        // one of the queue is
	in     *lanesBy[T] // nil: it stands still
	at     int         // where in it
}

// NewLanes are Lanes without a message.
func NewLanes[T any]() *Lanes[T] {
	return &Lanes[T]{
		held: map[uint64]*place[T]{}, lanes: map[string]*lane[T]{},
		ready:   lanesBy[T]{less: func(a, b *place[T]) bool { return a.sequence < b.sequence }},
		waiting: lanesBy[T]{less: func(a, b *place[T]) bool { return a.until.Before(b.until) }},
	}
}

// Add gives a message its place: in its value's lane by its stream sequence; one
// without a value ("") has a lane of its own. It reports whether the message is
// new; one that is held already stays as it is.
func (l *Lanes[T]) Add(sequence uint64, value string, item T) bool {
	if l.held[sequence] != nil {
		return false
	}
	in := l.lanes[value]
	if in == nil {
		in = &lane[T]{value: value}
		if value != "" {
			l.lanes[value] = in
		}
	}
	p := &place[T]{sequence: sequence, item: item, lane: in}
	l.held[sequence] = p
	at := len(in.queue) // nearly always the last
	for at > 0 && in.queue[at-1].sequence > sequence {
		at--
	}
	in.queue = slices.Insert(in.queue, at, p)
	if at == 0 {
		l.put(in)
	}
	return true
}

// Get is the message with a sequence, if it is held.
func (l *Lanes[T]) Get(sequence uint64) (item T, ok bool) {
	if p := l.held[sequence]; p != nil {
		return p.item, true
	}
	return item, false
}

// Ready is how many messages may be called now, each of another value.
func (l *Lanes[T]) Ready(now time.Time) int {
	for len(l.waiting.lanes) > 0 && !l.waiting.first().until.After(now) {
		in := l.waiting.lanes[0]
		in.queue[0].until = time.Time{}
		l.put(in)
	}
	return len(l.ready.lanes)
}

// Next is the message to call now, the one with the lowest sequence that may be.
// It is at work until Done or Again.
func (l *Lanes[T]) Next(now time.Time) (item T, ok bool) {
	if l.Ready(now) == 0 {
		return item, false
	}
	in := l.ready.lanes[0]
	in.atWork = true
	l.put(in)
	return in.queue[0].item, true
}

// Wake is when the next of those that wait may be called; zero: none waits.
func (l *Lanes[T]) Wake() time.Time {
	if len(l.waiting.lanes) == 0 {
		return time.Time{}
	}
	return l.waiting.first().until
}

// Done ends a message that was at work: the next of its value may go.
func (l *Lanes[T]) Done(sequence uint64) {
	p := l.held[sequence]
	delete(l.held, sequence)
	in := p.lane
	at := slices.Index(in.queue, p)
	if at == 0 {
		in.queue[0] = nil // for the collector
		in.queue = in.queue[1:]
	} else {
		in.queue = slices.Delete(in.queue, at, at+1)
	}
	in.atWork = false
	if len(in.queue) == 0 {
		delete(l.lanes, in.value)
		return
	}
	l.put(in)
}

// Again has a message that was at work wait in its place, until a time at least.
func (l *Lanes[T]) Again(sequence uint64, until time.Time) {
	p := l.held[sequence]
	p.until, p.lane.atWork = until, false
	l.put(p.lane)
}

// Len is how many are held.
func (l *Lanes[T]) Len() int { return len(l.held) }

// All are those that are held, unordered.
func (l *Lanes[T]) All() iter.Seq[T] {
	return func(yield func(T) bool) {
		for _, p := range l.held {
			if !yield(p.item) {
				return
			}
		}
	}
}

// put has a lane stand where its first message wants it.
func (l *Lanes[T]) put(in *lane[T]) {
	want := &l.ready
	switch {
	case in.atWork:
		want = nil
	case !in.queue[0].until.IsZero():
		want = &l.waiting
	}
	if in.in != nil {
		heap.Remove(in.in, in.at)
	}
	if in.in = want; want != nil {
		heap.Push(want, in)
	}
}

// lanesBy is a heap of lanes by their first messages.
type lanesBy[T any] struct {
	less  func(a, b *place[T]) bool
	lanes []*lane[T]
}

func (h *lanesBy[T]) first() *place[T]   { return h.lanes[0].queue[0] }
func (h *lanesBy[T]) Len() int           { return len(h.lanes) }
func (h *lanesBy[T]) Less(i, j int) bool { return h.less(h.lanes[i].queue[0], h.lanes[j].queue[0]) }
func (h *lanesBy[T]) Swap(i, j int) {
	h.lanes[i], h.lanes[j] = h.lanes[j], h.lanes[i]
	h.lanes[i].at, h.lanes[j].at = i, j
}

func (h *lanesBy[T]) Push(x any) {
	in := x.(*lane[T])
	in.at = len(h.lanes)
	h.lanes = append(h.lanes, in)
}

func (h *lanesBy[T]) Pop() any {
	last := len(h.lanes) - 1
	in := h.lanes[last]
	h.lanes[last] = nil
	h.lanes = h.lanes[:last]
	return in
}
