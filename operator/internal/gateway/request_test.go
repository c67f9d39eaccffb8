package gateway

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/serviceful/serviceful/operator/internal/envelope"
	"github.com/serviceful/serviceful/operator/internal/invoke"
	"github.com/serviceful/serviceful/operator/internal/names"
)

// seen is what a function got.
type seen struct {
	Method, Target, Host string
	Header               http.Header
	Body                 string
}

// record makes a function that answers 200 and tells what it got.
func (f *fixture) record(name names.Function) <-chan seen {
	got := make(chan seen, 100)
	f.world.handle(name, func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got <- seen{r.Method, r.RequestURI, r.Host, r.Header, string(body)}
	})
	return got
}

// accepted is the id of the call in a 202.
func (f *fixture) accepted(r reply) string {
	f.Helper()
	var answer map[string]string
	err := json.Unmarshal([]byte(r.body), &answer)
	id := answer["id"]
	if err != nil || r.StatusCode != http.StatusAccepted || len(answer) != 1 || !validID(id) ||
		r.Header.Get("Location") != "/calls/"+id || r.Header.Get("Content-Type") != "application/json" {
		f.Fatalf("got %s %v %s, want a 202", r.Status, r.Header, r.body)
	}
	return id
}

// stored is the message of a call that waits.
func (f *fixture) stored(namespace, id string) *envelope.Message {
	f.Helper()
	m, err := f.bus.Last(f.Context(), names.Work(namespace), names.AnyCall(namespace, id))
	if err != nil {
		f.Fatal(err)
	}
	return m
}

// deliver calls the function with a stored call, as the dispatcher does.
func (f *fixture) deliver(id string) {
	f.Helper()
	m := f.stored(shop.Namespace, id)
	stored, err := m.Request()
	if err != nil {
		f.Fatal(err)
	}
	item, _ := names.ParseWork(m.Subject)
	req, err := invoke.CallRequest(f.Context(), stored, m.Body, item.Trigger, id, 1)
	if err != nil {
		f.Fatal(err)
	}
	lease, err := f.world.Acquire(f.Context(), item.Function)
	if err != nil {
		f.Fatal(err)
	}
	defer lease.Release()
	transport := invoke.NewTransport()
	defer transport.CloseIdleConnections()
	if out, _ := invoke.Do(transport, lease, time.Hour, req); out.Status != http.StatusOK {
		f.Fatalf("the function answered %+v", out)
	}
}

// platform is the headers that the platform adds.
var platform = regexp.MustCompile(`^(Serviceful-.*|Traceparent|X-Forwarded-.*|Content-Length)$`)

// TestRequest checks that a function sees the request as the caller sent it,
// now or later.
func TestRequest(t *testing.T) {
	tests := map[string]struct {
		target  string // behind /any/ or /later/
		method  string // default POST
		headers string
		body    string
	}{
		"plain":                      {target: "a"},
		"nothing behind the slash":   {},
		"query":                      {target: "a?b=c&d=%20&e"},
		"query that is no form":      {target: "a?b=%zz;c&&=;d"},
		"query of a mere mark":       {target: "a?"},
		"query of two marks":         {target: "a??b?"},
		"encoded slash":              {target: "a%2Fb%2fc"},
		"needlessly encoded":         {target: "%61%7E"},
		"empty segments":             {target: "/a//b/"},
		"dots":                       {target: "./a/../b/%2e%2E"},
		"signs":                      {target: "a:b@c;d=e,f+g~h!$&'()*"},
		"encoded UTF-8":              {target: "%E2%82%AC?%E2%82%AC"},
		"not UTF-8":                  {target: "%FF?q=\xff"},
		"a long path":                {target: strings.Repeat("a/", 3000)},
		"GET":                        {method: "GET", target: "a"},
		"DELETE":                     {method: "DELETE", target: "a"},
		"method of one's own":        {method: "SUBSCRIBE", target: "a"},
		"GET with a body":            {method: "GET", target: "a", body: "body"},
		"empty body":                 {headers: "Content-Length: 0"},
		"binary body":                {body: "\x00\xff\r\n\r\n\x80", headers: "Content-Type: image/png"},
		"large body":                 {body: strings.Repeat("0123456789", 100_000)},
		"repeated headers":           {headers: "Accept: a\nAccept: b, c\nX-Empty:\nCookie: a=b\nCookie: c=d"},
		"header with Latin-1":        {headers: "X-Name: Ren\xe9\nX-Other: Ren\xc3\xa9"},
		"header with quotes":         {headers: `X-Json: {"a": "<b>&"}`},
		"host":                       {headers: "Host: Shop.Example:8443"},
		"credentials":                {headers: "Authorization: Basic YTpi"},
		"user agent":                 {headers: "User-Agent: curl/8"},
		"encodings":                  {headers: "Accept-Encoding: gzip, br"},
		"forwarded":                  {headers: "Forwarded: for=192.0.2.1;proto=https\nVia: 1.1 edge"},
		"conditions and ranges":      {headers: "If-None-Match: \"a\"\nRange: bytes=0-1"},
		"expectation":                {headers: "Expect: 100-continue", body: "body"},
		"traceparent is kept":        {headers: "Traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\nTracestate: a=b"},
		"nearly ours is not ours":    {headers: "Serviceful: a\nNats: b\nServicefuls-A: c\nX-Serviceful-A: d"},
		"content that is compressed": {headers: "Content-Encoding: gzip", body: "\x1f\x8b\x08"},
	}
	f := newFixture(t)
	got := f.record(shop)
	for name, test := range tests {
		if test.method == "" {
			test.method = "POST"
		}
		for _, async := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, async %v", name, async), func(t *testing.T) {
				f := f.with(t)
				prefix, trigger := "/any/", "any"
				if async {
					prefix, trigger = "/later/", "later"
				}
				head := test.method + " " + prefix + test.target + " HTTP/1.1"
				if test.headers != "" {
					head += "\n" + test.headers
				}
				r := f.send(head, test.body)
				if async {
					f.deliver(f.accepted(r))
				} else if r.StatusCode != http.StatusOK {
					t.Fatalf("answered %s: %s", r.Status, r.body)
				}
				want := f.parse(head, test.body)
				s := receive(f, "the function is called", got)
				if s.Method != want.Method || s.Target != want.Target || s.Host != want.Host || s.Body != want.Body {
					t.Errorf("%s %q at %q with %d bytes, want %s %q at %q with %d bytes",
						s.Method, s.Target, s.Host, len(s.Body), want.Method, want.Target, want.Host, len(want.Body))
				}
				if s.Header.Get(invoke.HeaderTrigger) != trigger || s.Header.Get("Serviceful-Path-Rest") == "" && test.target != "" {
					t.Errorf("headers %v", s.Header)
				}
				if (s.Header.Get(invoke.HeaderCallID) != "") != async || (s.Header.Get(invoke.HeaderAttempt) == "1") != async {
					t.Errorf("headers %v", s.Header)
				}
				if sent := want.Header["Traceparent"]; sent != nil && !slices.Equal(sent, s.Header["Traceparent"]) {
					t.Errorf("traceparent %q", s.Header["Traceparent"])
				}
				added := func(key string, _ []string) bool { return platform.MatchString(key) }
				maps.DeleteFunc(s.Header, added)
				maps.DeleteFunc(want.Header, added)
				if !reflect.DeepEqual(s.Header, want.Header) {
					t.Errorf("headers\n %q, want\n %q", s.Header, want.Header)
				}
			})
		}
	}
}

// parse is what a request says that send sends.
func (f *fixture) parse(head, body string) seen {
	f.Helper()
	if !strings.Contains(head, "\nHost: ") {
		head += "\nHost: 127.0.0.1"
	}
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(strings.ReplaceAll(head, "\n", "\r\n") + "\r\n\r\n")))
	if err != nil {
		f.Fatal(err)
	}
	return seen{r.Method, r.RequestURI, r.Host, r.Header, body}
}

// TestAddedHeaders checks what the platform says to a function, and that nobody
// outside can say it.
func TestAddedHeaders(t *testing.T) {
	f := newFixture(t)
	got := f.record(shop)
	trace := regexp.MustCompile(`^00-[0-9a-f]{32}-[0-9a-f]{16}-00$`)
	tests := map[string]struct {
		head string
		want map[string][]string // nil: absent
	}{
		"trigger and parameters": {
			"GET /members/6331%2F4/offers/a%20b HTTP/1.1",
			map[string][]string{"Serviceful-Trigger": {"redeem"}, "Serviceful-Path-Number": {"6331%2F4"}, "Serviceful-Path-Offer": {"a%20b"}},
		},
		"no parameters": {"GET /get HTTP/1.1", map[string][]string{"Serviceful-Trigger": {"get"}, "Serviceful-Path-Number": nil}},
		"forged": {
			"GET /get HTTP/1.1\nServiceful-Trigger: x\nserviceful-path-number: 7\nServiceful-Call-Id: x\nServiceful-Attempt: 9\nSERVICEFUL-Claims: x\nNats-Msg-Id: x\nnats-rollup: all",
			map[string][]string{
				"Serviceful-Trigger": {"get"}, "Serviceful-Path-Number": nil, "Serviceful-Call-Id": nil, "Serviceful-Attempt": nil,
				"Serviceful-Claims": nil, "Nats-Msg-Id": nil, "Nats-Rollup": nil,
			},
		},
		"forged for who cannot tell - from _": {
			"GET /get HTTP/1.1\nServiceful_Trigger: x\nNats_Msg_Id: x",
			map[string][]string{"Serviceful-Trigger": {"get"}, "Serviceful_trigger": nil, "Nats_msg_id": nil},
		},
		"first of a chain": {
			"GET /get HTTP/1.1",
			map[string][]string{"X-Forwarded-For": {"127.0.0.1"}, "X-Forwarded-Host": {"127.0.0.1"}, "X-Forwarded-Proto": {"http"}},
		},
		"behind other proxies": {
			"GET /get HTTP/1.1\nX-Forwarded-For: 192.0.2.1\nX-Forwarded-For: 192.0.2.2\nX-Forwarded-Host: shop.example\nX-Forwarded-Proto: https",
			map[string][]string{
				"X-Forwarded-For": {"192.0.2.1, 192.0.2.2, 127.0.0.1"}, "X-Forwarded-Host": {"shop.example"}, "X-Forwarded-Proto": {"https"},
			},
		},
		"of the connection alone": {
			"GET /get HTTP/1.1\nConnection: keep-alive, X-Hop\nX-Hop: 1\nKeep-Alive: 5\nProxy-Connection: close\nProxy-Authorization: Basic YTpi\nTE: gzip",
			map[string][]string{"Connection": nil, "X-Hop": nil, "Keep-Alive": nil, "Proxy-Connection": nil, "Proxy-Authorization": nil, "Te": nil},
		},
		"named as the connection's own": {
			"GET /members/7/offers/8 HTTP/1.1\nConnection: Serviceful-Trigger, serviceful-path-number, Traceparent, X-Forwarded-For\nTraceparent: a",
			map[string][]string{"Serviceful-Trigger": {"redeem"}, "Serviceful-Path-Number": {"7"}, "X-Forwarded-For": {"127.0.0.1"}},
		},
		"nothing of Go's": {"GET /get HTTP/1.1", map[string][]string{"User-Agent": nil, "Accept-Encoding": nil}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			f := f.with(t)
			if r := f.send(test.head, ""); r.StatusCode != http.StatusOK {
				t.Fatalf("answered %s: %s", r.Status, r.body)
			}
			s := receive(f, "the function is called", got)
			for key, want := range test.want {
				if !slices.Equal(s.Header[key], want) {
					t.Errorf("%s: %q, want %q", key, s.Header[key], want)
				}
			}
			if tp := s.Header["Traceparent"]; len(tp) != 1 || !trace.MatchString(tp[0]) {
				t.Errorf("traceparent %q", tp)
			}
		})
	}
}
