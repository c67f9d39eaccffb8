package delivery

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

// TestLives follows messages with random policies and random luck from when they
// are due to their end.
func TestLives(t *testing.T) {
	for seed := range uint64(500) {
		r := rand.New(rand.NewPCG(seed, 0))
		p := Policy{
			Source: Source(r.IntN(3)), Retry: r.IntN(1 + r.IntN(100)), Linear: r.IntN(2) == 0,
			Delay: time.Second/4 + upTo(r, MaxDelay), RetryAfterMax: upTo(r, 10*time.Minute), MaxAge: time.Second + upTo(r, 72*time.Hour),
		}
		unreachable, broken := r.Float64(), r.Float64()
		calls, now := 0, due
		m := Message{Due: due}
		for alive := true; alive; m.Tries++ {
			if m.Tries > 1_000_000 {
				t.Fatalf("seed %d: it lives after a million tries", seed)
			}
			v, overdue := Overdue(p, m, now)
			if !overdue {
				o := luck(r, unreachable, broken)
				if o.Called && !o.Excused {
					calls++
				}
				now = now.Add(time.Millisecond + upTo(r, time.Second))
				v = Decide(p, m, o, now, r.Float64())
				checkVerdict(t, p, m, o, v)
			}
			if v.Attempts != calls || calls > p.Retry+1 {
				t.Fatalf("seed %d: %d calls, %+v of %+v", seed, calls, v, p)
			}
			if v.Reason == ReasonMaxAge && now.Sub(due) <= p.MaxAge || v.Reason == ReasonRetriesUsedUp && calls != p.Retry+1 {
				t.Fatalf("seed %d: after %v and %d calls %+v of %+v", seed, now.Sub(due), calls, v, p)
			}
			alive = v.Action == Retry
			m.Attempts, now = v.Attempts, now.Add(v.Delay)
		}
	}
}

func upTo(r *rand.Rand, d time.Duration) time.Duration { return time.Duration(r.Int64N(int64(d))) }

func luck(r *rand.Rand, unreachable, broken float64) Outcome {
	switch {
	case r.Float64() < unreachable:
		return Outcome{Called: r.IntN(2) == 0, Excused: true, Problem: "no connection"}
	case r.Float64() < broken:
		return Outcome{Called: true, Status: 500 + r.IntN(100), RetryAfter: upTo(r, time.Hour)}
	}
	return Outcome{Called: true, Status: 200 + r.IntN(300)}
}

// checkVerdict checks what holds for every verdict.
func checkVerdict(t *testing.T, p Policy, m Message, o Outcome, v Verdict) {
	t.Helper()
	longest := max(MaxDelay, p.RetryAfterMax)
	counts := o.Called && !o.Excused
	if !counts {
		longest = maxUncalledDelay
	}
	attempts := m.Attempts
	if counts {
		attempts++
	}
	for what, bad := range map[string]bool{
		"an action that is none":        v.Action < Succeed || v.Action > Die,
		"attempts that were not made":   v.Attempts != attempts,
		"a delay out of bounds":         v.Delay < 0 || v.Delay > longest,
		"a delay for what is over":      v.Delay != 0 && v.Action != Retry,
		"a reason if and only if dead":  (v.Reason != "") != (v.Action == Die),
		"a problem where all is well":   (v.Message == "") != (v.Action == Succeed),
		"a failure of what is no call":  v.Action == Fail && p.Source != Call,
		"success without a good answer": v.Action == Succeed && (!counts || o.Status/100 != 2 || o.Refused != ""),
		"more calls than allowed":       v.Action == Retry && counts && v.Attempts > p.Retry,
		"an end without a call":         !counts && v.Action != Retry && v.Reason != ReasonMaxAge,
	} {
		if bad {
			t.Errorf("%s: %+v after %+v of %+v with %+v", what, v, o, m, p)
		}
	}
}

func FuzzDecide(f *testing.F) {
	f.Add(0, 4, false, int64(time.Second), int64(time.Minute), int64(time.Hour), 0, 0, int64(0), true, 500, int64(0), "", uint64(1)<<63)
	f.Add(1, 0, true, int64(0), int64(0), int64(0), 10_000, 10_000, int64(time.Hour), false, 0, int64(time.Hour), "", uint64(0))
	f.Add(2, 10_000, false, int64(0), int64(1), int64(1), 9_000, 9_000, int64(0), true, 0, int64(math.MaxInt64), "refused", uint64(math.MaxUint64))
	f.Fuzz(func(t *testing.T, source, retry int, linear bool, delay, retryAfterMax, maxAge int64,
		attempts, tries int, age int64, called bool, status int, retryAfter int64, refused string, dice uint64) {
		p := Policy{
			Source: Source(positive(source) % 3), Retry: positive(retry), Linear: linear, Delay: positive(time.Duration(delay)),
			RetryAfterMax: positive(time.Duration(retryAfterMax)), MaxAge: positive(time.Duration(maxAge)),
		}
		m := Message{Attempts: positive(attempts) / 2, Tries: positive(tries) / 2, Due: due}
		o := Outcome{Called: called, Status: status, RetryAfter: positive(time.Duration(retryAfter)), Refused: refused}
		if !called {
			o = Outcome{Problem: "no connection"}
		}
		checkVerdict(t, p, m, o, Decide(p, m, o, due.Add(time.Duration(age)), float64(dice>>11)/(1<<53)))
	})
}

func positive[T ~int | ~int64](n T) T {
	if n < 0 {
		return -(n + 1)
	}
	return n
}
