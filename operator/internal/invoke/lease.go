package invoke

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/serviceful/serviceful/operator/internal/delivery"
	"github.com/serviceful/serviceful/operator/internal/names"
)

// Lease is the right to make one call to a function. Release must be called
// once, when the call has ended; until then the instance is neither stopped as
// idle nor counted as free.
type Lease struct {
	Address string          // "host:port" that accepts plain HTTP/1.1
	Header  http.Header     // what the way there needs, set on the request; nil: nothing
	Ready   <-chan struct{} // closed once there is a ready instance; nil: there is one
	// Ended is closed when the instance has ended; nil: that is not known.
	Ended <-chan struct{}
	// Way reads an answer that may be of a server on the way; nil: there is none.
	Way     func(status int, body string) Sign
	Release func()
}

// Sign is what an answer says of how the request fared on its way.
type Sign int

const (
	// Arrived: the answer is the function's.
	Arrived Sign = iota
	// NotPassedOn: a server on the way did not pass the request on.
	NotPassedOn
	// BrokeOff: a server on the way had no answer, for its connection to the function broke.
	BrokeOff
)

// StartLimit is how long the start of an instance may take that the request
// itself waits for.
const StartLimit = 300 * time.Second

// Causes of the end of a bounded call's context.
var (
	// ErrTimeout is used when the function had a ready instance for the whole
	// of its timeout and did not answer.
	ErrTimeout = errors.New("no answer within its timeout")
	// ErrNotStarted is used when there was no ready instance within StartLimit.
	// The function has not been called.
	ErrNotStarted = errors.New("no instance was ready within 5 minutes")
)

// Bound is what ends one call in time.
type Bound struct {
	ready  func() (since time.Time, is bool) // since the call began, where there was no instance
	stop   func()
	cancel context.CancelCauseFunc
}

// Bound bounds a call: the context ends timeout after there is a ready instance,
// with the cause ErrTimeout, or StartLimit from now without one, with the cause
// ErrNotStarted. End must be called.
func (l Lease) Bound(parent context.Context, timeout time.Duration) (context.Context, Bound) {
	ctx, cancel := context.WithCancelCause(parent)
	began := time.Now()
	if l.Ready == nil {
		timer := time.AfterFunc(timeout, func() { cancel(ErrTimeout) })
		return ctx, Bound{func() (time.Time, bool) { return began, true }, func() { timer.Stop() }, cancel}
	}
	var since atomic.Pointer[time.Time]
	since.Store(&began)
	stopped, stop := context.WithCancel(ctx)
	go func() {
		limit := time.NewTimer(StartLimit)
		defer limit.Stop()
		select {
		case <-l.Ready:
		case <-limit.C:
			cancel(ErrNotStarted)
			return
		case <-stopped.Done():
			return
		}
		now := time.Now()
		since.Store(&now)
		limit.Reset(timeout)
		select {
		case <-limit.C:
			cancel(ErrTimeout)
		case <-stopped.Done():
		}
	}()
	return ctx, Bound{func() (time.Time, bool) { return *since.Load(), closed(l.Ready) }, stop, cancel}
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// Started reports whether there was a ready instance at some time of the call.
func (b Bound) Started() bool {
	_, is := b.ready()
	return is
}

// lasted is how long the call has had an instance; of one that is not known to have
// had one, how long it has lasted.
func (b Bound) lasted() time.Duration {
	since, _ := b.ready()
	return max(time.Since(since), 1)
}

// Stop lets the call go on for as long as it takes: its answer has begun.
func (b Bound) Stop() { b.stop() }

// End ends the call and its context.
func (b Bound) End() {
	b.stop()
	b.cancel(nil)
}

// endedSoon is how long after its connections a process may be seen to have ended.
const endedSoon = 500 * time.Millisecond

// noteBreak notes in the outcome of a call that its connection broke, unless it was
// the call's end that broke it; and whether it was that of the instance, as far as
// that is known.
func (l Lease) noteBreak(ctx context.Context, b Bound, o *delivery.Outcome) {
	if ctx.Err() != nil {
		return
	}
	o.Broke, o.Died = b.lasted(), true
	if l.Ended == nil {
		return
	}
	select {
	case <-l.Ended:
	case <-ctx.Done():
		o.Died = false
	case <-time.After(endedSoon):
		o.Died = false
	}
}

// sign reads an answer. A gateway's status while no instance was ready is not the
// function's, and what the way's own servers say is not either.
func (l Lease) sign(b Bound, status int, body []byte) Sign {
	switch status {
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
	default:
		return Arrived
	}
	if !b.Started() {
		return NotPassedOn
	}
	if l.Way == nil {
		return Arrived
	}
	return l.Way(status, string(bytes.TrimSpace(body)))
}

// StartReason says why a function could not be brought to a ready instance.
type StartReason string

const (
	// Exited: the process ended before it listened on its port.
	Exited StartReason = "Exited"
	// NeverListened: the process runs, but nothing accepted on its port within
	// the time a start may take.
	NeverListened StartReason = "NeverListened"
	// NotBuilt: there is nothing to start, because the build failed.
	NotBuilt StartReason = "NotBuilt"
	// Unknown: no function of that name is in this world.
	Unknown StartReason = "Unknown"
)

// StartError is returned by a world's Acquire when the function has no ready
// instance and could not be given one. The function has not been called.
type StartError struct {
	Function names.Function
	Reason   StartReason
	Detail   string   // one sentence for a person: the exit status, the time waited, the build's first error
	Lines    []string // the last lines the process wrote, at most 20
}

func (e *StartError) Error() string {
	s := fmt.Sprintf("function %s did not start: %s", e.Function, e.Detail)
	if len(e.Lines) > 0 {
		s += "; its last lines:\n  " + strings.Join(e.Lines, "\n  ")
	}
	return s
}
