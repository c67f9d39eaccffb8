package bus

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/nats-io/nats.go"
)

// ConnectConfig says where NATS is.
type ConnectConfig struct {
	URL         string
	Credentials string // a file: NATS user credentials, or an nkey seed; "": none
	Name        string // shows up in the server's logs
	Logger      *slog.Logger
}

// connectPause is the pause before a server that is not there is tried again.
const connectPause = 2 * time.Second

// Connect opens a connection, and waits for the server until ctx ends. From then
// on it connects again by itself, for ever.
func Connect(ctx context.Context, cfg ConnectConfig) (*nats.Conn, error) {
	opts := []nats.Option{nats.Name(cfg.Name), nats.MaxReconnects(-1), nats.ReconnectWait(connectPause)}
	if cfg.Credentials != "" {
		credentials, err := credentials(cfg.Credentials)
		if err != nil {
			return nil, err
		}
		opts = append(opts, credentials)
	}
	for {
		nc, err := nats.Connect(cfg.URL, opts...)
		if err == nil {
			return nc, nil
		}
		cfg.Logger.Warn("waiting for NATS", "url", cfg.URL, "error", err)
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("connecting to NATS at %s: %w", cfg.URL, err)
		case <-time.After(connectPause):
		}
	}
}

func credentials(file string) (nats.Option, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("reading the credentials for NATS: %w", err)
	}
	if bytes.Contains(content, []byte("BEGIN NATS USER JWT")) {
		return nats.UserCredentials(file), nil
	}
	seed, err := nats.NkeyOptionFromSeed(file)
	if err != nil {
		return nil, fmt.Errorf("reading the credentials for NATS: %s holds neither user credentials nor an nkey seed: %w", file, err)
	}
	return seed, nil
}
