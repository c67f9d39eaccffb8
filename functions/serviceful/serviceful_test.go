package serviceful_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/serviceful/serviceful/functions/serviceful"
	"github.com/serviceful/serviceful/functions/serviceful/servicefultest"
)

func TestBucket(t *testing.T) {
	ctx := t.Context()
	bucket := servicefultest.New(t).Client(t).Bucket("things")

	var value string
	if _, err := bucket.Get(ctx, "a.b", &value); !errors.Is(err, serviceful.ErrNotFound) {
		t.Errorf("Get of nothing: %v, want ErrNotFound", err)
	}
	first, err := bucket.Create(ctx, "a.b", "one")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bucket.Create(ctx, "a.b", "two"); !errors.Is(err, serviceful.ErrConflict) {
		t.Errorf("second Create: %v, want ErrConflict", err)
	}
	second, err := bucket.Update(ctx, "a.b", "two", first)
	if err != nil || second == first {
		t.Fatalf("Update: %q, %v", second, err)
	}
	if _, err := bucket.Update(ctx, "a.b", "three", first); !errors.Is(err, serviceful.ErrConflict) {
		t.Errorf("Update of an old revision: %v, want ErrConflict", err)
	}
	if read, err := bucket.Get(ctx, "a.b", &value); err != nil || value != "two" || read != second {
		t.Errorf("Get: %q at %q, %v", value, read, err)
	}
	if err := bucket.Delete(ctx, "a.b", first); !errors.Is(err, serviceful.ErrConflict) {
		t.Errorf("Delete of an old revision: %v, want ErrConflict", err)
	}
	if err := bucket.Delete(ctx, "a.b", second); err != nil {
		t.Errorf("Delete: %v", err)
	}
	if _, err := bucket.Put(ctx, "not a key", "x"); err == nil || !strings.Contains(err.Error(), "400 Bad Request: as the test wants") {
		t.Errorf("Put of a bad key: %v, want the services' problem", err)
	}
}

func TestKeysFollowsPages(t *testing.T) {
	bucket := servicefultest.New(t).Client(t).Bucket("things")
	want := []string{"a.1", "a.2", "a.3", "a.4", "a.5"}
	for _, key := range append(want, "b.1") {
		if _, err := bucket.Put(t.Context(), key, 1); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	for key, err := range bucket.Keys(t.Context(), "a.") {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, key)
	}
	if !slices.Equal(got, want) {
		t.Errorf("keys %v, want %v", got, want)
	}
}

func TestRetryConflicts(t *testing.T) {
	other := errors.New("other")
	tests := map[string]struct {
		results []error
		want    error
	}{
		"goes through at once":      {results: []error{nil}},
		"goes through later":        {results: []error{serviceful.ErrConflict, fmt.Errorf("writing: %w", serviceful.ErrConflict), nil}},
		"ends at another error":     {results: []error{serviceful.ErrConflict, other}, want: other},
		"gives up after many tries": {results: slices.Repeat([]error{serviceful.ErrConflict}, 20), want: serviceful.ErrConflict},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			tries := 0
			err := serviceful.RetryConflicts(func() error {
				tries++
				return test.results[tries-1]
			})
			if !errors.Is(err, test.want) || tries != len(test.results) {
				t.Errorf("%v after %d tries, want %v after %d", err, tries, test.want, len(test.results))
			}
		})
	}
}

func TestPublish(t *testing.T) {
	services := servicefultest.New(t)
	client := services.Client(t)
	one := serviceful.Event{ID: "1", Source: "/test", Type: "test.v1", Subject: "s", Data: map[string]int{"n": 1}}
	two := serviceful.Event{ID: "2", Source: "/test", Type: "test.v1", Time: time.Unix(1, 0)}
	for _, events := range [][]serviceful.Event{nil, {one}, {one, two}} {
		if err := client.Publish(t.Context(), events...); err != nil {
			t.Fatal(err)
		}
	}
	stored := services.Events()
	if len(stored) != 2 {
		t.Fatalf("%d events stored, want 2", len(stored))
	}
	if data := string(stored[0].Data.(json.RawMessage)); stored[0].Subject != "s" || stored[0].Time.IsZero() || data != `{"n":1}` {
		t.Errorf("stored %+v with data %s", stored[0], data)
	}
	if !stored[1].Time.Equal(two.Time) {
		t.Errorf("time %v, want %v", stored[1].Time, two.Time)
	}
}

func TestMailIsStoredOncePerKey(t *testing.T) {
	services := servicefultest.New(t)
	client := services.Client(t)
	mail := serviceful.Mail{To: []string{"a@example.com"}, Subject: "s", Text: "t"}
	for range 2 {
		if err := client.Mail(t.Context(), "key", mail); err != nil {
			t.Fatal(err)
		}
	}
	mail.Text = "other"
	if err := client.Mail(t.Context(), "key", mail); !errors.Is(err, serviceful.ErrKeyReused) {
		t.Errorf("another mail with the key: %v, want ErrKeyReused", err)
	}
	if mails := services.Mails(); len(mails) != 1 || mails[0].Text != "t" {
		t.Errorf("stored %+v, want the first mail", mails)
	}
}

func TestTokenIsReadAgain(t *testing.T) {
	services := servicefultest.New(t)
	client := services.Client(t)
	for _, token := range []string{"second", "third"} {
		services.Rotate(t, token)
		if _, err := client.Bucket("things").Put(t.Context(), "a", 1); err != nil {
			t.Errorf("with the token %q: %v", token, err)
		}
	}
}

// TestOnlyAProblemIsAnAnswerAboutAKey keeps a 404 of something between the function and the services from reading as "no such key".
func TestOnlyAProblemIsAnAnswerAboutAKey(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	config := servicefultest.New(t).Config
	config.URL = server.URL
	client, err := serviceful.New(config)
	if err != nil {
		t.Fatal(err)
	}
	var value string
	_, err = client.Bucket("things").Get(t.Context(), "a", &value)
	if failed, ok := errors.AsType[*serviceful.ServiceError](err); !ok || failed.Problem.Status != 404 || errors.Is(err, serviceful.ErrNotFound) {
		t.Errorf("a bare 404: %v, want a ServiceError that is not ErrNotFound", err)
	}
}

func TestNewNeedsTheWholeConfig(t *testing.T) {
	if _, err := serviceful.New(serviceful.Config{URL: "http://127.0.0.1", Sink: "http://127.0.0.1/v1/events"}); err == nil {
		t.Error("a client without a token file")
	}
}

func TestReadEvent(t *testing.T) {
	whole := serviceful.Event{ID: "1", Source: "/test", Type: "test.v1", Subject: "a%20b", Data: map[string]int{"n": 7}}
	tests := map[string]struct {
		change  func(*http.Request)
		problem int
	}{
		"a whole event":          {change: func(*http.Request) {}},
		"no id":                  {change: func(r *http.Request) { r.Header.Del("Ce-Id") }, problem: 400},
		"another version":        {change: func(r *http.Request) { r.Header.Set("Ce-Specversion", "0.3") }, problem: 400},
		"a time that is none":    {change: func(r *http.Request) { r.Header.Set("Ce-Time", "noon") }, problem: 400},
		"data that is no number": {change: func(r *http.Request) { r.Body = body(`{"n":"x"}`) }, problem: 400},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			r := servicefultest.Delivery(t, "/", whole)
			test.change(r)
			var data struct{ N int }
			event, err := serviceful.ReadEvent(r, &data)
			if test.problem != 0 {
				if problem, ok := errors.AsType[*serviceful.Problem](err); !ok || problem.Status != test.problem {
					t.Errorf("%v, want a problem %d", err, test.problem)
				}
				return
			}
			if err != nil || event.ID != "1" || event.Subject != "a b" || data.N != 7 {
				t.Errorf("read %+v with %+v, %v", event, data, err)
			}
		})
	}
}

func TestAnswer(t *testing.T) {
	event := serviceful.Event{ID: "1", Source: "/test", Type: "test.v1", Subject: `é "x"`, Data: 1}
	for _, events := range [][]serviceful.Event{nil, {event}, {event, event}} {
		w := httptest.NewRecorder()
		if err := serviceful.Answer(w, events...); err != nil {
			t.Fatal(err)
		}
		if got := servicefultest.Answered(t, w); len(got) != len(events) {
			t.Errorf("%d events answered, want %d", len(got), len(events))
		}
		if subject := w.Header().Get("Ce-Subject"); len(events) == 1 && subject != "%C3%A9%20%22x%22" {
			t.Errorf("subject header %q is not percent-encoded", subject)
		}
	}
}

func TestHandle(t *testing.T) {
	tests := map[string]struct {
		handle func(http.ResponseWriter, *http.Request) error
		body   string
		status int
		detail string
	}{
		"a problem is the answer":    {handle: serviceful.NotFound, status: 404, detail: "nothing at this path"},
		"any other error is a 503":   {handle: func(http.ResponseWriter, *http.Request) error { return errors.New("secret") }, status: 503, detail: "try again"},
		"a body that is not JSON":    {handle: readAny, body: "{", status: 400, detail: "not the JSON expected"},
		"a body with something more": {handle: readAny, body: "{} {}", status: 400, detail: "not the JSON expected"},
		"a body that is too long":    {handle: readAny, body: strings.Repeat(" ", 64<<10+1), status: 413, detail: "65536 bytes"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w := httptest.NewRecorder()
			serviceful.Handle(test.handle).ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/", strings.NewReader(test.body)))
			var problem serviceful.Problem
			if err := json.Unmarshal(w.Body.Bytes(), &problem); err != nil {
				t.Fatal(err)
			}
			if w.Code != test.status || problem.Status != test.status || w.Header().Get("Content-Type") != "application/problem+json" {
				t.Errorf("answered %d %q %s", w.Code, w.Header(), w.Body)
			}
			if !strings.Contains(problem.Detail, test.detail) || problem.Title == "" {
				t.Errorf("problem %+v, want detail %q", problem, test.detail)
			}
		})
	}
}

func readAny(_ http.ResponseWriter, r *http.Request) error {
	var value any
	return serviceful.ReadJSON(r, &value)
}

func body(text string) io.ReadCloser { return io.NopCloser(strings.NewReader(text)) }
