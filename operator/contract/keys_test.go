package contract

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
)

var keys = &chapter{
	name: "keys",
	spec: `
scale: {concurrency: 0, max: 1}
bindings: [{keyValue: {bucket: own}}, {keyValue: {bucket: list}}, {keyValue: {bucket: shared}}, {keyValue: {bucket: read, access: Read}}]
triggers:
- {name: k1, http: {path: /keys/k1}}`,
	others: []function{{"keeper", `
scale: {concurrency: 0, max: 1}
bindings: [{keyValue: {bucket: shared, access: Read}}, {keyValue: {bucket: read}}]
triggers:
- {name: do, http: {methods: [POST], path: /keeper/do}}`}},
	clauses: []clause{
		{"K1", "PUT, GET and DELETE of a value", keyValues},
		{"K2", "If-Match and If-None-Match: a compare-and-set, or 412", keyConditions},
		{"K3", "Serviceful-TTL: it expires", keyExpires},
		{"K4", "the list of keys, by prefix and by page", keyList},
		{"K5", "the namespace's functions share a bucket, as bound", keyAccess},
		{"K6", "which keys and values there can be", keyLimits},
	},
}

const own = "/v1/buckets/own/keys/"

func keyValues(c *C) {
	c.service("GET", own+"k1", "").problem(404, "no-such-key")
	first := c.service("PUT", own+"k1", "one\x00\xff").want(http.StatusNoContent).header.Get("ETag")
	r := c.service("GET", own+"k1", "").want(200)
	if r.body != "one\x00\xff" || r.header.Get("ETag") != first || first == "" {
		c.Errorf("it is %q with the ETag %s, after %s", r.body, r.header.Get("ETag"), first)
	}
	c.service("GET", own+"k1", "", "If-None-Match: "+first).want(http.StatusNotModified)
	c.service("GET", own+"k1", "", "If-None-Match: *").want(http.StatusNotModified)
	c.service("GET", own+"k1", "", "If-Match: *").want(200)
	c.service("GET", own+"k1", "", `If-Match: "0"`).problem(412, "revision-mismatch")
	if second := c.service("PUT", own+"k1", "two").want(204).header.Get("ETag"); second == first {
		c.Errorf("two values have the ETag %s", second)
	}
	c.service("DELETE", own+"k1", "").want(204)
	c.service("DELETE", own+"k1", "").want(204)
	c.service("GET", own+"k1", "").problem(404, "no-such-key")
}

func keyConditions(c *C) {
	first := c.service("PUT", own+"k2", "one", "If-None-Match: *").want(http.StatusCreated).header.Get("ETag")
	c.service("PUT", own+"k2", "two", "If-None-Match: *").problem(412, "revision-mismatch")
	second := c.service("PUT", own+"k2", "two", "If-Match: "+first).want(204).header.Get("ETag")
	c.service("PUT", own+"k2", "three", "If-Match: "+first).problem(412, "revision-mismatch")
	c.service("DELETE", own+"k2", "", "If-Match: "+first).problem(412, "revision-mismatch")
	c.service("GET", own+"k2", "").want(200, "two")
	c.service("DELETE", own+"k2", "", "If-Match: "+second).want(204)
	c.service("PUT", own+"k2", "four", "If-None-Match: *").want(201)
	c.service("PUT", own+"k2", "five", "If-None-Match: "+second).problem(400, "malformed-condition")
	for _, match := range []string{"W/x", "*", "", first + ", " + second} {
		c.service("PUT", own+"k2", "five", "If-Match: "+match).problem(400, "malformed-condition")
	}
	c.service("DELETE", own+"k2", "", "If-None-Match: *").problem(400, "malformed-condition")
	c.service("GET", own+"k2", "").want(200, "four")
}

func keyExpires(c *C) {
	c.service("PUT", own+"k3", "brief", "Serviceful-TTL: 1s").want(204)
	c.service("PUT", own+"k3-kept", "long", "Serviceful-TTL: 24h").want(204)
	c.eventually("it has expired", func() bool { return c.service("GET", own+"k3", "").status == 404 })
	c.service("PUT", own+"k3", "new", "If-None-Match: *").want(201)
	c.service("GET", own+"k3-kept", "").want(200, "long")
	for _, ttl := range []string{"0s", "500ms", "soon", "87601h"} {
		c.service("PUT", own+"k3", "", "Serviceful-TTL: "+ttl).problem(400, "malformed-ttl")
	}
}

// page is a page of a list of keys.
type page struct {
	Keys []string
	Next string
}

func keyList(c *C) {
	for i := range 5 {
		c.service("PUT", fmt.Sprintf("/v1/buckets/list/keys/a.%d", i), "x").want(204)
	}
	c.service("PUT", "/v1/buckets/list/keys/ab", "x").want(204)
	c.service("DELETE", "/v1/buckets/list/keys/a.4", "").want(204)
	for prefix, want := range map[string][]string{
		"": {"a.0", "a.1", "a.2", "a.3", "ab"}, "a.": {"a.0", "a.1", "a.2", "a.3"}, "a": {"a.0", "a.1", "a.2", "a.3", "ab"}, "b": nil,
	} {
		var got []string
		for p := (page{Next: "0"}); p.Next != ""; {
			next := page{}
			c.service("GET", "/v1/buckets/list/keys?limit=2&prefix="+prefix+"&after="+p.Next, "").want(200).decode(&next)
			if len(next.Keys) > 2 {
				c.Errorf("a page has %q", next.Keys)
			}
			got, p = append(got, next.Keys...), next
		}
		if slices.Sort(got); !slices.Equal(got, want) {
			c.Errorf("with the prefix %q there are %q, want %q", prefix, got, want)
		}
	}
	c.service("GET", "/v1/buckets/list/keys?limit=10001", "").problem(400, "malformed-query")
}

func keyAccess(c *C) {
	c.service("PUT", "/v1/buckets/shared/keys/k5", "mine").want(204)
	c.serviceOf("keeper", order{Method: "GET", Path: "/v1/buckets/shared/keys/k5"}).want(200, "mine")
	c.serviceOf("keeper", order{Method: "PUT", Path: "/v1/buckets/shared/keys/k5"}).problem(403, "read-only")
	c.serviceOf("keeper", order{Method: "DELETE", Path: "/v1/buckets/shared/keys/k5"}).problem(403, "read-only")
	c.service("GET", "/v1/buckets/read/keys/none", "").problem(404, "no-such-key")
	c.service("GET", "/v1/buckets/elsewhere/keys/k5", "").problem(403, "not-bound")
	c.service("GET", "/v1/buckets/elsewhere/keys", "").problem(403, "not-bound")
	c.apply(c.T, true, function{"passing", "bindings: [{keyValue: {bucket: shared}}]\ntriggers: [{name: do, http: {methods: [POST], path: /passing/do}}]"})
	c.serviceOf("passing", order{Method: "PUT", Path: "/v1/buckets/shared/keys/k5-left", Body: []byte("left")}).want(204)
	c.remove(c.T, "passing")
	c.service("GET", "/v1/buckets/shared/keys/k5-left", "").want(200, "left")
}

func keyLimits(c *C) {
	for _, key := range []string{"a-b/c_d=e.F9", strings.Repeat("k", 512)} {
		c.service("PUT", own+key, "x").want(204)
		c.service("GET", own+key, "").want(200, "x")
	}
	for _, key := range []string{"ada@example.com", ".a", "a.", "a..b", "a%20b", "%C3%A9", strings.Repeat("k", 513)} {
		c.service("PUT", own+key, "x").problem(400, "malformed-key")
	}
	c.service("PUT", own+"k6", strings.Repeat("x", 1<<20)).want(204)
	c.service("PUT", own+"k6", strings.Repeat("x", 1<<20+1)).problem(413, "body-too-large")
	if r := c.service("GET", own+"k6", ""); len(r.body) != 1<<20 {
		c.Errorf("%d bytes came back", len(r.body))
	}
}
