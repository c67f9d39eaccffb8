package controller

import (
	"testing"
	"time"

	"github.com/serviceful/serviceful/operator/internal/names"
)

const watcher = "triggers: [{name: changed, keyValue: {bucket: things}}]"

// relayed reports whether the changes of the bucket things are relayed.
func (w *world) relayed() bool {
	w.t.Helper()
	for name := range w.jetstream().StreamNames(w.t.Context()).Name() {
		if name != names.BucketStream(w.ns, "things") {
			continue
		}
		s, err := w.jetstream().Stream(w.t.Context(), name)
		if err != nil {
			w.t.Fatal(err)
		}
		for consumer := range s.ConsumerNames(w.t.Context()).Name() {
			if consumer == names.ChangesConsumer {
				return true
			}
		}
	}
	return false
}

// TestRelay has one relay of a bucket's changes as long as some Function watches
// them.
func TestRelay(t *testing.T) {
	w := start(t)
	a, b := w.create("a", watcher), w.create("b", watcher)
	w.ready(a)
	w.ready(b)
	if !w.relayed() {
		t.Fatal("nobody relays")
	}
	if err := w.jetstream().DeleteConsumer(t.Context(), names.BucketStream(w.ns, "things"), names.ChangesConsumer); err != nil {
		t.Fatal(err)
	}
	w.eventually("a lost relay is back", w.relayed)
	w.delete(a)
	w.eventually("the first Function is gone", func() bool { return !w.exists(a) })
	time.Sleep(100 * time.Millisecond) // some surveys
	if !w.relayed() {
		t.Error("the relay is gone while a Function watches")
	}
	w.delete(b)
	w.eventually("the second Function is gone", func() bool { return !w.exists(b) })
	w.eventually("the relay is gone", func() bool { return !w.relayed() })
	c := w.create("c", watcher)
	w.ready(c)
	if !w.relayed() {
		t.Error("nobody relays again")
	}
}
