package serve

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

// raw writes to a server and reads all that it answers.
func raw(t *testing.T, s *Server, request string) []byte {
	t.Helper()
	c, err := net.Dial("tcp", s.Address())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, request); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(c)
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

// TestUnreadable has what is no request be answered with a problem, also on a
// connection that has had an answer.
func TestUnreadable(t *testing.T) {
	s := start(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	tests := map[string]struct {
		request, kind, detail string
		status                int
	}{
		"no request":        {"hello\r\n\r\n", "malformed-request", "it cannot be read as an HTTP request", 400},
		"no host":           {"GET / HTTP/1.1\r\n\r\n", "malformed-request", "missing required Host header", 400},
		"two hosts":         {"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "malformed-request", "it cannot be read as an HTTP request", 400},
		"a later version":   {"GET / HTTP/3.0\r\nHost: a\r\n\r\n", "malformed-request", "unsupported protocol version", 505},
		"unknown encoding":  {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: brotli\r\n\r\n", "malformed-request", "Unsupported transfer encoding", 501},
		"after another one": {"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\n\r\n", "malformed-request", "missing required Host header", 400},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			answers := bufio.NewReader(bytes.NewReader(raw(t, s, test.request)))
			resp, err := http.ReadResponse(answers, nil)
			if err == nil && resp.StatusCode == http.StatusNoContent {
				resp, err = http.ReadResponse(answers, nil)
			}
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			var p Problem
			if err := json.NewDecoder(resp.Body).Decode(&p); err != nil {
				t.Fatal(err)
			}
			if resp.StatusCode != test.status || p.Status != test.status || p.Type != problemBase+test.kind || p.Detail != test.detail {
				t.Errorf("got %d, %+v", resp.StatusCode, p)
			}
			if resp.Header.Get("Content-Type") != "application/problem+json" || !resp.Close {
				t.Errorf("its headers are %v, the connection ends: %v", resp.Header, resp.Close)
			}
		})
	}
}

// TestNotUnreadable has an answer that holds such an error as its own body be left
// alone.
func TestNotUnreadable(t *testing.T) {
	body := "HTTP/1.1 400 Bad Request" + ownErrors + "400 Bad Request"
	s := start(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush()
		_, _ = io.WriteString(w, body)
	})
	for _, version := range []string{"HTTP/1.1", "HTTP/1.0"} { // in chunks, and as it is
		answer := string(raw(t, s, "GET / "+version+"\r\nHost: a\r\nConnection: close\r\n\r\n"))
		if !strings.Contains(answer, body) {
			t.Errorf("%s: got %q", version, answer)
		}
	}
}
