package bus_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/serviceful/serviceful/operator/api/v1alpha1"
	"github.com/serviceful/serviceful/operator/internal/bus"
	"github.com/serviceful/serviceful/operator/internal/testkit/natstest"
	"github.com/serviceful/serviceful/operator/internal/wiring"
)

// TestReplicas has three servers, streams that one of them keeps, and then all:
// what was stored is there, what is stored can be read at once, and any one
// server may go.
func TestReplicas(t *testing.T) {
	c := natstest.StartCluster(t, 3)
	b := c.Connect()
	s := wiring.Compile([]v1alpha1.Function{function(onCall("redeem"), onEvent("joined", "joined"))}, wiring.Hosts{Any: true})
	apply := func(replicas int) {
		t.Helper()
		succeeds(t, "the layout is applied", func() error { return bus.Layout{Bus: b, Replicas: replicas}.Apply(t.Context(), s) })
	}
	apply(1)
	store(t, b, call("1", "before"))
	put(t, b, "before")
	apply(3)
	for i := range 200 {
		if e := put(t, b, fmt.Sprint(i)); string(e.Value) != fmt.Sprint(i) {
			t.Fatalf("%d was put, and %q read", i, e.Value)
		}
	}
	for i := range 3 {
		c.Settled()
		c.Stop(i)
		apply(3) // asks for nothing new
		succeeds(t, "what was stored before is read", func() error {
			m, err := b.Last(t.Context(), "WORK_shop", call("1", "").Subject)
			if err == nil && string(m.Body) != "before" {
				t.Fatalf("read %q", m.Body)
			}
			return err
		})
		succeeds(t, "it is stored", func() error {
			_, err := b.Store(t.Context(), call(fmt.Sprint("without", i), ""))
			return err
		})
		c.Start(i)
	}
	c.Settled()
	if got := receiveAndAck(t, b, "WORK_shop", "offers_redeem", 4); len(got) != 4 {
		t.Errorf("received %q", got)
	}
}

// put puts a value under one key, and reads it.
func put(t *testing.T, b *bus.Bus, value string) bus.Entry {
	t.Helper()
	k := bus.KeyRef{Namespace: shop, Bucket: "things", Key: "a"}
	var e bus.Entry
	succeeds(t, "it is put", func() error {
		_, err := b.Put(t.Context(), k, []byte(value), bus.Write{}, 0)
		return err
	})
	succeeds(t, "it is read", func() (err error) {
		if e, err = b.Get(t.Context(), k); errors.Is(err, bus.ErrNotFound) {
			t.Fatal(err)
		}
		return err
	})
	return e
}
