package bus_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/serviceful/serviceful/operator/internal/bus"
	"github.com/serviceful/serviceful/operator/internal/envelope"
	"github.com/serviceful/serviceful/operator/internal/names"
	"github.com/serviceful/serviceful/operator/internal/testkit/natstest"
)

// TestKept checks for how long events, results and idempotency keys are kept: what
// the streams say, and that the server does what they say, with a shorter time.
func TestKept(t *testing.T) {
	s := natstest.Server(t)
	b, js := natstest.Connect(t, s), raw(t, s)
	layOut(t, b, onCall("redeem"), onEvent("welcome", "a.b"))
	for name, want := range map[string]time.Duration{"EV_shop": 7 * 24 * time.Hour, "RES_shop": 24 * time.Hour} {
		stream, err := js.Stream(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		cfg := stream.CachedInfo().Config
		if cfg.MaxAge != want {
			t.Errorf("%s keeps for %v, want %v", name, cfg.MaxAge, want)
		}
		cfg.MaxAge, cfg.Duplicates = 2*time.Second, 2*time.Second
		if _, err := js.UpdateStream(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
	}
	once := func(id string) string {
		got, err := b.StoreOnce(t.Context(), key("k", "r"), id, makeCall)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	publish(t, b, someEvents("a.b", 3)...)
	item, _ := names.ParseWork(call("ended", "").Subject)
	if err := b.StoreResult(t.Context(), item, envelope.Succeeded, bus.Ending{}); err != nil {
		t.Fatal(err)
	}
	if got := once("first"); got != "first" {
		t.Errorf("a new key is the call %q", got)
	}
	eventually(t, "the events are gone", func() bool { return len(ids(t, b)) == 0 })
	eventually(t, "the result is gone", func() bool {
		_, err := b.FindCall(t.Context(), shop, "ended")
		return errors.Is(err, bus.ErrNotFound)
	})
	eventually(t, "the key is free", func() bool { return once("second") == "second" })
}

// TestLastEighth checks how much of a store what comes from outside may fill.
func TestLastEighth(t *testing.T) {
	const limit, each = 8 << 20, 100 << 10
	s, b, _ := serve(t, bus.EmbeddedConfig{Dir: t.TempDir(), MaxStore: limit})
	layOut(t, b, onCall("redeem"))
	in, n := bus.Inlet{Bus: b, Room: s.Room}, 0
	for ; ; n++ {
		_, err := in.Store(t.Context(), call(fmt.Sprint(n), strings.Repeat("x", each)))
		if errors.Is(err, bus.ErrFull) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if used := n * each; used > limit*7/8+each || used < limit*7/8-2*each { // a message takes a little more than its body
		t.Errorf("it is full with %d of %d bytes", used, limit)
	}
	for i := range limit / 8 / each / 2 { // what was accepted before goes on
		store(t, b, call(fmt.Sprint("more", i), strings.Repeat("x", each)))
	}
}
