package dispatch

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/serviceful/serviceful/operator/internal/bus"
	"github.com/serviceful/serviceful/operator/internal/wiring"
)

// steps are what is done with the messages of one subscription, whoever says when
// it is the turn of which: prepare, deliver (call, decide, publish) and settle.
type steps struct {
	cfg    *Config
	memory *memory
	apart  *apart
	pace   *pace
	paced  atomic.Int32 // how many calls wait for it
	inLine atomic.Int32 // how many wait to be called apart
	due    calendar     // of retries
	sub    atomic.Pointer[wiring.Subscription]
	log    *slog.Logger
}

func newSteps(cfg *Config, memory *memory, apart *apart, pace *pace, sub *wiring.Subscription) *steps {
	s := &steps{cfg: cfg, memory: memory, apart: apart, pace: pace}
	s.sub.Store(sub)
	s.log = cfg.Logger.With("function", sub.Function.String(), "trigger", sub.Trigger)
	return s
}

// orderBy is the attribute that it orders by; "": none. It is one for good.
func (w *steps) orderBy() string { return w.sub.Load().OrderBy }

// beat keeps messages from being delivered again until ctx ends: all says which
// there are that came before a time. Each gives its first sign of life after half of
// AckWait at the latest.
func (w *steps) beat(ctx context.Context, all func(before time.Time) []*bus.Delivered) {
	heartbeat := w.cfg.AckWait / 3
	tick := time.NewTicker(heartbeat)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for _, d := range all(time.Now().Add(-heartbeat / 2)) {
			_ = d.InProgress() // a lost one costs a redelivery at worst
		}
	}
}

// sleep waits for a while, or until ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
