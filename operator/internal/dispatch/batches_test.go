package dispatch

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/serviceful/serviceful/operator/internal/bus"
	"github.com/serviceful/serviceful/operator/internal/wiring"
)

// hour is a window that no test sees the end of.
const hour = time.Hour

func newJob(sub *wiring.Subscription, sequence uint64, body, attempts int, behind uint64) *job {
	j := &job{Delivered: &bus.Delivered{Behind: behind}, sub: sub}
	j.Sequence, j.Body, j.progress.Attempts = sequence, make([]byte, body), attempts
	return j
}

// TestBatchesBegin goes through what begins a call, step by step: "+n" is a message
// of n KiB behind which none is, "+nm" one behind which others are, "1" one that was
// called before, "/" one that the filters do not let pass, "t" the end of the wait,
// "e" the end of a call, "m" a message when memory is tight.
func TestBatchesBegin(t *testing.T) {
	type step struct {
		do    string
		begin string // the sizes of the batches that begin
	}
	tests := map[string]struct {
		limit int
		batch wiring.Batch
		steps []step
	}{
		"no batches":                {2, wiring.Batch{}, []step{{"+", "[1]"}, {"+", "[1]"}, {"+", "[]"}, {"e", "[1]"}, {"e", "[]"}}},
		"batches of one":            {1, wiring.Batch{Size: 1}, []step{{"+", "[1]"}, {"+", "[]"}, {"e", "[1]"}}},
		"what is there":             {1, wiring.Batch{Size: 10}, []step{{"+more", "[]"}, {"+more", "[]"}, {"+", "[3]"}}},
		"no more than is there":     {1, wiring.Batch{Size: 10}, []step{{"+more", "[]"}, {"t", "[1]"}}},
		"the last one is filtered":  {1, wiring.Batch{Size: 10}, []step{{"+more", "[]"}, {"/", "[1]"}}},
		"all are filtered":          {1, wiring.Batch{Size: 10}, []step{{"/", "[]"}, {"t", "[]"}}},
		"filling during a call":     {1, wiring.Batch{Size: 3}, []step{{"+", "[1]"}, {"+", "[]"}, {"+", "[]"}, {"+", "[]"}, {"+", "[]"}, {"e", "[3]"}, {"e", "[1]"}}},
		"full":                      {1, wiring.Batch{Size: 2, Window: hour}, []step{{"+", "[]"}, {"+", "[2]"}}},
		"the window is over":        {1, wiring.Batch{Size: 9, Window: hour}, []step{{"+", "[]"}, {"+", "[]"}, {"t", "[2]"}}},
		"over during a call":        {1, wiring.Batch{Size: 2, Window: hour}, []step{{"+", "[]"}, {"+", "[2]"}, {"+", "[]"}, {"t", "[]"}, {"e", "[1]"}}},
		"a call made room for more": {1, wiring.Batch{Size: 2, Window: hour}, []step{{"+", "[]"}, {"+", "[2]"}, {"+more", "[]"}, {"t", "[]"}, {"e", "[]"}, {"t", "[1]"}}},
		"called before":             {1, wiring.Batch{Size: 9, Window: hour}, []step{{"+", "[]"}, {"1", "[1]"}, {"1", "[]"}, {"t", "[]"}, {"e", "[1]"}, {"e", "[1]"}}},
		"the bodies are too large":  {9, wiring.Batch{Size: 9, Window: hour}, []step{{"+3000", "[]"}, {"+2000", "[1]"}, {"+2000", "[]"}, {"+96", "[3]"}}},
		"one is too large":          {9, wiring.Batch{Size: 9, Window: hour}, []step{{"+9000", "[1]"}}},
		"memory is tight":           {9, wiring.Batch{Size: 9, Window: hour}, []step{{"+", "[]"}, {"m", "[2]"}, {"+", "[]"}}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			sub := &wiring.Subscription{Batch: test.batch}
			b := &batches{wake: func(int) {}}
			b.allow(test.limit)
			for i, s := range test.steps {
				size, attempts, behind := 0, 0, uint64(0)
				var begin [][]*job
				switch s.do {
				case "t":
					begin = b.expire(b.number)
				case "e":
					begin = b.ended()
				default:
					if s.do == "1" {
						attempts = 1
					}
					if s.do == "+more" {
						behind = 7
					}
					_, _ = fmt.Sscanf(s.do, "+%d", &size)
					j := newJob(sub, uint64(i), size<<10, attempts, behind)
					b.expect(j)
					begin = b.add(j, s.do != "/", s.do == "m")
				}
				sizes := make([]int, len(begin))
				for i, jobs := range begin {
					sizes[i] = len(jobs)
				}
				if got := fmt.Sprint(sizes); got != s.begin {
					t.Fatalf("step %d, %q: %s begin, want %s", i+1, s.do, got, s.begin)
				}
			}
		})
	}
}

// TestBatchesLoseNothing has messages come and calls end at random: each message is
// called once, no call holds more than it may, and no more are under way.
func TestBatchesLoseNothing(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 0))
		sub := &wiring.Subscription{Concurrency: 1 + r.IntN(4), Batch: wiring.Batch{Size: r.IntN(6), Window: time.Duration(r.IntN(2)) * hour}}
		b := &batches{wake: func(int) {}}
		seen := map[*job]bool{}
		calls := 0
		check := func(begin [][]*job) {
			for _, jobs := range begin {
				calls++
				bytes := 0
				for i, j := range jobs {
					bytes += len(j.Body)
					if seen[j] || i > 0 && jobs[i-1].Sequence > j.Sequence || j.progress.Attempts > 0 && len(jobs) > 1 {
						t.Fatalf("seed %d: a message twice, out of order, or not alone in %d", seed, len(jobs))
					}
					seen[j] = true
				}
				if len(jobs) > max(1, sub.Batch.Size) || len(jobs) > 1 && bytes > batchBytes {
					t.Fatalf("seed %d: a call of %d messages, %d bytes", seed, len(jobs), bytes)
				}
			}
			if calls > sub.Concurrency {
				t.Fatalf("seed %d: %d calls at once", seed, calls)
			}
		}
		check(b.allow(sub.Concurrency))
		const messages = 60
		for i := 0; i < messages; {
			switch n := r.IntN(10); {
			case n < 6:
				j := newJob(sub, uint64(i), r.IntN(2)*r.IntN(3<<20), max(0, r.IntN(8)-6), uint64(r.IntN(2)))
				b.expect(j)
				check(b.add(j, true, r.IntN(10) == 0))
				i++
			case n < 8:
				check(b.expire(b.number - r.IntN(2)))
			case calls > 0:
				calls--
				check(b.ended())
			}
		}
		for range 3 * messages {
			if calls > 0 {
				calls--
				check(b.ended())
			}
			check(b.expire(b.number))
		}
		if len(seen) != messages {
			t.Fatalf("seed %d: %d of %d messages were called", seed, len(seen), messages)
		}
		if stopped := b.stop(); len(stopped) != 0 {
			t.Fatalf("seed %d: %d batches were left", seed, len(stopped))
		}
	}
}

// When a worker stops, all that waits is handed over, and what comes later is.
func TestBatchesStop(t *testing.T) {
	sub := &wiring.Subscription{Batch: wiring.Batch{Size: 5, Window: hour}}
	b := &batches{wake: func(int) {}}
	b.allow(1)
	for i := range 9 {
		j := newJob(sub, uint64(i), 0, 0, 3)
		b.expect(j)
		b.add(j, true, false)
	}
	if left := b.stop(); len(left) != 1 || len(left[0]) != 4 { // five are called
		t.Errorf("%d batches were left", len(left))
	}
	j := newJob(sub, 9, 0, 0, 3)
	b.expect(j)
	if late := b.add(j, true, false); len(late) != 1 {
		t.Error("a late message waits for ever")
	}
}
