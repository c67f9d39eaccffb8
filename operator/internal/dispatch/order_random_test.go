package dispatch_test

import (
	"context"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/serviceful/serviceful/operator/api/v1alpha1"
	"github.com/serviceful/serviceful/operator/internal/bus"
	"github.com/serviceful/serviceful/operator/internal/dispatch"
	"github.com/serviceful/serviceful/operator/internal/event"
)

// TestNothingIsOutOfOrder lets functions fail and break, and dispatchers stop, be
// cut off, come back and start at random.
func TestNothingIsOutOfOrder(t *testing.T) {
	const members, each, strikes = 30, 40, 12
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	d := &dice{r: rand.New(rand.NewPCG(seed, 0))}
	w := newWitness(t, func(string, int) int {
		time.Sleep(time.Duration(d.roll(8)) * time.Millisecond)
		switch n := d.roll(100); {
		case n < 70:
			return http.StatusOK
		case n < 75:
			return http.StatusBadRequest
		case n < 90:
			return http.StatusServiceUnavailable
		}
		return 0
	})
	r := newRig(t, w.ServeHTTP, nil, withAckWait)
	r.apply(onEvent("welcome", inOrder(retry(10_000), concurrency(12)), "in.a"))
	type one struct {
		*dispatch.Dispatcher
		gate *gate
	}
	begin := func() one { g := newGate(); return one{r.behind(g), g} }
	alive := []one{begin(), begin()}
	var publishing sync.WaitGroup
	publishing.Go(func() {
		for chunk := range slices.Chunk(steps(members, each), members) {
			time.Sleep(time.Duration(d.roll(200)) * time.Millisecond)
			r.publish(chunk...)
		}
	})
	for range strikes {
		enough := w.count() + d.roll(150)
		eventually(t, "some calls", func() bool { return w.count() >= enough || r.idle() })
		i := d.roll(len(alive))
		switch d.roll(4) {
		case 0:
			alive[i].Stop(context.WithoutCancel(t.Context()))
			alive[i] = begin()
		case 1: // it comes back
			alive[i].gate.shut()
			time.AfterFunc(time.Duration(d.roll(3000))*time.Millisecond, alive[i].gate.open)
		case 2: // it does not
			alive[i].gate.shut()
			alive[i] = begin()
		case 3:
			alive = append(alive, begin())
		}
	}
	publishing.Wait()
	r.settled()
	w.wantAll(members, each)
	letters := r.letters()
	for id := range w.dead {
		if len(letters["event "+id]) == 0 {
			t.Errorf("%s is neither done nor dead", id)
		}
	}
}

func linear(d *v1alpha1.Delivery) {
	policy := v1alpha1.BackoffLinear
	d.BackoffPolicy = &policy
}

// TestTenThousandAreHeld has as many held as a trigger holds; then it waits.
func TestTenThousandAreHeld(t *testing.T) {
	const held, more = 10_000, 500
	var failing atomic.Bool
	failing.Store(true)
	w := newWitness(t, func(string, int) int {
		if failing.Load() {
			return http.StatusInternalServerError
		}
		return http.StatusOK
	})
	r := newRig(t, w.ServeHTTP, []v1alpha1.Trigger{onEvent("welcome", inOrder(retry(10_000), backoff("PT0.25S"), linear), "in.a")})
	for chunk := range slices.Chunk(steps(50, (held+more)/50), event.MaxBatch) {
		r.publish(chunk...)
	}
	eventually(t, "the trigger waits", func() bool {
		info := r.consumer("EV_shop", "offers_welcome")
		return info.NumAckPending == held && info.NumPending == more
	})
	time.Sleep(bus.AckWait + 2*time.Second) // they are held by heartbeats
	if info := r.consumer("EV_shop", "offers_welcome"); info.NumRedelivered > held/10 {
		t.Errorf("%d were handed out again", info.NumRedelivered)
	}
	failing.Store(false)
	r.settled()
	w.wantAll(50, (held+more)/50)
}
