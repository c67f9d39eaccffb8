package bus

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/serviceful/serviceful/operator/internal/envelope"
	"github.com/serviceful/serviceful/operator/internal/event"
	"github.com/serviceful/serviceful/operator/internal/names"
)

// The types of the events that tell of changes; docs/schemas has their data.
const (
	TypeKeyPut       = "dev.serviceful.keyvalue.put.v1"
	TypeKeyDelete    = "dev.serviceful.keyvalue.delete.v1"
	TypeKeyExpire    = "dev.serviceful.keyvalue.expire.v1"
	TypeObjectPut    = "dev.serviceful.object.put.v1"
	TypeObjectDelete = "dev.serviceful.object.delete.v1"
)

// TellChange stores a message of a bucket or an object store, which changed a key
// or an object, as an event in the namespace's log. Telling it twice tells it once,
// and telling it after a later change of the same key or object tells nothing: the
// log itself says which change it has heard of last.
//
// It returns nil as well for a message that is no change that could be told, which
// only other tools store.
func (b *Bus) TellChange(ctx context.Context, m *envelope.Message) error {
	c, err := changeOf(m)
	if err != nil {
		slog.Warn("a change cannot be told", "subject", m.Subject, "revision", m.Sequence, "error", err)
		return nil
	}
	for {
		last, err := b.Last(ctx, names.Events(c.namespace), c.subject)
		if err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
		if err != nil {
			last = nil
		}
		err = b.tell(ctx, c, last)
		if !errors.Is(err, ErrConflict) { // else somebody else has told something meanwhile
			return err
		}
	}
}

// tell stores a change, if last is the last one that the log has of its key or
// object; nil: it has none.
func (b *Bus) tell(ctx context.Context, c *change, last *envelope.Message) error {
	previous, known := toldBy(last)
	if known && c.revision <= previous.revision && !c.at.After(previous.at) {
		return nil
	}
	at := uint64(0)
	if last != nil {
		at = last.Sequence
	}
	if known && previous.revision < c.revision { // else the bucket was made anew since
		c.previous = previous.revision
	}
	_, err := b.StoreIf(ctx, c.message(), at)
	if errors.Is(err, ErrTooLarge) { // of a value that only other tools can store
		c.value = nil
		_, err = b.StoreIf(ctx, c.message(), at)
	}
	return err
}

// change is a change of a key or an object.
type change struct {
	namespace, subject string // where in the log it is told
	kind, source, name string // of the event
	revision           uint64
	previous           uint64 // what the log heard of before; 0: it does not know
	at                 time.Time
	hops               int
	value              []byte // of a key that was put; nil: there is none, or it is too large
	bucket             string // of a key; else ""
	object             *Object
}

// told is what the log says of a change that it has.
type told struct {
	revision uint64
	at       time.Time
}

func toldBy(m *envelope.Message) (told, bool) {
	if m == nil {
		return told{}, false
	}
	revision, err := strconv.ParseUint(m.Header.Get("ce-id"), 10, 64)
	at, notTime := time.Parse(time.RFC3339Nano, m.Header.Get("ce-time"))
	return told{revision, at}, err == nil && notTime == nil
}

func changeOf(m *envelope.Message) (*change, error) {
	c := &change{revision: m.Sequence, at: m.Stored, hops: event.FromStored(m.Header, nil).Hops}
	if namespace, bucket, key, ok := names.ParseKey(m.Subject); ok {
		c.namespace, c.bucket, c.name = namespace, bucket, key
		c.subject, c.source, c.kind = names.KeyChanges(namespace, bucket, key), "/"+names.BucketPath(bucket), TypeKeyPut
		switch {
		case m.Header.Get(headerMarker) == "MaxAge":
			c.kind = TypeKeyExpire
		case tombstone(m.Header):
			c.kind = TypeKeyDelete
		default:
			c.value = m.Body
			if c.value == nil {
				c.value = []byte{}
			}
		}
		return c, nil
	}
	namespace, store, name, ok := names.ParseObject(m.Subject)
	if !ok || !names.ValidObject(name) {
		return nil, fmt.Errorf("%q is the subject of no key or object", m.Subject)
	}
	o, err := objectOf(ObjectRef{namespace, store, name}, m)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return nil, err
	}
	c.namespace, c.name, c.object = namespace, name, &o
	c.subject, c.source, c.kind = names.ObjectChange(namespace, store, name), "/"+names.StorePath(store), TypeObjectPut
	if err != nil {
		c.kind = TypeObjectDelete
	}
	return c, nil
}

// message is the event as it is stored.
func (c *change) message() *envelope.Message {
	e := event.Own(strconv.FormatUint(c.revision, 10), c.source, c.kind, c.at)
	e.Hops = c.hops
	e.Set("subject", event.Encode(c.name))
	e.OwnJSON(c.data(), c.kind)
	out := envelope.New(c.subject, e.Data)
	e.ToStored(out.Header)
	return out
}

// keyData and objectData are the data of the events.
type keyData struct {
	Bucket           string          `json:"bucket"`
	Key              string          `json:"key"`
	Revision         uint64          `json:"revision"`
	PreviousRevision uint64          `json:"previousRevision,omitempty"`
	Value            json.RawMessage `json:"value,omitempty"`
	ValueBase64      *[]byte         `json:"valueBase64,omitempty"`
}

type objectData struct {
	Store            string `json:"store"`
	Name             string `json:"name"`
	Revision         uint64 `json:"revision"`
	PreviousRevision uint64 `json:"previousRevision,omitempty"`
	Size             *int64 `json:"size,omitempty"`
	ContentType      string `json:"contentType,omitempty"`
	Digest           string `json:"digest,omitempty"`
}

func (c *change) data() []byte {
	if c.object != nil {
		d := objectData{Store: c.object.Store, Name: c.name, Revision: c.revision, PreviousRevision: c.previous}
		if c.kind == TypeObjectPut {
			d.Size, d.ContentType, d.Digest = &c.object.Size, c.object.ContentType, ReprDigest(c.object.Digest)
		}
		return []byte(envelope.Encode(d))
	}
	d := keyData{Bucket: c.bucket, Key: c.name, Revision: c.revision, PreviousRevision: c.previous}
	switch {
	case c.value == nil:
	case json.Valid(c.value) && utf8.Valid(c.value): // the first alone lets other bytes pass within strings
		d.Value = c.value
	default:
		d.ValueBase64 = &c.value
	}
	return []byte(envelope.Encode(d))
}

// ReprDigest is a SHA-256 as the header Repr-Digest has it (RFC 9530); "" for none.
func ReprDigest(digest []byte) string {
	if len(digest) == 0 {
		return ""
	}
	return "sha-256=:" + base64.StdEncoding.EncodeToString(digest) + ":"
}
