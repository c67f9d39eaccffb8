package bus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/serviceful/serviceful/operator/internal/delivery"
	"github.com/serviceful/serviceful/operator/internal/envelope"
	"github.com/serviceful/serviceful/operator/internal/names"
)

// Ending is how a message ended, for its result or dead letter.
type Ending struct {
	Function names.Function
	Trigger  string
	Verdict  delivery.Verdict
	Last     *envelope.Answer // the last answer, if there was one
	Now      time.Time
}

// bare is an ending without the body of the last answer.
func (e Ending) bare() Ending {
	if e.Last != nil && len(e.Last.Body) > 0 {
		e.Last = &envelope.Answer{Status: e.Last.Status, Header: e.Last.Header, Truncated: true}
	}
	return e
}

// Bury stores a message as a dead letter and, if it is a call, its result. Only
// then may the message be settled. A letter that the server does not take goes
// without the last answer's body, and then without the message's own: a server
// may take less than it did when the message was stored.
func (b *Bus) Bury(ctx context.Context, m *envelope.Message, end Ending) error {
	p, err := m.Progress()
	if err != nil { // malformed: all that is known is where it was
		p = envelope.Progress{Origin: fmt.Sprintf("%d", m.Sequence), First: m.Stored}
	}
	if end.Last == nil && end.Verdict.Attempts == p.Attempts && p.Last.Status != 0 { // it was not called since
		end.Last = &envelope.Answer{Status: p.Last.Status, Truncated: true}
	}
	err = b.storeEnding(ctx, end, func(end Ending) *envelope.Message { return deadLetter(m, p, end, 0) })
	if errors.Is(err, ErrTooLarge) {
		cut := *m
		cut.Body = nil
		end.Verdict.Message += fmt.Sprintf("; its body of %d bytes is larger than the message store takes now", len(m.Body))
		_, err = b.Store(ctx, deadLetter(&cut, p, end.bare(), len(m.Body)))
	}
	if err != nil {
		return err
	}
	if item, ok := names.ParseWork(m.Subject); ok && item.Trigger != "" {
		return b.StoreResult(ctx, item, envelope.DeadState, end)
	}
	return nil
}

// deadLetter keeps m; cut is how many bytes of its body m has lost.
func deadLetter(m *envelope.Message, p envelope.Progress, end Ending, cut int) *envelope.Message {
	d := envelope.DeadLetter{
		Trigger: end.Trigger, Origin: p.Origin, Reason: end.Verdict.Reason, Message: end.Verdict.Message,
		Attempts: end.Verdict.Attempts, First: p.First, Died: end.Now, Cut: cut,
	}
	if end.Last != nil {
		d.Last = &envelope.LastResponse{Status: end.Last.Status, Body: end.Last.Body}
	}
	return envelope.Dead(m, end.Function, d)
}

// StoreResult stores how a call ended; without the last answer's body if the
// server does not take it with it.
func (b *Bus) StoreResult(ctx context.Context, item names.WorkItem, state envelope.State, end Ending) error {
	return b.storeEnding(ctx, end, func(end Ending) *envelope.Message { return result(item, state, end) })
}

func result(item names.WorkItem, state envelope.State, end Ending) *envelope.Message {
	r := envelope.Result{
		State: state, Attempts: end.Verdict.Attempts, Reason: end.Verdict.Reason, Message: end.Verdict.Message, Ended: end.Now,
	}
	var body []byte
	if a := end.Last; a != nil {
		r.Response = &envelope.Response{Status: a.Status, Header: a.Header, Truncated: a.Truncated}
		body = a.Body
	}
	return envelope.ResultMessage(item.Function.Namespace, item.ID, r, body)
}

func (b *Bus) storeEnding(ctx context.Context, end Ending, message func(Ending) *envelope.Message) error {
	_, err := b.Store(ctx, message(end))
	if errors.Is(err, ErrTooLarge) {
		_, err = b.Store(ctx, message(end.bare()))
	}
	return err
}
