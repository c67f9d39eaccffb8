package services

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/serviceful/serviceful/operator/api/v1alpha1"
	"github.com/serviceful/serviceful/operator/internal/names"
	"github.com/serviceful/serviceful/operator/internal/serve"
)

// TestCallFunction checks what the called function sees, and who may call whom.
func TestCallFunction(t *testing.T) {
	var seen *http.Request
	var called names.Function
	f := newFixture(t, func(c *Config) {
		c.Call = func(w http.ResponseWriter, r *http.Request, f names.Function, timeout time.Duration) error {
			if seen, called = r, f; timeout != v1alpha1.DefaultTimeout {
				t.Errorf("the call has the timeout %s", timeout)
			}
			if r.URL.Path == "/broken" {
				return serve.NewProblem(http.StatusBadGateway, "function-broke-off", "it broke off")
			}
			w.WriteHeader(http.StatusTeapot)
			return nil
		}
	})
	for target, want := range map[string]string{"": "/", "a/b%2Fc?x=%20&y": "/a/b%2Fc?x=%20&y", "/a//": "//a//"} {
		f.wantStatus(f.send(writer, "PATCH /v1/functions/reader/"+target, "Traceparent: x\nServiceful-Trigger: forged\nNats-Rollup: all\nServiceful-Caller: forged", "body"), 418)
		h := seen.Header
		if called != reader || seen.URL.RequestURI() != want || seen.Method != "PATCH" || h.Get("Traceparent") != "x" || h.Get("Serviceful-Hops") != "1" ||
			h.Get("Serviceful-Caller") != "writer" || h["Authorization"] != nil || h["Serviceful-Trigger"] != nil || h["Nats-Rollup"] != nil {
			t.Errorf("%q: %s was called with %s %s %v", target, called, seen.Method, seen.URL.RequestURI(), h)
		}
	}
	f.wantStatus(f.send(writer, "GET /v1/functions/reader/a", "Serviceful-Hops: 15", ""), 418)
	if got := seen.Header.Get("Serviceful-Hops"); got != "16" {
		t.Errorf("the last hop is %s", got)
	}
	seen = nil
	f.wantProblem(f.send(writer, "GET /v1/functions/reader/a", "Serviceful-Hops: 16", ""), 508, "too-many-hops", "16")
	for _, hops := range []string{"-1", "x", "1.5", strings.Repeat("9", 30)} {
		f.wantProblem(f.send(writer, "GET /v1/functions/reader/a", "Serviceful-Hops: "+hops, ""), 400, "malformed-hops")
	}
	f.wantProblem(f.send(reader, "GET /v1/functions/writer/a", "", ""), 403, "not-bound", "{function: {name: writer}}")
	f.wantProblem(f.send(writer, "GET /v1/functions/nobody/a", "", ""), 403, "not-bound")
	f.wantProblem(f.send(writer, "GET /v1/functions/missing/a", "", ""), 404, "no-such-function", "missing")
	f.wantProblem(f.send(writer, "GET /v1/functions/reader", "", ""), 404, "no-such-service")
	if seen != nil {
		t.Errorf("it was called all the same: %s", seen.URL)
	}
	f.wantProblem(f.send(writer, "GET /v1/functions/reader/broken", "", ""), 502, "function-broke-off")
}
