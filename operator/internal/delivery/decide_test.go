package delivery

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

var (
	due    = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	policy = Policy{Retry: 4, Delay: time.Second, RetryAfterMax: time.Minute, MaxAge: time.Hour}
)

// excuse is what is said of a call that does not count.
const excuse = "; another message, whose call broke off before, is held to be at fault: the call does not count"

// between is the statuses from first to last without some.
func between(first, last int, without ...int) (out []int) {
	for s := first; s <= last; s++ {
		if !slices.Contains(without, s) {
			out = append(out, s)
		}
	}
	return out
}

// TestAnswers is the table "What an asynchronous answer means", for every
// status that there is.
func TestAnswers(t *testing.T) {
	tests := map[string]struct {
		statuses          []int
		event, call, mail Action
	}{
		"good":                      {between(200, 299), Succeed, Succeed, Succeed},
		"no answer":                 {[]int{0}, Retry, Retry, Retry},
		"an interim one":            {between(100, 199), Retry, Retry, Retry},
		"timeout and too many":      {[]int{408, 429}, Retry, Retry, Retry},
		"not found and conflict":    {[]int{404, 409}, Retry, Fail, Die},
		"elsewhere":                 {between(300, 399), Die, Fail, Die},
		"any other refusal":         {between(400, 499, 404, 408, 409, 429), Die, Fail, Die},
		"broken":                    {between(500, 599), Retry, Retry, Retry},
		"not even one of HTTP's":    {[]int{600, 999}, Retry, Retry, Retry},
		"not even one, and too low": {[]int{1, 99}, Retry, Retry, Retry},
	}
	seen := map[int]bool{}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			for _, status := range test.statuses {
				seen[status] = true
				for source, want := range []Action{Event: test.event, Call: test.call, Mail: test.mail} {
					p := policy
					p.Source = Source(source)
					v := Decide(p, Message{Due: due}, Outcome{Called: true, Status: status}, due, 0.5)
					if v.Action != want || v.Attempts != 1 || (want == Die) != (v.Reason == ReasonRejected) {
						t.Errorf("status %d of source %d: %+v, want action %d", status, source, v, want)
					}
					if (want == Succeed) != (v.Message == "") || want != Succeed && !strings.Contains(v.Message, fmt.Sprint(status)) {
						t.Errorf("status %d of source %d: the message is %q", status, source, v.Message)
					}
				}
			}
		})
	}
	for _, status := range append(between(100, 599), 0) {
		if !seen[status] {
			t.Errorf("status %d is not in the table", status)
		}
	}
}

func TestDecide(t *testing.T) {
	const old = 2 * time.Hour
	tests := map[string]struct {
		message Message
		outcome Outcome
		age     time.Duration
		want    Verdict
	}{
		"done at last":            {Message{Attempts: 4, Tries: 9}, Outcome{Called: true, Status: 200}, old, Verdict{Action: Succeed, Attempts: 5}},
		"202":                     {Message{}, Outcome{Called: true, Status: 202}, 0, Verdict{Action: Succeed, Attempts: 1}},
		"its events are refused":  {Message{}, Outcome{Called: true, Status: 200, Refused: "not in emits"}, 0, Verdict{Action: Die, Attempts: 1, Reason: ReasonEmitRefused, Message: "not in emits"}},
		"a first retry":           {Message{}, Outcome{Called: true, Status: 500}, 0, Verdict{Action: Retry, Attempts: 1, Delay: 500 * time.Millisecond, Message: "the function answered 500 Internal Server Error"}},
		"the last retry":          {Message{Attempts: 3, Tries: 3}, Outcome{Called: true, Problem: "no answer"}, 0, Verdict{Action: Retry, Attempts: 4, Delay: 4 * time.Second, Message: "no answer"}},
		"one call too many":       {Message{Attempts: 4, Tries: 4}, Outcome{Called: true, Status: 599}, 0, Verdict{Action: Die, Attempts: 5, Reason: ReasonRetriesUsedUp, Message: "the function answered 599"}},
		"too old to retry":        {Message{}, Outcome{Called: true, Status: 500, Problem: "broken"}, old, Verdict{Action: Die, Attempts: 1, Reason: ReasonMaxAge, Message: "broken"}},
		"as old as it may be":     {Message{}, Outcome{Called: true, Problem: "broken"}, time.Hour, Verdict{Action: Retry, Attempts: 1, Delay: overdue, Message: "broken"}},
		"too old, but rejected":   {Message{}, Outcome{Called: true, Status: 400}, old, Verdict{Action: Die, Attempts: 1, Reason: ReasonRejected, Message: "the function answered 400 Bad Request"}},
		"both reasons":            {Message{Attempts: 4}, Outcome{Called: true, Problem: "broken"}, old, Verdict{Action: Die, Attempts: 5, Reason: ReasonRetriesUsedUp, Message: "broken"}},
		"not called":              {Message{Attempts: 4}, Outcome{Problem: "no connection"}, 0, Verdict{Action: Retry, Attempts: 4, Delay: 500 * time.Millisecond, Message: "no connection"}},
		"not called, once more":   {Message{Tries: 2}, Outcome{Problem: "no connection"}, 0, Verdict{Action: Retry, Delay: 2 * time.Second, Message: "no connection"}},
		"not called, very often":  {Message{Tries: 5000}, Outcome{Problem: "no connection"}, 0, Verdict{Action: Retry, Delay: 15 * time.Second, Message: "no connection"}},
		"not called, too old":     {Message{Tries: 7}, Outcome{Problem: "no connection"}, old, Verdict{Action: Die, Reason: ReasonMaxAge, Message: "no connection"}},
		"excused":                 {Message{Attempts: 4, Tries: 2}, Outcome{Called: true, Excused: true, Problem: "it broke"}, 0, Verdict{Action: Retry, Attempts: 4, Delay: 2 * time.Second, Message: "it broke" + excuse}},
		"excused, 502":            {Message{}, Outcome{Called: true, Excused: true, Status: 502}, 0, Verdict{Action: Retry, Delay: 500 * time.Millisecond, Message: "the function answered 502 Bad Gateway" + excuse}},
		"excused, too old":        {Message{}, Outcome{Called: true, Excused: true, Problem: "it broke"}, old, Verdict{Action: Die, Reason: ReasonMaxAge, Message: "it broke" + excuse}},
		"Retry-After":             {Message{}, Outcome{Called: true, Status: 503, RetryAfter: 40 * time.Second, Problem: "busy"}, 0, Verdict{Action: Retry, Attempts: 1, Delay: 40 * time.Second, Message: "busy"}},
		"Retry-After too long":    {Message{}, Outcome{Called: true, Status: 429, RetryAfter: time.Hour, Problem: "busy"}, 0, Verdict{Action: Retry, Attempts: 1, Delay: time.Minute, Message: "busy"}},
		"Retry-After too short":   {Message{Attempts: 3}, Outcome{Called: true, Status: 500, RetryAfter: time.Second, Problem: "busy"}, 0, Verdict{Action: Retry, Attempts: 4, Delay: 4 * time.Second, Message: "busy"}},
		"Retry-After when final":  {Message{}, Outcome{Called: true, Status: 400, RetryAfter: time.Second, Problem: "bad"}, 0, Verdict{Action: Die, Attempts: 1, Reason: ReasonRejected, Message: "bad"}},
		"Retry-After and no more": {Message{Attempts: 4}, Outcome{Called: true, Status: 503, RetryAfter: time.Second, Problem: "busy"}, 0, Verdict{Action: Die, Attempts: 5, Reason: ReasonRetriesUsedUp, Message: "busy"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			test.message.Due = due
			if got := Decide(policy, test.message, test.outcome, due.Add(test.age), 0.5); got != test.want {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
		})
	}
}

func TestDelays(t *testing.T) {
	const s = time.Second
	tests := map[string]struct {
		policy     Policy
		retryAfter time.Duration
		want       []time.Duration // the longest before the 1st, 2nd, ... further call
	}{
		"exponential":       {Policy{Delay: s}, 0, []time.Duration{s, 2 * s, 4 * s, 8 * s, 16 * s, 32 * s, 64 * s, 128 * s, 256 * s, MaxDelay, MaxDelay}},
		"linear":            {Policy{Delay: 100 * s, Linear: true}, 0, []time.Duration{100 * s, 200 * s, MaxDelay, MaxDelay}},
		"the shortest":      {Policy{Delay: s / 4}, 0, []time.Duration{s / 4, s / 2, s}},
		"the longest":       {Policy{Delay: MaxDelay}, 0, []time.Duration{MaxDelay, MaxDelay}},
		"no Retry-After":    {Policy{Delay: s, RetryAfterMax: 0}, time.Hour, []time.Duration{s, 2 * s}},
		"longer than a day": {Policy{Delay: 48 * time.Hour}, 0, []time.Duration{MaxDelay}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			test.policy.Retry, test.policy.MaxAge = 20_000, time.Hour
			for i, want := range test.want {
				for _, dice := range []float64{0, 0.25, 0.5, 0.999} {
					m, o := Message{Attempts: i, Due: due}, Outcome{Called: true, Status: 503, RetryAfter: test.retryAfter}
					v := Decide(test.policy, m, o, due, dice)
					if got, want := v.Delay, time.Duration(dice*float64(want)); got != want {
						t.Errorf("after %d calls, dice %v: delay %v, want %v", i+1, dice, got, want)
					}
				}
			}
			if v := Decide(test.policy, Message{Attempts: 9999, Due: due}, Outcome{Called: true}, due, 0.5); v.Delay != MaxDelay/2 {
				t.Errorf("after 10,000 calls: %+v", v)
			}
		})
	}
}

func TestOverdue(t *testing.T) {
	m := Message{Attempts: 2, Tries: 3, Due: due}
	if v, dead := Overdue(policy, m, due.Add(time.Hour)); dead {
		t.Errorf("dead when as old as it may be: %+v", v)
	}
	v, dead := Overdue(policy, m, due.Add(time.Hour+1))
	if !dead || v.Action != Die || v.Attempts != 2 || v.Reason != ReasonMaxAge || !strings.Contains(v.Message, "2026-01-02T03:04:05Z") {
		t.Errorf("got %+v, %v", v, dead)
	}
}

// TestPauseEndsWithMaxAge has a message that may not be called in time be dead when
// its maxAge has passed, and not when the pause would be over.
func TestPauseEndsWithMaxAge(t *testing.T) {
	now := due.Add(policy.MaxAge - 10*time.Second)
	for name, o := range map[string]Outcome{
		"Retry-After": {Called: true, Status: 503, RetryAfter: time.Minute},
		"backoff":     {Called: true, Status: 503},
		"not called":  {Problem: "not started"},
	} {
		v := Decide(policy, Message{Attempts: 3, Tries: 40, Due: due}, o, now, 0.99)
		if _, dead := Overdue(policy, Message{Due: due}, now.Add(v.Delay)); v.Action != Retry || v.Delay > 11*time.Second || dead != (v.Delay > 10*time.Second) {
			t.Errorf("%s: %+v, dead then: %v", name, v, dead)
		}
	}
}

// What passes maxAge says what went wrong before.
func TestMaxAgeTellsTheLastTry(t *testing.T) {
	m := Message{Attempts: 2, Tries: 3, Due: due, Problem: "the function answered 503"}
	late := due.Add(time.Hour + 1)
	if v, _ := Overdue(policy, m, late); !strings.HasSuffix(v.Message, "; the last try: the function answered 503") {
		t.Errorf("overdue: %q", v.Message)
	}
	if v := Decide(policy, m, Outcome{Problem: "not started"}, late, 0); v.Message != "not started; the last try: the function answered 503" {
		t.Errorf("not called: %q", v.Message)
	}
	if v := Decide(policy, m, Outcome{Called: true, Status: 500}, late, 0); v.Message != "the function answered 500 Internal Server Error" {
		t.Errorf("called: %q", v.Message)
	}
}

func TestMalformed(t *testing.T) {
	want := Verdict{Action: Die, Reason: ReasonMalformed, Message: "no header"}
	if got := Malformed(errors.New("no header")); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestLooped(t *testing.T) {
	for hops, want := range map[int]bool{0: false, MaxHops: false, MaxHops + 1: true, 4000: true} {
		v, looped := Looped(hops, 2)
		if looped != want || looped && (v.Action != Die || v.Reason != ReasonLoopDetected || v.Attempts != 2 || !strings.Contains(v.Message, fmt.Sprint(hops, " hops"))) {
			t.Errorf("%d hops: %+v, %t", hops, v, looped)
		}
	}
}
