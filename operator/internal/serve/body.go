package serve

import (
	"errors"
	"io"
	"net/http"
	"os"
	"time"
)

// Stall is how long a body may bring nothing where nothing else is set.
const Stall = 30 * time.Second

// ReadBody reads a request's body of at most limit bytes; a longer one is a 413,
// and one that brings nothing for as long as stall a 408.
func ReadBody(w http.ResponseWriter, r *http.Request, limit int64, stall time.Duration) ([]byte, error) {
	if r.ContentLength > limit {
		return nil, TooLarge(limit)
	}
	if r.ContentLength == 0 {
		return nil, nil
	}
	body, err := readAll(http.MaxBytesReader(nil, patient{r.Body, w, stall}, limit), r.ContentLength)
	var tooLarge *http.MaxBytesError
	var problem *Problem
	switch {
	case errors.As(err, &tooLarge):
		return nil, TooLarge(limit)
	case errors.As(err, &problem):
		return nil, problem
	case err != nil:
		return nil, UnreadableBody(err)
	}
	AwaitBody(w, 0)
	return body, nil
}

// Body is a request's body of any size, to be read as it comes. What is wrong
// with it is a Problem: one that brings nothing for as long as stall is a 408,
// and one that breaks off a 400.
func Body(w http.ResponseWriter, r *http.Request, stall time.Duration) io.Reader {
	return patient{r.Body, w, stall}
}

// AwaitBody makes reading a request's body fail after a while, also that of
// net/http, which reads what a handler left. 0 means never.
func AwaitBody(w http.ResponseWriter, d time.Duration) {
	var end time.Time
	if d > 0 {
		end = time.Now().Add(d)
	}
	_ = http.NewResponseController(w).SetReadDeadline(end) // what is no connection does not stall
}

// patient is a body that may take its time, as long as something comes.
type patient struct {
	io.ReadCloser
	w     http.ResponseWriter
	stall time.Duration
}

func (p patient) Read(b []byte) (int, error) {
	AwaitBody(p.w, p.stall)
	n, err := p.ReadCloser.Read(b)
	switch {
	case err == nil:
	case errors.Is(err, io.EOF):
		AwaitBody(p.w, 0)
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = NewProblem(http.StatusRequestTimeout, "body-stalled", "nothing of the body came for %s", p.stall)
	default:
		err = UnreadableBody(err)
	}
	return n, err
}

// TooLarge is the problem of a body over a limit in bytes.
func TooLarge(limit int64) *Problem {
	return NewProblem(http.StatusRequestEntityTooLarge, "body-too-large", "the body is larger than %d bytes", limit)
}

// UnreadableBody is the problem of a body that is malformed or breaks off.
func UnreadableBody(err error) *Problem {
	return NewProblem(http.StatusBadRequest, "unreadable-body", "reading the body: %v", err)
}

// readAll reads all of r into a buffer that fits a body of the given length (-1:
// unknown).
func readAll(r io.Reader, length int64) ([]byte, error) {
	if length < 0 {
		return io.ReadAll(r)
	}
	buf := make([]byte, length)
	_, err := io.ReadFull(r, buf)
	return buf, err
}
