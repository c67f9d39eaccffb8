package dispatch

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/serviceful/serviceful/operator/internal/delivery"
	"github.com/serviceful/serviceful/operator/internal/names"
)

const (
	// watchLeast is for how long a call is watched that may kill its function, at least.
	watchLeast = 500 * time.Millisecond
	// watchMost bounds it: hundreds of long calls may break off by nobody's fault, and
	// those that have twice are watched one after the other.
	watchMost = 10 * time.Second
	// blameFor is for how long calls break off after the one that is at fault: they end
	// together, and their ends are noticed one by one.
	blameFor = time.Second
	// maxExcuses is how often in a row a call is excused: as often as a message at fault
	// is called again that has the usual retries. One that works for longer than it is
	// watched is dead in the end, too.
	maxExcuses = delivery.DefaultRetry
)

// errTaken is returned when it is not a call's turn, and it is not to wait for it.
var errTaken = errors.New("its last call broke off, as when a function ends in the middle of it, and so did those of others, which are called before it")

// apart has the calls of a function that may kill it begin a few at a time, and
// watches them. Those are the messages whose last call broke off: one of them may be
// at fault, and the others were beside it. Called together again, as all that waits
// for a new instance is, they would die with it.
//
// One is called first. Each that goes well makes room for one more, so that after a
// crash that was nobody's fault there are soon many; when a call breaks off, it
// begins anew with one. When calls break off together, those of them that are
// watched are held to be at fault, or all if none is.
type apart struct {
	mu    sync.Mutex
	lines map[names.Function]*line
}

// line is what waits for its turn on one function.
type line struct {
	turn chan struct{} // had by the first of those that wait
	left chan struct{} // tells it that another one has left

	mu      sync.Mutex
	room    int       // for calls that are watched
	watched int       // how many are; one that is alone takes all the room
	breaks  int       // calls that broke off
	blamed  time.Time // when a watched one did last
}

// watch is that of a call. nil: it is not watched.
type watch struct {
	line   *line
	size   int           // of its place
	breaks int           // of its line when it began
	length time.Duration // from the moment there is an instance
	over   bool
}

// newWatch is one for a call whose last one broke off after a while: for half as long
// again, since it does not take as long each time.
func newWatch(broke time.Duration) *watch {
	return &watch{length: min(broke+broke/2+watchLeast, watchMost)}
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

// broke notes that a call of a function broke off, and reports whether it is excused:
// the instance died, and another call is watched or broke off just before, and this one
// is not, for it is the first or has gone well for long enough. excuses is how many of
// its message's were before it, in a row.
func (a *apart) broke(f names.Function, w *watch, died bool, excuses int) (excused bool) {
	l := a.line(f)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.breaks++
	l.room = 1
	switch {
	case !died:
		return false
	case w != nil && !w.over:
		l.blamed = time.Now()
		return false
	}
	return excuses < maxExcuses && (l.watched > 0 || time.Since(l.blamed) < blameFor)
}

// enter begins to watch a call, whose last one broke off after a while, when it is its
// turn: alone, or beside as many others as there is room for. It waits for that, if it
// may, until ctx ends, and returns errTaken if it may not.
func (a *apart) enter(ctx context.Context, f names.Function, broke time.Duration, alone, wait bool) (*watch, error) {
	l, w := a.line(f), newWatch(broke)
	if !wait {
		return l.enterNow(w, alone)
	}
	select {
	case l.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-l.turn }()
	for {
		if l.admit(w, alone) {
			return w, nil
		}
		select {
		case <-l.left:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// enterNow lets a call in if it is its turn; else it fails with errTaken.
func (l *line) enterNow(w *watch, alone bool) (*watch, error) {
	select {
	case l.turn <- struct{}{}:
	default:
		return nil, errTaken
	}
	defer func() { <-l.turn }()
	if !l.admit(w, alone) {
		return nil, errTaken
	}
	return w, nil
}

// admit lets a call in if there is room for it, and reports whether there is.
func (l *line) admit(w *watch, alone bool) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	w.line, w.size, w.breaks = l, 1, l.breaks
	if alone {
		w.size = l.room
	}
	if l.watched+w.size > l.room {
		return false
	}
	l.watched += w.size
	return true
}

// last ends the watch when the call has gone well for long enough since there was an
// instance (nil: there is one), or has ended.
func (w *watch) last(ready, ended <-chan struct{}) {
	if ready != nil {
		select {
		case <-ready:
		case <-ended:
			return
		}
	}
	select {
	case <-time.After(w.length):
		w.leave(true)
	case <-ended:
	}
}

// leave ends the watch, if it is not over: the call has gone well, or it ended in
// another way and says nothing.
func (w *watch) leave(well bool) {
	if w == nil {
		return
	}
	l := w.line
	l.mu.Lock()
	defer l.mu.Unlock()
	if w.over {
		return
	}
	w.over = true
	l.watched -= w.size
	if well && w.breaks == l.breaks {
		l.room++
	}
	select {
	case l.left <- struct{}{}:
	default: // it is told already
	}
}
