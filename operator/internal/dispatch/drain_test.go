package dispatch_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/serviceful/serviceful/operator/api/v1alpha1"
)

// longCalls is a rig whose trigger "long" is in a call of one event of two, with
// another one to make, until end is closed. Calls of all others end at once.
func longCalls(t *testing.T, grace time.Duration) (r *rig, g *gauge, end chan struct{}) {
	t.Helper()
	g, end = new(gauge), make(chan struct{})
	long := g.around(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-end:
		case <-r.Context().Done():
		}
	})
	r = newRig(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Serviceful-Trigger") == "long" {
			long(w, r)
		}
	}, []v1alpha1.Trigger{onlyOne("long"), onEvent("kept", quick(), "in.a")}, patient, func(r *rig) { r.config.Grace = grace })
	r.publish(newEvent("in.a", "1"))
	eventually(t, "a long call is under way", func() bool { now, _ := g.read(); return now == 1 })
	return r, g, end
}

// onlyOne is a trigger of which one call may be under way, and whose consumer hands
// out more than one message.
func onlyOne(name string) v1alpha1.Trigger {
	size := int32(10)
	return onEvent(name, quick(concurrency(1), func(d *v1alpha1.Delivery) { d.Batch = &v1alpha1.Batch{Size: &size} }), "in.a")
}

// change has the dispatcher take triggers in, which must not wait for a call.
func (r *rig) change(triggers ...v1alpha1.Trigger) {
	r.t.Helper()
	r.apply(triggers...)
	done := make(chan error, 1)
	go func() { done <- r.dispatcher.Apply(r.t.Context(), r.snapshot.Load()) }()
	eventually(r.t, "the triggers are taken in", func() bool { return len(done) == 1 })
	if err := <-done; err != nil {
		r.t.Fatal(err)
	}
}

// countCalls are the calls by a trigger.
func (r *rig) countCalls(trigger string) (n int) {
	for _, c := range r.function.calls() {
		if c.header.Get("Serviceful-Trigger") == trigger {
			n++
		}
	}
	return n
}

// A long call of a trigger that is removed keeps no other one waiting, and ends.
func TestApplyWaitsForNoCall(t *testing.T) {
	r, _, end := longCalls(t, time.Hour)
	kept := onEvent("kept", quick(), "in.a")
	r.change(kept, onEvent("added", quick(), "in.a"))
	r.publish(newEvent("in.a", "2"))
	eventually(t, "both others are called", func() bool { return r.countCalls("kept") == 2 && r.countCalls("added") == 1 })
	const removed = "EV_shop/offers_long"
	if !r.dispatcher.Uses(removed) {
		t.Error("nobody uses what is called")
	}
	close(end)
	eventually(t, "the removed one has ended", func() bool { return !r.dispatcher.Uses(removed) })
	eventually(t, "its call is settled", func() bool { return r.consumer("EV_shop", "offers_long").NumAckPending == 0 })
	if n := r.countCalls("long"); n != 1 {
		t.Errorf("%d calls of the removed trigger", n)
	}
}

// A trigger that is removed and comes back while its calls end goes on when they
// have, so that there are never more than its concurrency.
func TestRemovedAndAddedAgain(t *testing.T) {
	r, g, end := longCalls(t, time.Hour)
	kept := onEvent("kept", quick(), "in.a")
	for range 3 { // however often
		r.change(kept)
		r.change(kept, onlyOne("long"))
	}
	r.publish(newEvent("in.a", "2"), newEvent("in.a", "3"))
	eventually(t, "the other one has all", func() bool { return r.countCalls("kept") == 3 })
	close(end)
	r.settled()
	if _, most := g.read(); most != 1 {
		t.Errorf("%d calls at once", most)
	}
	if n := r.countCalls("long"); n != 2 && n != 3 { // a batch of both, or one each
		t.Errorf("%d calls", n)
	}
}

// It does not wait for longer than Grace.
func TestAddedAgainAfterGrace(t *testing.T) {
	r, g, _ := longCalls(t, 100*time.Millisecond)
	kept := onEvent("kept", quick(), "in.a")
	r.change(kept)
	r.change(kept, onlyOne("long"))
	eventually(t, "the call that was broken off is made again", func() bool { return r.countCalls("long") == 2 })
	if now, _ := g.read(); now > 2 { // the one that was broken off may not have heard of it
		t.Errorf("%d calls under way", now)
	}
}

// One that comes back with an order gets a worker of another sort, in its turn.
func TestOrderedWhileCallsEnd(t *testing.T) {
	r, g, end := longCalls(t, time.Hour)
	attribute := "source"
	ordered := onEvent("long", quick(concurrency(1), func(d *v1alpha1.Delivery) { d.OrderBy = &attribute }), "in.a")
	r.change(onEvent("kept", quick(), "in.a"), ordered)
	r.publish(newEvent("in.a", "2"))
	eventually(t, "the other one has all", func() bool { return r.countCalls("kept") == 2 })
	close(end)
	r.settled()
	if _, most := g.read(); most != 1 || r.countCalls("long") != 2 {
		t.Errorf("%d calls at once, %d in all", most, r.countCalls("long"))
	}
}

// Stop waits for what was removed before, too, and for no longer than its context.
func TestStopWaitsForRemoved(t *testing.T) {
	r, g, end := longCalls(t, time.Hour)
	r.change(onEvent("kept", quick(), "in.a"))
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		r.dispatcher.Stop(context.WithoutCancel(t.Context()))
	}()
	eventually(t, "nothing is pulled", func() bool { return r.consumer("EV_shop", "offers_kept").NumWaiting == 0 })
	select {
	case <-stopped:
		t.Error("it stopped while a call was under way")
	default:
	}
	close(end)
	<-stopped
	if now, _ := g.read(); now != 0 {
		t.Errorf("%d calls under way", now)
	}
}

func TestStopBreaksRemovedOff(t *testing.T) {
	r, _, _ := longCalls(t, time.Hour)
	r.change(onEvent("kept", quick(), "in.a"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r.dispatcher.Stop(ctx)
	if r.dispatcher.Uses("EV_shop/offers_long") {
		t.Error("it is called still")
	}
}
