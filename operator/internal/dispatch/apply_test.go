package dispatch_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/serviceful/serviceful/operator/api/v1alpha1"
	"github.com/serviceful/serviceful/operator/internal/dispatch"
	"github.com/serviceful/serviceful/operator/internal/event"
)

func TestApply(t *testing.T) {
	r := newRig(t, status(200), []v1alpha1.Trigger{onEvent("kept", quick(), "in.a"), onEvent("removed", quick(), "in.a")})
	r.publish(newEvent("in.a", "1"))
	eventually(t, "both are called", func() bool { return len(r.function.calls()) == 2 })
	r.settled()

	changed := onEvent("kept", quick(), "in.a")
	changed.Path = "/elsewhere"
	r.apply(changed, onEvent("added", quick(), "in.a"))
	r.dispatch()
	eventually(t, "the removed trigger is not pulled any more", func() bool { return !r.dispatcher.Uses("EV_shop/offers_removed") })
	r.publish(newEvent("in.a", "2"))
	eventually(t, "the other two are called", func() bool { return len(r.function.calls()) == 4 })
	r.settled()
	targets := []string{}
	for _, c := range r.function.calls()[2:] {
		targets = append(targets, c.target)
	}
	slices.Sort(targets)
	if !slices.Equal(targets, []string{"/elsewhere", "/on/added"}) {
		t.Errorf("called at %q", targets)
	}
	if info := r.consumer("EV_shop", "offers_removed"); info.NumPending != 1 || info.NumAckPending != 0 || info.NumWaiting != 0 {
		t.Errorf("the removed trigger has %d pending, %d at work, %d pulls", info.NumPending, info.NumAckPending, info.NumWaiting)
	}

	r.apply(onEvent("kept", quick(), "in.a"), onEvent("removed", quick(), "in.a")) // and back
	r.dispatch()
	eventually(t, "what waited is delivered", func() bool { return len(r.function.calls()) == 5 })
}

// Messages in flight, before and after a change: none is lost, and from the
// change on all go the new way.
func TestApplyUnderLoad(t *testing.T) {
	const rounds, perRound = 10, 40
	r := newRig(t, status(200), []v1alpha1.Trigger{onEvent("welcome", quick(), "in.a"), onEvent("flickers", quick(), "in.a")}, withAckWait)
	var publishing sync.WaitGroup
	publishing.Go(func() {
		for i := range rounds * perRound {
			if err := r.bus.PublishEvents(t.Context(), shop, []*event.Event{newEvent("in.a", fmt.Sprint(i))}); err != nil {
				t.Error(err)
			}
		}
	})
	for i := range rounds {
		eventually(t, "some have come", func() bool { return len(r.function.calls()) > i*perRound })
		changed := onEvent("welcome", quick(concurrency(int32(1+i))), "in.a")
		changed.Path = fmt.Sprint("/round/", i)
		triggers := []v1alpha1.Trigger{changed}
		if i%2 == 1 {
			triggers = append(triggers, onEvent("flickers", quick(), "in.a"))
		}
		r.apply(triggers...)
		r.dispatch()
	}
	publishing.Wait()
	missing := func() (out []string) {
		seen := map[string]map[string]bool{"welcome": {}, "flickers": {}}
		for _, c := range r.function.calls() {
			seen[c.header.Get("Serviceful-Trigger")][c.header.Get("Ce-Id")] = true
		}
		for trigger, ids := range seen {
			if len(ids) < rounds*perRound {
				out = append(out, fmt.Sprintf("%s got %d of %d events", trigger, len(ids), rounds*perRound))
			}
		}
		return out
	}
	eventually(t, "both have all events", func() bool { return len(missing()) == 0 })
	r.publish(newEvent("in.a", "marker"))
	marked := func() (targets []string) {
		for _, c := range r.function.calls() {
			if c.header.Get("Ce-Id") == "marker" {
				targets = append(targets, c.target)
			}
		}
		slices.Sort(targets)
		return slices.Compact(targets)
	}
	eventually(t, "after the last change both are called as it says", func() bool { return slices.Equal(marked(), []string{"/on/flickers", "/round/9"}) })
}

// A subscription whose consumer is not there yet does not keep others from
// working, and works as soon as it is.
func TestApplyBeforeTheConsumerIsThere(t *testing.T) {
	r := newRig(t, status(200), []v1alpha1.Trigger{onEvent("first", quick(), "in.a")})
	r.apply(onEvent("first", quick(), "in.a"), onEvent("second", quick(), "in.a"))
	stream, err := r.js.Stream(t.Context(), "EV_shop")
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.DeleteConsumer(t.Context(), "offers_second"); err != nil {
		t.Fatal(err)
	}
	if err := r.dispatcher.Apply(t.Context(), r.snapshot.Load()); err == nil {
		t.Error("no word of the missing consumer")
	}
	r.publish(newEvent("in.a", "1"))
	eventually(t, "the first is called", func() bool { return len(r.function.calls()) == 1 })
	if err := r.layout.Apply(t.Context(), r.snapshot.Load()); err != nil {
		t.Fatal(err)
	}
	r.dispatch()
	r.publish(newEvent("in.a", "2"))
	eventually(t, "both are called", func() bool { return len(r.function.calls()) == 3 })
}

// patient makes nothing come back by itself while a test runs.
func patient(r *rig) { r.layout.AckWait, r.config.AckWait = time.Hour, time.Hour }

// What waits for an instance when the dispatcher stops goes to the next one at
// once, and no attempt is counted.
func TestStopHandsBackWhatWaits(t *testing.T) {
	const messages = 20
	var starting sync.WaitGroup
	starting.Add(2 * messages)
	r := newRig(t, status(200), []v1alpha1.Trigger{onEvent("welcome", quick(), "in.a"), onCall("redeem", quick())}, patient, func(r *rig) {
		r.world.acquire = func(ctx context.Context) (string, error) {
			starting.Done()
			<-ctx.Done()
			return "", ctx.Err()
		}
	})
	r.publish(someEvents(messages)...)
	for i := range messages {
		r.accept(fmt.Sprint(i))
	}
	starting.Wait()
	r.dispatcher.Stop(t.Context())
	r.world.acquire = func(context.Context) (string, error) { return r.function.address(), nil }
	r.start()
	r.settled()
	calls := r.function.calls()
	for _, c := range calls {
		if a := c.header.Get("Serviceful-Attempt"); a != "1" {
			t.Errorf("attempt %s", a)
		}
	}
	if len(calls) != 2*messages {
		t.Errorf("%d calls of %d messages", len(calls), 2*messages)
	}
}

func TestStopLetsCallsEnd(t *testing.T) {
	const messages = 20
	var g gauge
	finish := make(chan struct{})
	r := newRig(t, g.around(func(http.ResponseWriter, *http.Request) { <-finish }), []v1alpha1.Trigger{onEvent("welcome", quick(), "in.a")})
	r.publish(someEvents(messages)...)
	eventually(t, "all are called", func() bool { now, _ := g.read(); return now == messages })
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		r.dispatcher.Stop(t.Context())
	}()
	eventually(t, "it pulls no more", func() bool { return r.consumer("EV_shop", "offers_welcome").NumWaiting == 0 })
	r.publish(newEvent("in.a", "later"))
	select {
	case <-stopped:
		t.Error("it stopped while calls were under way")
	default:
	}
	close(finish)
	<-stopped
	if info := r.consumer("EV_shop", "offers_welcome"); info.NumPending != 1 || len(r.function.calls()) != messages {
		t.Errorf("%d pending, %d calls", info.NumPending, len(r.function.calls()))
	}
	eventually(t, "the calls are settled", func() bool { return r.consumer("EV_shop", "offers_welcome").NumAckPending == 0 })
	r.start()
	r.settled()
	if n := len(r.function.calls()); n != messages+1 {
		t.Errorf("%d calls of %d messages", n, messages+1)
	}
}

// Calls that outlast Grace are broken off and made again.
func TestStopBreaksLongCallsOff(t *testing.T) {
	const messages = 20
	var g gauge
	r := newRig(t, g.around(hang), []v1alpha1.Trigger{onEvent("welcome", quick(), "in.a")}, patient, func(r *rig) { r.config.Grace = 100 * time.Millisecond })
	r.publish(someEvents(messages)...)
	eventually(t, "all are called", func() bool { now, _ := g.read(); return now == messages })
	stopping := time.Now()
	r.dispatcher.Stop(t.Context())
	if took := time.Since(stopping); took < r.config.Grace {
		t.Errorf("stopping took %v", took)
	}
	r.start()
	eventually(t, "all are called again", func() bool { return len(r.function.calls()) == 2*messages })
}

// Who stops it may have less time than Grace.
func TestStopEndsWithItsContext(t *testing.T) {
	var g gauge
	r := newRig(t, g.around(hang), []v1alpha1.Trigger{onEvent("welcome", quick(), "in.a")}, patient, func(r *rig) { r.config.Grace = time.Hour })
	r.publish(someEvents(1)...)
	eventually(t, "it is called", func() bool { now, _ := g.read(); return now == 1 })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r.dispatcher.Stop(ctx)
}

// A server that is away does not keep the dispatcher from stopping.
func TestStopWithoutAServer(t *testing.T) {
	var g gauge
	finish := make(chan struct{})
	r := newRig(t, g.around(func(http.ResponseWriter, *http.Request) { <-finish }), []v1alpha1.Trigger{onEvent("welcome", quick(), "in.a")},
		func(r *rig) { r.config.Grace = 100 * time.Millisecond })
	r.publish(someEvents(5)...)
	eventually(t, "all are called", func() bool { now, _ := g.read(); return now == 5 })
	r.server.Stop()
	close(finish) // now they can be settled no more
	r.dispatcher.Stop(t.Context())
}

func TestConfigIsComplete(t *testing.T) {
	if _, err := dispatch.New(dispatch.Config{}); err == nil {
		t.Error("a dispatcher of nothing")
	}
}
