package main

import (
	"context"
	"errors"
	"net/http"
	"time"
)

const (
	batchedType = "bench.batched.v1" // the sink gets it 100 in a call
	batchedTurn = 10_000             // events of one turn
)

// burst publishes events while the sink holds its answers, and returns how many
// events arrive in a second then.
func (p eventPath) burst(ctx context.Context, count int) (float64, error) {
	if err := p.tell(ctx, "/hold"); err != nil {
		return 0, err
	}
	if err := p.postMany(ctx, count, p.event); err != nil {
		return 0, errors.Join(err, p.tell(ctx, "/release"))
	}
	began := time.Now()
	if err := p.tell(ctx, "/release"); err != nil {
		return 0, err
	}
	all, err := p.sink.await(ctx, p.drain, count)
	return float64(count) / time.Unix(0, all.Last).Sub(began).Seconds(), err
}

// tell has the sink hold what comes, or release it.
func (p eventPath) tell(ctx context.Context, what string) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, p.sink.url+what, http.NoBody)
	if err != nil {
		return err
	}
	return do(p.drain, r, nil)
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
	single, batched, err := takeTurns(time.Second, one, many, func(p eventPath, length time.Duration) (float64, error) {
		return p.burst(ctx, int(length.Seconds()*batchedTurn)) // the first turn is a short one
	})
	if err != nil {
		return nil, err
	}
	return []result{{
		what: "events-batched", ours: rate(median(batched)), yardstick: rate(median(single)),
		value: median(batched) / median(single), target: 4, least: true,
	}}, nil
}
