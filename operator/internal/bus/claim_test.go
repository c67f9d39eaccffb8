package bus_test

import (
	"errors"
	"maps"
	"slices"
	"testing"

	"github.com/serviceful/serviceful/operator/api/v1alpha1"
	"github.com/serviceful/serviceful/operator/internal/bus"
	"github.com/serviceful/serviceful/operator/internal/order"
)

func TestClaim(t *testing.T) {
	b := start(t, onEvent("welcome", "a.b"))
	claim := func() order.Claim {
		t.Helper()
		c, err := b.Claim(t.Context(), offers, "welcome")
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	store := func(c order.Claim) (uint64, error) {
		t.Helper()
		return b.StoreClaim(t.Context(), offers, "welcome", c)
	}
	if c := claim(); c.Holder != "" || c.Revision != 0 || len(c.Tried) != 0 {
		t.Errorf("at first: %+v", c)
	}
	tried := map[uint64]order.Tried{7: {Attempts: 2, Tries: 3}}
	revision, err := store(order.Claim{Holder: "one", Tried: tried})
	if c := claim(); err != nil || c.Holder != "one" || c.Revision != revision || !maps.Equal(c.Tried, tried) {
		t.Errorf("stored: %+v, %v", c, err)
	}
	for _, other := range []uint64{0, revision + 1} {
		if _, err := store(order.Claim{Holder: "two", Revision: other}); !errors.Is(err, bus.ErrConflict) {
			t.Errorf("on condition of revision %d: %v", other, err)
		}
	}
	next, err := store(order.Claim{Revision: revision})
	if c := claim(); err != nil || next <= revision || c.Holder != "" || len(c.Tried) != 0 {
		t.Errorf("left: %+v, %v", c, err)
	}
}

func inOrder(t v1alpha1.Trigger, concurrency int32) v1alpha1.Trigger {
	by := "subject"
	t.Delivery = &v1alpha1.Delivery{OrderBy: &by, Concurrency: &concurrency}
	return t
}

// An ordered trigger holds many and calls few; that can be changed at any time.
func TestOrderedConsumer(t *testing.T) {
	b := start(t, inOrder(onEvent("welcome", "a.b"), 2))
	publish(t, b, someEvents("a.b", 7)...)
	receive(t, b, "EV_shop", "offers_welcome", 7)
	state := func() bus.TriggerState { return survey(t, b).Triggers["EV_shop/offers_welcome"] }
	if s := state(); s.InFlight != 2 || s.Pending != 5 {
		t.Errorf("of 7 messages that were handed out, 2 are called: %+v", s)
	}
	layOut(t, b, inOrder(onEvent("welcome", "a.b"), 4))
	if s := state(); s.InFlight != 4 || s.Pending != 3 {
		t.Errorf("4 calls: %+v", s)
	}
	layOut(t, b, onEvent("welcome", "a.b"))
	if s := state(); s.InFlight != 7 || s.Pending != 0 {
		t.Errorf("without order: %+v", s)
	}
	layOut(t, b, inOrder(onEvent("welcome", "a.b"), 1))
	if s := state(); s.InFlight != 1 || s.Pending != 6 {
		t.Errorf("in order again: %+v", s)
	}
}

func TestOutstanding(t *testing.T) {
	b := start(t, onEvent("welcome", "a.b"))
	publish(t, b, someEvents("a.b", 3)...)
	look := func() bus.Outstanding {
		t.Helper()
		out, err := b.Outstanding(t.Context(), "EV_shop", "offers_welcome")
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	if out := look(); out.Count != 0 || out.Delivery != 0 || out.Made.IsZero() {
		t.Errorf("at first: %+v", out)
	}
	got := receive(t, b, "EV_shop", "offers_welcome", 3)
	for i, d := range got {
		if d.Delivery != uint64(i+1) || d.Deliveries != 1 {
			t.Errorf("message %d is delivery %d, for the %d. time", i, d.Delivery, d.Deliveries)
		}
	}
	for range 2 { // the second finds it done
		if err := got[1].AckConfirmed(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if out := look(); out.Count != 2 || out.Delivery != 3 {
		t.Errorf("one of three is settled: %+v", out)
	}
	if _, err := b.Outstanding(t.Context(), "EV_shop", "offers_gone"); !errors.Is(err, bus.ErrNotFound) {
		t.Errorf("of a consumer that is not there: %v", err)
	}
}

// What was dropped of a message is read again.
func TestFetch(t *testing.T) {
	b := start(t, onEvent("welcome", "a.b"))
	publish(t, b, newEvent("a.b", "1"))
	d := receive(t, b, "EV_shop", "offers_welcome", 1)[0]
	header, body := maps.Clone(d.Header), slices.Clone(d.Body)
	d.Drop()
	if d.Header != nil || d.Body != nil {
		t.Errorf("after Drop: %v, %q", d.Header, d.Body)
	}
	if err := d.Fetch(t.Context(), "EV_shop"); err != nil || string(d.Body) != string(body) || d.Header.Get("ce-id") != header["ce-id"][0] {
		t.Errorf("after Fetch: %v, %q, %v", d.Header, d.Body, err)
	}
	if err := b.Delete(t.Context(), "EV_shop", d.Sequence); err != nil {
		t.Fatal(err)
	}
	if err := d.Fetch(t.Context(), "EV_shop"); !errors.Is(err, bus.ErrNotFound) {
		t.Errorf("of a message that is gone: %v", err)
	}
}
