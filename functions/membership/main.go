// Command membership is a function: it knows the members, gives them their numbers and forgets them when they leave.
//
// It owns the bucket "members" and says in events who joined and who left, by number only. It never mails and knows nothing of
// what the events set off.
package main

import (
	"log/slog"
	"os"

	"github.com/serviceful/serviceful/functions/serviceful"
)

func main() {
	if err := run(); err != nil {
		slog.Error("function ended", "function", "membership", "error", err)
		os.Exit(1)
	}
}

func run() error {
	services, err := serviceful.FromEnv()
	if err != nil {
		return err
	}
	return serviceful.Serve(newHandler(services, randomNumber))
}
