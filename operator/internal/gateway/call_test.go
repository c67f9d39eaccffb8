package gateway

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/serviceful/serviceful/operator/internal/names"
	"github.com/serviceful/serviceful/operator/internal/serve"
	"github.com/serviceful/serviceful/operator/internal/wiring"
)

// TestCall takes a request to a function as another door would: it is proxied as
// a route's is, but without a trigger.
func TestCall(t *testing.T) {
	f := newFixture(t)
	callee := names.Function{Namespace: "shop", Name: "callee"}
	f.world.handle(callee, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			<-r.Context().Done()
			return
		}
		body, err := io.ReadAll(r.Body)
		if err != nil || r.Header["Serviceful-Trigger"] != nil || r.Header.Get("Traceparent") == "" {
			t.Errorf("it was called with %v, error %v", r.Header, err)
		}
		w.Header().Set("X-Answer", r.Method+" "+r.URL.RequestURI())
		w.WriteHeader(http.StatusTeapot)
		w.Write(body)
	})
	door, err := New(Config{
		World: f.world, Inbox: f.bus, Calls: f.bus, Ready: func() error { return nil }, SyncBody: 100,
		Snapshot: func() *wiring.Snapshot { return nil }, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	call := func(name, target, body string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		r := httptest.NewRequestWithContext(t.Context(), "PATCH", target, strings.NewReader(body))
		if err := door.Call(w, r, names.Function{Namespace: "shop", Name: name}, 300*time.Millisecond); err != nil {
			serve.WriteProblem(w, err)
		}
		return w
	}
	if w := call("callee", "/a%2Fb?c", "body"); w.Code != 418 || w.Body.String() != "body" || w.Header().Get("X-Answer") != "PATCH /a%2Fb?c" {
		t.Errorf("answered %d %v %q", w.Code, w.Header(), w.Body)
	}
	for name, test := range map[string]struct {
		callee, target, body string
		status               int
		says                 string
	}{
		"too slow":  {"callee", "/slow", "", 504, "function-timeout"},
		"too large": {"callee", "/", strings.Repeat("a", 101), 413, "body-too-large"},
		"no such":   {"other", "/", "", 502, "function-not-started"},
	} {
		if w := call(test.callee, test.target, test.body); w.Code != test.status || !strings.Contains(w.Body.String(), test.says) {
			t.Errorf("%s: answered %d %s", name, w.Code, w.Body)
		}
	}
}
