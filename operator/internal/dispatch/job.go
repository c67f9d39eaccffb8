package dispatch

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/serviceful/serviceful/operator/internal/bus"
	"github.com/serviceful/serviceful/operator/internal/delivery"
	"github.com/serviceful/serviceful/operator/internal/envelope"
	"github.com/serviceful/serviceful/operator/internal/event"
	"github.com/serviceful/serviceful/operator/internal/invoke"
	"github.com/serviceful/serviceful/operator/internal/mail"
	"github.com/serviceful/serviceful/operator/internal/names"
	"github.com/serviceful/serviceful/operator/internal/wiring"
)

// job is a message at work. Its fields are filled in step by step: taken, prepared,
// called, decided, settled.
type job struct {
	*bus.Delivered
	sub   *wiring.Subscription
	taken time.Time // when it was handed out
	held  *held     // in order: its place, in which it waits; nil: there is no order

	progress envelope.Progress
	message  delivery.Message         // what the policy has to know of it
	event    *event.Event             // what it is: this,
	request  *http.Request            // or this,
	mail     *mail.Message            // or this
	missed   func(now time.Time) bool // of a schedule's time: it is not called for any more; nil: it is
	filtered bool                     // the filters do not let it pass, or it was missed

	outcome delivery.Outcome
	answer  *envelope.Answer // nil where there was none
	took    time.Duration    // from being handed out to the end of its call; 0 where there was none

	verdict delivery.Verdict
	settled bool
}

// attempt is what the meter is told of a job that is at its end.
func (j *job) attempt() Attempt {
	if !j.settled {
		return Attempt{}
	}
	a := Attempt{Settled: true, Verdict: j.verdict, Called: j.outcome.Called, Filtered: j.filtered, Took: j.took}
	if j.progress.Tries == 0 && !j.progress.First.IsZero() {
		a.First, a.Waited = true, max(0, j.taken.Sub(j.progress.First))
	}
	return a
}

// status is the answer's; 0 where there was none.
func (j *job) status() int {
	if j.answer == nil {
		return 0
	}
	return j.answer.Status
}

// end, release and putBack say to the server what becomes of the message. One that
// is called in order keeps its place, and its session says so later.

func (j *job) end() {
	if j.held == nil {
		_ = j.Ack() // a lost one is a duplicate, never a loss
	}
}

func (j *job) release() {
	if j.held == nil {
		_ = j.Release() // a lost one is delivered again after AckWait
	}
}

func (j *job) putBack() {
	if j.held == nil {
		_ = j.PutBack(busyPause)
	}
}

// putOff is how far a message has come that is to be called again.
func (j *job) putOff() envelope.Progress {
	p, v := j.progress, j.verdict
	p.Attempts, p.Tries, p.Last.Problem = v.Attempts, p.Tries+1, v.Message
	if j.outcome.Called {
		p.Last.Status, p.Last.Broke = j.status(), j.outcome.Broke
		if p.Last.Excuses++; !j.outcome.Excused {
			p.Last.Excuses = 0
		}
	}
	return p
}

// prepare reports whether a message is to be called. One that has ended, cannot
// be read, is too old or does not pass the filters is at its end here.
func (w *steps) prepare(calling context.Context, j *job) bool {
	if j.sub.Relays() { // what it leaves behind is in the event log
		if j.sub.Policy.Source == delivery.DueRetry {
			w.pace.turn(calling, spread(j.Behind))
		}
		j.outcome.Called, j.progress = true, envelope.Progress{Origin: strconv.FormatUint(j.Sequence, 10), First: j.Stored}
		w.settle(calling, j)
		j.took = time.Since(j.taken)
		return false
	}
	switch ended, err := j.Ended(calling); {
	case err != nil:
		j.release()
		return false
	case ended:
		j.end()
		return false
	}
	if err := j.read(calling); err != nil {
		j.verdict = delivery.Malformed(err)
		w.settle(calling, j)
		return false
	}
	if j.sub.Schedule != nil && !w.tick(calling, j) {
		return false
	}
	if verdict, overdue := delivery.Overdue(j.sub.Policy, j.message, time.Now()); overdue { // unless its trigger is newer, or was paused
		since, err := w.cfg.Source.Since(calling, j.sub.Stream, j.sub.Consumer)
		if err != nil {
			j.putBack()
			return false
		}
		if since.After(j.message.Due) {
			j.message.Due = since
			verdict, overdue = delivery.Overdue(j.sub.Policy, j.message, time.Now())
		}
		if overdue {
			j.verdict = verdict
			w.settle(calling, j)
			return false
		}
	}
	if !w.passes(calling, j) {
		return false
	}
	if verdict, looped := delivery.Looped(j.hops(), j.progress.Attempts); looped {
		j.verdict = verdict
		w.settle(calling, j)
		return false
	}
	return true
}

// plain reads a message, and reports whether nothing is to be looked up or stored
// before it is called: then passes is all that is left of prepare. So are most.
func (j *job) plain(ctx context.Context) bool {
	if j.sub.Policy.Source != delivery.Event || j.sub.Schedule != nil || j.read(ctx) != nil {
		return false
	}
	_, overdue := delivery.Overdue(j.sub.Policy, j.message, j.taken)
	_, looped := delivery.Looped(j.hops(), j.progress.Attempts)
	return !overdue && !looped
}

// passes reports whether the filters let a message pass; one that they do not is at
// its end here.
func (w *steps) passes(calling context.Context, j *job) bool {
	if j.event == nil || j.sub.Match == nil || j.sub.Match(j.event) {
		return true
	}
	w.pass(calling, j)
	return false
}

// pass ends a message that the function is not called for, as if it had been.
func (w *steps) pass(calling context.Context, j *job) {
	j.filter()
	w.decide(j)
	w.settle(calling, j)
}

// filter notes that the function is not called for the message.
func (j *job) filter() {
	j.filtered, j.outcome = true, delivery.Outcome{Status: http.StatusOK, Called: true}
}

// hops is how many functions were called on the way from a first cause to the
// message.
func (j *job) hops() int {
	if j.event == nil {
		return 0
	}
	return j.event.Hops
}

// read reads how far a message has come, and what it is.
func (j *job) read(ctx context.Context) error {
	p, err := j.Progress()
	if err != nil {
		return err
	}
	if j.held != nil {
		p = j.held.progress(p)
	}
	j.progress = p
	j.message = delivery.Message{Attempts: p.Attempts, Tries: p.Tries, Due: p.Due, Problem: p.Last.Problem}
	switch j.sub.Policy.Source {
	case delivery.Event:
		j.event = event.FromStored(j.Header, j.Body)
		return nil
	case delivery.Mail:
		j.mail = new(mail.Message)
		if err := json.Unmarshal(j.Body, j.mail); err != nil {
			return fmt.Errorf("reading a stored mail: %w", err)
		}
		return nil
	}
	r, err := j.Request()
	if err != nil {
		return err
	}
	item, ok := names.ParseWork(j.Subject)
	if !ok {
		return fmt.Errorf("subject %q is not a call's", j.Subject)
	}
	j.request, err = invoke.CallRequest(ctx, r, j.Body, j.sub.Trigger, item.ID, p.Attempts+1)
	return err
}

// deliver calls the function once, with messages that are prepared, and brings
// each to its end: done, put off, dead, or handed back because the worker stops.
func (w *steps) deliver(waiting, calling context.Context, jobs []*job) {
	events, err := w.call(waiting, calling, jobs)
	if err != nil {
		for _, j := range jobs {
			j.release()
		}
		return
	}
	for _, j := range jobs {
		w.decide(j)
	}
	if !w.publish(calling, jobs, events) {
		return
	}
	var storing sync.WaitGroup
	for _, j := range jobs {
		if j.keepsNothing() {
			w.settle(calling, j)
		} else {
			storing.Go(func() { w.settle(calling, j) })
		}
	}
	storing.Wait()
}

// decide says what the outcome means for the message.
func (w *steps) decide(j *job) {
	now := time.Now()
	j.took = now.Sub(j.taken)
	j.verdict = delivery.Decide(j.sub.Policy, j.message, j.outcome, now, rand.Float64())
	if v := &j.verdict; v.Action == delivery.Retry && j.held == nil {
		due := w.due.place(now, now.Add(v.Delay), rand.Float64())
		if _, overdue := delivery.Overdue(j.sub.Policy, j.message, due); !overdue {
			v.Delay = due.Sub(now)
		}
	}
}
