package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/serviceful/serviceful/operator/internal/bus"
	"github.com/serviceful/serviceful/operator/internal/envelope"
	"github.com/serviceful/serviceful/operator/internal/names"
)

// messages is how many messages wait on a subject of a namespace's work stream.
func (f *fixture) messages(namespace, subject string) int {
	f.Helper()
	nc, err := f.nats.Connect("test")
	if err != nil {
		f.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		f.Fatal(err)
	}
	s, err := js.Stream(f.Context(), names.Work(namespace))
	if err != nil {
		f.Fatal(err)
	}
	info, err := s.Info(f.Context(), jetstream.WithSubjectFilter(subject))
	if err != nil {
		f.Fatal(err)
	}
	n := uint64(0)
	for _, count := range info.State.Subjects {
		n += count
	}
	return int(n)
}

// TestAcceptStoresFirst checks that nobody is told 202 before the store has said
// so.
func TestAcceptStoresFirst(t *testing.T) {
	inbox := &slowInbox{goOn: make(chan bool)}
	f := newFixture(t, func(c *Config) { inbox.Inbox, c.Inbox = c.Inbox, inbox })
	answered := make(chan reply, 1)
	go func() { answered <- f.post("/later/", "body", false) }()
	inbox.goOn <- true // it is asked to store
	select {
	case r := <-answered:
		t.Fatalf("answered %s before anything was stored", r.Status)
	default:
	}
	inbox.goOn <- true
	r := receive(f, "the door answers", answered)
	if !inbox.stored.Load() {
		t.Error("answered before it was stored")
	}
	f.accepted(r)
}

// TestAcceptOutlivesTheCaller checks that a request that is here is stored, even
// when its caller has not waited for the answer.
func TestAcceptOutlivesTheCaller(t *testing.T) {
	inbox := &slowInbox{goOn: make(chan bool)}
	f := newFixture(t, func(c *Config) { inbox.Inbox, c.Inbox = c.Inbox, inbox })
	c := f.dial()
	io.WriteString(c, "POST /later/ HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody")
	inbox.goOn <- true
	c.Close()
	inbox.goOn <- true
	f.eventually("it is stored", func() bool { return f.messages("shop", names.CallFilter(shop, "later")) == 1 })
}

// slowInbox stores when the test says so.
type slowInbox struct {
	Inbox
	goOn   chan bool
	stored atomic.Bool
}

func (s *slowInbox) Store(ctx context.Context, m *envelope.Message) (bus.Stored, error) {
	<-s.goOn
	<-s.goOn
	defer s.stored.Store(true)
	return s.Inbox.Store(ctx, m)
}

// TestAcceptFails checks that no error of the store becomes a 202.
func TestAcceptFails(t *testing.T) {
	tests := map[string]struct {
		err    error
		status int
		kind   string
	}{
		"full":        {bus.ErrFull, 507, "store-full"},
		"gone":        {bus.ErrUnavailable, 503, "store-unavailable"},
		"too slow":    {context.DeadlineExceeded, 503, "store-unavailable"},
		"too large":   {bus.ErrTooLarge, 413, "body-too-large"},
		"key reused":  {bus.ErrKeyReused, 422, "idempotency-key-reused"},
		"what is not": {errors.New("what"), 500, "internal"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, func(c *Config) { c.Inbox = failingInbox{fmt.Errorf("storing: %w", test.err)} })
			f.wantProblem(f.post("/later/", "body", false), test.status, test.kind)
			f.wantProblem(f.send("POST /later/ HTTP/1.1\nIdempotency-Key: a", "body"), test.status, test.kind)
		})
	}
}

type failingInbox struct{ err error }

func (i failingInbox) Store(context.Context, *envelope.Message) (bus.Stored, error) {
	return bus.Stored{}, i.err
}

func (i failingInbox) StoreOnce(context.Context, bus.Key, string, func(string) *envelope.Message) (string, error) {
	return "", i.err
}

// TestAcceptedRequest checks the form in which a request is kept.
func TestAcceptedRequest(t *testing.T) {
	f := newFixture(t)
	id := f.accepted(f.send("POST /orders/a%2Fb?c=d&c=%20 HTTP/1.1\nHost: shop.localhost:80\nX-A: b\nX-A: c\nX-Forwarded-For: 192.0.2.1\n"+
		"Connection: close, X-Hop\nX-Hop: 1\nKeep-Alive: 5\nProxy-Connection: close\nProxy-Authorization: Basic YTpi\nTE: trailers\n"+
		"Upgrade: h2c\nServiceful-Attempt: 7\nNats-Msg-Id: 1\nTraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "\x00\xff"))
	m := f.stored("shop", id)
	r, err := m.Request()
	if err != nil {
		t.Fatal(err)
	}
	want := envelope.Request{
		Method: "POST", Target: "/orders/a%2Fb?c=d&c=%20", Host: "shop.localhost:80", Params: map[string]string{"order": "a%2Fb"},
		Header: http.Header{
			"X-A": {"b", "c"}, "Traceparent": {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
			"X-Forwarded-For": {"192.0.2.1, 127.0.0.1"}, "X-Forwarded-Host": {"shop.localhost:80"}, "X-Forwarded-Proto": {"http"},
		},
	}
	if fmt.Sprint(r) != fmt.Sprint(want) || string(m.Body) != "\x00\xff" || m.Subject != names.Call(shop, "order", id) {
		t.Errorf("stored on %s: %q and\n%v, want\n%v", m.Subject, m.Body, r, want)
	}
	if m.Header.Get(jetstream.MsgIDHeader) != "c/"+id || m.Header.Get("Serviceful-Attempt") != "" {
		t.Errorf("headers %v", m.Header)
	}
	if p, err := m.Progress(); err != nil || p.Attempts != 0 || p.Origin != id {
		t.Errorf("progress %+v, %v", p, err)
	}
}

// TestAcceptedTrace checks that a stored request begins a trace where it does
// not go on with one.
func TestAcceptedTrace(t *testing.T) {
	f := newFixture(t)
	seen := map[string]bool{}
	for range 3 {
		r, err := f.stored("shop", f.accepted(f.post("/later/", "", false))).Request()
		if err != nil {
			t.Fatal(err)
		}
		trace := http.Header(r.Header).Get("Traceparent")
		if !regexp.MustCompile(`^00-[0-9a-f]{32}-[0-9a-f]{16}-00$`).MatchString(trace) || seen[trace] {
			t.Errorf("traceparent %q", trace)
		}
		seen[trace] = true
	}
}

func TestIdempotencyKey(t *testing.T) {
	tests := map[string]struct {
		head, body string
		same       bool // the call of the first request
		status     int  // where it is no 202
	}{
		"repeated":             {"POST /orders/7?a=b HTTP/1.1\nIdempotency-Key: key", "body", true, 0},
		"with other headers":   {"POST /orders/7?a=b HTTP/1.1\nIdempotency-Key: key\nX-A: b\nUser-Agent: curl", "body", true, 0},
		"on another host":      {"POST /orders/7?a=b HTTP/1.1\nHost: shop.localhost\nIdempotency-Key: key", "body", true, 0},
		"another key":          {"POST /orders/7?a=b HTTP/1.1\nIdempotency-Key: KEY", "body", false, 0},
		"a key that is odd":    {"POST /orders/7?a=b HTTP/1.1\nIdempotency-Key: a.b > \xff*" + strings.Repeat("a", 5000), "body", false, 0},
		"no key":               {"POST /orders/7?a=b HTTP/1.1", "body", false, 0},
		"an empty key":         {"POST /orders/7?a=b HTTP/1.1\nIdempotency-Key:", "body", false, 400},
		"two keys":             {"POST /orders/7?a=b HTTP/1.1\nIdempotency-Key: key\nIdempotency-Key: key", "body", false, 400},
		"another trigger":      {"POST /later/7?a=b HTTP/1.1\nIdempotency-Key: key", "other", false, 0},
		"another body":         {"POST /orders/7?a=b HTTP/1.1\nIdempotency-Key: key", "other", false, 422},
		"no body":              {"POST /orders/7?a=b HTTP/1.1\nIdempotency-Key: key", "", false, 422},
		"another path":         {"POST /orders/8?a=b HTTP/1.1\nIdempotency-Key: key", "body", false, 422},
		"another query":        {"POST /orders/7?a=c HTTP/1.1\nIdempotency-Key: key", "body", false, 422},
		"body and query moved": {"POST /orders/7?a=b%0Ab HTTP/1.1\nIdempotency-Key: key", "ody", false, 422},
	}
	f := newFixture(t)
	first := f.accepted(f.send("POST /orders/7?a=b HTTP/1.1\nIdempotency-Key: key", "body"))
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			f := f.with(t)
			r := f.send(test.head, test.body)
			if test.status != 0 {
				f.wantProblem(r, test.status, map[int]string{400: "malformed-idempotency-key", 422: "idempotency-key-reused"}[test.status])
			} else if id := f.accepted(r); (id == first) != test.same {
				t.Errorf("id %s, the first request's was %s", id, first)
			}
		})
	}
	if n := f.messages("shop", names.Call(shop, "order", first)); n != 1 {
		t.Errorf("the call is stored %d times", n)
	}
}

// TestIdempotencyKeyAfterTheCall checks that a request repeated after its call
// has ended is not called again.
func TestIdempotencyKeyAfterTheCall(t *testing.T) {
	f := newFixture(t)
	send := func() string {
		return f.accepted(f.send("POST /orders/7 HTTP/1.1\nIdempotency-Key: key", "body"))
	}
	id := send()
	d := f.take("order")
	f.end(d, envelope.Succeeded, nil)
	if again := send(); again != id || f.messages("shop", names.CallFilter(shop, "order")) != 0 {
		t.Errorf("ids %s and %s", id, again)
	}
}

// TestIdempotencyKeyAtOnce sends one request many times at the same time.
func TestIdempotencyKeyAtOnce(t *testing.T) {
	f := newFixture(t)
	var ids sync.Map
	var all sync.WaitGroup
	for n := range 40 {
		all.Go(func() {
			r := f.send(fmt.Sprintf("POST /orders/7 HTTP/1.1\nIdempotency-Key: key %d", n%2), "body")
			if r.StatusCode != http.StatusAccepted {
				t.Errorf("got %s %s", r.Status, r.body)
				return
			}
			first, _ := ids.LoadOrStore(n%2, f.accepted(r))
			if id := f.accepted(r); id != first {
				t.Errorf("ids %s and %s for one request", first, id)
			}
		})
	}
	all.Wait()
	if n := f.messages("shop", names.CallFilter(shop, "order")); n != 2 {
		t.Errorf("%d calls are stored, want 2", n)
	}
}
