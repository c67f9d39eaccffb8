package delivery

import (
	"fmt"
	"net/http"
	"strings"
	"time"
)

// Message is what a policy has to know of a message.
type Message struct {
	Attempts int       // calls made before this one that count
	Tries    int       // how often it was put off before, called or not
	Due      time.Time // when it was first due
	Problem  string    // of the last try; "" where there was none
}

// Outcome is what happened when a message was handed to its function.
type Outcome struct {
	Called     bool          // the function got the request, or may have
	Status     int           // of its answer; 0 where there was none
	Problem    string        // in one sentence, what went wrong; "" after a good answer
	RetryAfter time.Duration // of its answer; 0 where there was none
	Broke      time.Duration // how long the function was at work when the connection broke; 0: it did not
	Died       bool          // the connection broke because the instance ended, or may have
	Excused    bool          // so it did, and another message is at fault: the call does not count
	Refused    string        // why the events in a 2xx answer may not be published; "" where they may
}

// counts reports whether there was a call that counts as an attempt.
func (o Outcome) counts() bool { return o.Called && !o.Excused }

// Action is what is done with a message.
type Action int

const (
	// Succeed: it is done.
	Succeed Action = iota
	// Retry: a copy is stored, due after Delay, and the message is done.
	Retry
	// Fail: a call is done, with an answer that says it failed.
	Fail
	// Die: it is stored as a dead letter and done.
	Die
)

// Reasons of a dead letter.
const (
	ReasonRetriesUsedUp  = "RetriesUsedUp"  // every call that the policy allows was made
	ReasonMaxAge         = "MaxAge"         // it was not done maxAge after it was due
	ReasonRejected       = "Rejected"       // a final status: calling again would not help
	ReasonEmitRefused    = "EmitRefused"    // the answer held an event that is malformed or not in emits
	ReasonMalformed      = "Malformed"      // the stored message cannot be read
	ReasonTriggerRemoved = "TriggerRemoved" // its trigger or Function was removed
	ReasonTooLarge       = "TooLarge"       // what it leaves behind is larger than the message store takes
	ReasonLoopDetected   = "LoopDetected"   // it is more than MaxHops from its first cause
)

// Verdict is what becomes of a message, and why.
type Verdict struct {
	Action   Action
	Attempts int           // calls made that count, this one included
	Delay    time.Duration // before the next call; for Retry
	Reason   string        // for Die
	Message  string        // the last problem in one sentence; "" for Succeed
}

// Decide says what becomes of message m after outcome o at the time now. dice
// is a random number in [0,1) that spreads retries over their pause (full
// jitter: aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter).
func Decide(p Policy, m Message, o Outcome, now time.Time, dice float64) Verdict {
	v := Verdict{Attempts: m.Attempts, Message: o.Problem}
	if o.counts() {
		v.Attempts++
	}
	if v.Message == "" && (o.Status < 200 || o.Status > 299) {
		v.Message = strings.TrimSpace(fmt.Sprintf("the function answered %d %s", o.Status, http.StatusText(o.Status)))
	}
	if o.Excused {
		v.Message += "; another message, whose call broke off before, is held to be at fault: the call does not count"
	}
	switch {
	case !o.counts():
		v.Action, v.Delay = Retry, uncalledDelay(p, m.Tries, dice)
	case o.Status >= 200 && o.Status <= 299 && o.Refused != "":
		v.Action, v.Reason, v.Message = Die, ReasonEmitRefused, o.Refused
	case o.Status >= 200 && o.Status <= 299:
		v.Action, v.Message = Succeed, ""
	case !retriable(p.Source, o.Status) && p.Source == Call:
		v.Action = Fail
	case !retriable(p.Source, o.Status):
		v.Action, v.Reason = Die, ReasonRejected
	case v.Attempts > p.Retry:
		v.Action, v.Reason = Die, ReasonRetriesUsedUp
	default:
		v.Action, v.Delay = Retry, calledDelay(p, v.Attempts, o.RetryAfter, dice)
	}
	if v.Action != Retry {
		return v
	}
	left := p.MaxAge - now.Sub(m.Due)
	if left >= 0 {
		v.Delay = min(v.Delay, left+overdue) // it is dead then, and not when a longer pause is over
		return v
	}
	v.Action, v.Delay, v.Reason = Die, 0, ReasonMaxAge
	if !o.counts() {
		v.Message = m.after(v.Message)
	}
	return v
}

// overdue is how long after its maxAge a message comes back to be given up.
const overdue = time.Millisecond

// Overdue reports whether m may not be called any more at the time now, and the
// verdict then.
func Overdue(p Policy, m Message, now time.Time) (Verdict, bool) {
	if now.Sub(m.Due) <= p.MaxAge {
		return Verdict{}, false
	}
	return Verdict{
		Action: Die, Attempts: m.Attempts, Reason: ReasonMaxAge,
		Message: m.after(fmt.Sprintf("it was due at %s, and maxAge is %s", m.Due.UTC().Format(time.RFC3339), p.MaxAge)),
	}, true
}

// after adds to a sentence what went wrong before.
func (m Message) after(sentence string) string {
	if m.Problem == "" || m.Problem == sentence {
		return sentence
	}
	return sentence + "; the last try: " + m.Problem
}

// Malformed is the verdict for a stored message that cannot be read.
func Malformed(err error) Verdict {
	return Verdict{Action: Die, Reason: ReasonMalformed, Message: err.Error()}
}

// TooLarge is what becomes of a message with verdict v whose copy or answered
// events are larger than the message store takes.
func TooLarge(v Verdict, err error) Verdict {
	return Verdict{Action: Die, Attempts: v.Attempts, Reason: ReasonTooLarge, Message: err.Error()}
}

// MaxHops is how many functions may be called on the way from a first cause to a
// message, or to a call of another function.
const MaxHops = 16

// Looped reports whether a message with so many hops, and attempts before it, may
// not be called, and the verdict then.
func Looped(hops, attempts int) (Verdict, bool) {
	if hops <= MaxHops {
		return Verdict{}, false
	}
	return Verdict{
		Action: Die, Attempts: attempts, Reason: ReasonLoopDetected,
		Message: fmt.Sprintf("it is %d hops from its first cause, and no more than %d may be: see which functions call each other in a circle, by events, queues or outcomes", hops, MaxHops),
	}, true
}

// retriable reports whether a call that ended with status (0: no answer) may be
// made again.
func retriable(s Source, status int) bool {
	switch {
	case status == 0, status >= 500, status == http.StatusRequestTimeout, status == http.StatusTooManyRequests:
		return true
	case status == http.StatusNotFound, status == http.StatusConflict:
		return s == Event
	case status < 200:
		return true // an interim status as the final one: a broken answer
	}
	return false
}

// calledDelay is the pause after attempts calls: jittered backoff, or longer
// where the function asked for it.
func calledDelay(p Policy, attempts int, retryAfter time.Duration, dice float64) time.Duration {
	d := jitter(p.backoff(attempts), dice)
	return max(d, min(retryAfter, p.RetryAfterMax))
}

// uncalledDelay is the pause after a try that was no attempt.
func uncalledDelay(p Policy, tries int, dice float64) time.Duration {
	return jitter(min(p.backoff(tries+1), maxUncalledDelay), dice)
}

func jitter(d time.Duration, dice float64) time.Duration {
	return time.Duration(float64(d) * dice)
}
