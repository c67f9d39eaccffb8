package invoke

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/http/httputil"
	"net/textproto"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func newRequest(t *testing.T, method, url, body string) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	return req
}

// read is the status and body of an answer, or the error.
func read(resp *http.Response, err error) string {
	if err != nil {
		return "error: " + err.Error()
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Sprintf("%d %s broken: %v", resp.StatusCode, body, err)
	}
	return fmt.Sprintf("%d %s", resp.StatusCode, body)
}

// TestLikeNetHTTP compares random calls with those of net/http's transport: the
// function sees the same request, and the caller the same answer.
func TestLikeNetHTTP(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen, err := httputil.DumpRequest(r, true)
		if err != nil {
			t.Error(err)
		}
		w.Header().Set("X-Seen-Host", r.Host)
		switch r.URL.Query().Get("answer") {
		case "empty":
			w.WriteHeader(http.StatusNoContent)
		case "chunked":
			w.WriteHeader(http.StatusAccepted)
			for _, line := range bytes.SplitAfter(seen, []byte("\n")) {
				_, _ = w.Write(line)
				_ = http.NewResponseController(w).Flush()
			}
		case "close":
			w.Header().Set("Connection", "close")
			_, _ = w.Write(seen)
		default:
			_, _ = w.Write(seen)
		}
	}))
	defer server.Close()
	ours, theirs := NewTransport(), &http.Transport{DisableCompression: true}
	defer ours.CloseIdleConnections()
	defer theirs.CloseIdleConnections()
	methods := []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"}
	paths := []string{"/", "/a/b", "/a//b", "/%2F/%20x", "/members/1?x=1&y=%20&&"}
	answers := []string{"", "empty", "chunked", "close"}
	for i := range 400 {
		method, path := methods[rand.IntN(len(methods))], paths[rand.IntN(len(paths))]
		body := strings.Repeat("b", rand.IntN(3)*rand.IntN(50_000))
		if strings.Contains(path, "?") {
			path += "&answer=" + answers[rand.IntN(len(answers))]
		}
		results := [2]string{}
		for j, rt := range []http.RoundTripper{ours, theirs} {
			req := newRequest(t, method, server.URL+path, body)
			req.Host = "shop.example"
			req.Header["User-Agent"] = []string{"agent"}
			req.Header["X-Many"] = []string{"one", "two, three"}
			req.Header.Set("Content-Type", "text/plain")
			if i%7 == 0 {
				req.ContentLength = -1 // a stream
			}
			results[j] = read(rt.RoundTrip(req))
		}
		if results[0] != results[1] {
			t.Fatalf("%s %s with %d bytes: got\n%s\nwhere net/http gets\n%s", method, path, len(body), results[0], results[1])
		}
	}
}

func TestNothingIsAdded(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, len(r.Header), r.Header)
	}))
	defer server.Close()
	req := newRequest(t, http.MethodGet, server.URL, "")
	if got := read(NewTransport().RoundTrip(req)); got != "200 0 map[]" {
		t.Errorf("the function sees headers: %s", got)
	}
}

func TestConnectionsAreReused(t *testing.T) {
	var opened atomic.Int32
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(w, r.Body)
	}))
	server.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			opened.Add(1)
		}
	}
	server.Start()
	defer server.Close()
	tr := NewTransport()
	defer tr.CloseIdleConnections()
	for i := range 50 {
		want := fmt.Sprintf("200 body %d", i)
		if got := read(tr.RoundTrip(newRequest(t, http.MethodPost, server.URL, want[4:]))); got != want {
			t.Fatalf("got %q, want %q", got, want)
		}
	}
	if n := opened.Load(); n != 1 {
		t.Errorf("%d connections for 50 calls, one after the other", n)
	}
	resp, err := tr.RoundTrip(newRequest(t, http.MethodPost, server.URL, strings.Repeat("x", 10_000)))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close() // not read
	if got := read(tr.RoundTrip(newRequest(t, http.MethodPost, server.URL, "next"))); got != "200 next" {
		t.Errorf("after an answer that was not read, the next is %q", got)
	}
	if n := opened.Load(); n != 2 {
		t.Errorf("%d connections, want a second one after an answer that was not read", n)
	}
}

// TestConcurrentCallsDoNotMix calls with many goroutines, some of which give up:
// each answer belongs to its request.
func TestConcurrentCallsDoNotMix(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(w, r.Body)
	}))
	defer server.Close()
	tr := NewTransport()
	defer tr.CloseIdleConnections()
	var wg sync.WaitGroup
	for g := range 16 {
		wg.Go(func() {
			for i := range 200 {
				ctx, cancel := context.WithCancel(t.Context())
				if i%5 == 0 {
					time.AfterFunc(time.Duration(rand.IntN(300))*time.Microsecond, cancel)
				}
				want := fmt.Sprintf("200 %d-%d", g, i)
				got := read(tr.RoundTrip(newRequest(t, http.MethodPost, server.URL, want[4:]).WithContext(ctx)))
				if got != want && ctx.Err() == nil {
					t.Errorf("got %q, want %q", got, want)
				}
				cancel()
			}
		})
	}
	wg.Wait()
}

// serve answers each connection's requests by f, which gets the connection after
// the head of a request was read; false ends the connection.
func serveRaw(t *testing.T, f func(c net.Conn, nth int) bool) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	var nth atomic.Int32
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				r := bufio.NewReader(c)
				for {
					if _, err := http.ReadRequest(r); err != nil || !f(c, int(nth.Add(1))) {
						return
					}
				}
			}()
		}
	}()
	return l.Addr().String()
}

func TestAnswers(t *testing.T) {
	const ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
	tests := map[string]struct {
		answer string
		want   string // what the result contains
	}{
		"HTTP/1.0":             {"HTTP/1.0 200 OK\r\n\r\nold", "200 old"},
		"until the end":        {"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nall", "200 all"},
		"interim answers":      {"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + ok, "200 ok"},
		"many interim answers": {strings.Repeat("HTTP/1.1 102 Processing\r\n\r\n", 1000) + ok, "200 ok"},
		"only interim ones":    {strings.Repeat("HTTP/1.1 102 Processing\r\n\r\n", 50), "error: reading the answer"},
		"endless interim ones": {strings.Repeat("HTTP/1.1 102 Processing\r\n\r\n", 50_000), "its headers take more than"},
		"garbage":              {"hello\r\n\r\n", "error: reading the answer"},
		"nothing":              {"", "error: reading the answer"},
		"half a head":          {"HTTP/1.1 200 OK\r\nContent-", "error: reading the answer"},
		"half a body":          {"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", "broken: unexpected EOF"},
		"half a chunk":         {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", "broken: unexpected EOF"},
		"endless headers":      {"HTTP/1.1 200 OK\r\n" + strings.Repeat("X-Long: "+strings.Repeat("x", 1000)+"\r\n", 1200), "its headers take more than"},
		"two lengths":          {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc", "error: reading the answer"},
		"more than announced":  {ok + "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nsmuggle", "200 ok"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			address := serveRaw(t, func(c net.Conn, _ int) bool { _, _ = io.WriteString(c, tc.answer); return false })
			tr := NewTransport()
			defer tr.CloseIdleConnections()
			got := read(tr.RoundTrip(newRequest(t, http.MethodGet, "http://"+address, "")))
			if !strings.Contains(got, tc.want) {
				t.Errorf("got %q, want %q", got, tc.want)
			}
			// What was left over is nobody's answer.
			again := read(tr.RoundTrip(newRequest(t, http.MethodGet, "http://"+address, "")))
			if again != got {
				t.Errorf("the second call gets %q, the first got %q", again, got)
			}
		})
	}
}

func TestInterimAnswersAreTraced(t *testing.T) {
	address := serveRaw(t, func(c net.Conn, _ int) bool {
		_, _ = io.WriteString(c, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n")
		return true
	})
	var got []string
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
		got = append(got, fmt.Sprintf("%d %s", code, h.Get("Link")))
		return nil
	}})
	if s := read(NewTransport().RoundTrip(newRequest(t, http.MethodGet, "http://"+address, "").WithContext(ctx))); s != "204 " {
		t.Error(s)
	}
	if len(got) != 1 || got[0] != "103 </a>" {
		t.Errorf("got %q", got)
	}
}

// TestStrayBytes calls a server that sends more than its answers may have: the
// next call gets its own answer, however late the rest comes.
func TestStrayBytes(t *testing.T) {
	const stray = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nstray"
	tests := map[string]struct{ method, answer, stray string }{
		"HEAD":              {http.MethodHead, "HTTP/1.1 200 OK\r\nContent-Length: 43\r\n\r\n", stray},
		"HEAD, chunked":     {http.MethodHead, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "5\r\nstray\r\n0\r\n\r\n"},
		"not modified":      {http.MethodGet, "HTTP/1.1 304 Not Modified\r\nContent-Length: 43\r\n\r\n", stray},
		"no content":        {http.MethodGet, "HTTP/1.1 204 No Content\r\nContent-Length: 43\r\n\r\n", stray},
		"HEAD, unannounced": {http.MethodHead, "HTTP/1.1 200 OK\r\n\r\n", stray},
		"long":              {http.MethodGet, "HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n" + strings.Repeat("a", 10_000), stray},
	}
	for name, tc := range tests {
		for _, late := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, late %v", name, late), func(t *testing.T) {
				answered, sent := make(chan bool), make(chan bool)
				address := serveRaw(t, func(c net.Conn, nth int) bool {
					if nth > 1 {
						_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nown")
						return false
					}
					if late {
						_, _ = io.WriteString(c, tc.answer)
						<-answered
						_, _ = io.WriteString(c, tc.stray)
					} else {
						_, _ = io.WriteString(c, tc.answer+tc.stray)
					}
					close(sent)
					return true
				})
				tr := NewTransport()
				defer tr.CloseIdleConnections()
				resp, err := tr.RoundTrip(newRequest(t, tc.method, "http://"+address, ""))
				if err != nil {
					t.Fatal(err)
				}
				_, _ = io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
				close(answered)
				<-sent
				if got := read(tr.RoundTrip(newRequest(t, http.MethodGet, "http://"+address, ""))); got != "200 own" {
					t.Errorf("the next call gets %q", got)
				}
			})
		}
	}
}

// TestClosedConnectionIsNotUsed calls a server that closes a connection after
// each answer without saying so: no call meets a closed one.
func TestClosedConnectionIsNotUsed(t *testing.T) {
	address := serveRaw(t, func(c net.Conn, _ int) bool {
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		return false
	})
	tr := NewTransport()
	defer tr.CloseIdleConnections()
	for i := range 20 {
		if got := read(tr.RoundTrip(newRequest(t, http.MethodPost, "http://"+address, "body"))); got != "200 ok" {
			t.Fatalf("call %d: %s", i, got)
		}
		tr.mu.Lock()
		for _, unused := range tr.idle {
			for _, c := range unused {
				waitClosed(t, c.Conn)
			}
		}
		tr.mu.Unlock()
	}
}

func waitClosed(t *testing.T, c net.Conn) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); newPulse(c).alive(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the other side has not closed")
		}
	}
}

func TestErrors(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := l.Addr().String()
	l.Close()
	if _, err := NewTransport().RoundTrip(newRequest(t, http.MethodGet, "http://"+nobody, "")); !NotSent(err) {
		t.Errorf("nobody listens, and the error %v does not say that nothing was sent", err)
	}
	silent := serveRaw(t, func(net.Conn, int) bool { <-t.Context().Done(); return false })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = NewTransport().RoundTrip(newRequest(t, http.MethodGet, "http://"+silent, "").WithContext(ctx))
	if !errors.Is(err, context.DeadlineExceeded) || NotSent(err) {
		t.Errorf("a silent function: %v, not sent %v", err, NotSent(err))
	}
	req := newRequest(t, http.MethodPost, "http://"+silent, "short")
	req.ContentLength = 10
	if _, err := NewTransport().RoundTrip(req); err == nil || !NotSent(err) {
		t.Errorf("a body shorter than announced: %v", err)
	}
}

func TestUnusedConnectionsAreClosed(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer server.Close()
	tr := NewTransport()
	if got := read(tr.RoundTrip(newRequest(t, http.MethodGet, server.URL, ""))); got != "200 " {
		t.Fatal(got)
	}
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		tr.mu.Lock()
		left, sweeping := len(tr.idle), tr.sweeping
		tr.mu.Unlock()
		if left == 0 && !sweeping {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("an unused connection is kept for good")
		}
	}
}
