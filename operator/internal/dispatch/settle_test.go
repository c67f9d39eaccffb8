package dispatch_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/serviceful/serviceful/operator/api/v1alpha1"
	"github.com/serviceful/serviceful/operator/internal/bus"
	"github.com/serviceful/serviceful/operator/internal/delivery"
	"github.com/serviceful/serviceful/operator/internal/dispatch"
	"github.com/serviceful/serviceful/operator/internal/envelope"
	"github.com/serviceful/serviceful/operator/internal/names"
)

var errRefused = errors.New("refused by the test")

// keeper asks before each step whether the store takes it.
type keeper struct {
	dispatch.Keeper
	ask func() error
}

func (k keeper) Store(ctx context.Context, m *envelope.Message) (bus.Stored, error) {
	if err := k.ask(); err != nil {
		return bus.Stored{}, err
	}
	return k.Keeper.Store(ctx, m)
}

func (k keeper) Bury(ctx context.Context, m *envelope.Message, end bus.Ending) error {
	if err := k.ask(); err != nil {
		return err
	}
	return k.Keeper.Bury(ctx, m, end)
}

func (k keeper) StoreResult(ctx context.Context, item names.WorkItem, state envelope.State, end bus.Ending) error {
	if err := k.ask(); err != nil {
		return err
	}
	return k.Keeper.StoreResult(ctx, item, state, end)
}

// While the store refuses, a message stays at work; then it is settled without
// another call.
func TestSettleUntilTheStoreTakesIt(t *testing.T) {
	const refusals = 3
	tests := map[string]struct {
		answers answers
		trigger v1alpha1.Trigger
		want    end
	}{
		"a retry of an event": {answers{status(500), status(200)}, onEvent("redeem", quick(), "in.a"), twice},
		"a dead event":        {answers{status(400)}, onEvent("redeem", quick(), "in.a"), rejected(400)},
		"a call's success":    {answers{answer(200, "done")}, onCall("redeem", quick()), once},
		"a call's failure":    {answers{answer(400, "no")}, onCall("redeem", quick()), failed(400)},
		"a retry of a call":   {answers{answer(500, "no"), answer(200, "done")}, onCall("redeem", quick()), twice},
		"a dead call":         {answers{answer(500, "no")}, onCall("redeem", quick(retry(0))), end{1, envelope.DeadState, delivery.ReasonRetriesUsedUp, 500}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			stream := "WORK_shop"
			if test.trigger.Event != nil {
				stream = "EV_shop"
			}
			var asked atomic.Int64
			r := newRig(t, inTurn(test.answers...), []v1alpha1.Trigger{test.trigger}, func(r *rig) {
				r.config.Keeper = keeper{r.config.Keeper, func() error {
					if asked.Add(1) > refusals {
						return nil
					}
					if info := r.consumer(stream, "offers_redeem"); info.NumAckPending != 1 || info.AckFloor.Stream != 0 {
						t.Errorf("at work: %d, settled up to %d", info.NumAckPending, info.AckFloor.Stream)
					}
					return errRefused
				}}
			})
			if test.trigger.Event != nil {
				r.publish(newEvent("in.a", "1"))
			} else {
				r.accept("1")
			}
			r.wantCalls(test.want.calls)
			r.wantDead("redeem", test.want)
			if test.trigger.Event == nil {
				r.wantResult("1", test.want)
			}
			if n := asked.Load(); n <= refusals {
				t.Errorf("the store was asked %d times", n)
			}
		})
	}
}

// What the store will never take does not keep a message at work for ever.
func TestSettleWhatIsTooLarge(t *testing.T) {
	for name, trigger := range map[string]v1alpha1.Trigger{"event": onEvent("redeem", quick(), "in.a"), "call": onCall("redeem", quick())} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, status(500), []v1alpha1.Trigger{trigger}, func(r *rig) { r.config.Keeper = small{r.config.Keeper} })
			if trigger.Event != nil {
				r.publish(newEvent("in.a", "1"))
			} else {
				r.accept("1")
			}
			r.wantCalls(1)
			r.wantDead("redeem", end{1, envelope.DeadState, delivery.ReasonTooLarge, 500})
		})
	}
}

// small takes no copies.
type small struct{ dispatch.Keeper }

func (small) Store(context.Context, *envelope.Message) (bus.Stored, error) {
	return bus.Stored{}, bus.ErrTooLarge
}

// A store that refuses for good does not keep a dispatcher from stopping, and
// nothing is lost.
func TestStopWhileTheStoreRefuses(t *testing.T) {
	var refuse atomic.Bool
	refuse.Store(true)
	asked := make(chan struct{}, 1000)
	r := newRig(t, status(500), []v1alpha1.Trigger{onCall("redeem", quick(retry(0)))}, withAckWait, func(r *rig) {
		r.config.Grace = 1
		r.config.Keeper = keeper{r.config.Keeper, func() error {
			asked <- struct{}{}
			if refuse.Load() {
				return errRefused
			}
			return nil
		}}
	})
	r.accept("1")
	<-asked
	r.dispatcher.Stop(context.WithoutCancel(r.t.Context()))
	if info := r.consumer("WORK_shop", "offers_redeem"); info.NumAckPending+int(info.NumPending) != 1 {
		t.Errorf("at work: %d, waiting: %d", info.NumAckPending, info.NumPending)
	}
	refuse.Store(false)
	r.start()
	r.settled()
	if letters := r.dead("redeem"); len(letters) != 1 || letters[0].Attempts != 1 {
		t.Errorf("dead letters %+v", letters)
	}
}

// An answer may be larger than what is kept of it.
func TestLargeAnswers(t *testing.T) {
	large := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			for _, key := range []string{"A", "B", "C", "D"} {
				w.Header().Set("X-"+key, strings.Repeat("x", 30<<10))
			}
			w.WriteHeader(code)
			_, _ = w.Write(make([]byte, envelope.MaxResponse+100))
		}
	}
	for name, test := range map[string]struct {
		code int
		want envelope.State
	}{"success": {200, envelope.Succeeded}, "failure": {400, envelope.Failed}, "dead": {500, envelope.DeadState}} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, large(test.code), []v1alpha1.Trigger{onCall("redeem", quick(retry(0)))})
			r.accept("1")
			r.wantCalls(1)
			c, err := r.bus.FindCall(t.Context(), shop, "1")
			if err != nil || c.Result.State != test.want || c.Result.Response == nil || !c.Result.Response.Truncated || len(c.Body) != envelope.MaxResponse {
				t.Errorf("result %+v with %d bytes, %v", c.Result, len(c.Body), err)
			}
		})
	}
}
