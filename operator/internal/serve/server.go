// Package serve is what the HTTP doors have in common: a server that starts,
// drains and stops, and errors as problem+json.
//
// It knows nothing of functions or NATS and imports the standard library only.
package serve

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"syscall"
	"time"
)

// Server is an HTTP server on an address of its own.
type Server struct {
	http     *http.Server
	listener net.Listener
	done     chan struct{} // closed when it serves no more
}

// MaxHeaderBytes bounds the line and headers of a request: what a stored call
// can keep.
const MaxHeaderBytes = 32 << 10

// Start listens on address and serves. An address in use is an error that says
// so.
func Start(address string, handler http.Handler) (*Server, error) {
	l, err := net.Listen("tcp", address)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("listening on %s: the port is in use by another process; end it, or choose another address", address)
	}
	if err != nil {
		return nil, fmt.Errorf("listening on %s: %w", address, err)
	}
	s := &Server{
		http: &http.Server{
			Handler: handler, MaxHeaderBytes: MaxHeaderBytes,
			ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute,
		},
		listener: l, done: make(chan struct{}),
	}
	go func() {
		defer close(s.done)
		_ = s.http.Serve(l) // ends with Stop alone: the listener is its own
	}()
	return s, nil
}

// Address is where it listens: "host:port".
func (s *Server) Address() string { return s.listener.Addr().String() }

// Stop takes no more connections and waits for the requests under way, until
// the context ends; then it breaks them off.
func (s *Server) Stop(ctx context.Context) {
	if s.http.Shutdown(ctx) != nil {
		_ = s.http.Close()
	}
	<-s.done
}

// readAll reads all of r into a buffer that fits a body of the given length (-1:
// unknown).
func readAll(r io.Reader, length int64) ([]byte, error) {
	if length < 0 {
		return io.ReadAll(r)
	}
	buf := make([]byte, length)
	_, err := io.ReadFull(r, buf)
	return buf, err
}
