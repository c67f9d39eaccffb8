package contract

import (
	"strings"
)

var doors = &chapter{
	name: "doors",
	spec: `
scale: {concurrency: 0, max: 1}
emits: [doors.out]
bindings: [{keyValue: {bucket: doors}}]
triggers:
- {name: t1, http: {path: /doors/t1}}`,
	others: []function{{"outsider", `
scale: {concurrency: 0, max: 1}
emits: [doors.other]
triggers:
- {name: do, http: {methods: [POST], path: /outsider/do}}`}},
	clauses: []clause{
		{"T1", "no call of a service without the token: 401", tokenNeeded},
		{"T2", "the token says which function calls: 403", tokenIsAFunction},
		{"T3", "every error is a problem (RFC 9457)", problems},
		{"T4", "what is encoded is refused: 415", encodingRefused},
	},
}

func tokenNeeded(c *C) {
	for _, o := range []order{
		{Method: "GET", Path: "/v1/buckets/doors/keys/a", Anonymous: true},
		{Method: "POST", Sink: true, Body: []byte(structured("doors.out", "1")), Headers: pairs([]string{contentJSON}), Anonymous: true},
		{Method: "GET", Path: "/v1/buckets/doors/keys/a", Anonymous: true, Headers: pairs([]string{"Authorization: Bearer nonsense"})},
		{Method: "GET", Path: "/v1/nothing", Anonymous: true},
	} {
		r := c.serviceOf(c.function, o)
		r.problem(401, "unauthenticated")
		if r.header.Get("WWW-Authenticate") != "Bearer" {
			c.Errorf("WWW-Authenticate is %q", r.header.Get("WWW-Authenticate"))
		}
	}
}

func tokenIsAFunction(c *C) {
	c.service("PUT", "/v1/buckets/doors/keys/a", "1").want(204)
	for _, o := range []order{
		{Method: "GET", Path: "/v1/buckets/doors/keys/a"},
		{Method: "GET", Path: "/v1/stores/doors/objects/a"},
		{Method: "POST", Path: "/v1/queues/doors/messages"},
		{Method: "POST", Path: "/v1/mail", Body: []byte(`{"to": ["ada@example.com"], "subject": "Hi", "text": "Hi"}`)},
		{Method: "GET", Path: "/v1/functions/doors/doors/t1"},
	} {
		c.serviceOf("outsider", o).problem(403, "not-bound")
	}
	c.serviceOf("outsider", order{Method: "POST", Sink: true, Body: []byte(structured("doors.out", "1")), Headers: pairs([]string{contentJSON})}).problem(403, "not-in-emits")
}

func encodingRefused(c *C) {
	const gzipped = "Content-Encoding: gzip"
	c.service("PUT", "/v1/buckets/doors/keys/t4", "x", gzipped).problem(415, "content-encoding")
	c.service("GET", "/v1/buckets/doors/keys/t4", "").want(404)
	c.serviceOf(c.function, order{Method: "POST", Sink: true, Body: []byte(structured("doors.out", "t4")), Headers: pairs([]string{contentJSON, gzipped})}).problem(415, "content-encoding")
	c.service("PUT", "/v1/buckets/doors/keys/t4", "x", "Content-Encoding: identity", "Content-Type: application/gzip").want(204)
}

func problems(c *C) {
	c.service("GET", "/v2/anything", "").problem(404, "no-such-service")
	r := c.service("POST", "/v1/buckets/doors/keys/a", "")
	r.problem(405, "method-not-allowed")
	if allow := r.header.Get("Allow"); !strings.Contains(allow, "PUT") {
		c.Errorf("it allows %q", allow)
	}
	c.send("GET", "/doors/nowhere", "").problem(404, "no-such-route")
}
