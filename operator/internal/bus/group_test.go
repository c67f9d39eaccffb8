package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"

	"github.com/serviceful/serviceful/operator/internal/envelope"
	"github.com/serviceful/serviceful/operator/internal/event"
	"github.com/serviceful/serviceful/operator/internal/names"
	"github.com/serviceful/serviceful/operator/internal/wiring"
)

const groupSubject = "ev.shop.a.b"

// startGroup is the group of a namespace that is laid out on a server of its own.
func startGroup(t *testing.T) *group {
	t.Helper()
	s, err := StartEmbedded(EmbeddedConfig{Dir: t.TempDir(), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	nc, err := s.Connect(t.Name())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	b, err := New(nc)
	if err != nil {
		t.Fatal(err)
	}
	f := names.Function{Namespace: "shop", Name: "offers"}
	if err := (Layout{Bus: b}).Apply(t.Context(), &wiring.Snapshot{Functions: map[names.Function]*wiring.Function{f: {Name: f}}}); err != nil {
		t.Fatal(err)
	}
	return b.events("shop")
}

func message(id string, size int) *envelope.Message {
	m := envelope.New(groupSubject, make([]byte, size))
	m.ID = id
	return m
}

// wait has n messages wait, and returns what each will be told.
func (g *group) wait(n int) []chan error {
	told := make([]chan error, n)
	for i := range told {
		told[i] = make(chan error, 1)
		g.waiting = append(g.waiting, member{message(fmt.Sprint(i), 8), told[i]})
	}
	g.storing = true
	return told
}

// log is the ids of what is stored, and how many of it came in a batch.
func (g *group) log(t *testing.T) (ids map[string]int, batched int) {
	t.Helper()
	stream, err := g.bus.stream(t.Context(), "EV_shop")
	if err != nil {
		t.Fatal(err)
	}
	info, err := stream.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ids = map[string]int{}
	for n := uint64(1); n <= info.State.LastSeq; n++ {
		m, err := stream.GetMsg(t.Context(), n)
		if err != nil {
			t.Fatal(err)
		}
		ids[m.Header.Get("Nats-Msg-Id")]++
		if m.Header.Get(headerBatchID) != "" {
			batched++
		}
	}
	return ids, batched
}

// TestGroup has messages wait and be stored: few one by one, many as a batch, and
// one by one again where the batch is refused because of one that is there.
func TestGroup(t *testing.T) {
	for name, test := range map[string]struct {
		count   int
		before  []string
		batched int
	}{
		"one":                    {1, nil, 0},
		"few":                    {groupLeast - 1, nil, 0},
		"many":                   {groupLeast, nil, groupLeast},
		"more than a batch":      {event.MaxBatch + groupLeast, nil, event.MaxBatch + groupLeast},
		"some are there already": {groupLeast, []string{"3", "5"}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			g := startGroup(t)
			for _, id := range test.before {
				if _, err := g.bus.Store(t.Context(), message(id, 8)); err != nil {
					t.Fatal(err)
				}
			}
			told := g.wait(test.count)
			g.storeWaiting(t.Context())
			for i := range told {
				if err := <-told[i]; err != nil {
					t.Errorf("message %d: %v", i, err)
				}
			}
			ids, batched := g.log(t)
			if len(ids) != test.count || batched != test.batched {
				t.Errorf("%d are stored, %d of them in a batch; want %d and %d", len(ids), batched, test.count, test.batched)
			}
			for id, n := range ids {
				if n != 1 {
					t.Errorf("message %s is stored %d times", id, n)
				}
			}
			if g.storing {
				t.Error("nobody would store the next one")
			}
		})
	}
}

func TestGroupIsBounded(t *testing.T) {
	const half = groupBytes / 2
	g := &group{}
	for _, size := range []int{2 * groupBytes, half, half, 1, 2 * groupBytes} {
		g.waiting = append(g.waiting, member{message("", size), nil})
	}
	for i, want := range []int{1, 2, 1, 1, 0} {
		if got := g.next(); len(got) != want {
			t.Errorf("take %d has %d messages, want %d", i, len(got), want)
		}
	}
}

// TestGroupTellsEach has one of a batch be larger than the server takes, and the
// caller of another leave: the others are stored.
func TestGroupTellsEach(t *testing.T) {
	g := startGroup(t)
	told := g.wait(groupLeast)
	g.waiting[2].message = message("2", MaxPayload)
	g.storeWaiting(t.Context())
	for i := range told {
		if err := <-told[i]; (i == 2) != errors.Is(err, ErrTooLarge) || (i == 2) != (err != nil) {
			t.Errorf("message %d: %v", i, err)
		}
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	g.storing = true // by nobody: it waits until its caller leaves
	if err := g.store(gone, message("gone", 8)); !errors.Is(err, context.Canceled) {
		t.Errorf("the caller that left was told %v", err)
	}
	g.storeWaiting(t.Context())
	if ids, _ := g.log(t); len(ids) != groupLeast || ids["gone"] != 1 {
		t.Errorf("%d are stored", len(ids))
	}
}
