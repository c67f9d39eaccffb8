package contract

import (
	"net/http"
	"slices"
	"strings"
	"time"
)

var queues = &chapter{
	name: "queues",
	spec: `
scale: {concurrency: 0, max: 1}
emits: [queues.out]
bindings: [{queue: {name: q1}}, {queue: {name: q2}}, {queue: {name: q3}}, {queue: {name: q4}}, {queue: {name: q5}}, {queue: {name: q6}}, {queue: {name: q7}}, {queue: {name: q8}}]
triggers:
- {name: q1, path: /queues/q1, queue: {name: q1}}
- {name: q2, queue: {name: q2}}
- {name: q3, queue: {name: q3}}
- {name: q4, queue: {name: q4}, ` + retries + `}
- {name: q4-heard, event: {types: [queues.out]}}
- {name: q6, queue: {name: q6}}
- {name: q7, queue: {name: q7}}`,
	clauses: []clause{
		{"Q1", "202 and an id; the message is a CloudEvent", queueMessage},
		{"Q2", "Serviceful-Delay: not before", queueDelay},
		{"Q3", "Idempotency-Key: once, or 422", queueOnce},
		{"Q4", "the answer means what it means for an event", queueAnswers},
		{"Q5", "kept until a trigger takes it", queueKeeps},
		{"Q6", "one trigger has a queue; another gets nothing of it until it has it", queueTaken},
		{"Q7", "what cannot be sent", queueRefuses},
	},
}

// enqueue sends a message to a queue, and returns its id.
func (c *C) enqueue(queue, body string, header ...string) string {
	c.Helper()
	var got struct{ ID string }
	c.service("POST", "/v1/queues/"+queue+"/messages", body, header...).want(http.StatusAccepted).decode(&got)
	return got.ID
}

func queueMessage(c *C) {
	id := c.enqueue("q1", "\x00\xff", "Content-Type: text/own; charset=utf-8")
	r := c.await("q1", 1)[0]
	h := r.Header
	for _, want := range []string{"Ce-Specversion: 1.0", "Ce-Type: dev.serviceful.queue.message.v1", "Ce-Source: /queues/q1", "Ce-Id: " + id,
		"Content-Type: text/own; charset=utf-8", "Serviceful-Trigger: q1", "Serviceful-Attempt: 1"} {
		if name, value := cut(want); h.Get(name) != value {
			c.Errorf("it got %s: %q, want %q", name, h.Get(name), value)
		}
	}
	if _, err := time.Parse(time.RFC3339Nano, h.Get("Ce-Time")); err != nil || r.Method != "POST" || r.Target != "/queues/q1" || string(r.Body) != "\x00\xff" {
		c.Errorf("it got %+v: %v", r, err)
	}
}

func queueDelay(c *C) {
	var called time.Time
	c.on("q2", func(*request) answer {
		called = time.Now()
		return answer{}
	})
	sent := time.Now()
	c.enqueue("q2", "later", "Serviceful-Delay: 1500ms")
	c.await("q2", 1)
	c.eventually("it is answered", func() bool { return c.director.answered(c.function, "q2") > 0 })
	if passed := called.Sub(sent); passed < 1500*time.Millisecond {
		c.Errorf("it was called after %v", passed)
	}
}

func queueOnce(c *C) {
	first := c.enqueue("q3", "one", "Idempotency-Key: k")
	c.await("q3", 1)
	if again := c.enqueue("q3", "one", "Idempotency-Key: k"); again != first {
		c.Errorf("the same key is %s and %s", first, again)
	}
	c.service("POST", "/v1/queues/q3/messages", "other", "Idempotency-Key: k").problem(422, "idempotency-key-reused")
	c.service("POST", "/v1/queues/q3/messages", "one", "Idempotency-Key: k", "Serviceful-Delay: 1s").problem(422, "idempotency-key-reused")
	c.service("POST", "/v1/queues/q3/messages", "one", "Idempotency-Key: ").problem(400, "malformed-idempotency-key")
	other := c.enqueue("q3", "one", "Idempotency-Key: l")
	want := []string{first, other}
	slices.Sort(want)
	c.only("q3", want...)
}

func queueAnswers(c *C) {
	c.on("q4", func(r *request) answer {
		switch body := string(r.Body); {
		case body == "again" && r.attempt() == "1":
			return status(409)
		case body == "final":
			return status(400)
		case body == "never":
			return status(503)
		}
		return answered(200, "queues.out", "of-"+string(r.Body))
	})
	c.enqueue("q4", "again")
	c.only("q4-heard", "of-again")
	final, never := c.enqueue("q4", "final"), c.enqueue("q4", "never")
	c.eventually("two are dead", func() bool { return len(c.dead("q4")) == 2 })
	for _, l := range c.dead("q4") {
		want := letter{Reason: "Rejected", Attempts: 1, LastStatus: 400, EventID: final}
		if l.EventID == never {
			want = letter{Reason: "RetriesUsedUp", Attempts: 3, LastStatus: 503, EventID: never}
		}
		if l.Kind != "queued" || l.Reason != want.Reason || l.Attempts != want.Attempts || l.LastStatus != want.LastStatus || l.EventID != want.EventID {
			c.Errorf("the dead letter is %+v, want %+v", l, want)
		}
	}
}

func queueKeeps(c *C) {
	one, two := c.enqueue("q5", "one"), c.enqueue("q5", "two")
	c.with("taker", "triggers: [{name: q5, queue: {name: q5}}]")
	want := []string{one, two}
	slices.Sort(want)
	if got := ids(c.awaitOf("taker", "q5", 2)); !slices.Equal(got, want) {
		c.Errorf("it got %q, want %q", got, want)
	}
}

func queueTaken(c *C) {
	c.apply(c.T, false, function{"second", "triggers:\n- {name: q6, queue: {name: q6}}\n- {name: ping, http: {path: /second/ping}}"})
	c.Cleanup(func() { c.remove(c.T, "second") })
	c.eventually("it is said so", func() bool { return strings.Contains(c.problem(c.T, "second"), "taken by trigger") })
	c.eventually("its other trigger works", func() bool { return c.send("GET", "/second/ping", "").status == 200 })
	var want []string
	for _, body := range []string{"1", "2", "3", "4", "5"} {
		want = append(want, c.enqueue("q6", body))
	}
	slices.Sort(want)
	c.only("q6", want...)
	if n := len(c.director.calls("second", "q6")); n > 0 {
		c.Errorf("the second one got %d", n)
	}
	queueHandedOver(c)
}

// queueHandedOver has the next one have a queue, and then another trigger of it.
func queueHandedOver(c *C) {
	c.apply(c.T, true, function{"elder", "triggers: [{name: q8, queue: {name: q8}}]"})
	c.apply(c.T, false, function{"heir", "triggers: [{name: q8, queue: {name: q8}}]"})
	c.Cleanup(func() { c.remove(c.T, "heir") })
	first := c.enqueue("q8", "1")
	if got := ids(c.awaitOf("elder", "q8", 1)); got[0] != first {
		c.Errorf("the older one got %q, want %q", got, first)
	}
	c.remove(c.T, "elder")
	second := c.enqueue("q8", "2")
	if got := ids(c.awaitOf("heir", "q8", 1)); got[0] != second {
		c.Errorf("the next one got %q, want %q", got, second)
	}
	c.apply(c.T, false, function{"heir", "triggers: [{name: renamed, queue: {name: q8}}]"})
	c.eventually("the renamed one has it", func() bool { // on a cluster, the one before may still get the first
		c.enqueue("q8", "more")
		return len(c.director.calls("heir", "renamed")) > 0
	})
}

func queueRefuses(c *C) {
	c.service("POST", "/v1/queues/other/messages", "").problem(403, "not-bound")
	c.service("GET", "/v1/queues/q7/messages", "").problem(405, "method-not-allowed")
	for _, delay := range []string{"soon", "-1s", "8761h"} {
		c.service("POST", "/v1/queues/q7/messages", "", "Serviceful-Delay: "+delay).problem(400, "malformed-delay")
	}
	c.service("POST", "/v1/queues/q7/messages", "", "Content-Type: no type").problem(400, "malformed-content-type")
	c.service("POST", "/v1/queues/q7/messages", strings.Repeat("x", 1<<20+1)).problem(413, "body-too-large")
	id := c.enqueue("q7", strings.Repeat("x", 1<<20))
	c.only("q7", id)
}
