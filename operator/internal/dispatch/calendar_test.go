package dispatch

import (
	"math/rand/v2"
	"testing"
	"time"
)

// TestCalendar has retries that are due at random times, and some many at once, fall
// due: none before it is to, none much later, and in no quarter of a second more than
// may while there is room elsewhere.
func TestCalendar(t *testing.T) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 0))
		c := calendar{}
		now := time.Unix(1_800_000_000, r.Int64N(int64(time.Second)))
		until := now.Add(10 * time.Minute)
		falls, most := map[int64]int{}, 0
		for now.Before(until) {
			for range r.IntN(150) {
				due := now.Add(time.Duration(r.Int64N(int64(10 * time.Second))))
				at := c.place(now, due, r.Float64())
				if late := at.Sub(due); late < 0 || late > calendarEnd+quarter {
					t.Fatalf("seed %d: %v late", seed, late)
				}
				q := at.UnixNano() / int64(quarter)
				falls[q]++
				most = max(most, falls[q])
			}
			now = now.Add(time.Duration(r.Int64N(int64(2 * time.Second))))
		}
		if most > retriesPerQuarter {
			t.Errorf("seed %d: %d fell due in a quarter", seed, most)
		}
		if len(c.taken) > 2*int(calendarEnd/quarter) {
			t.Errorf("seed %d: %d quarters are remembered", seed, len(c.taken))
		}
	}
}

// TestCalendarIsOutOfTheWay has a retry fall due when it is to as long as there is room.
func TestCalendarIsOutOfTheWay(t *testing.T) {
	c, now := calendar{}, time.Unix(1_800_000_000, 0)
	due := now.Add(time.Second + 7)
	for range retriesPerQuarter {
		if at := c.place(now, due, 0.5); !at.Equal(due) {
			t.Fatalf("it falls due %v late", at.Sub(due))
		}
	}
	if at := c.place(now, due, 0.5); at.Sub(now) != time.Second+quarter+quarter/2 {
		t.Errorf("one too many falls due after %v", at.Sub(now))
	}
}

// TestCalendarGrows has twice as many fall due where there is no room for 5 minutes.
func TestCalendarGrows(t *testing.T) {
	c, now := calendar{}, time.Unix(1_800_000_000, 0)
	quarters := int(calendarEnd/quarter) + 1
	falls := map[int64]int{}
	for i := range retriesPerQuarter*quarters + 100 {
		at := c.place(now, now, 0)
		falls[at.UnixNano()/int64(quarter)]++
		if late := at.Sub(now); late > calendarEnd {
			t.Fatalf("the %dth falls due %v late", i, late)
		}
	}
	for q, n := range falls {
		if n < retriesPerQuarter || n > 2*retriesPerQuarter {
			t.Errorf("%d fall due in quarter %d", n, q)
		}
	}
}
