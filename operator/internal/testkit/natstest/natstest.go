// Package natstest gives a test a real NATS server of its own, inside the
// process and on disk.
package natstest

import (
	"log/slog"
	"testing"

	"github.com/serviceful/serviceful/operator/internal/bus"
)

// Server starts a server that ends with the test.
func Server(tb testing.TB) *bus.Embedded {
	tb.Helper()
	s, err := bus.StartEmbedded(bus.EmbeddedConfig{Dir: tb.TempDir(), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(s.Stop)
	return s
}

// Connect is a connection to a server that ends with the test.
func Connect(tb testing.TB, s *bus.Embedded) *bus.Bus {
	tb.Helper()
	nc, err := s.Connect(tb.Name())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(nc.Close)
	b, err := bus.New(nc)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}
