package main

import (
	"bytes"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/serviceful/serviceful/operator/internal/local/process"
	"github.com/serviceful/serviceful/operator/internal/names"
)

const tillManifest = `apiVersion: serviceful.dev/v1alpha1
kind: Function
metadata: {name: till, annotations: {serviceful.dev/dev-command: exit 1}}
spec:
  image: till
  triggers:
  - {name: hello, http: {methods: [GET], path: /hello}}
  - {name: job, http: {methods: [POST], path: /job, async: true}}
  - {name: sold, event: {types: [till.sale.made.v1]}}
`

// world is a stack that a test reloads by hand.
type world struct {
	*testing.T
	*stack
	manifest string
	said     *said
}

// said is what a stack and its functions have written so far.
type said struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *said) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

func (s *said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

func newWorld(t *testing.T, manifest string) *world {
	t.Helper()
	w := &world{T: t, manifest: filepath.Join(t.TempDir(), "function.yaml"), said: &said{}}
	w.write(manifest)
	s, err := startStack(t.Context(), devOptions{
		folders: []string{filepath.Dir(w.manifest)}, listen: "127.0.0.1:0", services: "127.0.0.1:0", data: t.TempDir(),
		mailFrom: "a@example.com", maxBody: 1 << 10, maxAsync: 1 << 10, start: process.DefaultStart,
		gone: time.Hour, noWatch: true, out: w.said,
	}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.stop)
	w.stack = s
	s.wired.Store(true)
	return w
}

func (w *world) write(manifest string) {
	w.Helper()
	if err := os.WriteFile(w.manifest, []byte(manifest), 0o600); err != nil {
		w.Fatal(err)
	}
}

func (w *world) remove() {
	w.Helper()
	if err := os.Remove(w.manifest); err != nil {
		w.Fatal(err)
	}
}

// call gets a 202 and returns the call's address.
func (w *world) call(path string) string {
	w.Helper()
	resp, err := http.Post(reachable(w.public)+path, "text/plain", strings.NewReader("a"))
	if err != nil {
		w.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusAccepted {
		w.Fatalf("the call got %s", resp.Status)
	}
	return resp.Header.Get("Location")
}

// look says what has become of a call.
func (w *world) look(call string) string {
	w.Helper()
	resp, err := http.Get(reachable(w.public) + call)
	if err != nil {
		w.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		w.Fatal(err)
	}
	return string(body)
}

// wantCall checks what has become of a call.
func (w *world) wantCall(call string, dead bool) {
	w.Helper()
	if said := w.look(call); strings.Contains(said, `"TriggerRemoved"`) != dead {
		w.Errorf("the call is %s, want it dead: %t", said, dead)
	}
}

// until waits until something is so, and has what is gone removed meanwhile.
func (w *world) until(what string, so func() bool) {
	w.Helper()
	for end := time.Now().Add(time.Minute); !so(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			w.Fatalf("waited in vain until %s", what)
		}
		if err := w.retireDue(w.Context()); err != nil {
			w.Fatal(err)
		}
	}
}

// listener is when the consumer of the event trigger was made; zero: it is gone.
func (w *world) listener() time.Time {
	w.Helper()
	nc, err := w.nats.Connect("test")
	if err != nil {
		w.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		w.Fatal(err)
	}
	c, err := js.Consumer(w.Context(), names.Events("default"), names.Consumer("till", "sold"))
	if err != nil {
		return time.Time{}
	}
	return c.CachedInfo().Created
}

func (w *world) age() time.Time {
	w.Helper()
	functions, err := w.functions()
	if err != nil || len(functions) != 1 {
		w.Fatalf("%d functions, %v", len(functions), err)
	}
	return functions[0].CreationTimestamp.Time
}

func (w *world) wantSaid(line string) {
	w.Helper()
	if !strings.Contains(w.said.String(), line+"\n") {
		w.Errorf("it did not say %q:\n%s", line, w.said)
	}
}

// TestGoneForAMoment checks that a manifest that is missing for a moment, as in a
// checkout, costs neither calls that wait nor events.
func TestGoneForAMoment(t *testing.T) {
	w := newWorld(t, tillManifest)
	call, made, age := w.call("/job"), w.listener(), w.age()
	w.remove()
	w.reload(t.Context())
	w.wantSaid("function default/till is gone from the manifests; its triggers are removed in 1h0m0s unless it comes back")
	w.write(tillManifest)
	w.reload(t.Context())
	w.wantCall(call, false)
	if got := w.listener(); !got.Equal(made) {
		t.Errorf("the consumer was made %v, before %v", got, made)
	}
	if got := w.age(); !got.Equal(age) {
		t.Errorf("the function is from %v, before %v", got, age)
	}
	w.o.gone = 0 // were it gone still, that would be for long enough
	if err := w.retireDue(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.wantCall(call, false)
}

// TestTriggerGone checks the same for one trigger, and that it is removed when it
// has been gone for long enough.
func TestTriggerGone(t *testing.T) {
	w := newWorld(t, tillManifest)
	call, made := w.call("/job"), w.listener()
	without, _, _ := strings.Cut(tillManifest, "  - {name: job")
	w.write(without)
	w.reload(t.Context())
	w.wantSaid("trigger job of function default/till is gone from its manifest; it is removed in 1h0m0s unless it comes back")
	w.wantSaid("trigger sold of function default/till is gone from its manifest; it is removed in 1h0m0s unless it comes back")
	if err := w.retireDue(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.wantCall(call, false)
	if got := w.listener(); !got.Equal(made) {
		t.Errorf("the consumer was made %v, before %v", got, made)
	}
	w.o.gone = 0
	w.write(tillManifest) // it is back, and about to be taken in
	if err := w.retireDue(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.wantCall(call, false)
	w.write(without)
	w.until("the consumer is gone", func() bool { return w.listener().IsZero() })
	w.until("the call is dead", func() bool { return strings.Contains(w.look(call), `"TriggerRemoved"`) })
}

const waiterManifest = `apiVersion: serviceful.dev/v1alpha1
kind: Function
metadata: {name: till, annotations: {serviceful.dev/dev-command: function}}
spec:
  image: till
  env: [{name: WORK, value: FOLDER}]
  triggers:
  - {name: hello, http: {methods: [GET], path: /hello}}
  - {name: job, http: {path: "/wait/{file}", async: true}}
`

// TestTriggerGoneWhileItIsCalled checks that a trigger whose time is over is
// removed only when its calls have ended.
func TestTriggerGoneWhileItIsCalled(t *testing.T) {
	folder := t.TempDir()
	manifest := strings.Replace(waiterManifest, "FOLDER", folder, 1)
	w := newWorld(t, manifest)
	call := w.call("/wait/go")
	w.until("it is called", func() bool { return strings.Contains(w.said.String(), "waiting for go") })
	without, _, _ := strings.Cut(manifest, "  - {name: job")
	w.write(without)
	w.reload(t.Context())
	w.o.gone = 0
	for range 3 {
		if err := w.retireDue(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.wantCall(call, false)
	}
	if err := os.WriteFile(filepath.Join(folder, "go"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	w.until("the call has succeeded", func() bool { return strings.Contains(w.look(call), `"succeeded"`) })
}
