package bus_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/serviceful/serviceful/operator/internal/bus"
	"github.com/serviceful/serviceful/operator/internal/envelope"
	"github.com/serviceful/serviceful/operator/internal/names"
)

func TestStore(t *testing.T) {
	b := start(t)
	m := call("1", "body")
	first, err := b.Store(t.Context(), m)
	if err != nil || first.Stream != "WORK_shop" || first.Sequence != 1 || first.Duplicate {
		t.Errorf("stored %+v, %v", first, err)
	}
	again, err := b.Store(t.Context(), call("1", "body"))
	if err != nil || !again.Duplicate || again.Sequence != first.Sequence {
		t.Errorf("stored again %+v, %v", again, err)
	}
	got, err := b.Last(t.Context(), "WORK_shop", m.Subject)
	if err != nil || string(got.Body) != "body" || got.Header.Get(envelope.HeaderFormat) != envelope.Format || got.Stored.IsZero() {
		t.Errorf("read %+v, %v", got, err)
	}
}

func TestStoreIf(t *testing.T) {
	b := start(t)
	subject := names.Result(shop, "1")
	first, err := b.StoreIf(t.Context(), envelope.New(subject, []byte("first")), 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, last := range []uint64{0, first.Sequence + 1} {
		if _, err := b.StoreIf(t.Context(), envelope.New(subject, nil), last); !errors.Is(err, bus.ErrConflict) {
			t.Errorf("after %d: %v, want ErrConflict", last, err)
		}
	}
	if _, err := b.StoreIf(t.Context(), envelope.New(subject, []byte("second")), first.Sequence); err != nil {
		t.Error(err)
	}
	if m, err := b.Last(t.Context(), "RES_shop", subject); err != nil || string(m.Body) != "second" {
		t.Errorf("it holds %+v, %v", m, err)
	}
}

func TestTooLarge(t *testing.T) {
	b := start(t)
	long := call("1", "")
	long.Header.Set("Long", strings.Repeat("x", 64<<10))
	tests := map[string]*envelope.Message{
		"body":   call("1", strings.Repeat("x", bus.MaxPayload+1)),
		"header": long,
	}
	for name, m := range tests {
		t.Run(name, func(t *testing.T) {
			if _, err := b.Store(t.Context(), m); !errors.Is(err, bus.ErrTooLarge) {
				t.Errorf("%v, want ErrTooLarge", err)
			}
			if _, err := b.Last(t.Context(), "WORK_shop", m.Subject); !errors.Is(err, bus.ErrNotFound) {
				t.Errorf("reading it: %v, want ErrNotFound", err)
			}
		})
	}
}

func TestNotFound(t *testing.T) {
	b := start(t)
	store(t, b, call("1", ""))
	tests := map[string]func() error{
		"last of a subject": func() error { _, err := b.Last(t.Context(), "WORK_shop", call("2", "").Subject); return err },
		"last of a stream":  func() error { _, err := b.Last(t.Context(), "WORK_none", "work.none.>"); return err },
		"delete":            func() error { return b.Delete(t.Context(), "WORK_shop", 17) },
		"delete twice": func() error {
			return errors.Join(b.Delete(t.Context(), "WORK_shop", 1), b.Delete(t.Context(), "WORK_shop", 1))
		},
		"consumer": func() error {
			_, err := b.Consume(t.Context(), "WORK_shop", "none", 1, nil)
			return err
		},
		"scan": func() error { return b.Scan(t.Context(), "DEAD_none", ">", nil) },
	}
	for name, do := range tests {
		t.Run(name, func(t *testing.T) {
			if err := do(); !errors.Is(err, bus.ErrNotFound) {
				t.Errorf("%v, want ErrNotFound", err)
			}
		})
	}
}

// fill stores messages until the store is full; it returns how many it took.
func fill(t *testing.T, b *bus.Bus) (n int) {
	t.Helper()
	body := strings.Repeat("x", 100<<10)
	for ; n < 1000; n++ {
		_, err := b.Store(t.Context(), call(fmt.Sprint(n), body))
		if errors.Is(err, bus.ErrFull) {
			return n
		}
		if err != nil {
			t.Fatalf("message %d: %v, want ErrFull in the end", n, err)
		}
	}
	t.Fatal("the store never gets full")
	return n
}

func TestFull(t *testing.T) {
	s, b, _ := serve(t, bus.EmbeddedConfig{Dir: t.TempDir(), MaxStore: 2 << 20})
	layOut(t, b, onCall("redeem"), onEvent("welcome", "a.b"))
	n := fill(t, b)
	if n < 15 {
		t.Errorf("full after %d messages of 100 KiB", n)
	}
	if err := b.PublishEvents(t.Context(), shop, someEvents("a.b", 3)); !errors.Is(err, bus.ErrFull) {
		t.Errorf("a batch: %v, want ErrFull", err)
	}
	if got := ids(t, b); len(got) != 0 {
		t.Errorf("of the batch, %q is stored", got)
	}
	stream, err := raw(t, s).Stream(t.Context(), "WORK_shop")
	if err != nil {
		t.Fatal(err)
	}
	if state := stream.CachedInfo().State; state.FirstSeq != 1 || state.Msgs != uint64(n) {
		t.Errorf("%d messages from %d on, want %d from 1 on", state.Msgs, state.FirstSeq, n)
	}
	if !s.Healthy() {
		t.Error("a full store has disabled JetStream")
	}
	if err := stream.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	store(t, b, call("again", strings.Repeat("x", 100<<10)))
	publish(t, b, someEvents("a.b", 3)...)
	if got := ids(t, b); len(got) != 3 {
		t.Errorf("the log holds %q", got)
	}
}

func TestUnavailable(t *testing.T) {
	_, b, stop := serve(t, bus.EmbeddedConfig{Dir: t.TempDir()})
	layOut(t, b)
	stop()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	tests := map[string]func() error{
		"store": func() error { _, err := b.Store(ctx, call("1", "")); return err },
		"batch": func() error { return b.PublishEvents(ctx, shop, someEvents("a.b", 2)) },
		"last":  func() error { _, err := b.Last(ctx, "WORK_shop", "work.>"); return err },
		"scan":  func() error { return b.Scan(ctx, "DEAD_shop", ">", nil) },
		"get": func() error {
			_, err := b.Get(ctx, bus.KeyRef{Namespace: shop, Bucket: "things", Key: "key"})
			return err
		},
		"put": func() error {
			_, err := b.Put(ctx, bus.KeyRef{Namespace: shop, Bucket: "things", Key: "key"}, nil, bus.Write{}, 0)
			return err
		},
		"create": func() error {
			_, err := b.Put(ctx, bus.KeyRef{Namespace: shop, Bucket: "things", Key: "key"}, nil, bus.Write{Absent: true}, 0)
			return err
		},
		"consume": func() error { _, err := b.Consume(ctx, "WORK_shop", "mail", 1, nil); return err },
	}
	for name, do := range tests {
		t.Run(name, func(t *testing.T) {
			if err := do(); !errors.Is(err, bus.ErrUnavailable) || errors.Is(err, bus.ErrConflict) {
				t.Errorf("%v, want ErrUnavailable", err)
			}
		})
	}
}

func TestCancelledIsNotUnavailable(t *testing.T) {
	b := start(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.Store(ctx, call("1", "")); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want context.Canceled", err)
	}
}

func TestServerMustTakeLargeMessages(t *testing.T) {
	s, err := server.NewServer(&server.Options{DontListen: true, NoSigs: true, MaxPayload: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(s.Shutdown)
	nc, err := nats.Connect("", nats.InProcessServer(s))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	if _, err := bus.New(nc); err == nil || !strings.Contains(err.Error(), "max_payload") {
		t.Errorf("%v, want an error about max_payload", err)
	}
}
