package dispatch_test

import (
	"maps"
	"net/http"
	"slices"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/serviceful/serviceful/operator/internal/envelope"
	"github.com/serviceful/serviceful/operator/internal/names"
)

// scan is every message on a subject, oldest first.
func (r *rig) scan(stream, subject string) []*envelope.Message {
	r.t.Helper()
	var out []*envelope.Message
	err := r.bus.Scan(r.t.Context(), stream, subject, func(m *envelope.Message) error {
		out = append(out, m)
		return nil
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return out
}

// dead are the dead letters of a trigger.
func (r *rig) dead(trigger string) []envelope.DeadLetter {
	r.t.Helper()
	var out []envelope.DeadLetter
	for _, m := range r.scan(names.Dead(shop), names.DeadSubject(offers, trigger)) {
		d, _, err := m.DeadLetter()
		if err != nil {
			r.t.Fatal(err)
		}
		out = append(out, d)
	}
	return out
}

// letters are all dead letters, by message.
func (r *rig) letters() map[string][]envelope.DeadLetter {
	r.t.Helper()
	out := map[string][]envelope.DeadLetter{}
	for _, m := range r.scan(names.Dead(shop), "dead."+shop+".>") {
		d, _, err := m.DeadLetter()
		if err != nil {
			r.t.Fatal(err)
		}
		id := "event " + m.Header.Get("ce-id")
		if item, ok := names.ParseWork(d.Subject); ok {
			id = "call " + item.ID
		}
		out[id] = append(out[id], d)
	}
	return out
}

// messageID names the message of a call: "event 7" or "call 7".
func messageID(h http.Header) string {
	if id := h.Get("Serviceful-Call-Id"); id != "" {
		return "call " + id
	}
	return "event " + h.Get("Ce-Id")
}

// published are the ids of the events in the log of some type, which may hold
// wildcards.
func (r *rig) published(eventType string) []string {
	r.t.Helper()
	out := []string{}
	for _, m := range r.scan(names.Events(shop), "ev."+shop+"."+eventType) {
		out = append(out, m.Header.Get("ce-id"))
	}
	return out
}

// consumer is the state of a trigger's consumer.
func (r *rig) consumer(stream, name string) *jetstream.ConsumerInfo {
	r.t.Helper()
	c, err := r.js.Consumer(r.t.Context(), stream, name)
	if err != nil {
		r.t.Fatal(err)
	}
	return c.CachedInfo()
}

// idle reports whether the triggers have nothing left to do: nothing waits, is
// at work or is put off. It looks in the order in which messages move on, and what is
// put off between two looks is found by the second round.
func (r *rig) idle() bool {
	r.t.Helper()
	for range 2 {
		if r.putOff(names.Retries(shop)) > 0 || r.putOff(names.Work(shop)) > 0 {
			return false
		}
		for _, s := range slices.Backward(r.snapshot.Load().Subscriptions) { // the event log's come first there
			if info := r.consumer(s.Stream, s.Consumer); info.NumPending > 0 || info.NumAckPending > 0 {
				return false
			}
		}
	}
	return true
}

// putOff is how many messages of a stream are put off.
func (r *rig) putOff(stream string) int {
	r.t.Helper()
	_, subjects := r.waits(stream)
	return len(subjects)
}

// waits are the subjects of the messages of a stream that are put off.
func (r *rig) waits(stream string) (s jetstream.Stream, subjects []string) {
	r.t.Helper()
	s, err := r.js.Stream(r.t.Context(), stream)
	if err != nil {
		r.t.Fatal(err)
	}
	prefix := "worksched.>"
	if stream == names.Retries(shop) {
		prefix = "evsched.>"
	}
	info, err := s.Info(r.t.Context(), jetstream.WithSubjectFilter(prefix))
	if err != nil {
		r.t.Fatal(err)
	}
	return s, slices.Collect(maps.Keys(info.State.Subjects))
}

// settled waits until the triggers are idle.
func (r *rig) settled() {
	r.t.Helper()
	eventually(r.t, "everything is settled", r.idle)
}
