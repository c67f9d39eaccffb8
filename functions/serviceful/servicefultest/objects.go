package servicefultest

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/serviceful/serviceful/functions/serviceful"
)

type object struct {
	content     []byte
	contentType string
	revision    string
	modified    time.Time
}

// Store returns the contents of an object store by name.
func (s *Services) Store(name string) map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	contents := map[string]string{}
	for key, o := range s.stores[name] {
		contents[key] = string(o.content)
	}
	return contents
}

func (s *Services) getObject(w http.ResponseWriter, r *http.Request) {
	o, ok := s.stores[r.PathValue("store")][r.PathValue("name")]
	if !ok {
		problem(w, http.StatusNotFound)
		return
	}
	w.Header().Set("ETag", o.revision)
	w.Header().Set("Content-Type", o.contentType)
	w.Header().Set("Repr-Digest", digestOf(o.content))
	if strings.Contains(r.Header.Get("Range"), ",") {
		r.Header.Del("Range") // several at once are answered with the whole
	}
	http.ServeContent(w, r, "", o.modified, bytes.NewReader(o.content))
}

func (s *Services) putObject(w http.ResponseWriter, r *http.Request) {
	store, name := r.PathValue("store"), r.PathValue("name")
	old, exists := s.stores[store][name]
	if misses(r, old.revision, exists) {
		problem(w, http.StatusPreconditionFailed)
		return
	}
	content, err := io.ReadAll(r.Body)
	if want := r.Header.Get("Repr-Digest"); err != nil || name == "" || want != "" && want != digestOf(content) {
		problem(w, http.StatusBadRequest)
		return
	}
	if s.stores[store] == nil {
		s.stores[store] = map[string]object{}
	}
	o := object{content: content, contentType: r.Header.Get("Content-Type"), revision: s.nextRevision(), modified: time.Now()}
	if o.contentType == "" {
		o.contentType = "application/octet-stream"
	}
	s.stores[store][name] = o
	w.Header().Set("ETag", o.revision)
	w.Header().Set("Repr-Digest", digestOf(content))
	written(w, r)
}

func (s *Services) removeObject(w http.ResponseWriter, r *http.Request) {
	store, name := r.PathValue("store"), r.PathValue("name")
	o, exists := s.stores[store][name]
	if misses(r, o.revision, exists) {
		problem(w, http.StatusPreconditionFailed)
		return
	}
	delete(s.stores[store], name)
	w.WriteHeader(http.StatusNoContent)
}

func (s *Services) listObjects(w http.ResponseWriter, r *http.Request) {
	objects := s.stores[r.PathValue("store")]
	page := struct {
		Objects []serviceful.Object `json:"objects"`
		Next    string              `json:"next,omitempty"`
	}{Objects: []serviceful.Object{}}
	var names []string
	names, page.Next = pageOf(r, slices.Sorted(maps.Keys(objects)))
	for _, name := range names {
		o := objects[name]
		page.Objects = append(page.Objects, serviceful.Object{
			Name: name, Size: int64(len(o.content)), Revision: serviceful.Revision(o.revision), ContentType: o.contentType, Modified: o.modified.UTC(),
		})
	}
	_ = json.NewEncoder(w).Encode(page)
}

// pageOf is the page of sorted names that a request for a list is answered with, and where the next one begins.
func pageOf(r *http.Request, names []string) (page []string, next string) {
	names = slices.DeleteFunc(names, func(name string) bool {
		return !strings.HasPrefix(name, r.FormValue("prefix")) || name <= r.FormValue("after")
	})
	if len(names) > pageSize {
		return names[:pageSize], names[pageSize-1]
	}
	return names, ""
}

func (s *Services) nextRevision() string {
	s.revision++
	return strconv.Quote(strconv.Itoa(s.revision))
}

// written ends the answer to what has set a key or an object.
func written(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("If-None-Match") == "*" {
		w.WriteHeader(http.StatusCreated)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func digestOf(content []byte) string {
	sum := sha256.Sum256(content)
	return "sha-256=:" + base64.StdEncoding.EncodeToString(sum[:]) + ":"
}
