package dispatch_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/serviceful/serviceful/operator/api/v1alpha1"
	"github.com/serviceful/serviceful/operator/internal/event"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func batched(size int32, window time.Duration) func(*v1alpha1.Delivery) {
	return func(d *v1alpha1.Delivery) {
		d.Batch = &v1alpha1.Batch{Size: &size, Window: &metav1.Duration{Duration: window}}
	}
}

// ids are those of a request's events, in order.
func ids(t *testing.T, r request) []string {
	t.Helper()
	events, err := event.FromHTTP(r.header, []byte(r.body))
	if err != nil {
		t.Errorf("the function got %q: %v", r.body, err)
	}
	out := make([]string, len(events))
	for i, e := range events {
		out[i] = e.ID()
	}
	return out
}

// batchOf reads the ids of a batch where it is answered.
func batchOf(r *http.Request) []string {
	var events []struct{ ID string }
	_ = json.NewDecoder(r.Body).Decode(&events)
	out := make([]string, len(events))
	for i, e := range events {
		out[i] = e.ID
	}
	return out
}

// answerBatch is a function that is told the ids it is called with.
func answerBatch(answer func(w http.ResponseWriter, r *http.Request, ids []string)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) { answer(w, r, batchOf(r)) }
}

// failing answers that some events of its batch have failed.
func failing(w http.ResponseWriter, ids ...string) {
	items := make([]map[string]string, len(ids))
	for i, id := range ids {
		items[i] = map[string]string{"itemIdentifier": id}
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"batchItemFailures": items})
}

// What is there is called together, in the order of the log, at once.
func TestBatch(t *testing.T) {
	const messages = 250
	hold := make(chan struct{})
	r := newRig(t, func(http.ResponseWriter, *http.Request) { <-hold },
		[]v1alpha1.Trigger{onEvent("welcome", quick(batched(100, 0), concurrency(1)), "in.*")})
	r.publish(newEvent("in.a", "first"))
	eventually(t, "the first is called alone", func() bool { return len(r.function.calls()) == 1 })
	r.publish(someEvents(messages)...)
	close(hold)
	r.settled()
	var got []string
	for i, c := range r.function.calls() {
		h := c.header
		if c.method != "POST" || c.target != "/on/welcome" || h.Get("Content-Type") != event.ContentTypeBatch || h.Get("Serviceful-Trigger") != "welcome" || h.Get("Serviceful-Attempt") != "1" {
			t.Errorf("call %d: %s %s %v", i, c.method, c.target, h)
		}
		in := ids(t, c)
		if len(in) > 100 {
			t.Errorf("call %d has %d events", i, len(in))
		}
		got = append(got, in...)
	}
	want := []string{"first"}
	for i := range messages {
		want = append(want, fmt.Sprint(i))
	}
	if n := len(r.function.calls()); n > messages/10 {
		t.Errorf("%d calls", n)
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("called with %q", got)
	}
}

// A batch that is full does not wait for its window, and one that is not waits
// no longer than that.
func TestBatchWindow(t *testing.T) {
	full := []v1alpha1.Trigger{onEvent("welcome", quick(batched(3, 5*time.Minute), concurrency(4)), "in.a")}
	r := newRig(t, status(204), full)
	r.publish(someEvents(6)...)
	r.settled()
	if n := len(r.function.calls()); n != 2 {
		t.Errorf("%d calls of two full batches", n)
	}
	r = newRig(t, status(204), []v1alpha1.Trigger{onEvent("welcome", quick(batched(1000, 300*time.Millisecond)), "in.a")})
	for _, e := range someEvents(6) {
		r.publish(e)
	}
	r.settled()
	if n := len(r.function.calls()); n > 3 {
		t.Errorf("%d calls of what came within a window or two", n)
	}
}

// Events that fail are called again alone, each with its own attempts; the others
// of their batch are done.
func TestPartialFailure(t *testing.T) {
	answer := answerBatch(func(w http.ResponseWriter, _ *http.Request, ids []string) {
		var bad []string
		for _, id := range ids {
			if id == "3" || id == "7" {
				bad = append(bad, id)
			}
		}
		failing(w, bad...)
	})
	r := newRig(t, answer, []v1alpha1.Trigger{onEvent("welcome", quick(batched(10, time.Minute), retry(2)), "in.a")})
	r.publish(someEvents(10)...)
	r.settled()
	times := map[string]int{}
	for i, c := range r.function.calls() {
		in := ids(t, c)
		if i > 0 && len(in) != 1 {
			t.Errorf("call %d has %q", i, in)
		}
		for _, id := range in {
			times[id]++
			if got := c.header.Get("Serviceful-Attempt"); got != fmt.Sprint(times[id]) {
				t.Errorf("call %d of %s has attempt %s", times[id], id, got)
			}
		}
	}
	for id, n := range times {
		if want := map[string]int{"3": 3, "7": 3}[id]; n != max(1, want) {
			t.Errorf("%s was called %d times", id, n)
		}
	}
	letters := r.dead("welcome")
	if len(letters) != 2 || len(times) != 10 {
		t.Fatalf("%d events called, %d dead letters", len(times), len(letters))
	}
	for _, l := range letters {
		if l.Reason != "RetriesUsedUp" || l.Attempts != 3 || !strings.Contains(l.Message, "batchItemFailures") || l.Last.Status != 200 {
			t.Errorf("%+v", l)
		}
	}
}

// A message that kills its function, in a batch and alone, is dead after its
// retries; those beside it are delivered, and another trigger is not touched.
func TestPoisonInABatch(t *testing.T) {
	const healthy = 300
	var mu sync.Mutex
	done := map[string]int{}
	answer := func(w http.ResponseWriter, r *http.Request) {
		in := batchOf(r)
		if slices.Contains(in, "poison") {
			breakOff(w, r)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		for _, id := range in {
			done[id]++
		}
	}
	r := newRig(t, answer, []v1alpha1.Trigger{
		onEvent("welcome", quick(batched(50, 20*time.Millisecond), retry(3)), "in.a"),
		onEvent("other", quick(batched(50, 0)), "other"),
	})
	events := someEvents(healthy)
	events = slices.Insert(events, healthy/2, newEvent("in.a", "poison"))
	r.publish(events...)
	r.publish(newEvent("other", "beside"))
	r.settled()
	letters := r.letters()
	if l := letters["event poison"]; len(letters) != 1 || len(l) != 1 || l[0].Reason != "RetriesUsedUp" || l[0].Attempts != 4 {
		t.Errorf("dead letters: %+v", letters)
	}
	for _, e := range append(someEvents(healthy), newEvent("other", "beside")) {
		if done[e.ID()] == 0 {
			t.Errorf("event %s was not delivered", e.ID())
		}
	}
	shared := 0
	for _, c := range r.function.calls() {
		if in := ids(t, c); len(in) > 1 && slices.Contains(in, "poison") {
			shared++
		}
	}
	if shared > 1 {
		t.Errorf("the poison took others with it %d times", shared)
	}
}

// Events in the answer to a batch are published once; those that may not be are
// the end of all that it answers.
func TestAnsweredBatch(t *testing.T) {
	answer := func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/on/bad" {
			binary(200, "not.allowed", "x")(w, r)
			return
		}
		binary(200, "out.a", "all of them")(w, r)
	}
	r := newRig(t, answer, []v1alpha1.Trigger{
		onEvent("welcome", quick(batched(5, time.Minute)), "in.a"), onEvent("bad", quick(batched(5, time.Minute)), "in.a"),
	})
	r.publish(someEvents(5)...)
	r.settled()
	if got := r.published("out.a"); len(got) != 1 {
		t.Errorf("published %q", got)
	}
	letters := r.dead("bad")
	if len(letters) != 5 || letters[0].Reason != "EmitRefused" || len(r.dead("welcome")) != 0 {
		t.Errorf("dead letters: %+v", letters)
	}
}

// Where nothing of a batch passes the filters there is no call.
func TestFilteredBatch(t *testing.T) {
	trigger := onEvent("welcome", quick(batched(10, 50*time.Millisecond)), "in.a")
	trigger.Event.Filters = []v1alpha1.Filter{{CESQL: "id = '3'"}}
	r := newRig(t, status(200), []v1alpha1.Trigger{trigger})
	r.publish(someEvents(3)...)
	r.settled()
	if n := len(r.function.calls()); n != 0 {
		t.Errorf("%d calls", n)
	}
	r.publish(newEvent("in.a", "3"), newEvent("in.a", "4"))
	r.settled()
	if calls := r.function.calls(); len(calls) != 1 || !slices.Equal(ids(t, calls[0]), []string{"3"}) {
		t.Errorf("calls: %+v", calls)
	}
}

// What was not called is not counted, and may share a call again.
func TestUncalledBatch(t *testing.T) {
	down := make(chan struct{})
	r := newRig(t, status(200), []v1alpha1.Trigger{onEvent("welcome", quick(batched(5, 50*time.Millisecond), retry(0)), "in.a")}, func(r *rig) {
		acquire := r.world.acquire
		r.world.acquire = func(ctx context.Context) (string, error) {
			select {
			case <-down:
				return acquire(ctx)
			default:
				return "", errNotStarted
			}
		}
	})
	r.publish(someEvents(5)...)
	eventually(t, "all are put off", func() bool { return r.putOff("RETRY_shop") == 5 })
	close(down)
	r.settled()
	if len(r.dead("welcome")) != 0 {
		t.Error("an event is dead that was called once")
	}
	for _, c := range r.function.calls() {
		if c.header.Get("Serviceful-Attempt") != "1" {
			t.Errorf("attempt %s", c.header.Get("Serviceful-Attempt"))
		}
	}
}

// However the batches are filled, a dispatcher has no more calls under way than
// the trigger allows.
func TestConcurrencyOfBatches(t *testing.T) {
	const messages, limit = 500, 3
	var g gauge
	slow := func(w http.ResponseWriter, _ *http.Request) { time.Sleep(2 * time.Millisecond) }
	r := newRig(t, g.around(slow), []v1alpha1.Trigger{onEvent("welcome", quick(batched(50, 0), concurrency(limit)), "in.a")})
	if pending := r.consumer("EV_shop", "offers_welcome").Config.MaxAckPending; pending != 50*limit {
		t.Errorf("MaxAckPending is %d", pending)
	}
	for _, e := range someEvents(messages) {
		r.publish(e)
	}
	r.settled()
	if _, most := g.read(); most > limit {
		t.Errorf("%d calls at once", most)
	}
}

// Messages that wait for their window leave room for others, and do not wait when
// memory is short.
func TestMemoryOfBatches(t *testing.T) {
	const messages = 40
	r := newRig(t, status(200), []v1alpha1.Trigger{
		onEvent("welcome", quick(batched(1000, 5*time.Minute), concurrency(10)), "in.a"), onCall("redeem", quick()),
	}, func(r *rig) { r.config.Memory = 1 << 20 })
	for i := range messages {
		e := newEvent("in.a", fmt.Sprint(i))
		e.Data = make([]byte, 50<<10)
		r.publish(e)
	}
	r.accept("1")
	eventually(t, "the call is made and most events, too", func() bool {
		events, called := map[string]bool{}, false
		for _, c := range r.function.calls() {
			if c.header.Get("Serviceful-Call-Id") != "" {
				called = true
				continue
			}
			for _, id := range ids(t, c) {
				events[id] = true
			}
		}
		return called && len(events) >= messages/2
	})
}

// A dispatcher that stops hands back what waits for its window.
func TestStopWithAnOpenBatch(t *testing.T) {
	r := newRig(t, status(200), []v1alpha1.Trigger{onEvent("welcome", quick(batched(10, 5*time.Minute)), "in.a")})
	r.publish(someEvents(9)...)
	eventually(t, "they are handed out", func() bool { return r.consumer("EV_shop", "offers_welcome").NumAckPending == 9 })
	r.dispatcher.Stop(context.WithoutCancel(t.Context()))
	if n := len(r.function.calls()); n != 0 {
		t.Errorf("%d calls", n)
	}
	r.start()
	r.publish(newEvent("in.a", "9"))
	r.settled()
	if calls := r.function.calls(); len(calls) != 1 || len(ids(t, calls[0])) != 10 {
		t.Errorf("%d calls", len(calls))
	}
}
