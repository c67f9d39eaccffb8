package invoke

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptrace"
	"slices"
	"strconv"
	"sync"
	"time"
)

// Transport is the HTTP client side of the doors and the dispatcher: plain
// HTTP/1.1 to functions nearby, nothing added to a request, nothing unpacked.
//
// A request whose body is small and known is written and its answer read by the
// caller's own goroutine, where net/http's transport hands both over to others:
// a call costs about a third less (hack/bench, sync). Everything else, such as
// streams, large bodies and upgrades, goes through net/http.
type Transport struct {
	dialer net.Dialer
	other  *http.Transport

	mu       sync.Mutex
	idle     map[string][]*conn // by address, the last used one last
	sweeping bool               // a timer for sweep runs
}

// Bounds of the connections that are kept.
const (
	// MaxSmall is the largest body that is written before the answer is read:
	// what a socket's buffers hold even when nobody reads.
	MaxSmall = 64 << 10
	// maxIdle is how many unused connections to one address are kept.
	maxIdle = 256
	// idleTime is how long an unused connection is kept. It is shorter than what
	// servers of any language close theirs after (Node 5 s, Gunicorn 2 s), for a
	// request must not meet a closing one.
	idleTime = time.Second
	// maxResponseHeader bounds the headers of an answer, with those of the interim
	// ones before it, in bytes.
	maxResponseHeader = 1 << 20
)

// NewTransport is a Transport without connections.
func NewTransport() *Transport {
	t := &Transport{dialer: net.Dialer{Timeout: 2 * time.Second}, idle: map[string][]*conn{}}
	t.other = &http.Transport{
		DialContext:         t.dialer.DialContext,
		MaxIdleConnsPerHost: 16,
		IdleConnTimeout:     idleTime,
		DisableCompression:  true,
	}
	return t
}

// conn is one connection. Whoever took it out of the pool is alone with it.
type conn struct {
	net.Conn
	pulse  *pulse
	limit  io.LimitedReader // between the connection and read
	read   *bufio.Reader
	write  *bufio.Writer
	reused bool
	since  time.Time // it is unused
}

// RoundTrip makes one call (http.RoundTripper).
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	if _, ok := req.Header["User-Agent"]; !ok {
		req.Header["User-Agent"] = []string{""} // none, where net/http would add its own
	}
	if !small(req) {
		resp, err := t.other.RoundTrip(req)
		if err == nil && !final(req, resp.StatusCode) {
			resp.Body.Close()
			return nil, unexpectedStatus(resp.StatusCode)
		}
		return resp, err
	}
	for {
		c, err := t.take(req.Context(), req.URL.Host)
		if err != nil {
			return nil, err
		}
		resp, err := t.exchange(c, req)
		if err != nil && c.reused && req.Context().Err() == nil && repeatable(c, req, err) && rewind(req) {
			continue // the function closed the unused connection
		}
		return resp, err
	}
}

func small(req *http.Request) bool {
	return req.ContentLength >= 0 && req.ContentLength <= MaxSmall && len(req.TransferEncoding) == 0 && len(req.Trailer) == 0 &&
		req.Header["Upgrade"] == nil && req.Header["Expect"] == nil && req.Method != http.MethodConnect
}

// repeatable reports whether a request that failed on a connection that had been
// unused may be sent again: it was not sent, or it was safe and the connection
// was closed without a word (RFC 9112, 9.3.1).
func repeatable(c *conn, req *http.Request, err error) bool {
	var unsent *unsentError
	if errors.As(err, &unsent) {
		return true
	}
	switch req.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		return c.limit.N == maxResponseHeader
	}
	return false
}

// rewind makes a request's body good for being sent again.
func rewind(req *http.Request) bool {
	if req.Body == nil || req.Body == http.NoBody {
		return true
	}
	if req.GetBody == nil {
		return false
	}
	body, err := req.GetBody()
	if err != nil {
		return false
	}
	req.Body = body
	return true
}

// unsentError says that a request was not sent whole, so no function has it.
type unsentError struct{ error }

func (e *unsentError) Unwrap() error { return e.error }

// exchange writes the request and reads the head of the answer. The end of the
// context breaks it off, and the reading of the body too.
func (t *Transport) exchange(c *conn, req *http.Request) (*http.Response, error) {
	stop := context.AfterFunc(req.Context(), func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	fail := func(err error) (*http.Response, error) {
		stop()
		c.Close()
		if cause := context.Cause(req.Context()); cause != nil {
			err = cause
		}
		return nil, err
	}
	if err := c.send(req); err != nil {
		return fail(&unsentError{fmt.Errorf("sending the request: %w", err)})
	}
	resp, err := c.receive(req)
	if err != nil {
		return fail(fmt.Errorf("reading the answer: %w", err))
	}
	resp.Body = &body{ReadCloser: resp.Body, transport: t, conn: c, stop: stop, address: req.URL.Host, keep: !resp.Close && !req.Close && !promises(req, resp)}
	if resp.ContentLength == 0 || resp.Body.(*body).ReadCloser == http.NoBody {
		resp.Body.Close()
	}
	return resp, nil
}

// promises reports whether the headers of an answer that has no body speak of
// one. Whoever then sends it, against the rules, would have it taken for the next
// answer.
func promises(req *http.Request, resp *http.Response) bool {
	switch {
	case req.Method == http.MethodHead, resp.StatusCode == http.StatusNoContent, resp.StatusCode == http.StatusNotModified:
		length := resp.Header.Get("Content-Length")
		return length != "" && length != "0" || len(resp.TransferEncoding) > 0
	}
	return false
}

// send writes a request that is small. net/http's Request.Write would sort the
// headers and check again what was read or validated on its way in.
func (c *conn) send(req *http.Request) error {
	w := c.write
	method := req.Method
	if method == "" {
		method = http.MethodGet
	}
	host := req.Host
	if host == "" {
		host = req.URL.Host
	}
	for _, s := range [...]string{method, " ", req.URL.RequestURI(), " HTTP/1.1\r\nHost: ", host, "\r\n"} {
		_, _ = w.WriteString(s) // an error stays with w until Flush
	}
	for key, values := range req.Header {
		switch key {
		case "Host", "Content-Length", "Transfer-Encoding", "Trailer":
			continue // said by the request itself
		}
		for _, v := range values {
			if v == "" && key == "User-Agent" {
				continue // net/http's sign for none
			}
			_, _ = w.WriteString(key)
			_, _ = w.WriteString(": ")
			_, _ = w.WriteString(v)
			_, _ = w.WriteString("\r\n")
		}
	}
	if req.ContentLength > 0 || method == http.MethodPost || method == http.MethodPut || method == http.MethodPatch {
		_, _ = w.WriteString("Content-Length: ")
		_, _ = w.Write(strconv.AppendInt(w.AvailableBuffer(), req.ContentLength, 10))
		_, _ = w.WriteString("\r\n")
	}
	_, _ = w.WriteString("\r\n")
	if req.ContentLength > 0 {
		n, err := io.Copy(w, req.Body)
		if err == nil && n != req.ContentLength {
			err = fmt.Errorf("its body has %d bytes, not the %d that were announced", n, req.ContentLength)
		}
		if err != nil {
			return err
		}
	}
	if req.Body != nil {
		req.Body.Close()
	}
	return w.Flush()
}

// receive reads the head of the answer. Interim answers before it go to the
// context's trace, as net/http's do.
func (c *conn) receive(req *http.Request) (*http.Response, error) {
	c.limit.N = maxResponseHeader
	for {
		resp, err := http.ReadResponse(c.read, req)
		if err != nil {
			if c.limit.N <= 0 {
				err = fmt.Errorf("its headers take more than %d bytes", maxResponseHeader)
			}
			return nil, err
		}
		if final(req, resp.StatusCode) {
			c.limit.N = math.MaxInt64
			return resp, nil
		}
		if resp.StatusCode < 100 || resp.StatusCode == http.StatusSwitchingProtocols {
			return nil, unexpectedStatus(resp.StatusCode)
		}
		if trace := httptrace.ContextClientTrace(req.Context()); trace != nil && trace.Got1xxResponse != nil {
			if err := trace.Got1xxResponse(resp.StatusCode, map[string][]string(resp.Header)); err != nil {
				return nil, err
			}
		}
	}
}

// final reports whether a status ends a request. That of a change of protocol
// does where one was asked for.
func final(req *http.Request, status int) bool {
	return status >= 200 || status == http.StatusSwitchingProtocols && req.Header["Upgrade"] != nil
}

func unexpectedStatus(status int) error { return fmt.Errorf("its status is %03d", status) }

// body is the rest of an answer. Read to its end, it gives the connection back.
type body struct {
	io.ReadCloser
	transport *Transport
	conn      *conn // nil once it is given back or closed
	stop      func() bool
	address   string
	keep      bool
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		b.end(err == io.EOF)
	}
	return n, err
}

// Close gives up what was not read, and the connection with it.
func (b *body) Close() error {
	b.end(b.ReadCloser == http.NoBody)
	return nil
}

func (b *body) end(whole bool) {
	c := b.conn
	if c == nil {
		return
	}
	b.conn = nil
	if !b.stop() || !whole || !b.keep || c.read.Buffered() > 0 {
		c.Close()
		return
	}
	b.transport.put(b.address, c)
}

// take is an unused connection, or a new one.
func (t *Transport) take(ctx context.Context, address string) (*conn, error) {
	for {
		c := t.pop(address)
		if c == nil {
			break
		}
		if time.Since(c.since) < idleTime && c.pulse.alive() {
			c.reused = true
			return c, nil
		}
		c.Close()
	}
	nc, err := t.dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	c := &conn{Conn: nc, pulse: newPulse(nc), limit: io.LimitedReader{R: nc, N: math.MaxInt64}, write: bufio.NewWriterSize(nc, 4<<10)}
	c.read = bufio.NewReaderSize(&c.limit, 4<<10)
	return c, nil
}

func (t *Transport) pop(address string) *conn {
	t.mu.Lock()
	defer t.mu.Unlock()
	unused := t.idle[address]
	if len(unused) == 0 {
		return nil
	}
	c := unused[len(unused)-1]
	t.idle[address] = unused[:len(unused)-1]
	return c
}

// put keeps a connection for reuse.
func (t *Transport) put(address string, c *conn) {
	c.since = time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.idle[address]) >= maxIdle {
		c.Close()
		return
	}
	t.idle[address] = append(t.idle[address], c)
	if !t.sweeping {
		t.sweeping = true
		time.AfterFunc(idleTime, t.sweep)
	}
}

// sweep closes what was unused for too long, again and again until there is
// nothing: functions end, and their addresses do not come back.
func (t *Transport) sweep() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for address, unused := range t.idle {
		old := 0
		for old < len(unused) && time.Since(unused[old].since) >= idleTime {
			unused[old].Close()
			old++
		}
		t.idle[address] = slices.Delete(unused, 0, old)
		if len(t.idle[address]) == 0 {
			delete(t.idle, address)
		}
	}
	t.sweeping = len(t.idle) > 0
	if t.sweeping {
		time.AfterFunc(idleTime, t.sweep)
	}
}

// CloseIdleConnections closes every connection that is not in use.
func (t *Transport) CloseIdleConnections() {
	t.other.CloseIdleConnections()
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, unused := range t.idle {
		for _, c := range unused {
			c.Close()
		}
	}
	clear(t.idle)
}
