package controller

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/serviceful/serviceful/operator/api/v1alpha1"
	"github.com/serviceful/serviceful/operator/internal/names"
	"github.com/serviceful/serviceful/operator/internal/schedule"
)

// cron is what the clock of the trigger expire is set by; "": there is none.
func (w *world) cron() string {
	w.t.Helper()
	m, err := w.bus.Last(w.t.Context(), names.Work(w.ns), names.Clock(w.offers(), "expire"))
	if err != nil {
		return ""
	}
	fired, err := schedule.Read(m)
	if err != nil {
		w.t.Fatal(err)
	}
	return fired.Cron
}

// TestSchedule has a clock follow its trigger: changed, lost, broken and mended.
func TestSchedule(t *testing.T) {
	w := start(t)
	fn := w.create("offers", `triggers: [{name: expire, schedule: {cron: "0 2 * * *"}}, {name: welcome, event: {types: [a.b]}}]`)
	w.ready(fn)
	if got := w.cron(); got != "0 2 * * *" {
		t.Fatalf("the clock is set by %q", got)
	}
	change(w, fn, func(fn *v1alpha1.Function) { fn.Spec.Triggers[0].Schedule.Cron = "@every 24h" })
	w.eventually("the clock is set anew", func() bool { return w.cron() == "@every 24h" })

	stream, err := w.jetstream().Stream(t.Context(), names.Work(w.ns))
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Purge(t.Context(), jetstream.WithPurgeSubject(names.Clock(w.offers(), "expire"))); err != nil {
		t.Fatal(err)
	}
	w.eventually("a lost clock is set again", func() bool { return w.cron() == "@every 24h" })

	change(w, fn, func(fn *v1alpha1.Function) { fn.Spec.Triggers[0].Schedule.Cron = "0 0 30 2 *" })
	c := w.condition(fn, v1alpha1.ConditionTriggersReady, metav1.ConditionFalse, v1alpha1.ReasonInvalidSchedule)
	if !strings.HasPrefix(c.Message, "trigger expire: it does not fire until its schedule is mended") {
		t.Errorf("%q", c.Message)
	}
	w.get(fn)
	if s := fn.Status.Triggers; len(s) != 2 || s[0].Ready || s[0].Reason != v1alpha1.ReasonInvalidSchedule || !s[1].Ready {
		t.Errorf("%+v", s)
	}
	change(w, fn, func(fn *v1alpha1.Function) { fn.Spec.Triggers[0].Schedule.Cron = "0 3 * * *" })
	w.condition(fn, v1alpha1.ConditionTriggersReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
	if got := w.cron(); got != "0 3 * * *" {
		t.Errorf("mended, the clock is set by %q", got)
	}
	change(w, fn, func(fn *v1alpha1.Function) { fn.Spec.Triggers = fn.Spec.Triggers[1:] })
	w.eventually("the clock goes with its trigger", func() bool { return w.cron() == "" })
}
