package gateway

import (
	"io"
	"net/http"
	"reflect"
	"strings"
	"testing"
)

// TestResponse checks that the caller gets the function's answer, word for word.
func TestResponse(t *testing.T) {
	gzipped := "\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\x03\x00\x00\x00\x00\x00\x00\x00\x00\x00"
	tests := map[string]struct {
		method  string // default GET
		answer  string // lines parted by "\n"; ends after the body
		status  int    // default 200
		header  http.Header
		body    string
		trailer http.Header
		length  int64 // -1: chunked or to the end
	}{
		"plain": {
			answer: "HTTP/1.1 200 OK\nContent-Type: text/plain\nContent-Length: 2\n\nhi",
			header: http.Header{"Content-Type": {"text/plain"}}, body: "hi", length: 2,
		},
		"no content type is guessed": {answer: "HTTP/1.1 200 OK\nContent-Length: 6\n\n<html>", body: "<html>", length: 6},
		"nothing":                    {answer: "HTTP/1.1 200 OK\nContent-Length: 0\n\n"},
		"created": {
			answer: "HTTP/1.1 201 Created\nLocation: /members/7\nContent-Length: 0\n\n",
			status: 201, header: http.Header{"Location": {"/members/7"}},
		},
		"no content": {answer: "HTTP/1.1 204 No Content\n\n", status: 204},
		"not modified": {
			answer: "HTTP/1.1 304 Not Modified\nEtag: \"a\"\nCache-Control: no-cache\n\n",
			status: 304, header: http.Header{"Etag": {`"a"`}, "Cache-Control": {"no-cache"}},
		},
		"redirect is the caller's to follow": {
			answer: "HTTP/1.1 302 Found\nLocation: http://192.0.2.1/x\nContent-Length: 0\n\n",
			status: 302, header: http.Header{"Location": {"http://192.0.2.1/x"}},
		},
		"partial": {
			answer: "HTTP/1.1 206 Partial Content\nContent-Range: bytes 0-1/9\nContent-Length: 2\n\nhi",
			status: 206, header: http.Header{"Content-Range": {"bytes 0-1/9"}}, body: "hi", length: 2,
		},
		"the function's own error": {
			answer: "HTTP/1.1 503 Service Unavailable\nRetry-After: 7\nContent-Length: 4\n\nbusy",
			status: 503, header: http.Header{"Retry-After": {"7"}}, body: "busy", length: 4,
		},
		"status that nobody knows": {answer: "HTTP/1.1 799 What\nContent-Length: 1\n\n?", status: 799, body: "?", length: 1},
		"HEAD keeps the length":    {method: "HEAD", answer: "HTTP/1.1 200 OK\nContent-Length: 5000\n\n", length: 5000},
		"HEAD of unknown length":   {method: "HEAD", answer: "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n", length: -1},
		"repeated headers": {
			answer: "HTTP/1.1 200 OK\nSet-Cookie: a=b; Path=/\nSet-Cookie: c=d\nX-Empty:\nContent-Length: 0\n\n",
			header: http.Header{"Set-Cookie": {"a=b; Path=/", "c=d"}, "X-Empty": {""}},
		},
		"headers that only requests may not carry": {
			answer: "HTTP/1.1 200 OK\nServiceful-Trigger: a\nNats-Msg-Id: b\nContent-Length: 0\n\n",
			header: http.Header{"Serviceful-Trigger": {"a"}, "Nats-Msg-Id": {"b"}},
		},
		"the function's own date and server": {
			answer: "HTTP/1.1 200 OK\nDate: Thu, 01 Jan 1970 00:00:00 GMT\nServer: x\nContent-Length: 0\n\n",
			header: http.Header{"Date": {"Thu, 01 Jan 1970 00:00:00 GMT"}, "Server": {"x"}},
		},
		"headers of the connection alone": {answer: "HTTP/1.1 200 OK\nConnection: X-Hop\nX-Hop: 1\nKeep-Alive: timeout=5\nContent-Length: 0\n\n"},
		"gzip is not unpacked": {
			answer: "HTTP/1.1 200 OK\nContent-Encoding: gzip\nContent-Length: 20\n\n" + gzipped,
			header: http.Header{"Content-Encoding": {"gzip"}}, body: gzipped, length: 20,
		},
		"chunked":              {answer: "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n2\nhi\n0\n\n", body: "hi", length: -1},
		"chunked, nothing":     {answer: "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n0\n\n", length: -1},
		"to the end":           {answer: "HTTP/1.1 200 OK\n\nhi", body: "hi", length: -1},
		"HTTP/1.0":             {answer: "HTTP/1.0 200 OK\n\nhi", body: "hi", length: -1},
		"large":                {answer: "HTTP/1.1 200 OK\nContent-Length: 3000000\n\n" + strings.Repeat("abc", 1e6), body: strings.Repeat("abc", 1e6), length: 3e6},
		"large headers":        {answer: "HTTP/1.1 200 OK\nX-A: " + strings.Repeat("a", 9e5) + "\nContent-Length: 0\n\n", header: http.Header{"X-A": {strings.Repeat("a", 9e5)}}},
		"announced trailers":   {answer: "HTTP/1.1 200 OK\nTrailer: X-Sum, X-None\nTransfer-Encoding: chunked\n\n2\nhi\n0\nX-Sum: 7\n\n", body: "hi", trailer: http.Header{"X-Sum": {"7"}, "X-None": nil}, length: -1},
		"unannounced trailers": {answer: "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n2\nhi\n0\nX-Sum: 7\nX-Sum: 8\n\n", body: "hi", trailer: http.Header{"X-Sum": {"7", "8"}}, length: -1},
	}
	f := newFixture(t)
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			f := f.with(t)
			head, body, _ := strings.Cut(test.answer, "\n\n")
			if strings.Contains(head, "chunked") {
				body = strings.ReplaceAll(body, "\n", "\r\n")
			}
			f.world.answer(shop, strings.ReplaceAll(head, "\n", "\r\n")+"\r\n\r\n"+body)
			if test.method == "" {
				test.method = "GET"
			}
			r := f.send(test.method+" /get HTTP/1.1\nAccept-Encoding: gzip", "")
			if test.status == 0 {
				test.status = http.StatusOK
			}
			if r.StatusCode != test.status || r.ContentLength != test.length || r.body != test.body {
				t.Errorf("got %s, length %d, body %.100q, want %d, %d, %.100q", r.Status, r.ContentLength, r.body, test.status, test.length, test.body)
			}
			if test.header["Date"] == nil {
				r.Header.Del("Date") // RFC 9110, 6.6.1: who forwards an answer without one adds it
			}
			r.Header.Del("Content-Length")
			if test.header == nil {
				test.header = http.Header{}
			}
			if !reflect.DeepEqual(r.Header, test.header) {
				t.Errorf("headers %.300q, want %.300q", r.Header, test.header)
			}
			if !reflect.DeepEqual(r.Trailer, test.trailer) {
				t.Errorf("trailers %q, want %q", r.Trailer, test.trailer)
			}
		})
	}
}

// TestInterimResponse checks that what a function says before its answer gets
// through, and stays apart from the answer.
func TestInterimResponse(t *testing.T) {
	f := newFixture(t)
	f.world.answer(shop, "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\nLink: </b.css>\r\n\r\n"+
		"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 6\r\nX-A: b\r\n\r\n<html>")
	r := f.send("GET /get HTTP/1.1", "")
	if len(r.interim) != 2 || r.interim[0].StatusCode != 103 || r.interim[1].StatusCode != 102 ||
		!reflect.DeepEqual(r.interim[0].Header, http.Header{"Link": {"</a.css>", "</b.css>"}}) || len(r.interim[1].Header) != 0 {
		t.Errorf("interim answers %+v", r.interim)
	}
	if r.StatusCode != 200 || r.body != "<html>" || r.Header.Get("X-A") != "b" || r.Header["Link"] != nil || r.Header["Content-Type"] != nil {
		t.Errorf("got %s %v %q", r.Status, r.Header, r.body)
	}
}

// TestManyInterimResponses checks that a function may say how it gets on as often
// as it likes.
func TestManyInterimResponses(t *testing.T) {
	f := newFixture(t)
	f.world.answer(shop, strings.Repeat("HTTP/1.1 102 Processing\r\n\r\n", 100)+"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
	for _, chunked := range []bool{false, true} {
		if r := f.post("/any/", "body", chunked); r.StatusCode != 200 || r.body != "hi" || len(r.interim) != 100 {
			t.Errorf("chunked %v: got %s %q after %d interim answers", chunked, r.Status, r.body, len(r.interim))
		}
	}
}

// TestContinue checks that who waits to be told to go on is told so once.
func TestContinue(t *testing.T) {
	f := newFixture(t)
	f.record(shop)
	for name, body := range map[string]string{"small": "body", "large": strings.Repeat("a", 100_000)} {
		r := f.send("POST /any/ HTTP/1.1\nExpect: 100-continue", body)
		if r.StatusCode != 200 || len(r.interim) != 1 || r.interim[0].StatusCode != 100 {
			t.Errorf("%s: got %s after %d interim answers", name, r.Status, len(r.interim))
		}
	}
}

// TestConnectionIsKept checks that neither side pays for a new connection with
// each call.
func TestConnectionIsKept(t *testing.T) {
	f := newFixture(t)
	remote := make(chan string, 10)
	f.world.handle(shop, func(w http.ResponseWriter, r *http.Request) {
		remote <- r.RemoteAddr
		io.Copy(w, r.Body)
	})
	c := f.dial()
	defer c.Close()
	for range 3 {
		if r := f.exchange(c, "PUT /change HTTP/1.1\nHost: a\nContent-Length: 4", "body"); r.StatusCode != 200 || r.body != "body" {
			t.Fatalf("got %s %q", r.Status, r.body)
		}
	}
	first, second, third := <-remote, <-remote, <-remote
	if first != second || first != third {
		t.Error("the connection to the function was not kept")
	}
}
