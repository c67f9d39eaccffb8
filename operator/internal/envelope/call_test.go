package envelope

import (
	"net/http"
	"reflect"
	"strings"
	"testing"

	"github.com/serviceful/serviceful/operator/internal/names"
)

func TestCall(t *testing.T) {
	tests := map[string]struct {
		request Request
		body    string
	}{
		"the least":  {Request{Method: "GET", Target: "/", Host: "h"}, ""},
		"everything": {Request{"POST", "/a%2Fb?x=1&y=<é>", "shop.example.com:8080", map[string][]string{"Accept": {"a", "b"}, "Empty": {""}, "X-\"": {"\"\\\t€"}}, map[string]string{"number": "a%2Fb"}}, "\x00\xff"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			m := Call(offers, "redeem", "abc", test.request, []byte(test.body))
			if m.Subject != "work.coop.call.offers.redeem.abc" || m.ID != "c/abc" || m.Header.Get(HeaderFormat) != Format {
				t.Errorf("got subject %q, id %q, headers %v", m.Subject, m.ID, m.Header)
			}
			if strings.ContainsAny(m.Header.Get(HeaderRequest), "\r\n") {
				t.Errorf("a header cannot hold %q", m.Header.Get(HeaderRequest))
			}
			got, err := m.Request()
			if err != nil || !reflect.DeepEqual(got, test.request) || string(m.Body) != test.body {
				t.Errorf("got %+v with %q and %v, want %+v", got, m.Body, err, test.request)
			}
		})
	}
}

func TestResult(t *testing.T) {
	long := strings.Repeat("é", maxMessage)
	answer := &Response{Status: 201, Header: http.Header{"Content-Type": {"text/plain"}, "X": {"a", "b"}}, Truncated: true}
	tests := map[string]struct{ give, want Result }{
		"succeeded":        {Result{State: Succeeded, Attempts: 1, Response: answer, Ended: now}, Result{State: Succeeded, Attempts: 1, Response: answer, Ended: now}},
		"dead":             {Result{State: DeadState, Attempts: 5, Reason: "MaxAge", Message: "late", Ended: now}, Result{State: DeadState, Attempts: 5, Reason: "MaxAge", Message: "late", Ended: now}},
		"a long story":     {Result{Message: long}, Result{Message: long[:maxMessage] + "..."}},
		"headers too long": {Result{Response: &Response{Status: 200, Header: http.Header{"X": {strings.Repeat("x", MaxResponseHeader)}}}}, Result{Response: &Response{Status: 200, Truncated: true}}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			m := ResultMessage("coop", "abc", test.give, []byte("body"))
			if m.Subject != names.Result("coop", "abc") || m.ID != "" || string(m.Body) != "body" {
				t.Errorf("got subject %q, id %q, body %q", m.Subject, m.ID, m.Body)
			}
			if got, err := m.Result(); err != nil || !reflect.DeepEqual(got, test.want) {
				t.Errorf("got %+v and %v, want %+v", got, err, test.want)
			}
		})
	}
}

// TestUnreadable reads what is not there, or not in our form.
func TestUnreadable(t *testing.T) {
	for name, m := range map[string]*Message{
		"nothing":  {},
		"not ours": {Header: Header{HeaderRequest: {"{"}, HeaderResult: {"[]"}, HeaderDead: {"no"}}},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := m.Request(); err == nil || !strings.Contains(err.Error(), HeaderRequest) {
				t.Errorf("Request: %v", err)
			}
			if _, err := m.Result(); err == nil || !strings.Contains(err.Error(), HeaderResult) {
				t.Errorf("Result: %v", err)
			}
			if _, _, err := m.DeadLetter(); err == nil || !strings.Contains(err.Error(), HeaderDead) {
				t.Errorf("DeadLetter: %v", err)
			}
		})
	}
}
