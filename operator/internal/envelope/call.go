package envelope

import (
	"net/http"
	"time"

	"github.com/serviceful/serviceful/operator/internal/names"
)

// MaxRequestHeader is the most bytes that the stored form of a request's line
// and headers may take: the server allows 64 KiB of headers to a message.
const MaxRequestHeader = 48 << 10

// Request is an HTTP request as it is kept, without its body.
type Request struct {
	Method string              `json:"method"`
	Target string              `json:"target"` // path and query, as they came
	Host   string              `json:"host"`
	Header map[string][]string `json:"header,omitempty"`
	Params map[string]string   `json:"params,omitempty"` // path parameters, percent-encoded
}

// Call is the message that keeps a request until its function is called.
func Call(f names.Function, trigger, id string, r Request, body []byte) *Message {
	m := New(names.Call(f, trigger, id), body)
	setJSON(m.Header, HeaderRequest, r)
	m.ID = "c/" + id
	return m
}

// Request reads the request of a stored call.
func (m *Message) Request() (Request, error) {
	var r Request
	return r, getJSON(m.Header, HeaderRequest, &r)
}

// State is how far a call is.
type State string

// The states of a call. The last three are kept as results.
const (
	Queued    State = "queued"
	Running   State = "running"
	Succeeded State = "succeeded" // 2xx
	Failed    State = "failed"    // a final answer that is not 2xx
	DeadState State = "dead"      // in the dead-letter store
)

// MaxResponse is the most bytes of an answer's body that are kept.
const MaxResponse = 1 << 20

// Answer is what a function answered.
type Answer struct {
	Status    int
	Header    http.Header
	Body      []byte // at most MaxResponse
	Truncated bool   // the body was longer
}

// MaxResponseHeader is the most bytes that the stored form of an answer's
// headers may take: where they take more, none is kept.
const MaxResponseHeader = 48 << 10

// Response is a function's answer as it is kept; its body is the message's.
type Response struct {
	Status    int         `json:"status"`
	Header    http.Header `json:"header,omitempty"`
	Truncated bool        `json:"truncated,omitempty"` // the body or the headers were longer than is kept
}

// Result is how a call ended.
type Result struct {
	State    State     `json:"state"`
	Attempts int       `json:"attempts"`
	Reason   string    `json:"reason,omitempty"`   // for dead: why, one of delivery's reasons
	Message  string    `json:"message,omitempty"`  // for dead: the last problem in one sentence
	Response *Response `json:"response,omitempty"` // the last answer, if there was one
	Ended    time.Time `json:"ended"`
}

// ResultMessage is the message that keeps the result of a call; storing it
// again replaces it.
func ResultMessage(namespace, id string, r Result, body []byte) *Message {
	m := New(names.Result(namespace, id), body)
	r.Message = cut(r.Message, maxMessage)
	if r.Response != nil && len(Encode(r.Response.Header)) > MaxResponseHeader {
		r.Response = &Response{Status: r.Response.Status, Truncated: true}
	}
	setJSON(m.Header, HeaderResult, r)
	return m
}

// Result reads a result.
func (m *Message) Result() (Result, error) {
	var r Result
	return r, getJSON(m.Header, HeaderResult, &r)
}
