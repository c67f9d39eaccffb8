package serviceful

import (
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
)

var (
	// ErrNotFound is returned when a key is not in its bucket.
	ErrNotFound = errors.New("not found")
	// ErrConflict is returned when a compare-and-set missed: the key exists already, or is no longer at the revision given.
	ErrConflict = errors.New("changed meanwhile")
	// ErrKeyReused is returned when an idempotency key was used before with another content, so that nothing new was accepted.
	ErrKeyReused = errors.New("idempotency key used with another content")
)

const problemType = "application/problem+json"

// Problem is an answer that is not a success (RFC 9457). A function returns one from a Handle function to answer with it.
type Problem struct {
	Type   string `json:"type,omitempty"`
	Title  string `json:"title"` // the status text when empty
	Status int    `json:"status"`
	Detail string `json:"detail,omitempty"`
}

// Error is the status, the title and the detail.
func (p *Problem) Error() string {
	if p.Detail == "" {
		return fmt.Sprintf("%d %s", p.Status, p.Title)
	}
	return fmt.Sprintf("%d %s: %s", p.Status, p.Title, p.Detail)
}

// NewProblem returns the problem with the status's own title.
func NewProblem(status int, format string, args ...any) *Problem {
	return &Problem{Title: http.StatusText(status), Status: status, Detail: fmt.Sprintf(format, args...)}
}

func (p *Problem) write(w http.ResponseWriter) {
	body, _ := json.Marshal(p) // three strings and a number
	w.Header().Set("Content-Type", problemType)
	w.WriteHeader(p.Status)
	_, _ = w.Write(body)
}

// ServiceError is returned when the services answered, but not with a success. It is not itself a *Problem: what the services say
// to a function is not what the function says to its caller.
type ServiceError struct {
	Problem  Problem
	sentinel error
}

// Error names the services and repeats their problem.
func (e *ServiceError) Error() string { return "the services answered " + e.Problem.Error() }

// Is reports whether the answer is the one that target (ErrNotFound, ErrConflict or ErrKeyReused) names.
func (e *ServiceError) Is(target error) bool { return e.sentinel != nil && e.sentinel == target }

// newServiceError reads the problem. Only a problem gets a sentinel: a bare 404 of something that stands between the function and
// the services says nothing about a key.
func newServiceError(resp *http.Response, body []byte) *ServiceError {
	e := &ServiceError{Problem: Problem{Title: http.StatusText(resp.StatusCode)}}
	mediaType, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if mediaType == problemType && json.Unmarshal(body, &e.Problem) == nil {
		e.sentinel = map[int]error{
			http.StatusNotFound:            ErrNotFound,
			http.StatusPreconditionFailed:  ErrConflict,
			http.StatusUnprocessableEntity: ErrKeyReused,
		}[resp.StatusCode]
	}
	e.Problem.Status = resp.StatusCode
	return e
}
