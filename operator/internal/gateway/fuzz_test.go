package gateway

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// FuzzGatewayRequest sends any method, target, headers and body, and checks that
// the door answers what HTTP knows, as a problem where it is one of its own, and
// lives on.
func FuzzGatewayRequest(f *testing.F) {
	seeds := [][4]string{
		{"GET", "/get", "", ""},
		{"POST", "/any/a/../b//%2F?a=%zz;", "Transfer-Encoding: chunked", "3\r\nabc\r\n0\r\n\r\n"},
		{"POST", "/later/a", "Content-Length: 3", "abc"},
		{"POST", "/later/\xff?\xff", "Idempotency-Key: \xff\r\nX-A: \xff", ""},
		{"DELETE", "/calls/abc", "Host: shop.localhost", ""},
		{"GET", "/calls/%2A", "", ""},
		{"GET", "/members/a/offers/%00", "Connection: Upgrade\r\nUpgrade: websocket", ""},
		{"OPTIONS", "*", "", ""},
		{"CONNECT", "a:80", "", ""},
		{"GET", "http://shop.localhost/get", "Host: market.localhost", ""},
		{"PUT", "/change", "Expect: 100-continue\r\nContent-Length: 5", "ab"},
		{"PRI", "* HTTP/2.0\r\n\r\nSM", "", ""},
		{"GET", "//", "Nats-Msg-Id: a\r\nServiceful-Trigger: b\r\nConnection: Serviceful-Trigger, X-Forwarded-For", ""},
	}
	for _, s := range seeds {
		f.Add(s[0], s[1], s[2], s[3])
	}
	fixture := newFixture(f)
	var forged atomic.Pointer[http.Header] // what a function should not have got
	fixture.world.handle(shop, func(_ http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		if len(r.Header["Serviceful-Trigger"]) != 1 || len(r.Header["Traceparent"]) == 0 || r.Header["Nats-Msg-Id"] != nil {
			forged.Store(&r.Header)
		}
	})
	f.Fuzz(func(t *testing.T, method, target, headers, body string) {
		fixture := fixture.with(t)
		c := fixture.dial()
		defer c.Close()
		head := method + " " + target + " HTTP/1.1\r\nConnection: close\r\n"
		if headers != "" {
			head += headers + "\r\n"
		}
		go io.WriteString(c, head+"\r\n"+body)
		// Whatever is missing will not come.
		defer time.AfterFunc(100*time.Millisecond, func() { c.(*net.TCPConn).CloseWrite() }).Stop()
		r := bufio.NewReader(c)
		for {
			resp, err := http.ReadResponse(r, &http.Request{Method: method})
			if err != nil {
				break // the request was not whole, or the connection was given up
			}
			check(t, resp)
			io.Copy(io.Discard, resp.Body)
		}
		if h := forged.Load(); h != nil {
			t.Errorf("the function got %v", *h)
		}
		if resp := fixture.get(t.Context(), "/healthz"); resp.StatusCode != 200 {
			t.Fatalf("after it the door answers %s", resp.Status)
		}
	})
}

// check is that an answer is one that this door gives.
func check(t *testing.T, resp *http.Response) {
	t.Helper()
	ours := []int{100, 200, 202, 204, 400, 404, 405, 409, 413, 422, 431, 502}
	netHTTP := []int{400, 417, 431, 501, 505}
	contentType := resp.Header.Get("Content-Type")
	switch {
	case slices.Contains(netHTTP, resp.StatusCode) && strings.HasPrefix(contentType, "text/plain"):
	case !slices.Contains(ours, resp.StatusCode):
		body, _ := io.ReadAll(resp.Body)
		t.Errorf("answered %s %s", resp.Status, body)
	case resp.StatusCode >= 400 && contentType != "application/problem+json":
		t.Errorf("answered %s with %q", resp.Status, contentType)
	}
}
