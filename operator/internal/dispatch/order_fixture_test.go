package dispatch_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/serviceful/serviceful/operator/api/v1alpha1"
	"github.com/serviceful/serviceful/operator/internal/bus"
	"github.com/serviceful/serviceful/operator/internal/dispatch"
	"github.com/serviceful/serviceful/operator/internal/event"
)

func orderBy(attribute string) func(*v1alpha1.Delivery) {
	return func(d *v1alpha1.Delivery) { d.OrderBy = &attribute }
}

// inOrder is a delivery by the attribute member.
func inOrder(change ...func(*v1alpha1.Delivery)) *v1alpha1.Delivery {
	return quick(append(change, orderBy("member"))...)
}

// step is event number n of a member; its id is "<member>/<n>". Every other one spells
// the member as a header may, too.
func step(member string, n int) *event.Event {
	e := newEvent("in.a", fmt.Sprint(member, "/", n))
	spelled := member
	if n%2 == 1 {
		spelled = fmt.Sprintf("%%%02x%s", member[0], member[1:])
	}
	e.Attributes = append(e.Attributes, event.Attribute{Name: "member", Value: spelled})
	return e
}

// steps are events of members, who take turns.
func steps(members, each int) []*event.Event {
	var out []*event.Event
	for n := range each {
		for m := range members {
			out = append(out, step(fmt.Sprint("m", m), n))
		}
	}
	return out
}

// witness stands before a function that is called in order. A call of an event may
// begin only when every event before it of its member has ended, once and for all,
// and none of the member is under way.
type witness struct {
	t      *testing.T
	answer func(member string, n int) int // a status; 400 is for good; 0: it breaks off
	during func(r *http.Request)          // what else happens in a call

	mu      sync.Mutex
	ended   map[string]map[int]bool
	dead    map[string]bool // of those that were answered so, and never well
	current map[string]int  // calls under way
	begun   map[string]int  // the highest
	calls   int
}

func newWitness(t *testing.T, answer func(member string, n int) int) *witness {
	return &witness{t: t, answer: answer, ended: map[string]map[int]bool{}, dead: map[string]bool{}, current: map[string]int{}, begun: map[string]int{}}
}

func (w *witness) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	member, n := parts(w.t, r.Header.Get("Ce-Id"))
	w.begin(member, n)
	if w.during != nil {
		w.during(r)
	}
	status := w.answer(member, n)
	if r.Context().Err() != nil {
		status = 0 // nobody hears it any more
	}
	w.end(member, n, status)
	if status == 0 {
		panic(http.ErrAbortHandler)
	}
	rw.WriteHeader(status)
}

// parts are the member and the number in an event's id.
func parts(t *testing.T, id string) (member string, n int) {
	member, number, _ := strings.Cut(id, "/")
	n, err := strconv.Atoi(number)
	if err != nil {
		t.Errorf("called with event %q", id)
	}
	return member, n
}

func (w *witness) begin(member string, n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calls++
	if w.current[member] > 0 {
		w.t.Errorf("%s/%d is called while another of its member is", member, n)
	}
	if n < w.begun[member] {
		w.t.Errorf("%s/%d is called after %s/%d was", member, n, member, w.begun[member])
	}
	for before := range n {
		if !w.ended[member][before] {
			w.t.Errorf("%s/%d is called before %s/%d has ended", member, n, member, before)
		}
	}
	w.current[member]++
	w.begun[member] = max(w.begun[member], n)
}

func (w *witness) end(member string, n, status int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.current[member]--
	if status/100 != 2 && status != http.StatusBadRequest {
		return
	}
	if w.ended[member] == nil {
		w.ended[member] = map[int]bool{}
	}
	first := !w.ended[member][n]
	w.ended[member][n] = true
	switch id := fmt.Sprint(member, "/", n); {
	case status != http.StatusBadRequest: // and perhaps the answer before was not heard
		delete(w.dead, id)
	case first:
		w.dead[id] = true
	}
}

// count is how many calls there were.
func (w *witness) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.calls
}

// wantAll has each event have ended.
func (w *witness) wantAll(members, each int) {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	for m := range members {
		if n := len(w.ended[fmt.Sprint("m", m)]); n != each {
			w.t.Errorf("%d of %d events of member %d have ended", n, each, m)
		}
	}
	w.t.Logf("%d calls of %d events", w.calls, members*each)
}

// gate is the way to a NATS server, and can be shut: then nothing goes through
// either way, and what was sent goes on when it is opened.
type gate struct {
	mu     sync.Mutex
	opened chan struct{} // closed: it is open
}

func newGate() *gate {
	g := &gate{opened: make(chan struct{})}
	close(g.opened)
	return g
}

func (g *gate) shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-g.opened:
		g.opened = make(chan struct{})
	default: // it is shut, and some wait for that one
	}
}

func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-g.opened:
	default:
		close(g.opened)
	}
}

func (g *gate) pass() {
	g.mu.Lock()
	opened := g.opened
	g.mu.Unlock()
	<-opened
}

func (g *gate) Dial(network, address string) (net.Conn, error) {
	g.pass()
	c, err := net.Dial(network, address)
	return gated{c, g}, err
}

type gated struct {
	net.Conn
	gate *gate
}

func (c gated) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.gate.pass()
	return n, err
}

func (c gated) Write(b []byte) (int, error) {
	c.gate.pass()
	return c.Conn.Write(b)
}

// behind starts one more dispatcher, whose way to the server is the gate.
func (r *rig) behind(g *gate) *dispatch.Dispatcher {
	r.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		r.t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() { _ = r.server.Serve(l) })
	nc, err := nats.Connect("nats://"+l.Addr().String(), nats.SetCustomDialer(g), nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond))
	if err != nil {
		r.t.Fatal(err)
	}
	b, err := bus.New(nc)
	if err != nil {
		r.t.Fatal(err)
	}
	c := r.config
	c.Source, c.Claims, c.Keeper, c.Clocks, c.Events, c.Changes = b, b, b, b, b, b
	d, err := dispatch.New(c)
	if err != nil {
		r.t.Fatal(err)
	}
	if err := d.Apply(r.t.Context(), r.snapshot.Load()); err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() {
		g.open()
		d.Stop(context.WithoutCancel(r.t.Context()))
		nc.Close()
		_ = l.Close()
		serving.Wait()
	})
	return d
}
