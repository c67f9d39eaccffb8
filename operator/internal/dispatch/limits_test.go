package dispatch_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/serviceful/serviceful/operator/api/v1alpha1"
	"github.com/serviceful/serviceful/operator/internal/envelope"
	"github.com/serviceful/serviceful/operator/internal/event"
)

// gauge counts the calls under way and remembers the most.
type gauge struct {
	mu        sync.Mutex
	now, most int
}

func (g *gauge) change(n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.now += n
	g.most = max(g.most, g.now)
}

func (g *gauge) read() (now, most int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.now, g.most
}

// around counts a handler's calls while they are under way.
func (g *gauge) around(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		g.change(1)
		defer g.change(-1)
		h(w, r)
	}
}

// someEvents are n events of the type in.a; their ids count from 0.
func someEvents(n int) []*event.Event {
	out := make([]*event.Event, n)
	for i := range out {
		out[i] = newEvent("in.a", fmt.Sprint(i))
	}
	return out
}

// However many calls a trigger allows, the messages at work fit into Memory; the
// others wait, and are called once.
func TestMemory(t *testing.T) {
	const messages, fit = 30, 7 // of 100 KiB and what one takes beside
	var g gauge
	done := make(chan struct{})
	trigger := onCall("redeem", quick(concurrency(messages)))
	r := newRig(t, g.around(func(http.ResponseWriter, *http.Request) { <-done }), []v1alpha1.Trigger{trigger}, func(r *rig) { r.config.Memory = 1 << 20 })
	for i := range messages {
		r.store(envelope.Call(offers, "redeem", fmt.Sprint(i), envelope.Request{Method: "POST", Target: "/redeem"}, make([]byte, 100<<10)))
	}
	eventually(t, "all are handed out, and as many called as fit", func() bool {
		now, _ := g.read()
		return now == fit && r.consumer("WORK_shop", "offers_redeem").NumAckPending == messages
	})
	close(done)
	r.settled()
	if _, most := g.read(); most != fit {
		t.Errorf("%d calls at once, want %d", most, fit)
	}
	if n := len(r.function.calls()); n != messages {
		t.Errorf("%d calls of %d messages", n, messages)
	}
}

// A message that alone is larger than Memory is called all the same.
func TestMemoryOfOne(t *testing.T) {
	r := newRig(t, status(200), []v1alpha1.Trigger{onCall("redeem", quick())}, func(r *rig) { r.config.Memory = 1 })
	for i := range 3 {
		r.accept(fmt.Sprint(i))
	}
	r.settled()
	if n := len(r.function.calls()); n != 3 {
		t.Errorf("%d calls", n)
	}
}

func TestConcurrency(t *testing.T) {
	const messages, limit = 200, 5
	for source, trigger := range map[string]v1alpha1.Trigger{
		"event": onEvent("redeem", quick(concurrency(limit)), "in.a"), "call": onCall("redeem", quick(concurrency(limit))),
	} {
		t.Run(source, func(t *testing.T) {
			var g gauge
			full := make(chan struct{})
			r := newRig(t, g.around(func(w http.ResponseWriter, _ *http.Request) { <-full }), []v1alpha1.Trigger{trigger})
			if source == "event" {
				r.publish(someEvents(messages)...)
			} else {
				for i := range messages {
					r.accept(fmt.Sprint(i))
				}
			}
			eventually(t, "as many calls as may be", func() bool { now, _ := g.read(); return now == limit })
			close(full)
			r.settled()
			if _, most := g.read(); most != limit {
				t.Errorf("%d calls at once, want %d", most, limit)
			}
			if n := len(r.function.calls()); n != messages {
				t.Errorf("%d calls of %d messages", n, messages)
			}
		})
	}
}

// With a limit of one, the next message comes as soon as the last is settled.
func TestOneAtATime(t *testing.T) {
	const messages = 3000
	var g gauge
	r := newRig(t, g.around(status(204)), []v1alpha1.Trigger{onEvent("welcome", quick(concurrency(1)), "in.a")})
	for all := range slices.Chunk(someEvents(messages), 1000) {
		r.publish(all...)
	}
	r.settled()
	if _, most := g.read(); most != 1 || len(r.function.calls()) != messages {
		t.Errorf("%d calls at once, %d of %d messages", most, len(r.function.calls()), messages)
	}
}

// Two dispatchers have one limit between them.
func TestConcurrencyOverAllDispatchers(t *testing.T) {
	const messages, limit = 100, 4
	var g gauge
	full := make(chan struct{})
	r := newRig(t, g.around(func(http.ResponseWriter, *http.Request) { <-full }), []v1alpha1.Trigger{onEvent("welcome", quick(concurrency(limit)), "in.a")})
	first := r.dispatcher
	t.Cleanup(func() { first.Stop(context.WithoutCancel(t.Context())) })
	r.start()
	r.publish(someEvents(messages)...)
	eventually(t, "as many calls as may be", func() bool { now, _ := g.read(); return now == limit })
	close(full)
	r.settled()
	if _, most := g.read(); most != limit || len(r.function.calls()) != messages {
		t.Errorf("%d calls at once, %d of %d messages", most, len(r.function.calls()), messages)
	}
}

// Two dispatchers with batches that are not full make at most as many calls each,
// and with an order as many between them.
func TestConcurrencyOfBatchesOverAllDispatchers(t *testing.T) {
	const limit, size, dispatchers = 2, 4, 2
	tests := map[string]struct {
		delivery *v1alpha1.Delivery
		most     int
	}{
		"unordered": {quick(concurrency(limit), batched(size, 0)), dispatchers * limit},
		"ordered":   {quick(concurrency(limit), batched(size, 0), orderBy("subject")), limit},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var g gauge
			end := make(chan struct{})
			r := newRig(t, g.around(func(http.ResponseWriter, *http.Request) { <-end }), []v1alpha1.Trigger{onEvent("welcome", test.delivery, "in.a")})
			first := r.dispatcher
			t.Cleanup(func() { first.Stop(context.WithoutCancel(t.Context())) })
			r.start()
			for _, e := range someEvents(limit * size) { // as many as are handed out at once
				e.Set("subject", e.ID())
				r.publish(e)
				eventually(t, "it is handed out", func() bool { return r.consumer("EV_shop", "offers_welcome").NumPending == 0 })
			}
			eventually(t, "as many calls as may be", func() bool { now, _ := g.read(); return now >= limit })
			time.Sleep(200 * time.Millisecond) // in which there might be more
			close(end)
			r.settled()
			if _, most := g.read(); most > test.most {
				t.Errorf("%d calls at once, want at most %d", most, test.most)
			}
		})
	}
}

// A changed limit holds from the next message on.
func TestConcurrencyIsRaised(t *testing.T) {
	const messages, limit = 40, 8
	var g gauge
	full := make(chan struct{})
	r := newRig(t, g.around(func(http.ResponseWriter, *http.Request) { <-full }), []v1alpha1.Trigger{onEvent("welcome", quick(concurrency(1)), "in.a")})
	r.publish(someEvents(messages)...)
	eventually(t, "one call", func() bool { now, _ := g.read(); return now == 1 })
	r.apply(onEvent("welcome", quick(concurrency(limit)), "in.a"))
	r.dispatch()
	eventually(t, "as many calls as may be now", func() bool { now, _ := g.read(); return now == limit })
	close(full)
	r.settled()
	if _, most := g.read(); most != limit || len(r.function.calls()) != messages {
		t.Errorf("%d calls at once, %d of %d messages", most, len(r.function.calls()), messages)
	}
}

// Calls and starts that take longer than AckWait are not made again.
func TestLongCalls(t *testing.T) {
	const messages = 10
	slow := func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-time.After(2500 * time.Millisecond): // AckWait is a second
		case <-r.Context().Done():
		}
		w.WriteHeader(http.StatusNoContent)
	}
	r := newRig(t, slow, []v1alpha1.Trigger{onEvent("welcome", quick(), "in.a"), onCall("redeem", quick())}, withAckWait)
	r.publish(someEvents(messages)...)
	for i := range messages {
		r.accept(fmt.Sprint(i))
	}
	r.settled()
	if n := len(r.function.calls()); n != 2*messages {
		t.Errorf("%d calls of %d messages", n, 2*messages)
	}
	for _, c := range []struct{ stream, name string }{{"EV_shop", "offers_welcome"}, {"WORK_shop", "offers_redeem"}} {
		if info := r.consumer(c.stream, c.name); info.NumRedelivered != 0 || info.Delivered.Consumer != messages {
			t.Errorf("%s: %d deliveries, %d of them again", c.name, info.Delivered.Consumer, info.NumRedelivered)
		}
	}
}

// Messages that fail do not keep others of their trigger waiting, and do not come
// back all at once.
func TestFailingMessagesStandAside(t *testing.T) {
	const failing, healthy = 1000, 300
	answer := func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.Header.Get("Ce-Id"), "bad") {
			w.Header().Set("Retry-After", "300")
			w.WriteHeader(http.StatusInternalServerError)
		}
	}
	d := quick(retry(100), retryAfterMax("PT5M"), concurrency(5))
	r := newRig(t, answer, []v1alpha1.Trigger{onEvent("welcome", d, "in.a")})
	var all []*event.Event
	for i := range failing {
		all = append(all, newEvent("in.a", fmt.Sprint("bad", i)))
	}
	r.publish(all...)
	r.publish(someEvents(healthy)...)
	delivered := map[string]bool{}
	eventually(t, "all healthy messages are delivered", func() bool {
		clear(delivered)
		for _, c := range r.function.calls() {
			if id := c.header.Get("Ce-Id"); !strings.HasPrefix(id, "bad") {
				delivered[id] = true
			}
		}
		return len(delivered) == healthy
	})
	// Each failing one is put off, or about to be.
	eventually(t, "all failing messages wait", func() bool { return r.putOff("RETRY_shop") >= failing*9/10 })
	if dead := r.dead("welcome"); len(dead) != 0 {
		t.Errorf("%d dead letters", len(dead))
	}
	due := map[string]int{} // by second
	stream, subjects := r.waits("RETRY_shop")
	for _, subject := range subjects {
		m, err := stream.GetLastMsgForSubject(t.Context(), subject)
		if err != nil {
			t.Fatal(err)
		}
		due[m.Header.Get("Nats-Schedule")[:len("@at 2006-01-02T15:04:05")]]++
	}
	for at, n := range due {
		if n > 150 { // a hundred, and what was stored a moment later than it was decided
			t.Errorf("%d come back at %s", n, at)
		}
	}
}
