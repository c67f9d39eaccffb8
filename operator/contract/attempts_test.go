package contract

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

var attempts = &chapter{
	name: "attempts",
	spec: `
scale: {concurrency: 0, max: 1}
emits: ["attempts.*"]
timeout: 60s
triggers:
- {name: r1, event: {types: [attempts.r1]}, delivery: {retry: 1, backoffDelay: PT0.25S}}
- {name: r1-max, event: {types: [attempts.r1]}, delivery: {retry: 1, backoffDelay: PT0.25S, retryAfterMax: PT1S}}
- {name: r2, event: {types: [attempts.r2]}, delivery: {retry: 10000, backoffDelay: PT0.25S, maxAge: 1s}}
- {name: r3, event: {types: [attempts.r3]}, delivery: {retry: 10000, backoffPolicy: linear, backoffDelay: PT0.25S, concurrency: 1}}
- {name: r4, event: {types: [attempts.r4]}, ` + retries + `}
- {name: r4-too, event: {types: [attempts.r4]}, ` + retries + `}
- {name: r5, event: {types: [attempts.r5]}}`,
	clauses: []clause{
		{"R1", "Retry-After is honoured, up to retryAfterMax", retryAfter},
		{"R2", "dead when maxAge has passed", tooOld},
		{"R3", "what failed does not hold up others", failedGivesWay},
		{"R4", "each trigger has its own attempts", ownAttempts},
		{"R5", "a call that goes on is not made twice", calledOnce},
		{"R6", "an attempt counts only when the function was called", uncalled},
		{"R7", "a process that ends breaks the calls beside it", crashes},
		{"R8", "what ends its function each time dies alone", poison},
	},
}

func retryAfter(c *C) {
	var asked time.Time
	var passed time.Duration
	c.on("r1", func(r *request) answer {
		if r.attempt() == "1" {
			asked = time.Now()
			return status(503, "Retry-After: 2")
		}
		passed = time.Since(asked)
		return answer{}
	})
	c.on("r1-max", func(r *request) answer {
		if r.attempt() == "1" {
			return status(429, "Retry-After: 86400")
		}
		return answer{}
	})
	c.publish("attempts.r1", "1")
	c.only("r1", "1", "1")
	if passed < 2*time.Second {
		c.Errorf("it was called again after %v", passed)
	}
	c.only("r1-max", "1", "1")
}

func tooOld(c *C) {
	c.on("r2", func(*request) answer { return status(503, "Retry-After: 1") })
	c.publish("attempts.r2", "1")
	if l := c.awaitDead("r2"); l.Reason != "MaxAge" || l.Attempts < 1 || l.Attempts != len(c.got("r2")) {
		c.Errorf("the dead letter is %+v, after %d calls", l, len(c.got("r2")))
	}
	c.refusedDelivery("maxAge: 999ms", "maxAge: 73h")
}

func failedGivesWay(c *C) {
	var mended atomic.Bool
	c.on("r3", func(r *request) answer {
		if r.Header.Get("Ce-Id") == "bad" && !mended.Load() {
			return status(500)
		}
		return answer{}
	})
	c.publish("attempts.r3", "bad")
	c.await("r3", 1)
	c.publish("attempts.r3", "good")
	c.eventually("the good one is called", func() bool { return slices.Contains(ids(c.got("r3")), "good") })
	mended.Store(true)
}

func ownAttempts(c *C) {
	c.on("r4", func(r *request) answer {
		if r.attempt() != "3" {
			return status(500)
		}
		return answer{}
	})
	c.publish("attempts.r4", "1")
	c.await("r4", 3)
	if got := attemptsOf(c.await("r4-too", 1)); !slices.Equal(got, []string{"1"}) {
		c.Errorf("the trigger that succeeded was called with the attempts %q", got)
	}
}

// lease is how long the platform waits for a sign of life of a message.
const lease = 15 * time.Second

func calledOnce(c *C) {
	begun := make(chan time.Time, 10)
	c.on("r5", func(*request) answer {
		at := time.Now()
		begun <- at
		for time.Since(at) < lease+5*time.Second {
			time.Sleep(100 * time.Millisecond)
		}
		return answer{}
	})
	c.publish("attempts.r5", "1")
	<-begun
	c.publish("attempts.r5", "2")
	<-begun
	c.eventually("both have ended", func() bool { return c.director.answered(c.function, "r5") >= 2 })
	c.only("r5", "1", "2")
	startedOnce(c)
}

// startedOnce checks that a start which takes long is waited for.
func startedOnce(c *C) {
	var slow atomic.Bool
	c.director.onStart("sluggish", func() answer {
		if slow.Load() {
			time.Sleep(lease + 5*time.Second)
		}
		return answer{}
	})
	c.with("sluggish", idle+"triggers: [{name: r5, event: {types: [attempts.r5.start]}}, {name: ping, http: {path: /sluggish/ping}}]")
	c.send("GET", "/sluggish/ping", "").want(200)
	c.eventually("it has ended", func() bool { return len(c.director.heard("sluggish", "term")) > 0 })
	slow.Store(true)
	c.publish("attempts.r5.start", "1")
	c.awaitOf("sluggish", "r5", 1)
	c.publish("attempts.r5.start", "2")
	calls := c.awaitOf("sluggish", "r5", 2)
	if got := ids(calls); !slices.Equal(got, []string{"1", "2"}) || !slices.Equal(attemptsOf(calls), []string{"1", "1"}) {
		c.Errorf("it got %q with the attempts %q", got, attemptsOf(calls))
	}
}

func uncalled(c *C) {
	var refused atomic.Int32
	var asleep atomic.Bool
	c.director.onStart("reluctant", func() answer {
		if asleep.Load() && refused.Add(1) <= 2 {
			return answer{Do: "exit"}
		}
		return answer{}
	})
	c.with("reluctant", idle+"triggers: [{name: r6, http: {path: /reluctant, async: true}, delivery: {retry: 0}}, {name: ping, http: {path: /reluctant/ping}}]")
	c.send("GET", "/reluctant/ping", "").want(200)
	asleep.Store(true)
	c.eventually("it has ended", func() bool { return len(c.director.heard("reluctant", "term")) > 0 })
	v := c.awaitState(c.accepted("POST", "/reluctant", ""), "succeeded")
	if got := attemptsOf(c.director.calls("reluctant", "r6")); v.Attempts != 1 || !slices.Equal(got, []string{"1"}) {
		c.Errorf("it is said %+v, and the attempts were %q", v, got)
	}
}

func poison(c *C) {
	c.with("fragile", "emits: [fragile]\n"+`triggers:
- {name: r8, event: {types: [attempts.r8]}, delivery: {retry: 2, backoffDelay: PT0.25S}}
- {name: r8-other, event: {types: [attempts.r8.other]}, delivery: {retry: 1, backoffDelay: PT0.25S}}`)
	fragile := &C{c.T, c.target, c.director, "fragile"}
	var ended, done sync.Map // instances; the events beside the poison that were answered
	for _, trigger := range []string{"r8", "r8-other"} {
		fragile.on(trigger, func(r *request) answer {
			id := r.Header.Get("Ce-Id")
			time.Sleep(time.Second)
			if id == "poison" {
				ended.Store(r.Instance, true)
				return answer{Do: "exit"}
			}
			time.Sleep(time.Second)
			if _, broken := ended.Load(r.Instance); !broken {
				done.Store(id, true)
			}
			return answer{}
		})
	}
	beside := map[string]string{"1": "attempts.r8.other", "2": "attempts.r8.other", "3": "attempts.r8"}
	for id, eventType := range beside {
		c.publish(eventType, id)
	}
	c.publish("attempts.r8", "poison")
	if l := fragile.awaitDead("r8"); l.EventID != "poison" || l.Reason != "RetriesUsedUp" || l.Attempts != 3 {
		c.Errorf("the dead letter is %+v", l)
	}
	for id := range beside {
		c.eventually(id+" is done", func() bool { _, ok := done.Load(id); return ok })
	}
	if dead := append(fragile.dead("r8"), fragile.dead("r8-other")...); len(dead) != 1 {
		c.Errorf("dead are %+v", dead)
	}
}

func crashes(c *C) {
	c.with("poisoned", "emits: [poisoned]\n"+`triggers:
- {name: r7, event: {types: [attempts.r7]}, delivery: {retry: 5, backoffDelay: PT0.25S}}`)
	held := make(chan struct{})
	c.director.on("poisoned", "r7", func(r *request) answer {
		switch {
		case r.attempt() != "1":
			return answer{}
		case r.Header.Get("Ce-Id") == "beside":
			<-held
		}
		return answer{Do: "exit"}
	})
	c.publish("attempts.r7", "beside")
	c.awaitOf("poisoned", "r7", 1)
	c.publish("attempts.r7", "poison")
	calls := c.awaitOf("poisoned", "r7", 4)
	close(held)
	if got := ids(calls); !slices.Equal(got, []string{"beside", "beside", "poison", "poison"}) || calls[0].Instance != calls[1].Instance || calls[2].Instance == calls[0].Instance {
		c.Errorf("the calls were of %q", got)
	}
}
