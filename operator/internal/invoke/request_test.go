package invoke

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"testing"
	"time"

	"github.com/serviceful/serviceful/operator/internal/envelope"
	"github.com/serviceful/serviceful/operator/internal/event"
)

// seen is a request as a function gets it.
type seen struct {
	method, target, host string
	header               http.Header
	body                 string
}

// deliver makes a call of a request and returns what the function got.
func deliver(t *testing.T, req *http.Request) seen {
	t.Helper()
	var got seen
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got = seen{r.Method, r.RequestURI, r.Host, r.Header, string(body)}
	}))
	defer s.Close()
	rt := NewTransport()
	defer rt.CloseIdleConnections()
	if out, answer := Do(rt, Lease{Address: s.Listener.Addr().String()}, time.Hour, req); answer == nil || answer.Status != http.StatusOK {
		t.Fatalf("the call ended with %+v", out)
	}
	return got
}

func TestEventRequest(t *testing.T) {
	tests := map[string]struct {
		path       string
		attributes []event.Attribute
		data       string
		want       seen
	}{
		"usual": {
			path: "/events/joined",
			attributes: []event.Attribute{
				{Name: "specversion", Value: "1.0"}, {Name: "id", Value: "7"}, {Name: "source", Value: "/shop"}, {Name: "type", Value: "a.b"},
				{Name: "datacontenttype", Value: "application/json"}, {Name: "traceparent", Value: "00-a-b-01"}, {Name: "extension1", Value: "c%20d"},
			},
			data: `{"a": 1}`,
			want: seen{method: "POST", target: "/events/joined", body: `{"a": 1}`, header: http.Header{
				"Ce-Specversion": {"1.0"}, "Ce-Id": {"7"}, "Ce-Source": {"/shop"}, "Ce-Type": {"a.b"}, "Content-Type": {"application/json"},
				"Ce-Traceparent": {"00-a-b-01"}, "Ce-Extension1": {"c%20d"}, "Content-Length": {"8"},
			}},
		},
		"no data": {
			path: "/", attributes: []event.Attribute{{Name: "id", Value: "7"}},
			want: seen{method: "POST", target: "/", header: http.Header{"Ce-Id": {"7"}, "Content-Length": {"0"}}},
		},
		"path with an encoding": {path: "/a%2Fb%20c", want: seen{method: "POST", target: "/a%2Fb%20c", header: http.Header{"Content-Length": {"0"}}}},
		"path with signs":       {path: "/a:b;c=d,e@f//g/", want: seen{method: "POST", target: "/a:b;c=d,e@f//g/", header: http.Header{"Content-Length": {"0"}}}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			e := &event.Event{Attributes: test.attributes, Data: []byte(test.data)}
			got := deliver(t, EventRequest(t.Context(), e, test.path, "joined", 3))
			test.want.host = got.host
			test.want.header[HeaderTrigger], test.want.header[HeaderAttempt] = []string{"joined"}, []string{"3"}
			test.want.header[HeaderHops] = []string{"0"}
			if !reflect.DeepEqual(got, test.want) {
				t.Errorf("the function got\n%+v, want\n%+v", got, test.want)
			}
		})
	}
}

// A batch has the highest attempt and the most hops of its events.
func TestBatchRequest(t *testing.T) {
	one := func(id string, hops int) *event.Event {
		return &event.Event{Attributes: []event.Attribute{{Name: "id", Value: id}}, Hops: hops, Data: []byte("a")}
	}
	got := deliver(t, BatchRequest(t.Context(), []*event.Event{one("1", 2), one("2", 5), one("3", 0)}, "/a%2Fb", "joined", 3))
	want := seen{method: "POST", target: "/a%2Fb", host: got.host, body: `[{"id":"1","data_base64":"YQ=="},{"id":"2","data_base64":"YQ=="},{"id":"3","data_base64":"YQ=="}]`, header: http.Header{
		"Content-Type": {"application/cloudevents-batch+json"}, "Content-Length": {"100"}, HeaderTrigger: {"joined"}, HeaderAttempt: {"3"}, HeaderHops: {"5"},
	}}
	got.header["Content-Length"] = []string{"100"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("the function got\n%+v, want\n%+v", got, want)
	}
}

// TestStoredRequest checks that a request comes out of its stored form as it
// went in.
func TestStoredRequest(t *testing.T) {
	tests := map[string]struct {
		method, target, host string
		header               http.Header
		params               map[string]string
		body                 string
	}{
		"usual":         {"POST", "/orders/7?a=b", "shop.localhost:8080", http.Header{"X-A": {"b", "c"}, "Content-Type": {"text/plain"}}, map[string]string{"order": "7"}, "body"},
		"encoded":       {"PUT", "/orders/a%2Fb?%zz;&", "a", http.Header{}, map[string]string{"order": "a%2Fb", "snake_case": "c"}, ""},
		"any octets":    {"POST", "/?q=\xff\xc3\xa9", "a", http.Header{"X-A": {"\x80\xff", "é", ""}, "User-Agent": {"b"}}, nil, "\x00\xff"},
		"two slashes":   {"DELETE", "//a/../b", "a", http.Header{}, nil, ""},
		"another verb":  {"PROPFIND", "/", "a", http.Header{}, nil, "body"},
		"expecting 100": {"POST", "/", "a", http.Header{"Expect": {"100-continue"}}, nil, "body"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			r, err := http.NewRequest(test.method, "http://a", nil)
			if err != nil {
				t.Fatal(err)
			}
			if r.URL, err = url.ParseRequestURI(test.target); err != nil {
				t.Fatal(err)
			}
			r.Host, r.Header = test.host, test.header.Clone()
			m := envelope.Call(shop, "order", "id", Stored(r, test.params), []byte(test.body))
			stored, err := m.Request()
			if err != nil {
				t.Fatal(err)
			}
			for attempt := range 2 { // the second one sees nothing of the first
				req, err := CallRequest(t.Context(), stored, m.Body, "order", "id", attempt+1)
				if err != nil {
					t.Fatal(err)
				}
				got := deliver(t, req)
				if got.method != test.method || got.target != test.target || got.host != test.host || got.body != test.body {
					t.Errorf("the function got %+v", got)
				}
				want := test.header.Clone()
				want[HeaderTrigger], want[HeaderCallID], want[HeaderAttempt] = []string{"order"}, []string{"id"}, []string{string(rune('1' + attempt))}
				want[HeaderHops] = []string{"0"}
				for name, value := range test.params {
					want.Set(HeaderPath+name, value)
				}
				delete(got.header, "Content-Length")
				if !reflect.DeepEqual(got.header, want) {
					t.Errorf("headers\n%q, want\n%q", got.header, want)
				}
			}
		})
	}
}

func TestStoredRequestIsBroken(t *testing.T) {
	for _, target := range []string{"", "no slash", "/%zz", "/a\x00b"} {
		if _, err := CallRequest(t.Context(), envelope.Request{Method: "GET", Target: target}, nil, "order", "id", 1); err == nil {
			t.Errorf("target %q makes a request", target)
		}
	}
}

// FuzzOctets checks that any octets come through text, which is always UTF-8.
func FuzzOctets(f *testing.F) {
	for _, s := range []string{"", "plain", "é", "\xff\x80", "\xc3", "\u2028\ufffd"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r := envelope.Request{Method: "GET", Target: text(s), Header: map[string][]string{"A": {text(s)}}}
		got, err := envelope.Call(shop, "order", "id", r, nil).Request()
		if err != nil || octets(got.Target) != s || octets(got.Header["A"][0]) != s {
			t.Errorf("%q came back as %+v, %v", s, got, err)
		}
	})
}

func TestOurs(t *testing.T) {
	tests := map[string]bool{
		"Serviceful-Trigger": true, "serviceful-trigger": true, "SERVICEFUL-X": true, "Serviceful-": true, "Nats-Msg-Id": true, "nATS-A": true,
		"Serviceful_Trigger": true, "Nats_Msg_Id": true, "Serviceful": false, "Nats": false, "X-Serviceful-Trigger": false, "Natsy-A": false,
		"Knative-Serving-Revision": true, "K-Network-Probe": true, "K-Original-Host": true, "K-Mart": false, "Knative-A": false,
		"Servicefull-A": false, "": false, "N": false,
	}
	for key, want := range tests {
		if Ours(key) != want {
			t.Errorf("Ours(%q) = %v", key, !want)
		}
	}
}
