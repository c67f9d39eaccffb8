package dispatch_test

import (
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/serviceful/serviceful/operator/api/v1alpha1"
)

// mortal is a process that dies of a message, and of which the calls beside it
// break then.
type mortal struct {
	poison, others time.Duration // how long a call lasts
	mu             sync.Mutex
	died           chan struct{} // of the process that is alive
}

func newMortal(poison, others time.Duration) *mortal {
	return &mortal{poison: poison, others: others, died: make(chan struct{})}
}

func (m *mortal) answer(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	died := m.died
	m.mu.Unlock()
	if r.Header.Get("Ce-Id") == "poison" {
		time.Sleep(m.poison) // others come meanwhile
		m.mu.Lock()
		if m.died == died {
			close(m.died)
			m.died = make(chan struct{})
		}
		m.mu.Unlock()
		breakOff(w, r)
	}
	select {
	case <-died:
		breakOff(w, r)
	case <-time.After(m.others):
	}
}

// A message of which the process dies each time is dead in the end. Those that were
// beside it, of its trigger and of another, are called apart from it and done.
func TestDyingTogether(t *testing.T) {
	m := newMortal(30*time.Millisecond, 100*time.Millisecond)
	d := func() *v1alpha1.Delivery { return quick(retry(2), backoff("PT0.001S"), concurrency(20)) }
	r := newRig(t, m.answer, []v1alpha1.Trigger{onEvent("welcome", d(), "in.a"), onEvent("other", d(), "other")})
	r.publish(append(someEvents(5), newEvent("in.a", "poison"), newEvent("other", "a"), newEvent("other", "b"))...)
	r.settled()
	letters := r.letters()
	if len(letters) != 1 || len(letters["event poison"]) != 1 || letters["event poison"][0].Reason != "RetriesUsedUp" {
		t.Errorf("dead letters: %+v", letters)
	}
	if n := len(r.function.calls()); n < 3+7 || n > 3+3*7 {
		t.Errorf("%d calls", n)
	}
}

// A message that works for a while before the process dies of it is found out, too:
// those that were beside it, and those that come later, are done, although a call of
// theirs takes longer, and most of them may not be called more than twice.
func TestDyingSlowly(t *testing.T) {
	m := newMortal(700*time.Millisecond, time.Second)
	d := func(n int32) *v1alpha1.Delivery { return quick(retry(n), backoff("PT0.001S"), concurrency(20)) }
	r := newRig(t, m.answer, []v1alpha1.Trigger{onEvent("welcome", d(3), "in.a"), onEvent("other", d(1), "other"), onEvent("late", d(1), "late")})
	r.publish(append(someEvents(3), newEvent("in.a", "poison"), newEvent("other", "a"), newEvent("other", "b"), newEvent("other", "c"))...)
	for i := 0; len(r.letters()["event poison"]) == 0; i++ {
		time.Sleep(250 * time.Millisecond)
		if calledFor(r, "poison") > 1 { // from the second time on, it is known
			r.publish(newEvent("late", fmt.Sprint("late", i)))
		}
	}
	r.settled()
	letters := r.letters()
	if len(letters) != 1 || letters["event poison"][0].Reason != "RetriesUsedUp" || letters["event poison"][0].Attempts != 4 {
		t.Errorf("dead letters: %+v", letters)
	}
}

func calledFor(r *rig, id string) (n int) {
	for _, c := range r.function.calls() {
		if c.header.Get("Ce-Id") == id {
			n++
		}
	}
	return n
}
