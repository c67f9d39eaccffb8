package bus

import (
	"context"
	"time"

	"github.com/serviceful/serviceful/operator/internal/envelope"
	"github.com/serviceful/serviceful/operator/internal/event"
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
func (i Inlet) Put(ctx context.Context, k KeyRef, value []byte, c Condition, ttl time.Duration) (uint64, error) {
	if i.full() {
		return 0, ErrFull
	}
	return i.Bus.Put(ctx, k, value, c, ttl)
}
