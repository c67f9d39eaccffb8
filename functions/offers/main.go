// Command offers is a function: it keeps the catalogue of offers, loads it from files, gives the welcome offers to each new member,
// lets a member redeem each offer once, and ends every night what has expired.
//
// It owns the bucket "offers", which holds member numbers and no personal data, and the store "catalogue". It says in events what was
// allocated, redeemed, expired and loaded. It never asks membership: the events tell it who joined and who left.
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
