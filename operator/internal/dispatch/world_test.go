package dispatch_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/serviceful/serviceful/operator/api/v1alpha1"
	"github.com/serviceful/serviceful/operator/internal/delivery"
	"github.com/serviceful/serviceful/operator/internal/envelope"
	"github.com/serviceful/serviceful/operator/internal/invoke"
	"github.com/serviceful/serviceful/operator/internal/testkit/loopback"
)

var errNotStarted = &invoke.StartError{Function: offers, Reason: invoke.Exited, Detail: "exit status 1", Lines: []string{"panic: no"}}

// A function that could not be called loses no attempt by it.
func TestNotCalled(t *testing.T) {
	const failures = 4 // more than the policy's two retries
	tests := map[string]func(t *testing.T) (address string, err error){
		"not started":   func(*testing.T) (string, error) { return "", errNotStarted },
		"no connection": func(t *testing.T) (string, error) { return loopback.Address(t), nil },
	}
	for name, fail := range tests {
		for source, trigger := range map[string]v1alpha1.Trigger{"event": onEvent("redeem", quick(), "in.a"), "call": onCall("redeem", quick())} {
			t.Run(source+"/"+name, func(t *testing.T) {
				var tries atomic.Int64
				r := newRig(t, inTurn(status(500), status(200)), []v1alpha1.Trigger{trigger}, func(r *rig) {
					r.world.acquire = func(context.Context) (string, error) {
						if tries.Add(1) <= failures {
							return fail(t)
						}
						return r.function.address(), nil
					}
				})
				if source == "event" {
					r.publish(newEvent("in.a", "1"))
				} else {
					r.accept("1")
				}
				r.wantCalls(2)
				r.wantDead("redeem", twice)
				if n := tries.Load(); n != failures+2 {
					t.Errorf("an instance was asked for %d times", n)
				}
			})
		}
	}
}

func TestNeverCalledIsDeadInTheEnd(t *testing.T) {
	d := quick(maxAge(300 * time.Millisecond))
	r := newRig(t, status(200), []v1alpha1.Trigger{onEvent("welcome", d, "in.a"), onCall("redeem", d)}, func(r *rig) {
		r.world.acquire = func(context.Context) (string, error) { return "", errNotStarted }
	})
	r.publish(newEvent("in.a", "1"))
	r.accept("1")
	r.wantCalls(0)
	want := end{0, envelope.DeadState, delivery.ReasonMaxAge, 0}
	r.wantDead("welcome", want)
	r.wantDead("redeem", want)
	r.wantResult("1", want)
}

// The function's timeout counts from when there is an instance.
func TestStartingTakesNoTimeFromACall(t *testing.T) {
	r := newRig(t, status(200), []v1alpha1.Trigger{onCall("redeem", quick(timeout("PT0.2S")))}, func(r *rig) {
		r.world.acquire = func(ctx context.Context) (string, error) {
			select {
			case <-time.After(500 * time.Millisecond):
				return r.function.address(), nil
			case <-ctx.Done():
				return "", ctx.Err()
			}
		}
	})
	r.accept("1")
	r.wantCalls(1)
	if c, err := r.bus.FindCall(t.Context(), shop, "1"); err != nil || c.Result.State != envelope.Succeeded {
		t.Errorf("result %+v, %v", c.Result, err)
	}
}
