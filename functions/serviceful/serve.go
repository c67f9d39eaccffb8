package serviceful

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

const (
	headerTimeout = 10 * time.Second // to read one request's header
	grace         = 30 * time.Second // for calls that run when the function is told to stop
)

// Serve answers with handler on $PORT until SIGTERM or SIGINT. It then takes no new call, lets those that run finish for at most
// 30 seconds, and returns nil when all of them did.
func Serve(handler http.Handler) error {
	port := os.Getenv("PORT")
	if port == "" {
		return errors.New("PORT must be set")
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()

	// No limit on idle connections: the platform closes its own, and one closed from here could be in use again already.
	server := &http.Server{Addr: ":" + port, Handler: handler, ReadHeaderTimeout: headerTimeout}
	ended := make(chan error, 1)
	go func() { ended <- server.ListenAndServe() }()
	select {
	case err := <-ended:
		return fmt.Errorf("serving on port %s: %w", port, err)
	case <-ctx.Done():
	}

	drain, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	err := server.Shutdown(drain)
	if why := <-ended; err == nil && !errors.Is(why, http.ErrServerClosed) {
		err = why
	}
	if err != nil {
		return fmt.Errorf("finishing running calls: %w", err)
	}
	return nil
}
