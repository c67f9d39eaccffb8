package main

import (
	"context"
	"sync/atomic"
	"time"
)

// senders is how many callers a saturated door has.
const senders = 64

// turns is how often the yardstick and ours take turns.
const turns = 5

// doors starts serviceful dev with the sink, and gives the way to it through the
// services door and the direct one.
func doors(ctx context.Context, w *workshop) (ours, direct door, sink instance, stop func(), err error) {
	d, err := w.start(ctx, "hack/bench/sink")
	if err != nil {
		return door{}, door{}, instance{}, nil, err
	}
	if sink, err = d.instance(ctx, w.client, "bench.sink"); err != nil {
		d.stop()
		return door{}, door{}, instance{}, nil, err
	}
	ids := new(atomic.Int64)
	ours = door{client: w.client, url: d.services + "/v1/events", token: sink.token, ids: ids}
	direct = door{client: w.client, url: sink.url + "/events", token: sink.token, ids: ids}
	return ours, direct, sink, d.stop, nil
}

func eventsThroughput(ctx context.Context, w *workshop) ([]result, error) {
	ours, direct, sink, stop, err := doors(ctx, w)
	if err != nil {
		return nil, err
	}
	defer stop()
	turn := func(at door, length time.Duration) (float64, error) {
		began := time.Now()
		sent, err := saturate(ctx, senders, length, at.post)
		if err != nil {
			return 0, err
		}
		all, err := sink.await(ctx, w.client, len(sent))
		return float64(len(sent)) / time.Unix(0, all.Last).Sub(began).Seconds(), err
	}
	raw, end, err := takeTurns(3*time.Second,
		func(length time.Duration) (float64, error) { return turn(direct, length) },
		func(length time.Duration) (float64, error) { return turn(ours, length) })
	if err != nil {
		return nil, err
	}
	return []result{{what: "events-throughput", ours: rate(end), yardstick: rate(raw), value: end / raw, target: 0.25, least: true}}, nil
}

// takeTurns runs yardstick and ours in turns of a length, after a short one each
// that does not count, and returns the medians of what they measured.
func takeTurns(length time.Duration, yardstick, ours func(time.Duration) (float64, error)) (float64, float64, error) {
	var measured [2][]float64
	for n := range turns + 1 {
		for i, measure := range []func(time.Duration) (float64, error){yardstick, ours} {
			if n == 0 {
				if _, err := measure(length / 4); err != nil {
					return 0, 0, err
				}
				continue
			}
			value, err := measure(length)
			if err != nil {
				return 0, 0, err
			}
			measured[i] = append(measured[i], value)
		}
	}
	return median(measured[0]), median(measured[1]), nil
}

func eventsLatency(ctx context.Context, w *workshop) ([]result, error) {
	ours, _, sink, stop, err := doors(ctx, w)
	if err != nil {
		return nil, err
	}
	defer stop()
	var all arrived
	for _, length := range []time.Duration{2 * time.Second, 15 * time.Second} { // the first warms up
		sent, err := keepPace(ctx, 500, length, ours.post)
		if err != nil {
			return nil, err
		}
		if all, err = sink.await(ctx, w.client, sent); err != nil {
			return nil, err
		}
	}
	p50, p99 := percentile(all.Latencies, 50), percentile(all.Latencies, 99)
	return []result{
		{what: "events-latency p50", ours: inMillis(p50), value: millis(p50), unit: "ms", target: 0.7},
		{what: "events-latency p99", ours: inMillis(p99), value: millis(p99), unit: "ms", target: 2},
	}, nil
}
