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
	Scope    string // what parts equal keys of one function: a trigger, names.MailTrigger, names.QueueScope
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
// key is new or its call was cancelled, the first one's when it is known. So a
// repeated request is the same message, even when the first try died between its
// steps. It returns the id, or ErrKeyReused.
func (b *Bus) StoreOnce(ctx context.Context, k Key, newID string, make func(id string) *envelope.Message) (string, error) {
	id, err := b.storeNew(ctx, k, 0, newID, make)
	for errors.Is(err, ErrConflict) { // the key is known; or another request has just changed what it stands for
		id, err = b.storeAgain(ctx, k, newID, make)
	}
	return id, err
}

// storeNew stores a message whose id the key is to stand for from now on. last
// is the sequence of the record that it replaces.
func (b *Bus) storeNew(ctx context.Context, k Key, last uint64, id string, make func(string) *envelope.Message) (string, error) {
	rec := record{ID: id, Digest: digest(k.Request)}
	created, err := b.StoreIf(ctx, k.message(rec), last)
	if err != nil {
		return "", err
	}
	if _, err := b.Store(ctx, make(id)); err != nil {
		return "", err
	}
	b.confirm(ctx, k, rec, created.Sequence)
	return id, nil
}

// storeAgain is StoreOnce for a key that is known.
func (b *Bus) storeAgain(ctx context.Context, k Key, newID string, make func(id string) *envelope.Message) (string, error) {
	last, err := b.Last(ctx, names.Results(k.Function.Namespace), k.subject())
	if errors.Is(err, ErrNotFound) { // its time was up a moment ago
		return b.storeNew(ctx, k, 0, newID, make)
	}
	if err != nil {
		return "", err
	}
	var rec record
	if err := json.Unmarshal([]byte(last.Header.Get(envelope.HeaderRecord)), &rec); err != nil {
		return "", fmt.Errorf("reading an idempotency record: %w", err)
	}
	message := make(rec.ID)
	there, err := b.known(ctx, message, rec.Stored)
	switch {
	case err != nil:
		return "", err
	case there && rec.Digest != digest(k.Request):
		return "", ErrKeyReused
	case there && rec.Stored:
		return rec.ID, nil
	case !there && rec.Stored: // and then cancelled
		return b.storeNew(ctx, k, last.Sequence, newID, make)
	case !there:
		stored, err := b.Store(ctx, message)
		if err != nil {
			return "", err
		}
		if stored.Duplicate { // it was stored when this was asked for, or once and was cancelled
			if there, err = b.known(ctx, message, true); err != nil {
				return "", err
			}
			if !there {
				return b.storeNew(ctx, k, last.Sequence, newID, make)
			}
		}
	}
	rec.Digest = digest(k.Request)
	b.confirm(ctx, k, rec, last.Sequence)
	return rec.ID, nil
}

// known reports whether a work message is stored, put off, or has a result. It
// looks at the first two at once, for a message goes to and fro between them. A
// mail and a queue's message have no result: once stored, they are known.
func (b *Bus) known(ctx context.Context, m *envelope.Message, stored bool) (bool, error) {
	item, _ := names.ParseWork(names.Unschedule(m.Subject))
	namespace := item.Function.Namespace
	if stored && item.Trigger == "" {
		return true, nil
	}
	for _, at := range [][2]string{
		{names.Work(namespace), names.DueOrPutOff(m.Subject)},
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
func (b *Bus) confirm(ctx context.Context, k Key, rec record, last uint64) {
	rec.Stored = true
	_, _ = b.StoreIf(ctx, k.message(rec), last)
}

func (k Key) subject() string { return names.Idempotency(k.Function, k.Scope, digest([]byte(k.Value))) }

func (k Key) message(rec record) *envelope.Message {
	m := envelope.New(k.subject(), nil)
	m.Header.Set(envelope.HeaderRecord, rec.json())
	return m
}

func (r record) json() string {
	b, _ := json.Marshal(r) // three plain fields
	return string(b)
}

func digest(b []byte) string {
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:16])
}
