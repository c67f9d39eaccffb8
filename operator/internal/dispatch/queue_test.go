package dispatch_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/serviceful/serviceful/operator/api/v1alpha1"
	"github.com/serviceful/serviceful/operator/internal/dead"
	"github.com/serviceful/serviceful/operator/internal/delivery"
	"github.com/serviceful/serviceful/operator/internal/envelope"
	"github.com/serviceful/serviceful/operator/internal/names"
)

func onQueue(name, queue string, d *v1alpha1.Delivery) v1alpha1.Trigger {
	return v1alpha1.Trigger{Name: name, Path: "/on/" + name, Queue: &v1alpha1.QueueSource{Name: queue}, Delivery: d}
}

// enqueue stores a message as the services door does.
func (r *rig) enqueue(queue, id string) {
	r.t.Helper()
	m := envelope.New(names.QueueMessage(shop, queue, id), []byte("data of "+id))
	e := newEvent("dev.serviceful.queue.message.v1", id)
	e.Set("datacontenttype", "text/own")
	e.ToStored(m.Header)
	r.store(m)
}

// TestQueuedMessage has a message delivered as the event that it is stored as.
func TestQueuedMessage(t *testing.T) {
	r := newRig(t, status(http.StatusNoContent), []v1alpha1.Trigger{onQueue("jobs", "resize", nil)})
	r.enqueue("other", "2")
	r.enqueue("resize", "1")
	eventually(t, "it is done", func() bool { return len(r.function.calls()) > 0 && r.waiting() == 1 })
	got := r.function.calls()
	if len(got) != 1 || got[0].method != "POST" || got[0].target != "/on/jobs" || got[0].body != "data of 1" {
		t.Fatalf("got %+v", got)
	}
	for name, want := range map[string]string{
		"Ce-Id": "1", "Ce-Source": "/test", "Ce-Type": "dev.serviceful.queue.message.v1", "Content-Type": "text/own",
		"Serviceful-Trigger": "jobs", "Serviceful-Attempt": "1", "Serviceful-Call-Id": "",
	} {
		if got := got[0].header.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
}

// waiting is how many messages are in the work stream.
func (r *rig) waiting() uint64 {
	r.t.Helper()
	stream, err := r.js.Stream(r.t.Context(), names.Work(shop))
	if err != nil {
		r.t.Fatal(err)
	}
	return stream.CachedInfo().State.Msgs
}

// letter is the only dead letter there is, as a whole.
func (r *rig) letter() (whole dead.Letter) {
	r.t.Helper()
	err := r.bus.Letters(r.t.Context(), shop, dead.Filter{}, func(l dead.Letter) (err error) {
		whole, err = r.bus.Letter(r.t.Context(), l.ID)
		return err
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return whole
}

// TestQueuedMessageAgain has a message that fails put off on its own subject, die
// as what it is, and come back from its dead letter.
func TestQueuedMessageAgain(t *testing.T) {
	mended := make(chan struct{})
	r := newRig(t, func(w http.ResponseWriter, _ *http.Request) {
		select {
		case <-mended:
		default:
			w.WriteHeader(http.StatusConflict) // of an event it is tried again
		}
	}, []v1alpha1.Trigger{onQueue("jobs", "resize", quick())})
	r.enqueue("resize", "1")
	eventually(t, "it is dead", func() bool { return len(r.dead("jobs")) == 1 && r.waiting() == 0 })
	for i, call := range r.function.calls() {
		if want := string(rune('1' + i)); call.header.Get("Serviceful-Attempt") != want || call.header.Get("Ce-Id") != "1" || call.body != "data of 1" {
			t.Errorf("call %d was %+v", i, call)
		}
	}
	l := r.letter()
	if l.Kind != dead.Queued || l.Death.Reason != delivery.ReasonRetriesUsedUp || l.Death.Attempts != 3 || l.Function != offers || l.Death.Trigger != "jobs" ||
		l.Death.Subject != names.QueueMessage(shop, "resize", "1") || string(l.Body) != "data of 1" {
		t.Fatalf("the letter is %+v", l)
	}
	close(mended)
	if sent, err := r.bus.Replay(t.Context(), l, dead.Trigger{}, time.Now()); err != nil || !sent {
		t.Fatalf("replayed: %v, %v", sent, err)
	}
	eventually(t, "it is done", func() bool { return len(r.function.calls()) == 4 && r.waiting() == 0 })
	if again := r.function.calls()[3]; again.header.Get("Serviceful-Attempt") != "1" || again.header.Get("Ce-Id") != "1" || again.body != "data of 1" || len(r.dead("jobs")) != 0 {
		t.Errorf("it came back as %+v", again)
	}
}
