package dispatch

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// paceGap is what lies between the beginnings of two calls that are repeated, of all
// triggers of a dispatcher, and between those of two retries that go to the log.
const paceGap = time.Millisecond

// pace has what is repeated begin evenly. NATS hands out what has fallen due four
// times a second, all at once: a good message that comes at such a moment would wait
// until each of them is called.
type pace struct {
	mu   sync.Mutex
	next time.Time // when the next one may begin
}

// wait waits until it is the turn of a call, or until ctx ends. Of one subscription,
// whose waiting counts them, no more than most wait: what comes beyond that begins
// at once, so that neither those that are many nor those behind them are held up.
func (p *pace) wait(ctx context.Context, waiting *atomic.Int32, most int) {
	defer waiting.Add(-1)
	if int(waiting.Add(1)) <= most {
		p.turn(ctx, paceGap)
	}
}

// turn waits until gap after the turn before, or until ctx ends.
func (p *pace) turn(ctx context.Context, gap time.Duration) {
	p.mu.Lock()
	now := time.Now()
	turn := p.next
	if turn.Before(now) {
		turn = now
	}
	p.next = turn.Add(gap)
	p.mu.Unlock()
	if turn.After(now) {
		sleep(ctx, turn.Sub(now))
	}
}

// spread is the gap that lets those that wait begin before NATS looks again.
func spread(waiting uint64) time.Duration {
	return min(paceGap, quarter/time.Duration(waiting+1))
}
