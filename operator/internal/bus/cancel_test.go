package bus_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/serviceful/serviceful/operator/api/v1alpha1"
	"github.com/serviceful/serviceful/operator/internal/bus"
	"github.com/serviceful/serviceful/operator/internal/delivery"
	"github.com/serviceful/serviceful/operator/internal/envelope"
	"github.com/serviceful/serviceful/operator/internal/names"
)

func cancel(t *testing.T, b *bus.Bus, id string) {
	t.Helper()
	if done, err := b.CancelCall(t.Context(), shop, id); !done || err != nil {
		t.Fatalf("cancelling %s: %v, %v", id, done, err)
	}
}

// A key whose call was cancelled is free: the same request, or another, is a new
// call that is made.
func TestACancelledCallFreesItsKey(t *testing.T) {
	// A record that is not marked, as a crash leaves it.
	unmarked := func(t *testing.T, b *bus.Bus) {
		t.Helper()
		m, err := b.Last(t.Context(), "RES_shop", "idem.shop.>")
		if err != nil {
			t.Fatal(err)
		}
		unmarked := envelope.New(m.Subject, nil)
		unmarked.Header.Set(envelope.HeaderRecord, `{"id":"1","digest":"other"}`)
		store(t, b, unmarked)
	}
	tests := map[string]struct {
		before  func(t *testing.T, b *bus.Bus)
		request string
	}{
		"same request":             {func(*testing.T, *bus.Bus) {}, "r"},
		"other request":            {func(*testing.T, *bus.Bus) {}, "other"},
		"stored, but not marked":   {unmarked, "r"},
		"not marked, and another":  {unmarked, "other"},
		"put off when it was done": {func(t *testing.T, b *bus.Bus) { putOff(t, b, "1") }, "r"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			b := start(t, onCall("redeem"))
			if id, err := b.StoreOnce(t.Context(), key("k", "r"), "1", makeCall); id != "1" || err != nil {
				t.Fatalf("first: %q, %v", id, err)
			}
			test.before(t, b)
			cancel(t, b, "1")
			for range 2 {
				if id, err := b.StoreOnce(t.Context(), key("k", test.request), "2", makeCall); id != "2" || err != nil {
					t.Errorf("again: %q, %v; want a new call", id, err)
				}
			}
			if bodies := receiveAndAck(t, b, "WORK_shop", "offers_redeem", 1); len(bodies) != 1 {
				t.Errorf("got %q", bodies)
			}
			if _, err := b.Last(t.Context(), "WORK_shop", names.Schedule(names.AnyCall(shop, "*"))); !errors.Is(err, bus.ErrNotFound) {
				t.Errorf("a schedule is left: %v", err)
			}
		})
	}
}

// putOff puts the only call that waits off for an hour.
func putOff(t *testing.T, b *bus.Bus, id string) {
	t.Helper()
	m := makeCall(id)
	store(t, b, envelope.Retry(m, m.Subject, envelope.Progress{Attempts: 1, Tries: 1, Origin: id, First: time.Now()}, time.Now().Add(time.Hour)))
	settle(t, b, m)
}

// A schedule that is due may be in the server's hand already.
func TestCancelAScheduleThatIsDue(t *testing.T) {
	b := start(t, onCall("redeem"))
	m := makeCall("1")
	store(t, b, envelope.Retry(m, m.Subject, envelope.Progress{Attempts: 1, Tries: 1, Origin: "1", First: time.Now()}, time.Now().Add(-time.Second)))
	if done, err := b.CancelCall(t.Context(), shop, "1"); done || err != nil {
		t.Errorf("cancelled %v, %v", done, err)
	}
	receiveAndAck(t, b, "WORK_shop", "offers_redeem", 1)
}

// What is left of a call that was removed but may be under way stands in for it.
func TestASpareIsACallUnderWay(t *testing.T) {
	b := start(t, onCall("redeem"))
	m := makeCall("1")
	store(t, b, m)
	d := receive(t, b, "WORK_shop", "offers_redeem", 1)[0]
	if err := b.Delete(t.Context(), "WORK_shop", d.Sequence); err != nil {
		t.Fatal(err)
	}
	spare := func(due time.Time) {
		t.Helper()
		store(t, b, envelope.Spare(m, envelope.Progress{Origin: "1", First: time.Now()}, due))
	}
	spare(time.Now().Add(time.Hour))
	if c, err := b.FindCall(t.Context(), shop, "1"); err != nil || c.Result.State != envelope.Running {
		t.Errorf("the call is %q, %v", c.Result.State, err)
	}
	if done, err := b.CancelCall(t.Context(), shop, "1"); done || err != nil {
		t.Errorf("cancelled %v, %v", done, err)
	}
	spare(time.Now())
	d = receive(t, b, "WORK_shop", "offers_redeem", 1)[0]
	if ended, err := d.Ended(t.Context()); ended || err != nil || !d.IsSpare() {
		t.Errorf("ended %v, %v", ended, err)
	}
	item, _ := names.ParseWork(m.Subject)
	if err := b.StoreResult(t.Context(), item, envelope.Failed, bus.Ending{}); err != nil {
		t.Fatal(err)
	}
	if ended, err := d.Ended(t.Context()); !ended || err != nil {
		t.Errorf("ended %v, %v", ended, err)
	}
}

// race counts what becomes of calls that are stored, repeated, cancelled and
// made at the same time.
type race struct {
	*testing.T
	bus       *bus.Bus
	mu        sync.Mutex
	accepted  map[string]bool
	cancelled map[string]bool
	made      map[string]int
}

// call stands for the dispatcher: it makes a call, or puts it off.
func (r *race) call(d *bus.Delivered) {
	item, _ := names.ParseWork(d.Subject)
	p, err := d.Progress()
	if err != nil {
		r.Error(err)
		return
	}
	if p.Tries == 0 && rand.IntN(4) == 0 {
		p.Tries++
		if _, err := r.bus.Store(r.Context(), envelope.Retry(&d.Message, d.Subject, p, time.Now())); err != nil {
			r.Error(err)
		}
		_ = d.Ack()
		return
	}
	time.Sleep(rand.N(5 * time.Millisecond))
	r.mu.Lock()
	r.made[item.ID]++
	r.mu.Unlock()
	end := bus.Ending{Verdict: delivery.Verdict{Attempts: 1}}
	if err := r.bus.StoreResult(r.Context(), item, envelope.Succeeded, end); err != nil {
		r.Error(err)
	}
	_ = d.Ack()
}

// caller sends requests with a key, and cancels some.
func (r *race) caller(name string, k bus.Key) {
	for i := range 4 {
		id, err := r.bus.StoreOnce(r.Context(), k, fmt.Sprintf("%s%d", name, i), makeCall)
		if err != nil {
			r.Error(err)
			return
		}
		done := false
		if rand.IntN(3) > 0 {
			if done, err = r.bus.CancelCall(r.Context(), shop, id); err != nil && !errors.Is(err, bus.ErrNotFound) {
				r.Error(err)
			}
		}
		r.mu.Lock()
		r.accepted[id] = true
		r.cancelled[id] = r.cancelled[id] || done
		r.mu.Unlock()
	}
}

// Whatever the order: a call that was cancelled is never made, and every other
// one is made, once.
func TestCancelledOrMade(t *testing.T) {
	const keys, callers = 60, 2
	few, redeem := int32(2), onCall("redeem")
	redeem.Delivery = &v1alpha1.Delivery{Concurrency: &few} // so that calls wait
	b := start(t, redeem)
	r := &race{T: t, bus: b, accepted: map[string]bool{}, cancelled: map[string]bool{}, made: map[string]int{}}
	stop, err := b.Consume(t.Context(), "WORK_shop", "offers_redeem", 500, r.call)
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	var wg sync.WaitGroup
	for i := range keys {
		k := key(fmt.Sprint("k", i), "r")
		for c := range callers {
			wg.Go(func() { r.caller(fmt.Sprintf("k%dc%dn", i, c), k) })
		}
	}
	wg.Wait()
	cancelled, spares := 0, 0
	for id := range r.accepted {
		if r.cancelled[id] {
			cancelled++
			continue
		}
		eventually(t, "a call that was not cancelled is made, or has a spare", func() bool {
			if m, err := b.Last(t.Context(), "WORK_shop", names.Schedule(names.AnyCall(shop, id))); err == nil && m.IsSpare() {
				spares++
				return true
			}
			r.mu.Lock()
			defer r.mu.Unlock()
			return r.made[id] > 0
		})
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, n := range r.made {
		if n > 1 || r.cancelled[id] {
			t.Errorf("call %s was made %d times, cancelled: %v", id, n, r.cancelled[id])
		}
	}
	t.Logf("%d calls, %d made, %d cancelled, %d spares", len(r.accepted), len(r.made), cancelled, spares)
}
