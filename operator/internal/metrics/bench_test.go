package metrics

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/serviceful/serviceful/operator/internal/gateway"
	"github.com/serviceful/serviceful/operator/internal/invoke"
	"github.com/serviceful/serviceful/operator/internal/testkit/natstest"
	"github.com/serviceful/serviceful/operator/internal/wiring"
)

// BenchmarkRequest is a synchronous request to a warm function on this machine,
// with and without its being measured: compare the two of one run.
func BenchmarkRequest(b *testing.B) {
	function := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "answer") }))
	defer function.Close()
	warm := world(func() (invoke.Lease, error) {
		return invoke.Lease{Address: function.Listener.Addr().String(), Release: func() {}}, nil
	})
	store := natstest.Connect(b, natstest.Server(b))
	s := snapshot(b, true)
	for name, measured := range map[string]bool{"bare": false, "measured": true} {
		b.Run(name, func(b *testing.B) {
			cfg := gateway.Config{
				World: warm, Inbox: store, Calls: store, Snapshot: func() *wiring.Snapshot { return s }, Ready: func() error { return nil },
				Logger: slog.New(slog.DiscardHandler),
			}
			if measured {
				m := New(connection{})
				cfg.World, cfg.Meter = m.World(warm), m.Gateway()
			}
			door, err := gateway.New(cfg)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				w := httptest.NewRecorder()
				door.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/offers", nil))
				if w.Code != http.StatusOK {
					b.Fatal(w.Code, w.Body)
				}
			}
		})
	}
}

// BenchmarkMeters is what measuring alone costs a request.
func BenchmarkMeters(b *testing.B) {
	m := New(connection{})
	g, route := m.Gateway(), snapshot(b, true).Routes()[0]
	w := m.World(world(func() (invoke.Lease, error) { return invoke.Lease{}, nil }))
	b.ReportAllocs()
	for b.Loop() {
		g.Begin(route)
		if _, err := w.Acquire(b.Context(), offers); err != nil {
			b.Fatal(err)
		}
		g.End(route, http.StatusOK, time.Millisecond)
	}
}
