package bus_test

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/serviceful/serviceful/operator/api/v1alpha1"
	"github.com/serviceful/serviceful/operator/internal/bus"
	"github.com/serviceful/serviceful/operator/internal/envelope"
	"github.com/serviceful/serviceful/operator/internal/event"
	"github.com/serviceful/serviceful/operator/internal/names"
	"github.com/serviceful/serviceful/operator/internal/wiring"
)

// crashDir names the folder of the server that a copy of the test program runs
// until it is killed.
const crashDir = "BUS_TEST_CRASH_DIR"

// TestStoreUntilKilled is what that copy runs.
func TestStoreUntilKilled(t *testing.T) {
	dir := os.Getenv(crashDir)
	if dir == "" {
		t.Skip("only for TestAcknowledgedDataSurvivesSIGKILL")
	}
	t.Fatal(storeForEver(t.Context(), dir))
}

// storeForEver stores messages of all kinds and prints the number of each when
// the server has acknowledged it.
func storeForEver(ctx context.Context, dir string) error {
	s, err := bus.StartEmbedded(bus.EmbeddedConfig{Dir: dir, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	nc, err := s.Connect("child")
	if err != nil {
		return err
	}
	b, err := bus.New(nc)
	if err != nil {
		return err
	}
	triggers := []v1alpha1.Trigger{onCall("redeem"), onEvent("welcome", "a.b")}
	if err := (bus.Layout{Bus: b}).Apply(ctx, wiring.Compile([]v1alpha1.Function{function(triggers...)}, wiring.Hosts{})); err != nil {
		return err
	}
	failed := make(chan error)
	for first := range kinds {
		go func() {
			for n := first; ; n += kinds {
				if err := storeKind(ctx, b, n); err != nil {
					failed <- err
					return
				}
				fmt.Println(n)
			}
		}()
	}
	return <-failed
}

// kinds is how many kinds of message storeKind knows.
const kinds = 4

// storeKind stores message n, whose kind is n modulo kinds.
func storeKind(ctx context.Context, b *bus.Bus, n int) error {
	id := fmt.Sprint(n)
	var err error
	switch n % kinds {
	case 0:
		_, err = b.Store(ctx, call(id, "body "+id))
	case 1:
		err = b.PublishEvents(ctx, shop, []*event.Event{newEvent("a.b", id), newEvent("a.b", id+" too")})
	case 2:
		_, err = b.Put(ctx, bus.KeyRef{Namespace: shop, Bucket: "things", Key: "key." + id}, []byte("value "+id), bus.Write{Absent: true}, 0)
	case 3:
		m := call(id, "body "+id)
		p := envelope.Progress{Attempts: 1, Tries: 1, Origin: id, First: time.Now()}
		_, err = b.Store(ctx, envelope.Retry(m, m.Subject, p, time.Now().Add(time.Hour)))
	}
	return err
}

// expectKind checks that message n is there.
func expectKind(t *testing.T, b *bus.Bus, events map[string]bool, n int) {
	t.Helper()
	id := fmt.Sprint(n)
	switch n % kinds {
	case 0:
		if m, err := b.Last(t.Context(), "WORK_shop", call(id, "").Subject); err != nil || string(m.Body) != "body "+id {
			t.Errorf("call %s: %v", id, err)
		}
	case 1:
		if !events[id] || !events[id+" too"] {
			t.Errorf("event %s is lost", id)
		}
	case 2:
		if e, err := b.Get(t.Context(), bus.KeyRef{Namespace: shop, Bucket: "things", Key: "key." + id}); err != nil || string(e.Value) != "value "+id {
			t.Errorf("key %s: %q, %v", id, e.Value, err)
		}
	case 3:
		if m, err := b.Last(t.Context(), "WORK_shop", names.Schedule(call(id, "").Subject)); err != nil || string(m.Body) != "body "+id {
			t.Errorf("retry %s: %v", id, err)
		}
	}
}

func logged(t *testing.T, b *bus.Bus) map[string]bool {
	t.Helper()
	out := map[string]bool{}
	for _, id := range ids(t, b) {
		out[id] = true
	}
	return out
}

func TestDataSurvivesStopAndStart(t *testing.T) {
	const messages = 100
	dir := t.TempDir()
	_, b, stop := serve(t, bus.EmbeddedConfig{Dir: dir})
	layOut(t, b, onCall("redeem"), onEvent("welcome", "a.b"))
	publish(t, b, newEvent("a.b", "done"))
	receiveAndAck(t, b, "EV_shop", "offers_welcome", 1)
	for n := range messages {
		if err := storeKind(t.Context(), b, n); err != nil {
			t.Fatal(err)
		}
	}
	stop()
	_, b, _ = serve(t, bus.EmbeddedConfig{Dir: dir})
	events := logged(t, b)
	for n := range messages {
		expectKind(t, b, events, n)
	}
	// Consumers go on where they were.
	if got := receiveAndAck(t, b, "EV_shop", "offers_welcome", 1); got[0] != "data of 1" {
		t.Errorf("the first event after the restart is %q", got[0])
	}
	receiveAndAck(t, b, "WORK_shop", "offers_redeem", messages/kinds)
}

func TestAcknowledgedDataSurvivesSIGKILL(t *testing.T) {
	dir := t.TempDir()
	acknowledged := map[int]bool{}
	for round := range 2 {
		child := exec.Command(os.Args[0], "-test.run=^TestStoreUntilKilled$")
		child.Env = append(os.Environ(), crashDir+"="+filepath.Join(dir, fmt.Sprint(round)))
		child.Stderr = os.Stderr
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		kill := sync.OnceFunc(func() {
			_ = child.Process.Kill()
		})
		t.Cleanup(kill)
		clear(acknowledged)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			var n int
			if _, err := fmt.Sscan(lines.Text(), &n); err != nil {
				t.Fatalf("the child printed %q", lines.Text())
			}
			if acknowledged[n] = true; len(acknowledged) == 500 {
				kill()
			}
		}
		_ = child.Wait()
		if len(acknowledged) < 500 {
			t.Fatalf("the child ended after %d messages", len(acknowledged))
		}
		_, b, stop := serve(t, bus.EmbeddedConfig{Dir: filepath.Join(dir, fmt.Sprint(round))})
		events := logged(t, b)
		for n := range acknowledged {
			expectKind(t, b, events, n)
		}
		stop()
	}
}

func TestEmbeddedSaysWhyItCannotStart(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := bus.StartEmbedded(bus.EmbeddedConfig{Dir: file, Logger: slog.New(slog.DiscardHandler)})
	if err == nil {
		s.Stop()
		t.Fatal("it starts on a file")
	}
	if !strings.Contains(err.Error(), file) || !strings.Contains(err.Error(), "not a directory") {
		t.Errorf("it says %q", err)
	}
}
