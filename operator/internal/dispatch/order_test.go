package dispatch_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/serviceful/serviceful/operator/api/v1alpha1"
	"github.com/serviceful/serviceful/operator/internal/envelope"
	"github.com/serviceful/serviceful/operator/internal/event"
	"github.com/serviceful/serviceful/operator/internal/names"
)

// good answers every event well.
func good(string, int) int { return http.StatusNoContent }

func TestOrder(t *testing.T) {
	const members, each = 20, 25
	w := newWitness(t, good)
	r := newRig(t, w.ServeHTTP, []v1alpha1.Trigger{onEvent("welcome", inOrder(concurrency(8)), "in.a")})
	r.publish(steps(members, each)...)
	r.settled()
	w.wantAll(members, each)
	if w.count() != members*each {
		t.Errorf("%d calls", w.count())
	}
}

// What fails blocks its own value only, and is called again in its place until it
// is dead; then the next one goes.
func TestOrderOfFailures(t *testing.T) {
	const each = 5
	var failing atomic.Bool
	failing.Store(true)
	w := newWitness(t, func(member string, n int) int {
		switch {
		case member == "m0" && n == 1 && failing.Load():
			return http.StatusInternalServerError
		case member == "m1" && n == 2:
			return http.StatusBadRequest
		}
		return http.StatusOK
	})
	r := newRig(t, w.ServeHTTP, []v1alpha1.Trigger{onEvent("welcome", inOrder(retry(10_000)), "in.a")})
	r.publish(steps(3, each)...)
	eventually(t, "the others are done", func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return len(w.ended["m1"]) == each && len(w.ended["m2"]) == each && w.calls > 2*each+5
	})
	if info := r.consumer("EV_shop", "offers_welcome"); info.NumAckPending != each-1 || r.putOff("RETRY_shop") != 0 {
		t.Errorf("%d are held and %d put off", info.NumAckPending, r.putOff("RETRY_shop"))
	}
	failing.Store(false)
	r.settled()
	w.wantAll(3, each)
	letters := r.letters()
	if d := letters["event m1/2"]; len(letters) != 1 || len(d) != 1 || d[0].Attempts != 1 {
		t.Errorf("the dead letters are %+v", letters)
	}
}

// Used up retries are counted as without order, and tell of the last try.
func TestOrderOfTheDead(t *testing.T) {
	var calls atomic.Int64
	r := newRig(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Ce-Id") != "m0/0" {
			return
		}
		if got := r.Header.Get("Serviceful-Attempt"); got != fmt.Sprint(calls.Add(1)) {
			t.Errorf("call %d has attempt %s", calls.Load(), got)
		}
		w.WriteHeader(http.StatusServiceUnavailable)
	}, []v1alpha1.Trigger{onEvent("welcome", inOrder(retry(3)), "in.a")})
	r.publish(steps(1, 3)...)
	r.settled()
	if d := r.letters()["event m0/0"]; len(d) != 1 || d[0].Attempts != 4 || d[0].Last == nil || d[0].Last.Status != 503 {
		t.Errorf("the dead letter is %+v", d)
	}
	if n := len(r.function.calls()); n != 6 {
		t.Errorf("%d calls", n)
	}
}

// An event without the attribute is its own value, and so is one that the filters
// do not let pass.
func TestOrderWithoutAValue(t *testing.T) {
	blocked := make(chan struct{})
	r := newRig(t, func(_ http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Ce-Id") == "m0/0" {
			<-blocked
		}
	}, []v1alpha1.Trigger{onEvent("welcome", inOrder(), "in.a")})
	r.publish(step("m0", 0), newEvent("in.a", "1"), newEvent("in.a", "2"), step("m0", 1))
	eventually(t, "those without a member are called", func() bool { return len(r.function.calls()) == 3 })
	close(blocked)
	r.settled()
	if ids := r.function.calls()[3].header.Get("Ce-Id"); ids != "m0/1" {
		t.Errorf("the last call is of %s", ids)
	}
}

// Messages of a queue are ordered by what they have: their source is the queue's.
func TestOrderOfAQueue(t *testing.T) {
	var g gauge
	trigger := v1alpha1.Trigger{Name: "jobs", Queue: &v1alpha1.QueueSource{Name: "resize"}, Delivery: quick(orderBy("source"), concurrency(10))}
	r := newRig(t, g.around(status(200)), []v1alpha1.Trigger{trigger})
	for i := range 20 {
		e := &event.Event{Attributes: []event.Attribute{
			{Name: "specversion", Value: "1.0"}, {Name: "id", Value: fmt.Sprint(i)}, {Name: "source", Value: "/queues/resize"}, {Name: "type", Value: "dev.serviceful.queue.message.v1"},
		}}
		m := envelope.New(names.QueueMessage(shop, "resize", fmt.Sprint(i)), nil)
		e.ToStored(m.Header)
		r.store(m)
	}
	r.settled()
	if _, most := g.read(); most != 1 {
		t.Errorf("%d calls at once", most)
	}
	for i, c := range r.function.calls() {
		if id := c.header.Get("Ce-Id"); id != fmt.Sprint(i) {
			t.Errorf("call %d is of message %s", i, id)
		}
	}
}

// The calls of a trigger are bounded as without order, and the bound can be raised.
func TestOrderedConcurrency(t *testing.T) {
	var g gauge
	done := make(chan struct{})
	r := newRig(t, g.around(func(http.ResponseWriter, *http.Request) { <-done }), []v1alpha1.Trigger{onEvent("welcome", inOrder(concurrency(3)), "in.a")})
	r.publish(steps(30, 2)...)
	eventually(t, "three are called", func() bool { now, _ := g.read(); return now == 3 })
	r.apply(onEvent("welcome", inOrder(concurrency(7)), "in.a"))
	r.dispatch()
	eventually(t, "seven are called", func() bool { now, _ := g.read(); return now == 7 })
	close(done)
	r.settled()
	if _, most := g.read(); most != 7 {
		t.Errorf("%d calls at once", most)
	}
}

// A failing head holds what follows it; however little memory there is, all are
// held, those of other values are called, and in the end the held ones too.
func TestOrderHoldsMany(t *testing.T) {
	const followers = 300
	for name, memory := range map[string]int64{"plenty": 0, "little": 200 << 10, "one byte": 1} {
		t.Run(name, func(t *testing.T) {
			var failing atomic.Bool
			failing.Store(true)
			w := newWitness(t, func(member string, _ int) int {
				if member == "m0" && failing.Load() {
					return http.StatusInternalServerError
				}
				return http.StatusOK
			})
			r := newRig(t, w.ServeHTTP, []v1alpha1.Trigger{onEvent("welcome", inOrder(retry(10_000), backoff("PT0.2S")), "in.a"), onEvent("other", quick(), "in.b")},
				func(r *rig) { r.config.Memory = memory })
			for n := range followers {
				e := step("m0", n)
				e.Data = make([]byte, 4<<10)
				r.publish(e)
			}
			eventually(t, "all are held", func() bool { return r.consumer("EV_shop", "offers_welcome").NumAckPending == followers })
			r.publish(step("m1", 0), newEvent("in.b", "m9/0"))
			eventually(t, "the others are called", func() bool {
				w.mu.Lock()
				defer w.mu.Unlock()
				return w.ended["m1"][0] && w.ended["m9"][0]
			})
			failing.Store(false)
			r.settled()
			w.wantAll(1, followers)
		})
	}
}

// A trigger that is paused is not called, also not for what was held; and goes on
// where it was, with its attempts.
func TestPausedInOrder(t *testing.T) {
	var failing atomic.Bool
	failing.Store(true)
	w := newWitness(t, func(string, int) int {
		if failing.Load() {
			return http.StatusInternalServerError
		}
		return http.StatusOK
	})
	trigger := onEvent("welcome", inOrder(retry(10_000)), "in.a")
	r := newRig(t, w.ServeHTTP, []v1alpha1.Trigger{trigger}, withAckWait)
	r.publish(steps(2, 4)...)
	eventually(t, "some calls", func() bool { return w.count() > 6 })
	paused := trigger
	paused.Paused = true
	r.apply(paused)
	r.dispatch()
	claim := func() string {
		c, err := r.bus.Claim(t.Context(), offers, "welcome")
		if err != nil {
			t.Fatal(err)
		}
		return c.Holder
	}
	eventually(t, "it is left", func() bool { return claim() == "" })
	before := w.count()
	failing.Store(false)
	time.Sleep(3 * r.config.AckWait / 2) // long enough for what was held to come back
	if n := w.count(); n != before {
		t.Errorf("%d calls while it was paused", n-before)
	}
	r.apply(trigger)
	r.dispatch()
	r.settled()
	w.wantAll(2, 4)
	calls := r.function.calls()
	if attempt := calls[before].header.Get("Serviceful-Attempt"); attempt < "2" {
		t.Errorf("the first call after it has attempt %s", attempt)
	}
}

// Order can be switched on and off while there is work: nothing is lost, and at
// the end it is kept again.
func TestOrderIsSwitched(t *testing.T) {
	const members, each = 10, 30
	w := newWitness(t, good)
	var ordered atomic.Bool
	seen := &sync.Map{}
	r := newRig(t, func(rw http.ResponseWriter, req *http.Request) {
		seen.Store(req.Header.Get("Ce-Id"), true)
		if ordered.Load() {
			w.ServeHTTP(rw, req)
		}
	}, []v1alpha1.Trigger{onEvent("welcome", quick(), "in.a")}, withAckWait)
	for i := range each {
		r.publish(steps(members, each)[i*members : (i+1)*members]...)
		d := []*v1alpha1.Delivery{inOrder(), quick(), quick(orderBy("source"))}[i%3]
		r.apply(onEvent("welcome", d, "in.a"))
		r.dispatch()
	}
	r.settled()
	n := 0
	seen.Range(func(any, any) bool { n++; return true })
	if n != members*each {
		t.Errorf("%d of %d events were called", n, members*each)
	}
	r.apply(onEvent("welcome", inOrder(), "in.a"))
	r.dispatch()
	ordered.Store(true)
	var again []*event.Event
	for _, e := range steps(members, each) {
		e.Attributes[2].Value = "/again"
		again = append(again, e)
	}
	r.publish(again...)
	r.settled()
	w.wantAll(members, each)
}

// A dispatcher that is cut off from NATS with a call under way breaks it off before
// another one takes over; and does no harm when it is back.
func TestTakeOver(t *testing.T) {
	const members, each = 6, 10
	var cut atomic.Bool
	hanging := make(chan struct{}, members*each)
	w := newWitness(t, good)
	w.during = func(req *http.Request) {
		if !cut.Load() {
			hanging <- struct{}{}
			<-req.Context().Done() // it is broken off
		}
	}
	r := newRig(t, w.ServeHTTP, nil, withAckWait)
	r.apply(onEvent("welcome", inOrder(), "in.a"))
	first, second := newGate(), newGate()
	r.behind(first)
	r.publish(steps(members, each)...)
	for range members {
		<-hanging
	}
	r.behind(second)
	first.shut()
	cut.Store(true)
	r.settled()
	w.wantAll(members, each)
	first.open()
	e := step("m0", each)
	r.publish(e)
	second.shut()
	eventually(t, "the first one has it again", func() bool { w.mu.Lock(); defer w.mu.Unlock(); return w.ended["m0"][each] })
}

// A dispatcher that stops hands over at once, with the attempts that were made.
func TestHandOver(t *testing.T) {
	const each = 5
	var failing atomic.Bool
	failing.Store(true)
	w := newWitness(t, func(string, int) int {
		if failing.Load() {
			return http.StatusInternalServerError
		}
		return http.StatusOK
	})
	r := newRig(t, w.ServeHTTP, []v1alpha1.Trigger{onEvent("welcome", inOrder(retry(10_000)), "in.a")}, func(r *rig) { r.layout.AckWait, r.config.AckWait = 3*time.Second, 3*time.Second })
	r.publish(steps(1, each)...)
	eventually(t, "some calls", func() bool { return w.count() >= 3 })
	r.dispatcher.Stop(context.WithoutCancel(t.Context()))
	before := w.count()
	failing.Store(false)
	r.start()
	r.settled()
	w.wantAll(1, each)
	if got := r.function.calls()[before].header.Get("Serviceful-Attempt"); got != fmt.Sprint(before+1) {
		t.Errorf("after %d calls the attempt is %s", before, got)
	}
}

// Batches hold events of different values; what of one has failed blocks its value,
// and is called alone then.
func TestBatchesInOrder(t *testing.T) {
	const members, each = 20, 15
	w := newWitness(t, good)
	d := &dice{r: rand.New(rand.NewPCG(1, 2))}
	var largest atomic.Int64
	r := newRig(t, answerBatch(func(rw http.ResponseWriter, _ *http.Request, ids []string) {
		largest.Store(max(largest.Load(), int64(len(ids))))
		for _, id := range ids {
			w.begin(parts(t, id))
		}
		var failed []string
		for _, id := range ids {
			member, n := parts(t, id)
			status := http.StatusOK
			if d.roll(10) == 0 {
				failed, status = append(failed, id), 0
			}
			w.end(member, n, status)
		}
		failing(rw, failed...)
	}), []v1alpha1.Trigger{onEvent("welcome", inOrder(retry(100), batched(8, 0), concurrency(3)), "in.a")})
	r.publish(steps(members, each)...)
	r.settled()
	w.wantAll(members, each)
	if n := largest.Load(); n < 2 || n > 8 {
		t.Errorf("the largest batch has %d events", n)
	}
}
