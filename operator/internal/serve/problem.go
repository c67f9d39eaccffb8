package serve

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strconv"
)

// problemBase begins the type of every problem; its last part is stable.
const problemBase = "https://serviceful.dev/problems/"

// Problem is an error as HTTP says it: application/problem+json (RFC 9457).
type Problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail,omitempty"`

	// Lines are the last lines that a function wrote before it failed to start.
	Lines []string `json:"lines,omitempty"`
}

// Error makes a Problem an error, so that what finds it need not be what
// answers it.
func (p *Problem) Error() string { return p.Title + ": " + p.Detail }

// NewProblem is the problem of a kind: one or more lower-case words joined by
// dashes, for the type; the title is the status's own text.
func NewProblem(status int, kind, format string, args ...any) *Problem {
	return &Problem{Type: problemBase + kind, Title: http.StatusText(status), Status: status, Detail: fmt.Sprintf(format, args...)}
}

// WriteProblem answers with a problem. An error that is none is a 500 whose
// detail is its text.
func WriteProblem(w http.ResponseWriter, err error) {
	var p *Problem
	if !errors.As(err, &p) {
		p = NewProblem(http.StatusInternalServerError, "internal", "%v", err)
	}
	body := p.encode()
	maps.Copy(w.Header(), p.header(body))
	w.WriteHeader(p.Status)
	_, _ = w.Write(body)
}

func (p *Problem) encode() []byte {
	var body bytes.Buffer
	encoder := json.NewEncoder(&body)
	encoder.SetEscapeHTML(false)              // a person reads it, and no browser takes it for HTML
	if err := encoder.Encode(p); err != nil { // strings and a number
		panic(err)
	}
	return body.Bytes()
}

func (p *Problem) header(body []byte) http.Header {
	return http.Header{
		"Content-Type": {"application/problem+json"}, "X-Content-Type-Options": {"nosniff"}, "Content-Length": {strconv.Itoa(len(body))},
	}
}

// WriteJSON answers with a value as JSON.
func WriteJSON(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		WriteProblem(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n'))
}
