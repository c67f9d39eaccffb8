package bus

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/serviceful/serviceful/operator/internal/envelope"
	"github.com/serviceful/serviceful/operator/internal/event"
	"github.com/serviceful/serviceful/operator/internal/names"
)

// MaxValue is the largest value of a key, in bytes.
const MaxValue = 1 << 20

// The headers of NATS's key-value buckets (ADR-8, ADR-43, ADR-48).
const (
	headerOperation = "KV-Operation"
	headerMarker    = "Nats-Marker-Reason"
	headerTTL       = "Nats-TTL"
)

// KeyRef is a key in a bucket of a namespace.
type KeyRef struct{ Namespace, Bucket, Key string }

func (k KeyRef) subject() string { return names.Key(k.Namespace, k.Bucket, k.Key) }

// Entry is the value of a key and its revision.
type Entry struct {
	Value    []byte
	Revision uint64
}

// Get reads a key; ErrNotFound if it has no value.
func (b *Bus) Get(ctx context.Context, k KeyRef) (Entry, error) {
	m, err := b.Last(ctx, names.BucketStream(k.Namespace, k.Bucket), k.subject())
	if err != nil {
		return Entry{}, err
	}
	if tombstone(m.Header) {
		return Entry{Revision: m.Sequence}, ErrNotFound
	}
	return Entry{m.Body, m.Sequence}, nil
}

func tombstone(h envelope.Header) bool {
	return h.Get(headerOperation) != "" || h.Get(headerMarker) != ""
}

// Write is how a key or an object is changed: under which condition, and how many
// steps from a first cause. The zero Write is one, whatever is there.
type Write struct {
	Absent   bool   // only if it has no value
	Revision uint64 // only if it has this revision; 0: any
	Hops     int    // of the change (event.Event)
}

// note keeps the hops with what is stored, for whoever is told of the change.
func (w Write) note(m *envelope.Message) {
	if w.Hops > 0 {
		m.Header.Set(event.HeaderHops, strconv.Itoa(w.Hops))
	}
}

// Put sets a key for ttl (0: for good) if the condition of w holds, else it
// returns ErrConflict. It returns the new revision.
func (b *Bus) Put(ctx context.Context, k KeyRef, value []byte, w Write, ttl time.Duration) (uint64, error) {
	m := &envelope.Message{Subject: k.subject(), Header: envelope.Header{}, Body: value}
	if ttl > 0 {
		m.Header.Set(headerTTL, ttl.String())
	}
	w.note(m)
	if !w.Absent {
		return b.change(ctx, m, w)
	}
	stored, err := b.StoreIf(ctx, m, 0)
	if !errors.Is(err, ErrConflict) {
		return stored.Sequence, err
	}
	// Something is there: a value, or the mark of one that was deleted or
	// has expired.
	e, err := b.Get(ctx, k)
	if err == nil {
		return 0, ErrConflict
	}
	if !errors.Is(err, ErrNotFound) {
		return 0, err
	}
	stored, err = b.StoreIf(ctx, m, e.Revision)
	return stored.Sequence, err
}

// DeleteKey removes a key if the condition of w holds, else it returns
// ErrConflict. A key without a value is removed already: nothing changes.
//
// What is left of the key for a while is the mark of a purge: when that of a
// delete goes, the server takes it for a value that has expired.
func (b *Bus) DeleteKey(ctx context.Context, k KeyRef, w Write) error {
	if w.Revision == 0 {
		if _, err := b.Get(ctx, k); err != nil {
			return notFoundIsNil(err)
		}
	}
	m := &envelope.Message{
		Subject: k.subject(),
		Header:  envelope.Header{headerOperation: {"PURGE"}, headerTTL: {tombstonesKept.String()}},
	}
	w.note(m)
	_, err := b.change(ctx, m, w)
	return err
}

func notFoundIsNil(err error) error {
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}

func (b *Bus) change(ctx context.Context, m *envelope.Message, w Write) (uint64, error) {
	if w.Revision == 0 {
		stored, err := b.Store(ctx, m)
		return stored.Sequence, err
	}
	stored, err := b.StoreIf(ctx, m, w.Revision)
	return stored.Sequence, err
}

// Keys lists up to limit keys that begin with prefix, in no promised order,
// from the place that after marks (0: the beginning). next marks where the rest
// begins; 0 when there is none. A prefix that ends at a dot is looked up; any
// other is a scan of the whole bucket.
func (b *Bus) Keys(ctx context.Context, namespace, bucket, prefix string, limit int, after uint64) (keys []string, next uint64, err error) {
	filter := ">"
	if strings.HasSuffix(prefix, ".") {
		filter = prefix + ">"
	}
	root := names.Key(namespace, bucket, "")
	from := place{stream: names.BucketStream(namespace, bucket), subjects: []string{root + filter}, after: after, headersOnly: true}
	keys = []string{}
	err = b.scan(ctx, from, func(m *envelope.Message, more bool) (bool, error) {
		key := strings.TrimPrefix(m.Subject, root)
		if !tombstone(m.Header) && strings.HasPrefix(key, prefix) {
			keys = append(keys, key)
		}
		if len(keys) < limit {
			return true, nil
		}
		if more {
			next = m.Sequence
		}
		return false, nil
	})
	return keys, next, err
}
