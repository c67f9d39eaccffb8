package bus_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/serviceful/serviceful/operator/internal/bus"
	"github.com/serviceful/serviceful/operator/internal/delivery"
	"github.com/serviceful/serviceful/operator/internal/envelope"
	"github.com/serviceful/serviceful/operator/internal/names"
)

// calls brings calls into every state; the id of each is its state.
func calls(t *testing.T) *bus.Bus {
	t.Helper()
	b := start(t, onCall("redeem"), onCall("other"))
	now := time.Now()
	putOff := call("putoff", "body")
	store(t, b, envelope.Retry(putOff, putOff.Subject, envelope.Progress{Attempts: 2, Tries: 3, Origin: "putoff", First: now}, now.Add(time.Hour)))
	store(t, b, call("running", "body"))
	receive(t, b, "WORK_shop", "offers_redeem", 1)
	store(t, b, call("queued", "body"))

	answer := &envelope.Answer{Status: 201, Header: map[string][]string{"Content-Type": {"text/plain"}}, Body: []byte("the answer"), Truncated: true}
	for _, state := range []envelope.State{envelope.Succeeded, envelope.Failed} {
		item, _ := names.ParseWork(call(string(state), "").Subject)
		end := bus.Ending{Verdict: delivery.Verdict{Attempts: 4, Message: "why"}, Last: answer, Now: now}
		if err := b.StoreResult(t.Context(), item, state, end); err != nil {
			t.Fatal(err)
		}
	}
	v := delivery.Verdict{Action: delivery.Die, Attempts: 5, Reason: delivery.ReasonRetriesUsedUp, Message: "no more"}
	if err := b.Bury(t.Context(), call("dead", "body"), bus.Ending{Function: offers, Trigger: "redeem", Verdict: v, Last: answer, Now: now}); err != nil {
		t.Fatal(err)
	}
	return b
}

func TestFindCall(t *testing.T) {
	b := calls(t)
	tests := map[string]struct {
		state    envelope.State
		attempts int
		answer   bool
	}{
		"queued":    {envelope.Queued, 0, false},
		"putoff":    {envelope.Queued, 2, false},
		"running":   {envelope.Running, 0, false},
		"succeeded": {envelope.Succeeded, 4, true},
		"failed":    {envelope.Failed, 4, true},
		"dead":      {envelope.DeadState, 5, true},
	}
	for id, want := range tests {
		t.Run(id, func(t *testing.T) {
			c, err := b.FindCall(t.Context(), shop, id)
			if err != nil {
				t.Fatal(err)
			}
			if c.Result.State != want.state || c.Result.Attempts != want.attempts || c.Item.ID != id {
				t.Errorf("found %+v of %+v", c.Result, c.Item)
			}
			if !want.answer {
				if c.Result.Response != nil || c.Item.Trigger != "redeem" || c.Item.Function != offers {
					t.Errorf("found %+v of %+v", c.Result, c.Item)
				}
				return
			}
			r := c.Result.Response
			if r == nil || r.Status != 201 || r.Header.Get("Content-Type") != "text/plain" || !r.Truncated || string(c.Body) != "the answer" {
				t.Errorf("answer %+v, body %q", r, c.Body)
			}
			if c.Result.Message == "" || c.Result.Ended.IsZero() {
				t.Errorf("result %+v", c.Result)
			}
		})
	}
	for _, unknown := range []struct{ namespace, id string }{{shop, "unknown"}, {"elsewhere", "queued"}} {
		if _, err := b.FindCall(t.Context(), unknown.namespace, unknown.id); !errors.Is(err, bus.ErrNotFound) {
			t.Errorf("%v: %v, want ErrNotFound", unknown, err)
		}
	}
}

// A call that has ended says so even if its message is not yet removed.
func TestFindCallThatHasEnded(t *testing.T) {
	b := calls(t)
	for _, id := range []string{"queued", "putoff", "running"} {
		item, _ := names.ParseWork(call(id, "").Subject)
		if err := b.StoreResult(t.Context(), item, envelope.Failed, bus.Ending{}); err != nil {
			t.Fatal(err)
		}
		if c, err := b.FindCall(t.Context(), shop, id); err != nil || c.Result.State != envelope.Failed {
			t.Errorf("%s: %+v, %v", id, c.Result, err)
		}
		if done, err := b.CancelCall(t.Context(), shop, id); done || err != nil {
			t.Errorf("%s was cancelled: %v, %v", id, done, err)
		}
	}
}

func TestCancelCall(t *testing.T) {
	tests := map[string]bool{"queued": true, "putoff": true, "running": false, "succeeded": false, "failed": false, "dead": false}
	for id, want := range tests {
		t.Run(id, func(t *testing.T) {
			b := calls(t)
			done, err := b.CancelCall(t.Context(), shop, id)
			if done != want || err != nil {
				t.Fatalf("cancelled %v, %v; want %v", done, err, want)
			}
			_, err = b.FindCall(t.Context(), shop, id)
			if gone := errors.Is(err, bus.ErrNotFound); gone != want {
				t.Errorf("afterwards it is gone: %v, %v", gone, err)
			}
		})
	}
	b := calls(t)
	for _, id := range []string{"queued", "unknown"} {
		_, _ = b.CancelCall(t.Context(), shop, id)
		if done, err := b.CancelCall(t.Context(), shop, id); done || !errors.Is(err, bus.ErrNotFound) {
			t.Errorf("cancelling %s, which is not there: %v, %v", id, done, err)
		}
	}
}

// A call that was cancelled is never delivered; one that was not, is.
func TestCancelWhileCallsAreTaken(t *testing.T) {
	const n = 200
	b := start(t, onCall("redeem"))
	for i := range n {
		store(t, b, call(fmt.Sprint("c", i), "body"))
	}
	in := arrivals(t, b, "WORK_shop", "offers_redeem")
	cancelled := map[string]bool{}
	for i := n - 1; i >= 0; i-- {
		id := fmt.Sprint("c", i)
		done, err := b.CancelCall(t.Context(), shop, id)
		if err != nil && !errors.Is(err, bus.ErrNotFound) {
			t.Fatal(err)
		}
		cancelled[id] = done
	}
	store(t, b, call("end", ""))
	for {
		item, _ := names.ParseWork(next(t, in).Subject)
		if item.ID == "end" {
			break
		}
		if cancelled[item.ID] {
			t.Errorf("call %s was cancelled and delivered", item.ID)
		}
		delete(cancelled, item.ID)
	}
	for id, done := range cancelled {
		if !done {
			t.Errorf("call %s was neither cancelled nor delivered", id)
		}
	}
}
