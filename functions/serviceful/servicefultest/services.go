// Package servicefultest is the platform's services in memory, for the tests of functions: buckets and object stores with revisions,
// published events, queues and mail with idempotency keys, and a switch that fails one call. It speaks the wire format over a real HTTP server, so that a
// function in any language can use it. It never delivers anything: a test makes the deliveries. It imports serviceful only.
package servicefultest

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sync"
	"testing"

	"github.com/serviceful/serviceful/functions/serviceful"
)

const pageSize = 2 // keys in one page, so small that every list has several

var validKey = regexp.MustCompile(`^[-/_=A-Za-z0-9]+(\.[-/_=A-Za-z0-9]+)*$`)

// Services are the services of one test.
type Services struct {
	// Config is what a function needs to reach them.
	Config serviceful.Config

	token string

	mu       sync.Mutex
	calls    int
	failAt   int  // the call that fails, counted from 1; 0 for none
	effect   bool // that call has its effect and only its answer is lost
	revision int
	buckets  map[string]map[string]entry
	stores   map[string]map[string]object
	queues   map[string][]serviceful.Message
	events   []serviceful.Event
	mails    []serviceful.Mail
	mailed   map[string]string // body by idempotency key
}

type entry struct {
	value    []byte
	revision string
}

// New starts the services; they stop with the test.
func New(t testing.TB) *Services {
	t.Helper()
	s := &Services{
		token: "token-of-the-function", buckets: map[string]map[string]entry{}, stores: map[string]map[string]object{},
		queues: map[string][]serviceful.Message{}, mailed: map[string]string{},
	}
	server := httptest.NewServer(s.door())
	t.Cleanup(server.Close)
	s.Config = serviceful.Config{URL: server.URL, Sink: server.URL + "/v1/events", TokenFile: filepath.Join(t.TempDir(), "token")}
	if err := os.WriteFile(s.Config.TokenFile, []byte(s.token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return s
}

// Client returns a client of these services.
func (s *Services) Client(t testing.TB) *serviceful.Client {
	t.Helper()
	client, err := serviceful.New(s.Config)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// Rotate makes the services accept another token only, and writes it to the token file.
func (s *Services) Rotate(t testing.TB, token string) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.token = token
	if err := os.WriteFile(s.Config.TokenFile, []byte(token), 0o600); err != nil {
		t.Fatal(err)
	}
}

// EachCall runs test, with services of its own, once for each call to the services that is made within broken: that call answers
// 503, once. It does so twice: with a call that fails before it has its effect, and with one that has it and loses its answer. A last
// run of each has no failing call.
func EachCall(t *testing.T, test func(t *testing.T, services *Services, broken func(func()))) {
	for name, effect := range map[string]bool{"fails": false, "loses its answer": true} {
		for n, more := 1, true; more; n++ {
			more = false
			t.Run(fmt.Sprintf("call %d %s", n, name), func(t *testing.T) {
				services := New(t)
				test(t, services, func(within func()) {
					services.fail(n, effect)
					within()
					more = services.fail(0, false) >= n
				})
			})
		}
	}
}

// fail makes the nth call from now fail, and returns how many there were since the last fail.
func (s *Services) fail(n int, effect bool) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	calls := s.calls
	s.calls, s.failAt, s.effect = 0, n, effect
	return calls
}

// Events returns the events published, in order, each source and ID once.
func (s *Services) Events() []serviceful.Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.events)
}

// Mails returns the mails stored, in order.
func (s *Services) Mails() []serviceful.Mail {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.mails)
}

// Bucket returns the values of a bucket by key.
func (s *Services) Bucket(name string) map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	values := map[string]string{}
	for key, e := range s.buckets[name] {
		values[key] = string(e.value)
	}
	return values
}

func (s *Services) door() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/events", s.publish)
	mux.HandleFunc("GET /v1/buckets/{bucket}/keys", s.list)
	mux.HandleFunc("GET /v1/buckets/{bucket}/keys/{key}", s.get)
	mux.HandleFunc("PUT /v1/buckets/{bucket}/keys/{key}", s.put)
	mux.HandleFunc("DELETE /v1/buckets/{bucket}/keys/{key}", s.remove)
	mux.HandleFunc("GET /v1/stores/{store}/objects", s.listObjects)
	mux.HandleFunc("GET /v1/stores/{store}/objects/{name...}", s.getObject)
	mux.HandleFunc("PUT /v1/stores/{store}/objects/{name...}", s.putObject)
	mux.HandleFunc("DELETE /v1/stores/{store}/objects/{name...}", s.removeObject)
	mux.HandleFunc("POST /v1/queues/{queue}/messages", s.send)
	mux.HandleFunc("POST /v1/mail", s.mail)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock() // one call at a time
		defer s.mu.Unlock()
		s.calls++
		switch fails := s.calls == s.failAt; {
		case r.Header.Get("Authorization") != "Bearer "+s.token:
			problem(w, http.StatusUnauthorized)
		case fails && !s.effect:
			problem(w, http.StatusServiceUnavailable)
		case fails:
			mux.ServeHTTP(httptest.NewRecorder(), r)
			problem(w, http.StatusServiceUnavailable)
		default:
			mux.ServeHTTP(w, r)
		}
	})
}

func (s *Services) publish(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	events, err := decode(r.Header, body)
	if err != nil {
		problem(w, http.StatusBadRequest)
		return
	}
	for _, event := range events {
		same := func(e serviceful.Event) bool { return e.Source == event.Source && e.ID == event.ID }
		if !slices.ContainsFunc(s.events, same) {
			s.events = append(s.events, event)
		}
	}
	w.WriteHeader(http.StatusAccepted)
}

func (s *Services) get(w http.ResponseWriter, r *http.Request) {
	e, ok := s.buckets[r.PathValue("bucket")][r.PathValue("key")]
	if !ok {
		problem(w, http.StatusNotFound)
		return
	}
	w.Header().Set("ETag", e.revision)
	_, _ = w.Write(e.value)
}

func (s *Services) put(w http.ResponseWriter, r *http.Request) {
	bucket, key := r.PathValue("bucket"), r.PathValue("key")
	if !validKey.MatchString(key) {
		problem(w, http.StatusBadRequest)
		return
	}
	old, exists := s.buckets[bucket][key]
	if misses(r, old.revision, exists) {
		problem(w, http.StatusPreconditionFailed)
		return
	}
	if s.buckets[bucket] == nil {
		s.buckets[bucket] = map[string]entry{}
	}
	value, _ := io.ReadAll(r.Body)
	e := entry{value: value, revision: s.nextRevision()}
	s.buckets[bucket][key] = e
	w.Header().Set("ETag", e.revision)
	written(w, r)
}

func (s *Services) remove(w http.ResponseWriter, r *http.Request) {
	bucket, key := r.PathValue("bucket"), r.PathValue("key")
	e, exists := s.buckets[bucket][key]
	if misses(r, e.revision, exists) {
		problem(w, http.StatusPreconditionFailed)
		return
	}
	delete(s.buckets[bucket], key)
	w.WriteHeader(http.StatusNoContent)
}

func misses(r *http.Request, revision string, exists bool) bool {
	if r.Header.Get("If-None-Match") == "*" && exists {
		return true
	}
	match := r.Header.Get("If-Match")
	return match != "" && match != revision
}

func (s *Services) list(w http.ResponseWriter, r *http.Request) {
	page := struct {
		Keys []string `json:"keys"`
		Next string   `json:"next,omitempty"`
	}{}
	page.Keys, page.Next = pageOf(r, slices.Sorted(maps.Keys(s.buckets[r.PathValue("bucket")])))
	_ = json.NewEncoder(w).Encode(page)
}

func (s *Services) mail(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	key := r.Header.Get("Idempotency-Key")
	first, repeated := s.mailed[key]
	if repeated && first != string(body) {
		problem(w, http.StatusUnprocessableEntity)
		return
	}
	var mail serviceful.Mail
	if err := json.Unmarshal(body, &mail); err != nil || len(mail.To) == 0 {
		problem(w, http.StatusBadRequest)
		return
	}
	if !repeated || key == "" {
		s.mailed[key] = string(body)
		s.mails = append(s.mails, mail)
	}
	w.WriteHeader(http.StatusAccepted)
	fmt.Fprintf(w, `{"id":%q}`, key)
}

func problem(w http.ResponseWriter, status int) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"type":"about:blank","title":%q,"status":%d,"detail":"as the test wants"}`, http.StatusText(status), status)
}
