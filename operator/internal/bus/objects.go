package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"github.com/serviceful/serviceful/operator/internal/envelope"
	"github.com/serviceful/serviceful/operator/internal/names"
)

// An object is kept as NATS's own tools keep it (ADR-20): its content in chunks
// on a subject of its own, and then a message that says what the object is, which
// replaces the one before. So an object changes at once, and whole.

// ErrBroken is returned when the content of an object is not there as it should
// be: it was replaced or removed while it was read, or some of it is missing or
// damaged.
var ErrBroken = errors.New("the object's content is not whole")

// ErrDigest is returned when what came is not what its digest says.
var ErrDigest = errors.New("the content has another digest")

// ObjectRef is an object in a store of a namespace.
type ObjectRef struct{ Namespace, Store, Name string }

// Object is what an object is.
type Object struct {
	ObjectRef
	ContentType string // "": unknown
	Size        int64  // bytes
	Digest      []byte // SHA-256 of the content
	Revision    uint64
	Modified    time.Time

	// Placed says that each chunk knows its place, so that a part of the object
	// can be read alone. Other tools' objects are read whole.
	Placed bool

	content string // names the chunks
}

// The headers and metadata of an object beside NATS's own.
const (
	headerRollup      = "Nats-Rollup"
	headerContentType = "Content-Type"
	placedKey         = "serviceful.dev/placed"
	digestPrefix      = "SHA-256="
)

// objectConfig is an object store as NATS clients expect it, but for Discard
// Old, which later allows schedules beside the objects.
func objectConfig(namespace, store string) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name: names.StoreStream(namespace, store), Subjects: names.ObjectSubjects(namespace, store),
		AllowRollup: true, AllowMsgTTL: true,
	}
}

// Object says what an object is; ErrNotFound if there is none.
func (b *Bus) Object(ctx context.Context, r ObjectRef) (Object, error) {
	m, err := b.Last(ctx, names.StoreStream(r.Namespace, r.Store), names.ObjectInfo(r.Namespace, r.Store, r.Name))
	if err != nil {
		return Object{ObjectRef: r}, err
	}
	return objectOf(r, m)
}

// objectOf reads what an object is. One that was deleted, or a link, which only
// other tools make, is ErrNotFound with the revision.
func objectOf(r ObjectRef, m *envelope.Message) (Object, error) {
	o := Object{ObjectRef: r, Revision: m.Sequence, Modified: m.Stored}
	var info jetstream.ObjectInfo
	if err := json.Unmarshal(m.Body, &info); err != nil {
		return o, fmt.Errorf("%w: reading what object %q is: %w", ErrBroken, r.Name, err)
	}
	o.content = info.NUID
	if info.Deleted || info.Opts != nil && info.Opts.Link != nil {
		return o, ErrNotFound
	}
	o.Digest, _ = jetstream.DecodeObjectDigest(info.Digest) // without one it cannot be read whole
	o.Size, o.Placed = int64(info.Size), info.Metadata[placedKey] != ""
	o.ContentType = info.Headers.Get(headerContentType)
	return o, nil
}

// Upload is what is to become an object.
type Upload struct {
	ContentType string
	Digest      []byte // the SHA-256 that the content must have; nil: any
	Body        io.Reader
}

// PutObject makes the content the object's if the condition of w holds, before the
// upload and after it; else it returns ErrConflict. It holds about a mebibyte of
// the content at a time. Of an upload that fails nothing is left, unless this
// process or NATS ends meanwhile; then Layout.SweepObjects removes what is.
func (b *Bus) PutObject(ctx context.Context, r ObjectRef, u Upload, w Write) (Object, error) {
	if _, err := b.replaceable(ctx, r, w); err != nil {
		return Object{}, err
	}
	content := nuid.Next()
	sent, err := b.upload(ctx, names.ObjectChunks(r.Namespace, r.Store, content), u.Body)
	if err == nil && u.Digest != nil && string(u.Digest) != string(sent.digest) {
		err = ErrDigest
	}
	if err != nil {
		b.dropContent(ctx, Object{ObjectRef: r, content: content})
		return Object{}, err
	}
	o := Object{
		ObjectRef: r, ContentType: u.ContentType, Size: sent.size, Digest: sent.digest, Modified: time.Now(), Placed: true, content: content,
	}
	o.Revision, err = b.replace(ctx, r, w, infoMessage(o, sent.chunks))
	switch {
	case errors.Is(err, ErrUnavailable): // it may be stored, or be so in a moment
		return Object{}, err
	case err != nil:
		b.dropContent(ctx, o)
		return Object{}, err
	}
	return o, nil
}

// DeleteObject removes an object if the condition of w holds, else it returns
// ErrConflict. One that is not there is removed already.
func (b *Bus) DeleteObject(ctx context.Context, r ObjectRef, w Write) error {
	old, err := b.replaceable(ctx, r, w)
	if err != nil || old.Size < 0 {
		return err
	}
	m := infoOf(jetstream.ObjectInfo{ObjectMeta: jetstream.ObjectMeta{Name: r.Name}, NUID: old.content, Deleted: true}, r)
	m.Header.Set(headerTTL, tombstonesKept.String())
	_, err = b.replace(ctx, r, w, m)
	return err
}

// gone is the size of an object that is not there.
const gone = -1

// replaceable is the object that is there, which w allows to be
// replaced; its size is gone where there is none.
func (b *Bus) replaceable(ctx context.Context, r ObjectRef, w Write) (Object, error) {
	old, err := b.Object(ctx, r)
	if errors.Is(err, ErrNotFound) {
		old.Size = gone
	} else if err != nil {
		return old, err
	}
	if w.Absent && old.Size >= 0 || w.Revision != 0 && (old.Size < 0 || w.Revision != old.Revision) {
		return old, ErrConflict
	}
	return old, nil
}

// replace stores what the object is from now on, and removes the content that
// it had. That must be exactly the one that was replaced, however many others
// write at the same time: so it is a compare-and-set also without a condition.
func (b *Bus) replace(ctx context.Context, r ObjectRef, w Write, m *envelope.Message) (revision uint64, err error) {
	w.note(m)
	for {
		old, err := b.replaceable(ctx, r, w)
		if err != nil {
			return 0, err
		}
		stored, err := b.StoreIf(ctx, m, old.Revision)
		if errors.Is(err, ErrConflict) { // somebody else was faster: each time that is another write that went through
			continue
		}
		if err == nil {
			b.dropContent(ctx, old)
		}
		return stored.Sequence, err
	}
}

// dropContent removes chunks that are no object's. Where that fails they are
// swept later.
func (b *Bus) dropContent(ctx context.Context, o Object) {
	if o.content == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
	defer cancel()
	if s, err := b.stream(ctx, names.StoreStream(o.Namespace, o.Store)); err == nil {
		_ = s.Purge(ctx, jetstream.WithPurgeSubject(names.ObjectChunks(o.Namespace, o.Store, o.content)))
	}
}

func infoMessage(o Object, chunks uint32) *envelope.Message {
	info := jetstream.ObjectInfo{
		ObjectMeta: jetstream.ObjectMeta{
			Name: o.Name, Metadata: map[string]string{placedKey: "1"}, Opts: &jetstream.ObjectMetaOptions{ChunkSize: chunkSize},
		},
		NUID: o.content, Size: uint64(o.Size), Chunks: chunks, Digest: encodeDigest(o.Digest),
	}
	if o.ContentType != "" {
		info.Headers = nats.Header{headerContentType: {o.ContentType}}
	}
	return infoOf(info, o.ObjectRef)
}

func infoOf(info jetstream.ObjectInfo, r ObjectRef) *envelope.Message {
	info.Bucket = names.Store(r.Namespace, r.Store)
	body, err := json.Marshal(info)
	if err != nil { // texts and numbers
		panic(err)
	}
	return &envelope.Message{
		Subject: names.ObjectInfo(r.Namespace, r.Store, r.Name), Header: envelope.Header{headerRollup: {jetstream.MsgRollupSubject}}, Body: body,
	}
}

// Objects lists up to limit objects whose names begin with prefix, in no promised
// order, from the place that after marks (0: the beginning). next marks where the
// rest begins; 0 when there is none. It is a scan of the whole store.
func (b *Bus) Objects(ctx context.Context, namespace, store, prefix string, limit int, after uint64) (objects []Object, next uint64, err error) {
	from := place{stream: names.StoreStream(namespace, store), subjects: []string{names.ObjectInfoFilter(namespace, store)}, after: after}
	objects = []Object{}
	err = b.scan(ctx, from, func(m *envelope.Message, more bool) (bool, error) {
		name, ok := names.ParseObjectInfo(m.Subject)
		if ok && strings.HasPrefix(name, prefix) {
			if o, err := objectOf(ObjectRef{namespace, store, name}, m); err == nil { // what cannot be read is told to whoever reads it
				objects = append(objects, o)
			}
		}
		if len(objects) < limit {
			return true, nil
		}
		if more {
			next = m.Sequence
		}
		return false, nil
	})
	return objects, next, err
}
