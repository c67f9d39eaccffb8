package metrics

import (
	"context"
	"errors"
	"time"

	"github.com/serviceful/serviceful/operator/internal/bus"
	"github.com/serviceful/serviceful/operator/internal/envelope"
	"github.com/serviceful/serviceful/operator/internal/event"
	"github.com/serviceful/serviceful/operator/internal/names"
)

// failed counts an error of the store, and passes it on.
func (m *Metrics) failed(err error) error {
	switch {
	case err == nil:
	case errors.Is(err, bus.ErrFull):
		m.failures.WithLabelValues("full").Inc()
	case errors.Is(err, bus.ErrTooLarge):
		m.failures.WithLabelValues("too_large").Inc()
	case errors.Is(err, bus.ErrUnavailable), errors.Is(err, context.DeadlineExceeded):
		m.failures.WithLabelValues("unavailable").Inc()
	}
	return err
}

// Inlet is a bus.Inlet whose failures are counted.
type Inlet struct {
	bus.Inlet
	m *Metrics
}

// Inlet counts what an inlet does not store.
func (m *Metrics) Inlet(in bus.Inlet) Inlet { return Inlet{in, m} }

// Store is bus.Inlet's.
func (i Inlet) Store(ctx context.Context, msg *envelope.Message) (bus.Stored, error) {
	stored, err := i.Inlet.Store(ctx, msg)
	return stored, i.m.failed(err)
}

// StoreOnce is bus.Inlet's.
func (i Inlet) StoreOnce(ctx context.Context, k bus.Key, newID string, make func(id string) *envelope.Message) (string, error) {
	id, err := i.Inlet.StoreOnce(ctx, k, newID, make)
	return id, i.m.failed(err)
}

// PublishEvents is bus.Inlet's.
func (i Inlet) PublishEvents(ctx context.Context, namespace string, events []*event.Event) error {
	return i.m.failed(i.Inlet.PublishEvents(ctx, namespace, events))
}

// Put is bus.Inlet's.
func (i Inlet) Put(ctx context.Context, k bus.KeyRef, value []byte, w bus.Write, ttl time.Duration) (uint64, error) {
	revision, err := i.Inlet.Put(ctx, k, value, w, ttl)
	return revision, i.m.failed(err)
}

// PutObject is bus.Inlet's.
func (i Inlet) PutObject(ctx context.Context, r bus.ObjectRef, u bus.Upload, w bus.Write) (bus.Object, error) {
	object, err := i.Inlet.PutObject(ctx, r, u, w)
	return object, i.m.failed(err)
}

// Keeper is a Bus that keeps what messages leave behind, and whose failures are
// counted.
type Keeper struct {
	*bus.Bus
	m *Metrics
}

// Keeper counts what a bus does not store of what messages leave behind.
func (m *Metrics) Keeper(b *bus.Bus) Keeper { return Keeper{b, m} }

// Store is bus.Bus's.
func (k Keeper) Store(ctx context.Context, msg *envelope.Message) (bus.Stored, error) {
	stored, err := k.Bus.Store(ctx, msg)
	return stored, k.m.failed(err)
}

// Bury is bus.Bus's.
func (k Keeper) Bury(ctx context.Context, msg *envelope.Message, end bus.Ending) error {
	return k.m.failed(k.Bus.Bury(ctx, msg, end))
}

// StoreResult is bus.Bus's.
func (k Keeper) StoreResult(ctx context.Context, item names.WorkItem, state envelope.State, end bus.Ending) error {
	return k.m.failed(k.Bus.StoreResult(ctx, item, state, end))
}

// PublishEvents is bus.Bus's.
func (k Keeper) PublishEvents(ctx context.Context, namespace string, events []*event.Event) error {
	return k.m.failed(k.Bus.PublishEvents(ctx, namespace, events))
}

// TellChange is bus.Bus's.
func (k Keeper) TellChange(ctx context.Context, msg *envelope.Message) error {
	return k.m.failed(k.Bus.TellChange(ctx, msg))
}
