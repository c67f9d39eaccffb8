package dispatch_test

import (
	"net/http"
	"reflect"
	"strconv"
	"testing"

	"github.com/serviceful/serviceful/operator/api/v1alpha1"
	"github.com/serviceful/serviceful/operator/internal/envelope"
	"github.com/serviceful/serviceful/operator/internal/event"
)

// TestWhatAFunctionSeesOfAnEvent checks the whole request: nothing is missing,
// and nothing is added.
func TestWhatAFunctionSeesOfAnEvent(t *testing.T) {
	full := &event.Event{
		Attributes: []event.Attribute{
			{Name: "specversion", Value: "1.0"}, {Name: "id", Value: "a%20b"}, {Name: "source", Value: "https://a.test/b?c=d"}, {Name: "type", Value: "in.a"},
			{Name: "time", Value: "2026-01-02T03:04:05Z"}, {Name: "subject", Value: "caf%C3%A9"}, {Name: "datacontenttype", Value: "application/json; charset=utf-8"},
			{Name: "traceparent", Value: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}, {Name: "partitionkey", Value: "7"},
		},
		Data: []byte("{\"a\": \"\x00\xff\"}"),
	}
	bare := &event.Event{Attributes: full.Attributes[:4]}
	tests := map[string]struct {
		event *event.Event
		want  http.Header
	}{
		"full": {full, http.Header{
			"Ce-Specversion": {"1.0"}, "Ce-Id": {"a%20b"}, "Ce-Source": {"https://a.test/b?c=d"}, "Ce-Type": {"in.a"},
			"Ce-Time": {"2026-01-02T03:04:05Z"}, "Ce-Subject": {"caf%C3%A9"}, "Content-Type": {"application/json; charset=utf-8"},
			"Ce-Traceparent": {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}, "Ce-Partitionkey": {"7"},
		}},
		"bare": {bare, http.Header{"Ce-Specversion": {"1.0"}, "Ce-Id": {"a%20b"}, "Ce-Source": {"https://a.test/b?c=d"}, "Ce-Type": {"in.a"}}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, inTurn(status(500), status(500), status(200)), []v1alpha1.Trigger{onEvent("welcome", quick(), "in.a")})
			r.publish(test.event)
			r.wantCalls(3)
			for i, got := range r.function.calls() {
				want := test.want.Clone()
				want.Set("Serviceful-Trigger", "welcome")
				want.Set("Serviceful-Attempt", strconv.Itoa(i+1))
				want.Set("Serviceful-Hops", "0")
				want.Set("Content-Length", strconv.Itoa(len(test.event.Data)))
				if !reflect.DeepEqual(withoutTrace(got.header), want) {
					t.Errorf("attempt %d has headers\n%v, want\n%v", i+1, got.header, want)
				}
				if got.method != "POST" || got.target != "/on/welcome" || got.host != r.function.address() || got.body != string(test.event.Data) {
					t.Errorf("attempt %d is %s %s at %s: %q", i+1, got.method, got.target, got.host, got.body)
				}
			}
		})
	}
}

// withoutTrace leaves out the header that distributed tracing may add.
func withoutTrace(h http.Header) http.Header {
	h = h.Clone()
	h.Del("Traceparent")
	return h
}

func TestPathOfAnEventTrigger(t *testing.T) {
	for path, want := range map[string]string{"": "/", "/events/joined": "/events/joined", "/a%2Fb%20c": "/a%2Fb%20c"} {
		t.Run(path, func(t *testing.T) {
			trigger := onEvent("welcome", quick(), "in.a")
			trigger.Path = path
			r := newRig(t, status(200), []v1alpha1.Trigger{trigger})
			r.publish(newEvent("in.a", "1"))
			r.wantCalls(1)
			if got := r.function.calls()[0].target; got != want {
				t.Errorf("POSTed to %q, want %q", got, want)
			}
		})
	}
}

func TestWhatAFunctionSeesOfACall(t *testing.T) {
	tests := map[string]struct {
		request envelope.Request
		body    string
		want    http.Header // but for what every call has
	}{
		"a POST": {
			envelope.Request{
				Method: "POST", Target: "/redeem/a%2Fb?x=1&y=%20&y=2", Host: "shop.example.com:8443",
				Header: map[string][]string{"Content-Type": {"application/json"}, "Accept": {"text/html", "*/*"}, "User-Agent": {"a browser"}, "X-Empty": {""}},
				Params: map[string]string{"id": "a%2Fb", "rest": "c%20d"},
			}, "{\"a\": \"\x00\xff\"}",
			http.Header{
				"Content-Type": {"application/json"}, "Accept": {"text/html", "*/*"}, "User-Agent": {"a browser"}, "X-Empty": {""},
				"Serviceful-Path-Id": {"a%2Fb"}, "Serviceful-Path-Rest": {"c%20d"},
			},
		},
		"a GET":        {envelope.Request{Method: "GET", Target: "/", Host: "a.test"}, "", http.Header{}},
		"a DELETE":     {envelope.Request{Method: "DELETE", Target: "/redeem/1?", Host: "a.test"}, "", http.Header{}},
		"a PUT of 0 B": {envelope.Request{Method: "PUT", Target: "//redeem//1", Host: "a.test"}, "", http.Header{"Content-Length": {"0"}}},
		"odd letters":  {envelope.Request{Method: "GET", Target: "/a;b=c,d/(e)'!*$+@:~?q=[1]|^`{}", Host: "a.test"}, "", http.Header{}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, inTurn(status(500), status(200)), []v1alpha1.Trigger{onCall("redeem", quick())})
			r.store(envelope.Call(offers, "redeem", "c1", test.request, []byte(test.body)))
			r.wantCalls(2)
			for i, got := range r.function.calls() {
				want := test.want.Clone()
				want.Set("Serviceful-Trigger", "redeem")
				want.Set("Serviceful-Call-Id", "c1")
				want.Set("Serviceful-Attempt", strconv.Itoa(i+1))
				want.Set("Serviceful-Hops", "0")
				if test.body != "" {
					want.Set("Content-Length", strconv.Itoa(len(test.body)))
				}
				if !reflect.DeepEqual(withoutTrace(got.header), want) {
					t.Errorf("attempt %d has headers\n%v, want\n%v", i+1, got.header, want)
				}
				if got.method != test.request.Method || got.target != test.request.Target || got.host != test.request.Host || got.body != test.body {
					t.Errorf("attempt %d is %s %s at %s: %q", i+1, got.method, got.target, got.host, got.body)
				}
			}
		})
	}
}

func TestFilters(t *testing.T) {
	with := func(id, attribute, value string) *event.Event {
		e := newEvent("in.a", id)
		e.Set(attribute, value)
		return e
	}
	all := []*event.Event{with("1", "tier", "gold"), with("2", "tier", "silver"), newEvent("in.a", "3"), with("4", "subject", "members%2F7")}
	tests := map[string]struct {
		filters []v1alpha1.Filter
		want    map[string]bool
	}{
		"none":         {nil, map[string]bool{"1": true, "2": true, "3": true, "4": true}},
		"exact":        {[]v1alpha1.Filter{{Exact: map[string]string{"tier": "gold"}}}, map[string]bool{"1": true}},
		"prefix":       {[]v1alpha1.Filter{{Prefix: map[string]string{"subject": "members/"}}}, map[string]bool{"4": true}},
		"not":          {[]v1alpha1.Filter{{Not: &v1alpha1.LeafFilter{Exact: map[string]string{"tier": "gold"}}}}, map[string]bool{"2": true, "3": true, "4": true}},
		"CESQL":        {[]v1alpha1.Filter{{CESQL: "EXISTS tier AND tier != 'gold'"}}, map[string]bool{"2": true}},
		"all of two":   {[]v1alpha1.Filter{{CESQL: "EXISTS tier"}, {Suffix: map[string]string{"tier": "r"}}}, map[string]bool{"2": true}},
		"none of them": {[]v1alpha1.Filter{{Exact: map[string]string{"tier": "bronze"}}}, map[string]bool{}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			trigger := onEvent("welcome", quick(), "in.*")
			trigger.Event.Filters = test.filters
			r := newRig(t, status(200), []v1alpha1.Trigger{trigger})
			r.publish(all...)
			r.settled()
			got := map[string]bool{}
			for _, c := range r.function.calls() {
				got[c.header.Get("Ce-Id")] = true
			}
			if !reflect.DeepEqual(got, test.want) || len(r.function.calls()) != len(test.want) {
				t.Errorf("called with %v, want %v", got, test.want)
			}
			if dead := r.dead("welcome"); len(dead) != 0 {
				t.Errorf("dead letters %+v", dead)
			}
		})
	}
}

// The filters see a retried event as they saw it first.
func TestFiltersOfARetry(t *testing.T) {
	trigger := onEvent("welcome", quick(), "in.a")
	trigger.Event.Filters = []v1alpha1.Filter{{Exact: map[string]string{"id": "1", "source": "/test", "type": "in.a"}}}
	r := newRig(t, inTurn(status(500), status(200)), []v1alpha1.Trigger{trigger})
	r.publish(newEvent("in.a", "1"), newEvent("in.a", "2"))
	r.wantCalls(2)
}
