package bus_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/serviceful/serviceful/operator/api/v1alpha1"
	"github.com/serviceful/serviceful/operator/internal/bus"
	"github.com/serviceful/serviceful/operator/internal/envelope"
	"github.com/serviceful/serviceful/operator/internal/wiring"
)

func startingFrom(t v1alpha1.Trigger, from string) v1alpha1.Trigger {
	t.Delivery = &v1alpha1.Delivery{StartFrom: &from}
	return t
}

func TestStartFrom(t *testing.T) {
	b := start(t, onEvent("first", "a.b"))
	publish(t, b, newEvent("a.b", "1"))
	between := time.Now()
	publish(t, b, newEvent("a.b", "2"))
	all, since := startingFrom(onEvent("all", "a.b"), "All"), startingFrom(onEvent("since", "a.b"), between.Format(time.RFC3339Nano))
	long := startingFrom(onEvent("long", "a.b"), "2020-01-01T00:00:00+01:00")
	layOut(t, b, onEvent("first", "a.b"), all, since, long)
	for trigger, want := range map[string][]string{
		"all": {"data of 1", "data of 2"}, "since": {"data of 2"}, "long": {"data of 1", "data of 2"},
	} {
		if got := receiveAndAck(t, b, "EV_shop", "offers_"+trigger, len(want)); !slices.Equal(got, want) {
			t.Errorf("%s got %q, want %q", trigger, got, want)
		}
	}
	layOut(t, b, onEvent("first", "a.b"), startingFrom(all, "New"), since, long) // it has started already

	s, err := bus.Layout{Bus: b}.Survey(t.Context(), shop, &wiring.Snapshot{}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for trigger, late := range map[string]bool{"first": false, "all": false, "since": false, "long": true} {
		if got := s.Triggers["EV_shop/offers_"+trigger].Late; got != late {
			t.Errorf("%s: late %v", trigger, got)
		}
	}
}

func pausing(t v1alpha1.Trigger) v1alpha1.Trigger {
	t.Paused = true
	return t
}

func TestPause(t *testing.T) {
	b := start(t, onCall("redeem"), onCall("other"), pausing(onCall("born")))
	made := since(t, b, "redeem")
	layOut(t, b, pausing(onCall("redeem")), onCall("other"), pausing(onCall("born")))
	layOut(t, b, pausing(onCall("redeem")), onCall("other"), pausing(onCall("born")))
	store(t, b, call("1", "waits"))
	got := make(chan *bus.Delivered, 1)
	stop, err := b.Consume(t.Context(), "WORK_shop", "offers_redeem", 100, func(d *bus.Delivered) { got <- d })
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	// A server that hands it out would have done so by the time that it has made
	// another consumer and handed out its message.
	other := call("2", "goes")
	other.Subject = "work.shop.call.offers.other.2"
	store(t, b, other)
	receiveAndAck(t, b, "WORK_shop", "offers_other", 1)
	select {
	case <-got:
		t.Fatal("a paused trigger got a call")
	default:
	}
	if now := since(t, b, "redeem"); !now.Equal(made) {
		t.Errorf("it calls since %s, was made at %s", now, made)
	}

	resumed := time.Now()
	layOut(t, b, onCall("redeem"), onCall("other"), onCall("born"))
	select {
	case d := <-got:
		if string(d.Body) != "waits" {
			t.Errorf("it got %q", d.Body)
		}
	case <-time.After(10 * time.Second): // who pulls asks again after half a minute, and lives on every quarter
		t.Fatal("what waited is not handed out, though the trigger was resumed")
	}
	for _, trigger := range []string{"redeem", "born"} {
		if now := since(t, b, trigger); now.Before(resumed.Add(-time.Millisecond)) {
			t.Errorf("%s calls since %s, was resumed after %s", trigger, now, resumed)
		}
	}
	first := since(t, b, "redeem")
	layOut(t, b, onCall("redeem"), onCall("other"), onCall("born"))
	if now := since(t, b, "redeem"); !now.Equal(first) {
		t.Errorf("a look at it has changed since when it calls, from %s to %s", first, now)
	}
}

func since(t *testing.T, b *bus.Bus, trigger string) time.Time {
	t.Helper()
	at, err := b.Since(t.Context(), "WORK_shop", "offers_"+trigger)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// TestPauseOutlivesARestart has a server forget nothing of it.
func TestPauseOutlivesARestart(t *testing.T) {
	dir := t.TempDir()
	_, b, stop := serve(t, bus.EmbeddedConfig{Dir: dir})
	layOut(t, b, pausing(onCall("redeem")))
	store(t, b, call("1", "waits"))
	stop()
	s, b, stop := serve(t, bus.EmbeddedConfig{Dir: dir})
	defer stop()
	c, err := raw(t, s).Consumer(t.Context(), "WORK_shop", "offers_redeem")
	if err != nil {
		t.Fatal(err)
	}
	if info := c.CachedInfo(); !info.Paused || info.PauseRemaining < 365*24*time.Hour {
		t.Errorf("paused %v, for %s", info.Paused, info.PauseRemaining)
	}
	layOut(t, b, onCall("redeem"))
	receiveAndAck(t, b, "WORK_shop", "offers_redeem", 1)
}

func onQueue(name, queue string) v1alpha1.Trigger {
	return v1alpha1.Trigger{Name: name, Queue: &v1alpha1.QueueSource{Name: queue}}
}

// TestQueueHandedOver has a queue's trigger be another one: it is held until the one
// before is retired, and holds up no other.
func TestQueueHandedOver(t *testing.T) {
	b := start(t, onQueue("old", "jobs"))
	store(t, b, envelope.New("work.shop.queue.jobs.1", []byte("a job")))
	s := wiring.Compile([]v1alpha1.Function{function(onQueue("new", "jobs"), onEvent("other", "a.b"))}, wiring.Hosts{Any: true})
	l := bus.Layout{Bus: b}
	if err := l.Apply(t.Context(), s); !errors.Is(err, bus.ErrQueueHeld) {
		t.Fatalf("two have the queue: %v", err)
	}
	publish(t, b, newEvent("a.b", "1"))
	receiveAndAck(t, b, "EV_shop", "offers_other", 1)
	orphans, err := l.Orphans(t.Context(), shop, s)
	if err != nil || len(orphans) != 1 || orphans[0].Trigger != "old" {
		t.Fatalf("gone are %+v: %v", orphans, err)
	}
	if _, err := l.Retire(t.Context(), orphans[0], time.Now()); err != nil {
		t.Fatal(err)
	}
	if err := l.Apply(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	if got := receiveAndAck(t, b, "WORK_shop", "offers_new", 1); got[0] != "a job" {
		t.Errorf("it got %q", got)
	}
}

// TestQueuesChangePlaces has neither of two triggers wait for the other for ever.
func TestQueuesChangePlaces(t *testing.T) {
	b := start(t, onQueue("a", "one"), onQueue("b", "two"))
	s := wiring.Compile([]v1alpha1.Function{function(onQueue("a", "two"), onQueue("b", "one"))}, wiring.Hosts{Any: true})
	l := bus.Layout{Bus: b}
	err := l.Apply(t.Context(), s)
	for range 2 {
		if errors.Is(err, bus.ErrQueueHeld) {
			err = l.Apply(t.Context(), s)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	store(t, b, envelope.New("work.shop.queue.two.1", []byte("of two")))
	if got := receiveAndAck(t, b, "WORK_shop", "offers_a", 1); got[0] != "of two" {
		t.Errorf("it got %q", got)
	}
}
