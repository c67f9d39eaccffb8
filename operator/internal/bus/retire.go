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

// Orphan is what a trigger has left that is no more, or a relay of changes that
// nobody watches; its Function has no Name then.
type Orphan struct {
	Stream, Consumer string
	Function         names.Function
	Trigger          string
	Used             string // what the consumer filters for the source that the trigger has now; "": it has none
}

// Retire removes an orphan, after its undelivered calls have become dead
// letters (TriggerRemoved); those that a gateway stores on an old snapshot
// meanwhile are among them, or the next time. Events stay in the log; their
// pending retries go, and so do a clock and its times. Nothing may be pulled for
// the trigger any more, unless it has another source now.
func (l Layout) Retire(ctx context.Context, o Orphan, now time.Time) (buried int, err error) {
	stream, err := l.Bus.js.Stream(ctx, o.Stream)
	if err != nil {
		return 0, explain(fmt.Sprintf("looking up stream %q", o.Stream), err)
	}
	clearing := l.clearWork
	switch {
	case o.Function.Name == "":
		clearing = leave
	case o.Stream == names.Events(o.Function.Namespace):
		clearing = l.purgeRetries
	}
	if buried, err = clearing(ctx, stream, o, now); err != nil {
		return buried, err
	}
	if o.Used != "" {
		return buried, nil
	}
	if err := stream.DeleteConsumer(ctx, o.Consumer); err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
		return buried, explain(fmt.Sprintf("removing consumer %q", o.Consumer), err)
	}
	late, err := clearing(ctx, stream, o, now)
	return buried + late, err
}

// leave is for a relay: what changed, and nobody watches any more, is no event.
func leave(context.Context, jetstream.Stream, Orphan, time.Time) (int, error) { return 0, nil }

// clearWork removes what a trigger has left in the work stream, but for what is
// its present source's.
func (l Layout) clearWork(ctx context.Context, stream jetstream.Stream, o Orphan, now time.Time) (buried int, err error) {
	if o.Used != names.CallFilter(o.Function, o.Trigger) {
		buried, err = l.buryCalls(ctx, stream, o, now)
	}
	if err == nil && o.Used != names.TickFilter(o.Function, o.Trigger) {
		err = l.removeClock(ctx, o)
	}
	return buried, err
}

func (l Layout) buryCalls(ctx context.Context, stream jetstream.Stream, o Orphan, now time.Time) (buried int, err error) {
	filter := names.CallFilter(o.Function, o.Trigger)
	// Schedules first: one that fires meanwhile is among the queued then.
	for _, f := range []string{names.Schedule(filter), filter} {
		n, err := l.bury(ctx, stream, f, o, now)
		if buried += n; err != nil {
			return buried, err
		}
	}
	return buried, nil
}

func (l Layout) purgeRetries(ctx context.Context, stream jetstream.Stream, o Orphan, _ time.Time) (int, error) {
	waiting, err := l.Bus.js.Stream(ctx, names.Retries(o.Function.Namespace))
	if err != nil {
		return 0, explain("looking up the stream of retries", err)
	}
	due := names.EventDue(o.Function, o.Trigger)
	for _, at := range []struct {
		stream  jetstream.Stream
		subject string
	}{
		{waiting, names.Waiting(due, "*")}, // in the order in which they move on
		{waiting, due},
		{stream, names.EventRetry(o.Function, o.Trigger)},
	} {
		if err := at.stream.Purge(ctx, jetstream.WithPurgeSubject(at.subject)); err != nil {
			return 0, explain(fmt.Sprintf("removing the retries of %q", o.Consumer), err)
		}
	}
	return 0, nil
}

// bury makes dead letters of all calls on subjects that match filter.
func (l Layout) bury(ctx context.Context, stream jetstream.Stream, filter string, o Orphan, now time.Time) (int, error) {
	info, err := stream.Info(ctx, jetstream.WithSubjectFilter(filter))
	if err != nil {
		return 0, explain(fmt.Sprintf("counting %q", filter), err)
	}
	buried := 0
	for subject := range info.State.Subjects {
		err := l.buryLast(ctx, subject, o, now)
		for ; err == nil; err = l.buryLast(ctx, subject, o, now) {
			buried++
		}
		if !errors.Is(err, ErrNotFound) {
			return buried, err
		}
	}
	return buried, nil
}

// buryLast makes a dead letter of the last call on a subject. It returns
// ErrNotFound if there is none, or no more: schedules fire meanwhile.
func (l Layout) buryLast(ctx context.Context, subject string, o Orphan, now time.Time) error {
	m, err := l.Bus.Last(ctx, o.Stream, subject)
	if err != nil {
		return err
	}
	m.Subject = names.Unschedule(subject)
	item, _ := names.ParseWork(m.Subject)
	c, err := l.Bus.result(ctx, o.Function.Namespace, item.ID)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	if c.Result.State != envelope.Succeeded && c.Result.State != envelope.Failed { // else it was to be settled
		v := delivery.Verdict{Action: delivery.Die, Reason: delivery.ReasonTriggerRemoved, Message: "its trigger or function was removed"}
		if p, err := m.Progress(); err == nil {
			v.Attempts = p.Attempts
		}
		if err := l.Bus.Bury(ctx, m, Ending{o.Function, o.Trigger, v, nil, now}); err != nil {
			return err
		}
	}
	return l.Bus.Delete(ctx, o.Stream, m.Sequence)
}
