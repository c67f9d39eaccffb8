package contract

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// patience bounds the wait for what must come; it is a guard, not a measure.
const patience = 4 * time.Minute

// clause is one clause of docs/contract.md.
type clause struct {
	id    string
	short string // what it says, for the table
	test  func(c *C)
}

// chapter is the clauses of one matter. Its Function is named after it, and each
// clause has triggers of its own there, mostly named after it.
type chapter struct {
	name    string
	spec    string     // of its Function
	others  []function // further Functions
	alone   bool       // its clauses run after all others, one at a time
	clauses []clause
}

// chapters are all there are, in the document's order.
var chapters = []*chapter{
	starting, requests, calls, events, answers, attempts, batches, orders, outcomes, schedules, queues, changes, doors, keys, objects, calling, mail, letters, promise,
}

// C is one clause under test.
type C struct {
	*testing.T
	target
	director *director
	function string // the chapter's own
}

// run tests every clause on a target, and notes how each fared.
func run(t *testing.T, on target, d *director) {
	t.Run("together", func(t *testing.T) { runThose(t, on, d, false) })
	t.Run("alone", func(t *testing.T) { runThose(t, on, d, true) })
}

func runThose(t *testing.T, on target, d *director, alone bool) {
	for _, ch := range chapters {
		if ch.alone != alone {
			continue
		}
		var opened sync.Once
		for _, cl := range ch.clauses {
			t.Run(cl.id, func(t *testing.T) {
				if !alone {
					t.Parallel()
				}
				t.Cleanup(func() { note(on.name(), cl.id, t) })
				opened.Do(func() {
					own := function{ch.name, ch.spec + "\n- {name: do, http: {methods: [POST], path: /" + ch.name + "/do}}"}
					on.apply(t, true, append([]function{own}, ch.others...)...)
				})
				cl.test(&C{t, on, d, ch.name})
			})
		}
	}
}

func TestMain(m *testing.M) {
	// Clauses mostly wait, and not for this machine: many run at once.
	_ = flag.Set("test.parallel", "24")
	code := m.Run()
	if file := os.Getenv("CONTRACT_TABLE"); file != "" {
		if err := os.WriteFile(file, []byte(table()), 0o600); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// wait waits until f is true.
func wait(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if f() {
			return
		}
	}
	t.Fatalf("waited in vain until %s", what)
}

func (c *C) eventually(what string, f func() bool) {
	c.Helper()
	wait(c.T, what, f)
}

// on has the chapter's Function answer the calls by a trigger as f says.
func (c *C) on(trigger string, f func(r *request) answer) { c.director.on(c.function, trigger, f) }

// inTurn has it answer them in turn; further ones as the last.
func (c *C) inTurn(trigger string, answers ...answer) {
	c.on(trigger, func(*request) answer {
		return answers[min(len(c.got(trigger)), len(answers))-1]
	})
}

// got are the calls of the chapter's Function by a trigger until now.
func (c *C) got(trigger string) []*request { return c.director.calls(c.function, trigger) }

// await waits until the chapter's Function was called so often by a trigger.
func (c *C) await(trigger string, n int) []*request { return c.awaitOf(c.function, trigger, n) }

// awaitOf is await for any Function.
func (c *C) awaitOf(function, trigger string, n int) []*request {
	c.Helper()
	limit := time.After(patience)
	for {
		next := c.director.next()
		if got := c.director.calls(function, trigger); len(got) >= n {
			return got
		}
		select {
		case <-next:
		case <-limit:
			c.Fatalf("%s was called %d times by %s, want %d", function, len(c.director.calls(function, trigger)), trigger, n)
		}
	}
}

// response is what came of a request.
type response struct {
	*testing.T
	what   string
	status int
	header http.Header
	body   string
}

// want checks the status, and that the body holds each text.
func (r response) want(status int, texts ...string) response {
	r.Helper()
	if r.status != status {
		r.Fatalf("%s answered %d, want %d: %s", r.what, r.status, status, r.body)
	}
	for _, text := range texts {
		if !strings.Contains(r.body, text) {
			r.Errorf("%s answered %q, want %q in it", r.what, r.body, text)
		}
	}
	return r
}

// problem checks that it is a problem of a kind.
func (r response) problem(status int, kind string) {
	r.Helper()
	r.want(status)
	var p struct {
		Type, Title, Detail string
		Status              int
	}
	if err := json.Unmarshal([]byte(r.body), &p); err != nil || r.header.Get("Content-Type") != "application/problem+json" ||
		p.Type != "https://serviceful.dev/problems/"+kind || p.Status != status || p.Title == "" || p.Detail == "" {
		r.Errorf("%s answered %s %q, want the problem %s", r.what, r.header.Get("Content-Type"), r.body, kind)
	}
}

// decode reads a JSON body.
func (r response) decode(v any) {
	r.Helper()
	if err := json.Unmarshal([]byte(r.body), v); err != nil {
		r.Fatalf("%s answered %q: %v", r.what, r.body, err)
	}
}

// client follows nothing and adds nothing.
var client = &http.Client{
	Timeout:       patience,
	Transport:     &http.Transport{DisableCompression: true, DisableKeepAlives: true, ExpectContinueTimeout: patience},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// send makes a request at the public door; each header is "Name: value".
func (c *C) send(method, path, body string, header ...string) response {
	c.Helper()
	return c.sendReader(method, path, strings.NewReader(body), header...)
}

func (c *C) sendReader(method, path string, body io.Reader, header ...string) response {
	c.Helper()
	resp, err := c.open(method, path, body, header...)
	if err != nil {
		c.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		c.Fatalf("%s %s: %v", method, path, err)
	}
	return response{c.T, method + " " + path, resp.StatusCode, resp.Header, string(text)}
}

// open makes a request whose answer the caller reads.
func (c *C) open(method, path string, body io.Reader, header ...string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(c.Context(), method, c.door()+path, body)
	if err != nil {
		return nil, err
	}
	req.Host = host(c.ns())
	for _, h := range header {
		name, value := cut(h)
		req.Header.Add(name, value)
	}
	return client.Do(req)
}

// host is where a namespace answers: the laptop answers on every one.
func host(ns string) string { return ns + ".serviceful.local" }

// order is what a stub is to do by itself.
type order struct {
	Do        string      `json:"do"`
	Method    string      `json:"method"`
	Path      string      `json:"path"`
	Sink      bool        `json:"sink"` // to $K_SINK, and not to a path
	Headers   [][2]string `json:"headers"`
	Body      []byte      `json:"body"`
	Times     int         `json:"times"`     // so often the body; of the answer's only size and digest are known
	Anonymous bool        `json:"anonymous"` // without the token
}

// do has a stub do something, and reads what it says of it.
func (c *C) do(function string, o order, v any) {
	c.Helper()
	body, err := json.Marshal(o)
	if err != nil {
		c.Fatal(err)
	}
	c.send("POST", "/"+function+"/do", string(body)).want(http.StatusOK).decode(v)
}

// service has the chapter's Function call a service.
func (c *C) service(method, path, body string, header ...string) response {
	c.Helper()
	return c.serviceOf(c.function, order{Method: method, Path: path, Body: []byte(body), Headers: pairs(header)})
}

func pairs(header []string) (out [][2]string) {
	for _, h := range header {
		name, value := cut(h)
		out = append(out, [2]string{name, value})
	}
	return out
}

// serviceOf has any Function call a service.
func (c *C) serviceOf(function string, o order) response {
	c.Helper()
	o.Do = "service"
	var got struct {
		Status  int         `json:"status"`
		Headers [][2]string `json:"headers"`
		Body    []byte      `json:"body"`
	}
	c.do(function, o, &got)
	r := response{c.T, function + ": " + o.Method + " " + o.Path, got.Status, http.Header{}, string(got.Body)}
	for _, h := range got.Headers {
		r.header.Add(h[0], h[1])
	}
	return r
}

// publish has the chapter's Function publish an event, whose data is its id. Its
// source is of its type, so that ids need not differ between types.
func (c *C) publish(eventType, id string, header ...string) {
	c.Helper()
	header = append([]string{"Ce-Specversion: 1.0", "Ce-Type: " + eventType, "Ce-Source: /" + eventType, "Ce-Id: " + id, "Content-Type: text/plain"}, header...)
	c.service("POST", "/v1/events", id, header...).want(http.StatusAccepted)
}

// ids are those of the events that calls were made with.
func ids(calls []*request) (out []string) {
	for _, r := range calls {
		out = append(out, r.Header.Get("Ce-Id"))
	}
	slices.Sort(out)
	return out
}

// only checks that a trigger got these events, each once.
func (c *C) only(trigger string, want ...string) {
	c.Helper()
	if got := ids(c.await(trigger, len(want))); !slices.Equal(got, want) {
		c.Errorf("%s got the events %q, want %q", trigger, got, want)
	}
}

// letter is a dead letter, as the command line shows it.
type letter struct {
	ID, Trigger, Kind, Call, EventID, EventType, Reason, Problem string
	Attempts, Replays, LastStatus                                int
}

// dead are the dead letters of a trigger of the chapter's Function.
func (c *C) dead(trigger string) (out []letter) {
	c.Helper()
	text := c.serviceful("dead", "list", "-o", "json", "--limit", "0", "-n", c.ns(), "--function", c.function, "--trigger", trigger)
	for line := range strings.Lines(text) {
		var l letter
		if strings.HasPrefix(line, "{") {
			if err := json.Unmarshal([]byte(line), &l); err != nil {
				c.Fatalf("%v: %s", err, line)
			}
			out = append(out, l)
		}
	}
	return out
}

// awaitDead waits for one dead letter of a trigger.
func (c *C) awaitDead(trigger string) letter {
	c.Helper()
	var letters []letter
	c.eventually("there is a dead letter of "+trigger, func() bool {
		letters = c.dead(trigger)
		return len(letters) > 0
	})
	return letters[0]
}

// serviceful runs the command line, which must succeed.
func (c *C) serviceful(args ...string) string {
	c.Helper()
	out, err := c.command(c.T, args...)
	if err != nil {
		c.Fatalf("serviceful %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// call is what GET /calls/<id> says.
type call struct {
	ID, State, Reason, Message string
	Attempts                   int
	Response                   *struct {
		Status           int
		Headers          http.Header
		Body, BodyBase64 string
		Truncated        bool
	}
}

// accepted makes an asynchronous request, and returns the path of its call.
func (c *C) accepted(method, path, body string, header ...string) string {
	c.Helper()
	return c.send(method, path, body, header...).want(http.StatusAccepted).header.Get("Location")
}

func (c *C) look(location string) (v call) {
	c.Helper()
	c.send("GET", location, "").want(http.StatusOK).decode(&v)
	return v
}

// awaitState waits until a call has a state.
func (c *C) awaitState(location, state string) (v call) {
	c.Helper()
	c.eventually("call "+location+" is "+state, func() bool {
		v = c.look(location)
		return v.State == state
	})
	return v
}

// with applies a Function of this clause alone, which goes with it.
func (c *C) with(name, spec string) {
	c.Helper()
	c.apply(c.T, true, function{name, spec})
	c.Cleanup(func() { c.remove(c.T, name) })
}
