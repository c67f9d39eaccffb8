package bus_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/serviceful/serviceful/operator/internal/bus"
	"github.com/serviceful/serviceful/operator/internal/delivery"
	"github.com/serviceful/serviceful/operator/internal/envelope"
	"github.com/serviceful/serviceful/operator/internal/names"
)

func key(value, request string) bus.Key {
	return bus.Key{Function: offers, Scope: "redeem", Value: value, Request: []byte(request)}
}

func makeCall(id string) *envelope.Message { return call(id, "body") }

// count is how many messages a trigger's calls are, waiting or put off.
func count(t *testing.T, b *bus.Bus, ids ...string) (n int) {
	t.Helper()
	for _, id := range ids {
		c, err := b.FindCall(t.Context(), shop, id)
		if err == nil && c.Result.State == envelope.Queued {
			n++
		} else if err != nil && !errors.Is(err, bus.ErrNotFound) {
			t.Fatal(err)
		}
	}
	return n
}

// settle takes the only call that waits, for good.
func settle(t *testing.T, b *bus.Bus, m *envelope.Message) {
	t.Helper()
	receiveAndAck(t, b, "WORK_shop", "offers_redeem", 1)
	eventually(t, "the call is settled", func() bool {
		_, err := b.Last(t.Context(), "WORK_shop", m.Subject)
		return errors.Is(err, bus.ErrNotFound)
	})
}

// end brings the only call that waits to its end.
func end(t *testing.T, b *bus.Bus, id string) {
	t.Helper()
	m := makeCall(id)
	item, _ := names.ParseWork(m.Subject)
	if err := b.StoreResult(t.Context(), item, envelope.Succeeded, bus.Ending{Verdict: delivery.Verdict{Attempts: 1}}); err != nil {
		t.Fatal(err)
	}
	settle(t, b, m)
}

func TestStoreOnce(t *testing.T) {
	type try struct {
		key bus.Key
		id  string
	}
	scope := key("k", "r")
	scope.Scope = "other"
	function := key("k", "r")
	function.Function.Name = "other"
	tests := map[string]struct {
		again   try
		want    string // the id that the second try gets
		wantErr error
	}{
		"same":             {again: try{key("k", "r"), "2"}, want: "1"},
		"other request":    {again: try{key("k", "other"), "2"}, wantErr: bus.ErrKeyReused},
		"other key":        {again: try{key("l", "r"), "2"}, want: "2"},
		"other scope":      {again: try{scope, "2"}, want: "2"},
		"other function":   {again: try{function, "2"}, want: "2"},
		"key of any bytes": {again: try{key("k \x00.*>\n", "r"), "2"}, want: "2"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			b := start(t, onCall("redeem"))
			if id, err := b.StoreOnce(t.Context(), key("k", "r"), "1", makeCall); id != "1" || err != nil {
				t.Fatalf("first: %q, %v", id, err)
			}
			for range 2 {
				id, err := b.StoreOnce(t.Context(), test.again.key, test.again.id, makeCall)
				if id != test.want || !errors.Is(err, test.wantErr) {
					t.Errorf("again: %q, %v; want %q, %v", id, err, test.want, test.wantErr)
				}
			}
			want := 1
			if test.want == "2" {
				want = 2
			}
			if got := count(t, b, "1", "2"); got != want {
				t.Errorf("%d calls are stored, want %d", got, want)
			}
		})
	}
}

// A program that dies between the steps is one whose steps fail from there on.
// Whatever became of the message meanwhile, the repeat does not store a second.
func TestStoreOnceGoesOnWhereATryDied(t *testing.T) {
	tests := map[string]struct {
		died func(t *testing.T, b *bus.Bus, m *envelope.Message) // what happened after the record was written
		want envelope.State
	}{
		"before the message was stored": {
			func(*testing.T, *bus.Bus, *envelope.Message) {}, envelope.Queued,
		},
		"after the message was stored": {
			func(t *testing.T, b *bus.Bus, m *envelope.Message) { store(t, b, m) }, envelope.Queued,
		},
		"and the message was put off": {
			func(t *testing.T, b *bus.Bus, m *envelope.Message) {
				store(t, b, m)
				p := envelope.Progress{Attempts: 1, Tries: 1, Origin: "1", First: time.Now()}
				store(t, b, envelope.Retry(m, m.Subject, p, time.Now().Add(time.Hour)))
				settle(t, b, m)
			}, envelope.Queued,
		},
		"and the call has ended": {
			func(t *testing.T, b *bus.Bus, m *envelope.Message) {
				store(t, b, m)
				end(t, b, "1")
			}, envelope.Succeeded,
		},
	}
	for name, test := range tests {
		for _, restart := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, restart %v", name, restart), func(t *testing.T) {
				dir := t.TempDir()
				s, b, stop := serve(t, bus.EmbeddedConfig{Dir: dir})
				layOut(t, b, onCall("redeem"))
				ctx, die := context.WithCancel(t.Context())
				_, err := b.StoreOnce(ctx, key("k", "r"), "1", func(id string) *envelope.Message {
					test.died(t, b, makeCall(id))
					die()
					return makeCall(id)
				})
				if !errors.Is(err, context.Canceled) {
					t.Fatalf("the first try: %v", err)
				}
				if restart { // which forgets the duplicate window
					stop()
					s, b, _ = serve(t, bus.EmbeddedConfig{Dir: dir})
				}
				for _, again := range []string{"2", "3"} {
					if id, err := b.StoreOnce(t.Context(), key("k", "r"), again, makeCall); id != "1" || err != nil {
						t.Errorf("the repeat: %q, %v; want the first id", id, err)
					}
				}
				if c, err := b.FindCall(t.Context(), shop, "1"); err != nil || c.Result.State != test.want {
					t.Errorf("the call is %q, %v; want %q", c.Result.State, err, test.want)
				}
				work, err := raw(t, s).Stream(t.Context(), "WORK_shop")
				if err != nil {
					t.Fatal(err)
				}
				messages := uint64(1)
				if test.want != envelope.Queued {
					messages = 0
				}
				if n := work.CachedInfo().State.Msgs; n != messages {
					t.Errorf("%d messages are stored, want %d", n, messages)
				}
			})
		}
	}
}

func TestStoreOnceAtOnce(t *testing.T) {
	const tries = 20
	b := start(t, onCall("redeem"))
	ids, all := make([]string, tries), make([]string, tries)
	var wg sync.WaitGroup
	for i := range tries {
		all[i] = fmt.Sprint("id", i)
		wg.Go(func() {
			var err error
			if ids[i], err = b.StoreOnce(t.Context(), key("k", "r"), all[i], makeCall); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, id := range ids {
		if id != ids[0] {
			t.Fatalf("more than one id: %q", ids)
		}
	}
	if n := count(t, b, all...); n != 1 {
		t.Errorf("%d calls are stored", n)
	}
}

func TestStoreOnceAcrossARestart(t *testing.T) {
	dir := t.TempDir()
	_, b, stop := serve(t, bus.EmbeddedConfig{Dir: dir})
	layOut(t, b, onCall("redeem"))
	if _, err := b.StoreOnce(t.Context(), key("k", "r"), "1", makeCall); err != nil {
		t.Fatal(err)
	}
	end(t, b, "1")
	stop()
	_, b, _ = serve(t, bus.EmbeddedConfig{Dir: dir})
	if id, err := b.StoreOnce(t.Context(), key("k", "r"), "2", makeCall); id != "1" || err != nil {
		t.Errorf("%q, %v", id, err)
	}
	if _, err := b.StoreOnce(t.Context(), key("k", "other"), "2", makeCall); !errors.Is(err, bus.ErrKeyReused) {
		t.Errorf("%v, want ErrKeyReused", err)
	}
	if n := count(t, b, "1", "2"); n != 0 {
		t.Errorf("%d calls are stored again", n)
	}
}
