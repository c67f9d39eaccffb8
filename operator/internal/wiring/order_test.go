package wiring

import (
	"testing"

	"github.com/serviceful/serviceful/operator/api/v1alpha1"
)

// What is called in order is held in great numbers, whatever may be called at once.
func TestOrderBy(t *testing.T) {
	by, concurrency, size := "subject", int32(3), int32(10)
	f := v1alpha1.Function{}
	f.Namespace, f.Name = "shop", "offers"
	f.Spec.Triggers = []v1alpha1.Trigger{
		{Name: "event", Event: &v1alpha1.EventSource{Types: []string{"a.b"}}, Delivery: &v1alpha1.Delivery{OrderBy: &by, Concurrency: &concurrency}},
		{Name: "plain", Event: &v1alpha1.EventSource{Types: []string{"a.b"}}, Delivery: &v1alpha1.Delivery{Concurrency: &concurrency}},
		{Name: "queue", Queue: &v1alpha1.QueueSource{Name: "jobs"}, Delivery: &v1alpha1.Delivery{OrderBy: &by, Concurrency: &concurrency, Batch: &v1alpha1.Batch{Size: &size}}},
	}
	want := map[string]struct {
		orderBy  string
		inFlight int
	}{"event": {by, 10_000}, "plain": {"", 3}, "queue": {by, 10_000}}
	for _, s := range Compile([]v1alpha1.Function{f}, Hosts{Any: true}).Subscriptions {
		w, ok := want[s.Trigger]
		if !ok { // the mail's
			continue
		}
		if s.OrderBy != w.orderBy || s.InFlight() != w.inFlight || s.Concurrency != 3 {
			t.Errorf("%s: by %q, %d in flight, %d calls", s.Trigger, s.OrderBy, s.InFlight(), s.Concurrency)
		}
		delete(want, s.Trigger)
	}
	if len(want) > 0 {
		t.Errorf("without a subscription: %v", want)
	}
}
