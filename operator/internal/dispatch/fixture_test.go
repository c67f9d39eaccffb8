package dispatch_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/serviceful/serviceful/operator/api/v1alpha1"
	"github.com/serviceful/serviceful/operator/internal/bus"
	"github.com/serviceful/serviceful/operator/internal/dispatch"
	"github.com/serviceful/serviceful/operator/internal/envelope"
	"github.com/serviceful/serviceful/operator/internal/event"
	"github.com/serviceful/serviceful/operator/internal/invoke"
	"github.com/serviceful/serviceful/operator/internal/mail"
	"github.com/serviceful/serviceful/operator/internal/names"
	"github.com/serviceful/serviceful/operator/internal/testkit/natstest"
	"github.com/serviceful/serviceful/operator/internal/wiring"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Everything happens in the namespace shop, to the function offers.
const shop = "shop"

var offers = names.Function{Namespace: shop, Name: "offers"}

// quick is a delivery whose retries come soon: two of them, if it is not changed.
func quick(change ...func(*v1alpha1.Delivery)) *v1alpha1.Delivery {
	retry, delay := int32(2), "PT0.02S"
	d := &v1alpha1.Delivery{Retry: &retry, BackoffDelay: &delay}
	for _, c := range change {
		c(d)
	}
	return d
}

func retry(n int32) func(*v1alpha1.Delivery) {
	return func(d *v1alpha1.Delivery) { d.Retry = &n }
}

func backoff(delay string) func(*v1alpha1.Delivery) {
	return func(d *v1alpha1.Delivery) { d.BackoffDelay = &delay }
}

func timeout(limit string) func(*v1alpha1.Delivery) {
	return func(d *v1alpha1.Delivery) { d.Timeout = &limit }
}

func concurrency(n int32) func(*v1alpha1.Delivery) {
	return func(d *v1alpha1.Delivery) { d.Concurrency = &n }
}

func retryAfterMax(limit string) func(*v1alpha1.Delivery) {
	return func(d *v1alpha1.Delivery) { d.RetryAfterMax = &limit }
}

func maxAge(age time.Duration) func(*v1alpha1.Delivery) {
	return func(d *v1alpha1.Delivery) { d.MaxAge = &metav1.Duration{Duration: age} }
}

func onCall(name string, d *v1alpha1.Delivery) v1alpha1.Trigger {
	return v1alpha1.Trigger{Name: name, HTTP: &v1alpha1.HTTPSource{Path: "/" + name + "/{id}", Async: true}, Delivery: d}
}

func onEvent(name string, d *v1alpha1.Delivery, types ...string) v1alpha1.Trigger {
	return v1alpha1.Trigger{Name: name, Path: "/on/" + name, Event: &v1alpha1.EventSource{Types: types}, Delivery: d}
}

func withTriggers(triggers ...v1alpha1.Trigger) v1alpha1.Function {
	f := v1alpha1.Function{}
	f.Namespace, f.Name = offers.Namespace, offers.Name
	f.Spec.Emits = []string{"out.*"}
	f.Spec.Bindings = []v1alpha1.Binding{{Mail: &v1alpha1.MailBinding{}}}
	f.Spec.Triggers = triggers
	return f
}

// request is what a function was called with.
type request struct {
	method, target, host, body string
	header                     http.Header
}

// function stands for a function: it records every call and answers as told.
type function struct {
	server *httptest.Server
	mu     sync.Mutex
	got    []request
}

func newFunction(t *testing.T, answer http.HandlerFunc) *function {
	t.Helper()
	f := &function{}
	f.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		f.mu.Lock()
		f.got = append(f.got, request{r.Method, r.RequestURI, r.Host, string(body), r.Header})
		f.mu.Unlock()
		r.Body = io.NopCloser(bytes.NewReader(body))
		answer(w, r)
	}))
	t.Cleanup(f.server.Close)
	return f
}

func (f *function) address() string { return f.server.Listener.Addr().String() }

// calls are those so far, in the order in which they began.
func (f *function) calls() []request {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]request(nil), f.got...)
}

// world hands out one instance, and counts the leases that are out.
type world struct {
	acquire func(ctx context.Context) (address string, err error)
	ended   <-chan struct{} // of the instance; nil: nobody knows
	leases  atomic.Int64
}

func (w *world) Acquire(ctx context.Context, _ names.Function) (invoke.Lease, error) {
	address, err := w.acquire(ctx)
	if err != nil {
		return invoke.Lease{}, err
	}
	w.leases.Add(1)
	return invoke.Lease{Address: address, Ended: w.ended, Release: func() { w.leases.Add(-1) }}, nil
}

// mailer is what mails are handed to.
type mailer func(m mail.Message) error

func (f mailer) Send(_ context.Context, _ string, m mail.Message) error { return f(m) }

// rig is a dispatcher with a NATS server and a function of its own.
type rig struct {
	t          *testing.T
	server     *bus.Embedded
	bus        *bus.Bus            // for the test; the dispatcher has another
	js         jetstream.JetStream // to look at consumers
	layout     bus.Layout
	function   *function
	world      *world
	config     dispatch.Config
	snapshot   atomic.Pointer[wiring.Snapshot]
	dispatcher *dispatch.Dispatcher
}

// newRig starts a rig whose function has the given triggers. Each of change may
// change it before.
func newRig(t *testing.T, answer http.HandlerFunc, triggers []v1alpha1.Trigger, change ...func(*rig)) *rig {
	t.Helper()
	r := &rig{t: t}
	r.function = newFunction(t, answer)
	r.world = &world{acquire: func(context.Context) (string, error) { return r.function.address(), nil }}
	r.connect(natstest.Server(t))
	for _, c := range change {
		c(r)
	}
	r.apply(triggers...)
	r.start()
	t.Cleanup(func() {
		r.dispatcher.Stop(context.WithoutCancel(r.t.Context()))
		if n := r.world.leases.Load(); n != 0 {
			t.Errorf("%d leases were not released", n)
		}
	})
	return r
}

// withAckWait makes what nobody settles come back after a second.
func withAckWait(r *rig) { r.layout.AckWait, r.config.AckWait = time.Second, time.Second }

// connect makes the rig use a server.
func (r *rig) connect(s *bus.Embedded) {
	r.t.Helper()
	r.server, r.bus = s, natstest.Connect(r.t, s)
	r.layout.Bus = r.bus
	nc, err := s.Connect("test")
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(nc.Close)
	if r.js, err = jetstream.New(nc); err != nil {
		r.t.Fatal(err)
	}
	b := natstest.Connect(r.t, s)
	if r.config.Mailer == nil {
		r.config.Mailer = mailer(func(mail.Message) error { return nil })
	}
	r.config.Source, r.config.Claims, r.config.Keeper, r.config.Clocks, r.config.Events, r.config.Changes = b, b, b, b, b, b
	r.config.World, r.config.Snapshot, r.config.Logger = r.world, r.snapshot.Load, slog.New(slog.DiscardHandler)
}

// apply lays out what a function with these triggers needs.
func (r *rig) apply(triggers ...v1alpha1.Trigger) {
	r.t.Helper()
	s := wiring.Compile([]v1alpha1.Function{withTriggers(triggers...)}, wiring.Hosts{Any: true})
	for _, p := range s.Problems {
		r.t.Fatal(p)
	}
	if err := r.layout.Apply(r.t.Context(), s); err != nil {
		r.t.Fatal(err)
	}
	r.snapshot.Store(s)
}

// start starts a dispatcher; one that ran must have been stopped.
func (r *rig) start() {
	r.t.Helper()
	var err error
	if r.dispatcher, err = dispatch.New(r.config); err != nil {
		r.t.Fatal(err)
	}
	r.dispatch()
}

// dispatch has the dispatcher take the current snapshot in.
func (r *rig) dispatch() {
	r.t.Helper()
	if err := r.dispatcher.Apply(r.t.Context(), r.snapshot.Load()); err != nil {
		r.t.Fatal(err)
	}
}

func newEvent(eventType, id string) *event.Event {
	return &event.Event{
		Attributes: []event.Attribute{{Name: "specversion", Value: "1.0"}, {Name: "id", Value: id}, {Name: "source", Value: "/test"}, {Name: "type", Value: eventType}},
		Data:       []byte("data of " + id),
	}
}

func (r *rig) publish(events ...*event.Event) {
	r.t.Helper()
	if err := r.bus.PublishEvents(r.t.Context(), shop, events); err != nil {
		r.t.Fatal(err)
	}
}

// accept stores a call for the trigger redeem.
func (r *rig) accept(id string) {
	r.t.Helper()
	r.store(envelope.Call(offers, "redeem", id, envelope.Request{Method: "POST", Target: "/redeem/" + id, Host: "shop.test"}, []byte("body of "+id)))
}

func (r *rig) store(m *envelope.Message) {
	r.t.Helper()
	if _, err := r.bus.Store(r.t.Context(), m); err != nil {
		r.t.Fatal(err)
	}
}

// eventually polls until done answers true.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	for tick := time.NewTicker(2 * time.Millisecond); !done(); {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("not within 2 min: %s", what)
		}
	}
}

// status answers every call with one status.
func status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
}
