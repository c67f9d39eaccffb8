package dispatch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/serviceful/serviceful/operator/internal/bus"
	"github.com/serviceful/serviceful/operator/internal/delivery"
	"github.com/serviceful/serviceful/operator/internal/envelope"
	"github.com/serviceful/serviceful/operator/internal/event"
	"github.com/serviceful/serviceful/operator/internal/names"
	"github.com/serviceful/serviceful/operator/internal/wiring"
)

// OutcomeType is the type of the event that a queue gets of an outcome, and the
// name of the schema of every outcome's data.
const OutcomeType = "dev.serviceful.outcome.v1"

// maxOutcomeResponse is the most bytes of an answer's body that an outcome holds.
const maxOutcomeResponse = 64 << 10

// outcome is how a message ended, as onSuccess and onFailure are told.
type outcome struct {
	Function string         `json:"function"`
	Trigger  string         `json:"trigger"`
	Outcome  envelope.State `json:"outcome"`
	Reason   string         `json:"reason,omitempty"`
	Message  string         `json:"message,omitempty"`
	Attempts int            `json:"attempts"`
	Status   int            `json:"status,omitempty"`
	First    time.Time      `json:"first"`
	Ended    time.Time      `json:"ended"`

	Event   *outcomeEvent   `json:"event,omitempty"`
	Request *outcomeRequest `json:"request,omitempty"`

	Response        any    `json:"response,omitempty"`
	ResponseBase64  []byte `json:"responseBase64,omitempty"`
	ResponseOmitted bool   `json:"responseOmitted,omitempty"`
}

type outcomeEvent struct {
	ID      string `json:"id"`
	Source  string `json:"source"`
	Type    string `json:"type"`
	Subject string `json:"subject,omitempty"`
}

type outcomeRequest struct {
	ID     string `json:"id"`
	Method string `json:"method"`
	Path   string `json:"path"`
}

// tell stores the outcome of a message that is at its end where its trigger wants
// it.
func (w *steps) tell(ctx context.Context, j *job, now time.Time) error {
	to, state := j.destination()
	if to == (wiring.Destination{}) {
		return nil
	}
	o := j.ended(state, now)
	err := w.send(ctx, j, to, o)
	if errors.Is(err, bus.ErrTooLarge) {
		o.Response, o.ResponseBase64, o.ResponseOmitted = nil, nil, true
		err = w.send(ctx, j, to, o)
	}
	return err
}

// destination is where the outcome goes, and what it is. A message of an endless
// loop ends it: nobody is told.
func (j *job) destination() (wiring.Destination, envelope.State) {
	switch {
	case j.filtered || j.verdict.Reason == delivery.ReasonLoopDetected:
	case j.verdict.Action == delivery.Succeed:
		return j.sub.OnSuccess, envelope.Succeeded
	case j.verdict.Action == delivery.Fail:
		return j.sub.OnFailure, envelope.Failed
	case j.verdict.Action == delivery.Die:
		return j.sub.OnFailure, envelope.DeadState
	}
	return wiring.Destination{}, ""
}

// send stores an outcome as an event or as a queue's message. Doing it twice is
// doing it once.
func (w *steps) send(ctx context.Context, j *job, to wiring.Destination, o outcome) error {
	e := j.outcomeEvent(to, o)
	namespace := j.sub.Function.Namespace
	if to.Queue == "" {
		return w.cfg.Events.PublishEvents(ctx, namespace, []*event.Event{e})
	}
	id := e.Key() // others send to the queue, too
	m := envelope.New(names.QueueMessage(namespace, to.Queue, id), e.Data)
	e.ToStored(m.Header)
	m.ID = "q/" + id
	_, err := w.cfg.Keeper.Store(ctx, m)
	return err
}

// outcomeEvent is the event that tells of an outcome. Its id is that of the
// message's life and of how it ended, so that what is told twice is one event.
func (j *job) outcomeEvent(to wiring.Destination, o outcome) *event.Event {
	eventType := to.EventType
	if eventType == "" {
		eventType = OutcomeType
	}
	data, _ := json.Marshal(o) // its values can be encoded, and the response is JSON already
	e := event.Own(fmt.Sprintf("%s.%d.%s", j.origin(), j.Replays(), o.Outcome), names.TriggerPath(j.sub.Function, j.sub.Trigger), eventType, o.Ended)
	e.Hops = j.hops() + 1
	e.OwnJSON(data, OutcomeType)
	return e
}

// origin is what the message was at first, also of one that cannot be read.
func (j *job) origin() string {
	if j.progress.Origin == "" {
		return fmt.Sprint(j.Sequence)
	}
	return j.progress.Origin
}

// ended is the outcome of a message.
func (j *job) ended(state envelope.State, now time.Time) outcome {
	v := j.verdict
	o := outcome{
		Function: j.sub.Function.Name, Trigger: j.sub.Trigger, Outcome: state, Reason: v.Reason, Message: v.Message, Attempts: v.Attempts,
		Status: j.status(), First: j.progress.First.UTC(), Ended: now.UTC(),
	}
	if j.progress.First.IsZero() { // it cannot be read
		o.First = j.Stored.UTC()
	}
	if !j.outcome.Called { // since the last try
		o.Status = j.progress.Last.Status
	}
	switch {
	case j.event != nil:
		e := j.event
		o.Event = &outcomeEvent{event.Decode(e.ID()), event.Decode(e.Source()), e.Type(), event.Decode(e.Get("subject"))}
	case j.request != nil:
		item, _ := names.ParseWork(j.Subject)
		o.Request = &outcomeRequest{item.ID, j.request.Method, j.request.URL.EscapedPath()}
	}
	if j.answer != nil {
		o.respond(j.answer)
	}
	return o
}

// respond takes the body of the last answer in, if it is small: as a value, or in
// base64 where it is not UTF-8.
func (o *outcome) respond(a *envelope.Answer) {
	switch body := a.Body; {
	case len(body) == 0:
	case len(body) > maxOutcomeResponse || a.Truncated:
		o.ResponseOmitted = true
	case !utf8.Valid(body):
		o.ResponseBase64 = body
	case event.IsJSON(a.Header.Get("Content-Type")) && json.Valid(body):
		o.Response = json.RawMessage(body)
	default:
		o.Response = string(body)
	}
}
