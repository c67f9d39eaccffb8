package services

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/serviceful/serviceful/operator/internal/bus"
	"github.com/serviceful/serviceful/operator/internal/envelope"
	"github.com/serviceful/serviceful/operator/internal/event"
	"github.com/serviceful/serviceful/operator/internal/names"
	"github.com/serviceful/serviceful/operator/internal/wiring"
)

// requests is one good call of each service.
var requests = map[string]struct{ request, headers, body string }{
	"events": {"POST /v1/events", "Content-Type: application/cloudevents+json", eventJSON("1", "shop.order.placed.v1")},
	"get":    {"GET /v1/buckets/stock/keys/apples", "", ""},
	"head":   {"HEAD /v1/buckets/stock/keys/apples", "", ""},
	"put":    {"PUT /v1/buckets/stock/keys/apples", "", "7"},
	"delete": {"DELETE /v1/buckets/stock/keys/pears", "", ""},
	"list":   {"GET /v1/buckets/stock/keys", "", ""},
	"read":   {"GET /v1/stores/files/objects/apples", "", ""},
	"write":  {"PUT /v1/stores/files/objects/apples", "", "7"},
	"remove": {"DELETE /v1/stores/files/objects/pears", "", ""},
	"files":  {"GET /v1/stores/files/objects", "", ""},
	"queue":  {"POST /v1/queues/labels/messages", "Content-Type: text/plain", "7"},
	"mail":   {"POST /v1/mail", "", `{"to": "ann@example.org", "subject": "Hello", "text": "Hi"}`},
}

// TestNoToken checks that who is not known may not even learn what there is.
func TestNoToken(t *testing.T) {
	f := newFixture(t)
	revoked, revoke := f.tokens.Issue(writer)
	revoke()
	unknown, _ := f.tokens.Issue(names.Function{Namespace: "shop", Name: "removed"})
	good := f.token[writer]
	headers := map[string]string{
		"none": "", "empty": "Authorization: ", "no token": "Authorization: Bearer", "no token but spaces": "Authorization: Bearer  ",
		"wrong token": "Authorization: Bearer wrong", "revoked": "Authorization: Bearer " + revoked, "of a function that is gone": "Authorization: Bearer " + unknown,
		"other scheme": "Authorization: Basic " + good, "no scheme": "Authorization: " + good, "in another header": "X-Authorization: Bearer " + good,
		"a part of it": "Authorization: Bearer " + good[:len(good)-1], "more than it": "Authorization: Bearer " + good + "A",
		"other case": "Authorization: Bearer " + strings.ToLower(good), "two": "Authorization: Bearer " + good + "," + good,
	}
	for name, header := range headers {
		for service, r := range requests {
			got := f.sendAs(r.request, strings.TrimSpace(header+"\n"+r.headers), r.body)
			if got.StatusCode != 401 || got.Header.Get("WWW-Authenticate") != "Bearer" {
				t.Errorf("%s, token %s: %s, WWW-Authenticate %q", service, name, got.Status, got.Header.Get("WWW-Authenticate"))
			}
			if service != "head" {
				f.wantProblem(got, 401, "unauthenticated", "SERVICEFUL_TOKEN_FILE")
			}
		}
		f.wantProblem(f.sendAs("GET /nowhere", header, ""), 401, "unauthenticated")
	}
	for _, scheme := range []string{"Bearer ", "bearer ", "BEARER   "} {
		f.wantStatus(f.sendAs("GET /v1/buckets/stock/keys", "Authorization: "+scheme+good, ""), 200)
	}
}

// keyless is an Identifier that cannot say anything now.
type keyless struct{}

func (keyless) Identify(string) (names.Function, bool, error) {
	return names.Function{}, false, errors.New("the API server is away")
}

// TestNobodyKnown checks that a token which cannot be verified now is not called a
// wrong one, and that no token is.
func TestNobodyKnown(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.Identifier = keyless{} })
	got := f.send(writer, "GET /v1/buckets/stock/keys", "", "")
	f.wantProblem(got, 503, "identity-unavailable", "try again")
	if got.Header.Get("WWW-Authenticate") != "" || strings.Contains(got.body, "API server") {
		t.Errorf("it says what is not the function's: %s", got.body)
	}
	f.wantProblem(f.sendAs("GET /v1/buckets/stock/keys", "", ""), 401, "unauthenticated")
}

// TestNotGranted checks that a function may do what its emits and bindings say
// and no more, and is told what to add.
func TestNotGranted(t *testing.T) {
	f := newFixture(t)
	tests := map[string]struct {
		as       names.Function
		requests []string
		kind     string
		says     []string
	}{
		"event":            {reader, []string{"events"}, "not-in-emits", []string{"shop/reader", "shop.order.placed.v1", "spec.emits"}},
		"bucket":           {nobody, []string{"get", "put", "delete", "list"}, "not-bound", []string{"shop/nobody", "{keyValue: {bucket: stock}}", "spec.bindings"}},
		"read-only bucket": {reader, []string{"put", "delete"}, "read-only", []string{"shop/reader", "stock", "access: Read"}},
		"store":            {nobody, []string{"read", "write", "remove", "files"}, "not-bound", []string{"shop/nobody", "{objects: {store: files}}", "spec.bindings"}},
		"read-only store":  {reader, []string{"write", "remove"}, "read-only", []string{"shop/reader", "files", "access: Read"}},
		"queue":            {reader, []string{"queue"}, "not-bound", []string{"shop/reader", "{queue: {name: labels}}", "spec.bindings"}},
		"mail":             {reader, []string{"mail"}, "not-bound", []string{"shop/reader", "{mail: {}}", "spec.bindings"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			f := f.with(t)
			for _, service := range test.requests {
				r := requests[service]
				f.wantProblem(f.send(test.as, r.request, r.headers, r.body), 403, test.kind, test.says...)
			}
		})
	}
	f.wantProblem(f.send(writer, "GET /v1/buckets/other/keys/apples", "", ""), 403, "not-bound", "other")
	f.wantProblem(f.send(writer, "GET /v1/buckets/a%2Fb/keys/apples", "", ""), 403, "not-bound")
	f.wantStatus(f.send(nobody, "HEAD /v1/buckets/stock/keys/apples", "", ""), 403)
	for _, service := range []string{"put", "get", "head", "list", "delete", "events", "mail", "queue", "write", "read", "files", "remove"} {
		r := requests[service]
		if got := f.send(writer, r.request, r.headers, r.body); got.StatusCode > 299 {
			t.Errorf("%s: %s %s", service, got.Status, got.body)
		}
	}
	f.wantStatus(f.send(reader, "GET /v1/buckets/stock/keys/apples", "", ""), 200)
	if left := f.stored(names.Events("shop"), "ev.shop.>"); len(left) != 1 {
		t.Errorf("%d events are stored, want the writer's alone", len(left))
	}
}

func TestNoService(t *testing.T) {
	f := newFixture(t)
	tests := map[string]struct {
		request string
		status  int
		kind    string
		allow   string
	}{
		"root":                  {"GET /", 404, "no-such-service", ""},
		"unknown":               {"GET /v1/nothing", 404, "no-such-service", ""},
		"other version":         {"POST /v2/events", 404, "no-such-service", ""},
		"slash at the end":      {"POST /v1/events/", 404, "no-such-service", ""},
		"two slashes":           {"POST //v1/events", 404, "no-such-service", ""},
		"bucket alone":          {"GET /v1/buckets/stock", 404, "no-such-service", ""},
		"no bucket":             {"GET /v1/buckets//keys/a", 404, "no-such-service", ""},
		"store alone":           {"GET /v1/stores/files", 404, "no-such-service", ""},
		"wrong method, queue":   {"GET /v1/queues/labels/messages", 405, "method-not-allowed", "POST"},
		"wrong method, object":  {"POST /v1/stores/files/objects/a", 405, "method-not-allowed", "DELETE, GET, HEAD, PUT"},
		"wrong method, events":  {"GET /v1/events", 405, "method-not-allowed", "POST"},
		"wrong method, key":     {"POST /v1/buckets/stock/keys/a", 405, "method-not-allowed", "DELETE, GET, HEAD, PUT"},
		"wrong method, keys":    {"DELETE /v1/buckets/stock/keys", 405, "method-not-allowed", "GET, HEAD"},
		"wrong method, mail":    {"DELETE /v1/mail", 405, "method-not-allowed", "POST"},
		"method in lower case":  {"post /v1/events", 405, "method-not-allowed", "POST"},
		"method of one's own":   {"PURGE /v1/buckets/stock/keys/a", 405, "method-not-allowed", "DELETE, GET, HEAD, PUT"},
		"wrong method, options": {"OPTIONS /v1/events", 405, "method-not-allowed", "POST"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			f := f.with(t)
			r := f.send(writer, test.request, "", "")
			f.wantProblem(r, test.status, test.kind)
			if r.Header.Get("Allow") != test.allow {
				t.Errorf("Allow: %q, want %q", r.Header.Get("Allow"), test.allow)
			}
		})
	}
}

func TestHealth(t *testing.T) {
	f := newFixture(t)
	f.wantStatus(f.sendAs("GET /healthz", "", ""), 200)
	f.wantStatus(f.sendAs("GET /readyz", "", ""), 200)
	f.wantStatus(f.sendAs("HEAD /readyz", "", ""), 200)
	f.url = f.serve(wiring.Compile(nil, wiring.Hosts{}), func(c *Config) { c.Ready = func() error { return errors.New("not wired yet") } })
	f.wantProblem(f.sendAs("GET /readyz", "", ""), 503, "not-ready", "not wired yet")
	f.wantStatus(f.sendAs("GET /healthz", "", ""), 200)
}

// TestStoreFails checks that no error of the store is taken for a success.
func TestStoreFails(t *testing.T) {
	tests := map[string]struct {
		err    error
		status int
		kind   string
	}{
		"full":       {bus.ErrFull, 507, "store-full"},
		"gone":       {bus.ErrUnavailable, 503, "store-unavailable"},
		"too slow":   {context.DeadlineExceeded, 503, "store-unavailable"},
		"too large":  {bus.ErrTooLarge, 413, "body-too-large"},
		"key reused": {bus.ErrKeyReused, 422, "idempotency-key-reused"},
		"what":       {errors.New("what"), 500, "internal"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			broken := broken{fmt.Errorf("storing: %w", test.err)}
			f := newFixture(t, func(c *Config) { c.Events, c.Buckets, c.Objects, c.Outbox = broken, broken, broken, broken })
			for service, r := range requests {
				got := f.send(writer, r.request, r.headers, r.body)
				if service == "head" {
					f.wantStatus(got, test.status)
					continue
				}
				f.wantProblem(got, test.status, test.kind)
			}
			f.wantProblem(f.send(writer, "POST /v1/mail", "Idempotency-Key: a", requests["mail"].body), test.status, test.kind)
			f.wantProblem(f.send(writer, "POST /v1/queues/labels/messages", "Idempotency-Key: a", "x"), test.status, test.kind)
		})
	}
}

// broken is a store whose every answer is an error.
type broken struct{ err error }

func (b broken) PublishEvents(context.Context, string, []*event.Event) error { return b.err }
func (b broken) Get(context.Context, bus.KeyRef) (bus.Entry, error)          { return bus.Entry{}, b.err }
func (b broken) DeleteKey(context.Context, bus.KeyRef, bus.Write) error      { return b.err }
func (b broken) Put(context.Context, bus.KeyRef, []byte, bus.Write, time.Duration) (uint64, error) {
	return 0, b.err
}

func (b broken) Keys(context.Context, string, string, string, int, uint64) ([]string, uint64, error) {
	return nil, 0, b.err
}

func (b broken) Store(context.Context, *envelope.Message) (bus.Stored, error) {
	return bus.Stored{}, b.err
}

func (b broken) StoreOnce(context.Context, bus.Key, string, func(string) *envelope.Message) (string, error) {
	return "", b.err
}

// TestStoreFull fills the disk that the store may use: every service says so,
// and what was stored is there.
func TestStoreFull(t *testing.T) {
	f := newFixtureOn(t, bus.EmbeddedConfig{MaxStore: 2 << 20})
	value := strings.Repeat("a", 90_000)
	n := 0
	for ; n < 100; n++ {
		r := f.send(writer, fmt.Sprintf("PUT /v1/buckets/stock/keys/%d", n), "", value)
		if r.StatusCode != http.StatusNoContent {
			f.wantProblem(r, 507, "store-full")
			break
		}
	}
	if n == 0 || n == 100 {
		t.Fatalf("%d values were stored", n)
	}
	f.wantProblem(f.send(writer, "POST /v1/mail", "", fmt.Sprintf(`{"to": "a@b.c", "subject": "s", "text": %q}`, value)), 507, "store-full")
	one, two := eventJSON("1", "audit.a"), eventJSON("2", "audit.a", value)
	f.wantProblem(f.send(writer, "POST /v1/events", "Content-Type: application/cloudevents+json", two), 507, "store-full")
	f.wantProblem(f.send(writer, "POST /v1/events", "Content-Type: application/cloudevents-batch+json", "["+one+","+two+"]"), 507, "store-full")
	if left := f.stored(names.Events("shop"), "ev.shop.>"); len(left) != 0 {
		t.Errorf("%d events are stored", len(left))
	}
	for i := range n {
		if r := f.send(writer, fmt.Sprintf("GET /v1/buckets/stock/keys/%d", i), "", ""); r.StatusCode != 200 || r.body != value {
			t.Errorf("key %d: %s", i, r.Status)
		}
	}
}

func TestNew(t *testing.T) {
	f := newFixture(t)
	good := Config{
		Identifier: &f.tokens, Events: f.bus, Buckets: f.bus, Objects: f.bus, Outbox: f.bus, Call: noCall, MaxBody: 1,
		Snapshot: func() *wiring.Snapshot { return nil }, Ready: func() error { return nil },
	}
	if _, err := New(good); err != nil {
		t.Error(err)
	}
	for name, spoil := range map[string]func(*Config){
		"identifier": func(c *Config) { c.Identifier = nil }, "events": func(c *Config) { c.Events = nil }, "buckets": func(c *Config) { c.Buckets = nil },
		"call":    func(c *Config) { c.Call = nil },
		"objects": func(c *Config) { c.Objects = nil },
		"outbox":  func(c *Config) { c.Outbox = nil }, "snapshot": func(c *Config) { c.Snapshot = nil }, "ready": func(c *Config) { c.Ready = nil },
		"limit": func(c *Config) { c.MaxBody = 0 },
	} {
		c := good
		spoil(&c)
		if _, err := New(c); err == nil {
			t.Errorf("a door without %s is made", name)
		}
	}
}
