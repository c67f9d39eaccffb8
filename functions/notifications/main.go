// Command notifications is a function: it mails members about what happened to them.
//
// It owns no data. The events name a member by number only, and so it reads the address in the bucket "members" at the moment of
// mailing; a member who is gone by then gets no mail.
package main

import (
	"log/slog"
	"os"

	"github.com/serviceful/serviceful/functions/serviceful"
)

func main() {
	if err := run(); err != nil {
		slog.Error("function ended", "function", "notifications", "error", err)
		os.Exit(1)
	}
}

func run() error {
	services, err := serviceful.FromEnv()
	if err != nil {
		return err
	}
	return serviceful.Serve(newHandler(services))
}
