package contract

import (
	"net/http"
)

var calling = &chapter{
	name: "calling",
	spec: `
scale: {concurrency: 0, max: 1}
bindings: [{function: {name: callee}}]
triggers:
- {name: f1, http: {path: /calling/f1}}`,
	others: []function{{"callee", `
scale: {concurrency: 0, max: 1}
timeout: 1s
triggers: []`}},
	clauses: []clause{
		{"F1", "a call arrives at the other function as it was sent", callArrives},
		{"F2", "16 hops, and then 508", callHops},
		{"F3", "errors: not bound, no such function, no answer", callErrors},
	},
}

func callArrives(c *C) {
	c.director.on("callee", "", func(r *request) answer {
		if r.Method == "PATCH" {
			return answer{Status: 418, Header: []string{"X-Own: kept"}, Body: "answer"}
		}
		return answer{}
	})
	r := c.service("PATCH", "/v1/functions/callee/a%2Fb/c?x=1&y", "body", "Content-Type: text/own", "X-Own: sent", "Serviceful-Trigger: mine").want(418, "answer")
	if r.header.Get("X-Own") != "kept" {
		c.Errorf("the caller got %v", r.header)
	}
	for _, got := range c.awaitOf("callee", "", 1) {
		h := got.Header
		if got.Method != "PATCH" {
			continue
		}
		if got.Target != "/a%2Fb/c?x=1&y" || string(got.Body) != "body" || h.Get("Content-Type") != "text/own" || h.Get("X-Own") != "sent" ||
			h.Get("Serviceful-Caller") != c.function || h.Get("Serviceful-Hops") != "1" || h.Get("Authorization") != "" || h.Get("Serviceful-Trigger") != "" || h.Get("Traceparent") == "" {
			c.Errorf("it got %+v", got)
		}
	}
}

func callHops(c *C) {
	c.service("GET", "/v1/functions/callee/", "", "Serviceful-Hops: 15").want(http.StatusOK)
	c.service("GET", "/v1/functions/callee/", "", "Serviceful-Hops: 16").problem(508, "too-many-hops")
	c.service("GET", "/v1/functions/callee/", "", "Serviceful-Hops: many").problem(400, "malformed-hops")
}

func callErrors(c *C) {
	c.service("GET", "/v1/functions/other/", "").problem(403, "not-bound")
	c.apply(c.T, false, function{"wishful", "bindings: [{function: {name: nobody}}]\ntriggers: [{name: do, http: {methods: [POST], path: /wishful/do}}]"})
	c.Cleanup(func() { c.remove(c.T, "wishful") })
	c.eventually("its other trigger works", func() bool { return c.send("POST", "/wishful/do", `{"do": "environment"}`).status == 200 })
	c.serviceOf("wishful", order{Method: "GET", Path: "/v1/functions/nobody/"}).problem(404, "no-such-function")
	c.eventually("it is said so", func() bool { return c.problem(c.T, "wishful") != "" })
	held := make(chan struct{})
	c.Cleanup(func() { close(held) })
	c.director.on("callee", "", func(r *request) answer {
		if r.Target == "/slow" {
			<-held
		}
		return answer{}
	})
	c.service("GET", "/v1/functions/callee/slow", "").problem(504, "function-timeout")
}
