package controller

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"github.com/serviceful/serviceful/operator/api/v1alpha1"
	"github.com/serviceful/serviceful/operator/internal/bus"
	"github.com/serviceful/serviceful/operator/internal/delivery"
	"github.com/serviceful/serviceful/operator/internal/envelope"
	"github.com/serviceful/serviceful/operator/internal/event"
	"github.com/serviceful/serviceful/operator/internal/names"
	"github.com/serviceful/serviceful/operator/internal/wiring"
)

// calls stores calls for a trigger of the function offers.
func (w *world) calls(trigger string, n int) (ids []string) {
	w.t.Helper()
	for i := range n {
		id := fmt.Sprintf("%s-%d", trigger, i)
		m := envelope.Call(w.offers(), trigger, id, envelope.Request{Method: "POST", Target: "/"}, nil)
		if _, err := w.bus.Store(w.t.Context(), m); err != nil {
			w.t.Fatal(err)
		}
		ids = append(ids, id)
	}
	return ids
}

func (w *world) offers() names.Function { return names.Function{Namespace: w.ns, Name: "offers"} }

// dead are the ids of the dead letters there are for a trigger.
func (w *world) dead(trigger string) (ids []string) {
	w.t.Helper()
	err := w.bus.Scan(w.t.Context(), names.Dead(w.ns), names.DeadSubject(w.offers(), trigger), func(m *envelope.Message) error {
		d, _, err := m.DeadLetter()
		ids = append(ids, d.Reason)
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return ids
}

func (w *world) jetstream() jetstream.JetStream {
	w.t.Helper()
	nc, err := w.nats.Connect("test")
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		w.t.Fatal(err)
	}
	return js
}

var removed = []string{delivery.ReasonTriggerRemoved, delivery.ReasonTriggerRemoved}

func TestDelete(t *testing.T) {
	w := start(t)
	fn, other := w.create("offers", offers), w.create("other", "triggers: [{name: a, event: {types: [b]}}]")
	w.ready(fn)
	w.ready(other)
	w.calls("redeem", 2)
	w.delete(fn)
	w.eventually("the Function is gone", func() bool { return !w.exists(fn) })
	service := &servingv1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "offers"}}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "offers"}}
	if w.exists(service) || w.exists(account) {
		t.Error("what was its own is still there")
	}
	if got := w.consumers(); !slices.Equal(got, []string{"EV/other_a", "WORK/mail"}) {
		t.Errorf("consumers: %q", got)
	}
	if got := w.dead("redeem"); !slices.Equal(got, removed) {
		t.Errorf("dead letters: %q", got)
	}
	if _, err := w.jetstream().Stream(t.Context(), names.BucketStream(w.ns, "things")); err != nil {
		t.Errorf("its data: %v", err)
	}
	if !w.exists(w.service(other)) {
		t.Error("another function's service is gone")
	}
}

// TestTriggerInUse has a trigger stay as long as somebody calls for it.
func TestTriggerInUse(t *testing.T) {
	w := start(t)
	fn := w.create("offers", offers)
	w.ready(fn)
	held := make(chan *bus.Delivered, 1)
	stop, err := w.bus.Consume(t.Context(), names.Work(w.ns), "offers_redeem", 100, func(d *bus.Delivered) { held <- d })
	if err != nil {
		t.Fatal(err)
	}
	change(w, fn, func(fn *v1alpha1.Function) { fn.Spec.Triggers = fn.Spec.Triggers[:1] })
	w.eventually("the idle trigger is gone", func() bool { return !slices.Contains(w.consumers(), "EV/offers_welcome") })
	if !slices.Contains(w.consumers(), "WORK/offers_redeem") {
		t.Fatal("a trigger went that somebody calls for")
	}
	w.calls("redeem", 1)
	delivered := <-held
	stop()
	if !slices.Contains(w.consumers(), "WORK/offers_redeem") {
		t.Fatal("a trigger went whose call is under way")
	}
	if err := delivered.Ack(); err != nil {
		t.Fatal(err)
	}
	w.eventually("the trigger is gone", func() bool { return !slices.Contains(w.consumers(), "WORK/offers_redeem") })
	if got := w.dead("redeem"); len(got) > 0 {
		t.Errorf("a call that succeeded is dead: %q", got)
	}
}

// TestTriggerNeverGivenUp bounds the wait for a dispatcher that does not stop.
func TestTriggerNeverGivenUp(t *testing.T) {
	w := start(t, func(cfg *Config) { cfg.RetireWait = time.Millisecond })
	fn := w.create("offers", offers)
	w.ready(fn)
	w.calls("redeem", 2)
	stop, err := w.bus.Consume(t.Context(), names.Work(w.ns), "offers_redeem", 100, func(*bus.Delivered) {})
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	w.delete(fn)
	w.eventually("the Function is gone", func() bool { return !w.exists(fn) })
	if got := w.dead("redeem"); !slices.Equal(got, removed) {
		t.Errorf("dead letters: %q", got)
	}
}

// TestQueueHandedOver renames the trigger of a queue: the new one has it when the one
// before is retired.
func TestQueueHandedOver(t *testing.T) {
	w := start(t)
	fn := w.create("offers", "triggers: [{name: old, queue: {name: jobs}}]")
	w.ready(fn)
	change(w, fn, func(fn *v1alpha1.Function) { fn.Spec.Triggers[0].Name = "new" })
	w.eventually("the new trigger has the queue", func() bool {
		return slices.Contains(w.consumers(), "WORK/offers_new") && !slices.Contains(w.consumers(), "WORK/offers_old")
	})
	w.ready(fn)
}

// TestLateCall has a call that was stored when its trigger was gone become a
// dead letter.
func TestLateCall(t *testing.T) {
	w := start(t)
	fn := w.create("offers", offers)
	w.ready(fn)
	w.delete(fn)
	w.eventually("the Function is gone", func() bool { return !w.exists(fn) })
	w.stop()
	w.calls("redeem", 2)
	w.operate(w.ns) // which sweeps when it starts
	w.eventually("dead letters", func() bool { return slices.Equal(w.dead("redeem"), removed) })
}

func TestTriggerStatus(t *testing.T) {
	w := start(t)
	fn := w.create("offers", offers)
	w.ready(fn)
	w.calls("redeem", 3)
	redeem := func() v1alpha1.TriggerStatus { w.get(fn); return fn.Status.Triggers[1] }
	w.eventually("what waits", func() bool { return redeem().Pending == 3 && fn.Status.Pending == 3 }, func() any { return fn.Status })

	held := make(chan *bus.Delivered, 3)
	stop, err := w.bus.Consume(t.Context(), names.Work(w.ns), "offers_redeem", 100, func(d *bus.Delivered) { held <- d })
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	w.eventually("what is called", func() bool { s := redeem(); return s.InFlight == 3 && s.Pending == 0 }, func() any { return fn.Status })
	dies := <-held
	if err := w.bus.Bury(t.Context(), &dies.Message, bus.Ending{Function: w.offers(), Trigger: "redeem", Verdict: delivery.Verdict{Reason: "x"}, Now: time.Now()}); err != nil {
		t.Fatal(err)
	}
	for _, d := range []*bus.Delivered{dies, <-held, <-held} {
		if err := d.Ack(); err != nil {
			t.Fatal(err)
		}
	}
	w.eventually("what died", func() bool {
		s := redeem()
		return s.InFlight == 0 && s.Dead == 1 && fn.Status.Dead == 1 && s.LastDelivery != nil
	}, func() any { return fn.Status })
	w.condition(fn, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
}

// TestLostConsumer has what somebody removed come back.
func TestLostConsumer(t *testing.T) {
	w := start(t)
	fn := w.create("offers", offers)
	w.ready(fn)
	for _, lost := range []string{"offers_redeem", names.MailConsumer} {
		if err := w.jetstream().DeleteConsumer(t.Context(), names.Work(w.ns), lost); err != nil {
			t.Fatal(err)
		}
		w.eventually(lost+" is back", func() bool { return len(w.consumers()) == 3 })
	}
}

func TestWithoutNATS(t *testing.T) {
	w := start(t)
	w.nats.Stop()
	fn := w.create("offers", offers)
	w.knative(fn, corev1.ConditionTrue, "", "") // it runs all the same
	w.condition(fn, v1alpha1.ConditionServiceReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
	w.condition(fn, v1alpha1.ConditionBindingsReady, metav1.ConditionUnknown, v1alpha1.ReasonServiceUnavailable)
	w.condition(fn, v1alpha1.ConditionTriggersReady, metav1.ConditionUnknown, v1alpha1.ReasonReconciling)
	if s := fn.Status.Triggers; !s[0].Ready || s[1].Ready || s[2].Ready {
		t.Errorf("triggers: %+v", s)
	}
	w.delete(fn)                                            // which has to wait: calls might be lost
	w.eventually("it says what it waits for", func() bool { // once the operator has seen that it is to go
		w.reconcileFails(fn)
		if !w.exists(fn) {
			t.Fatal("it was deleted without looking for its calls")
		}
		c := meta.FindStatusCondition(fn.Status.Conditions, v1alpha1.ConditionReady)
		return c.Status == metav1.ConditionUnknown && strings.HasPrefix(c.Message, "it is being deleted: ")
	}, func() any { return fn.Status.Conditions })
}

// ahead is a survey four days from now.
type ahead struct{ bus.Layout }

func (a ahead) Survey(ctx context.Context, namespace string, wired *wiring.Snapshot, now time.Time) (*bus.Survey, error) {
	return a.Layout.Survey(ctx, namespace, wired, now.Add(4*24*time.Hour))
}

func TestEventsAtRisk(t *testing.T) {
	w := start(t, func(cfg *Config) { cfg.Surveyor = ahead{cfg.Layout.(bus.Layout)} })
	fn := w.create("offers", offers)
	w.ready(fn)
	e := event.Event{Attributes: []event.Attribute{{Name: "specversion", Value: "1.0"}, {Name: "id", Value: "1"}, {Name: "source", Value: "/"}, {Name: "type", Value: "member.joined"}}}
	if err := w.bus.PublishEvents(t.Context(), w.ns, []*event.Event{&e}); err != nil {
		t.Fatal(err)
	}
	w.condition(fn, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonEventsAtRisk)
}

// limited is NATS with no room for one of the consumers.
type limited struct {
	Layout
	full *atomic.Bool
}

func (l limited) Apply(ctx context.Context, s *wiring.Snapshot) error {
	if l.full.Load() && len(s.Subscriptions) == 1 && s.Subscriptions[0].Trigger == "redeem" {
		return fmt.Errorf("ensuring a consumer: %w", &jetstream.APIError{ErrorCode: 10026})
	}
	return l.Layout.Apply(ctx, s)
}

func TestConsumerLimit(t *testing.T) {
	full := &atomic.Bool{}
	full.Store(true)
	w := start(t, func(cfg *Config) { cfg.Layout = limited{cfg.Layout, full} })
	fn := w.create("offers", offers)
	w.knative(fn, corev1.ConditionTrue, "", "")
	w.condition(fn, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonConsumerLimit)
	if s := fn.Status.Triggers; !s[0].Ready || s[1].Reason != v1alpha1.ReasonConsumerLimit || !s[2].Ready {
		t.Errorf("triggers: %+v", s)
	}
	full.Store(false)
	w.condition(fn, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
}

// TestMany has a hundred Functions come and go at once.
func TestMany(t *testing.T) {
	w := start(t)
	var all []*v1alpha1.Function
	for i := range 100 {
		all = append(all, w.create(fmt.Sprintf("fn-%d", i), fmt.Sprintf("triggers: [{name: a, http: {path: /a%d, async: true}}, {name: b, event: {types: [x]}}]", i)))
	}
	begin := time.Now()
	for _, fn := range all {
		w.ready(fn)
	}
	t.Logf("a hundred are ready after %v, with %d writes", time.Since(begin), len(w.writes.since(0)))
	if n := len(w.consumers()); n != 201 {
		t.Errorf("%d consumers", n)
	}
	begin = time.Now()
	for _, fn := range all {
		w.delete(fn)
	}
	for _, fn := range all {
		w.eventually("it is gone", func() bool { return !w.exists(fn) })
	}
	t.Logf("all are gone after %v", time.Since(begin))
	if got := w.consumers(); !slices.Equal(got, []string{"WORK/mail"}) {
		t.Errorf("consumers: %q", got)
	}
}
