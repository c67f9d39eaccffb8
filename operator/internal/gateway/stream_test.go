package gateway

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestAnswerIsStreamed checks that the caller reads what the function has
// written, before the function has ended.
func TestAnswerIsStreamed(t *testing.T) {
	tests := map[string]string{ // the headers that a function sets
		"events":          "Content-Type: text/event-stream",
		"chunks":          "Content-Type: text/plain",
		"of known length": "Content-Length: 9",
	}
	f := newFixture(t)
	for name, header := range tests {
		t.Run(name, func(t *testing.T) {
			f := f.with(t)
			read := make(chan bool, 3)
			f.world.handle(shop, func(w http.ResponseWriter, r *http.Request) {
				key, value, _ := strings.Cut(header, ": ")
				w.Header().Set(key, value)
				for range 3 {
					io.WriteString(w, "abc")
					http.NewResponseController(w).Flush()
					select {
					case <-read:
					case <-r.Context().Done():
					}
				}
			})
			resp := f.get(t.Context(), "/get")
			defer resp.Body.Close()
			buf := make([]byte, 3)
			for range 3 {
				if _, err := io.ReadFull(resp.Body, buf); err != nil || string(buf) != "abc" {
					t.Fatalf("read %q: %v", buf, err)
				}
				read <- true
			}
			if rest, err := io.ReadAll(resp.Body); err != nil || len(rest) != 0 {
				t.Fatalf("read %q: %v", rest, err)
			}
		})
	}
}

// TestHeadIsStreamed checks that the caller learns that a stream has begun
// before there is anything in it.
func TestHeadIsStreamed(t *testing.T) {
	f := newFixture(t)
	read := make(chan bool, 1)
	f.world.handle(shop, func(w http.ResponseWriter, r *http.Request) {
		http.NewResponseController(w).Flush()
		select {
		case <-read:
		case <-r.Context().Done():
		}
	})
	resp := f.get(t.Context(), "/get")
	read <- true
	resp.Body.Close()
}

// get sends a request whose answer is not read.
func (f *fixture) get(ctx context.Context, path string) *http.Response {
	f.Helper()
	ctx, cancel := context.WithTimeout(ctx, deadline)
	f.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+f.address+path, nil)
	if err != nil {
		f.Fatal(err)
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		f.Fatal(err)
	}
	return resp
}

// TestBodyIsStreamed checks that the function reads what the caller has written,
// while the caller still writes; and that both may talk at the same time.
func TestBodyIsStreamed(t *testing.T) {
	f := newFixture(t)
	f.world.handle(shop, func(w http.ResponseWriter, r *http.Request) {
		control := http.NewResponseController(w)
		control.EnableFullDuplex()
		control.Flush()
		for line := range lines(r.Body) {
			io.WriteString(w, strings.ToUpper(line))
			control.Flush()
		}
		io.WriteString(w, "end "+r.Trailer.Get("X-Sum"))
	})
	c := f.dial()
	defer c.Close()
	io.WriteString(c, "POST /any/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	answer := bufio.NewReader(resp.Body)
	for range 3 {
		io.WriteString(c, "4\r\nabc\n\r\n")
		if line, err := answer.ReadString('\n'); line != "ABC\n" {
			t.Fatalf("read %q: %v", line, err)
		}
	}
	io.WriteString(c, "0\r\nX-Sum: 7\r\n\r\n")
	if rest, err := io.ReadAll(answer); string(rest) != "end 7" {
		t.Fatalf("read %q: %v", rest, err)
	}
}

func lines(r io.Reader) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		buffered := bufio.NewReader(r)
		for {
			line, err := buffered.ReadString('\n')
			if err != nil || !yield(line) {
				return
			}
		}
	}
}

// upgrading is a function that switches to a protocol of upper-case lines.
func upgrading(r *bufio.Reader, c net.Conn) {
	req, err := http.ReadRequest(r)
	if err != nil {
		return
	}
	if req.Header.Get("Upgrade") != "upper" || req.Header.Get("Connection") != "Upgrade" || req.Header.Get("Serviceful-Trigger") == "" ||
		req.Header.Get("X-Forwarded-For") != "127.0.0.1" || req.Header.Get("Forwarded") != "for=b" || req.RequestURI != "/hasty?a=%zz;b" || req.Host != "a" {
		io.WriteString(c, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
		return
	}
	io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: upper\r\nX-A: b\r\n\r\nhello\n")
	<-time.After(2 * hastyTimeout) // longer than the whole call may take to begin
	for line := range lines(r) {
		io.WriteString(c, strings.ToUpper(line))
	}
	io.WriteString(c, "BYE\n")
}

// TestUpgrade checks that a connection may change its protocol, and may then
// last for longer than the function's timeout.
func TestUpgrade(t *testing.T) {
	f := newFixture(t)
	f.world.talk(hasty, upgrading)
	c := f.dial()
	defer c.Close()
	io.WriteString(c, "GET /hasty?a=%zz;b HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: upper\r\nForwarded: for=b\r\n\r\n")
	r := bufio.NewReader(c)
	resp, err := http.ReadResponse(r, nil)
	if err != nil || resp.StatusCode != 101 || resp.Header.Get("Upgrade") != "upper" || resp.Header.Get("X-A") != "b" || resp.Header["Content-Type"] != nil {
		t.Fatalf("answered %+v, %v", resp, err)
	}
	io.WriteString(c, "abc\n")
	c.(*net.TCPConn).CloseWrite()
	for _, want := range []string{"hello\n", "ABC\n", "BYE\n"} {
		if line, err := r.ReadString('\n'); line != want {
			t.Fatalf("read %q, %v, want %q", line, err, want)
		}
	}
}

// TestUpgradeRefused checks that an offer to change the protocol changes nothing
// when the function does not take it.
func TestUpgradeRefused(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.SyncBody = 1000 })
	f.world.answer(shop, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>")
	const offer = "\nConnection: Upgrade\nUpgrade: h2c"
	r := f.send("POST /any/ HTTP/1.1"+offer, "body")
	if r.StatusCode != 200 || r.body != "<html>" || r.Header["Content-Type"] != nil {
		t.Errorf("got %s %v %q", r.Status, r.Header, r.body)
	}
	r = f.send("POST /any/ HTTP/1.1\nUpgrade: h2c", "body") // without Connection it is no offer at all
	if r.StatusCode != 200 || r.body != "<html>" {
		t.Errorf("got %s %v %q", r.Status, r.Header, r.body)
	}
	r = f.send("POST /any/ HTTP/1.1"+offer+"\nTransfer-Encoding: chunked\nHost: a\n\n7d0\n"+strings.Repeat("a", 2000)+"\n0", "")
	f.wantProblem(r, 413, "body-too-large")
	f.world.answer(shop, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: other\r\n\r\n")
	f.wantProblem(f.send("GET /get HTTP/1.1"+offer, ""), 502, "function-broke-off")
	f.wantProblem(f.send("GET /get HTTP/1.1", ""), 502, "function-broke-off") // nobody asked for it
}

// TestCallerGone checks that the function's request ends with the caller.
func TestCallerGone(t *testing.T) {
	tests := map[string]struct {
		answers bool // before the caller goes
		head    string
	}{
		"before the answer":        {head: "GET /get HTTP/1.1"},
		"after the body":           {head: "POST /any/ HTTP/1.1\nContent-Length: 0"},
		"in the answer":            {true, "GET /get HTTP/1.1"},
		"in the body":              {head: "POST /any/ HTTP/1.1\nTransfer-Encoding: chunked"},
		"in a long body":           {head: "POST /any/ HTTP/1.1\nContent-Length: 1000000"},
		"in a body and the answer": {true, "POST /any/ HTTP/1.1\nTransfer-Encoding: chunked"},
	}
	f := newFixture(t)
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			f := f.with(t)
			called, gone := make(chan bool, 1), make(chan bool, 1)
			f.world.handle(shop, func(w http.ResponseWriter, r *http.Request) {
				if control := http.NewResponseController(w); test.answers {
					control.EnableFullDuplex()
					control.Flush()
				}
				called <- true
				io.Copy(io.Discard, r.Body) // or the server would not notice
				<-r.Context().Done()
				gone <- true
			})
			c := f.dial()
			defer c.Close()
			io.WriteString(c, strings.ReplaceAll(test.head+"\nHost: a\n\n", "\n", "\r\n"))
			receive(f, "the function is called", called)
			if test.answers {
				if _, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil {
					t.Fatal(err)
				}
			}
			c.Close()
			receive(f, "the function learns that the caller is gone", gone)
			f.eventually("the lease is released", func() bool { return f.world.leased.Load() == 0 })
		})
	}
}

// TestCallerGoneBeforeReady checks that nobody waits for an instance on behalf
// of a caller that is gone.
func TestCallerGoneBeforeReady(t *testing.T) {
	f := newFixture(t)
	waits, gone := make(chan bool, 1), make(chan bool, 1)
	f.world.functions.Store(shop, acquire(func(ctx context.Context) (string, error) {
		waits <- true
		<-ctx.Done()
		gone <- true
		return "", ctx.Err()
	}))
	c := f.dial()
	defer c.Close()
	io.WriteString(c, "GET /get HTTP/1.1\r\nHost: a\r\n\r\n")
	receive(f, "the door asks for an instance", waits)
	c.Close()
	receive(f, "the door no longer asks for an instance", gone)
}
