package contract

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"slices"
	"strings"
)

var objects = &chapter{
	name: "objects",
	spec: `
scale: {concurrency: 0, max: 1}
bindings: [{objects: {store: own}}, {objects: {store: list}}, {objects: {store: read, access: Read}}]
triggers:
- {name: o1, http: {path: /objects/o1}}`,
	clauses: []clause{
		{"O1", "PUT, GET, HEAD and DELETE of an object", objectContent},
		{"O2", "a Range: 206, or 416", objectRange},
		{"O3", "If-Match and If-None-Match, or 412", objectConditions},
		{"O4", "Repr-Digest: what is stored is what was meant", objectDigest},
		{"O5", "the list of objects, by prefix and by page", objectList},
		{"O6", "of any size", objectLarge},
		{"O7", "names, and access as bound", objectAccess},
	},
}

const store = "/v1/stores/own/objects/"

func digest(content string) string {
	sum := sha256.Sum256([]byte(content))
	return "sha-256=:" + base64.StdEncoding.EncodeToString(sum[:]) + ":"
}

func objectContent(c *C) {
	c.service("GET", store+"o1", "").problem(404, "no-such-object")
	put := c.service("PUT", store+"o1", "a,b\x00\xff", "Content-Type: text/csv").want(http.StatusNoContent)
	for _, method := range []string{"GET", "HEAD"} {
		r, want := c.service(method, store+"o1", "").want(200), "a,b\x00\xff"
		if method == "HEAD" {
			want = ""
		}
		if r.body != want || r.header.Get("Content-Type") != "text/csv" || r.header.Get("ETag") != put.header.Get("ETag") ||
			r.header.Get("Content-Length") != "5" || r.header.Get("Repr-Digest") != digest("a,b\x00\xff") || r.header.Get("Last-Modified") == "" {
			c.Errorf("%s answered %q with %v", method, r.body, r.header)
		}
	}
	c.service("GET", store+"o1", "", "If-None-Match: "+put.header.Get("ETag")).want(http.StatusNotModified)
	c.service("DELETE", store+"o1", "").want(204)
	c.service("DELETE", store+"o1", "").want(204)
	c.service("GET", store+"o1", "").problem(404, "no-such-object")
}

func objectRange(c *C) {
	c.service("PUT", store+"o2", "0123456789").want(204)
	for asked, want := range map[string][2]string{"2-4": {"234", "bytes 2-4/10"}, "7-": {"789", "bytes 7-9/10"}, "-2": {"89", "bytes 8-9/10"}, "8-99": {"89", "bytes 8-9/10"}} {
		r := c.service("GET", store+"o2", "", "Range: bytes="+asked).want(http.StatusPartialContent)
		if r.body != want[0] || r.header.Get("Content-Range") != want[1] {
			c.Errorf("%s is %q, %s", asked, r.body, r.header.Get("Content-Range"))
		}
	}
	r := c.service("GET", store+"o2", "", "Range: bytes=10-")
	r.problem(416, "range-not-satisfiable")
	if got := r.header.Get("Content-Range"); got != "bytes */10" {
		c.Errorf("Content-Range is %q", got)
	}
	c.service("GET", store+"o2", "", "Range: bytes=0-1,3-4").want(200, "0123456789")
	c.service("GET", store+"o2", "", "Range: bytes=0-1", `If-Range: "1"`).want(200, "0123456789")
}

func objectConditions(c *C) {
	first := c.service("PUT", store+"o3", "one", "If-None-Match: *").want(http.StatusCreated).header.Get("ETag")
	c.service("PUT", store+"o3", "two", "If-None-Match: *").problem(412, "revision-mismatch")
	second := c.service("PUT", store+"o3", "two", "If-Match: "+first).want(204).header.Get("ETag")
	c.service("PUT", store+"o3", "three", "If-Match: "+first).problem(412, "revision-mismatch")
	c.service("DELETE", store+"o3", "", "If-Match: "+first).problem(412, "revision-mismatch")
	c.service("GET", store+"o3", "").want(200, "two")
	c.service("DELETE", store+"o3", "", "If-Match: "+second).want(204)
}

func objectDigest(c *C) {
	c.service("PUT", store+"o4", "right", "Repr-Digest: "+digest("right")).want(204)
	c.service("PUT", store+"o4", "wrong", "Repr-Digest: "+digest("right")).problem(400, "digest-mismatch")
	c.service("PUT", store+"o4", "wrong", "Repr-Digest: sha-256=:x:").problem(400, "malformed-digest")
	c.service("GET", store+"o4", "").want(200, "right")
}

func objectList(c *C) {
	for _, name := range []string{"in/a.csv", "in/b.csv", "in/c.csv", "out/a.csv"} {
		c.service("PUT", "/v1/stores/list/objects/"+name, name, "Content-Type: text/csv").want(204)
	}
	type objects struct {
		Objects []struct {
			Name, ETag, ContentType, Modified string
			Size                              int
		}
		Next string
	}
	var got []string
	for p := (objects{Next: "0"}); p.Next != ""; {
		next := objects{}
		c.service("GET", "/v1/stores/list/objects?prefix=in/&limit=2&after="+p.Next, "").want(200).decode(&next)
		for _, o := range next.Objects {
			if got = append(got, o.Name); o.Size != len(o.Name) || o.ETag == "" || o.ContentType != "text/csv" || o.Modified == "" {
				c.Errorf("it lists %+v", o)
			}
		}
		p = next
	}
	if slices.Sort(got); !slices.Equal(got, []string{"in/a.csv", "in/b.csv", "in/c.csv"}) {
		c.Errorf("there are %q", got)
	}
}

func objectLarge(c *C) {
	const part, times = "0123456789abcdef", 1 << 20 // 16 MiB, more than any other body may have
	c.serviceOf(c.function, order{Method: "PUT", Path: store + "o6", Body: []byte(part), Times: times}).want(204)
	var got struct {
		SHA256 string
		Size   int
	}
	c.do(c.function, order{Do: "service", Method: "GET", Path: store + "o6", Times: 1}, &got)
	sum := sha256.Sum256([]byte(strings.Repeat(part, times)))
	if got.Size != len(part)*times || got.SHA256 != hex.EncodeToString(sum[:]) {
		c.Errorf("%d bytes came back, with the digest %s", got.Size, got.SHA256)
	}
}

func objectAccess(c *C) {
	for _, name := range []string{"a/b/c.csv", "caf%C3%A9%20%3F", strings.Repeat("n", 1024)} {
		c.service("PUT", store+name, name).want(204)
		c.service("GET", store+name, "").want(200, name)
	}
	for _, name := range []string{"%FF", strings.Repeat("n", 1025)} {
		c.service("PUT", store+name, "x").problem(400, "malformed-name")
	}
	c.service("PUT", "/v1/stores/read/objects/a", "x").problem(403, "read-only")
	c.service("GET", "/v1/stores/read/objects/a", "").problem(404, "no-such-object")
	c.service("GET", "/v1/stores/other/objects/a", "").problem(403, "not-bound")
}
