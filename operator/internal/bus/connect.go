package bus

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
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
	opts, err := cfg.options()
	if err != nil {
		return nil, err
	}
	opts = append(opts, nats.MaxReconnects(-1))
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

// DialConfig says how NATS is reached by a command, which ends sooner or later.
type DialConfig struct {
	ConnectConfig                          // its Logger is not used
	Dial          func() (net.Conn, error) // default: a TCP connection to the URL's host
}

// Dial is Connect for a command: it tries once. A connection that breaks is made
// anew for a minute or two.
func Dial(cfg DialConfig) (*nats.Conn, error) {
	opts, err := cfg.options()
	if err != nil {
		return nil, err
	}
	if cfg.Dial != nil {
		opts = append(opts, nats.SetCustomDialer(dialer(cfg.Dial)), nats.SkipHostLookup(), nats.IgnoreDiscoveredServers())
	}
	quiet := nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}) // the command hears of it by what fails
	nc, err := nats.Connect(cfg.URL, append(opts, nats.Timeout(dialTimeout), quiet)...)
	if err != nil {
		return nil, fmt.Errorf("connecting to NATS: %w", err)
	}
	return nc, nil
}

// dialTimeout bounds the making of one connection, through an API server too.
const dialTimeout = 30 * time.Second

// dialer is nats.go's interface to a function that knows where to.
type dialer func() (net.Conn, error)

func (d dialer) Dial(string, string) (net.Conn, error) { return d() }

func (cfg ConnectConfig) options() ([]nats.Option, error) {
	opts := []nats.Option{nats.Name(cfg.Name), nats.ReconnectWait(connectPause)}
	if cfg.Credentials == "" {
		return opts, nil
	}
	credentials, err := credentials(cfg.Credentials)
	if err != nil {
		return nil, err
	}
	return append(opts, credentials), nil
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
