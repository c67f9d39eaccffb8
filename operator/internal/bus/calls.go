package bus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/serviceful/serviceful/operator/internal/envelope"
	"github.com/serviceful/serviceful/operator/internal/names"
)

// Call is what is known of a stored call.
type Call struct {
	Item    names.WorkItem
	Result  envelope.Result   // while it has not ended, its State is Queued or Running, its Message why it was put off
	Body    []byte            // of the last answer
	message *envelope.Message // in the work stream, while it has not ended
}

// putOff reports whether it waits until its next attempt is due.
func (c Call) putOff() bool { return names.Unschedule(c.message.Subject) != c.message.Subject }

// FindCall looks a call up: among the results, those that wait, and those put
// off. It returns ErrNotFound for an id that is unknown or no longer kept.
//
// A call is put off by storing its copy before the original goes, and ends by
// storing its result before it goes: looking in this order misses none. What
// has a result has ended, even if its message is still there: a server that is
// stopped may forget that it removed one that was settled.
func (b *Bus) FindCall(ctx context.Context, namespace, id string) (Call, error) {
	if c, err := b.result(ctx, namespace, id); !errors.Is(err, ErrNotFound) {
		return c, err
	}
	subject := names.AnyCall(namespace, id)
	for _, s := range []string{subject, names.Schedule(subject), subject} {
		m, err := b.Last(ctx, names.Work(namespace), s)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return Call{}, err
		}
		return b.waiting(ctx, m)
	}
	return b.result(ctx, namespace, id)
}

// result describes a call that has ended.
func (b *Bus) result(ctx context.Context, namespace, id string) (Call, error) {
	m, err := b.Last(ctx, names.Results(namespace), names.Result(namespace, id))
	if err != nil {
		return Call{}, err
	}
	r, err := m.Result()
	return Call{Item: names.WorkItem{ID: id}, Result: r, Body: m.Body}, err
}

// fireMargin is how long before it is due a schedule counts as under way: the
// server may have its message in hand.
const fireMargin = time.Second

// waiting describes a call that has not ended. It is running when its consumer
// has handed it out, or may have.
func (b *Bus) waiting(ctx context.Context, m *envelope.Message) (Call, error) {
	item, ok := names.ParseWork(names.Unschedule(m.Subject))
	if !ok {
		return Call{}, fmt.Errorf("subject %q is not a call's: %w", m.Subject, ErrNotFound)
	}
	p, err := m.Progress()
	if err != nil {
		return Call{}, err
	}
	c := Call{Item: item, Result: envelope.Result{State: envelope.Queued, Attempts: p.Attempts, Message: p.Last.Problem}, message: m}
	started := m.IsSpare()
	switch {
	case started:
	case c.putOff():
		due, err := m.Due()
		if err != nil {
			return Call{}, err
		}
		started = time.Until(due) < fireMargin
	default:
		started, err = b.handedOut(ctx, c)
	}
	if started {
		c.Result.State = envelope.Running
	}
	return c, err
}

func (b *Bus) handedOut(ctx context.Context, of Call) (bool, error) {
	stream, consumer := names.Work(of.Item.Function.Namespace), names.Consumer(of.Item.Function.Name, of.Item.Trigger)
	c, err := b.js.Consumer(ctx, stream, consumer)
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		return false, nil // its trigger was removed a moment ago
	}
	if err != nil {
		return false, explain(fmt.Sprintf("looking up consumer %q", consumer), err)
	}
	return c.CachedInfo().Delivered.Stream >= of.message.Sequence, nil
}

// CancelCall removes a call that still waits, and with it what its
// Idempotency-Key stands for. It returns false if the call had been handed out,
// or may have been, or had ended: then it goes on.
func (b *Bus) CancelCall(ctx context.Context, namespace, id string) (bool, error) {
	c, err := b.FindCall(ctx, namespace, id)
	if err != nil || c.Result.State != envelope.Queued {
		return false, err
	}
	if !c.putOff() {
		return b.cancelQueued(ctx, c)
	}
	if err := b.purge(ctx, names.Work(namespace), c.message.Subject); err != nil {
		return false, err
	}
	done, err := b.CancelCall(ctx, namespace, id) // it may have fallen due meanwhile
	if errors.Is(err, ErrNotFound) {
		return true, nil
	}
	return done, err
}

// spareAfter is when the spare of a call is made, if the call has not ended.
const spareAfter = 5 * time.Minute

// cancelQueued removes a call that was not handed out a moment ago. Only when it
// is removed can be told whether it was handed out meanwhile: so a spare is
// stored first, and goes if it was not. If it was, or if this is cut short, the
// spare stands in for what a crash would lose.
func (b *Bus) cancelQueued(ctx context.Context, c Call) (bool, error) {
	namespace := c.Item.Function.Namespace
	p, err := c.message.Progress()
	if err != nil {
		return false, err
	}
	spare, err := b.StoreIf(ctx, envelope.Spare(c.message, p, time.Now().Add(spareAfter)), 0)
	if errors.Is(err, ErrConflict) { // it was put off meanwhile, or is being cancelled
		return false, nil
	}
	if err != nil {
		return false, err
	}
	err = b.Delete(ctx, spare.Stream, c.message.Sequence)
	if errors.Is(err, ErrNotFound) { // meanwhile it was put off or ended
		if err := b.Delete(ctx, spare.Stream, spare.Sequence); err != nil {
			return false, err
		}
		return b.CancelCall(ctx, namespace, c.Item.ID)
	}
	if err != nil {
		return false, err
	}
	if started, err := b.handedOut(ctx, c); err != nil || started {
		return false, err
	}
	err = b.Delete(ctx, spare.Stream, spare.Sequence)
	return err == nil, err
}

// purge removes what is on a subject.
func (b *Bus) purge(ctx context.Context, stream, subject string) error {
	s, err := b.stream(ctx, stream)
	if err != nil {
		return err
	}
	return explain(fmt.Sprintf("removing %q", subject), s.Purge(ctx, jetstream.WithPurgeSubject(subject)))
}
