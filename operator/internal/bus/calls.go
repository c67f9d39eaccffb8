package bus

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/serviceful/serviceful/operator/internal/envelope"
	"github.com/serviceful/serviceful/operator/internal/names"
)

// Call is what is known of a stored call.
type Call struct {
	Item     names.WorkItem
	Result   envelope.Result // its State is Queued or Running while it has not ended
	Body     []byte          // of the last answer
	Sequence uint64          // in the work stream, while it has not ended
	PutOff   bool            // it waits until its next attempt is due
}

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

// waiting describes a call that has not ended. It is running when its consumer
// has handed it out.
func (b *Bus) waiting(ctx context.Context, m *envelope.Message) (Call, error) {
	item, ok := names.ParseWork(names.Unschedule(m.Subject))
	if !ok {
		return Call{}, fmt.Errorf("subject %q is not a call's: %w", m.Subject, ErrNotFound)
	}
	p, err := m.Progress()
	if err != nil {
		return Call{}, err
	}
	c := Call{Item: item, Sequence: m.Sequence, Result: envelope.Result{State: envelope.Queued, Attempts: p.Attempts}}
	if m.Subject != names.Unschedule(m.Subject) {
		c.PutOff = true
		return c, nil
	}
	started, err := b.handedOut(ctx, names.Work(item.Function.Namespace), names.Consumer(item.Function.Name, item.Trigger), m.Sequence)
	if started {
		c.Result.State = envelope.Running
	}
	return c, err
}

func (b *Bus) handedOut(ctx context.Context, stream, consumer string, sequence uint64) (bool, error) {
	c, err := b.js.Consumer(ctx, stream, consumer)
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		return false, nil // its trigger was removed a moment ago
	}
	if err != nil {
		return false, explain(fmt.Sprintf("looking up consumer %q", consumer), err)
	}
	return c.CachedInfo().Delivered.Stream >= sequence, nil
}

// CancelCall removes a call that still waits. It returns false if the call had
// been handed out or had ended: then it may well have its effect.
func (b *Bus) CancelCall(ctx context.Context, namespace, id string) (bool, error) {
	c, err := b.FindCall(ctx, namespace, id)
	if err != nil || c.Result.State != envelope.Queued {
		return false, err
	}
	err = b.Delete(ctx, names.Work(namespace), c.Sequence)
	if errors.Is(err, ErrNotFound) { // meanwhile it was put off, fell due or ended
		return b.CancelCall(ctx, namespace, id)
	}
	if err != nil || c.PutOff {
		return err == nil, err
	}
	started, err := b.handedOut(ctx, names.Work(namespace), names.Consumer(c.Item.Function.Name, c.Item.Trigger), c.Sequence)
	return !started, err
}
