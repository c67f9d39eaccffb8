package delivery

import (
	"math"
	"time"
)

// Defaults of a trigger's delivery, from the kind.
const (
	DefaultRetry         = 4
	DefaultBackoffDelay  = time.Second
	DefaultMaxAge        = 6 * time.Hour
	DefaultRetryAfterMax = MaxDelay
)

// MaxDelay caps the time between two calls, whatever the policy says.
const MaxDelay = 5 * time.Minute

// maxUncalledDelay caps the pause after a try that was no attempt, so that a message
// goes out soon after its function is mended.
const maxUncalledDelay = 30 * time.Second

// Source is what kind of message a policy delivers. It decides what a status
// means, not how a message travels.
type Source int

const (
	// Event: a CloudEvent. 404 and 409 are retried, as in Knative; any other 3xx
	// or 4xx is final and the event is dead.
	Event Source = iota
	// Call: a stored HTTP request. Any 3xx or 4xx but 408 and 429 is an answer:
	// the call has failed with it.
	Call
	// Mail: a stored mail on its way to SMTP. What is final is dead.
	Mail
	// Change: a change of a bucket or an object store on its way to the event log.
	// It is not called for, but stored, for as long as that takes.
	Change
	// DueRetry: the copy of an event that is due again, on its way to the event log.
	// It is not called for there either, but stored.
	DueRetry
)

// Policy is how one trigger's messages are delivered.
type Policy struct {
	Source        Source
	Retry         int           // further calls after the first
	Linear        bool          // delays grow by Delay each time instead of doubling
	Delay         time.Duration // of the first retry, before jitter
	Timeout       time.Duration // of one call, from the moment there is a ready instance
	RetryAfterMax time.Duration // the longest Retry-After that is honoured; 0: none
	MaxAge        time.Duration // dead without another call when this long past due
}

// backoff is the longest pause before the nth further call, n counting from 1.
func (p Policy) backoff(n int) time.Duration {
	d := float64(p.Delay) * float64(n)
	if !p.Linear {
		d = math.Ldexp(float64(p.Delay), n-1)
	}
	return time.Duration(min(d, float64(MaxDelay)))
}
