package contract

import (
	"encoding/json"
	"strconv"
)

var outcomes = &chapter{
	name: "outcomes",
	spec: `
scale: {concurrency: 0, max: 1}
emits: ["outcomes.*"]
triggers:
- {name: u1, event: {types: [outcomes.u1]}, delivery: {retry: 0, onSuccess: {eventType: done.u1}, onFailure: {queue: failed-u1}}}
- {name: u1-done, event: {types: [done.u1]}}
- {name: u1-failed, queue: {name: failed-u1}}
- {name: u2, http: {path: /outcomes/u2, async: true}, delivery: {onSuccess: {eventType: done.u2}, onFailure: {eventType: failed.u2}}}
- {name: u2-done, event: {types: [done.u2]}}
- {name: u2-failed, event: {types: [failed.u2]}}
- {name: z1, event: {types: [outcomes.z1]}}
- {name: z2, event: {types: [outcomes.z2]}}`,
	clauses: []clause{
		{"U1", "onSuccess and onFailure: an event or a message tells the outcome", outcomeOfEvent},
		{"U2", "of a call as well, where failed is a failure", outcomeOfCall},
		{"Z1", "an endless loop ends after 16 hops: LoopDetected", loopEnds},
		{"Z2", "Serviceful-Hops, passed on, counts", hopsCount},
	},
}

// outcome is the data of an outcome.
type outcome struct {
	Outcome, Reason string
	Attempts        int
	Event           struct{ ID, Source, Type string }
	Request         struct{ ID string }
}

// outcomeOf reads the outcome that a call was made with.
func (c *C) outcomeOf(r *request, eventType string) (o outcome) {
	c.Helper()
	h := r.Header
	if err := json.Unmarshal(r.Body, &o); err != nil || h.Get("Ce-Type") != eventType || h.Get("Content-Type") != "application/json" ||
		h.Get("Ce-Dataschema") == "" || h.Get("Ce-Source") == "" {
		c.Errorf("the outcome is %v %q: %v", h, r.Body, err)
	}
	return o
}

func outcomeOfEvent(c *C) {
	c.on("u1", func(r *request) answer {
		if r.Header.Get("Ce-Id") == "bad" {
			return status(400)
		}
		return answer{}
	})
	c.publish("outcomes.u1", "good")
	c.publish("outcomes.u1", "bad")
	done := c.await("u1-done", 1)[0]
	if o := c.outcomeOf(done, "done.u1"); o.Outcome != "succeeded" || o.Attempts != 1 || o.Event.ID != "good" || o.Event.Type != "outcomes.u1" || done.Header.Get("Ce-Source") != "/functions/outcomes/triggers/u1" {
		c.Errorf("the outcome is %+v of %s", o, done.Body)
	}
	if o := c.outcomeOf(c.await("u1-failed", 1)[0], "dev.serviceful.outcome.v1"); o.Outcome != "dead" || o.Reason != "Rejected" || o.Event.ID != "bad" {
		c.Errorf("the outcome is %+v", o)
	}
	if l := c.awaitDead("u1"); l.EventID != "bad" { // it is kept all the same
		c.Errorf("the dead letter is %+v", l)
	}
}

func outcomeOfCall(c *C) {
	c.inTurn("u2", status(201), status(409))
	one := c.accepted("POST", "/outcomes/u2", "")
	if o := c.outcomeOf(c.await("u2-done", 1)[0], "done.u2"); o.Outcome != "succeeded" || "/calls/"+o.Request.ID != one {
		c.Errorf("the outcome is %+v", o)
	}
	two := c.accepted("POST", "/outcomes/u2", "")
	if o := c.outcomeOf(c.await("u2-failed", 1)[0], "failed.u2"); o.Outcome != "failed" || "/calls/"+o.Request.ID != two {
		c.Errorf("the outcome is %+v", o)
	}
}

func loopEnds(c *C) {
	c.on("z1", func(r *request) answer {
		n, _ := strconv.Atoi(r.Header.Get("Ce-Id"))
		return answered(200, "outcomes.z1", strconv.Itoa(n+1))
	})
	c.publish("outcomes.z1", "0")
	l := c.awaitDead("z1")
	if l.Reason != "LoopDetected" || l.EventID != "17" || l.Attempts != 0 {
		c.Errorf("the dead letter is %+v", l)
	}
	for i, r := range c.got("z1") {
		if r.Header.Get("Serviceful-Hops") != strconv.Itoa(i) {
			c.Errorf("event %s has made %s hops", r.Header.Get("Ce-Id"), r.Header.Get("Serviceful-Hops"))
		}
	}
	if n := len(c.got("z1")); n != 17 {
		c.Errorf("it was called %d times", n)
	}
}

func hopsCount(c *C) {
	c.publish("outcomes.z2", "from 15", "Serviceful-Hops: 15")
	c.publish("outcomes.z2", "from 16", "Serviceful-Hops: 16")
	if l := c.awaitDead("z2"); l.Reason != "LoopDetected" || l.EventID != "from 16" {
		c.Errorf("the dead letter is %+v", l)
	}
	c.only("z2", "from 15")
	if hops := c.got("z2")[0].Header.Get("Serviceful-Hops"); hops != "16" {
		c.Errorf("it has made %s hops", hops)
	}
}
