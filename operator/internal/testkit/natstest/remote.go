package natstest

import (
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/serviceful/serviceful/operator/internal/bus"
)

// Remote is a NATS server that listens on this machine, for a program under test.
type Remote struct {
	URL     string
	options server.Options
	server  *server.Server
}

// NewRemote starts a server that ends with the test.
func NewRemote(tb testing.TB) *Remote {
	tb.Helper()
	r := &Remote{options: server.Options{
		Host: "127.0.0.1", Port: -1, NoSigs: true, JetStream: true, StoreDir: tb.TempDir(), MaxPayload: bus.MaxPayload,
	}}
	r.Start(tb)
	r.URL = r.server.ClientURL()
	tb.Cleanup(r.Stop)
	return r
}

// Start starts it, again where it listened before and with what it had stored.
func (r *Remote) Start(tb testing.TB) {
	tb.Helper()
	options := r.options // the server changes its own
	var err error
	if r.server, err = server.NewServer(&options); err != nil {
		tb.Fatal(err)
	}
	r.server.Start()
	if !r.server.ReadyForConnections(time.Minute) {
		tb.Fatal("the NATS server is not ready")
	}
	r.options.Port = options.Port
}

// Stop ends it. It may be started again.
func (r *Remote) Stop() {
	r.server.Shutdown()
	r.server.WaitForShutdown()
}
