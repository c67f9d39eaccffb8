package main

import (
	"context"
	"testing"
	"time"
)

// TestStopSharesItsTime checks that the parts of a stop have one deadline: a part
// that takes all of it leaves the later ones their least, and no part gets more
// than is left.
func TestStopSharesItsTime(t *testing.T) {
	var s stack
	var deadlines []time.Time
	for range 3 {
		s.onStop(func(ctx context.Context) {
			at, _ := ctx.Deadline()
			deadlines = append(deadlines, at)
		})
	}
	began := time.Now()
	s.stopBy(began.Add(time.Hour))
	s.onStop(func(ctx context.Context) {
		if at, ok := ctx.Deadline(); !ok || ctx.Err() != nil || at.Before(began.Add(stopLeast)) {
			t.Errorf("when the time is used up, a part gets until %v, began %v", at, began)
		}
	})
	s.stopBy(began)
	for _, at := range deadlines {
		if !at.Equal(began.Add(time.Hour)) {
			t.Errorf("the deadline of a part is %v, of the whole %v", at, began.Add(time.Hour))
		}
	}
	if len(deadlines) != 3 {
		t.Errorf("%d of 3 parts were stopped", len(deadlines))
	}
}
