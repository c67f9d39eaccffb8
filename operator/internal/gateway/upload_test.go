package gateway

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// stalled are requests whose body stops half-way: heads without a Host, and the
// part of the body that comes.
var stalled = map[string]struct {
	head, body string
	small      bool // read whole before the function is called
}{
	"small":      {"Content-Length: 100", "half", true},
	"nothing":    {"Content-Length: 100", "", true},
	"large":      {"Content-Length: 200000", strings.Repeat("a", 100_000), false},
	"larger":     {"Content-Length: 1000000", strings.Repeat("a", 100_000), false},
	"chunked":    {"Transfer-Encoding: chunked", "5\r\nhe", false},
	"upgrade":    {"Connection: Upgrade\nUpgrade: a\nTransfer-Encoding: chunked", "5\r\nhello\r\n", false},
	"waited for": {"Expect: 100-continue\nTransfer-Encoding: chunked", "", false},
}

// TestBodyStalls checks that a caller that stops in the middle of a body holds an
// instance for no longer than the function's timeout, and is answered.
func TestBodyStalls(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.Stall = hastyTimeout })
	functions := map[string]http.HandlerFunc{
		"reads":       func(_ http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body) },
		"reads never": func(_ http.ResponseWriter, r *http.Request) { <-time.After(2 * hastyTimeout) },
	}
	for function, handler := range functions {
		f.world.handle(hasty, handler)
		t.Run(function, func(t *testing.T) {
			for name, test := range stalled {
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					f := f.with(t)
					c := f.dial()
					defer c.Close()
					r := f.exchange(c, "POST /hasty HTTP/1.1\nHost: a\n"+test.head, test.body)
					if test.small {
						f.wantProblem(r, 408, "body-stalled")
					} else {
						f.wantProblem(r, 504, "function-timeout")
					}
					f.eventually("the lease is released", func() bool { return f.world.leased.Load() == 0 })
					if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
						t.Errorf("the connection goes on: %v", err)
					}
				})
			}
		})
	}
}

// TestSlowCallerHoldsNothing checks that nobody asks for an instance before a
// small body is there.
func TestSlowCallerHoldsNothing(t *testing.T) {
	f := newFixture(t)
	got := f.record(hasty)
	c := f.dial()
	defer c.Close()
	io.WriteString(c, "POST /hasty HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\n\r\nhalf")
	<-time.After(2 * hastyTimeout)
	if n := f.world.asked.Load(); n != 0 {
		t.Errorf("asked for %d instances for half a body", n)
	}
	io.WriteString(c, "half")
	if resp, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil || resp.StatusCode != 200 {
		t.Fatalf("answered %+v, %v", resp, err)
	}
	if s := receive(f, "the function is called", got); s.Body != "halfhalf" {
		t.Errorf("the function got %q", s.Body)
	}
}

// TestAsyncBodyStalls checks that a body that is to be stored is not waited for
// for ever.
func TestAsyncBodyStalls(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.Stall = hastyTimeout })
	for name, test := range stalled {
		t.Run(name, func(t *testing.T) {
			f := f.with(t)
			c := f.dial()
			defer c.Close()
			f.wantProblem(f.exchange(c, "POST /later/ HTTP/1.1\nHost: a\n"+test.head, test.body), 408, "body-stalled")
		})
	}
}

// TestEarlyAnswer checks that an answer does not wait for the body, nor the lease
// for a caller that stops sending it.
func TestEarlyAnswer(t *testing.T) {
	f := newFixture(t)
	f.world.talk(shop, func(r *bufio.Reader, c net.Conn) {
		if _, err := http.ReadRequest(r); err == nil {
			io.WriteString(c, "HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")
			c.(*net.TCPConn).CloseWrite()
			io.Copy(io.Discard, r)
		}
	})
	for name, test := range stalled {
		if test.small {
			continue
		}
		t.Run(name, func(t *testing.T) {
			f := f.with(t)
			c := f.dial()
			defer c.Close()
			if r := f.exchange(c, "POST /any/ HTTP/1.1\nHost: a\n"+test.head, test.body); r.StatusCode != 401 || r.body != "no" {
				t.Errorf("got %s %q", r.Status, r.body)
			}
			f.eventually("the lease is released", func() bool { return f.world.leased.Load() == 0 })
		})
	}
}
