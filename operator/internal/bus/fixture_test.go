package bus_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/serviceful/serviceful/operator/api/v1alpha1"
	"github.com/serviceful/serviceful/operator/internal/bus"
	"github.com/serviceful/serviceful/operator/internal/envelope"
	"github.com/serviceful/serviceful/operator/internal/event"
	"github.com/serviceful/serviceful/operator/internal/names"
	"github.com/serviceful/serviceful/operator/internal/testkit/natstest"
	"github.com/serviceful/serviceful/operator/internal/wiring"
)

// Everything happens in the namespace shop, to the function offers.
const shop = "shop"

var offers = names.Function{Namespace: shop, Name: "offers"}

func function(triggers ...v1alpha1.Trigger) v1alpha1.Function {
	f := v1alpha1.Function{}
	f.Namespace, f.Name = offers.Namespace, offers.Name
	f.Spec.Triggers = triggers
	f.Spec.Bindings = []v1alpha1.Binding{{KeyValue: &v1alpha1.KeyValueBinding{Bucket: "things"}}, {Mail: &v1alpha1.MailBinding{}}}
	return f
}

func onCall(name string) v1alpha1.Trigger {
	return v1alpha1.Trigger{Name: name, HTTP: &v1alpha1.HTTPSource{Path: "/" + name, Async: true}}
}

func onEvent(name string, types ...string) v1alpha1.Trigger {
	return v1alpha1.Trigger{Name: name, Event: &v1alpha1.EventSource{Types: types}}
}

// start is a connection to a server of its own on which a function with the
// given triggers is laid out.
func start(t *testing.T, triggers ...v1alpha1.Trigger) *bus.Bus {
	t.Helper()
	b := natstest.Connect(t, natstest.Server(t))
	layOut(t, b, triggers...)
	return b
}

func layOut(t *testing.T, b *bus.Bus, triggers ...v1alpha1.Trigger) *wiring.Snapshot {
	t.Helper()
	s := wiring.Compile([]v1alpha1.Function{function(triggers...)}, wiring.Hosts{Any: true})
	if err := (bus.Layout{Bus: b}).Apply(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	return s
}

// serve runs a server on a folder; stop ends it.
func serve(t *testing.T, cfg bus.EmbeddedConfig) (s *bus.Embedded, b *bus.Bus, stop func()) {
	t.Helper()
	cfg.Logger = slog.New(slog.DiscardHandler)
	s, err := bus.StartEmbedded(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	b = natstest.Connect(t, s)
	return s, b, s.Stop
}

// raw is NATS's own client, to look at what the bus did.
func raw(t *testing.T, s *bus.Embedded) jetstream.JetStream {
	t.Helper()
	nc, err := s.Connect("test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

func call(id, body string) *envelope.Message {
	return envelope.Call(offers, "redeem", id, envelope.Request{Method: "POST", Target: "/redeem"}, []byte(body))
}

func newEvent(eventType, id string) *event.Event {
	return &event.Event{
		Attributes: []event.Attribute{{Name: "specversion", Value: "1.0"}, {Name: "id", Value: id}, {Name: "source", Value: "/test"}, {Name: "type", Value: eventType}},
		Data:       []byte("data of " + id),
	}
}

// someEvents are n events of a type; their ids count from 0.
func someEvents(eventType string, n int) []*event.Event {
	out := make([]*event.Event, n)
	for i := range out {
		out[i] = newEvent(eventType, strconv.Itoa(i))
	}
	return out
}

func store(t *testing.T, b *bus.Bus, messages ...*envelope.Message) {
	t.Helper()
	for _, m := range messages {
		if _, err := b.Store(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
}

func publish(t *testing.T, b *bus.Bus, events ...*event.Event) {
	t.Helper()
	if err := b.PublishEvents(t.Context(), shop, events); err != nil {
		t.Fatal(err)
	}
}

// stored is every message on a subject, oldest first.
func stored(t *testing.T, b *bus.Bus, stream, subject string) []*envelope.Message {
	t.Helper()
	var out []*envelope.Message
	err := b.Scan(t.Context(), stream, subject, func(m *envelope.Message) error {
		out = append(out, m)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// ids are the ids of the events in a namespace's log, in its order.
func ids(t *testing.T, b *bus.Bus) []string {
	t.Helper()
	out := []string{}
	for _, m := range stored(t, b, names.Events(shop), "ev."+shop+".>") {
		out = append(out, m.Header.Get("ce-id"))
	}
	return out
}

// receive takes n messages of a consumer.
func receive(t *testing.T, b *bus.Bus, stream, consumer string, n int) []*bus.Delivered {
	t.Helper()
	messages := make(chan *bus.Delivered, 1000)
	stop, err := b.Consume(t.Context(), stream, consumer, 100, func(d *bus.Delivered) { messages <- d })
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	var out []*bus.Delivered
	deadline := time.After(2 * time.Minute)
	for len(out) < n {
		select {
		case d := <-messages:
			out = append(out, d)
		case <-deadline:
			t.Fatalf("%d messages of %s after 2 min, want %d", len(out), consumer, n)
		}
	}
	return out
}

// relayRetries brings retries that are due to the event log, as a dispatcher does.
func relayRetries(t *testing.T, b *bus.Bus) {
	t.Helper()
	stop, err := b.Consume(t.Context(), names.Retries(shop), names.RetriesConsumer, 500, func(d *bus.Delivered) {
		if _, err := b.Store(t.Context(), envelope.Return(&d.Message)); err != nil {
			t.Errorf("returning a retry: %v", err)
			return
		}
		if err := d.Ack(); err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
}

// receiveAndAck takes n messages of a consumer for good and returns their bodies.
func receiveAndAck(t *testing.T, b *bus.Bus, stream, consumer string, n int) []string {
	t.Helper()
	var bodies []string
	for _, d := range receive(t, b, stream, consumer, n) {
		bodies = append(bodies, string(d.Body))
		if err := d.Ack(); err != nil {
			t.Fatal(err)
		}
	}
	return bodies
}

// eventually polls until done answers true.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	succeeds(t, what, func() error {
		if done() {
			return nil
		}
		return errors.New("it is not so")
	})
}

// succeeds tries until there is no error.
func succeeds(t *testing.T, what string, try func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for err := try(); err != nil; err = try() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("not within two minutes: %s: %v", what, err)
		}
	}
}

// numbers are the texts of 0 to n-1.
func numbers(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprint(i)
	}
	return out
}
