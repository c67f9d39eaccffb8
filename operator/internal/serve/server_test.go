package serve

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"
)

// deadline bounds every wait of these tests.
const deadline = 2 * time.Minute

// start runs a server until the test ends.
func start(t *testing.T, h http.HandlerFunc) *Server {
	t.Helper()
	s, err := Start("127.0.0.1:0", h)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Stop(t.Context()) })
	return s
}

// get is what a GET comes to, once it has.
func get(t *testing.T, address string) <-chan string {
	t.Helper()
	done := make(chan string, 1)
	go func() {
		client := http.Client{Timeout: deadline, Transport: &http.Transport{DisableKeepAlives: true}}
		resp, err := client.Get("http://" + address)
		if err != nil {
			done <- "error"
			return
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			body = []byte("error")
		}
		done <- string(body)
	}()
	return done
}

func TestPortInUse(t *testing.T) {
	s := start(t, func(http.ResponseWriter, *http.Request) {})
	_, err := Start(s.Address(), http.NotFoundHandler())
	if err == nil || !strings.Contains(err.Error(), s.Address()) || !strings.Contains(err.Error(), "port is in use") {
		t.Errorf("got %v", err)
	}
	for _, address := range []string{"127.0.0.1:99999", "192.0.2.1:0", "nonsense"} {
		if _, err := Start(address, http.NotFoundHandler()); err == nil || !strings.Contains(err.Error(), "listening on "+address) {
			t.Errorf("%s: got %v", address, err)
		}
	}
}

// TestStopDrains checks that a request under way is answered, and that no new
// one is taken meanwhile.
func TestStopDrains(t *testing.T) {
	called, goOn := make(chan bool, 1), make(chan bool)
	s := start(t, func(w http.ResponseWriter, _ *http.Request) {
		called <- true
		<-goOn
		io.WriteString(w, "done")
	})
	answer := get(t, s.Address())
	<-called
	stopped := make(chan bool)
	go func() {
		s.Stop(t.Context())
		close(stopped)
	}()
	for end := time.Now().Add(deadline); ; time.Sleep(time.Millisecond) {
		c, err := net.Dial("tcp", s.Address())
		if err != nil {
			break
		}
		c.Close()
		if time.Now().After(end) {
			t.Fatal("it still takes connections")
		}
	}
	select {
	case <-stopped:
		t.Fatal("it has stopped with a request under way")
	default:
	}
	close(goOn)
	if got := <-answer; got != "done" {
		t.Errorf("the request under way got %q", got)
	}
	<-stopped
	s.Stop(t.Context()) // again does nothing
}

// TestStopBreaksOff checks that a request that does not end is broken off when
// the time is up.
func TestStopBreaksOff(t *testing.T) {
	called := make(chan bool, 1)
	s := start(t, func(_ http.ResponseWriter, r *http.Request) {
		called <- true
		<-r.Context().Done()
	})
	answer := get(t, s.Address())
	<-called
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s.Stop(ctx)
	if got := <-answer; got != "error" && got != "" {
		t.Errorf("the request got %q", got)
	}
}

func TestHeadLimit(t *testing.T) {
	s := start(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "done") })
	tests := map[string]struct {
		size   int // of the one header
		status int
	}{
		"usual": {100, 200}, "nearly too large": {MaxHeaderBytes - 100, 200}, "too large": {MaxHeaderBytes, 431},
		"far too large": {20 * MaxHeaderBytes, 431}, "larger than net/http takes": {2 << 20, 431},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			c, err := net.Dial("tcp", s.Address())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			go io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\nX-A: "+strings.Repeat("a", test.size)+"\r\n\r\n")
			resp, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			problem := resp.Header.Get("Content-Type") == "application/problem+json"
			if resp.StatusCode != test.status || problem != (test.status == 431) {
				t.Errorf("got %s %v", resp.Status, resp.Header)
			}
		})
	}
}

func TestReadBody(t *testing.T) {
	broken := io.MultiReader(strings.NewReader("ab"), deadLine{})
	tests := map[string]struct {
		body   io.Reader
		length int64 // as announced; -1: not
		want   string
		status int // of the problem
	}{
		"none":                    {strings.NewReader(""), 0, "", 0},
		"not even that":           {nil, 0, "", 0},
		"as announced":            {strings.NewReader("abc"), 3, "abc", 0},
		"not announced":           {strings.NewReader("abc"), -1, "abc", 0},
		"empty, not announced":    {strings.NewReader(""), -1, "", 0},
		"at the limit":            {strings.NewReader("abcdefghij"), 10, "abcdefghij", 0},
		"at the limit, unknown":   {strings.NewReader("abcdefghij"), -1, "abcdefghij", 0},
		"over the limit":          {strings.NewReader("abcdefghijk"), 11, "", 413},
		"over the limit, unknown": {strings.NewReader("abcdefghijk"), -1, "", 413},
		"says it is over":         {strings.NewReader("a"), 1 << 40, "", 413},
		"shorter than announced":  {strings.NewReader("ab"), 3, "", 400},
		"nothing of what it says": {strings.NewReader(""), 3, "", 400},
		"longer than announced":   {strings.NewReader("abcd"), 3, "abc", 0},
		"breaks off":              {broken, 5, "", 400},
		"breaks off, unannounced": {io.MultiReader(strings.NewReader("ab"), deadLine{}), -1, "", 400},
		"far over it, unknown":    {strings.NewReader("abcdefghijklmnopqrstuvwxyz"), -1, "", 413},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodPost, "/", test.body)
			r.ContentLength = test.length
			got, err := ReadBody(httptest.NewRecorder(), r, 10, deadline)
			var p *Problem
			if test.status == 0 && err != nil || test.status != 0 && (!errors.As(err, &p) || p.Status != test.status) || string(got) != test.want {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}

type deadLine struct{}

func (deadLine) Read([]byte) (int, error) { return 0, errors.New("the line is dead") }

// TestLyingBody checks over a connection what a body comes to that is not as
// long as it says.
func TestLyingBody(t *testing.T) {
	s := start(t, func(w http.ResponseWriter, r *http.Request) {
		body, err := ReadBody(w, r, 10, deadline)
		if err != nil {
			WriteProblem(w, err)
			return
		}
		w.Write(body)
	})
	for name, request := range map[string]string{
		"short":       "Content-Length: 5\r\n\r\nabc",
		"half chunk":  "Transfer-Encoding: chunked\r\n\r\n5\r\nabc",
		"no chunk":    "Transfer-Encoding: chunked\r\n\r\n",
		"bad chunk":   "Transfer-Encoding: chunked\r\n\r\nzz\r\nabc",
		"large chunk": "Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\nabc",
	} {
		t.Run(name, func(t *testing.T) {
			c, err := net.Dial("tcp", s.Address())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			io.WriteString(c, "POST / HTTP/1.1\r\nHost: a\r\n"+request)
			c.(*net.TCPConn).CloseWrite()
			resp, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			var p Problem
			if err := json.NewDecoder(resp.Body).Decode(&p); err != nil || resp.StatusCode != 400 || p.Type != problemBase+"unreadable-body" {
				t.Errorf("got %s %+v, %v", resp.Status, p, err)
			}
		})
	}
}

func TestWriteProblem(t *testing.T) {
	lines := NewProblem(502, "function-not-started", "function %s: %s", "a/b", "exit 2")
	lines.Lines = []string{"a", "b"}
	tests := map[string]struct {
		err    error
		status int
		body   string
	}{
		"problem": {NewProblem(404, "no-such-route", "no %q <b>", "a"), 404,
			`{"type":"https://serviceful.dev/problems/no-such-route","title":"Not Found","status":404,"detail":"no \"a\" <b>"}`},
		"wrapped": {errors.Join(errors.New("first"), NewProblem(409, "a-b", "c")), 409,
			`{"type":"https://serviceful.dev/problems/a-b","title":"Conflict","status":409,"detail":"c"}`},
		"any error": {errors.New("what"), 500,
			`{"type":"https://serviceful.dev/problems/internal","title":"Internal Server Error","status":500,"detail":"what"}`},
		"lines": {lines, 502,
			`{"type":"https://serviceful.dev/problems/function-not-started","title":"Bad Gateway","status":502,"detail":"function a/b: exit 2","lines":["a","b"]}`},
		"too large": {TooLarge(7), 413,
			`{"type":"https://serviceful.dev/problems/body-too-large","title":"Request Entity Too Large","status":413,"detail":"the body is larger than 7 bytes"}`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w := httptest.NewRecorder()
			w.Header().Set("Content-Length", "5")
			WriteProblem(w, test.err)
			if w.Code != test.status || w.Body.String() != test.body+"\n" || w.Header().Get("Content-Type") != "application/problem+json" ||
				w.Header().Get("X-Content-Type-Options") != "nosniff" || w.Header().Get("Content-Length") != strconv.Itoa(len(test.body)+1) {
				t.Errorf("got %d %v %s", w.Code, w.Header(), w.Body)
			}
		})
	}
}

func TestWriteJSON(t *testing.T) {
	w := httptest.NewRecorder()
	WriteJSON(w, 202, map[string]string{"id": "a"})
	if w.Code != 202 || w.Body.String() != "{\"id\":\"a\"}\n" || w.Header().Get("Content-Type") != "application/json" {
		t.Errorf("got %d %v %s", w.Code, w.Header(), w.Body)
	}
	w = httptest.NewRecorder()
	WriteJSON(w, 200, func() {})
	if w.Code != 500 || w.Header().Get("Content-Type") != "application/problem+json" {
		t.Errorf("what cannot be written is answered %d %v", w.Code, w.Header())
	}
}

// TestDrain checks that a client is sent away with an answer, and not by a
// connection that is closed.
func TestDrain(t *testing.T) {
	s := start(t, func(http.ResponseWriter, *http.Request) {})
	closes := func(header http.Header) bool {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+s.Address(), http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		r.Header = header
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		return resp.Close
	}
	plain, upgrade := http.Header{}, http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}}
	if closes(plain) {
		t.Error("a server that serves sends clients away")
	}
	s.Drain()
	if !closes(plain) {
		t.Error("a server that drains keeps a connection")
	}
	if closes(upgrade) {
		t.Error("a server that drains closes a connection that is to change its protocol")
	}
}
