package serve

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// TestAnswerIsRead has a client that sends more than is read, and closes, get to
// send all of it and to read the answer.
func TestAnswerIsRead(t *testing.T) {
	for name, framing := range map[string]string{"with its length": "Content-Length: 8388608", "chunked": "Transfer-Encoding: chunked"} {
		t.Run(name, func(t *testing.T) {
			refusing := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { WriteProblem(w, TooLarge(1)) })
			s := httptest.NewServer(lingering(refusing, deadline))
			defer s.Close()
			c, err := net.Dial("tcp", s.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			c.SetDeadline(time.Now().Add(deadline))
			body := bytes.Repeat([]byte("x"), 8<<20)
			if name == "chunked" {
				body = fmt.Appendf(nil, "800000\r\n%s\r\n0\r\n\r\n", body)
			}
			if _, err := fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n%s\r\n\r\n%s", framing, body); err != nil {
				t.Errorf("sending: %v", err)
			}
			resp, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if resp.StatusCode != 413 || resp.ContentLength <= 0 || !resp.Close {
				t.Errorf("got %s, %v", resp.Status, resp.Header)
			}
		})
	}
}
