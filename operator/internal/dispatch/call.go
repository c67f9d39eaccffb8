package dispatch

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/serviceful/serviceful/operator/internal/delivery"
	"github.com/serviceful/serviceful/operator/internal/envelope"
	"github.com/serviceful/serviceful/operator/internal/event"
	"github.com/serviceful/serviceful/operator/internal/invoke"
	"github.com/serviceful/serviceful/operator/internal/mail"
	"github.com/serviceful/serviceful/operator/internal/names"
)

// call makes one call with messages that are prepared: it notes the outcome and
// the answer in each, and returns the events that the answer holds. An error means
// that the worker is stopping, and the function was not called or nothing is known
// of the call.
func (w *steps) call(waiting, calling context.Context, jobs []*job) ([]*event.Event, error) {
	sub := jobs[0].sub
	if waiting.Err() != nil {
		return nil, waiting.Err()
	}
	if sub.Policy.Source == delivery.Mail {
		return nil, w.mail(calling, jobs[0])
	}
	if jobs[0].progress.Tries > 0 {
		w.pace.wait(waiting, &w.paced, sub.Concurrency/2)
	}
	watched, err := w.enterApart(waiting, jobs[0])
	if errors.Is(err, errTaken) {
		note(jobs, delivery.Outcome{Problem: err.Error()}, nil)
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer watched.leave(false)
	lease, err := w.cfg.World.Acquire(waiting, sub.Function)
	if err != nil {
		if waiting.Err() != nil {
			return nil, err
		}
		note(jobs, delivery.Outcome{Problem: notStarted(err)}, nil)
		return nil, nil
	}
	defer lease.Release()
	if watched != nil {
		ended := make(chan struct{})
		defer close(ended)
		go watched.last(lease.Ready, ended)
	}
	if jobs = inTime(jobs); len(jobs) == 0 {
		return nil, nil
	}
	outcome, answer := invoke.Do(w.cfg.Transport, lease, sub.Policy.Timeout, request(calling, jobs))
	if answer == nil && calling.Err() != nil {
		return nil, calling.Err()
	}
	switch {
	case outcome.Broke > 0:
		outcome.Excused = w.apart.broke(sub.Function, watched, outcome.Died, jobs[0].progress.Last.Excuses)
	case outcome.Called:
		watched.leave(true)
	}
	var events []*event.Event
	if answer != nil && publishes(answer) {
		events, outcome.Refused = w.answered(answer, sub.Function)
		for _, e := range events {
			e.Hops = hops(jobs) + 1
		}
	}
	note(jobs, outcome, answer)
	if answer != nil && sub.Batch.Size > 0 && !event.InMessage(answer.Header) {
		noteFailures(jobs, outcome, answer)
	}
	return events, nil
}

// patience is how often a message is put off uncalled before it waits for its turn to
// be called apart though it takes the only call that its trigger may make.
const patience = 3

// enterApart waits until a message may be called whose last call broke off. Any
// other may, and is not watched.
func (w *steps) enterApart(waiting context.Context, j *job) (*watch, error) {
	p := j.progress
	if p.Last.Broke == 0 {
		return nil, nil
	}
	most := j.sub.Concurrency / 2
	if p.Tries-p.Attempts > patience {
		most = max(most, 1)
	}
	defer w.inLine.Add(-1)
	wait := int(w.inLine.Add(1)) <= most
	alone := p.Attempts > 1 || p.Attempts >= j.sub.Policy.Retry
	return w.apart.enter(waiting, j.sub.Function, p.Last.Broke, alone, wait)
}

// noteFailures notes which events of a batch a good answer calls failed.
func noteFailures(jobs []*job, o delivery.Outcome, a *envelope.Answer) {
	if a.Status < 200 || a.Status > 299 || len(a.Body) == 0 {
		return
	}
	ids := make([]string, len(jobs))
	for i, j := range jobs {
		ids[i] = event.Decode(j.event.ID())
	}
	for i, problem := range delivery.Failures(ids, a.Body, event.IsJSON(a.Header.Get("Content-Type"))) {
		if problem != "" {
			jobs[i].outcome = delivery.Outcome{Called: true, Problem: problem, RetryAfter: o.RetryAfter}
		}
	}
}

// hops is the most that one of the messages has.
func hops(jobs []*job) (most int) {
	for _, j := range jobs {
		most = max(most, j.hops())
	}
	return most
}

func note(jobs []*job, o delivery.Outcome, a *envelope.Answer) {
	for _, j := range jobs {
		j.outcome, j.answer = o, a
	}
}

// inTime are those that may still be called now that there is an instance.
func inTime(jobs []*job) []*job {
	in, now := make([]*job, 0, len(jobs)), time.Now()
	for _, j := range jobs {
		if j.isMissed() {
			j.filter()
			continue
		}
		if _, overdue := delivery.Overdue(j.sub.Policy, j.message, now); overdue {
			j.outcome = delivery.Outcome{Problem: "maxAge passed while it waited for an instance"}
			continue
		}
		in = append(in, j)
	}
	return in
}

// request is the HTTP request that messages are.
func request(ctx context.Context, jobs []*job) *http.Request {
	j := jobs[0]
	if j.event == nil {
		return j.request
	}
	if j.sub.Batch.Size == 0 {
		return invoke.EventRequest(ctx, j.event, j.sub.Path, j.sub.Trigger, j.progress.Attempts+1)
	}
	events, attempts := make([]*event.Event, len(jobs)), 0
	for i, j := range jobs {
		events[i], attempts = j.event, max(attempts, j.progress.Attempts)
	}
	return invoke.BatchRequest(ctx, events, j.sub.Path, j.sub.Trigger, attempts+1)
}

// notStarted says why there is no instance, without what the function wrote:
// that is in its own log.
func notStarted(err error) string {
	var start *invoke.StartError
	if errors.As(err, &start) {
		return "the function did not start: " + start.Detail
	}
	return err.Error()
}

// publishes reports whether an answer's events are to be published: any in a
// 2xx but 202, as in Knative.
func publishes(a *envelope.Answer) bool {
	return a.Status >= 200 && a.Status <= 299 && a.Status != http.StatusAccepted && event.InMessage(a.Header)
}

// answered reads the events of an answer. refused says why none of them may be
// published.
func (w *steps) answered(a *envelope.Answer, f names.Function) (events []*event.Event, refused string) {
	if a.Truncated {
		return nil, fmt.Sprintf("the events in the answer take more than %d bytes", envelope.MaxResponse)
	}
	events, err := event.FromHTTP(a.Header, a.Body)
	if err != nil {
		return nil, fmt.Sprintf("the event in the answer: %v", err)
	}
	grants := w.cfg.Snapshot().Functions[f]
	for _, e := range events {
		if grants == nil || !grants.MayEmit(e.Type()) {
			return nil, fmt.Sprintf("the answer holds an event of type %q, which is not in the function's emits", e.Type())
		}
	}
	return events, ""
}

// mail hands a mail over. What SMTP says for good is final; everything else is
// tried again.
func (w *steps) mail(calling context.Context, j *job) error {
	ctx, cancel := context.WithTimeout(calling, j.sub.Policy.Timeout)
	defer cancel()
	err := w.cfg.Mailer.Send(ctx, j.sub.Function.Namespace, *j.mail)
	var smtp *mail.Error
	switch {
	case err == nil:
		j.outcome = delivery.Outcome{Called: true, Status: http.StatusOK}
	case calling.Err() != nil:
		return err
	case errors.As(err, &smtp) && !smtp.Temporary:
		j.outcome = delivery.Outcome{Called: true, Status: http.StatusUnprocessableEntity, Problem: err.Error()}
	default:
		j.outcome = delivery.Outcome{Called: true, Status: http.StatusServiceUnavailable, Problem: err.Error()}
	}
	return nil
}
