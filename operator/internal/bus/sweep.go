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

// sweepAge is how long nothing has come of an upload that counts as left: much
// longer than chunkTime.
const sweepAge = time.Hour

// SweepObjects removes the content that is no object's from all stores of a
// namespace: what an upload left whose process ended. It returns how many such
// there were.
func (l Layout) SweepObjects(ctx context.Context, namespace string, now time.Time) (swept int, err error) {
	list := l.Bus.js.StreamNames(ctx)
	for name := range list.Name() {
		of, store, ok := names.ParseStoreStream(name)
		if !ok || of != namespace {
			continue
		}
		n, err := l.sweepStore(ctx, namespace, store, now.Add(-sweepAge))
		if swept += n; err != nil {
			return swept, err
		}
	}
	return swept, explain("listing the streams", list.Err())
}

// sweepStore first looks for contents and then for objects: so the object of an
// upload that ends in between is seen.
func (l Layout) sweepStore(ctx context.Context, namespace, store string, before time.Time) (swept int, err error) {
	stream := names.StoreStream(namespace, store)
	left := map[string]string{} // subject by content
	err = l.eachSubject(ctx, stream, names.ObjectChunks(namespace, store, "*"), func(subject string, _ uint64) {
		if content, ok := names.ParseObjectChunks(subject); ok {
			left[content] = subject
		}
	})
	if err != nil || len(left) == 0 {
		return 0, err
	}
	err = l.Bus.Scan(ctx, stream, names.ObjectInfoFilter(namespace, store), func(m *envelope.Message) error {
		name, _ := names.ParseObjectInfo(m.Subject)
		o, err := objectOf(ObjectRef{namespace, store, name}, m)
		if errors.Is(err, ErrBroken) && o.content == "" { // it cannot be told whose content is whose
			return err
		}
		if !errors.Is(err, ErrNotFound) {
			delete(left, o.content)
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	for _, subject := range left {
		n, err := l.sweepContent(ctx, stream, subject, before)
		if swept += n; err != nil {
			return swept, err
		}
	}
	return swept, nil
}

func (l Layout) sweepContent(ctx context.Context, stream, subject string, before time.Time) (int, error) {
	last, err := l.Bus.Last(ctx, stream, subject)
	if errors.Is(err, ErrNotFound) {
		return 0, nil
	}
	if err != nil || last.Stored.After(before) {
		return 0, err
	}
	s, err := l.Bus.stream(ctx, stream)
	if err != nil {
		return 0, err
	}
	if err := s.Purge(ctx, jetstream.WithPurgeSubject(subject)); err != nil {
		return 0, fmt.Errorf("removing what an upload left: %w", explain("purging", err))
	}
	return 1, nil
}
