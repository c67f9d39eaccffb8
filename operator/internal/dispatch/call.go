package dispatch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
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

// call hands a message to what it is for, and notes the answer and its events in
// end. An error means that the message cannot be read, or, when the worker is
// stopping, that it was not called or that nothing is known of the call.
func (w *worker) call(waiting, calling context.Context, d *bus.Delivered, end *ending) (delivery.Outcome, error) {
	sub := end.sub
	if sub.Policy.Source == delivery.Mail {
		return w.mail(calling, d, sub)
	}
	req, err := w.request(calling, d, sub, end.progress.Attempts+1)
	if err != nil {
		return delivery.Outcome{}, err
	}
	if req == nil {
		end.filtered = true
		return delivery.Outcome{Status: http.StatusOK, Called: true}, nil
	}
	lease, err := w.cfg.World.Acquire(waiting, sub.Function)
	if err != nil {
		if waiting.Err() != nil {
			return delivery.Outcome{}, err
		}
		return delivery.Outcome{Problem: notStarted(err)}, nil
	}
	defer lease.Release()
	if end.missed != nil && end.missed(time.Now()) {
		end.filtered = true
		return delivery.Outcome{Status: http.StatusOK, Called: true}, nil
	}
	if _, overdue := delivery.Overdue(sub.Policy, delivery.Message{Due: end.progress.Due}, time.Now()); overdue {
		return delivery.Outcome{Problem: "maxAge passed while it waited for an instance"}, nil
	}
	outcome, answer := invoke.Do(w.cfg.Transport, lease, sub.Policy.Timeout, req)
	if answer == nil && calling.Err() != nil {
		return outcome, calling.Err()
	}
	end.answer = answer
	if answer != nil && publishes(answer) {
		end.events, outcome.Refused = w.answered(answer, sub.Function)
	}
	return outcome, nil
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

// request is the HTTP request that a message is; nil for an event that the
// subscription's filters do not let pass.
func (w *worker) request(ctx context.Context, d *bus.Delivered, sub *wiring.Subscription, attempt int) (*http.Request, error) {
	if sub.Policy.Source == delivery.Event {
		e := event.FromStored(d.Header, d.Body)
		if sub.Match != nil && !sub.Match(e) {
			return nil, nil
		}
		return invoke.EventRequest(ctx, e, sub.Path, sub.Trigger, attempt), nil
	}
	r, err := d.Request()
	if err != nil {
		return nil, err
	}
	item, ok := names.ParseWork(d.Subject)
	if !ok {
		return nil, fmt.Errorf("subject %q is not a call's", d.Subject)
	}
	return invoke.CallRequest(ctx, r, d.Body, sub.Trigger, item.ID, attempt)
}

// publishes reports whether an answer's events are to be published: any in a
// 2xx but 202, as in Knative.
func publishes(a *envelope.Answer) bool {
	return a.Status >= 200 && a.Status <= 299 && a.Status != http.StatusAccepted && event.InMessage(a.Header)
}

// answered reads the events of an answer. refused says why none of them may be
// published.
func (w *worker) answered(a *envelope.Answer, f names.Function) (events []*event.Event, refused string) {
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
func (w *worker) mail(calling context.Context, d *bus.Delivered, sub *wiring.Subscription) (delivery.Outcome, error) {
	var m mail.Message
	if err := json.Unmarshal(d.Body, &m); err != nil {
		return delivery.Outcome{}, fmt.Errorf("reading a stored mail: %w", err)
	}
	ctx, cancel := context.WithTimeout(calling, sub.Policy.Timeout)
	defer cancel()
	err := w.cfg.Mailer.Send(ctx, sub.Function.Namespace, m)
	var smtp *mail.Error
	switch {
	case err == nil:
		return delivery.Outcome{Called: true, Status: http.StatusOK}, nil
	case calling.Err() != nil:
		return delivery.Outcome{}, err
	case errors.As(err, &smtp) && !smtp.Temporary:
		return delivery.Outcome{Called: true, Status: http.StatusUnprocessableEntity, Problem: err.Error()}, nil
	}
	return delivery.Outcome{Called: true, Status: http.StatusServiceUnavailable, Problem: err.Error()}, nil
}
