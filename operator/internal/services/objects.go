package services

import (
	"crypto/sha256"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/dunglas/httpsfv"

	"github.com/serviceful/serviceful/operator/internal/bus"
	"github.com/serviceful/serviceful/operator/internal/names"
	"github.com/serviceful/serviceful/operator/internal/serve"
)

// headerDigest is the SHA-256 of a whole content (RFC 9530).
const headerDigest = "Repr-Digest"

// rereads is how often the reading of an object begins anew when it was replaced
// before anything of it was answered.
const rereads = 5

func (d *Door) getObject(w http.ResponseWriter, r *http.Request, c caller) error {
	ref, err := c.object(false)
	if err != nil {
		return err
	}
	for try := 1; ; try++ {
		err = d.answerObject(w, r, ref)
		if !errors.Is(err, bus.ErrBroken) || try == rereads {
			return explainObject(err, ref)
		}
	}
}

// answerObject answers with an object as it is now, or a part of it. It returns
// ErrBroken when nothing was answered yet; later, the answer breaks off.
func (d *Door) answerObject(w http.ResponseWriter, r *http.Request, ref bus.ObjectRef) error {
	o, err := d.cfg.Objects.Object(r.Context(), ref)
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("ETag", etag(o.Revision))
	h.Set("Last-Modified", o.Modified.UTC().Format(http.TimeFormat))
	switch readOf(r.Header, o.Revision) {
	case http.StatusPreconditionFailed:
		return bus.ErrConflict
	case http.StatusNotModified:
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	part, status := span{0, o.Size}, http.StatusOK
	if o.Placed {
		h.Set("Accept-Ranges", "bytes")
		if part, status = partOf(r.Header, o); status == http.StatusRequestedRangeNotSatisfiable {
			h.Set("Content-Range", "bytes */"+strconv.FormatInt(o.Size, 10))
			return serve.NewProblem(status, "range-not-satisfiable", "object %q has %d bytes: none of them is in %q", ref.Name, o.Size, r.Header.Get("Range"))
		}
	}
	h.Set("Content-Type", orBinary(o.ContentType))
	h.Set("Content-Length", strconv.FormatInt(part.length, 10))
	h.Set(headerDigest, bus.ReprDigest(o.Digest))
	if status == http.StatusPartialContent {
		h.Set("Content-Range", part.of(o.Size))
	}
	if r.Method == http.MethodHead {
		w.WriteHeader(status)
		return nil
	}
	out := &begun{ResponseWriter: w, status: status}
	err = d.cfg.Objects.ReadObject(r.Context(), o, part.from, part.length, out)
	if err != nil && !out.is {
		clear(h)
		return err
	}
	if err != nil {
		panic(http.ErrAbortHandler) // the caller must not take a part for the whole
	}
	return nil
}

// begun is an answer that begins with its first byte.
type begun struct {
	http.ResponseWriter
	status int
	is     bool
}

func (b *begun) Write(p []byte) (int, error) {
	if !b.is {
		b.is = true
		b.WriteHeader(b.status)
	}
	return b.ResponseWriter.Write(p)
}

func (d *Door) putObject(w http.ResponseWriter, r *http.Request, c caller) error {
	ref, err := c.object(true)
	if err != nil {
		return err
	}
	write, err := writeOf(r.Header)
	if err != nil {
		return err
	}
	u := bus.Upload{Body: serve.Body(w, r, serve.Stall)}
	if u.ContentType, err = mediaType(r.Header); err != nil {
		return err
	}
	if u.Digest, err = parseDigest(r.Header.Values(headerDigest)); err != nil {
		return err
	}
	o, err := d.cfg.Objects.PutObject(r.Context(), ref, u, write)
	if err != nil {
		return explainObject(err, ref)
	}
	w.Header().Set("ETag", etag(o.Revision))
	w.Header().Set(headerDigest, bus.ReprDigest(o.Digest))
	if write.Absent {
		w.WriteHeader(http.StatusCreated)
		return nil
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (d *Door) deleteObject(w http.ResponseWriter, r *http.Request, c caller) error {
	ref, err := c.object(true)
	if err != nil {
		return err
	}
	write, err := deletionOf(r.Header)
	if err != nil {
		return err
	}
	if err := d.cfg.Objects.DeleteObject(r.Context(), ref, write); err != nil {
		return explainObject(err, ref)
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// objectList is a page of objects; Next, where there are more, is the page after.
type objectList struct {
	Objects []objectInfo `json:"objects"`
	Next    string       `json:"next,omitempty"`
}

type objectInfo struct {
	Name        string    `json:"name"`
	Size        int64     `json:"size"`
	ETag        string    `json:"etag"`
	ContentType string    `json:"contentType"`
	Modified    time.Time `json:"modified"`
}

func (d *Door) listObjects(w http.ResponseWriter, r *http.Request, c caller) error {
	name := c.params["store"]
	if err := c.mayUse(storeBinding, c.Stores, name, false); err != nil {
		return err
	}
	limit, after, prefix, err := pageOf(r)
	if err != nil {
		return err
	}
	objects, next, err := d.cfg.Objects.Objects(r.Context(), c.Name.Namespace, name, prefix, limit, after)
	if err != nil {
		return err
	}
	list := objectList{Objects: make([]objectInfo, len(objects)), Next: formatPage(next)}
	for i, o := range objects {
		list.Objects[i] = objectInfo{o.Name, o.Size, etag(o.Revision), orBinary(o.ContentType), o.Modified.UTC()}
	}
	serve.WriteJSON(w, http.StatusOK, list)
	return nil
}

// object is the object of a call that may use it.
func (c caller) object(write bool) (bus.ObjectRef, error) {
	ref := bus.ObjectRef{Namespace: c.Name.Namespace, Store: c.params["store"], Name: c.params["name"]}
	if err := c.mayUse(storeBinding, c.Stores, ref.Store, write); err != nil {
		return ref, err
	}
	if !names.ValidObject(ref.Name) {
		return ref, serve.NewProblem(http.StatusBadRequest, "malformed-name", "object %q: %s", ref.Name, names.ObjectRule)
	}
	return ref, nil
}

func explainObject(err error, ref bus.ObjectRef) error {
	switch {
	case errors.Is(err, bus.ErrNotFound):
		return serve.NewProblem(http.StatusNotFound, "no-such-object", "object store %q has no object %q", ref.Store, ref.Name)
	case errors.Is(err, bus.ErrConflict):
		return serve.NewProblem(http.StatusPreconditionFailed, "revision-mismatch", "object %q of store %q has another revision than the condition says", ref.Name, ref.Store)
	case errors.Is(err, bus.ErrBroken):
		return serve.NewProblem(http.StatusInternalServerError, "object-broken", "object %q of store %q: %v", ref.Name, ref.Store, err)
	case errors.Is(err, bus.ErrDigest):
		return serve.NewProblem(http.StatusBadRequest, "digest-mismatch", "the content is not what its %s says; nothing was stored", headerDigest)
	case errors.Is(err, bus.ErrTooSlow):
		return serve.NewProblem(http.StatusRequestTimeout, "body-stalled", "%v", err)
	}
	return err
}

func orBinary(contentType string) string {
	if contentType == "" {
		return "application/octet-stream"
	}
	return contentType
}

// parseDigest reads the SHA-256 of the lines of a Repr-Digest; nil where there are
// none, as where there are other kinds of digests only.
func parseDigest(lines []string) ([]byte, error) {
	digests, err := httpsfv.UnmarshalDictionary(lines)
	if err == nil {
		member, ok := digests.Get("sha-256")
		if !ok && (len(lines) == 0 || len(digests.Names()) > 0) {
			return nil, nil
		}
		if item, ok := member.(httpsfv.Item); ok {
			if digest, ok := item.Value.([]byte); ok && len(digest) == sha256.Size {
				return digest, nil
			}
		}
	}
	return nil, serve.NewProblem(http.StatusBadRequest, "malformed-digest", "%s %q: sha-256=:<32 bytes in base64>:", headerDigest, strings.Join(lines, ", "))
}
