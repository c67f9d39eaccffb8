package bus

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// MaxPayload is the largest message, in bytes, that our own NATS servers take.
const MaxPayload = 8 << 20

// EmbeddedConfig says how the NATS server inside `serviceful dev` runs.
type EmbeddedConfig struct {
	Dir      string       // of its files; must be its alone
	MaxStore int64        // bytes it may use on disk; 0: three quarters of what is free
	Logger   *slog.Logger // its warnings and errors
}

// Embedded is a NATS server in this process that listens on nothing.
type Embedded struct{ server *server.Server }

// readyTimeout bounds the recovery of the server's files at a start.
const readyTimeout = 2 * time.Minute

// StartEmbedded starts a server and waits until it has recovered its files.
func StartEmbedded(cfg EmbeddedConfig) (*Embedded, error) {
	s, err := server.NewServer(&server.Options{
		ServerName: "serviceful", DontListen: true, NoSigs: true,
		JetStream: true, StoreDir: cfg.Dir, JetStreamMaxStore: cfg.MaxStore, JetStreamMaxMemory: 16 << 20,
		MaxPayload:      MaxPayload,
		NoSublistCache:  true, // each acknowledgement has a subject of its own, which a cache takes in and never finds again
		JetStreamLimits: server.JSLimitOpts{DefaultMaxConsumers: 10_000},
	})
	if err != nil {
		return nil, fmt.Errorf("configuring the NATS server: %w", err)
	}
	fatal := make(chan string, 1)
	s.SetLoggerV2(natsLogger{cfg.Logger, fatal}, false, false, false)
	s.Start()
	select {
	case reason := <-fatal:
		s.Shutdown()
		return nil, fmt.Errorf("starting the NATS server in %s: %s", cfg.Dir, reason)
	default:
	}
	if !s.ReadyForConnections(readyTimeout) {
		s.Shutdown()
		return nil, errors.New("starting the NATS server: it is not ready")
	}
	if !s.JetStreamEnabled() {
		s.Shutdown()
		return nil, fmt.Errorf("starting the NATS server: it cannot use %s", cfg.Dir)
	}
	return &Embedded{server: s}, nil
}

// Connect opens a connection to the server. name shows up in its logs.
func (e *Embedded) Connect(name string) (*nats.Conn, error) {
	nc, err := nats.Connect("", nats.InProcessServer(e.server), nats.Name(name), nats.MaxReconnects(-1))
	if err != nil {
		return nil, fmt.Errorf("connecting to the NATS server: %w", err)
	}
	return nc, nil
}

// Serve hands each connection that a listener accepts to the server, until the
// listener is closed; those that are open then end with the server.
func (e *Embedded) Serve(l net.Listener) error {
	for {
		outside, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("accepting a connection to the NATS server: %w", err)
		}
		inside, err := e.server.InProcessConn()
		if err != nil { // it is stopping
			_ = outside.Close()
			return fmt.Errorf("connecting to the NATS server: %w", err)
		}
		go join(outside, inside)
	}
}

// join copies both ways until one side ends, and closes both.
func join(one, other net.Conn) {
	ended := make(chan struct{}, 2)
	pass := func(to, from net.Conn) {
		_, _ = io.Copy(to, from) // an end is an end
		ended <- struct{}{}
	}
	go pass(one, other)
	go pass(other, one)
	<-ended
	_ = one.Close()
	_ = other.Close()
	<-ended
}

// Healthy reports whether everything can be stored. An error of the disk, such as
// a full one, freezes a stream until the next start.
func (e *Embedded) Healthy() bool { return e.server.Healthz(nil).Error == "" }

// Room is how many bytes may still be accepted from outside: the last eighth of
// the store is for what work under way leaves behind.
func (e *Embedded) Room() int64 {
	limit := e.server.JetStreamConfig().MaxStore
	return limit - limit/8 - int64(e.server.GlobalAccount().JetStreamUsage().Store)
}

// Stop writes everything out and waits until the server has ended.
func (e *Embedded) Stop() {
	e.server.Shutdown()
	e.server.WaitForShutdown()
}

// natsLogger passes the server's warnings and errors on, and why it cannot start.
type natsLogger struct {
	log   *slog.Logger
	fatal chan<- string
}

func (natsLogger) Noticef(string, ...any) {}
func (natsLogger) Debugf(string, ...any)  {}
func (natsLogger) Tracef(string, ...any)  {}
func (l natsLogger) Warnf(format string, v ...any) {
	l.log.Warn("nats server", "message", fmt.Sprintf(format, v...))
}
func (l natsLogger) Errorf(format string, v ...any) {
	l.log.Error("nats server", "message", fmt.Sprintf(format, v...))
}
func (l natsLogger) Fatalf(format string, v ...any) {
	select {
	case l.fatal <- fmt.Sprintf(format, v...):
	default:
		l.Errorf(format, v...)
	}
}
