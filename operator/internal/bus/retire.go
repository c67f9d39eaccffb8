package bus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/serviceful/serviceful/operator/internal/delivery"
	"github.com/serviceful/serviceful/operator/internal/envelope"
	"github.com/serviceful/serviceful/operator/internal/names"
)

// Orphan is the consumer of a trigger that is no more.
type Orphan struct {
	Stream, Consumer string
	Function         names.Function
	Trigger          string
}

// Retire removes an orphan, after its undelivered calls have become dead
// letters (TriggerRemoved). Events stay in the log; their pending retries go.
// Nothing may be accepted for the trigger or pulled from it any more.
func (l Layout) Retire(ctx context.Context, o Orphan, now time.Time) (buried int, err error) {
	stream, err := l.Bus.js.Stream(ctx, o.Stream)
	if err != nil {
		return 0, explain(fmt.Sprintf("looking up stream %q", o.Stream), err)
	}
	if o.Stream == names.Work(o.Function.Namespace) {
		filter := names.CallFilter(o.Function, o.Trigger)
		// Schedules first: one that fires meanwhile is among the queued then.
		for _, f := range []string{names.Schedule(filter), filter} {
			n, err := l.bury(ctx, stream, f, o, now)
			if buried += n; err != nil {
				return buried, err
			}
		}
	} else {
		filter := names.EventRetryFilter(o.Function, o.Trigger)
		for _, f := range []string{names.Schedule(filter), filter} {
			if err := stream.Purge(ctx, jetstream.WithPurgeSubject(f)); err != nil {
				return 0, explain(fmt.Sprintf("removing the retries of %q", o.Consumer), err)
			}
		}
	}
	if err := stream.DeleteConsumer(ctx, o.Consumer); err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
		return buried, explain(fmt.Sprintf("removing consumer %q", o.Consumer), err)
	}
	return buried, nil
}

func (l Layout) bury(ctx context.Context, stream jetstream.Stream, filter string, o Orphan, now time.Time) (int, error) {
	info, err := stream.Info(ctx, jetstream.WithSubjectFilter(filter))
	if err != nil {
		return 0, explain(fmt.Sprintf("counting %q", filter), err)
	}
	buried := 0
	for subject := range info.State.Subjects {
		m, err := l.Bus.Last(ctx, o.Stream, subject)
		if errors.Is(err, ErrNotFound) {
			continue // a schedule that fired in between
		}
		if err != nil {
			return buried, err
		}
		m.Subject = names.Unschedule(subject)
		v := delivery.Verdict{Action: delivery.Die, Reason: delivery.ReasonTriggerRemoved, Message: "its trigger or function was removed"}
		if p, err := m.Progress(); err == nil {
			v.Attempts = p.Attempts
		}
		if err := l.Bus.Bury(ctx, m, Ending{o.Function, o.Trigger, v, nil, now}); err != nil {
			return buried, err
		}
		switch err := l.Bus.Delete(ctx, o.Stream, m.Sequence); {
		case err == nil:
			buried++
		case !errors.Is(err, ErrNotFound): // it fired or was settled in between
			return buried, err
		}
	}
	return buried, nil
}

// Ending is how a message ended, for its result or dead letter.
type Ending struct {
	Function names.Function
	Trigger  string
	Verdict  delivery.Verdict
	Last     *envelope.Answer // the last answer, if there was one
	Now      time.Time
}

// Bury stores a message as a dead letter and, if it is a call, its result. Only
// then may the message be settled.
func (b *Bus) Bury(ctx context.Context, m *envelope.Message, end Ending) error {
	p, err := m.Progress()
	if err != nil { // malformed: all that is known is where it was
		p = envelope.Progress{Origin: fmt.Sprintf("%d", m.Sequence), First: m.Stored}
	}
	d := envelope.DeadLetter{
		Trigger: end.Trigger, Origin: p.Origin, Reason: end.Verdict.Reason, Message: end.Verdict.Message,
		Attempts: end.Verdict.Attempts, First: p.First, Died: end.Now,
	}
	if end.Last != nil {
		d.Last = &envelope.LastResponse{Status: end.Last.Status, Body: end.Last.Body}
	}
	if _, err := b.Store(ctx, envelope.Dead(m, end.Function, d)); err != nil {
		return err
	}
	if item, ok := names.ParseWork(m.Subject); ok && item.Trigger != "" {
		return b.StoreResult(ctx, item, envelope.DeadState, end)
	}
	return nil
}

// StoreResult stores how a call ended.
func (b *Bus) StoreResult(ctx context.Context, item names.WorkItem, state envelope.State, end Ending) error {
	r := envelope.Result{
		State: state, Attempts: end.Verdict.Attempts, Reason: end.Verdict.Reason, Message: end.Verdict.Message, Ended: end.Now,
	}
	var body []byte
	if a := end.Last; a != nil {
		r.Response = &envelope.Response{Status: a.Status, Header: a.Header, Truncated: a.Truncated}
		body = a.Body
	}
	_, err := b.Store(ctx, envelope.ResultMessage(item.Function.Namespace, item.ID, r, body))
	return err
}
