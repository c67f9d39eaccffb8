package serve

import (
	"bytes"
	"cmp"
	"context"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
)

// problemListener is a listener on whose connections the errors that net/http
// answers itself, to what it cannot read as a request, are problems as well.
type problemListener struct{ net.Listener }

func (l problemListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if tcp, ok := c.(*net.TCPConn); ok {
		return &problemConn{TCPConn: tcp}, err
	}
	return c, err
}

// problemConn is a connection of it. All but Write is the TCP connection's, which
// net/http asks for more than a net.Conn has.
type problemConn struct {
	*net.TCPConn
	handled atomic.Bool // what is written is a handler's
}

// connKey is the key of a request's problemConn in its context.
type connKey struct{}

func withConn(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, c)
}

// handling notes on a request's connection that a handler answers.
func handling(handler http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c, ok := r.Context().Value(connKey{}).(*problemConn); ok {
			c.handled.Store(true)
		}
		handler.ServeHTTP(w, r)
	})
}

// handled notes on a connection that an answer is at its end.
func handled(c net.Conn, s http.ConnState) {
	if c, ok := c.(*problemConn); ok && s == http.StateIdle {
		c.handled.Store(false)
	}
}

func (c *problemConn) Write(b []byte) (int, error) {
	if c.handled.Load() {
		return c.TCPConn.Write(b)
	}
	p := unreadable(b)
	if p == nil {
		return c.TCPConn.Write(b)
	}
	body := p.encode()
	answer := http.Response{
		StatusCode: p.Status, ProtoMajor: 1, ProtoMinor: 1, Header: p.header(body),
		Body: io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body)), Close: true,
	}
	return len(b), answer.Write(c.TCPConn)
}

// ownErrors are the headers of net/http's own errors, after the line of the status.
const ownErrors = "\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n"

// unreadable is the problem that an error of net/http's own is; nil: it is none.
func unreadable(answer []byte) *Problem {
	line, text, ok := strings.Cut(string(answer), ownErrors)
	version, status, _ := strings.Cut(line[:min(len(line), len("HTTP/1.1 400"))], " ")
	code, _ := strconv.Atoi(status) // 0: there is none
	if !ok || version != "HTTP/1.1" || code == 0 {
		return nil
	}
	if code == http.StatusRequestHeaderFieldsTooLarge {
		return NewProblem(code, "headers-too-large", "the request's line and headers take more than %d bytes", http.DefaultMaxHeaderBytes)
	}
	said := strings.TrimPrefix(strings.TrimPrefix(text, status+" "+http.StatusText(code)), ": ")
	return NewProblem(code, "malformed-request", "%s", cmp.Or(said, "it cannot be read as an HTTP request"))
}
