package bus_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/serviceful/serviceful/operator/internal/bus"
	"github.com/serviceful/serviceful/operator/internal/envelope"
	"github.com/serviceful/serviceful/operator/internal/names"
)

func window(t *testing.T, b *bus.Bus, r bus.Rerun, from, to time.Time) (sequences []uint64) {
	t.Helper()
	subjects, err := b.Heard(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	err = b.Window(t.Context(), shop, subjects, from, to, func(m *envelope.Message) error {
		sequences = append(sequences, m.Sequence)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return sequences
}

// TestRerun sends a part of the log to one of two triggers again: what that one
// hears, and nothing else to anybody.
func TestRerun(t *testing.T) {
	b := start(t, onEvent("welcome", "a.*"), onEvent("other", "a.b"))
	publish(t, b, newEvent("a.b", "before"))
	receiveAndAck(t, b, "EV_shop", "offers_welcome", 1)
	from := stored(t, b, "EV_shop", "ev.shop.a.b")[0].Stored.Add(1)
	publish(t, b, newEvent("a.b", "1"))
	publish(t, b, newEvent("b.b", "not heard"))
	publish(t, b, newEvent("a.c", "2"))
	to := stored(t, b, "EV_shop", "ev.shop.a.c")[0].Stored.Add(1)
	publish(t, b, newEvent("a.b", "after"))
	receiveAndAck(t, b, "EV_shop", "offers_welcome", 3)
	receiveAndAck(t, b, "EV_shop", "offers_other", 3)

	r := bus.Rerun{Function: offers, Trigger: "welcome", ID: "run1", Began: time.Now()}
	all := window(t, b, r, from, to)
	if want := []uint64{2, 4}; !slices.Equal(all, want) {
		t.Fatalf("the window holds %v, want %v", all, want)
	}
	if n, last, err := b.Sent(t.Context(), r); n != 0 || last != 0 || err != nil {
		t.Errorf("sent before it began: %d to %d, %v", n, last, err)
	}
	for i, sequence := range all {
		for range 2 { // as if it had been cut short before it heard that the first was stored
			if err := b.Send(t.Context(), r, sequence, time.Now()); err != nil {
				t.Fatal(err)
			}
		}
		if n, last, err := b.Sent(t.Context(), r); n != i+1 || last != sequence || err != nil {
			t.Errorf("sent: %d to %d, %v; want %d to %d", n, last, err, i+1, sequence)
		}
	}
	other := r
	other.ID = "run2"
	if n, _, err := b.Sent(t.Context(), other); n != 0 || err != nil {
		t.Errorf("another run has sent %d, %v", n, err)
	}
	if got, want := receiveAndAck(t, b, "EV_shop", "offers_welcome", 2), []string{"data of 1", "data of 2"}; !slices.Equal(got, want) {
		t.Errorf("again came %q, want %q", got, want)
	}
	publish(t, b, newEvent("a.b", "next"))
	for _, consumer := range []string{"offers_welcome", "offers_other"} {
		if got := receiveAndAck(t, b, "EV_shop", consumer, 1); got[0] != "data of next" {
			t.Errorf("%s got %q, which it should not", consumer, got)
		}
	}
}

// TestRerunOfWhatIsPutOff sends an event again that waits for its repetition:
// neither takes the other's place.
func TestRerunOfWhatIsPutOff(t *testing.T) {
	b := start(t, onEvent("welcome", "a.b"))
	relayRetries(t, b)
	publish(t, b, newEvent("a.b", "1"))
	d := receive(t, b, "EV_shop", "offers_welcome", 1)[0]
	if err := d.Ack(); err != nil {
		t.Fatal(err)
	}
	r := bus.Rerun{Function: offers, Trigger: "welcome", ID: "run1", Began: time.Now()}
	if err := b.Send(t.Context(), r, 1, time.Now()); err != nil {
		t.Fatal(err)
	}
	again := receive(t, b, "EV_shop", "offers_welcome", 1)[0]
	for _, m := range []*bus.Delivered{d, again} {
		p, err := m.Progress()
		if err != nil || p.Attempts != 0 {
			t.Fatalf("%+v, %v", p, err)
		}
		p.Attempts, p.Tries = 1, 1
		store(t, b, retried(&m.Message, names.EventDue(offers, "welcome"), p, time.Now().Add(time.Second)))
	}
	if err := again.Ack(); err != nil {
		t.Fatal(err)
	}
	origins := map[string]bool{}
	for _, m := range receive(t, b, "EV_shop", "offers_welcome", 2) {
		p, _ := m.Progress()
		origins[p.Origin] = p.Attempts == 1
	}
	if !origins["1"] || !origins["1-run1"] {
		t.Errorf("put off, there came %v", origins)
	}
}

func TestRerunToNobody(t *testing.T) {
	b := start(t, onCall("redeem"))
	for _, trigger := range []string{"redeem", "gone"} {
		if _, err := b.Heard(t.Context(), bus.Rerun{Function: offers, Trigger: trigger}); !errors.Is(err, bus.ErrNoTrigger) {
			t.Errorf("%s: %v", trigger, err)
		}
	}
	if err := b.Send(t.Context(), bus.Rerun{Function: offers, Trigger: "gone", ID: "r"}, 7, time.Now()); !errors.Is(err, bus.ErrNotFound) {
		t.Errorf("an event that is not there: %v", err)
	}
	if _, err := b.Heard(t.Context(), bus.Rerun{Function: names.Function{Namespace: "elsewhere", Name: "f"}, Trigger: "t"}); !errors.Is(err, bus.ErrNoTrigger) {
		t.Errorf("elsewhere: %v", err)
	}
}
