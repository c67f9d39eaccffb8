package kube

import (
	"context"
	"time"

	"github.com/serviceful/serviceful/operator/internal/wiring"
)

// Pauses of Follow.
const (
	settle     = 50 * time.Millisecond // after a change, for others that come with it
	firstRetry = 500 * time.Millisecond
	lastRetry  = 15 * time.Second
)

// Follow wires the Functions each time they change and has apply carry it out,
// until ctx ends. What cannot be carried out is tried again: the operator makes a
// consumer after its Function is there.
func (w *World) Follow(ctx context.Context, apply func(context.Context, *wiring.Snapshot) error) {
	retry := time.NewTimer(0) // the first time, whatever there is
	defer retry.Stop()
	for pause := firstRetry; ctx.Err() == nil; {
		select {
		case <-w.changed:
			wait(ctx, settle)
			pause = firstRetry
		case <-retry.C:
		case <-ctx.Done():
			return
		}
		snapshot, err := w.Compile(ctx)
		if err == nil {
			err = apply(ctx, snapshot)
		}
		if err != nil && ctx.Err() == nil {
			w.cfg.Logger.Info("not all is wired yet", "error", err, "again_in", pause)
			retry.Reset(pause)
			pause = min(2*pause, lastRetry)
		}
	}
}

func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
