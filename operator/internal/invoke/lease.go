package invoke

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/serviceful/serviceful/operator/internal/names"
)

// Lease is the right to make one call to a function. Release must be called
// once, when the call has ended; until then the instance is neither stopped as
// idle nor counted as free.
type Lease struct {
	Address string          // "host:port" that accepts plain HTTP/1.1
	Header  http.Header     // what the way there needs, set on the request; nil: nothing
	Ready   <-chan struct{} // closed once there is a ready instance; nil: there is one
	// Refusals are the bodies of a 503 by which a server on the way says that it
	// did not pass the request on; nil: there is no server on the way.
	Refusals map[string]bool
	Release  func()
}

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
	started func() bool
	stop    func()
	cancel  context.CancelCauseFunc
}

// Bound bounds a call: the context ends timeout after there is a ready instance,
// with the cause ErrTimeout, or StartLimit from now without one, with the cause
// ErrNotStarted. End must be called.
func (l Lease) Bound(parent context.Context, timeout time.Duration) (context.Context, Bound) {
	ctx, cancel := context.WithCancelCause(parent)
	if l.Ready == nil {
		timer := time.AfterFunc(timeout, func() { cancel(ErrTimeout) })
		return ctx, Bound{func() bool { return true }, func() { timer.Stop() }, cancel}
	}
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
		limit.Reset(timeout)
		select {
		case <-limit.C:
			cancel(ErrTimeout)
		case <-stopped.Done():
		}
	}()
	return ctx, Bound{func() bool { return closed(l.Ready) }, stop, cancel}
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
func (b Bound) Started() bool { return b.started() }

// Stop lets the call go on for as long as it takes: its answer has begun.
func (b Bound) Stop() { b.stop() }

// End ends the call and its context.
func (b Bound) End() {
	b.stop()
	b.cancel(nil)
}

// notCalled reports whether an answer shows that the function was not called: on
// the way to it somebody else answered. A bad gateway's status is such a sign
// while no instance was ready, and so is what the way's own servers say.
func (l Lease) notCalled(b Bound, status int, body []byte) bool {
	switch status {
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
	default:
		return false
	}
	return !b.Started() || status == http.StatusServiceUnavailable && l.Refusals[string(bytes.TrimSpace(body))]
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
