package invoke

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/serviceful/serviceful/operator/internal/delivery"
	"github.com/serviceful/serviceful/operator/internal/envelope"
	"github.com/serviceful/serviceful/operator/internal/event"
	"github.com/serviceful/serviceful/operator/internal/names"
)

var shop = names.Function{Namespace: "shop", Name: "shop"}

// call calls the function at address with an event.
func call(t *testing.T, timeout time.Duration, address, data string) (delivery.Outcome, *envelope.Answer) {
	t.Helper()
	rt := NewTransport()
	t.Cleanup(rt.CloseIdleConnections)
	e := &event.Event{Attributes: []event.Attribute{{Name: "id", Value: "7"}}, Data: []byte(data)}
	return Do(rt, Lease{Address: address}, timeout, EventRequest(t.Context(), e, "/", "joined", 1))
}

// TestDo checks what is known of a call that was answered.
func TestDo(t *testing.T) {
	tests := map[string]struct {
		handler   http.HandlerFunc
		status    int
		retry     time.Duration
		body      string
		truncated bool
	}{
		"answered": {func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hi") }, 200, 0, "hi", false},
		"accepted": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(202) }, 202, 0, "", false},
		"redirected, which is not followed": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", "http://"+r.Host+"/other")
			w.WriteHeader(307)
		}, 307, 0, "", false},
		"busy": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(503)
		}, 503, 7 * time.Second, "", false},
		"as much as is kept": {func(w http.ResponseWriter, _ *http.Request) {
			io.WriteString(w, strings.Repeat("a", envelope.MaxResponse))
		}, 200, 0, strings.Repeat("a", envelope.MaxResponse), false},
		"more than is kept": {func(w http.ResponseWriter, _ *http.Request) {
			io.WriteString(w, strings.Repeat("a", envelope.MaxResponse+1))
		}, 200, 0, strings.Repeat("a", envelope.MaxResponse), true},
		"endless": {func(w http.ResponseWriter, _ *http.Request) {
			for _, err := io.WriteString(w, "a"); err == nil; {
				_, err = io.WriteString(w, strings.Repeat("a", 10_000))
			}
		}, 200, 0, strings.Repeat("a", envelope.MaxResponse), true},
		"answers before it has read": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(413) }, 413, 0, "", false},
	}
	for name, test := range tests {
		for _, size := range []int{0, 100, 1 << 20} {
			t.Run(name, func(t *testing.T) {
				s := httptest.NewServer(test.handler)
				defer s.Close()
				out, answer := call(t, time.Hour, s.Listener.Addr().String(), strings.Repeat("b", size))
				if want := (delivery.Outcome{Called: true, Status: test.status, RetryAfter: test.retry}); out != want {
					t.Fatalf("got %+v, want %+v", out, want)
				}
				if answer.Status != test.status || string(answer.Body) != test.body || answer.Truncated != test.truncated {
					t.Errorf("answer %d with %d bytes, truncated %v", answer.Status, len(answer.Body), answer.Truncated)
				}
			})
		}
	}
}

// TestDoFails checks what is known of a call that was not answered: above all
// whether the function was called.
func TestDoFails(t *testing.T) {
	tests := map[string]struct {
		serve   func(net.Conn, int) bool // nil: nobody listens
		called  bool
		problem string
	}{
		"nobody listens": {nil, false, "no connection: "},
		"closes":         {func(net.Conn, int) bool { return false }, true, "the connection broke: "},
		"breaks off": {func(c net.Conn, _ int) bool {
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
			return false
		}, true, "the connection broke: "}, // in the answer, or, while a large body is still on its way, at once
		"hangs": {func(c net.Conn, _ int) bool {
			io.Copy(io.Discard, c)
			return false
		}, true, "no answer within its timeout"},
		"hangs in the answer": {func(c net.Conn, _ int) bool {
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
			io.Copy(io.Discard, c)
			return false
		}, true, "the answer broke off: no answer within its timeout"},
	}
	for name, test := range tests {
		for _, size := range []int{0, 1 << 20} {
			t.Run(name, func(t *testing.T) {
				address := "127.0.0.1:1"
				if test.serve != nil {
					address = serveRaw(t, test.serve)
				}
				timeout := time.Hour
				if strings.HasPrefix(name, "hangs") {
					timeout = 200 * time.Millisecond
				}
				out, answer := call(t, timeout, address, strings.Repeat("b", size))
				if answer != nil || out.Called != test.called || out.Status != 0 || !strings.Contains(out.Problem, test.problem) {
					t.Errorf("got %+v, %+v", out, answer)
				}
			})
		}
	}
}

// TestClosedWithoutAWord checks that a safe request survives a function that
// closes each connection after its answer and says nothing of it.
func TestClosedWithoutAWord(t *testing.T) {
	address := serveRaw(t, func(c net.Conn, _ int) bool {
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		return false
	})
	rt := NewTransport()
	defer rt.CloseIdleConnections()
	for i := range 500 {
		if got := read(rt.RoundTrip(newRequest(t, http.MethodGet, "http://"+address, ""))); got != "200 ok" {
			t.Fatalf("call %d: %s", i, got)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	tests := map[string]time.Duration{
		"": 0, "0": 0, "7": 7 * time.Second, "-7": 0, "7s": 0, "1.5": 0, "99999999": 24 * time.Hour, "99999999999999999999": 24 * time.Hour,
		"Tue, 01 Jan 2030 00:01:00 GMT": time.Minute, "Mon, 31 Dec 2029 00:00:00 GMT": 0, "soon": 0,
	}
	for value, want := range tests {
		if got := retryAfter(http.Header{"Retry-After": {value}}, now); got != want {
			t.Errorf("Retry-After %q: %s, want %s", value, got, want)
		}
	}
}

func TestStartError(t *testing.T) {
	err := &StartError{Function: shop, Reason: Exited, Detail: "exit status 2", Lines: []string{"a", "b"}}
	if want := "function shop/shop did not start: exit status 2; its last lines:\n  a\n  b"; err.Error() != want {
		t.Errorf("got %q", err)
	}
	err.Lines = nil
	if want := "function shop/shop did not start: exit status 2"; err.Error() != want {
		t.Errorf("got %q", err)
	}
}
