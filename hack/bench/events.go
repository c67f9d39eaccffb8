package main

import (
	"context"
	"net/http"
	"slices"
	"sync/atomic"
	"time"
)

// senders is how many callers a saturated door has.
const senders = 64

// turns is how often the yardstick and ours take turns.
const turns = 5

// takeTurns measures the yardstick and ours in turns of a length, after a short
// one of each that does not count.
func takeTurns[Door, T any](length time.Duration, yardstick, ours Door, measure func(Door, time.Duration) (T, error)) (theirs, own []T, err error) {
	for n := range turns + 1 {
		turn := length
		if n == 0 {
			turn = length / 4
		}
		their, err := measure(yardstick, turn)
		if err != nil {
			return nil, nil, err
		}
		our, err := measure(ours, turn)
		if err != nil {
			return nil, nil, err
		}
		if n > 0 {
			theirs, own = append(theirs, their), append(own, our)
		}
	}
	return theirs, own, nil
}

// sinkRun is serviceful dev with the sink, warm.
type sinkRun struct {
	*dev
	sink instance
}

func (w *workshop) startSink(ctx context.Context, flags ...string) (sinkRun, error) {
	d, err := w.start(ctx, "hack/bench/sink", flags...)
	if err != nil {
		return sinkRun{}, err
	}
	sink, err := d.instance(ctx, w.client, "bench.sink")
	if err != nil {
		d.stop()
	}
	return sinkRun{dev: d, sink: sink}, err
}

// eventPath is an event's way to the sink.
type eventPath struct {
	door
	sink  instance
	drain *http.Client // by which the sink is asked what arrived
}

// throughput is how many events arrive in a second when all senders send for that
// long, from the first send to the last arrival.
func (p eventPath) throughput(ctx context.Context, length time.Duration) (float64, error) {
	began := time.Now()
	sent, err := saturate(ctx, senders, length, p.post)
	if err != nil {
		return 0, err
	}
	all, err := p.sink.await(ctx, p.drain, len(sent))
	return float64(len(sent)) / time.Unix(0, all.Last).Sub(began).Seconds(), err
}

// paced sends so many events a second for a while, and waits until all have arrived.
func (p eventPath) paced(ctx context.Context, perSecond int, length time.Duration) (arrived, error) {
	sent, err := keepPace(ctx, perSecond, length, p.post)
	if err != nil {
		return arrived{}, err
	}
	return p.sink.await(ctx, p.drain, sent)
}

// eventPaths are the two ways of an event to the sink.
func (s sinkRun) eventPaths(w *workshop) (direct, ours eventPath) {
	ours = eventPath{
		door: door{client: w.client, url: s.services + "/v1/events", token: s.sink.token, eventType: sentType, ids: new(atomic.Int64)},
		sink: s.sink, drain: w.client,
	}
	direct = ours
	direct.url = s.sink.url + "/events"
	return direct, ours
}

func eventsThroughput(ctx context.Context, w *workshop) ([]result, error) {
	s, err := w.startSink(ctx)
	if err != nil {
		return nil, err
	}
	defer s.stop()
	direct, ours := s.eventPaths(w)
	raw, own, err := takeTurns(3*time.Second, direct, ours, func(p eventPath, length time.Duration) (float64, error) {
		return p.throughput(ctx, length)
	})
	if err != nil {
		return nil, err
	}
	return []result{{
		what: "events-throughput", ours: rate(median(own)), yardstick: rate(median(raw)),
		value: median(own) / median(raw), target: 0.25, least: true,
	}}, nil
}

func eventsLatency(ctx context.Context, w *workshop) ([]result, error) {
	s, err := w.startSink(ctx)
	if err != nil {
		return nil, err
	}
	defer s.stop()
	direct, ours := s.eventPaths(w)
	raws, owns, err := takeTurns(3*time.Second, direct, ours, func(p eventPath, length time.Duration) ([]time.Duration, error) {
		all, err := p.paced(ctx, 500, length)
		return all.Latencies, err
	})
	if err != nil {
		return nil, err
	}
	raw, own := slices.Concat(raws...), slices.Concat(owns...)
	line := func(what string, p, target float64) result {
		value := percentile(own, p)
		return result{what: what, ours: inMillis(value), yardstick: inMillis(percentile(raw, p)), value: millis(value), unit: "ms", target: target}
	}
	return []result{line("events-latency p50", 50, 0.7), line("events-latency p99", 99, 2)}, nil
}
