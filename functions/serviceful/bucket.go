package serviceful

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"strconv"
)

// maxTries bounds RetryConflicts: every miss means that somebody else's write went through.
const maxTries = 20

// Revision is the state of one key at one time: the services' ETag, to be given back and never to be looked into.
type Revision string

// Bucket holds JSON values under keys made of A-Z a-z 0-9 - / _ = and dots. A function may use the buckets that its bindings name.
type Bucket struct {
	client *Client
	url    string
}

// Bucket returns the bucket of that name. It comes into being with its first value.
func (c *Client) Bucket(name string) *Bucket {
	return &Bucket{client: c, url: c.config.URL + "/v1/buckets/" + url.PathEscape(name) + "/keys"}
}

// Get decodes the value of key into value and returns its revision; ErrNotFound when there is none.
func (b *Bucket) Get(ctx context.Context, key string, value any) (Revision, error) {
	header, body, err := b.client.call(ctx, http.MethodGet, b.keyURL(key), nil, nil)
	if err != nil {
		return "", err
	}
	if err := json.Unmarshal(body, value); err != nil {
		return "", fmt.Errorf("decoding the value: %w", err)
	}
	return Revision(header.Get("ETag")), nil
}

// Create stores value under a key that is not there yet; ErrConflict when it is.
func (b *Bucket) Create(ctx context.Context, key string, value any) (Revision, error) {
	return b.put(ctx, key, value, http.Header{"If-None-Match": {"*"}})
}

// Update replaces the value of key if it is still at revision; ErrConflict when it is not. The empty revision is nobody's.
func (b *Bucket) Update(ctx context.Context, key string, value any, revision Revision) (Revision, error) {
	if revision == "" {
		return "", ErrConflict
	}
	return b.put(ctx, key, value, http.Header{"If-Match": {string(revision)}})
}

// Put stores value under key, whatever was there.
func (b *Bucket) Put(ctx context.Context, key string, value any) (Revision, error) {
	return b.put(ctx, key, value, http.Header{})
}

// Delete removes key if it is still at revision; ErrConflict when it is not. A key that is not there is no error.
func (b *Bucket) Delete(ctx context.Context, key string, revision Revision) error {
	_, _, err := b.client.call(ctx, http.MethodDelete, b.keyURL(key), http.Header{"If-Match": {string(revision)}}, nil)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}

// Keys yields the keys below prefix, which ends at a dot, in no particular order. It asks page by page and ends at the first error.
func (b *Bucket) Keys(ctx context.Context, prefix string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for after := ""; ; {
			keys, next, err := b.Page(ctx, prefix, maxPage, after)
			if err != nil {
				yield("", err)
				return
			}
			for _, key := range keys {
				if !yield(key, nil) {
					return
				}
			}
			if after = next; next == "" {
				return
			}
		}
	}
}

// maxPage is the most keys that the services put in one page.
const maxPage = 10_000

// Page is at most limit keys below prefix, 1 to 10,000, in no particular order, from the place that after marks: "" for the first
// page, and then what the page before gave as next, which is "" for the last one.
func (b *Bucket) Page(ctx context.Context, prefix string, limit int, after string) (keys []string, next string, err error) {
	query := url.Values{"prefix": {prefix}, "limit": {strconv.Itoa(limit)}}
	if after != "" {
		query.Set("after", after)
	}
	_, body, err := b.client.call(ctx, http.MethodGet, b.url+"?"+query.Encode(), nil, nil)
	if err != nil {
		return nil, "", fmt.Errorf("listing keys: %w", err)
	}
	var page struct {
		Keys []string `json:"keys"`
		Next string   `json:"next"`
	}
	if err := json.Unmarshal(body, &page); err != nil {
		return nil, "", fmt.Errorf("decoding a page of keys: %w", err)
	}
	return page.Keys, page.Next, nil
}

// CreateOrGet stores value under a key that is not there yet, or else returns the value that is there; with its revision either way.
// ErrConflict means that the key was removed between the two steps.
func CreateOrGet[T any](ctx context.Context, bucket *Bucket, key string, value T) (T, Revision, error) {
	revision, err := bucket.Create(ctx, key, value)
	if !errors.Is(err, ErrConflict) {
		return value, revision, err
	}
	var stored T
	revision, err = bucket.Get(ctx, key, &stored)
	if errors.Is(err, ErrNotFound) {
		err = ErrConflict
	}
	return stored, revision, err
}

// RetryConflicts runs step again for as long as it returns ErrConflict, at most 20 times. A step reads what it needs anew, so that
// it goes on from what another request has written meanwhile.
func RetryConflicts(step func() error) error {
	var err error
	for range maxTries {
		if err = step(); !errors.Is(err, ErrConflict) {
			return err
		}
	}
	return err
}

func (b *Bucket) put(ctx context.Context, key string, value any, header http.Header) (Revision, error) {
	body, err := json.Marshal(value)
	if err != nil {
		return "", fmt.Errorf("encoding the value: %w", err)
	}
	header.Set("Content-Type", "application/json")
	answer, _, err := b.client.call(ctx, http.MethodPut, b.keyURL(key), header, body)
	if err != nil {
		return "", err
	}
	return Revision(answer.Get("ETag")), nil
}

func (b *Bucket) keyURL(key string) string { return b.url + "/" + url.PathEscape(key) }
