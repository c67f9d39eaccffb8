package contract

import (
	"encoding/base64"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
)

const retries = "delivery: {retry: 2, backoffDelay: PT0.25S}"

var calls = &chapter{
	name: "async",
	spec: `
scale: {concurrency: 0, max: 1}
triggers:
- {name: c1, http: {path: "/async/c1/{id}", async: true}}
- {name: c3, http: {path: /async/c3, async: true}}
- {name: c4, http: {path: /async/c4, async: true}, ` + retries + `}
- {name: c5, http: {path: /async/c5, async: true}, ` + retries + `}
- {name: c6, http: {path: /async/c6, async: true}}
- {name: c7, paused: true, http: {path: /async/c7, async: true}}
- {name: c8, http: {path: /async/c8, async: true}}
- {name: c9, http: {path: /async/c9, async: true}}
- {name: c10, http: {path: /async/c10, async: true}}
- {name: c11, http: {path: /async/c11, async: true}}`,
	clauses: []clause{
		{"C1", "202, Location and id, once it is stored", callAccepted},
		{"C2", "the function gets the very same request later", callUnchanged},
		{"C3", "GET /calls/<id>: queued, running, succeeded, with the answer", callSucceeds},
		{"C4", "a final 3xx or 4xx: failed, with the answer", callFails},
		{"C5", "attempts used up: dead, and why", callDies},
		{"C6", "answers that are no text, or long", callAnswers},
		{"C7", "a queued call can be cancelled", callCancelled},
		{"C8", "a started call cannot", callNotCancelled},
		{"C9", "Idempotency-Key: the same call, or 422", callOnce},
		{"C10", "limits of what is stored", callLimits},
		{"C11", "an id that never was is 404", callUnknown},
	},
}

func callAccepted(c *C) {
	r := c.send("PUT", "/async/c1/1", "body").want(http.StatusAccepted)
	var got struct{ ID string }
	if r.decode(&got); got.ID == "" || r.header.Get("Location") != "/calls/"+got.ID {
		c.Errorf("the id is %q, the location %q", got.ID, r.header.Get("Location"))
	}
	c.awaitState(r.header.Get("Location"), "succeeded")
}

func callUnchanged(c *C) {
	location := c.accepted("DELETE", "/async/c1/a%2Fb?x=%20&y", "\x00\xff", "X-Twice: one", "X-Twice: two", "Content-Type: text/own", "Authorization: Bearer caller")
	c.awaitState(location, "succeeded")
	calls := c.got("c1")
	i := slices.IndexFunc(calls, func(r *request) bool { return r.Method == "DELETE" })
	r, h := calls[i], calls[i].Header
	if r.Target != "/async/c1/a%2Fb?x=%20&y" || string(r.Body) != "\x00\xff" || !slices.Equal(h["X-Twice"], []string{"one", "two"}) ||
		h.Get("Content-Type") != "text/own" || h.Get("Authorization") != "Bearer caller" || h.Get("Host") != host(c.ns()) {
		c.Errorf("it got %+v", r)
	}
	if h.Get("Serviceful-Trigger") != "c1" || h.Get("Serviceful-Path-Id") != "a%2Fb" || "/calls/"+h.Get("Serviceful-Call-Id") != location ||
		h.Get("Serviceful-Attempt") != "1" || len(h.Get("Traceparent")) != 55 ||
		h.Get("X-Forwarded-For") == "" || h.Get("X-Forwarded-Host") != host(c.ns()) || h.Get("X-Forwarded-Proto") != "http" {
		c.Errorf("it was told %v", h)
	}
}

func callSucceeds(c *C) {
	held := make(chan struct{})
	c.on("c3", func(*request) answer {
		<-held
		return answer{Status: 201, Header: []string{"X-Own: kept"}, Body: "made"}
	})
	location := c.accepted("POST", "/async/c3", "")
	c.await("c3", 1)
	c.awaitState(location, "running")
	if text := c.send("GET", location, "").body; strings.Contains(text, "reason") || strings.Contains(text, "response") {
		c.Errorf("of a call under way it is said %s", text)
	}
	close(held)
	v := c.awaitState(location, "succeeded")
	if r := v.Response; "/calls/"+v.ID != location || v.Attempts != 1 || v.Reason != "" || r == nil || r.Status != 201 || r.Body != "made" || r.Headers.Get("X-Own") != "kept" || r.Truncated {
		c.Errorf("it is said %+v", v)
	}
}

func callFails(c *C) {
	for _, code := range []int{302, 400, 404, 409, 422} {
		c.on("c4", func(*request) answer { return answer{Status: code, Body: "no"} })
		v := c.awaitState(c.accepted("POST", "/async/c4", ""), "failed")
		if v.Attempts != 1 || v.Response == nil || v.Response.Status != code || v.Response.Body != "no" || v.Message == "" {
			c.Errorf("after %d it is said %+v", code, v)
		}
	}
	if letters := c.dead("c4"); len(letters) > 0 {
		c.Errorf("a failed call left %+v", letters)
	}
}

func callDies(c *C) {
	held, tries := make(chan struct{}), atomic.Int32{}
	c.on("c5", func(*request) answer {
		if tries.Add(1) == 2 {
			<-held
		}
		return answer{Status: 503, Body: "busy"}
	})
	location := c.accepted("POST", "/async/c5", "")
	c.await("c5", 2)
	if v := c.awaitState(location, "running"); v.Attempts != 1 || v.Reason != "" || !strings.Contains(v.Message, "503") {
		c.Errorf("called again it is said %+v", v)
	}
	close(held)
	v := c.awaitState(location, "dead")
	if v.Attempts != 3 || v.Reason != "RetriesUsedUp" || v.Message == "" || v.Response == nil || v.Response.Status != 503 || v.Response.Body != "busy" {
		c.Errorf("it is said %+v", v)
	}
	if l := c.awaitDead("c5"); "/calls/"+l.Call != "/calls/"+v.ID || l.Kind != "call" || l.Attempts != 3 || l.Reason != v.Reason || l.LastStatus != 503 {
		c.Errorf("the dead letter is %+v", l)
	}
}

func callAnswers(c *C) {
	c.inTurn("c6", answer{Body: "\xff\x00"}, answer{Body: strings.Repeat("x", 1<<20+1)})
	v := c.awaitState(c.accepted("POST", "/async/c6", ""), "succeeded")
	if got, err := base64.StdEncoding.DecodeString(v.Response.BodyBase64); err != nil || string(got) != "\xff\x00" || v.Response.Body != "" {
		c.Errorf("it is said %+v", v.Response)
	}
	v = c.awaitState(c.accepted("POST", "/async/c6", ""), "succeeded")
	if !v.Response.Truncated || len(v.Response.Body) != 1<<20 {
		c.Errorf("%d bytes were kept, truncated: %v", len(v.Response.Body), v.Response.Truncated)
	}
}

func callCancelled(c *C) {
	location := c.accepted("POST", "/async/c7", "", "Idempotency-Key: one")
	if v := c.look(location); v.State != "queued" || v.Attempts != 0 {
		c.Errorf("it is said %+v", v)
	}
	c.send("DELETE", location, "").want(http.StatusNoContent)
	c.send("GET", location, "").problem(404, "no-such-call")
	if again := c.accepted("POST", "/async/c7", "other", "Idempotency-Key: one"); again == location {
		c.Error("its Idempotency-Key is not free")
	}
}

func callNotCancelled(c *C) {
	held := make(chan struct{})
	c.on("c8", func(*request) answer {
		<-held
		return answer{}
	})
	location := c.accepted("POST", "/async/c8", "")
	c.await("c8", 1)
	c.send("DELETE", location, "").problem(409, "call-started")
	close(held)
	c.awaitState(location, "succeeded")
	c.send("DELETE", location, "").problem(409, "call-started")
	if n := len(c.got("c8")); n != 1 {
		c.Errorf("it was called %d times", n)
	}
}

func callOnce(c *C) {
	first := c.accepted("POST", "/async/c9?x", "body", "Idempotency-Key: k")
	c.awaitState(first, "succeeded")
	if second := c.accepted("POST", "/async/c9?x", "body", "Idempotency-Key: k"); second != first {
		c.Errorf("the same key is %s and %s", first, second)
	}
	for _, other := range [][]string{{"POST", "/async/c9?x", "other"}, {"POST", "/async/c9?y", "body"}, {"PUT", "/async/c9?x", "body"}} {
		c.send(other[0], other[1], other[2], "Idempotency-Key: k").problem(422, "idempotency-key-reused")
	}
	c.awaitState(c.accepted("POST", "/async/c9?x", "body", "Idempotency-Key: l"), "succeeded")
	c.send("POST", "/async/c9?x", "body", "Idempotency-Key: ").problem(400, "malformed-idempotency-key")
	c.send("POST", "/async/c9?x", "body", "Idempotency-Key: k", "Idempotency-Key: l").problem(400, "malformed-idempotency-key")
	if n := len(c.got("c9")); n != 2 {
		c.Errorf("two keys were %d calls", n)
	}
}

func callLimits(c *C) {
	c.awaitState(c.accepted("POST", "/async/c10", strings.Repeat("x", 1<<20)), "succeeded")
	c.send("POST", "/async/c10", strings.Repeat("x", 1<<20+1), "Expect: 100-continue").problem(413, "body-too-large")
	c.send("POST", "/async/c10", "", "X-Long: "+strings.Repeat("x", 32<<10)).problem(431, "headers-too-large")
	if n := len(c.got("c10")); n != 1 {
		c.Errorf("it was called %d times", n)
	}
}

func callUnknown(c *C) {
	if id := strings.TrimPrefix(c.accepted("POST", "/async/c11", ""), "/calls/"); len(id) < 26 { // of 32 letters: 128 bits
		c.Errorf("the id %q can be guessed", id)
	}
	c.send("GET", "/calls/neverwas", "").problem(404, "no-such-call")
	c.send("DELETE", "/calls/neverwas", "").problem(404, "no-such-call")
	c.send("POST", "/calls/neverwas", "").problem(405, "method-not-allowed")
}
