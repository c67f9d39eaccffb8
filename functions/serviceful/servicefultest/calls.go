package servicefultest

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/serviceful/serviceful/functions/serviceful"
)

// Call makes one HTTP call of function, with a body unless it is empty.
func Call(function http.Handler, method, path, body string) *httptest.ResponseRecorder {
	answer := httptest.NewRecorder()
	function.ServeHTTP(answer, httptest.NewRequest(method, path, strings.NewReader(body)))
	return answer
}

// Deliver calls function the way the platform delivers event, in binary mode, to path.
func Deliver(t testing.TB, function http.Handler, path string, event serviceful.Event) *httptest.ResponseRecorder {
	t.Helper()
	answer := httptest.NewRecorder()
	function.ServeHTTP(answer, Delivery(t, path, event))
	return answer
}

// Delivery returns the request by which the platform delivers event.
func Delivery(t testing.TB, path string, event serviceful.Event) *http.Request {
	t.Helper()
	body, err := json.Marshal(event.Data)
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest(http.MethodPost, path, bytes.NewReader(body))
	for name, value := range map[string]string{
		"Content-Type":   "application/json",
		"Ce-Specversion": "1.0",
		"Ce-Id":          event.ID,
		"Ce-Source":      event.Source,
		"Ce-Type":        event.Type,
		"Ce-Subject":     event.Subject,
	} {
		r.Header.Set(name, value)
	}
	return r
}

// Answered returns the events in the answer to an asynchronous call. It fails the test unless the answer is a success.
func Answered(t testing.TB, answer *httptest.ResponseRecorder) []serviceful.Event {
	t.Helper()
	if answer.Code < 200 || answer.Code > 299 {
		t.Fatalf("answered %d: %s", answer.Code, answer.Body)
	}
	if answer.Code == http.StatusNoContent {
		return nil
	}
	events, err := decode(answer.Header(), answer.Body.Bytes())
	if err != nil {
		t.Fatalf("decoding the answer: %v", err)
	}
	return events
}

// JSON decodes the answer, which must have the status.
func JSON[T any](t testing.TB, answer *httptest.ResponseRecorder, status int) T {
	t.Helper()
	var value T
	if answer.Code != status {
		t.Fatalf("answered %d, want %d: %s", answer.Code, status, answer.Body)
	}
	if err := json.Unmarshal(answer.Body.Bytes(), &value); err != nil {
		t.Fatalf("decoding the answer: %v", err)
	}
	return value
}

// WantProblem fails the test unless the answer is a problem of that status.
func WantProblem(t testing.TB, answer *httptest.ResponseRecorder, status int) {
	t.Helper()
	problem := JSON[serviceful.Problem](t, answer, status)
	if answer.Header().Get("Content-Type") != "application/problem+json" || problem.Status != status || problem.Title == "" {
		t.Errorf("answered %d %v with %+v, want a problem", answer.Code, answer.Header(), problem)
	}
}
