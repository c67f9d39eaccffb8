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
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for name, test := range map[string]struct {
		ctx         context.Context
		credentials string
		want        string // in the error; "": none
	}{
		"a seed":         {t.Context(), file(string(seed)), ""},
		"none":           {ended, "", "Authorization Violation"},
		"no file":        {t.Context(), filepath.Join(t.TempDir(), "none"), "no such file"},
		"something else": {t.Context(), file("secret"), "neither user credentials nor an nkey seed"},
	} {
		nc, err := bus.Connect(test.ctx, bus.ConnectConfig{URL: url, Credentials: test.credentials, Name: "test", Logger: slog.New(slog.DiscardHandler)})
		if err == nil {
			nc.Close()
			err = errors.New("")
		}
		if test.want == "" && err.Error() != "" || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
