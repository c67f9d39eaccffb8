package gateway

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/serviceful/serviceful/operator/api/v1alpha1"
	"github.com/serviceful/serviceful/operator/internal/bus"
	"github.com/serviceful/serviceful/operator/internal/invoke"
	"github.com/serviceful/serviceful/operator/internal/names"
	"github.com/serviceful/serviceful/operator/internal/serve"
	"github.com/serviceful/serviceful/operator/internal/testkit/natstest"
	"github.com/serviceful/serviceful/operator/internal/wiring"
)

// deadline bounds every wait of these tests.
const deadline = 2 * time.Minute

// The functions of every fixture. hasty has a timeout of hastyTimeout, the
// others of a minute.
var (
	shop   = names.Function{Namespace: "shop", Name: "shop"}
	hasty  = names.Function{Namespace: "shop", Name: "hasty"}
	market = names.Function{Namespace: "market", Name: "market"}
)

const hastyTimeout = 500 * time.Millisecond

func functions() []v1alpha1.Function {
	return []v1alpha1.Function{
		function(shop, time.Minute,
			httpTrigger("any", "/any/{rest...}", false),
			httpTrigger("get", "/get", false, "GET"),
			httpTrigger("change", "/change", false, "PUT", "PATCH"),
			httpTrigger("redeem", "/members/{number}/offers/{offer}", false),
			httpTrigger("later", "/later/{rest...}", true),
			httpTrigger("order", "/orders/{order}", true, "POST"),
			httpTrigger("both", "/both", false),
		),
		function(hasty, hastyTimeout, httpTrigger("hasty", "/hasty", false)),
		function(market, time.Minute, httpTrigger("any", "/market/{rest...}", false), httpTrigger("both", "/both", false), httpTrigger("later", "/later/{rest...}", true)),
	}
}

func function(name names.Function, timeout time.Duration, triggers ...v1alpha1.Trigger) v1alpha1.Function {
	f := v1alpha1.Function{Spec: v1alpha1.FunctionSpec{Timeout: &metav1.Duration{Duration: timeout}, Triggers: triggers}}
	f.Namespace, f.Name = name.Namespace, name.Name
	if name == market {
		f.CreationTimestamp = metav1.Unix(1, 0) // the newest
	}
	return f
}

func httpTrigger(name, path string, async bool, methods ...string) v1alpha1.Trigger {
	return v1alpha1.Trigger{Name: name, HTTP: &v1alpha1.HTTPSource{Path: path, Async: async, Methods: methods}}
}

// fixture is a door on a port of its own, in front of a real NATS server and a
// world of functions that a test sets.
type fixture struct {
	testing.TB
	nats    *bus.Embedded
	bus     *bus.Bus
	world   *world
	address string
}

func newFixture(tb testing.TB, change ...func(*Config)) *fixture {
	tb.Helper()
	return newFixtureOn(tb, natstest.Server(tb), change...)
}

func newFixtureOn(tb testing.TB, nats *bus.Embedded, change ...func(*Config)) *fixture {
	tb.Helper()
	f := &fixture{TB: tb, nats: nats, bus: natstest.Connect(tb, nats), world: &world{TB: tb}}
	snapshot := wiring.Compile(functions(), wiring.Hosts{Domain: "localhost", Any: true})
	if err := (bus.Layout{Bus: f.bus}).Apply(tb.Context(), snapshot); err != nil {
		tb.Fatal(err)
	}
	cfg := Config{
		World: f.world, Inbox: f.bus, Calls: f.bus, Ready: func() error { return nil },
		Snapshot: func() *wiring.Snapshot { return snapshot },
		Logger:   slog.New(slog.DiscardHandler),
	}
	for _, c := range change {
		c(&cfg)
	}
	door, err := New(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	server, err := serve.Start("127.0.0.1:0", door)
	if err != nil {
		tb.Fatal(err)
	}
	f.address = server.Address()
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(tb.Context()), deadline)
		defer cancel()
		server.Stop(ctx)
		f.eventually("all leases are released", func() bool { return f.world.leased.Load() == 0 })
	})
	return f
}

// with is the fixture in a subtest.
func (f *fixture) with(tb testing.TB) *fixture {
	sub := *f
	sub.TB = tb
	return &sub
}

// acquire gives the address of a ready instance, or says why there is none.
type acquire func(context.Context) (address string, err error)

// world is the functions.
type world struct {
	testing.TB
	functions sync.Map // names.Function -> acquire
	asked     atomic.Int64
	leased    atomic.Int64
}

func (w *world) Acquire(ctx context.Context, f names.Function) (invoke.Lease, error) {
	w.asked.Add(1)
	v, ok := w.functions.Load(f)
	if !ok {
		return invoke.Lease{}, &invoke.StartError{Function: f, Reason: invoke.Unknown, Detail: "there is none"}
	}
	address, err := v.(acquire)(ctx)
	if err != nil {
		return invoke.Lease{}, err
	}
	w.leased.Add(1)
	return invoke.Lease{Address: address, Release: func() { w.leased.Add(-1) }}, nil
}

// at makes an address the function's instance.
func (w *world) at(f names.Function, address string) {
	w.functions.Store(f, acquire(func(context.Context) (string, error) { return address, nil }))
}

// handle makes a handler the function.
func (w *world) handle(f names.Function, h http.HandlerFunc) {
	s := httptest.NewUnstartedServer(h)
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	s.Start()
	w.Cleanup(s.Close)
	w.at(f, s.Listener.Addr().String())
}

// talk makes bytes the function: what talk does with each connection.
func (w *world) talk(f names.Function, talk func(*bufio.Reader, net.Conn)) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				talk(bufio.NewReader(c), c)
			}()
		}
	}()
	w.at(f, l.Addr().String())
}

// answer makes fixed bytes the function: its answer to every request.
func (w *world) answer(f names.Function, answer string) {
	w.talk(f, func(r *bufio.Reader, c net.Conn) {
		if req, err := http.ReadRequest(r); err == nil {
			io.Copy(io.Discard, req.Body)
			io.WriteString(c, answer)
		}
	})
}

// reply is an answer that was read to its end, and the interim ones before it.
type reply struct {
	*http.Response
	body    string
	interim []*http.Response
}

// send sends a request as it is: the head's lines parted by "\n", without its
// end. A Host and the body's length are added.
func (f *fixture) send(head, body string) reply {
	f.Helper()
	c := f.dial()
	defer c.Close()
	if !strings.Contains(head, "\nHost: ") {
		head += "\nHost: 127.0.0.1"
	}
	if body != "" {
		head += fmt.Sprintf("\nContent-Length: %d", len(body))
	}
	return f.exchange(c, head, body)
}

// sendAll sends requests without a body at the same time.
func (f *fixture) sendAll(heads ...string) []reply {
	f.Helper()
	replies := make([]reply, len(heads))
	var all sync.WaitGroup
	for i, head := range heads {
		all.Go(func() { replies[i] = f.send(head, "") })
	}
	all.Wait()
	return replies
}

// exchange writes a request to a connection and reads the answer.
func (f *fixture) exchange(c net.Conn, head, body string) reply {
	f.Helper()
	go io.WriteString(c, strings.ReplaceAll(head, "\n", "\r\n")+"\r\n\r\n"+body) // the door may answer before it has read
	method, _, _ := strings.Cut(head, " ")
	read := bufio.NewReader(c)
	var r reply
	for {
		resp, err := http.ReadResponse(read, &http.Request{Method: method})
		if err != nil {
			f.Fatalf("%s: %v", head, err)
		}
		if resp.StatusCode > 199 {
			r.Response = resp
			break
		}
		r.interim = append(r.interim, resp)
	}
	defer r.Body.Close()
	got, err := io.ReadAll(r.Body)
	if err != nil {
		f.Fatalf("%s: %v", head, err)
	}
	r.body = string(got)
	return r
}

func (f *fixture) dial() net.Conn {
	f.Helper()
	c, err := net.Dial("tcp", f.address)
	if err != nil {
		f.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(deadline))
	return c
}

// wantProblem checks that an answer is a problem of a status and kind.
func (f *fixture) wantProblem(r reply, status int, kind string) serve.Problem {
	f.Helper()
	var p serve.Problem
	if err := json.Unmarshal([]byte(r.body), &p); err != nil || r.StatusCode != status || p.Status != status ||
		p.Type != "https://serviceful.dev/problems/"+kind || p.Title == "" || r.Header.Get("Content-Type") != "application/problem+json" {
		f.Fatalf("got %s %q %s, want a problem %d %s", r.Status, r.Header.Get("Content-Type"), r.body, status, kind)
	}
	return p
}

// eventually waits until done says so.
func (f *fixture) eventually(what string, done func() bool) {
	f.Helper()
	for end := time.Now().Add(deadline); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			f.Fatalf("not within %s: %s", deadline, what)
		}
	}
}

// receive waits for a value.
func receive[T any](f *fixture, what string, c <-chan T) (v T) {
	f.Helper()
	select {
	case v = <-c:
	case <-time.After(deadline):
		f.Fatalf("not within %s: %s", deadline, what)
	}
	return v
}
