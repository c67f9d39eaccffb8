package dispatch_test

import (
	"errors"
	"testing"
	"time"

	"github.com/serviceful/serviceful/operator/api/v1alpha1"
	"github.com/serviceful/serviceful/operator/internal/bus"
	"github.com/serviceful/serviceful/operator/internal/envelope"
	"github.com/serviceful/serviceful/operator/internal/names"
)

// A spare is made only if its call has no result.
func TestASpareIsMadeIfItsCallHasNotEnded(t *testing.T) {
	for name, ended := range map[string]bool{"ended": true, "not ended": false} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, inTurn(status(500), status(200)), []v1alpha1.Trigger{onCall("redeem", quick())})
			m := envelope.Call(offers, "redeem", "1", envelope.Request{Method: "POST", Target: "/redeem/1"}, nil)
			item, _ := names.ParseWork(m.Subject)
			if ended {
				if err := r.bus.StoreResult(t.Context(), item, envelope.Failed, bus.Ending{}); err != nil {
					t.Fatal(err)
				}
			}
			r.store(envelope.Spare(m, envelope.Progress{Origin: "1", First: time.Now()}, time.Now()))
			want, state := 2, envelope.Succeeded // the retry of a spare is like any other
			if ended {
				want, state = 0, envelope.Failed
			}
			eventually(t, "the spare is settled", func() bool {
				_, schedule := r.bus.Last(t.Context(), "WORK_shop", names.Schedule(m.Subject))
				_, due := r.bus.Last(t.Context(), "WORK_shop", m.Subject)
				return errors.Is(schedule, bus.ErrNotFound) && errors.Is(due, bus.ErrNotFound) && len(r.function.calls()) >= want
			})
			if n := len(r.function.calls()); n != want {
				t.Errorf("%d calls, want %d", n, want)
			}
			eventually(t, "the call has ended", func() bool {
				c, err := r.bus.FindCall(t.Context(), shop, "1")
				return err == nil && c.Result.State == state
			})
		})
	}
}
