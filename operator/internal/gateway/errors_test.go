package gateway

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/serviceful/serviceful/operator/internal/bus"
	"github.com/serviceful/serviceful/operator/internal/invoke"
	"github.com/serviceful/serviceful/operator/internal/testkit/natstest"
)

func TestNotStarted(t *testing.T) {
	lines := []string{"panic: no database", "exit status 2"}
	tests := map[string]struct {
		err    error
		status int
		kind   string
		want   []string
	}{
		"exited":         {&invoke.StartError{Function: shop, Reason: invoke.Exited, Detail: "its process ended: exit status 2", Lines: lines}, 502, "function-not-started", lines},
		"never listened": {&invoke.StartError{Function: shop, Reason: invoke.NeverListened, Detail: "nothing listens", Lines: lines}, 504, "function-not-started", lines},
		"not built":      {&invoke.StartError{Function: shop, Reason: invoke.NotBuilt, Detail: "handler.go:7: undefined: x"}, 502, "function-not-started", nil},
		"unknown":        {&invoke.StartError{Function: shop, Reason: invoke.Unknown, Detail: "there is no function of that name"}, 502, "function-not-started", nil},
		"wrapped":        {fmt.Errorf("acquiring: %w", &invoke.StartError{Function: shop, Reason: invoke.Exited, Detail: "gone"}), 502, "function-not-started", nil},
		"anything else":  {errors.New("the world is broken"), 500, "internal", nil},
	}
	f := newFixture(t)
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			f := f.with(t)
			f.world.functions.Store(shop, acquire(func(context.Context) (string, error) { return "", test.err }))
			p := f.wantProblem(f.send("GET /get HTTP/1.1", ""), test.status, test.kind)
			if !slices.Equal(p.Lines, test.want) {
				t.Errorf("lines %q", p.Lines)
			}
			var start *invoke.StartError
			if errors.As(test.err, &start) && (!strings.Contains(p.Detail, start.Detail) || !strings.Contains(p.Detail, "shop/shop")) {
				t.Errorf("detail %q does not say which function and why", p.Detail)
			}
		})
	}
}

// TestBadAnswer checks that what is no answer becomes a 502, and breaks nothing.
func TestBadAnswer(t *testing.T) {
	tests := map[string]string{
		"nothing":                    "",
		"garbage":                    "hello\r\n\r\n",
		"half a head":                "HTTP/1.1 200 OK\r\nContent-Le",
		"no status":                  "HTTP/1.1\r\n\r\n",
		"status of two digits":       "HTTP/1.1 20 OK\r\n\r\n",
		"status below 100":           "HTTP/1.1 042 What\r\nContent-Length: 0\r\n\r\n",
		"status of letters":          "HTTP/1.1 abc OK\r\n\r\n",
		"negative length":            "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
		"two lengths":                "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
		"bad encoding":               "HTTP/1.1 200 OK\r\nTransfer-Encoding: what\r\n\r\n",
		"only interim answers":       "HTTP/1.1 103 Early Hints\r\n\r\n",
		"interim answers all along":  strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", 100),
		"switches without being bid": "HTTP/1.1 101 Switching Protocols\r\nUpgrade: a\r\nConnection: Upgrade\r\n\r\n",
		"endless headers":            "HTTP/1.1 200 OK\r\nX-A: " + strings.Repeat("a", 11<<20) + "\r\n\r\n",
	}
	requests := map[string]func(*fixture) reply{
		"small":   func(f *fixture) reply { return f.send("GET /get HTTP/1.1", "") },
		"large":   func(f *fixture) reply { return f.post("/any/", strings.Repeat("a", 100_000), false) },
		"chunked": func(f *fixture) reply { return f.post("/any/", "body", true) },
	}
	f := newFixture(t)
	for name, answer := range tests {
		for kind, send := range requests {
			t.Run(name+", "+kind, func(t *testing.T) {
				f := f.with(t)
				f.world.answer(shop, answer)
				p := f.wantProblem(send(f), 502, "function-broke-off")
				if !strings.Contains(p.Detail, "shop/shop") {
					t.Errorf("detail %q does not say which function", p.Detail)
				}
			})
		}
	}
	t.Run("no connection", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		l.Close()
		f := f.with(t)
		f.world.at(shop, l.Addr().String())
		f.wantProblem(f.send("GET /get HTTP/1.1", ""), 502, "function-broke-off")
	})
}

// TestAnswerBreaksOff checks that a caller never takes a part for the whole.
func TestAnswerBreaksOff(t *testing.T) {
	tests := map[string]string{
		"of known length": "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello",
		"chunked":         "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
		"in a chunk":      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nhello",
		"garbage":         "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nwhat\r\n",
	}
	f := newFixture(t)
	for name, answer := range tests {
		t.Run(name, func(t *testing.T) {
			f := f.with(t)
			f.world.answer(shop, answer)
			resp := f.get(t.Context(), "/get")
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			if resp.StatusCode != 200 || string(body) != "hello" || err == nil {
				t.Errorf("read %q, %v, want an error after hello", body, err)
			}
		})
	}
}

// TestTimeout checks that a function must begin to answer in time, and may take
// its time after that.
func TestTimeout(t *testing.T) {
	tests := map[string]struct {
		answer, after string // the second part comes when the timeout has passed
		status        int
	}{
		"hangs":                 {"", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", 504},
		"hangs in the head":     {"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-", "Length: 0\r\n\r\n", 504},
		"gives a hint in time":  {"HTTP/1.1 103 Early Hints\r\n\r\n", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", 504},
		"begins in time":        {"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\na", "b", 200},
		"begins to stream":      {"HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n", "2\r\nab\r\n0\r\n\r\n", 200},
		"begins, then the rest": {"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n", "ab", 200},
	}
	f := newFixture(t)
	f.world.talk(hasty, func(r *bufio.Reader, c net.Conn) {
		req, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		io.Copy(io.Discard, req.Body)
		test := tests[req.Header.Get("X-Test")]
		io.WriteString(c, test.answer)
		<-time.After(2 * hastyTimeout)
		io.WriteString(c, test.after)
	})
	for kind, headers := range map[string]string{
		"small":   "",
		"chunked": "\nTransfer-Encoding: chunked\nHost: a\n\n1\na\n0",
		"upgrade": "\nConnection: Upgrade\nUpgrade: a",
	} {
		names := slices.Collect(maps.Keys(tests))
		heads := make([]string, len(names))
		for i, name := range names {
			heads[i] = "GET /hasty HTTP/1.1\nX-Test: " + name + headers
		}
		for i, r := range f.sendAll(heads...) {
			t.Run(names[i]+", "+kind, func(t *testing.T) {
				f := f.with(t)
				if tests[names[i]].status == http.StatusGatewayTimeout {
					if p := f.wantProblem(r, 504, "function-timeout"); !strings.Contains(p.Detail, "shop/hasty") || !strings.Contains(p.Detail, "500ms") {
						t.Errorf("detail %q", p.Detail)
					}
				} else if r.StatusCode != 200 || r.body != "ab" {
					t.Errorf("got %s %q", r.Status, r.body)
				}
			})
		}
	}
}

// TestTimeoutEndsTheCall checks that a function learns that nobody waits any
// more.
func TestTimeoutEndsTheCall(t *testing.T) {
	f := newFixture(t)
	ended := make(chan bool, 1)
	f.world.handle(hasty, func(_ http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
		ended <- true
	})
	for _, size := range []int{0, 100, 200_000} {
		f.wantProblem(f.post("/hasty", strings.Repeat("a", size), false), 504, "function-timeout")
		receive(f, "the function's request ends", ended)
	}
}

// TestStartIsNotTimed checks that a function's timeout runs from the moment it
// has a ready instance.
func TestStartIsNotTimed(t *testing.T) {
	f := newFixture(t)
	f.record(hasty)
	v, _ := f.world.functions.Load(hasty)
	f.world.functions.Store(hasty, acquire(func(ctx context.Context) (string, error) {
		<-time.After(2 * hastyTimeout)
		return v.(acquire)(ctx)
	}))
	if r := f.send("GET /hasty HTTP/1.1", ""); r.StatusCode != 200 {
		t.Errorf("got %s %s", r.Status, r.body)
	}
}

func TestNoRoute(t *testing.T) {
	f := newFixture(t)
	f.record(shop)
	tests := map[string]struct {
		request string
		status  int
		kind    string
		allow   string
	}{
		"unknown path":          {"GET /nowhere", 404, "no-such-route", ""},
		"root":                  {"GET /", 404, "no-such-route", ""},
		"slash at the end":      {"GET /get/", 404, "no-such-route", ""},
		"no slash at the end":   {"GET /any", 404, "no-such-route", ""},
		"not cleaned":           {"GET //get", 404, "no-such-route", ""},
		"not cleaned of dots":   {"GET /a/../get", 404, "no-such-route", ""},
		"other case":            {"GET /GET", 404, "no-such-route", ""},
		"wrong method":          {"POST /get", 405, "method-not-allowed", "GET, HEAD"},
		"wrong method of two":   {"DELETE /change", 405, "method-not-allowed", "PATCH, PUT"},
		"method in lower case":  {"get /get", 405, "method-not-allowed", "GET, HEAD"},
		"wrong method, async":   {"GET /orders/7", 405, "method-not-allowed", "POST"},
		"options are a method":  {"OPTIONS /get", 405, "method-not-allowed", "GET, HEAD"},
		"empty parameter":       {"POST /orders/", 404, "no-such-route", ""},
		"calls, without an id":  {"GET /calls/", 404, "no-such-call", ""},
		"calls, without a dash": {"GET /calls", 404, "no-such-route", ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			f := f.with(t)
			r := f.send(test.request+" HTTP/1.1", "")
			f.wantProblem(r, test.status, test.kind)
			if r.Header.Get("Allow") != test.allow {
				t.Errorf("Allow: %q, want %q", r.Header.Get("Allow"), test.allow)
			}
		})
	}
	if r := f.send("HEAD /get HTTP/1.1", ""); r.StatusCode != 200 {
		t.Errorf("HEAD of a route that takes GET: %s", r.Status)
	}
}

func TestHealth(t *testing.T) {
	f := newFixture(t)
	for _, path := range []string{"/healthz", "/readyz"} {
		if r := f.send("GET "+path+" HTTP/1.1", ""); r.StatusCode != 200 || r.body != "" {
			t.Errorf("%s: %s %q", path, r.Status, r.body)
		}
	}
	f = newFixture(t, func(c *Config) { c.Ready = func() error { return errors.New("not wired yet") } })
	if p := f.wantProblem(f.send("GET /readyz HTTP/1.1", ""), 503, "not-ready"); p.Detail != "not wired yet" {
		t.Errorf("detail %q", p.Detail)
	}
	if r := f.send("GET /healthz HTTP/1.1", ""); r.StatusCode != 200 {
		t.Errorf("/healthz: %s", r.Status)
	}
}

// TestStoreFull checks that a full store is never answered with 202, and that
// what was answered with 202 is kept.
func TestStoreFull(t *testing.T) {
	nats, err := bus.StartEmbedded(bus.EmbeddedConfig{Dir: t.TempDir(), MaxStore: 4 << 20, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nats.Stop)
	f := newFixtureOn(t, nats)
	var accepted []string
	body := strings.Repeat("a", 256<<10)
	for range 100 {
		r := f.post("/later/", body, false)
		if r.StatusCode != http.StatusAccepted {
			f.wantProblem(r, 507, "store-full")
			break
		}
		accepted = append(accepted, f.accepted(r))
	}
	if len(accepted) == 0 || len(accepted) == 100 {
		t.Fatalf("%d requests were accepted", len(accepted))
	}
	f.wantProblem(f.send("POST /later/ HTTP/1.1\nIdempotency-Key: a", body), 507, "store-full")
	for _, id := range accepted {
		if m := f.stored("shop", id); !bytes.Equal(m.Body, []byte(body)) {
			t.Errorf("call %s is not as it was sent", id)
		}
	}
}

// TestStoreGone checks that a store that does not answer is never taken for one
// that has stored.
func TestStoreGone(t *testing.T) {
	nats := natstest.Server(t)
	f := newFixtureOn(t, nats)
	f.record(shop)
	id := f.accepted(f.post("/later/", "body", false))
	nats.Stop()
	for _, r := range f.sendAll(
		"POST /later/ HTTP/1.1", "POST /later/ HTTP/1.1\nIdempotency-Key: a", "GET /calls/"+id+" HTTP/1.1", "DELETE /calls/"+id+" HTTP/1.1",
	) {
		f.wantProblem(r, 503, "store-unavailable")
	}
	if r := f.send("GET /get HTTP/1.1", ""); r.StatusCode != 200 {
		t.Errorf("a synchronous request needs no store, and got %s", r.Status)
	}
}

// TestMalformedBody checks that a body that is no body is the caller's mistake,
// not the function's.
func TestMalformedBody(t *testing.T) {
	f := newFixture(t)
	f.world.handle(shop, func(_ http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body) })
	for path, kind := range map[string]string{"/any/": "sync", "/later/": "async", "/any/up": "upgrade"} {
		for name, body := range map[string]string{
			"no size": "what\r\nhello\r\n0\r\n\r\n", "longer than its size": "2\r\nhello\r\n0\r\n\r\n",
			"later": "5\r\nhello\r\n-1\r\n", "endless size": strings.Repeat("1", 100) + "\r\n",
		} {
			t.Run(kind+", "+name, func(t *testing.T) {
				f := f.with(t)
				c := f.dial()
				defer c.Close()
				head := "POST " + path + " HTTP/1.1\nHost: a\nTransfer-Encoding: chunked"
				if kind == "upgrade" {
					head += "\nConnection: Upgrade\nUpgrade: a"
				}
				f.wantProblem(f.exchange(c, head, body), 400, "unreadable-body")
			})
		}
	}
}
