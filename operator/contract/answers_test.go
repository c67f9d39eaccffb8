package contract

import (
	"net/http"
	"slices"
	"strings"
)

var answers = &chapter{
	name: "answers",
	spec: `
scale: {concurrency: 0, max: 1}
emits: ["answers.*"]
triggers:
- {name: a1, event: {types: [answers.a1]}, ` + retries + `}
- {name: a2, event: {types: [answers.a2]}, ` + retries + `}
- {name: a2-heard, event: {types: ["answers.a2.*"]}}
- {name: a2-call, http: {path: /answers/a2, async: true}}
- {name: a3, event: {types: [answers.a3]}}
- {name: a3-heard, event: {types: [answers.a3.out]}}
- {name: a4, event: {types: [answers.a4]}}
- {name: a4-heard, event: {types: [answers.a4.out]}}
- {name: a5, event: {types: [answers.a5]}, ` + retries + `}
- {name: a5-call, http: {path: /answers/a5, async: true}, ` + retries + `}
- {name: a6, event: {types: [answers.a6]}, delivery: {retry: 3, backoffDelay: PT0.25S, timeout: PT5S}}
- {name: a6-heard, event: {types: [answers.a6.out]}}
- {name: a7, event: {types: [answers.a7]}, ` + retries + `}
- {name: a8, event: {types: [answers.a8]}, ` + retries + `}`,
	clauses: []clause{
		{"A1", "2xx: done", answerDone},
		{"A2", "the events of an answer are published", answerPublishes},
		{"A3", "202 publishes nothing", answerAccepted},
		{"A4", "an event that may not be: nothing is published, dead", answerRefused},
		{"A5", "408, 429, 5xx, for events 404 and 409: called again", answerRetried},
		{"A6", "a timeout or a broken connection: called again", answerBroken},
		{"A7", "any other 3xx or 4xx to an event: dead", answerFinal},
		{"A8", "attempts used up: dead", answerUsedUp},
	},
}

func answerDone(c *C) {
	c.inTurn("a1", status(200), status(201), status(204), status(299))
	for _, id := range []string{"1", "2", "3", "4"} {
		c.publish("answers.a1", id)
		c.await("a1", 1)
	}
	c.only("a1", "1", "2", "3", "4")
	if letters := c.dead("a1"); len(letters) > 0 {
		c.Errorf("it left %+v", letters)
	}
}

// answered is an answer that is an event in binary mode.
func answered(code int, eventType, id string) answer {
	return answer{Status: code, Header: []string{"Ce-Specversion: 1.0", "Ce-Type: " + eventType, "Ce-Source: /" + eventType, "Ce-Id: " + id, "Content-Type: text/plain"}, Body: "of " + id}
}

func answerPublishes(c *C) {
	c.inTurn("a2", answered(200, "answers.a2.binary", "binary"),
		answer{Status: 201, Header: []string{contentJSON}, Body: structured("answers.a2.json", "json")},
		answer{Header: []string{contentBatch}, Body: "[" + structured("answers.a2.x", "batch-1") + "," + structured("answers.a2.y", "batch-2") + "]"},
		answer{Header: []string{contentBatch}, Body: "[]"})
	for i, id := range []string{"1", "2", "3", "4"} {
		c.publish("answers.a2", id)
		c.await("a2", i+1)
	}
	c.on("a2-call", func(*request) answer { return answered(200, "answers.a2.call", "call") })
	c.awaitState(c.accepted("POST", "/answers/a2", ""), "succeeded")
	c.only("a2-heard", "batch-1", "batch-2", "binary", "call", "json")
	if letters := c.dead("a2"); len(letters) > 0 {
		c.Errorf("it left %+v", letters)
	}
}

func answerAccepted(c *C) {
	c.inTurn("a3", answered(202, "answers.a3.out", "unpublished"), answered(200, "answers.a3.out", "published"))
	c.publish("answers.a3", "1")
	c.await("a3", 1)
	c.publish("answers.a3", "2")
	c.only("a3-heard", "published")
}

func answerRefused(c *C) {
	c.inTurn("a4",
		answer{Header: []string{contentBatch}, Body: "[" + structured("answers.a4.out", "good") + "," + structured("other.type", "bad") + "]"},
		answer{Header: []string{contentJSON}, Body: `{"type": "answers.a4.out"}`},
		answered(200, "answers.a4.out", "last"))
	for i, id := range []string{"1", "2", "3"} {
		c.publish("answers.a4", id)
		c.await("a4", i+1)
	}
	c.only("a4-heard", "last")
	c.eventually("two are dead", func() bool { return len(c.dead("a4")) == 2 })
	for _, l := range c.dead("a4") {
		if l.Reason != "EmitRefused" || l.Attempts != 1 || l.Problem == "" {
			c.Errorf("the dead letter is %+v", l)
		}
	}
}

func answerRetried(c *C) {
	again := func(codes ...int) func(*request) answer {
		return func(r *request) answer {
			if r.attempt() != "1" {
				return status(200)
			}
			i := strings.IndexByte("abcdefgh", (r.Header.Get("Ce-Id") + strings.TrimPrefix(r.Target, "/answers/a5?"))[0])
			return status(codes[i])
		}
	}
	c.on("a5", again(408, 429, 500, 503, 599, 404, 409))
	c.on("a5-call", again(408, 429, 500, 503, 599))
	for _, id := range []string{"a", "b", "c", "d", "e", "f", "g"} {
		c.publish("answers.a5", id)
	}
	for _, id := range []string{"a", "b", "c", "d", "e"} {
		if v := c.awaitState(c.accepted("POST", "/answers/a5?"+id, ""), "succeeded"); v.Attempts != 2 {
			c.Errorf("%s has succeeded after %d attempts", id, v.Attempts)
		}
	}
	c.only("a5", "a", "a", "b", "b", "c", "c", "d", "d", "e", "e", "f", "f", "g", "g")
	c.refusedDelivery("backoffDelay: PT0.24S", "backoffDelay: PT5M1S")
}

func answerBroken(c *C) {
	held := make(chan struct{})
	c.on("a6", func(r *request) answer {
		switch r.attempt() {
		case "1":
			<-held
			return answered(200, "answers.a6.out", "late")
		case "2":
			return answer{Do: "break"}
		}
		return answer{}
	})
	c.publish("answers.a6", "1")
	c.only("a6", "1", "1", "1")
	close(held)
	c.eventually("it has answered late", func() bool { return c.director.answered(c.function, "a6") == 3 })
	c.publish("answers.a6.out", "marker")
	c.only("a6-heard", "marker")
	if letters := c.dead("a6"); len(letters) > 0 {
		c.Errorf("it left %+v", letters)
	}
}

func answerFinal(c *C) {
	codes := []int{301, 304, 400, 401, 403, 410, 422}
	for i, code := range codes {
		c.on("a7", func(*request) answer { return status(code, "Location: /answers/elsewhere") })
		c.publish("answers.a7", http.StatusText(code))
		c.await("a7", i+1)
	}
	c.eventually("all are dead", func() bool { return len(c.dead("a7")) == len(codes) })
	for _, l := range c.dead("a7") {
		if l.Reason != "Rejected" || l.Attempts != 1 || !slices.Contains(codes, l.LastStatus) || http.StatusText(l.LastStatus) != l.EventID {
			c.Errorf("the dead letter is %+v", l)
		}
	}
	if n := len(c.got("a7")); n != len(codes) {
		c.Errorf("it was called %d times, want %d", n, len(codes))
	}
}

func answerUsedUp(c *C) {
	c.on("a8", func(*request) answer { return answer{Status: 500, Body: "why"} })
	c.publish("answers.a8", "1")
	l := c.awaitDead("a8")
	if l.Reason != "RetriesUsedUp" || l.Attempts != 3 || l.Kind != "event" || l.EventID != "1" || l.EventType != "answers.a8" || l.LastStatus != 500 {
		c.Errorf("the dead letter is %+v", l)
	}
	if got := attemptsOf(c.got("a8")); !slices.Equal(got, []string{"1", "2", "3"}) {
		c.Errorf("the attempts were %q", got)
	}
	c.refusedDelivery("retry: 10001", "retry: -1")
}

// refusedDelivery checks that no trigger may have a delivery.
func (c *C) refusedDelivery(deliveries ...string) {
	c.Helper()
	for _, d := range deliveries {
		if c.refuse(c.T, function{"refused", "triggers: [{name: refused, event: {types: [a.b]}, delivery: {" + d + "}}]"}) == "" {
			c.Errorf("a delivery of %s is taken in", d)
		}
	}
}

func attemptsOf(calls []*request) (out []string) {
	for _, r := range calls {
		out = append(out, r.attempt())
	}
	return out
}
