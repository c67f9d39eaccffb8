// Package serve is what the HTTP doors have in common: a server that starts,
// drains and stops, and errors as problem+json.
//
// It knows nothing of functions or NATS and imports the standard library only.
package serve

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"syscall"
	"time"
)

// Server is an HTTP server on an address of its own.
type Server struct {
	http     *http.Server
	listener net.Listener
	draining atomic.Bool
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
	s := &Server{listener: l, done: make(chan struct{})}
	s.http = &http.Server{
		Handler:     handling(lingering(bounded(s.leaving(handler)), lingerTime)),
		ConnContext: withConn, ConnState: handled,
		ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute,
	}
	go func() {
		defer close(s.done)
		_ = s.http.Serve(problemListener{l}) // ends with Stop or Close alone: the listener is its own
	}()
	return s, nil
}

// bounded refuses requests that pass MaxHeaderBytes; net/http itself those that pass
// its own bound of 1 MiB. And it bounds how long net/http waits for a body that the
// handler does not read.
func bounded(handler http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if size := headerSize(r); size > MaxHeaderBytes {
			w.Header().Set("Connection", "close")
			WriteProblem(w, NewProblem(http.StatusRequestHeaderFieldsTooLarge, "headers-too-large",
				"the request's line and headers take %d bytes, more than %d", size, MaxHeaderBytes))
			return
		}
		if r.ContentLength != 0 {
			AwaitBody(w, Stall)
		}
		handler.ServeHTTP(w, r)
	})
}

func headerSize(r *http.Request) int {
	n := len(r.Method) + len(r.RequestURI) + len(" HTTP/1.1\r\n") + 1 + len("Host: \r\n") + len(r.Host)
	for key, values := range r.Header {
		for _, v := range values {
			n += len(key) + len(": \r\n") + len(v)
		}
	}
	return n
}

// leaving has the last answer of a connection say so while the server drains. A
// connection that changes its protocol goes on.
func (s *Server) leaving(handler http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.draining.Load() && r.Header["Upgrade"] == nil {
			w.Header().Set("Connection", "close")
		}
		handler.ServeHTTP(w, r)
	})
}

// Drain goes on serving, but ends each connection with its next answer, so that
// clients come back to another server. Stop closes those that are not in use, and
// a client that sends at that moment cannot know whether it was heard.
func (s *Server) Drain() { s.draining.Store(true) }

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

// Close breaks off what is under way.
func (s *Server) Close() {
	_ = s.http.Close()
	<-s.done
}
