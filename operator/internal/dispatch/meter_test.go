package dispatch_test

import (
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/serviceful/serviceful/operator/api/v1alpha1"
	"github.com/serviceful/serviceful/operator/internal/delivery"
	"github.com/serviceful/serviceful/operator/internal/dispatch"
	"github.com/serviceful/serviceful/operator/internal/wiring"
)

// notes is a meter that writes down what it is told of triggers.
type notes struct {
	mu    sync.Mutex
	begun int
	ends  []dispatch.Attempt
}

func (n *notes) Begin(sub *wiring.Subscription) {
	if sub.Relays() {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.begun++
}

func (n *notes) End(sub *wiring.Subscription, a dispatch.Attempt) {
	if sub.Relays() {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.ends = append(n.ends, a)
}

// TestMeter checks that the meter is told once of each try of a message, and the
// truth of it.
func TestMeter(t *testing.T) {
	action := map[delivery.Action]string{delivery.Succeed: "done", delivery.Retry: "retry", delivery.Fail: "fail", delivery.Die: "dead"}
	tests := map[string]struct {
		id   string
		want []string
	}{
		"done":         {"done", []string{"done called=true first=true filtered=false"}},
		"tried twice":  {"once-503", []string{"retry called=true first=true filtered=false", "done called=true first=false filtered=false"}},
		"tried thrice": {"503", []string{"retry called=true first=true filtered=false", "retry called=true first=false filtered=false", "dead called=true first=false filtered=false"}},
		"rejected":     {"400", []string{"dead called=true first=true filtered=false"}},
		"filtered":     {"other", []string{"done called=true first=true filtered=true"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			n, times := &notes{}, 0 // one call at a time
			trigger := onEvent("heard", quick(), "in")
			trigger.Event.Filters = []v1alpha1.Filter{{CESQL: "id <> 'other'"}}
			r := newRig(t, func(w http.ResponseWriter, r *http.Request) {
				times++
				switch id := r.Header.Get("Ce-Id"); {
				case id == "400":
					w.WriteHeader(http.StatusBadRequest)
				case id == "503" || id == "once-503" && times == 1:
					w.WriteHeader(http.StatusServiceUnavailable)
				}
			}, []v1alpha1.Trigger{trigger}, func(r *rig) { r.config.Meter = n })
			r.publish(newEvent("in", test.id))
			eventually(t, "it has ended", func() bool {
				n.mu.Lock()
				defer n.mu.Unlock()
				return len(n.ends) == len(test.want)
			})
			r.settled()
			n.mu.Lock()
			defer n.mu.Unlock()
			var got []string
			for _, a := range n.ends {
				if !a.Settled || a.Called && !a.Filtered && a.Took <= 0 || a.First && a.Waited < 0 {
					t.Errorf("%+v", a)
				}
				got = append(got, fmt.Sprintf("%s called=%t first=%t filtered=%t", action[a.Verdict.Action], a.Called, a.First, a.Filtered))
			}
			if !slices.Equal(got, test.want) || n.begun != len(test.want) {
				t.Errorf("%d began, got %q, want %q", n.begun, got, test.want)
			}
		})
	}
}

// The meter is told of each message of a batch.
func TestMeterOfABatch(t *testing.T) {
	n := &notes{}
	r := newRig(t, answerBatch(func(w http.ResponseWriter, _ *http.Request, ids []string) { failing(w, "2") }),
		[]v1alpha1.Trigger{onEvent("heard", quick(batched(3, time.Minute), retry(1)), "in.a")}, func(r *rig) { r.config.Meter = n })
	r.publish(someEvents(3)...)
	r.settled()
	eventually(t, "all have ended", func() bool {
		n.mu.Lock()
		defer n.mu.Unlock()
		return len(n.ends) == 4
	})
	ends := map[delivery.Action]int{}
	for _, a := range n.ends {
		ends[a.Verdict.Action]++
		if !a.Settled || !a.Called || a.Took <= 0 || a.First != (a.Verdict.Action != delivery.Die) {
			t.Errorf("%+v", a)
		}
	}
	if n.begun != 4 || ends[delivery.Succeed] != 2 || ends[delivery.Retry] != 1 || ends[delivery.Die] != 1 {
		t.Errorf("%d began, ended %v", n.begun, ends)
	}
}
