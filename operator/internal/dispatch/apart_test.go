package dispatch_test

import (
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/serviceful/serviceful/operator/api/v1alpha1"
)

// mortal is a process that dies of a message, and of which the calls beside it
// break then.
type mortal struct {
	mu   sync.Mutex
	died chan struct{} // of the process that is alive
}

func (m *mortal) answer(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	died := m.died
	m.mu.Unlock()
	if r.Header.Get("Ce-Id") == "poison" {
		time.Sleep(30 * time.Millisecond) // others come meanwhile
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
	case <-time.After(100 * time.Millisecond):
	}
}

// A message of which the process dies each time is dead in the end. Those that were
// beside it, of its trigger and of another, are called apart from it and done.
func TestDyingTogether(t *testing.T) {
	m := &mortal{died: make(chan struct{})}
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
