package bus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/serviceful/serviceful/operator/internal/dead"
	"github.com/serviceful/serviceful/operator/internal/envelope"
	"github.com/serviceful/serviceful/operator/internal/names"
)

// ErrNoTrigger is returned when a message is to be sent to a trigger again that
// does not exist, or is not of its kind.
var ErrNoTrigger = errors.New("there is no such trigger for it")

// Letters calls f with each dead letter of a namespace that a filter means,
// oldest first, without bodies. It returns ErrNotFound for a namespace that has
// no dead-letter stream.
func (b *Bus) Letters(ctx context.Context, namespace string, filter dead.Filter, f func(dead.Letter) error) error {
	from := place{stream: names.Dead(namespace), subjects: []string{filter.Subject(namespace)}, headersOnly: true}
	return b.scan(ctx, from, func(m *envelope.Message, _ bool) (bool, error) {
		l, err := dead.Headers(namespace, m)
		if err != nil {
			return false, fmt.Errorf("dead letter %s: %w", l.ID, err)
		}
		if !filter.Match(l) {
			return true, nil
		}
		return true, f(l)
	})
}

// Letter is a dead letter as a whole; ErrNotFound if there is none.
func (b *Bus) Letter(ctx context.Context, id dead.ID) (dead.Letter, error) {
	m, err := b.At(ctx, names.Dead(id.Namespace), id.Sequence)
	if errors.Is(err, ErrNotFound) {
		return dead.Letter{}, fmt.Errorf("dead letter %s: %w: it was replayed or purged, or there never was one", id, ErrNotFound)
	}
	if err != nil {
		return dead.Letter{}, fmt.Errorf("dead letter %s: %w", id, err)
	}
	l, err := dead.Whole(id.Namespace, m)
	if err != nil {
		return l, fmt.Errorf("dead letter %s: %w", id, err)
	}
	return l, nil
}

// DeleteLetter removes a dead letter for good; ErrNotFound if it is gone.
func (b *Bus) DeleteLetter(ctx context.Context, id dead.ID) error {
	return b.Delete(ctx, names.Dead(id.Namespace), id.Sequence)
}

// Replay stores the message of a whole dead letter again, for its own trigger or
// another one of its kind, and then removes the letter. Cut short between the
// two, it leaves the letter; a message that is stored twice within the duplicate
// window is stored once.
//
// A call that is queued, or has ended well, is not made again: its letter was
// replayed before, or died of an answer whose call went on. Then sent is false
// and the letter is removed all the same.
//
// It returns dead.ErrCannotReplay or ErrNoTrigger, and leaves the letter, where
// there is nowhere for it to go.
func (b *Bus) Replay(ctx context.Context, l dead.Letter, to dead.Trigger, now time.Time) (sent bool, err error) {
	target, err := b.target(ctx, l, to)
	if err != nil {
		return false, err
	}
	goesOn, result, err := b.standing(ctx, l)
	if err != nil {
		return false, err
	}
	if !goesOn {
		if err := b.resend(ctx, l, target, now, result); err != nil {
			return false, err
		}
	}
	if err := b.DeleteLetter(ctx, l.ID); err != nil && !errors.Is(err, ErrNotFound) { // somebody else did
		return !goesOn, err
	}
	return !goesOn, nil
}

// CheckReplay returns the error with which Replay would refuse the letter, of
// which it needs no bodies.
func (b *Bus) CheckReplay(ctx context.Context, l dead.Letter, to dead.Trigger) error {
	_, err := b.target(ctx, l, to)
	return err
}

// target is where a letter goes, which is there.
func (b *Bus) target(ctx context.Context, l dead.Letter, to dead.Trigger) (dead.Target, error) {
	target, err := l.Target(to)
	if err == nil {
		_, err = b.trigger(ctx, target.Stream, target.Consumer)
	}
	return target, err
}

// resend stores a letter's message on its target. A call waits again then: its
// result, which says that it is dead, goes.
func (b *Bus) resend(ctx context.Context, l dead.Letter, target dead.Target, now time.Time, result uint64) error {
	if _, err := b.Store(ctx, envelope.Replay(l.Stored, l.Death, l.Body, target.Subject, now)); err != nil {
		return err
	}
	// A trigger that was removed meanwhile has not kept it.
	if _, err := b.trigger(ctx, target.Stream, target.Consumer); err != nil {
		return err
	}
	if result == 0 {
		return nil
	}
	err := b.Delete(ctx, names.Results(l.ID.Namespace), result) // by its sequence: the call may have another by now
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}

// standing says whether a call goes on without its letter, and which of the
// results says that it is dead; 0 for none.
func (b *Bus) standing(ctx context.Context, l dead.Letter) (goesOn bool, result uint64, err error) {
	if l.Kind != dead.Call {
		return false, 0, nil
	}
	c, err := b.FindCall(ctx, l.ID.Namespace, l.Call())
	if errors.Is(err, ErrNotFound) { // results are not kept as long as letters
		return false, 0, nil
	}
	if err != nil || c.Result.State != envelope.DeadState {
		return err == nil, 0, err
	}
	m, err := b.Last(ctx, names.Results(l.ID.Namespace), names.Result(l.ID.Namespace, l.Call()))
	if errors.Is(err, ErrNotFound) {
		return false, 0, nil
	}
	if err != nil {
		return false, 0, err
	}
	return false, m.Sequence, nil
}

// trigger is the consumer of a trigger; ErrNoTrigger if there is none.
func (b *Bus) trigger(ctx context.Context, stream, consumer string) (jetstream.Consumer, error) {
	c, err := b.js.Consumer(ctx, stream, consumer)
	if errors.Is(err, jetstream.ErrConsumerNotFound) || errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, fmt.Errorf("%w: stream %s has no consumer %s", ErrNoTrigger, stream, consumer)
	}
	return c, explain(fmt.Sprintf("looking up consumer %q", consumer), err)
}
