package contract

import (
	"fmt"
	"slices"
)

var promise = &chapter{
	name:  "promise",
	alone: true,
	spec: `
scale: {concurrency: 0, max: 1}
emits: ["promise.*"]
bindings: [{queue: {name: p1}}, {keyValue: {bucket: promise}}]
triggers:
- {name: p1-event, event: {types: [promise.p1]}}
- {name: p1-call, http: {path: /promise/p1, async: true}}
- {name: p1-queue, queue: {name: p1}}`,
	clauses: []clause{
		{"P1", "what was accepted outlives a crash of the platform", survives},
	},
}

func survives(c *C) {
	held := make(chan struct{})
	for _, trigger := range []string{"p1-event", "p1-call", "p1-queue"} {
		c.on(trigger, func(*request) answer {
			<-held
			return answer{}
		})
	}
	var want, sent, locations []string
	for i := range 5 {
		id := fmt.Sprint(i)
		c.publish("promise.p1", id)
		locations = append(locations, c.accepted("POST", "/promise/p1", id))
		sent = append(sent, c.enqueue("p1", id))
		want = append(want, id)
	}
	c.service("PUT", "/v1/buckets/promise/keys/p1", "kept").want(204)
	c.await("p1-call", 1)
	c.crash(c.T)
	close(held)
	for _, l := range locations {
		c.awaitState(l, "succeeded")
	}
	slices.Sort(sent)
	for trigger, want := range map[string][]string{"p1-event": want, "p1-queue": sent} {
		c.eventually("all of "+trigger+" are called", func() bool {
			got := slices.Compact(ids(c.got(trigger)))
			return slices.Equal(got, want)
		})
	}
	c.service("GET", "/v1/buckets/promise/keys/p1", "").want(200, "kept")
}
