package bus

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/serviceful/serviceful/operator/internal/envelope"
	"github.com/serviceful/serviceful/operator/internal/names"
)

// ErrKeyReused is returned when an Idempotency-Key comes again with another
// request.
var ErrKeyReused = errors.New("the Idempotency-Key was used with another request")

// Key is an Idempotency-Key in its scope, and the request it came with.
type Key struct {
	Function names.Function
	Scope    string // what parts equal keys of one function: a trigger, names.MailTrigger
	Value    string
	Request  []byte // equal requests have equal bytes
}

// record is kept for resultsKept after it was last written.
type record struct {
	ID     string `json:"id"`
	Digest string `json:"digest"`
	Stored bool   `json:"stored"` // the message is known to be stored
}

// StoreOnce stores the message that make returns for an id: a new one when the
// key is new, the first one's when it is known. So a repeated request is the
// same message, even when the first try died between its steps. It returns the
// id, or ErrKeyReused.
func (b *Bus) StoreOnce(ctx context.Context, k Key, newID string, make func(id string) *envelope.Message) (string, error) {
	m, rec := k.record(newID)
	created, err := b.StoreIf(ctx, m, 0)
	if errors.Is(err, ErrConflict) {
		return b.storeAgain(ctx, k, m, make)
	}
	if err != nil {
		return "", err
	}
	if _, err := b.Store(ctx, make(newID)); err != nil {
		return "", err
	}
	b.confirm(ctx, m, rec, created.Sequence)
	return newID, nil
}

// storeAgain is StoreOnce for a key that is known.
func (b *Bus) storeAgain(ctx context.Context, k Key, m *envelope.Message, make func(id string) *envelope.Message) (string, error) {
	last, err := b.Last(ctx, names.Results(k.Function.Namespace), m.Subject)
	if err != nil {
		return "", err
	}
	var rec record
	if err := json.Unmarshal([]byte(last.Header.Get(envelope.HeaderRecord)), &rec); err != nil {
		return "", fmt.Errorf("reading an idempotency record: %w", err)
	}
	message, there, same := make(rec.ID), rec.Stored, rec.Digest == digest(k.Request)
	if !there {
		if there, err = b.known(ctx, message); err != nil {
			return "", err
		}
	}
	if there && !same {
		return "", ErrKeyReused
	}
	if !there {
		if _, err := b.Store(ctx, message); err != nil {
			return "", err
		}
	}
	if !rec.Stored {
		rec.Digest = digest(k.Request)
		b.confirm(ctx, m, rec, last.Sequence)
	}
	return rec.ID, nil
}

// known reports whether a work message is stored, put off, or has a result: in
// the order in which FindCall looks.
func (b *Bus) known(ctx context.Context, m *envelope.Message) (bool, error) {
	item, _ := names.ParseWork(m.Subject)
	namespace := item.Function.Namespace
	for _, at := range [][2]string{
		{names.Work(namespace), m.Subject},
		{names.Work(namespace), names.Schedule(m.Subject)},
		{names.Work(namespace), m.Subject},
		{names.Results(namespace), names.Result(namespace, item.ID)},
	} {
		_, err := b.Last(ctx, at[0], at[1])
		if !errors.Is(err, ErrNotFound) {
			return err == nil, err
		}
	}
	return false, nil
}

// confirm notes that the message is stored. If that fails, because another
// request has done so or the store has no room, a repeat looks for the message.
func (b *Bus) confirm(ctx context.Context, m *envelope.Message, rec record, last uint64) {
	rec.Stored = true
	m.Header = envelope.Header{envelope.HeaderFormat: {envelope.Format}, envelope.HeaderRecord: {rec.json()}}
	_, _ = b.StoreIf(ctx, m, last)
}

func (k Key) record(id string) (*envelope.Message, record) {
	rec := record{ID: id, Digest: digest(k.Request)}
	m := envelope.New(names.Idempotency(k.Function, k.Scope, digest([]byte(k.Value))), nil)
	m.Header.Set(envelope.HeaderRecord, rec.json())
	return m, rec
}

func (r record) json() string {
	b, _ := json.Marshal(r) // three plain fields
	return string(b)
}

func digest(b []byte) string {
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:16])
}
