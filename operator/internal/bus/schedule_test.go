package bus_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/serviceful/serviceful/operator/internal/bus"
	"github.com/serviceful/serviceful/operator/internal/envelope"
	"github.com/serviceful/serviceful/operator/internal/event"
	"github.com/serviceful/serviceful/operator/internal/names"
)

// arrival is a message and when it came.
type arrival struct {
	*bus.Delivered
	at time.Time
}

// arrivals takes the messages of a consumer as they come.
func arrivals(t *testing.T, b *bus.Bus, stream, consumer string) <-chan arrival {
	t.Helper()
	out := make(chan arrival, 1000)
	stop, err := b.Consume(t.Context(), stream, consumer, 100, func(d *bus.Delivered) {
		out <- arrival{d, time.Now()}
		_ = d.Ack()
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	return out
}

func next(t *testing.T, from <-chan arrival) arrival {
	t.Helper()
	select {
	case a := <-from:
		return a
	case <-time.After(2 * time.Minute):
		t.Fatal("no message for 2 min")
		return arrival{}
	}
}

func TestRetryComesBackWhenDue(t *testing.T) {
	const messages = 100
	b := start(t, onCall("redeem"), onEvent("welcome", "a.b"))
	relayRetries(t, b)
	publish(t, b, newEvent("a.b", "the event"))
	e := stored(t, b, "EV_shop", "ev.shop.a.b")[0]
	tests := map[string]struct {
		stream, consumer string
		message          func(id string) (m *envelope.Message, due string)
		back             func(due string) string // what it comes on in the end
		check            func(d *bus.Delivered) bool
	}{
		"event": {
			"EV_shop", "offers_welcome",
			func(id string) (*envelope.Message, string) { return e, names.EventDue(offers, "welcome") },
			names.Returned,
			func(d *bus.Delivered) bool { return event.FromStored(d.Header, d.Body).ID() == "the event" },
		},
		"call": {
			"WORK_shop", "offers_redeem",
			func(id string) (*envelope.Message, string) { m := call(id, "body"); return m, m.Subject },
			func(due string) string { return due },
			func(d *bus.Delivered) bool { r, err := d.Request(); return err == nil && r.Target == "/redeem" },
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			first := time.Now().Add(-time.Hour).UTC()
			due := map[string]time.Time{}
			body := ""
			for i := range messages {
				id := fmt.Sprint(i)
				m, target := test.message(id)
				body, due[id] = string(m.Body), time.Now().Add(time.Duration(i)*7*time.Millisecond)
				p := envelope.Progress{Attempts: i, Tries: i + 1, Origin: id, First: first}
				store(t, b, envelope.Retry(m, target, p, due[id]), envelope.Retry(m, target, p, due[id])) // a step repeated
			}
			in := arrivals(t, b, test.stream, test.consumer)
			for seen := 0; seen < messages; {
				a := next(t, in)
				p, err := a.Progress()
				if err != nil {
					t.Fatal(err)
				}
				if p.Origin == "1" && name == "event" && p.Tries == 0 {
					continue // the event itself
				}
				when, waits := due[p.Origin]
				if !waits {
					t.Fatalf("message %+v came twice, or never was", p)
				}
				delete(due, p.Origin)
				seen++
				if a.at.Before(when) {
					t.Errorf("message %s came %v early", p.Origin, when.Sub(a.at))
				}
				if fmt.Sprint(p.Attempts) != p.Origin || p.Tries != p.Attempts+1 || !p.First.Equal(first) {
					t.Errorf("progress %+v, want first %v", p, first)
				}
				if _, target := test.message(p.Origin); a.Subject != test.back(target) || string(a.Body) != body || !test.check(a.Delivered) {
					t.Errorf("message %s on %s: %q", p.Origin, a.Subject, a.Body)
				}
			}
			expectNothing(t, b, test.stream, in)
		})
	}
}

// expectNothing shows that no more of a trigger's messages come: one that was
// stored later comes first.
func expectNothing(t *testing.T, b *bus.Bus, stream string, in <-chan arrival) {
	t.Helper()
	if stream == "EV_shop" {
		publish(t, b, newEvent("a.b", "marker"))
	} else {
		store(t, b, call("marker", "marker"))
	}
	a := next(t, in)
	if a.Header.Get("ce-id") != "marker" && string(a.Body) != "marker" {
		p, _ := a.Progress()
		t.Errorf("there was one more: %s %+v", a.Subject, p)
	}
}

// The copy of a step that is repeated after its schedule has fired is not
// stored again.
func TestRetryStoredAgainAfterItFired(t *testing.T) {
	b := start(t, onCall("redeem"))
	m := call("1", "body")
	p := envelope.Progress{Attempts: 1, Tries: 1, Origin: "1", First: time.Now()}
	in := arrivals(t, b, "WORK_shop", "offers_redeem")
	store(t, b, envelope.Retry(m, m.Subject, p, time.Now()))
	next(t, in)
	again, err := b.Store(t.Context(), envelope.Retry(m, m.Subject, p, time.Now()))
	if err != nil || !again.Duplicate {
		t.Errorf("stored %+v, %v", again, err)
	}
	expectNothing(t, b, "WORK_shop", in)

	p.Attempts, p.Tries = 2, 2 // the next step is another one
	store(t, b, envelope.Retry(m, m.Subject, p, time.Now()))
	if got, err := next(t, in).Progress(); err != nil || got.Attempts != 2 {
		t.Errorf("progress %+v, %v", got, err)
	}
}

func TestRetryOverdueAfterRestart(t *testing.T) {
	dir := t.TempDir()
	_, b, stop := serve(t, bus.EmbeddedConfig{Dir: dir})
	layOut(t, b, onCall("redeem"))
	m := call("1", "body")
	p := envelope.Progress{Attempts: 1, Tries: 1, Origin: "1", First: time.Now()}
	due := time.Now().Add(300 * time.Millisecond)
	store(t, b, envelope.Retry(m, m.Subject, p, due))
	stop()
	eventually(t, "it is overdue", func() bool { return time.Now().After(due) })
	_, b, _ = serve(t, bus.EmbeddedConfig{Dir: dir})
	if got, err := next(t, arrivals(t, b, "WORK_shop", "offers_redeem")).Progress(); err != nil || got.Attempts != 1 {
		t.Errorf("progress %+v, %v", got, err)
	}
}
