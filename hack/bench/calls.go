package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"time"
)

func syncCalls(ctx context.Context, w *workshop) ([]result, error) {
	s, err := w.startSink(ctx)
	if err != nil {
		return nil, err
	}
	defer s.stop()
	call := func(base string, senders int, length time.Duration) ([]time.Duration, error) {
		return saturate(ctx, senders, length, func(ctx context.Context) error { return get(ctx, w.client, base+"/sync") })
	}
	raw, own, err := takeTurns(2*time.Second, s.sink.url, s.gateway, func(base string, length time.Duration) (float64, error) {
		began := time.Now()
		took, err := call(base, senders, length)
		return float64(len(took)) / time.Since(began).Seconds(), err
	})
	if err != nil {
		return nil, err
	}
	rawWaits, ownWaits, err := takeTurns(time.Second, s.sink.url, s.gateway, func(base string, length time.Duration) (time.Duration, error) {
		took, err := call(base, 1, length)
		return median(took), err
	})
	if err != nil {
		return nil, err
	}
	rawWait, ownWait := median(rawWaits), median(ownWaits)
	return []result{
		{what: "sync rate", ours: rate(median(own)), yardstick: rate(median(raw)), value: median(own) / median(raw), target: 0.45, least: true},
		{what: "sync p50 added", ours: inMillis(ownWait), yardstick: inMillis(rawWait), value: millis(ownWait - rawWait), unit: "ms", target: 0.3},
	}, nil
}

func coldCall(ctx context.Context, w *workshop) ([]result, error) {
	d, err := w.start(ctx, "hack/bench/sleeper")
	if err != nil {
		return nil, err
	}
	defer d.stop()
	call := func() error { return get(ctx, w.client, d.gateway+"/sync") }
	if err := call(); err != nil {
		return nil, err
	}
	var bare, ours []time.Duration
	for range 20 {
		sleeper, err := d.instance(ctx, w.client, "bench.sleeper")
		if err != nil {
			return nil, err
		}
		binary, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", sleeper.pid))
		if err != nil {
			return nil, fmt.Errorf("finding the function's binary: %w", err)
		}
		if err := sleeper.kill(ctx); err != nil {
			return nil, err
		}
		took, err := bareStart(ctx, binary)
		if err != nil {
			return nil, err
		}
		bare = append(bare, took)
		began := time.Now()
		if err := call(); err != nil {
			return nil, err
		}
		ours = append(ours, time.Since(began))
	}
	return []result{{
		what: "cold p50", ours: inMillis(median(ours)), yardstick: inMillis(median(bare)),
		value: float64(median(ours)) / float64(median(bare)), target: 2,
	}}, nil
}

// bareStart is how long a function's binary takes until its port accepts a
// connection.
func bareStart(ctx context.Context, binary string) (took time.Duration, err error) {
	addresses, err := freePorts(1)
	if err != nil {
		return 0, err
	}
	_, port, err := net.SplitHostPort(addresses[0])
	if err != nil {
		return 0, err
	}
	cmd := exec.CommandContext(ctx, binary)
	cmd.Env = append(os.Environ(), "PORT="+port)
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("starting %s: %w", binary, err)
	}
	err = poll(ctx, time.Millisecond, patience, func() bool {
		c, err := net.Dial("tcp", addresses[0])
		return err == nil && c.Close() == nil
	})
	took = time.Since(began)
	err = errors.Join(err, cmd.Process.Kill())
	_ = cmd.Wait() // it was killed
	return took, err
}
