package dispatch_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/serviceful/serviceful/operator/api/v1alpha1"
	"github.com/serviceful/serviceful/operator/internal/bus"
	"github.com/serviceful/serviceful/operator/internal/envelope"
	"github.com/serviceful/serviceful/operator/internal/event"
)

// dice is a source of randomness for many goroutines.
type dice struct {
	mu sync.Mutex
	r  *rand.Rand
}

func (d *dice) roll(n int) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.r.IntN(n)
}

// moody answers as it likes, and remembers which messages it has answered well
// and which with a status that is final.
type moody struct {
	*dice
	mu          sync.Mutex
	good, final map[string]bool
}

// emits reports whether a good answer to a message holds an event.
func emits(id string) bool {
	return !strings.HasPrefix(id, "event b") && (strings.HasSuffix(id, "0") || strings.HasSuffix(id, "5"))
}

func (m *moody) note(in map[string]bool, id string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	in[id] = true
}

func (m *moody) answer(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Content-Type") == event.ContentTypeBatch {
		m.answerBatch(w, r)
		return
	}
	id := messageID(r.Header)
	switch n := m.roll(100); {
	case n < 50:
		m.note(m.good, id)
		if emits(id) {
			binary(200, "out.a", id)(w, r)
		}
	case n < 65:
		w.WriteHeader([]int{500, 503, 429, 408}[n%4])
	case n < 77:
		m.note(m.final, id) // 404 of a call only
		w.WriteHeader([]int{404, 400}[n%2])
	case n < 79:
		m.note(m.final, id)
		binary(200, "not.allowed", id)(w, r)
	case n < 86:
		hang(w, r)
	case n < 93:
		breakOff(w, r)
	default:
		breakOffLater(w, r)
	}
}

// answerBatch is answer to several messages, of which some may have failed.
func (m *moody) answerBatch(w http.ResponseWriter, r *http.Request) {
	ids := batchOf(r)
	switch n := m.roll(100); {
	case n < 60:
		var bad []string
		for _, id := range ids {
			if m.roll(4) == 0 {
				bad = append(bad, id)
				continue
			}
			m.note(m.good, "event "+id)
		}
		failing(w, bad...)
	case n < 75:
		w.WriteHeader([]int{500, 503, 429, 404}[n%4])
	case n < 78:
		for _, id := range ids {
			m.note(m.final, "event "+id)
		}
		w.WriteHeader(400)
	case n < 85:
		hang(w, r)
	case n < 93:
		breakOff(w, r)
	default:
		breakOffLater(w, r)
	}
}

// life is a rig whose parts end and begin again.
type life struct {
	*rig
	*dice
	dir    string
	outlet atomic.Pointer[bus.Bus] // for what is accepted
}

func (l *life) startServer() {
	l.t.Helper()
	s, err := bus.StartEmbedded(bus.EmbeddedConfig{Dir: l.dir, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(s.Stop)
	l.connect(s)
	l.outlet.Store(l.bus)
}

// strike ends the dispatcher, and sometimes the server before or after it, and
// starts them again.
func (l *life) strike() {
	l.t.Helper()
	n := l.roll(6)
	if n == 0 {
		l.server.Stop()
	}
	l.dispatcher.Stop(context.WithoutCancel(l.t.Context()))
	if n == 1 {
		l.server.Stop()
	}
	if n < 2 {
		l.startServer()
	}
	l.begin()
}

// begin starts a dispatcher.
func (l *life) begin() {
	l.t.Helper()
	l.config.Grace = time.Duration(1+l.roll(300)) * time.Millisecond
	l.start()
}

// insist stores something, however often that takes.
func (l *life) insist(store func(ctx context.Context, b *bus.Bus) error) {
	for l.t.Context().Err() == nil {
		ctx, cancel := context.WithTimeout(l.t.Context(), 500*time.Millisecond)
		err := store(ctx, l.outlet.Load())
		cancel()
		if err == nil {
			return
		}
	}
}

// TestNothingIsLost lets everything fail that can. In the end, every message
// that was accepted was answered well, or finally, or is dead with a reason.
func TestNothingIsLost(t *testing.T) {
	const messages, strikes = 200, 10
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	d := &dice{r: rand.New(rand.NewPCG(seed, 0))}
	f := &moody{dice: d, good: map[string]bool{}, final: map[string]bool{}}
	l := &life{dice: d, dir: t.TempDir(), rig: &rig{t: t, function: newFunction(t, f.answer)}}
	l.world = &world{acquire: func(context.Context) (string, error) {
		if d.roll(20) == 0 {
			return "", errNotStarted
		}
		return l.function.address(), nil
	}}
	withAckWait(l.rig)
	l.startServer()
	q := quick(retry(3), timeout("PT0.2S"), concurrency(10))
	batches := quick(retry(3), timeout("PT0.2S"), concurrency(3), batched(8, 20*time.Millisecond),
		onSuccess(v1alpha1.Destination{EventType: "told.good"}), onFailure(v1alpha1.Destination{EventType: "told.bad"}))
	l.apply(onEvent("welcome", q, "in.*"), onCall("redeem", q), onEvent("batches", batches, "batched.*"))
	l.begin()
	defer func() { l.dispatcher.Stop(context.WithoutCancel(l.t.Context())) }()

	var accepting sync.WaitGroup
	accepting.Go(func() {
		for i := range messages {
			l.insist(func(ctx context.Context, b *bus.Bus) error {
				return b.PublishEvents(ctx, shop, []*event.Event{newEvent("in.a", fmt.Sprint(i))})
			})
		}
	})
	accepting.Go(func() {
		for i := range messages {
			m := envelope.Call(offers, "redeem", fmt.Sprint(i), envelope.Request{Method: "POST", Target: "/redeem"}, nil)
			l.insist(func(ctx context.Context, b *bus.Bus) error { _, err := b.Store(ctx, m); return err })
		}
	})
	accepting.Go(func() {
		for i := range messages {
			l.insist(func(ctx context.Context, b *bus.Bus) error {
				return b.PublishEvents(ctx, shop, []*event.Event{newEvent("batched.a", fmt.Sprint("b", i))})
			})
		}
	})
	for range strikes {
		enough := len(l.function.calls()) + 5 + d.roll(60)
		eventually(t, "some calls", func() bool { return len(l.function.calls()) >= enough || l.idle() })
		l.strike()
	}
	accepting.Wait()
	l.settled()
	l.check(f, messages)
}

func (l *life) check(f *moody, messages int) {
	t := l.t
	t.Helper()
	letters := l.letters()
	published := map[string]bool{}
	for _, id := range l.published("out.a") {
		published[id] = true
	}
	if other := l.published("not.allowed"); len(other) > 0 {
		t.Errorf("published although not in emits: %q", other)
	}
	told := map[string]bool{} // "<outcome> event <id>"
	for _, o := range l.outcomes("told.*") {
		told[fmt.Sprint(o["outcome"], " event ", o["event"].(map[string]any)["id"])] = true
	}
	ends := map[envelope.State]int{}
	for i := range messages {
		for _, id := range []string{fmt.Sprint("event ", i), fmt.Sprint("call ", i), fmt.Sprint("event b", i)} {
			end := l.end(id, len(letters[id]) > 0)
			ends[end]++
			switch {
			case end == envelope.Succeeded && !f.good[id]:
				t.Errorf("%s has succeeded and was never answered well", id)
			case end == envelope.Succeeded && emits(id) && !published[id]:
				t.Errorf("%s has succeeded and its event was not published", id)
			case end == envelope.Failed && !f.final[id]:
				t.Errorf("%s has failed and got no final answer", id)
			case end == envelope.DeadState && (len(letters[id]) == 0 || letters[id][0].Reason == ""):
				t.Errorf("%s is dead without a reason", id)
			case strings.HasPrefix(id, "event b") && !told[fmt.Sprint(end, " ", id)]:
				t.Errorf("%s has ended, %s, and nobody was told", id, end)
			case end != envelope.Succeeded && end != envelope.Failed && end != envelope.DeadState:
				t.Errorf("%s is lost: its state is %q", id, end)
			}
		}
	}
	t.Logf("%d calls of %d messages: %v", len(l.function.calls()), 3*messages, ends)
}

// end is what became of a message, which has dead letters or not.
func (l *life) end(id string, dead bool) envelope.State {
	l.t.Helper()
	kind, number, _ := strings.Cut(id, " ")
	if kind == "event" {
		if dead {
			return envelope.DeadState
		}
		return envelope.Succeeded
	}
	c, err := l.bus.FindCall(l.t.Context(), shop, number)
	if errors.Is(err, bus.ErrNotFound) {
		return ""
	}
	if err != nil {
		l.t.Fatal(err)
	}
	return c.Result.State
}
