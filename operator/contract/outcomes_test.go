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
bindings: [{queue: {name: z2}}, {keyValue: {bucket: outcomes}}]
triggers:
- {name: u1, event: {types: [outcomes.u1]}, delivery: {retry: 0, onSuccess: {eventType: done.u1}, onFailure: {queue: failed-u1}}}
- {name: u1-done, event: {types: [done.u1]}}
- {name: u1-failed, queue: {name: failed-u1}}
- {name: u2, http: {path: /outcomes/u2, async: true}, delivery: {onSuccess: {eventType: done.u2}, onFailure: {eventType: failed.u2}}}
- {name: u2-done, event: {types: [done.u2]}}
- {name: u2-failed, event: {types: [failed.u2]}}
- {name: z1, event: {types: [outcomes.z1]}}
- {name: z2, event: {types: [outcomes.z2]}}
- {name: z2-queue, queue: {name: z2}}
- {name: z2-key, keyValue: {bucket: outcomes, keys: z2}}
- {name: z2-there, event: {types: [outcomes.z2.there]}}`,
	others: []function{{"echo", `
scale: {concurrency: 0, max: 1}
emits: ["outcomes.*"]
triggers:
- {name: z2-back, event: {types: [outcomes.z2.back]}}
- {name: do, http: {methods: [POST], path: /echo/do}}`}},
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
	c.enqueue("z2", "from 16", "Serviceful-Hops: 16")
	c.service("PUT", "/v1/buckets/outcomes/keys/z2", "from 16", "Serviceful-Hops: 16").want(204)
	for _, trigger := range []string{"z2-queue", "z2-key"} {
		if l := c.awaitDead(trigger); l.Reason != "LoopDetected" || l.Attempts != 0 {
			c.Errorf("the dead letter of %s is %+v", trigger, l)
		}
	}
	c.service("POST", "/v1/events", structured("outcomes.z2", "many"), contentJSON, "Serviceful-Hops: many").problem(400, "malformed-hops")
	twoFunctions(c)
}

// twoFunctions has two functions publish for each other, as the clause says, and
// then without the header.
func twoFunctions(c *C) {
	there, back := [2]string{c.function, "z2-there"}, [2]string{"echo", "z2-back"}
	send := func(from [2]string, eventType, id string, header ...string) {
		header = append(header, "Ce-Specversion: 1.0", "Ce-Type: "+eventType, "Ce-Source: /"+from[0], "Ce-Id: "+id)
		c.serviceOf(from[0], order{Method: "POST", Sink: true, Headers: pairs(header)}).want(202)
	}
	c.publish("outcomes.z2.there", "first")
	var last *request
	for i := range 17 {
		at, next := there, "outcomes.z2.back"
		if i%2 == 1 {
			at, next = back, "outcomes.z2.there"
		}
		last = c.awaitOf(at[0], at[1], i/2+1)[i/2]
		if hops := last.Header.Get("Serviceful-Hops"); hops != strconv.Itoa(i) {
			c.Errorf("event %d has made %s hops", i, hops)
		}
		send(at, next, strconv.Itoa(i), "Serviceful-Hops: "+last.Header.Get("Serviceful-Hops"))
	}
	other := *c
	other.function = "echo"
	if l := other.awaitDead("z2-back"); l.Reason != "LoopDetected" || l.EventID != "16" || l.Attempts != 0 {
		c.Errorf("the dead letter is %+v", l)
	}
	send(there, "outcomes.z2.back", "anew")
	if hops := c.awaitOf("echo", "z2-back", 9)[8].Header.Get("Serviceful-Hops"); hops != "0" {
		c.Errorf("without the header it has made %s hops", hops)
	}
}
