package serve

import (
	"io"
	"net/http"
	"sync/atomic"
	"time"
)

// lingerTime is how long a client may go on to send what nobody reads, so that it
// gets to read the answer: net/http's own time, where it waits.
const lingerTime = 500 * time.Millisecond

// lingering reads on after an answer to a request with Connection: close whose body
// was not read. net/http closes such a connection at once, and what the client still
// sends then is answered with a reset, which many clients report in place of the
// answer.
func lingering(handler http.Handler, d time.Duration) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !r.Close || r.ContentLength == 0 {
			handler.ServeHTTP(w, r)
			return
		}
		body := &noted{ReadCloser: r.Body}
		r.Body = body
		handler.ServeHTTP(w, r)
		if body.ended.Load() || http.NewResponseController(w).Flush() != nil {
			return
		}
		AwaitBody(w, d)
		_, _ = io.Copy(io.Discard, body.ReadCloser) // to its end, or until the time is up
	})
}

// noted is a body that notes when nothing more comes of it.
type noted struct {
	io.ReadCloser
	ended atomic.Bool
}

func (n *noted) Read(b []byte) (int, error) {
	got, err := n.ReadCloser.Read(b)
	if err != nil {
		n.ended.Store(true)
	}
	return got, err
}
