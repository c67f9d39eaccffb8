// Command ledger is a function that works for a while in each call, and writes
// down when a call begins and when it ends: in a file, so that what it wrote is
// there when it is killed.
//
// It imports the standard library only, so that it costs little beside what is
// measured.
package main

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"
)

func main() {
	if err := run(); err != nil {
		slog.Error("function ended", "function", "ledger", "error", err)
		os.Exit(1)
	}
}

func run() error {
	file, err := os.OpenFile(os.Getenv("LEDGER"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("opening the ledger: %w", err)
	}
	return http.ListenAndServe(net.JoinHostPort("127.0.0.1", os.Getenv("PORT")), handler(file))
}

func handler(ledger io.Writer) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /work/{time}", func(w http.ResponseWriter, r *http.Request) {
		work, err := time.ParseDuration(r.PathValue("time"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		do(w, ledger, r.Header.Get("Ce-Id"), work)
	})
	mux.HandleFunc("POST /long/{id}", func(w http.ResponseWriter, r *http.Request) {
		do(w, ledger, "l"+r.PathValue("id")+"/0", 3600*time.Millisecond) // the lease is 3 s
	})
	mux.HandleFunc("GET /sync", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") })
	return mux
}

// do works, and writes down when it begins and ends.
func do(w http.ResponseWriter, ledger io.Writer, id string, work time.Duration) {
	err := write(ledger, "begin", id)
	if err == nil {
		time.Sleep(work)
		err = write(ledger, "end", id)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// write writes one line at once: what, the event's id, this process, and when in
// nanoseconds since 1970.
func write(ledger io.Writer, what, id string) error {
	_, err := fmt.Fprintf(ledger, "%s %s %d %d\n", what, id, os.Getpid(), time.Now().UnixNano())
	return err
}
