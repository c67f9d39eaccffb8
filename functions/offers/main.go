// Command offers is a function: it keeps the catalogue of offers, gives the welcome offers to each new member, and lets a member
// redeem each offer once.
//
// It owns the bucket "offers", which holds member numbers and no personal data, and says in events what was allocated and what was
// redeemed. It never asks membership: the events tell it who joined and who left.
package main

import (
	"log/slog"
	"os"
	"time"

	"github.com/serviceful/serviceful/functions/serviceful"
)

func main() {
	if err := run(); err != nil {
		slog.Error("function ended", "function", "offers", "error", err)
		os.Exit(1)
	}
}

func run() error {
	services, err := serviceful.FromEnv()
	if err != nil {
		return err
	}
	return serviceful.Serve(newHandler(services, time.Now))
}
