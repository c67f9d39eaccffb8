package contract

import (
	"bytes"
	"encoding/json"
	"net"
	"net/http"
	"slices"
	"sync"
	"testing"
)

// request is what a stub was called with.
type request struct {
	Function string
	Instance string // of the stub
	Method   string
	Target   string
	Header   http.Header
	Body     []byte
}

// trigger is the trigger that it came by; "" where a function called.
func (r *request) trigger() string { return r.Header.Get("Serviceful-Trigger") }

// attempt is the platform's count of the calls.
func (r *request) attempt() string { return r.Header.Get("Serviceful-Attempt") }

// answer is what a stub answers; the zero answer is an empty 200.
type answer struct {
	Status int
	Header []string // "Name: value"
	Body   string

	Do    string   // "exit": the process ends; "break": the connection does; "echo": the protocol changes
	Parts []string // the body, in chunks
	Gate  chan struct{}
}

func status(code int, header ...string) answer { return answer{Status: code, Header: header} }

// message is what a stub tells.
type message struct {
	Kind     string      `json:"kind"`
	Function string      `json:"function"`
	Instance string      `json:"instance"`
	Method   string      `json:"method"`
	Target   string      `json:"target"`
	Headers  [][2]string `json:"headers"`
	Body     []byte      `json:"body"`
	ID       int         `json:"id"`
}

// director decides what the stubs of a target do, and keeps what they were called
// with.
type director struct {
	url string

	mu      sync.Mutex
	changed chan struct{}                         // closed when anything is added
	got     []*request                            // in the order in which the calls began
	told    []message                             // of every other kind
	answers map[[2]string]func(r *request) answer // by function and trigger
	starts  map[string]func() answer              // by function
	terms   map[string]func(gone <-chan struct{}) // by function
	gates   map[int]chan struct{}
	ended   map[[2]string]int // how many calls were answered, by function and trigger
}

// newDirector listens on a host until the test ends.
func newDirector(t *testing.T, host string) *director {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		t.Fatal(err)
	}
	d := &director{
		url: "http://" + l.Addr().String(), changed: make(chan struct{}),
		answers: map[[2]string]func(*request) answer{}, starts: map[string]func() answer{}, terms: map[string]func(<-chan struct{}){}, gates: map[int]chan struct{}{}, ended: map[[2]string]int{},
	}
	server := &http.Server{Handler: d}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })
	return d
}

// ServeHTTP hears a stub and tells it what to do.
func (d *director) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var m message
	if err := json.NewDecoder(r.Body).Decode(&m); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	var a answer
	switch m.Kind {
	case "request":
		a = d.request(m)
	case "part":
		<-d.gate(m.ID)
	case "start":
		a = d.start(m)
	case "term":
		d.term(m, r.Context().Done())
	default:
		d.note(m)
	}
	_ = json.NewEncoder(w).Encode(d.order(a))
}

// order is an answer as the stub reads it.
func (d *director) order(a answer) map[string]any {
	if a.Status == 0 {
		a.Status = http.StatusOK
	}
	var headers [][2]string
	for _, h := range a.Header {
		name, value := cut(h)
		headers = append(headers, [2]string{name, value})
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	id := len(d.gates)
	if a.Gate != nil {
		d.gates[id] = a.Gate
	}
	return map[string]any{"do": a.Do, "status": a.Status, "headers": headers, "body": []byte(a.Body), "parts": a.Parts, "id": id}
}

func (d *director) gate(id int) chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.gates[id]
}

func (d *director) request(m message) answer {
	r := &request{Function: m.Function, Instance: m.Instance, Method: m.Method, Target: m.Target, Header: http.Header{}, Body: m.Body}
	for _, h := range m.Headers {
		r.Header.Add(h[0], h[1])
	}
	d.mu.Lock()
	d.got = append(d.got, r)
	d.wake()
	key := [2]string{r.Function, r.trigger()}
	f := d.answers[key]
	d.mu.Unlock()
	defer d.end(key)
	if f == nil {
		return answer{}
	}
	return f(r)
}

func (d *director) end(key [2]string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ended[key]++
}

// answered is how many calls of a function by a trigger have got their answer.
func (d *director) answered(function, trigger string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.ended[[2]string{function, trigger}]
}

func (d *director) start(m message) answer {
	d.note(m)
	d.mu.Lock()
	f := d.starts[m.Function]
	d.mu.Unlock()
	if f == nil {
		return answer{}
	}
	return f()
}

func (d *director) term(m message, gone <-chan struct{}) {
	d.note(m)
	d.mu.Lock()
	f := d.terms[m.Function]
	d.mu.Unlock()
	if f != nil {
		f(gone)
	}
}

func (d *director) note(m message) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.told = append(d.told, m)
	d.wake()
}

// wake tells those who wait that there is something new.
func (d *director) wake() {
	close(d.changed)
	d.changed = make(chan struct{})
}

// calls are those of a function by a trigger until now, in the order in which
// they began.
func (d *director) calls(function, trigger string) []*request {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(d.got), func(r *request) bool { return r.Function != function || r.trigger() != trigger })
}

// heard are what stubs of a function have told, of one kind.
func (d *director) heard(function, kind string) []message {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(d.told), func(m message) bool { return m.Function != function || m.Kind != kind })
}

func (d *director) next() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.changed
}

// on has a function answer the calls by a trigger in a way of its own.
func (d *director) on(function, trigger string, f func(r *request) answer) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.answers[[2]string{function, trigger}] = f
}

// onStart has the instances of a function start in a way of their own.
func (d *director) onStart(function string, f func() answer) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.starts[function] = f
}

// onTerm has the instances of a function that are asked to end do so only when f
// returns; gone is closed when the instance is.
func (d *director) onTerm(function string, f func(gone <-chan struct{})) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.terms[function] = f
}

func cut(header string) (name, value string) {
	n, v, _ := bytes.Cut([]byte(header), []byte(": "))
	return string(n), string(v)
}
