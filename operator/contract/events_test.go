package contract

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

var events = &chapter{
	name: "events",
	spec: `
scale: {concurrency: 0, max: 1}
emits: ["events.*"]
triggers:
- {name: e1, path: /events/e1, event: {types: [events.e1]}}
- {name: e2, event: {types: [events.e2.*]}}
- {name: e3, event: {types: [events.e3, "events.e3.*", "events.e3.b.*", events.e3.a]}}
- {name: e3-too, event: {types: ["events.e3.b.*"]}}
- name: e4
  event:
    types: [events.e4]
    filters: [{all: [{prefix: {type: events.}}, {exact: {tier: gold}}]}, {any: [{prefix: {subject: a/}}, {suffix: {subject: /z}}]}, {not: {exact: {subject: a/z}}}, {cesql: "amount = '7'"}]
- {name: e5, event: {types: [events.e5, events.e5.other]}}
- {name: e6, event: {types: [events.e6, events.e6.b]}}
- {name: e7, event: {types: [events.e7]}}
- {name: e8, event: {types: [events.e8]}}
- {name: e9, event: {types: [events.e9]}}
- {name: e10, event: {types: [events.e10]}, delivery: {concurrency: 2}}
`,
	others: []function{{"hearer", `
scale: {concurrency: 0, max: 1}
emits: [events.hearer]
triggers:
- {name: e3, event: {types: [events.e3]}}
- {name: e6, event: {types: ["*"]}}
- {name: do, http: {methods: [POST], path: /hearer/do}}`}},
	clauses: []clause{
		{"E1", "an event is a CloudEvents POST in binary mode", eventUnchanged},
		{"E2", "published in binary, structured or batch mode", eventModes},
		{"E3", "each trigger that hears its type gets it, once", eventToEach},
		{"E4", "filters, as Knative's", eventFilters},
		{"E5", "the same source and id again is stored once", eventOnce},
		{"E6", "emits: 403, and nothing of a batch is stored", eventEmits},
		{"E7", "what is malformed: 400", eventMalformed},
		{"E8", "1 MiB, and 1000 events in a batch", eventLimits},
		{"E9", "startFrom: All, a time, or New", eventStarts},
		{"E10", "concurrency bounds the calls at once", eventConcurrency},
		{"E11", "paused: waits, and its age counts from the resumption", eventPaused},
	},
}

func eventUnchanged(c *C) {
	c.service("POST", "/v1/events", "data\x00\xff", "Ce-Specversion: 1.0", "Ce-Type: events.e1", "Ce-Source: https://shop.example/till?1", "Ce-Id: a b",
		"Ce-Subject: caf%C3%A9", "Ce-Time: 2026-01-02T03:04:05.6Z", "Ce-Own: extension", "Content-Type: text/own; charset=utf-8").want(http.StatusAccepted)
	r := c.await("e1", 1)[0]
	h := r.Header
	for _, want := range []string{"Ce-Specversion: 1.0", "Ce-Type: events.e1", "Ce-Source: https://shop.example/till?1", "Ce-Id: a b", "Ce-Subject: caf%C3%A9",
		"Ce-Time: 2026-01-02T03:04:05.6Z", "Ce-Own: extension", "Content-Type: text/own; charset=utf-8", "Serviceful-Trigger: e1", "Serviceful-Attempt: 1", "Serviceful-Hops: 0"} {
		if name, value := cut(want); h.Get(name) != value {
			c.Errorf("it got %s: %q, want %q", name, h.Get(name), value)
		}
	}
	if r.Method != "POST" || r.Target != "/events/e1" || string(r.Body) != "data\x00\xff" {
		c.Errorf("it got %s %s with %q", r.Method, r.Target, r.Body)
	}
	if h.Get("Authorization") != "" {
		c.Error("it got the publisher's token")
	}
}

// structured is an event in the JSON format.
func structured(eventType, id string) string {
	return fmt.Sprintf(`{"specversion": "1.0", "type": %q, "source": %q, "id": %q, "number": 7, "data": {"id": %q}}`, eventType, "/"+eventType, id, id)
}

const contentJSON, contentBatch = "Content-Type: application/cloudevents+json", "Content-Type: application/cloudevents-batch+json"

func eventModes(c *C) {
	twice := strings.Replace(structured("events.e2.one", "structured"), `"number": 7`, `"number": 6, "own": "a\ud800", "number": 7`, 1)
	c.service("POST", "/v1/events", twice, contentJSON).want(http.StatusAccepted)
	c.service("POST", "/v1/events", "["+structured("events.e2.two", "batch-1")+","+structured("events.e2.three", "batch-2")+"]", contentBatch).want(http.StatusAccepted)
	c.serviceOf(c.function, order{Method: "POST", Sink: true, Body: []byte(structured("events.e2.four", "sink")), Headers: pairs([]string{contentJSON})}).want(http.StatusAccepted)
	c.only("e2", "batch-1", "batch-2", "sink", "structured")
	for _, r := range c.got("e2") {
		id := r.Header.Get("Ce-Id")
		if string(r.Body) != `{"id": "`+id+`"}` || r.Header.Get("Content-Type") != "application/json" || r.Header.Get("Ce-Number") != "7" || r.Target != "/" {
			c.Errorf("%s came as %+v", id, r)
		}
		if own := r.Header.Get("Ce-Own"); id == "structured" && own != "a%EF%BF%BD" {
			c.Errorf("what is no Unicode came as %q", own)
		}
	}
}

func eventToEach(c *C) {
	c.publish("events.e3", "one")
	c.publish("events.e3.a", "two")
	c.publish("events.e3.b.c", "three")
	c.publish("events.e3x", "nobody's")
	c.publish("events.e3", "four")
	c.only("e3", "four", "one", "three", "two")
	c.only("e3-too", "three")
	if got := ids(c.awaitOf("hearer", "e3", 2)); !slices.Equal(got, []string{"four", "one"}) {
		c.Errorf("another function got %q", got)
	}
}

func eventFilters(c *C) {
	c.publish("events.e4", "no tier", "Ce-Subject: a/b", "Ce-Amount: 7")
	c.publish("events.e4", "neither", "Ce-Tier: gold", "Ce-Subject: b/b", "Ce-Amount: 7")
	c.publish("events.e4", "not", "Ce-Tier: gold", "Ce-Subject: a/z", "Ce-Amount: 7")
	c.publish("events.e4", "amount", "Ce-Tier: gold", "Ce-Subject: a/b", "Ce-Amount: 8")
	c.publish("events.e4", "prefix", "Ce-Tier: gold", "Ce-Subject: a/b", "Ce-Amount: 7")
	c.publish("events.e4", "suffix", "Ce-Tier: gold", "Ce-Subject: b/z", "Ce-Amount: 7")
	c.only("e4", "prefix", "suffix")
}

func eventOnce(c *C) {
	for range 3 {
		c.publish("events.e5", "one")
	}
	c.publish("events.e5", "one", "Ce-Own: other") // source and id are what tells events apart
	c.service("POST", "/v1/events", "other", "Ce-Specversion: 1.0", "Ce-Type: events.e5.other", "Ce-Source: /events.e5", "Ce-Id: one", "Content-Type: text/plain").want(http.StatusAccepted)
	c.publish("events.e5", "%6Fne") // as another client may spell it
	c.publish("events.e5", "two")
	c.await("e5", 2)
	c.only("e5", "one", "two")
}

func eventEmits(c *C) {
	batch := "[" + structured("events.e6", "one") + "," + structured("other.type", "two") + "]"
	c.service("POST", "/v1/events", batch, contentBatch).problem(403, "not-in-emits")
	c.serviceOf("hearer", order{Method: "POST", Path: "/v1/events", Body: []byte(structured("events.e6", "three")), Headers: pairs([]string{contentJSON})}).problem(403, "not-in-emits")
	c.publish("events.e6", "four")
	c.service("POST", "/v1/events", "["+structured("events.e6", "four")+","+structured("events.e6", "five")+"]", contentBatch).want(http.StatusAccepted)
	c.only("e6", "five", "four")
}

func eventMalformed(c *C) {
	for name, sent := range map[string][]string{
		"no id":             {"", "Ce-Specversion: 1.0", "Ce-Type: events.e7", "Ce-Source: /a"},
		"version":           {"", "Ce-Specversion: 0.3", "Ce-Type: events.e7", "Ce-Source: /a", "Ce-Id: 1"},
		"type":              {"", "Ce-Specversion: 1.0", "Ce-Type: events e7", "Ce-Source: /a", "Ce-Id: 1"},
		"source":            {"", "Ce-Specversion: 1.0", "Ce-Type: events.e7", "Ce-Source: /a b", "Ce-Id: 1"},
		"source in JSON":    {strings.Replace(structured("events.e7", "1"), "/events.e7", "/a b", 1), contentJSON},
		"leap second":       {"", "Ce-Specversion: 1.0", "Ce-Type: events.e7", "Ce-Source: /a", "Ce-Id: 1", "Ce-Time: 2016-12-31T23:59:60Z"},
		"no event":          {"{}", "Content-Type: application/json"},
		"no JSON":           {"{", contentJSON},
		"an empty batch":    {"[]", contentBatch},
		"twice in a batch":  {"[" + structured("events.e7", "1") + "," + structured("events.e7", "1") + "]", contentBatch},
		"bad one of two":    {"[" + structured("events.e7", "1") + `,{"id": "2"}]`, contentBatch},
		"control character": {"", "Ce-Specversion: 1.0", "Ce-Type: events.e7", "Ce-Source: /a", "Ce-Id: 1", "Ce-Subject: a%0Ab"},
		"a long type":       {"", "Ce-Specversion: 1.0", "Ce-Type: events." + strings.Repeat("x", 200), "Ce-Source: /a", "Ce-Id: 1"},
		"attribute's name":  {strings.Replace(structured("events.e7", "1"), "number", "Num_ber", 1), contentJSON},
		"attribute's value": {strings.Replace(structured("events.e7", "1"), ": 7", ": 7.5", 1), contentJSON},
	} {
		r := c.service("POST", "/v1/events", sent[0], sent[1:]...)
		r.what = name
		r.problem(400, "malformed-event")
	}
	c.publish("events.e7", "good", "Ce-Time: 2026-01-02t03:04:05z")
	c.only("e7", "good")
	if at := c.got("e7")[0].Header.Get("Ce-Time"); at != "2026-01-02T03:04:05Z" {
		c.Errorf("its time is %q", at)
	}
}

func eventLimits(c *C) {
	head := pairs([]string{"Ce-Specversion: 1.0", "Ce-Type: events.e8", "Ce-Source: /a", "Ce-Id: large", "Content-Type: text/plain"})
	c.serviceOf(c.function, order{Method: "POST", Path: "/v1/events", Body: []byte(strings.Repeat("x", 1<<20)), Headers: head}).want(http.StatusAccepted)
	c.serviceOf(c.function, order{Method: "POST", Path: "/v1/events", Body: []byte(strings.Repeat("x", 1<<20+1)), Headers: head}).problem(413, "body-too-large")
	batch := func(n int) string {
		all := make([]string, n)
		for i := range all {
			all[i] = structured("events.unheard", fmt.Sprint("batch-", i))
		}
		return "[" + strings.Join(all, ",") + "]"
	}
	c.service("POST", "/v1/events", batch(1000), contentBatch).want(http.StatusAccepted)
	c.service("POST", "/v1/events", batch(1001), contentBatch).problem(400, "malformed-event")
	if r := c.await("e8", 1)[0]; len(r.Body) != 1<<20 {
		c.Errorf("%d bytes came", len(r.Body))
	}
}

func eventStarts(c *C) {
	c.publish("events.e9", "past")
	c.only("e9", "past")
	between := time.Now().UTC().Format(time.RFC3339Nano)
	c.publish("events.e9", "second")
	c.await("e9", 2)
	c.with("late", `
triggers:
- {name: all, event: {types: [events.e9]}, delivery: {startFrom: All}}
- {name: time, event: {types: [events.e9]}, delivery: {startFrom: "`+between+`"}}
- {name: new, event: {types: [events.e9]}}`)
	c.publish("events.e9", "third")
	for trigger, want := range map[string][]string{"all": {"past", "second", "third"}, "time": {"second", "third"}, "new": {"third"}} {
		if got := ids(c.awaitOf("late", trigger, len(want))); !slices.Equal(got, want) {
			c.Errorf("the trigger that starts from %s got %q, want %q", trigger, got, want)
		}
	}
}

func eventConcurrency(c *C) {
	turn := make(chan struct{})
	c.on("e10", func(*request) answer {
		<-turn
		return answer{}
	})
	for i := range 6 {
		c.publish("events.e10", fmt.Sprint(i))
	}
	for done := 0; done < 6; done++ {
		c.await("e10", min(done+2, 6))
		if n := len(c.got("e10")); n > done+2 {
			c.Errorf("%d calls have begun when %d had ended", n, done)
		}
		turn <- struct{}{}
	}
}

func eventPaused(c *C) {
	spec := func(paused bool) string {
		return fmt.Sprintf(`
emits: [events.e11]
triggers:
- {name: e11, paused: %v, event: {types: [events.e11]}, delivery: {maxAge: 10s}}`, paused)
	}
	c.with("paused", spec(true))
	c.publish("events.e11", "waits")
	c.publish("events.e11", "too")
	stored := time.Now()
	c.eventually("it would be too old", func() bool { return time.Since(stored) > 11*time.Second })
	if n := len(c.director.calls("paused", "e11")); n > 0 {
		c.Errorf("it was called %d times while it was paused", n)
	}
	c.apply(c.T, true, function{"paused", spec(false)})
	if got := ids(c.awaitOf("paused", "e11", 2)); !slices.Equal(got, []string{"too", "waits"}) {
		c.Errorf("it got %q", got)
	}
}
