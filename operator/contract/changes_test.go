package contract

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

var changes = &chapter{
	name: "changes",
	spec: `
scale: {concurrency: 0, max: 1}
bindings: [{keyValue: {bucket: changes}}, {objects: {store: changes}}]
triggers:
- {name: v1, path: /changes/v1, keyValue: {bucket: changes, keys: "v1.>"}}
- {name: v2, keyValue: {bucket: changes, keys: "v2.*.end"}}
- {name: v3, keyValue: {bucket: changes, keys: "v3.>"}, ` + retries + `}
- {name: v4, object: {store: changes, keys: "v4/*"}}
- {name: v5, object: {store: changes, keys: "v5/**.csv"}}`,
	clauses: []clause{
		{"V1", "puts, deletes and expiries of keys are events", keyChanges},
		{"V2", "which keys: patterns of tokens", keyPatterns},
		{"V3", "they are retried and die as every event does", changeDies},
		{"V4", "puts and deletes of objects are events", objectChanges},
		{"V5", "which objects: patterns of names", objectPatterns},
	},
}

// change is the data of a change.
type change struct {
	Bucket, Store, Key, Name   string
	Revision, PreviousRevision uint64
	Value                      json.RawMessage
	ValueBase64                []byte
	Size                       int
	ContentType, Digest        string
}

// changeOf reads the change that a call was made with.
func (c *C) changeOf(r *request, what string) (v change) {
	c.Helper()
	h := r.Header
	if err := json.Unmarshal(r.Body, &v); err != nil || h.Get("Ce-Type") != "dev.serviceful."+what+".v1" || h.Get("Content-Type") != "application/json" ||
		h.Get("Ce-Id") != fmt.Sprint(v.Revision) || h.Get("Ce-Time") == "" || !strings.Contains(h.Get("Ce-Dataschema"), h.Get("Ce-Type")) {
		c.Errorf("the change is %v %q, want a %s: %v", h, r.Body, what, err)
	}
	return v
}

const changed = "/v1/buckets/changes/keys/"

func keyChanges(c *C) {
	revision := func(r response) string { return strings.Trim(r.want(204).header.Get("ETag"), `"`) }
	first := revision(c.service("PUT", changed+"v1.a", `{"n":1}`))
	put := c.changeOf(c.await("v1", 1)[0], "keyvalue.put")
	if put.Bucket != "changes" || put.Key != "v1.a" || fmt.Sprint(put.Revision) != first || string(put.Value) != `{"n":1}` || put.PreviousRevision != 0 {
		c.Errorf("the first put is %+v", put)
	}
	r := c.got("v1")[0]
	if r.Target != "/changes/v1" || r.Header.Get("Ce-Source") != "/buckets/changes" || r.Header.Get("Ce-Subject") != "v1.a" {
		c.Errorf("it came as %+v", r)
	}
	second := revision(c.service("PUT", changed+"v1.a", "\xff"))
	put = c.changeOf(c.await("v1", 2)[1], "keyvalue.put")
	if fmt.Sprint(put.Revision) != second || fmt.Sprint(put.PreviousRevision) != first || string(put.ValueBase64) != "\xff" {
		c.Errorf("the second put is %+v", put)
	}
	c.service("DELETE", changed+"v1.a", "").want(204)
	if deleted := c.changeOf(c.await("v1", 3)[2], "keyvalue.delete"); deleted.Key != "v1.a" || fmt.Sprint(deleted.PreviousRevision) != second {
		c.Errorf("the deletion is %+v", deleted)
	}
	c.service("PUT", changed+"v1.b", `"brief"`, "Serviceful-TTL: 1s").want(204)
	c.await("v1", 4)
	if expired := c.changeOf(c.await("v1", 5)[4], "keyvalue.expire"); expired.Key != "v1.b" {
		c.Errorf("the expiry is %+v", expired)
	}
}

func keyPatterns(c *C) {
	for _, key := range []string{"v2.a.end", "v2.a.b.end", "v2.end", "v2.b.end", "v2.c.end2", "v2.last.end"} {
		c.service("PUT", changed+key, "1").want(204)
	}
	c.await("v2", 3)
	if got := subjects(c.got("v2")); !slices.Equal(got, []string{"v2.a.end", "v2.b.end", "v2.last.end"}) {
		c.Errorf("it got %q", got)
	}
}

// subjects are those of the events that calls were made with.
func subjects(calls []*request) (out []string) {
	for _, r := range calls {
		out = append(out, r.Header.Get("Ce-Subject"))
	}
	slices.Sort(out)
	return out
}

func changeDies(c *C) {
	c.on("v3", func(r *request) answer {
		if r.Header.Get("Ce-Subject") == "v3.bad" {
			return status(503)
		}
		return answer{}
	})
	c.service("PUT", changed+"v3.bad", "1").want(204)
	c.await("v3", 1)
	c.service("PUT", changed+"v3.good", "1").want(204)
	c.eventually("the other change is told", func() bool { return slices.Contains(subjects(c.got("v3")), "v3.good") })
	if l := c.awaitDead("v3"); l.Kind != "event" || l.Reason != "RetriesUsedUp" || l.Attempts != 3 || l.EventType != "dev.serviceful.keyvalue.put.v1" {
		c.Errorf("the dead letter is %+v", l)
	}
	c.on("v3", func(*request) answer { return answer{} })
	c.replay(c.dead("v3")[0].ID)
	if r := c.await("v3", 5)[4]; r.attempt() != "1" || c.changeOf(r, "keyvalue.put").Key != "v3.bad" {
		c.Errorf("it came back as %+v", r)
	}
}

func objectChanges(c *C) {
	const object = "/v1/stores/changes/objects/v4/"
	first := c.service("PUT", object+"caf%C3%A9.csv", "a,b", "Content-Type: text/csv").want(204).header.Get("ETag")
	r := c.await("v4", 1)[0]
	put := c.changeOf(r, "object.put")
	if put.Store != "changes" || put.Name != "v4/café.csv" || `"`+fmt.Sprint(put.Revision)+`"` != first || put.Size != 3 || put.ContentType != "text/csv" || put.Digest == "" {
		c.Errorf("the put is %+v", put)
	}
	if r.Header.Get("Ce-Source") != "/stores/changes" || r.Header.Get("Ce-Subject") != "v4/caf%C3%A9.csv" {
		c.Errorf("it came as %+v", r)
	}
	c.service("DELETE", object+"caf%C3%A9.csv", "").want(204)
	if deleted := c.changeOf(c.await("v4", 2)[1], "object.delete"); deleted.Name != "v4/café.csv" || deleted.PreviousRevision != put.Revision {
		c.Errorf("the deletion is %+v", deleted)
	}
}

func objectPatterns(c *C) {
	for _, name := range []string{"v5/a.csv", "v5/b/c.csv", "v5/a.txt", "v6/a.csv", "v5/last.csv"} {
		c.service("PUT", "/v1/stores/changes/objects/"+name, "1").want(204)
	}
	c.await("v5", 3)
	if got := subjects(c.got("v5")); !slices.Equal(got, []string{"v5/a.csv", "v5/b/c.csv", "v5/last.csv"}) {
		c.Errorf("it got %q", got)
	}
}
