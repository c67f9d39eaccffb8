package gateway

import (
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/serviceful/serviceful/operator/api/v1alpha1"
	"github.com/serviceful/serviceful/operator/internal/bus"
	"github.com/serviceful/serviceful/operator/internal/names"
	"github.com/serviceful/serviceful/operator/internal/wiring"
)

// TestHosts checks that a namespace answers on its own host, and that on a
// laptop every other host reaches all of them.
func TestHosts(t *testing.T) {
	tests := map[string]struct {
		host, path string
		want       string // the namespace whose function answers; "": nobody's
	}{
		"own host":                            {"shop.localhost", "/get", "shop"},
		"own host with a port":                {"shop.localhost:8080", "/get", "shop"},
		"own host in capitals":                {"SHOP.Localhost", "/get", "shop"},
		"other namespace's route on it":       {"shop.localhost", "/market/a", ""},
		"other host":                          {"market.localhost", "/market/a", "market"},
		"other way round":                     {"market.localhost", "/get", ""},
		"a path of both, here":                {"shop.localhost", "/both", "shop"},
		"a path of both, there":               {"market.localhost", "/both", "market"},
		"nobody's host, first one's route":    {"127.0.0.1:8080", "/get", "shop"},
		"nobody's host, second one's route":   {"localhost", "/market/a", "market"},
		"nobody's host, route of both":        {"localhost", "/both", "shop"}, // the older one's
		"an address of IPv6":                  {"[::1]:8080", "/get", "shop"},
		"a name that happens to end the same": {"ashop.localhost", "/get", "shop"},
		"a namespace that is not there":       {"stock.localhost", "/market/a", "market"},
	}
	f := newFixture(t)
	for _, name := range []names.Function{shop, market} {
		f.world.handle(name, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, name.Namespace) })
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			f := f.with(t)
			r := f.send("GET "+test.path+" HTTP/1.1\nHost: "+test.host, "")
			if test.want == "" {
				f.wantProblem(r, 404, "no-such-route")
			} else if r.StatusCode != 200 || r.body != test.want {
				t.Errorf("got %s %s, want %s's answer", r.Status, r.body, test.want)
			}
		})
	}
}

// TestCallHosts checks that a call is known and cancelled on its namespace's
// host alone.
func TestCallHosts(t *testing.T) {
	f := newFixture(t)
	on := func(method, id, host string) reply {
		return f.send(method+" /calls/"+id+" HTTP/1.1\nHost: "+host, "")
	}
	mine := f.accepted(f.send("POST /later/a HTTP/1.1\nHost: shop.localhost", ""))
	theirs := f.accepted(f.send("POST /later/a HTTP/1.1\nHost: market.localhost", ""))
	f.stored("shop", mine)
	f.stored("market", theirs)
	f.wantProblem(on("GET", mine, "market.localhost"), 404, "no-such-call")
	f.wantProblem(on("GET", theirs, "shop.localhost"), 404, "no-such-call")
	f.wantProblem(on("DELETE", mine, "market.localhost:80"), 404, "no-such-call")
	for _, host := range []string{"shop.localhost", "Shop.Localhost:8080", "127.0.0.1", "other.example"} {
		if r := on("GET", mine, host); r.StatusCode != 200 {
			t.Errorf("on %s: %s %s", host, r.Status, r.body)
		}
	}
	for _, id := range []string{mine, theirs} {
		if r := on("DELETE", id, "localhost"); r.StatusCode != 204 {
			t.Errorf("cancelling on nobody's host: %s %s", r.Status, r.body)
		}
	}
}

// TestSameKeyOfTwo checks that equal Idempotency-Keys of two namespaces are two
// calls.
func TestSameKeyOfTwo(t *testing.T) {
	f := newFixture(t)
	mine := f.accepted(f.send("POST /later/a HTTP/1.1\nHost: shop.localhost\nIdempotency-Key: key", "body"))
	theirs := f.accepted(f.send("POST /later/a HTTP/1.1\nHost: market.localhost\nIdempotency-Key: key", "other"))
	if mine == theirs {
		t.Error("one call")
	}
}

// TestNoAnyHost checks that without the laptop's leave a host that is nobody's
// gets nothing.
func TestNoAnyHost(t *testing.T) {
	snapshot := wiring.Compile(functions(), wiring.Hosts{Domain: "example.com"})
	f := newFixture(t, func(c *Config) { c.Snapshot = func() *wiring.Snapshot { return snapshot } })
	f.record(shop)
	id := f.accepted(f.send("POST /later/a HTTP/1.1\nHost: shop.example.com", ""))
	for _, host := range []string{"127.0.0.1", "example.com", "stock.example.com"} {
		f.wantProblem(f.send("GET /get HTTP/1.1\nHost: "+host, ""), 404, "no-such-route")
		f.wantProblem(f.send("GET /calls/"+id+" HTTP/1.1\nHost: "+host, ""), 404, "no-such-call")
	}
	if r := f.send("GET /get HTTP/1.1\nHost: shop.example.com:443", ""); r.StatusCode != 200 {
		t.Errorf("got %s %s", r.Status, r.body)
	}
}

// TestOwnPaths checks that a function that takes every path does not get the
// platform's own.
func TestOwnPaths(t *testing.T) {
	every := []v1alpha1.Function{function(shop, time.Minute, httpTrigger("every", "/{rest...}", false))}
	snapshot := wiring.Compile(every, wiring.Hosts{Domain: "localhost", Any: true})
	f := newFixture(t, func(c *Config) { c.Snapshot = func() *wiring.Snapshot { return snapshot } })
	got := f.record(shop)
	for _, path := range []string{"/", "/a", "/calls", "/healthz/", "/readyz/a", "/Healthz", "//calls/a"} {
		if r := f.send("GET "+path+" HTTP/1.1", ""); r.StatusCode != 200 {
			t.Errorf("%s: %s", path, r.Status)
		}
		if s := receive(f, "the function is called", got); s.Target != path {
			t.Errorf("%s: the function got %s", path, s.Target)
		}
	}
	for path, status := range map[string]int{"/healthz": 200, "/readyz": 200, "/calls/": 404, "/calls/a": 404} {
		if r := f.send("GET "+path+" HTTP/1.1", ""); r.StatusCode != status || len(got) > 0 {
			t.Errorf("%s: %s", path, r.Status)
		}
	}
}

func TestNew(t *testing.T) {
	f := newFixture(t)
	good := Config{
		World: f.world, Inbox: f.bus, Calls: f.bus, Ready: func() error { return nil },
		Snapshot: func() *wiring.Snapshot { return nil }, Logger: slog.New(slog.DiscardHandler),
	}
	if _, err := New(good); err != nil {
		t.Error(err)
	}
	for name, spoil := range map[string]func(*Config){
		"world": func(c *Config) { c.World = nil }, "inbox": func(c *Config) { c.Inbox = nil }, "calls": func(c *Config) { c.Calls = nil },
		"ready": func(c *Config) { c.Ready = nil }, "snapshot": func(c *Config) { c.Snapshot = nil }, "logger": func(c *Config) { c.Logger = nil },
	} {
		c := good
		if spoil(&c); func() error { _, err := New(c); return err }() == nil {
			t.Errorf("a door without %s is made", name)
		}
	}
}

// TestCallsOfAGoneNamespace checks that who has an id can read what became of
// the call when its namespace has no function any more.
func TestCallsOfAGoneNamespace(t *testing.T) {
	for name, left := range map[string][]v1alpha1.Function{"others are left": functions()[:1], "none is left": nil} {
		t.Run(name, func(t *testing.T) {
			var snapshot atomic.Pointer[wiring.Snapshot]
			f := newFixture(t, func(c *Config) {
				snapshot.Store(c.Snapshot())
				c.Snapshot = snapshot.Load
			})
			id := f.accepted(f.send("POST /later/a HTTP/1.1\nHost: market.localhost", ""))
			for _, fn := range left {
				if fn.Namespace == market.Namespace {
					t.Fatal("the namespace is not gone")
				}
			}
			snapshot.Store(wiring.Compile(left, wiring.Hosts{Domain: "localhost", Any: true}))
			layout := bus.Layout{Bus: f.bus}
			orphans, err := layout.Orphans(t.Context(), market.Namespace, snapshot.Load())
			if err != nil {
				t.Fatal(err)
			}
			for _, o := range orphans {
				if _, err := layout.Retire(t.Context(), o, time.Now()); err != nil {
					t.Fatal(err)
				}
			}
			for _, host := range []string{"market.localhost", "127.0.0.1:8080"} {
				r := f.send("GET /calls/"+id+" HTTP/1.1\nHost: "+host, "")
				if r.StatusCode != 200 || !strings.Contains(r.body, `"state":"dead"`) || !strings.Contains(r.body, "TriggerRemoved") {
					t.Errorf("on %s: %s %s", host, r.Status, r.body)
				}
			}
		})
	}
}
