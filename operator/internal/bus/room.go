package bus

import (
	"context"
	"math"
	"sync/atomic"
	"time"
)

// roomCheck is how often it is asked how full the store is.
const roomCheck = time.Second

// Connected reports whether the server can be reached at the moment.
func (b *Bus) Connected() bool { return b.nc.IsConnected() }

// Reconnects is how often the connection was lost and made again.
func (b *Bus) Reconnects() uint64 { return b.nc.Stats().Reconnects }

// WatchRoom asks, until ctx ends, how full the account's store is. What it
// returns says how many bytes may still be accepted from outside, as of the last
// answer: the last eighth of the account's limit is for what work under way
// leaves behind. Without a limit it is the server that refuses when it is full.
func (b *Bus) WatchRoom(ctx context.Context) (room func() int64) {
	var left atomic.Int64
	left.Store(math.MaxInt64)
	ask := func() {
		info, err := b.js.AccountInfo(ctx)
		switch {
		case err != nil: // storing fails by itself then
		case info.Limits.MaxStore <= 0:
			left.Store(math.MaxInt64)
		default:
			left.Store(info.Limits.MaxStore - info.Limits.MaxStore/8 - int64(info.Store))
		}
	}
	ask()
	go func() {
		tick := time.NewTicker(roomCheck)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				ask()
			}
		}
	}()
	return left.Load
}
