package bus

import (
	"context"
	"io"
	"time"

	"github.com/serviceful/serviceful/operator/internal/envelope"
	"github.com/serviceful/serviceful/operator/internal/event"
	"github.com/serviceful/serviceful/operator/internal/names"
)

// Inlet is the Bus for what comes from outside. When Room is used up it answers
// ErrFull, while the Bus itself goes on: a result, a retry or a dead letter must
// be stored before the message that it came of can go, and so a store that was
// full to the last byte would never be emptied.
type Inlet struct {
	*Bus
	Room func() int64 // bytes
}

func (i Inlet) full() bool { return i.Room() <= 0 }

// Store is Bus.Store.
func (i Inlet) Store(ctx context.Context, m *envelope.Message) (Stored, error) {
	if i.full() {
		return Stored{}, ErrFull
	}
	return i.Bus.Store(ctx, m)
}

// StoreOnce is Bus.StoreOnce.
func (i Inlet) StoreOnce(ctx context.Context, k Key, newID string, make func(id string) *envelope.Message) (string, error) {
	if i.full() {
		return "", ErrFull
	}
	return i.Bus.StoreOnce(ctx, k, newID, make)
}

// PublishEvents is Bus.PublishEvents.
func (i Inlet) PublishEvents(ctx context.Context, namespace string, events []*event.Event) error {
	if i.full() {
		return ErrFull
	}
	return i.Bus.PublishEvents(ctx, namespace, events)
}

// Put is Bus.Put.
func (i Inlet) Put(ctx context.Context, k KeyRef, value []byte, w Write, ttl time.Duration) (uint64, error) {
	if i.full() {
		return 0, ErrFull
	}
	return i.Bus.Put(ctx, k, value, w, ttl)
}

// Send is Bus.Send.
func (i Inlet) Send(ctx context.Context, r Rerun, sequence uint64, now time.Time) error {
	if i.full() {
		return ErrFull
	}
	return i.Bus.Send(ctx, r, sequence, now)
}

// PutObject is Bus.PutObject. An upload ends when there is no more room.
func (i Inlet) PutObject(ctx context.Context, r ObjectRef, u Upload, w Write) (Object, error) {
	u.Body = roomy{u.Body, i}
	return i.Bus.PutObject(ctx, r, u, w)
}

// roomy is a body that can be read while there is room for it.
type roomy struct {
	io.Reader
	inlet Inlet
}

func (r roomy) Read(p []byte) (int, error) {
	if r.inlet.full() {
		return 0, ErrFull
	}
	return r.Reader.Read(p)
}

// Outlet is the Bus for what work under way leaves behind. When Room is used up
// it keeps no bodies of answers: so what a message leaves takes no more room than
// the message did, and the store gets no fuller.
type Outlet struct {
	*Bus
	Room func() int64 // bytes
}

// Bury is Bus.Bury.
func (o Outlet) Bury(ctx context.Context, m *envelope.Message, end Ending) error {
	return o.Bus.Bury(ctx, m, o.fitting(end))
}

// StoreResult is Bus.StoreResult.
func (o Outlet) StoreResult(ctx context.Context, item names.WorkItem, state envelope.State, end Ending) error {
	return o.Bus.StoreResult(ctx, item, state, o.fitting(end))
}

func (o Outlet) fitting(end Ending) Ending {
	if o.Room() <= 0 {
		return end.bare()
	}
	return end
}
