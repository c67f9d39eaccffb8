package serve

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"testing"
	"time"
)

// TestBodyStalls checks that a body that stops is waited for only so long, and
// that one that goes on slowly is read.
func TestBodyStalls(t *testing.T) {
	const stall = 300 * time.Millisecond
	s := start(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/unread" {
			AwaitBody(w, stall) // as Start does, for longer
			return
		}
		body, err := ReadBody(w, r, 100, stall)
		if err != nil {
			WriteProblem(w, err)
			return
		}
		<-time.After(2 * stall) // of which reading knows nothing any more
		if r.Context().Err() != nil {
			t.Error("the caller is said to be gone")
		}
		w.Write(body)
	})
	tests := map[string]struct {
		head   string
		parts  []string // of the body
		status int
	}{
		"stalls":           {"POST / HTTP/1.1\r\nContent-Length: 10", []string{"half"}, 408},
		"stalls, chunked":  {"POST / HTTP/1.1\r\nTransfer-Encoding: chunked", []string{"5\r\nhe"}, 408},
		"nobody reads it":  {"POST /unread HTTP/1.1\r\nContent-Length: 10", []string{"half"}, 200},
		"whole":            {"POST / HTTP/1.1\r\nContent-Length: 4", []string{"half"}, 200},
		"whole, by halves": {"POST / HTTP/1.1\r\nContent-Length: 8", []string{"half", "half"}, 200},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, err := net.Dial("tcp", s.Address())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			c.SetDeadline(time.Now().Add(deadline))
			io.WriteString(c, test.head+"\r\nHost: a\r\n\r\n")
			for _, part := range test.parts {
				io.WriteString(c, part)
			}
			resp, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if resp.StatusCode != test.status || resp.Close != (len(test.parts) == 1 && name != "whole") {
				t.Errorf("got %s, closed %v", resp.Status, resp.Close)
			}
		})
	}
}
