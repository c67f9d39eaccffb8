package services

import (
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/serviceful/serviceful/operator/internal/bus"
	"github.com/serviceful/serviceful/operator/internal/names"
	"github.com/serviceful/serviceful/operator/internal/serve"
)

// HeaderTTL is how long a key is kept, as a Go duration such as "90s" or "24h".
const HeaderTTL = "Serviceful-TTL"

// maxTTL is ten years. NATS keeps the time of expiry in nanoseconds since 1970,
// and removes at once what is past their end.
const maxTTL = 10 * 365 * 24 * time.Hour

func (d *Door) getKey(w http.ResponseWriter, r *http.Request, c caller) error {
	k, err := c.key(false)
	if err != nil {
		return err
	}
	e, err := d.cfg.Buckets.Get(r.Context(), k)
	if err != nil {
		return explainKey(err, k)
	}
	w.Header().Set("ETag", etag(e.Revision))
	w.Header().Set("Content-Type", "application/octet-stream")
	switch readOf(r.Header, e.Revision) {
	case http.StatusPreconditionFailed:
		return explainKey(bus.ErrConflict, k)
	case http.StatusNotModified:
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	_, _ = w.Write(e.Value) // nobody is left to be told of an error
	return nil
}

func (d *Door) putKey(w http.ResponseWriter, r *http.Request, c caller) error {
	k, err := c.key(true)
	if err != nil {
		return err
	}
	write, err := writeOf(r.Header)
	if err != nil {
		return err
	}
	ttl, err := ttlOf(r.Header)
	if err != nil {
		return err
	}
	value, err := serve.ReadBody(w, r, min(d.cfg.MaxBody, bus.MaxValue), serve.Stall)
	if err != nil {
		return err
	}
	revision, err := d.cfg.Buckets.Put(r.Context(), k, value, write, ttl)
	if err != nil {
		return explainKey(err, k)
	}
	w.Header().Set("ETag", etag(revision))
	if write.Absent {
		w.WriteHeader(http.StatusCreated)
		return nil
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (d *Door) deleteKey(w http.ResponseWriter, r *http.Request, c caller) error {
	k, err := c.key(true)
	if err != nil {
		return err
	}
	write, err := deletionOf(r.Header)
	if err != nil {
		return err
	}
	if err := d.cfg.Buckets.DeleteKey(r.Context(), k, write); err != nil {
		return explainKey(err, k)
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// keyList is a page of keys; Next, where there are more, is the page after.
type keyList struct {
	Keys []string `json:"keys"`
	Next string   `json:"next,omitempty"`
}

func (d *Door) listKeys(w http.ResponseWriter, r *http.Request, c caller) error {
	name := c.params["bucket"]
	if err := c.mayUse(bucketBinding, c.Buckets, name, false); err != nil {
		return err
	}
	limit, after, prefix, err := pageOf(r)
	if err != nil {
		return err
	}
	if prefix != "" && !names.ValidKey(strings.TrimSuffix(prefix, ".")) {
		return serve.NewProblem(http.StatusBadRequest, "malformed-key", "prefix %q: %s", prefix, names.KeyRule)
	}
	keys, next, err := d.cfg.Buckets.Keys(r.Context(), c.Name.Namespace, name, prefix, limit, after)
	if err != nil {
		return err
	}
	serve.WriteJSON(w, http.StatusOK, keyList{Keys: keys, Next: formatPage(next)})
	return nil
}

// key is the key of a call that may use it.
func (c caller) key(write bool) (bus.KeyRef, error) {
	k := bus.KeyRef{Namespace: c.Name.Namespace, Bucket: c.params["bucket"], Key: c.params["key"]}
	if err := c.mayUse(bucketBinding, c.Buckets, k.Bucket, write); err != nil {
		return k, err
	}
	if !names.ValidKey(k.Key) {
		return k, serve.NewProblem(http.StatusBadRequest, "malformed-key", "key %q: %s", k.Key, names.KeyRule)
	}
	return k, nil
}

// ttlOf reads Serviceful-TTL, rounded up to whole seconds: NATS cuts fractions.
func ttlOf(h http.Header) (time.Duration, error) {
	ttl, err := durationOf(h, HeaderTTL, "malformed-ttl", time.Second, maxTTL)
	return (ttl + time.Second - 1).Truncate(time.Second), err
}

func explainKey(err error, k bus.KeyRef) error {
	switch {
	case errors.Is(err, bus.ErrNotFound):
		return serve.NewProblem(http.StatusNotFound, "no-such-key", "bucket %q has no key %q", k.Bucket, k.Key)
	case errors.Is(err, bus.ErrConflict):
		return serve.NewProblem(http.StatusPreconditionFailed, "revision-mismatch", "key %q of bucket %q has another revision than the condition says", k.Key, k.Bucket)
	}
	return err
}
