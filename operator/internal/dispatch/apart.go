package dispatch

import (
	"context"
	"sync"
	"time"

	"github.com/serviceful/serviceful/operator/internal/names"
)

// apartFor is how long a call that may kill its function has it from others that
// may, from the moment there is an instance.
const apartFor = 500 * time.Millisecond

// apart has the calls of a function that may kill it begin a few at a time. Those
// are the messages whose last call broke off: one of them may be at fault, and the
// others were beside it. Called together again, as all that waits for a new instance
// is, they would die with it.
//
// One is called first. Each that goes well makes room for one more, so that after a
// crash that was nobody's fault there are soon many; when a call breaks off, it
// begins anew with one.
type apart struct {
	mu    sync.Mutex
	lines map[names.Function]*line
}

// line is what waits for its turn on one function.
type line struct {
	turn chan struct{} // had by the first of those that wait
	left chan struct{} // tells it that another one has left

	mu     sync.Mutex
	room   int // for calls inside
	inside int // those that have not gone well yet; one that is alone takes all the room
	breaks int // calls that broke off
}

func (a *apart) line(f names.Function) *line {
	a.mu.Lock()
	defer a.mu.Unlock()
	l := a.lines[f]
	if l == nil {
		l = &line{turn: make(chan struct{}, 1), left: make(chan struct{}, 1), room: 1}
		a.lines[f] = l
	}
	return l
}

// broke notes that a call of a function broke off.
func (a *apart) broke(f names.Function) {
	l := a.line(f)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.breaks++
	l.room = 1
}

// enter waits until it is the turn of a call: alone, or beside as many others as
// there is room for. leave says that it has gone well or has ended; it may be called
// more than once. It fails only when ctx ends.
func (a *apart) enter(ctx context.Context, f names.Function, alone bool) (leave func(), err error) {
	l := a.line(f)
	select {
	case l.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-l.turn }()
	for {
		if leave = l.admit(alone); leave != nil {
			return leave, nil
		}
		select {
		case <-l.left:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// admit lets a call in if there is room for it; else leave is nil.
func (l *line) admit(alone bool) (leave func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	size, breaks := 1, l.breaks
	if alone {
		size = l.room
	}
	if l.inside+size > l.room {
		return nil
	}
	l.inside += size
	return sync.OnceFunc(func() { l.leave(size, breaks) })
}

// leave ends what admit began; breaks is how many there were then.
func (l *line) leave(size, breaks int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.inside -= size
	if breaks == l.breaks {
		l.room++
	}
	select {
	case l.left <- struct{}{}:
	default: // it is told already
	}
}
