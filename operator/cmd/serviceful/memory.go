package main

import (
	"context"
	"runtime/debug"
	"time"
)

// restCheck is how often it is looked whether the functions rest.
const restCheck = 10 * time.Second

// giveMemoryBack returns what a busy time has left to the system, once when the
// last function has stopped and once more when NATS has let go of its caches.
// Without it the collector, which runs for new garbage alone, would take minutes.
func (s *stack) giveMemoryBack(ctx context.Context) {
	tick := time.NewTicker(restCheck)
	defer tick.Stop()
	rested := 0 // checks in a row at which nothing ran
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if len(s.processes.Running()) > 0 {
			rested = 0
			continue
		}
		if rested++; rested == 1 || rested == 7 {
			debug.FreeOSMemory()
		}
	}
}
