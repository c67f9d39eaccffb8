package gateway

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// TestBodyLimits checks both limits, for bodies that say how long they are and
// for those that do not.
func TestBodyLimits(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.SyncBody, c.AsyncBody = 100_000, 1000 })
	got := f.record(shop)
	tests := map[string]struct {
		path    string
		size    int
		chunked bool
		status  int
	}{
		"sync, at the limit":           {"/any/", 100_000, false, 200},
		"sync, over it":                {"/any/", 100_001, false, 413},
		"sync, chunked, at the limit":  {"/any/", 100_000, true, 200},
		"sync, chunked, over it":       {"/any/", 100_001, true, 413},
		"sync, chunked, far over it":   {"/any/", 5_000_000, true, 413},
		"async, at the limit":          {"/later/", 1000, false, 202},
		"async, over it":               {"/later/", 1001, false, 413},
		"async, chunked, at the limit": {"/later/", 1000, true, 202},
		"async, chunked, over it":      {"/later/", 1001, true, 413},
		"async, far over it":           {"/later/", 5_000_000, false, 413},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			f := f.with(t)
			r := f.post(test.path, strings.Repeat("a", test.size), test.chunked)
			if r.StatusCode != test.status {
				t.Fatalf("got %s %s, want %d", r.Status, r.body, test.status)
			}
			if test.status == http.StatusRequestEntityTooLarge {
				f.wantProblem(r, 413, "body-too-large")
			}
			if test.status == http.StatusOK {
				if s := receive(f, "the function is called", got); len(s.Body) != test.size {
					t.Errorf("the function got %d bytes", len(s.Body))
				}
			}
		})
	}
}

// post sends a body; chunked, it does not say how long it is.
func (f *fixture) post(path, body string, chunked bool) reply {
	f.Helper()
	if !chunked {
		return f.send("POST "+path+" HTTP/1.1", body)
	}
	c := f.dial()
	defer c.Close()
	return f.exchange(c, "POST "+path+" HTTP/1.1\nHost: a\nTransfer-Encoding: chunked", fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(body), body))
}

// TestDefaultLimits checks the limits that hold where none is set.
func TestDefaultLimits(t *testing.T) {
	f := newFixture(t)
	got := f.record(shop)
	if r := f.post("/any/", strings.Repeat("a", 10<<20), false); r.StatusCode != 200 {
		t.Errorf("10 MiB at once: %s", r.Status)
	}
	receive(f, "the function is called", got)
	f.wantProblem(f.post("/any/", strings.Repeat("a", 10<<20+1), false), 413, "body-too-large")
	f.accepted(f.post("/later/", strings.Repeat("\xff", 1<<20), false))
	f.wantProblem(f.post("/later/", strings.Repeat("a", 1<<20+1), false), 413, "body-too-large")
}

// TestTooLargeIsNotCalled checks that nobody starts a function for a request
// that is known to be too large.
func TestTooLargeIsNotCalled(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.SyncBody = 10 })
	f.world.functions.Store(shop, acquire(func(context.Context) (string, error) {
		t.Error("an instance was asked for")
		return "", context.Canceled
	}))
	f.wantProblem(f.post("/any/", "more than ten bytes", false), 413, "body-too-large")
}

// TestHeadLimit checks that a request line and headers that cannot be stored are
// refused, now and later alike.
func TestHeadLimit(t *testing.T) {
	tests := map[string]struct {
		head string
		ok   bool
	}{
		"a usual large one":              {"HTTP/1.1\nCookie: a=" + strings.Repeat("b", 30_000), true},
		"many small ones":                {"HTTP/1.1" + strings.Repeat("\nX-Several: b", 2000), true},
		"signs that JSON keeps as two":   {"HTTP/1.1\nX-A: " + strings.Repeat(`&`, 31_000), true},
		"octets that JSON keeps as two":  {"HTTP/1.1\nX-A: " + strings.Repeat("\xe9", 20_000), true},
		"too large":                      {"HTTP/1.1\nX-A: " + strings.Repeat("a", 33_000), false},
		"too many":                       {"HTTP/1.1" + strings.Repeat("\nX-Several: a", 4000), false},
		"too long a query":               {"?" + strings.Repeat("a", 33_000) + " HTTP/1.1", false},
		"far too large for the bound":    {"HTTP/1.1\nX-A: " + strings.Repeat("a", 500_000), false},
		"many header lines of one value": {"HTTP/1.1" + strings.Repeat("\nA:", 3000), true},
	}
	f := newFixture(t)
	f.world.answer(shop, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
	for name, test := range tests {
		for _, path := range []string{"/any/", "/later/"} {
			t.Run(name+", "+path, func(t *testing.T) {
				f := f.with(t)
				head := "GET " + path + test.head
				if strings.HasPrefix(test.head, "HTTP") {
					head = "GET " + path + " " + test.head
				}
				r := f.send(head, "")
				if !test.ok {
					f.wantProblem(r, 431, "headers-too-large")
				} else if r.StatusCode > 299 {
					t.Errorf("got %s %s", r.Status, r.body)
				}
			})
		}
	}
	r := f.send("GET /later/ HTTP/1.1\nX-A: "+strings.Repeat(`"`, 30_000), "") // 60 KB as they are stored
	f.wantProblem(r, 431, "headers-too-large")
}
