package main

import (
	"context"
	"errors"
	"net/http"
	"time"
)

const (
	batchedType = "bench.batched.v1" // the sink gets it 100 in a call
	burst       = 10_000             // events of one turn
)

// bursts is the way of many events to the sink at once.
type bursts struct{ eventPath }

// deliver publishes a burst while the sink holds its answers, and returns how many
// events arrive in a second then.
func (b bursts) deliver(ctx context.Context, count int) (float64, error) {
	if err := b.tell(ctx, "/hold"); err != nil {
		return 0, err
	}
	if err := b.postMany(ctx, count, b.event); err != nil {
		return 0, errors.Join(err, b.tell(ctx, "/release"))
	}
	began := time.Now()
	if err := b.tell(ctx, "/release"); err != nil {
		return 0, err
	}
	all, err := b.sink.await(ctx, b.drain, count)
	return float64(count) / time.Unix(0, all.Last).Sub(began).Seconds(), err
}

// tell has the sink hold what comes, or release it.
func (b bursts) tell(ctx context.Context, what string) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, b.sink.url+what, http.NoBody)
	if err != nil {
		return err
	}
	return do(b.drain, r, nil)
}

func eventsBatched(ctx context.Context, w *workshop) ([]result, error) {
	s, err := w.startSink(ctx)
	if err != nil {
		return nil, err
	}
	defer s.stop()
	_, one := s.eventPaths(w)
	many := one
	many.door = one.of(batchedType)
	single, batched, err := takeTurns(time.Second, bursts{one}, bursts{many}, func(b bursts, length time.Duration) (float64, error) {
		return b.deliver(ctx, int(length.Seconds()*burst)) // the first turn is a short one
	})
	if err != nil {
		return nil, err
	}
	return []result{{
		what: "events-batched", ours: rate(median(batched)), yardstick: rate(median(single)),
		value: median(batched) / median(single), target: 4, least: true,
	}}, nil
}
