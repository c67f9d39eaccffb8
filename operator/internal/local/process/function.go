package process

import (
	"cmp"
	"container/list"
	"context"
	"fmt"
	"reflect"
	"sync"
	"time"

	"github.com/serviceful/serviceful/operator/internal/invoke"
	"github.com/serviceful/serviceful/operator/internal/names"
)

const (
	// defaultIdle is Program.Idle when it is not set.
	defaultIdle = 60 * time.Second
	// firstPause and longestPause bound the time, doubling, in which a function
	// that failed to start answers its last failure instead of starting again.
	firstPause   = 100 * time.Millisecond
	longestPause = 5 * time.Second
	// revive is how long a function with a minimum stays down after its process
	// died, unless a call comes first.
	revive = time.Second
	// inARow is how many calls that go first may do so while others wait.
	inARow = 4
)

// Program is what to run for a function.
type Program struct {
	// Argv is the program and its arguments, at least one element.
	Argv []string
	// Dir is the working directory, an absolute path.
	Dir string
	// Env holds the manifest's variables as NAME=value.
	Env []string
	// Concurrency is how many calls the process gets at once; 0 means no limit.
	Concurrency int
	// Idle is how long the process stays without a lease; 0 means 60 s.
	Idle time.Duration
	// Min above 0 starts the process at once and never stops it as idle.
	Min int
	// Revision is the process's K_REVISION.
	Revision string
}

// function is one function: its program, the process that new calls go to, and
// the calls that wait for it. While calls wait, the process has no free slot.
type function struct {
	world *Processes
	name  names.Function
	label label

	mu       sync.Mutex
	program  *Program     // nil: refusal says why
	refusal  error        // what Acquire answers while there is no program
	live     *instance    // what new calls go to; nil while there is none
	starting *attempt     // the start in progress, if any
	waiters  [2]list.List // of *waiter, the oldest first: those of first and of later
	row      int          // calls that went first since one of later got a slot

	timer    *time.Timer // idle time of the live process, or revival of a missing one
	armed    bool
	lastUsed time.Time // when the live process last came to have no lease

	pause   time.Duration // after the last failed start; 0 after a good one
	resume  time.Time     // end of that pause
	failure error         // what Acquire answers during it
}

// attempt is one start in progress; its identity tells whether the function
// still wants what comes of it.
type attempt struct{ cancel context.CancelFunc }

// turn says which calls go first when a slot becomes free.
type turn int

const (
	first turn = iota // somebody waits for the answer
	later             // it may take its time
)

// waiter is one call that waits for a slot; it gets one answer.
type waiter struct {
	granted chan invoke.Lease // buffered, so that granting never blocks
	refused chan error        // buffered
}

func (f *function) acquire(ctx context.Context, t turn) (invoke.Lease, error) {
	f.mu.Lock()
	if f.live != nil {
		if s := f.live.take(); s != nil {
			f.mu.Unlock()
			return s.lease, nil
		}
	}
	element, err := f.enqueue(t)
	f.mu.Unlock()
	if err != nil {
		return invoke.Lease{}, err
	}
	w := element.Value.(*waiter)
	select {
	case lease := <-w.granted:
		return lease, nil
	case err := <-w.refused:
		return invoke.Lease{}, err
	case <-ctx.Done():
		f.abandon(element, t)
		return invoke.Lease{}, fmt.Errorf("waiting for function %s: %w", f.name, ctx.Err())
	}
}

// enqueue adds a waiter and starts the process if there is none.
func (f *function) enqueue(t turn) (*list.Element, error) {
	if f.live == nil && f.starting == nil && f.program != nil {
		if time.Now().Before(f.resume) {
			return nil, f.failure
		}
		f.start()
	}
	if f.refusal != nil {
		return nil, f.refusal
	}
	return f.waiters[t].PushBack(&waiter{granted: make(chan invoke.Lease, 1), refused: make(chan error, 1)}), nil
}

// abandon takes back a waiter whose caller has gone, or the lease it got meanwhile.
func (f *function) abandon(element *list.Element, t turn) {
	f.mu.Lock()
	f.waiters[t].Remove(element) // does nothing if it was answered
	f.mu.Unlock()
	select {
	case lease := <-element.Value.(*waiter).granted:
		lease.Release()
	default:
	}
}

func (f *function) waiting() int { return f.waiters[first].Len() + f.waiters[later].Len() }

// next takes the waiter whose turn it is; there must be one. The oldest of first
// is before all of later, but only inARow times: nobody is to wait for ever.
func (f *function) next() *waiter {
	t := first
	if f.waiters[first].Len() == 0 || f.waiters[later].Len() > 0 && f.row >= inARow {
		t = later
	}
	if f.row++; t == later || f.waiters[later].Len() == 0 {
		f.row = 0
	}
	return f.waiters[t].Remove(f.waiters[t].Front()).(*waiter)
}

func (f *function) refuse(err error) {
	for f.waiting() > 0 {
		f.next().refused <- err
	}
}

// release gives s to the next waiter, or puts it back.
func (f *function) release(s *slot) {
	f.mu.Lock()
	defer f.mu.Unlock()
	i := s.instance
	if i == f.live && f.waiting() > 0 {
		f.next().granted <- s.lease
		return
	}
	i.free = append(i.free, s)
	switch {
	case i.inFlight() > 0:
	case i == f.live:
		f.quiet()
	default:
		i.terminate()
	}
}

// set makes program the function's program.
func (f *function) set(program Program) {
	program.Idle = cmp.Or(program.Idle, defaultIdle)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.program != nil && reflect.DeepEqual(*f.program, program) {
		return
	}
	f.retire()
	f.program, f.refusal = &program, nil
	f.pause, f.resume = 0, time.Time{}
	if program.Min > 0 || f.waiting() > 0 {
		f.start()
	}
}

func (f *function) fail(err *invoke.StartError) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.program == nil {
		f.refusal = err
	}
}

// clear takes the program away, for the reason err.
func (f *function) clear(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.retire()
	f.program, f.refusal = nil, err
	f.refuse(err)
}

// retire ends the start in progress, and the live process as soon as it has no lease.
func (f *function) retire() {
	f.timer.Stop()
	f.armed = false
	if f.starting != nil {
		f.starting.cancel()
		f.starting = nil
	}
	if i := f.live; i != nil {
		f.live = nil
		if i.inFlight() == 0 {
			i.terminate()
		}
	}
}

// start begins a start of the current program. Whoever waits is answered at its end.
func (f *function) start() {
	if !f.world.enter() {
		f.program, f.refusal = nil, ErrStopped
		f.refuse(ErrStopped)
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	a := &attempt{cancel: cancel}
	f.starting = a
	go f.bringUp(ctx, a, f.program)
}

// bringUp launches a process and gives it to those who wait, unless the function
// has moved on meanwhile.
func (f *function) bringUp(ctx context.Context, a *attempt, program *Program) {
	defer f.world.running.Done()
	defer a.cancel()
	i, err := f.world.launch(ctx, f, program)

	f.mu.Lock()
	defer f.mu.Unlock()
	if f.starting != a {
		if i != nil {
			i.terminate()
		}
		return
	}
	f.starting = nil
	if err == nil && i.dead {
		err = i.exitError()
	}
	if err != nil {
		f.startFailed(err)
		return
	}
	f.live, f.pause, f.failure = i, 0, nil
	for f.waiting() > 0 {
		s := i.take()
		if s == nil {
			return
		}
		f.next().granted <- s.lease
	}
	if i.inFlight() == 0 {
		f.quiet()
	}
}

func (f *function) startFailed(err error) {
	f.pause = min(max(2*f.pause, firstPause), longestPause)
	f.resume, f.failure = time.Now().Add(f.pause), err
	f.refuse(err)
	f.world.config.Logger.Warn("function did not start", "function", f.name, "error", err)
	if f.program.Min > 0 {
		f.arm(max(f.pause, revive))
	}
}

// ended notes that the process of i is gone.
func (f *function) ended(i *instance) {
	f.mu.Lock()
	defer f.mu.Unlock()
	i.dead = true
	if f.live != i {
		return
	}
	f.live = nil
	f.world.config.Logger.Warn("function died", "function", f.name, "pid", i.pid(), "status", i.exit())
	switch {
	case f.waiting() > 0:
		f.start()
	case f.program.Min > 0:
		f.arm(revive)
	}
}

// quiet begins the idle time. The timer is not moved at every release: tick finds
// out how much is left.
func (f *function) quiet() {
	f.lastUsed = time.Now()
	if f.program.Min == 0 && !f.armed {
		f.arm(f.program.Idle)
	}
}

func (f *function) arm(after time.Duration) {
	f.armed = true
	f.timer.Reset(after)
}

// tick stops a process that was idle long enough, or revives one that must run.
func (f *function) tick() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.armed = false
	switch {
	case f.program == nil:
	case f.live == nil:
		if f.program.Min > 0 && f.starting == nil {
			f.start()
		}
	case f.program.Min > 0 || f.live.inFlight() > 0:
	default:
		if left := f.program.Idle - time.Since(f.lastUsed); left > 0 {
			f.arm(left)
			return
		}
		f.world.config.Logger.Info("function is idle", "function", f.name, "pid", f.live.pid())
		f.retire()
	}
}
