package services

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/serviceful/serviceful/operator/internal/envelope"
	"github.com/serviceful/serviceful/operator/internal/names"
)

// eventJSON is an event in the JSON format, with text as data.
func eventJSON(id, eventType string, data ...string) string {
	return fmt.Sprintf(`{"specversion": "1.0", "id": %q, "source": "/test", "type": %q, "datacontenttype": "text/plain", "data": %q}`,
		id, eventType, strings.Join(data, ""))
}

const (
	structured = "Content-Type: application/cloudevents+json; charset=utf-8"
	batched    = "Content-Type: application/cloudevents-batch+json"
)

func batch(events ...string) string { return "[" + strings.Join(events, ",") + "]" }

// events is the log of a namespace: id, type and data of each.
func (f *fixture) events(namespace string) []string {
	f.Helper()
	out := []string{}
	for _, m := range f.stored(names.Events(namespace), "ev."+namespace+".>") {
		out = append(out, m.Header.Get("ce-id")+" "+m.Header.Get("ce-type")+" "+string(m.Body))
	}
	return out
}

func TestPublish(t *testing.T) {
	thousand := make([]string, 1000)
	for i := range thousand {
		thousand[i] = eventJSON(fmt.Sprint(i), "audit.a")
	}
	tests := map[string]struct {
		headers, body string
		want          []string
	}{
		"binary": {
			"Ce-Specversion: 1.0\nCe-Id: 7\nCe-Source: /test\nCe-Type: audit.a\nContent-Type: image/png", "\x00\xff",
			[]string{"7 audit.a \x00\xff"},
		},
		"binary without data":  {"Ce-Specversion: 1.0\nCe-Id: 7\nCe-Source: /test\nCe-Type: audit.a", "", []string{"7 audit.a "}},
		"structured":           {structured, eventJSON("7", "shop.order.placed.v1", "hi"), []string{"7 shop.order.placed.v1 hi"}},
		"batch":                {batched, batch(eventJSON("1", "audit.a", "x"), eventJSON("2", "audit.b.c")), []string{"1 audit.a x", "2 audit.b.c "}},
		"batch of one":         {batched, batch(eventJSON("1", "audit.a")), []string{"1 audit.a "}},
		"as many as there may": {batched, batch(thousand...), nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			r := f.send(writer, "POST /v1/events", test.headers, test.body)
			f.wantStatus(r, 202)
			got := f.events("shop")
			if test.want == nil && len(got) != 1000 || test.want != nil && !slices.Equal(got, test.want) {
				t.Errorf("stored %.500q", got)
			}
			if other := f.events("market"); len(other) != 0 {
				t.Errorf("another namespace has %q", other)
			}
		})
	}
}

// TestPublishedForm checks the form in which an event is kept: its attributes,
// and nothing of the request around it.
func TestPublishedForm(t *testing.T) {
	f := newFixture(t)
	f.wantStatus(f.send(writer, "POST /v1/events", "Ce-Specversion: 1.0\nCe-Id: a%20b\nCe-Source: /test\nCe-Type: audit.a\nCe-Ext: 1\nContent-Type: text/csv\n"+
		"Nats-Msg-Id: forged\nNats-Rollup: all\nNats-TTL: 1s\nNats-Expected-Last-Sequence: 99\nServiceful-Attempt: 9\nX-A: b", "c,d"), 202)
	m := f.stored(names.Events("shop"), "ev.shop.audit.a")[0]
	want := map[string]string{
		"ce-specversion": "1.0", "ce-id": "a%20b", "ce-source": "/test", "ce-type": "audit.a", "ce-ext": "1", "Content-Type": "text/csv",
		envelope.HeaderFormat: envelope.Format,
	}
	for key := range m.Header {
		if value, ok := want[key]; key != "Nats-Msg-Id" && (!ok || m.Header.Get(key) != value) {
			t.Errorf("the message has %s: %q", key, m.Header.Get(key))
		}
		delete(want, key)
	}
	if len(want) > 0 || m.Header.Get("Nats-Msg-Id") == "forged" || string(m.Body) != "c,d" {
		t.Errorf("missing %v; message id %q, body %q", want, m.Header.Get("Nats-Msg-Id"), m.Body)
	}
}

// TestPublishRefused checks that of a request with anything wrong in it nothing
// is published.
func TestPublishRefused(t *testing.T) {
	good := eventJSON("1", "audit.a")
	tooMany := make([]string, 1001)
	for i := range tooMany {
		tooMany[i] = fmt.Sprintf(`{"specversion":"1.0","id":"%d","source":"a","type":"audit.a"}`, i)
	}
	tests := map[string]struct {
		headers, body string
		status        int
		kind          string
		says          []string
	}{
		"no event":             {"Content-Type: application/json", "{}", 400, "malformed-event", nil},
		"nothing":              {"", "", 400, "malformed-event", nil},
		"no id":                {"Ce-Specversion: 1.0\nCe-Source: a\nCe-Type: audit.a", "", 400, "malformed-event", []string{`"id"`}},
		"other version":        {"Ce-Specversion: 0.3\nCe-Id: 1\nCe-Source: a\nCe-Type: audit.a", "", 400, "malformed-event", []string{"specversion"}},
		"type with wildcards":  {"Ce-Specversion: 1.0\nCe-Id: 1\nCe-Source: a\nCe-Type: audit.*", "", 400, "malformed-event", []string{"type"}},
		"type with a space":    {structured, eventJSON("1", "audit. a"), 400, "malformed-event", []string{"type"}},
		"no JSON":              {structured, "{", 400, "malformed-event", nil},
		"batch that is none":   {batched, good, 400, "malformed-event", []string{"array"}},
		"empty batch":          {batched, "[]", 400, "malformed-event", []string{"1 to 1000"}},
		"too many":             {batched, batch(tooMany...), 400, "malformed-event", []string{"1001"}},
		"one of a batch":       {batched, batch(good, eventJSON("", "audit.a")), 400, "malformed-event", []string{"event 2"}},
		"twice in a batch":     {batched, batch(good, good), 400, "malformed-event", []string{"event 2"}},
		"not in emits":         {structured, eventJSON("1", "shop.order.paid.v1"), 403, "not-in-emits", []string{"shop/writer", "shop.order.paid.v1", "spec.emits"}},
		"pattern's own prefix": {structured, eventJSON("1", "audit"), 403, "not-in-emits", []string{`"audit"`}},
		"one not in emits":     {batched, batch(good, eventJSON("2", "other.a")), 403, "not-in-emits", []string{"other.a"}},
		"too large":            {structured, eventJSON("1", "audit.a", strings.Repeat("a", 200_000)), 413, "body-too-large", []string{"200000"}},
	}
	f := newFixture(t)
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			f := f.with(t)
			f.wantProblem(f.send(writer, "POST /v1/events", test.headers, test.body), test.status, test.kind, test.says...)
			if got := f.events("shop"); len(got) != 0 {
				t.Errorf("stored %.500q", got)
			}
		})
	}
}

// TestPublishAgain checks that an event published again is one event, also
// beside new ones.
func TestPublishAgain(t *testing.T) {
	f := newFixture(t)
	f.wantStatus(f.send(writer, "POST /v1/events", structured, eventJSON("2", "audit.a", "first")), 202)
	f.wantStatus(f.send(writer, "POST /v1/events", structured, eventJSON("2", "audit.a", "again")), 202)
	f.wantStatus(f.send(writer, "POST /v1/events", batched, batch(eventJSON("1", "audit.a"), eventJSON("2", "audit.a", "again"), eventJSON("3", "audit.a"))), 202)
	f.wantStatus(f.send(stranger, "POST /v1/events", structured, eventJSON("2", "audit.a", "elsewhere")), 202)
	if got := f.events("shop"); !slices.Equal(got, []string{"2 audit.a first", "1 audit.a ", "3 audit.a "}) {
		t.Errorf("stored %q", got)
	}
	if got := f.events("market"); !slices.Equal(got, []string{"2 audit.a elsewhere"}) {
		t.Errorf("stored elsewhere %q", got)
	}
}

// TestHops checks that what a function stores is one step further from its first
// cause than what it was called with, as far as it says so.
func TestHops(t *testing.T) {
	f := newFixture(t)
	for i, test := range []struct{ header, want string }{
		{"", ""}, {"Serviceful-Hops: 0", "1"}, {"Serviceful-Hops: 7", "8"}, {"Serviceful-Hops: 16", "17"}, {"Serviceful-Hops: 4000", "17"},
	} {
		id := fmt.Sprint(i)
		f.wantStatus(f.send(writer, "POST /v1/events", strings.TrimPrefix(test.header+"\n"+structured, "\n"), eventJSON(id, "audit.a")), 202)
		events := f.stored(names.Events("shop"), "ev.shop.audit.a")
		if got := events[len(events)-1].Header.Get("Serviceful-Hops"); got != test.want {
			t.Errorf("an event published with %q has the hops %q", test.header, got)
		}
		f.enqueued(strings.TrimPrefix(test.header+"\nContent-Type: text/plain", "\n"), id)
		messages := f.waiting()
		if got := messages[len(messages)-1].Header.Get("Serviceful-Hops"); got != test.want {
			t.Errorf("a message sent with %q has the hops %q", test.header, got)
		}
	}
	f.wantProblem(f.send(writer, "POST /v1/events", "Serviceful-Hops: x\n"+structured, eventJSON("x", "audit.a")), 400, "malformed-hops")
	f.wantProblem(f.send(writer, "POST "+queue, "Serviceful-Hops: -1\nContent-Type: text/plain", "x"), 400, "malformed-hops")
}
