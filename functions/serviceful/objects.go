package serviceful

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"time"
)

// Store holds objects of any size under any names. A function may use the stores that its bindings name.
type Store struct {
	client *Client
	url    string
}

// Object is what a store says of an object.
type Object struct {
	Name        string    `json:"name"`
	Size        int64     `json:"size"` // bytes
	Revision    Revision  `json:"etag"`
	ContentType string    `json:"contentType"`
	Modified    time.Time `json:"modified"`
}

// Store returns the object store of that name. It comes into being with the binding to it.
func (c *Client) Store(name string) *Store {
	return &Store{client: c, url: c.config.URL + "/v1/stores/" + url.PathEscape(name) + "/objects"}
}

// Get opens an object, which the caller closes; ErrNotFound when there is none. It is read as it comes. A read that ends with another
// error than io.EOF has not brought the whole: the object was replaced meanwhile, or is damaged.
func (s *Store) Get(ctx context.Context, name string) (io.ReadCloser, Revision, error) {
	resp, err := s.client.stream(ctx, http.MethodGet, s.objectURL(name), nil, nil)
	if err != nil {
		return nil, "", err
	}
	return resp.Body, Revision(resp.Header.Get("ETag")), nil
}

// Put stores what content brings, to its end, as it comes. An error of content, or of ctx, leaves the object as it was.
func (s *Store) Put(ctx context.Context, name, contentType string, content io.Reader) (Revision, error) {
	resp, err := s.client.stream(ctx, http.MethodPut, s.objectURL(name), http.Header{"Content-Type": {contentType}}, content)
	if err != nil {
		return "", err
	}
	return Revision(resp.Header.Get("ETag")), resp.Body.Close()
}

// Delete removes an object, whatever it is. One that is not there is no error.
func (s *Store) Delete(ctx context.Context, name string) error {
	_, _, err := s.client.call(ctx, http.MethodDelete, s.objectURL(name), nil, nil)
	return err
}

// List yields the objects whose names begin with prefix, in no particular order. It asks page by page and ends at the first error.
func (s *Store) List(ctx context.Context, prefix string) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		query := url.Values{"prefix": {prefix}}
		for {
			var page struct {
				Objects []Object `json:"objects"`
				Next    string   `json:"next"`
			}
			_, body, err := s.client.call(ctx, http.MethodGet, s.url+"?"+query.Encode(), nil, nil)
			if err == nil {
				err = json.Unmarshal(body, &page)
			}
			if err != nil {
				yield(Object{}, fmt.Errorf("listing objects: %w", err))
				return
			}
			for _, object := range page.Objects {
				if !yield(object, nil) {
					return
				}
			}
			if page.Next == "" {
				return
			}
			query.Set("after", page.Next)
		}
	}
}

func (s *Store) objectURL(name string) string { return s.url + "/" + url.PathEscape(name) }
