package bus_test

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/serviceful/serviceful/operator/internal/bus"
	"github.com/serviceful/serviceful/operator/internal/testkit/natstest"
)

// A released message comes back at once, long before AckWait is over.
func TestRelease(t *testing.T) {
	b := start(t, onCall("redeem"))
	store(t, b, call("1", "body"))
	began := time.Now()
	if err := receive(t, b, "WORK_shop", "offers_redeem", 1)[0].Release(); err != nil {
		t.Fatal(err)
	}
	receiveAndAck(t, b, "WORK_shop", "offers_redeem", 1)
	if took := time.Since(began); took > bus.AckWait/2 {
		t.Errorf("it came back after %v", took)
	}
}

// What the server has handed out when the pulling ends was handled, and nothing
// is handled after.
func TestStopHandlesWhatArrived(t *testing.T) {
	s := natstest.Server(t)
	b, js := natstest.Connect(t, s), raw(t, s)
	layOut(t, b, onCall("redeem"))
	for i := range 500 {
		store(t, b, call(fmt.Sprint(i), "body"))
	}
	for round := range 10 {
		var handled atomic.Int64
		stop, err := b.Consume(t.Context(), "WORK_shop", "offers_redeem", 7, func(d *bus.Delivered) {
			handled.Add(1)
			if err := d.Ack(); err != nil {
				t.Error(err)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		eventually(t, "some are handled", func() bool { return handled.Load() > int64(round) })
		stop()
		n := handled.Load()
		eventually(t, "all that were handed out are settled", func() bool {
			c, err := js.Consumer(t.Context(), "WORK_shop", "offers_redeem")
			return err == nil && c.CachedInfo().NumAckPending == 0
		})
		if late := handled.Load() - n; late > 0 {
			t.Errorf("%d were handled after the end", late)
		}
	}
}

// A consumer that is removed and made again is pulled on.
func TestConsumeGoesOnWithANewConsumer(t *testing.T) {
	s := natstest.Server(t)
	b := natstest.Connect(t, s)
	layOut(t, b, onCall("redeem"))
	in := arrivals(t, b, "WORK_shop", "offers_redeem")
	store(t, b, call("1", "before"))
	next(t, in)
	stream, err := raw(t, s).Stream(t.Context(), "WORK_shop")
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.DeleteConsumer(t.Context(), "offers_redeem"); err != nil {
		t.Fatal(err)
	}
	store(t, b, call("2", "between"))
	layOut(t, b, onCall("redeem"))
	if got := string(next(t, in).Body); got != "between" {
		t.Errorf("it got %q", got)
	}
}
