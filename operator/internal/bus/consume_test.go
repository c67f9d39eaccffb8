package bus_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/serviceful/serviceful/operator/api/v1alpha1"
	"github.com/serviceful/serviceful/operator/internal/bus"
	"github.com/serviceful/serviceful/operator/internal/testkit/natstest"
)

// patient is a bus on which nothing comes back by itself while a test runs.
func patient(t *testing.T, f v1alpha1.Trigger) *bus.Bus {
	t.Helper()
	b := natstest.Connect(t, natstest.Server(t))
	s := layOut(t, b, f)
	if err := (bus.Layout{Bus: b, AckWait: time.Hour}).Apply(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	return b
}

// A released message comes back, and does not wait until AckWait is over.
func TestRelease(t *testing.T) {
	b := patient(t, onCall("redeem"))
	store(t, b, call("1", "body"))
	if err := receive(t, b, "WORK_shop", "offers_redeem", 1)[0].Release(); err != nil {
		t.Fatal(err)
	}
	receiveAndAck(t, b, "WORK_shop", "offers_redeem", 1)
}

// When the pulling has ended nothing is handled any more, and what comes late is
// handed back: nothing is lost by an end in the middle.
func TestStopWhileMessagesCome(t *testing.T) {
	const messages = 500
	few := int32(5)
	trigger := onCall("redeem")
	trigger.Delivery = &v1alpha1.Delivery{Concurrency: &few}
	b := patient(t, trigger)
	for i := range messages {
		store(t, b, call(fmt.Sprint(i), fmt.Sprint(i)))
	}
	var mu sync.Mutex
	handled, late := map[string]bool{}, 0
	count := func() int {
		mu.Lock()
		defer mu.Unlock()
		return len(handled)
	}
	for count() < messages {
		before, stopped := count(), false
		stop, err := b.Consume(t.Context(), "WORK_shop", "offers_redeem", 500, func(d *bus.Delivered) {
			mu.Lock()
			defer mu.Unlock()
			handled[string(d.Body)] = true
			if stopped {
				late++
			}
			if err := d.Ack(); err != nil {
				t.Error(err)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		eventually(t, "some are handled", func() bool { return count() >= min(before+10, messages) })
		stop()
		mu.Lock()
		stopped = true
		mu.Unlock()
	}
	if late > 0 {
		t.Errorf("%d were handled after the end", late)
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
	eventually(t, "it is settled", func() bool {
		_, err := b.Last(t.Context(), "WORK_shop", call("1", "").Subject)
		return errors.Is(err, bus.ErrNotFound)
	})
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
