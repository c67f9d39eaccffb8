package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/serviceful/serviceful/operator/internal/names"
	"github.com/serviceful/serviceful/operator/internal/wiring"
)

// defaultGone is how long a Function or trigger must be gone from the manifests
// until what waits for it is given up: editors save by removing, and a checkout
// takes files away for a moment.
const defaultGone = 5 * time.Second

// departures are what has gone from the manifests while the program ran, and
// since when.
type departures struct {
	functions map[names.Function]time.Time
	triggers  map[string]time.Time // by wiring.Subscription.Key
}

func newDepartures() departures {
	return departures{functions: map[names.Function]time.Time{}, triggers: map[string]time.Time{}}
}

// note compares what runs with what is to run: what is missing begins to be gone,
// what is there again is not. It returns a line for a person for each Function
// that lost triggers whose messages may wait.
func (d departures) note(before, after *wiring.Snapshot, now time.Time, grace time.Duration) []string {
	for f := range after.Functions {
		delete(d.functions, f)
	}
	for f := range before.Functions {
		if after.Functions[f] == nil {
			d.functions[f] = now
		}
	}
	there := map[string]bool{}
	for _, s := range after.Subscriptions {
		there[s.Key()] = true
		delete(d.triggers, s.Key())
	}
	lost := map[names.Function][]string{}
	for _, s := range before.Subscriptions {
		if there[s.Key()] {
			continue
		}
		d.triggers[s.Key()] = now
		if s.Function.Name != "" { // a relay is nobody's
			lost[s.Function] = append(lost[s.Function], s.Trigger)
		}
	}
	var lines []string
	for _, f := range sortedFunctions(lost) {
		if after.Functions[f] == nil {
			lines = append(lines, fmt.Sprintf("function %s is gone from the manifests; its triggers are removed in %s unless it comes back", f, grace))
			continue
		}
		for _, trigger := range lost[f] {
			lines = append(lines, fmt.Sprintf("trigger %s of function %s is gone from its manifest; it is removed in %s unless it comes back", trigger, f, grace))
		}
	}
	return lines
}

func sortedFunctions[V any](of map[names.Function]V) []names.Function {
	return slices.SortedFunc(maps.Keys(of), func(a, b names.Function) int { return strings.Compare(a.String(), b.String()) })
}

// expire forgets what has been gone for the grace, and returns when the next one
// will have been; zero: none is left.
func (d departures) expire(now time.Time, grace time.Duration) (next time.Time) {
	maps.DeleteFunc(d.functions, func(_ names.Function, since time.Time) bool { return now.Sub(since) >= grace })
	maps.DeleteFunc(d.triggers, func(_ string, since time.Time) bool { return now.Sub(since) >= grace })
	for _, since := range slices.Concat(slices.Collect(maps.Values(d.functions)), slices.Collect(maps.Values(d.triggers))) {
		if at := since.Add(grace); next.IsZero() || at.Before(next) {
			next = at
		}
	}
	return next
}
