package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"
)

const (
	failingType = "bench.failing.v1" // the failer answers 500 to it, and is called again
	besideType  = "bench.beside.v1"  // the good ones of the same trigger
	failing     = 10_000             // events that keep failing
	besideRate  = 100                // events of each healthy stream in a second
	failures    = 80                 // calls that fail in a second, at least: a turn without them would say nothing
)

// healthy is what came of the healthy streams in a turn.
type healthy struct {
	other, same []time.Duration // how long events took: to another function's trigger, to that of the failing ones
	failed      float64         // calls of failing events in a second, meanwhile
}

// failingBeside measures two healthy streams, alone and beside events that keep
// failing. Each turn has a system of its own.
func failingBeside(ctx context.Context, w *workshop) ([]result, error) {
	raws, owns, err := takeTurns(10*time.Second, 0, failing, func(many int, length time.Duration) (healthy, error) {
		return w.healthyBeside(ctx, many, length)
	})
	if err != nil {
		return nil, err
	}
	line := func(what string, of func(healthy) []time.Duration) result {
		raw, own := p99s(raws, of), p99s(owns, of)
		return result{what: what, ours: spread(own), yardstick: spread(raw), value: float64(median(own)) / float64(median(raw)), target: 1.2}
	}
	var failed []float64
	for _, h := range owns {
		failed = append(failed, h.failed)
	}
	return []result{
		line("failing, other p99", func(h healthy) []time.Duration { return h.other }),
		line("failing, same p99", func(h healthy) []time.Duration { return h.same }),
		{what: "failing calls", ours: rate(median(failed)), value: slices.Min(failed), unit: "/s", target: failures, least: true},
	}, nil
}

// p99s are those of turns.
func p99s(turns []healthy, of func(healthy) []time.Duration) (all []time.Duration) {
	for _, h := range turns {
		all = append(all, percentile(of(h), 99))
	}
	return all
}

// spread is the median of turns, and the least and the most of them.
func spread(turns []time.Duration) string {
	return fmt.Sprintf("%s (%.3g-%.3g)", inMillis(median(turns)), millis(slices.Min(turns)), millis(slices.Max(turns)))
}

// healthyBeside starts a system with so many events that fail, waits until each has
// been called, and runs the healthy streams for a while.
func (w *workshop) healthyBeside(ctx context.Context, many int, length time.Duration) (h healthy, err error) {
	if w.data, err = os.MkdirTemp(w.dir, "failing-"); err != nil {
		return h, fmt.Errorf("making a data folder: %w", err)
	}
	s, err := w.startSink(ctx, "-f", "hack/bench/failer")
	if err != nil {
		return h, err
	}
	defer func() {
		s.stop()
		err = errors.Join(err, os.RemoveAll(w.data))
	}()
	_, other := s.eventPaths(w)
	same := other
	same.door = other.of(besideType)
	if same.sink, err = s.instance(ctx, w.client, "bench.failer"); err != nil {
		return h, err
	}
	bad := other.of(failingType)
	if err := bad.postMany(ctx, many, bad.event); err != nil {
		return h, err
	}
	if err := same.awaitFailed(ctx, many); err != nil {
		return h, err
	}
	for _, length := range []time.Duration{2 * time.Second, length} { // the first, in which everything gets warm, does not count
		if h, err = streams(ctx, other, same, length); err != nil {
			return h, err
		}
	}
	return h, nil
}

// streams runs the healthy streams, both at once.
func streams(ctx context.Context, other, same eventPath, length time.Duration) (h healthy, err error) {
	var (
		both              sync.WaitGroup
		fromOther         arrived
		fromSame          arrived
		otherErr, sameErr error
	)
	began := time.Now()
	both.Go(func() { fromOther, otherErr = other.paced(ctx, besideRate, length) })
	both.Go(func() { fromSame, sameErr = same.paced(ctx, besideRate, length) })
	both.Wait()
	took := time.Since(began).Seconds()
	return healthy{other: fromOther.Latencies, same: fromSame.Latencies, failed: float64(fromSame.Failed) / took}, errors.Join(otherErr, sameErr)
}

// awaitFailed waits until so many calls have failed in all.
func (p eventPath) awaitFailed(ctx context.Context, n int) error {
	var failed error
	calls := 0
	err := poll(ctx, 20*time.Millisecond, 20*patience, func() bool {
		some, err := p.sink.arrivals(ctx, p.drain)
		failed = err
		calls += some.Failed
		return failed != nil || calls >= n
	})
	if err = errors.Join(err, failed); err != nil {
		return fmt.Errorf("waiting for %d calls that fail, of which %d were made: %w", n, calls, err)
	}
	return nil
}
