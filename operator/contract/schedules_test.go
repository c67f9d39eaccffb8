package contract

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

var schedules = &chapter{
	name: "schedules",
	spec: `
scale: {concurrency: 0, max: 1}
triggers:
- {name: d2, schedule: {cron: "* * * * * *"}, delivery: {retry: 1, backoffDelay: PT0.25S}}
- {name: d3, schedule: {cron: "@every 1s"}}
- {name: d3-overlap, schedule: {cron: "@every 1s", overlap: true}}`,
	clauses: []clause{
		{"D1", "each time is an event, never early", scheduleFires},
		{"D2", "the answer means what it means for an event", scheduleAnswers},
		{"D3", "no call while the one before runs", scheduleApart},
		{"D4", "a cron that cannot fire, a zone that is none: said so", scheduleInvalid},
	},
}

func scheduleFires(c *C) {
	type arrival struct {
		r  *request
		at time.Time
	}
	arrived := make(chan arrival, 1000)
	c.director.on("clock", "d1", func(r *request) answer {
		arrived <- arrival{r, time.Now()}
		return answer{}
	})
	c.with("clock", `triggers: [{name: d1, path: /clock/d1, schedule: {cron: "* * * * * *", timeZone: Europe/London}}]`)
	for range 3 {
		a := <-arrived
		h := a.r.Header
		var data struct{ Cron, TimeZone, Scheduled string }
		if err := json.Unmarshal(a.r.Body, &data); err != nil {
			c.Fatal(err)
		}
		due, err := time.Parse(time.RFC3339Nano, h.Get("Ce-Time"))
		if err != nil || a.at.Before(due) || h.Get("Ce-Type") != "dev.serviceful.schedule.fired.v1" || h.Get("Ce-Source") != "/functions/clock/triggers/d1" ||
			h.Get("Ce-Id") == "" || h.Get("Ce-Dataschema") != "https://serviceful.dev/schemas/dev.serviceful.schedule.fired.v1.json" || a.r.Target != "/clock/d1" || data.Cron != "* * * * * *" || data.TimeZone != "Europe/London" || data.Scheduled == "" {
			c.Errorf("it was called at %v with %v %s", a.at, h, a.r.Body)
		}
	}
}

func scheduleAnswers(c *C) {
	var first sync.Once
	var bad string
	c.on("d2", func(r *request) answer {
		first.Do(func() { bad = r.Header.Get("Ce-Id") })
		if r.Header.Get("Ce-Id") == bad {
			return status(503)
		}
		return answer{}
	})
	l := c.awaitDead("d2")
	if l.Kind != "schedule" || l.Reason != "RetriesUsedUp" || l.Attempts != 2 || l.EventID != bad {
		c.Errorf("the dead letter is %+v", l)
	}
	calls := slices.DeleteFunc(c.got("d2"), func(r *request) bool { return r.Header.Get("Ce-Id") != bad })
	if got := attemptsOf(calls); !slices.Equal(got, []string{"1", "2"}) {
		c.Errorf("it was called with the attempts %q", got)
	}
}

func scheduleApart(c *C) {
	var now, worst atomic.Int32
	c.on("d3", func(*request) answer {
		worst.Store(max(worst.Load(), now.Add(1)))
		defer now.Add(-1)
		time.Sleep(1500 * time.Millisecond)
		return answer{}
	})
	second := make(chan struct{})
	var once sync.Once
	var together atomic.Int32
	c.on("d3-overlap", func(*request) answer {
		if together.Add(1) == 2 {
			once.Do(func() { close(second) })
		}
		<-second // no call ends before there are two
		together.Add(-1)
		return answer{}
	})
	c.await("d3", 4)
	if worst.Load() != 1 {
		c.Errorf("%d calls ran at once", worst.Load())
	}
	c.await("d3-overlap", 2)
}

func scheduleInvalid(c *C) {
	c.apply(c.T, false, function{"wrongclock", `
triggers:
- {name: never, schedule: {cron: "0 0 30 2 *"}}
- {name: zone, schedule: {cron: "* * * * * *", timeZone: Europe/Nowhere}}
- {name: ping, http: {path: /wrongclock/ping}}`})
	c.Cleanup(func() { c.remove(c.T, "wrongclock") })
	c.eventually("its other trigger works", func() bool { return c.send("GET", "/wrongclock/ping", "").status == 200 })
	c.eventually("it is said so", func() bool {
		said := c.problem(c.T, "wrongclock")
		return strings.Contains(said, "never") && strings.Contains(said, "Europe/Nowhere")
	})
	if n := len(c.director.calls("wrongclock", "zone")); n > 0 {
		c.Error(fmt.Sprint("it was called ", n, " times"))
	}
}
