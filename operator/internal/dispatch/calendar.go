package dispatch

import (
	"sync"
	"time"
)

const (
	// quarter is how often NATS looks for what has fallen due.
	quarter = 250 * time.Millisecond
	// retriesPerQuarter is how many retries of a trigger fall due in each, while all
	// find room within calendarEnd: a hundred a second.
	retriesPerQuarter = 25
	// calendarEnd is how much later than it might be a retry falls due at most.
	calendarEnd = 5 * time.Minute
)

// calendar has the retries of a trigger fall due evenly. Thousands of messages that
// begin to fail at once would be called again within seconds, and over and over; they
// would take from good messages what time there is, and end in bursts, since NATS
// hands out all that has fallen due at once.
type calendar struct {
	mu    sync.Mutex
	taken map[int64]int // how many fall due, by quarter since 1970
	now   int64         // the quarter before which taken was cleared
}

// place returns when a retry falls due that is not to do so before due: then, or at a
// random time (dice is in [0,1)) of the first quarter that has room. Where there is
// none for too long, twice as many get room, and so on.
func (c *calendar) place(now, due time.Time, dice float64) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.clear(now.UnixNano() / int64(quarter))
	first := due.UnixNano() / int64(quarter)
	for room := retriesPerQuarter; ; room *= 2 {
		for q := first; q <= first+int64(calendarEnd/quarter); q++ {
			if c.taken[q] >= room {
				continue
			}
			c.taken[q]++
			if q == first {
				return due
			}
			return time.Unix(0, q*int64(quarter)+int64(dice*float64(quarter)))
		}
	}
}

// clear forgets what fell due before now.
func (c *calendar) clear(now int64) {
	if now == c.now {
		return
	}
	c.now = now
	if c.taken == nil {
		c.taken = map[int64]int{}
	}
	for q := range c.taken {
		if q < now {
			delete(c.taken, q)
		}
	}
}
