package bus_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"

	"github.com/serviceful/serviceful/operator/internal/bus"
)

// guarded is a server that lets in whoever has the seed.
func guarded(t *testing.T) (url string, seed []byte) {
	t.Helper()
	pair, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	public, err := pair.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	if seed, err = pair.Seed(); err != nil {
		t.Fatal(err)
	}
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: -1, NoSigs: true, Nkeys: []*server.NkeyUser{{Nkey: public}}})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(time.Minute) {
		t.Fatal("the server is not ready")
	}
	return s.ClientURL(), seed
}

func TestConnect(t *testing.T) {
	url, seed := guarded(t)
	file := func(content string) string {
		name := filepath.Join(t.TempDir(), "credentials")
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	for name, test := range map[string]struct {
		credentials string
		want        string // in the error; "": none
	}{
		"a seed":         {file(string(seed)), ""},
		"none":           {"", "Authorization Violation"},
		"no file":        {filepath.Join(t.TempDir(), "none"), "no such file"},
		"something else": {file("secret"), "neither user credentials nor an nkey seed"},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		if test.want != "" {
			cancel() // it waits for a server otherwise
		}
		nc, err := bus.Connect(ctx, bus.ConnectConfig{URL: url, Credentials: test.credentials, Name: "test", Logger: slog.New(slog.DiscardHandler)})
		if err == nil {
			nc.Close()
			err = errors.New("")
		}
		if test.want == "" && err.Error() != "" || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", name, err)
		}
		cancel()
	}
}
