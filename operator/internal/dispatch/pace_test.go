package dispatch

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestPace has calls begin one gap apart, those of all subscriptions together, and
// what is beyond the most that may wait at once.
func TestPace(t *testing.T) {
	for name, test := range map[string]struct {
		calls, most int
		want        map[time.Duration]int // when so many begin
	}{
		"one":               {1, 2, map[time.Duration]int{0: 1}},
		"as many as may":    {4, 4, map[time.Duration]int{0: 1, paceGap: 1, 2 * paceGap: 1, 3 * paceGap: 1}},
		"more":              {9, 2, map[time.Duration]int{0: 7, paceGap: 1, 2 * paceGap: 1}},
		"where none may":    {3, 0, map[time.Duration]int{0: 3}},
		"none that waits":   {0, 2, map[time.Duration]int{}},
		"a hundred of many": {100, 100, hundred()},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var (
					p       pace
					waiting atomic.Int32
					mu      sync.Mutex
					got     = map[time.Duration]int{}
					began   = time.Now()
				)
				for range test.calls {
					go func() {
						p.wait(t.Context(), &waiting, test.most)
						mu.Lock()
						defer mu.Unlock()
						got[time.Since(began)]++
					}()
					synctest.Wait()
				}
				time.Sleep(time.Second)
				synctest.Wait()
				if len(got) != len(test.want) || waiting.Load() != 0 {
					t.Errorf("began at %v, and %d wait", got, waiting.Load())
				}
				for at, n := range test.want {
					if got[at] != n {
						t.Errorf("%d began after %v, want %d", got[at], at, n)
					}
				}
			})
		})
	}
}

// TestSpread has few that wait begin a gap apart, and many within the time in which
// as many may come.
func TestSpread(t *testing.T) {
	for waiting, want := range map[uint64]time.Duration{
		0: paceGap, 249: paceGap, 499: paceGap / 2, 9_999: 25 * time.Microsecond, 1 << 40: 0,
	} {
		if got := spread(waiting); got != want {
			t.Errorf("where %d wait they begin %v apart, want %v", waiting, got, want)
		}
	}
}

func hundred() map[time.Duration]int {
	m := map[time.Duration]int{}
	for n := range 100 {
		m[time.Duration(n)*paceGap] = 1
	}
	return m
}

// TestPaceIsShared has two subscriptions take turns, and one that comes later wait
// for none.
func TestPaceIsShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var (
			p    pace
			a, b atomic.Int32
		)
		began := time.Now()
		p.wait(t.Context(), &a, 5)
		p.wait(t.Context(), &b, 5)
		if took := time.Since(began); took != paceGap {
			t.Errorf("the other one's began after %v", took)
		}
		time.Sleep(time.Second)
		began = time.Now()
		p.wait(t.Context(), &a, 5)
		if took := time.Since(began); took != 0 {
			t.Errorf("later, one waited for %v", took)
		}
		ended, end := context.WithCancel(t.Context())
		end()
		p.wait(ended, &a, 5)
		if took := time.Since(began); took != 0 {
			t.Errorf("one that is stopped waited for %v", took)
		}
	})
}
