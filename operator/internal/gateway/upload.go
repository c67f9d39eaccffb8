package gateway

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/serviceful/serviceful/operator/internal/invoke"
	"github.com/serviceful/serviceful/operator/internal/serve"
)

// small reports whether a request's body is read whole before there is an
// instance for it, which a slow caller then cannot hold.
func small(r *http.Request, limit int64) bool {
	return r.ContentLength > 0 && r.ContentLength <= min(invoke.MaxSmall, limit)
}

// hold puts a small body in place of the one that comes in.
func hold(w http.ResponseWriter, r *http.Request, limit int64, stall time.Duration) error {
	body, err := serve.ReadBody(w, r, limit, stall)
	if err != nil {
		return err
	}
	r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	r.Body, _ = r.GetBody()
	return nil
}

// upload is a body that goes on to the function while it comes in; a nil one is
// no such body.
//
// Whoever passes it on, such as a goroutine of net/http's transport, waits for
// the caller in Read, and a round trip that is cancelled waits for that. So the
// end of a call breaks the read off, by a deadline of the caller's connection.
type upload struct {
	body  io.Reader
	w     http.ResponseWriter
	mu    sync.Mutex            // held by the read under way
	over  atomic.Bool           // there will be no other read
	whole atomic.Bool           // it was read to its end
	fault atomic.Pointer[error] // why it cannot be read to its end
}

var errOver = errors.New("the call is over")

// stream makes a request's body an upload of at most limit bytes.
func stream(w http.ResponseWriter, r *http.Request, limit int64) *upload {
	u := &upload{body: http.MaxBytesReader(nil, r.Body, limit), w: w} // nil: it would set headers while the answer's are set
	r.Body = u
	serve.AwaitBody(w, 0)
	_ = http.NewResponseController(w).EnableFullDuplex() // an answer that begins early leaves the rest of the body to the function
	return u
}

func (u *upload) Read(p []byte) (int, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.over.Load() {
		return 0, errOver
	}
	n, err := u.body.Read(p)
	switch {
	case err == io.EOF:
		u.whole.Store(true)
	case err != nil && !u.over.Load():
		u.fault.Store(&err)
	}
	return n, err
}

// broken is what is wrong with the body as it comes in, such as a malformed
// chunk; nil where nothing is.
func (u *upload) broken() error {
	if u == nil {
		return nil
	}
	if fault := u.fault.Load(); fault != nil {
		return *fault
	}
	return nil
}

// Close leaves the rest to the server, which reads on for a while before it
// closes the connection, so that the caller gets to read the answer.
func (u *upload) Close() error { return nil }

// answered notes that the answer begins. A connection whose request has not come
// whole by then is not used again: what is left must not be taken for another
// request.
func (u *upload) answered() {
	if u != nil && !u.whole.Load() {
		u.w.Header().Set("Connection", "close")
	}
}

// breakOff ends the read under way, and there will be no other. Where the body
// was read to its end, the server itself reads, to learn of the caller's end.
func (u *upload) breakOff() {
	if u == nil || u.whole.Load() {
		return
	}
	u.over.Store(true)
	_ = http.NewResponseController(u.w).SetReadDeadline(time.Unix(1, 0))
}

// end breaks off and waits until nobody reads.
func (u *upload) end() {
	if u == nil {
		return
	}
	u.breakOff()
	u.mu.Lock()
	defer u.mu.Unlock()
}

// leave ends, and lets the server wait for the rest.
func (u *upload) leave(stall time.Duration) {
	if u.end(); u != nil && !u.whole.Load() {
		serve.AwaitBody(u.w, stall)
	}
}
