package dispatch_test

import (
	"context"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/serviceful/serviceful/operator/api/v1alpha1"
)

// TestSchedulesGoOn has a schedule be changed, paused and laid out again while
// dispatchers with old and new snapshots come and go and calls fail: whatever the
// order, no call is early, the clock is the last schedule's, and it goes on.
func TestSchedulesGoOn(t *testing.T) {
	const steps = 25
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	dice := rand.New(rand.NewPCG(seed, 0))
	crons := []string{"@every 1s", "* * * * * *", "*/2 * * * * *", "0 0 1 1 *"}

	var early, failing atomic.Int64
	r := newRig(t, func(w http.ResponseWriter, q *http.Request) {
		due, err := time.Parse(time.RFC3339, q.Header.Get("Ce-Time"))
		if err != nil || time.Now().Before(due) {
			early.Add(1)
		}
		if failing.Add(1)%3 == 0 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}, []v1alpha1.Trigger{onSchedule(crons[0])}, withAckWait)
	for range steps {
		switch dice.IntN(5) {
		case 0, 1: // a change, which the dispatcher hears of later
			r.apply(onSchedule(crons[dice.IntN(len(crons))], func(t *v1alpha1.Trigger) {
				t.Paused, t.Schedule.Overlap = dice.IntN(3) == 0, dice.IntN(2) == 0
			}))
		case 2:
			r.dispatch()
		case 3: // another one takes over
			r.dispatcher.Stop(context.WithoutCancel(t.Context()))
			r.start()
		case 4: // the control plane starts anew
			if err := r.layout.Apply(t.Context(), r.snapshot.Load()); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Duration(dice.IntN(400)) * time.Millisecond)
	}
	r.apply(onSchedule("*/3 * * * * *"))
	r.dispatch()
	eventually(t, "it goes on, by the last schedule alone", func() bool {
		calls := r.function.calls()
		return len(calls) > 3 && strings.Contains(calls[len(calls)-1].body, "*/3") &&
			strings.Contains(calls[len(calls)-2].body, "*/3")
	})
	if n := early.Load(); n > 0 {
		t.Errorf("%d calls were early", n)
	}
	for i, due := range r.scheduled() {
		if id := r.function.calls()[i].header.Get("Ce-Id"); id != due.Format(time.RFC3339Nano) {
			t.Errorf("the event %q is of %v", id, due)
		}
	}
	eventually(t, "the clock stays the last schedule's", func() bool { return r.clock().Cron == "*/3 * * * * *" })
}
