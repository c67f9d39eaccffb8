package serviceful_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/serviceful/serviceful/functions/serviceful"
)

// recorder answers every request as the test wants and keeps what it was.
type recorder struct {
	requests []string // "METHOD target body"
	header   http.Header
	answer   http.HandlerFunc
}

func (rec *recorder) client(t *testing.T) *serviceful.Client {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		rec.requests = append(rec.requests, fmt.Sprintf("%s %s %s", r.Method, r.URL.RequestURI(), body))
		rec.header = r.Header
		rec.answer(w, r)
	}))
	t.Cleanup(server.Close)
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	client, err := serviceful.New(serviceful.Config{URL: server.URL, Sink: server.URL, TokenFile: token})
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func (rec *recorder) want(t *testing.T, requests ...string) {
	t.Helper()
	if !slices.Equal(rec.requests, requests) || rec.header.Get("Authorization") != "Bearer secret" {
		t.Errorf("got the requests %q with %v, want %q", rec.requests, rec.header, requests)
	}
	rec.requests = nil
}

func TestStore(t *testing.T) {
	rec := &recorder{answer: func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"7"`)
		switch {
		case strings.Contains(r.RequestURI, "missing"):
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(http.StatusNotFound)
			io.WriteString(w, `{"title": "Not Found"}`)
		case strings.Contains(r.RequestURI, "after=2"):
			io.WriteString(w, `{"objects": [{"name": "a/2"}]}`)
		case strings.Contains(r.RequestURI, "prefix="):
			io.WriteString(w, `{"objects": [{"name": "a/1", "size": 3, "etag": "\"7\""}], "next": "2"}`)
		case strings.Contains(r.RequestURI, "broken"):
			w.Header().Set("Content-Length", "100")
			io.WriteString(w, "part")
		case r.Method == http.MethodGet:
			io.WriteString(w, "content")
		}
	}}
	store := rec.client(t).Store("files")
	revision, err := store.Put(t.Context(), "a/é", "text/csv", strings.NewReader("a,b"))
	if rec.want(t, "PUT /v1/stores/files/objects/a%2F%C3%A9 a,b"); err != nil || revision != `"7"` || rec.header.Get("Content-Type") != "text/csv" {
		t.Errorf("put at %s, error %v", revision, err)
	}
	body, revision, err := store.Get(t.Context(), "a")
	if err != nil || revision != `"7"` {
		t.Fatalf("got it at %s, error %v", revision, err)
	}
	if got, err := io.ReadAll(body); string(got) != "content" || err != nil || body.Close() != nil {
		t.Errorf("read %q, error %v", got, err)
	}
	if _, _, err = store.Get(t.Context(), "missing"); !errors.Is(err, serviceful.ErrNotFound) {
		t.Errorf("a missing object: %v", err)
	}
	if body, _, err = store.Get(t.Context(), "broken"); err == nil {
		defer body.Close()
		if got, err := io.ReadAll(body); err == nil {
			t.Errorf("read %q of a broken object, and no error", got)
		}
	}
	rec.requests = nil
	if err := store.Delete(t.Context(), "a"); err != nil {
		t.Error(err)
	}
	rec.want(t, "DELETE /v1/stores/files/objects/a ")
	var names []string
	for object, err := range store.List(t.Context(), "a/") {
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, object.Name)
	}
	rec.want(t, "GET /v1/stores/files/objects?prefix=a%2F ", "GET /v1/stores/files/objects?after=2&prefix=a%2F ")
	if !slices.Equal(names, []string{"a/1", "a/2"}) {
		t.Errorf("listed %q", names)
	}
}

func TestSend(t *testing.T) {
	rec := &recorder{answer: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusAccepted) }}
	client := rec.client(t)
	err := client.Send(t.Context(), "labels", serviceful.Message{ContentType: "text/plain", Body: []byte("x"), Delay: 90 * time.Second, IdempotencyKey: "k"})
	if rec.want(t, "POST /v1/queues/labels/messages x"); err != nil || rec.header.Get("Serviceful-Delay") != "1m30s" || rec.header.Get("Idempotency-Key") != "k" {
		t.Errorf("sent %v, error %v", rec.header, err)
	}
}

// TestCausesArePassedOn checks that calls, events and messages tell what led to the
// request that they are made for.
func TestCausesArePassedOn(t *testing.T) {
	rec := &recorder{answer: func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/functions/membership/members/1" {
			w.WriteHeader(http.StatusConflict)
		}
	}}
	client := rec.client(t)
	r := httptest.NewRequestWithContext(t.Context(), "POST", "/", nil)
	r.Header.Set("Traceparent", "t")
	r.Header.Set("Serviceful-Hops", "3")
	told := func() {
		t.Helper()
		if rec.header.Get("Traceparent") != "t" || rec.header.Get("Serviceful-Hops") != "3" {
			t.Errorf("sent %v", rec.header)
		}
	}
	serviceful.Handle(func(_ http.ResponseWriter, r *http.Request) error {
		if err := client.Publish(r.Context(), serviceful.Event{ID: "1", Source: "/s", Type: "a"}); err != nil {
			return err
		}
		told()
		if err := client.Send(r.Context(), "labels", serviceful.Message{ContentType: "text/plain"}); err != nil {
			return err
		}
		told()
		resp, err := client.Call(r.Context(), "membership", "PATCH", "/members/1?a=b", nil, strings.NewReader("x"))
		if err != nil {
			return err
		}
		if resp.StatusCode != http.StatusConflict {
			t.Errorf("answered %s", resp.Status)
		}
		return resp.Body.Close()
	}).ServeHTTP(httptest.NewRecorder(), r)
	told()
	rec.want(t, "POST / null", "POST /v1/queues/labels/messages ", "PATCH /v1/functions/membership/members/1?a=b x")
}
