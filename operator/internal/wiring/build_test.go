package wiring

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/serviceful/serviceful/operator/api/v1alpha1"
	"github.com/serviceful/serviceful/operator/internal/names"
)

var laptop = Hosts{Domain: "localhost", Any: true}

// fn is a Function: its id is "<namespace>/<name>", its age seconds; the older,
// the more.
func fn(id string, age int, triggers ...v1alpha1.Trigger) v1alpha1.Function {
	f := v1alpha1.Function{}
	f.Namespace, f.Name, _ = strings.Cut(id, "/")
	f.CreationTimestamp = metav1.NewTime(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).Add(-time.Duration(age) * time.Second))
	f.Spec.Triggers = triggers
	return f
}

// syncHTTP is a trigger such as "GET,POST /a".
func syncHTTP(name, route string, hosts ...string) v1alpha1.Trigger {
	methods, path, ok := strings.Cut(route, " ")
	source := &v1alpha1.HTTPSource{Path: path, Hosts: hosts, Methods: strings.Split(methods, ",")}
	if !ok {
		source.Path, source.Methods = route, nil
	}
	return v1alpha1.Trigger{Name: name, HTTP: source}
}

func asyncHTTP(name, route string, hosts ...string) v1alpha1.Trigger {
	t := syncHTTP(name, route, hosts...)
	t.HTTP.Async = true
	return t
}

func onEvent(name string, types ...string) v1alpha1.Trigger {
	return v1alpha1.Trigger{Name: name, Event: &v1alpha1.EventSource{Types: types}}
}

func bucket(name string, access v1alpha1.Access) v1alpha1.Binding {
	return v1alpha1.Binding{KeyValue: &v1alpha1.KeyValueBinding{Bucket: name, Access: access}}
}

// answer is who answers "POST host/path": "<namespace>/<name> <trigger>", or "".
func answer(s *Snapshot, request string) string {
	method, url, _ := strings.Cut(request, " ")
	host, path, _ := strings.Cut(url, "/")
	r, _, ok := s.Match(host, method, "/"+path)
	if !ok {
		return ""
	}
	return r.Function.String() + " " + r.Trigger
}

// dump is all there is to a snapshot, with the answers to requests.
func dump(s *Snapshot, requests []string) string {
	var lines []string
	add := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	for _, name := range slices.SortedFunc(maps.Keys(s.Functions), func(a, b names.Function) int { return strings.Compare(a.String(), b.String()) }) {
		add("function %+v", *s.Functions[name])
	}
	for _, sub := range s.Subscriptions {
		copied := *sub
		copied.Match = nil
		add("subscription %+v, filtered: %v", copied, sub.Match != nil)
	}
	for _, r := range s.Routes() {
		add("route %+v", *r)
	}
	for _, p := range s.Problems {
		add("problem %s %s", p.Reason, p)
	}
	for _, r := range requests {
		host, path, _ := strings.Cut(strings.TrimPrefix(r, "GET "), "/")
		owner, everyone := s.OwnerOf(host)
		add("%s: %s, allowed %v, owner %q, everyone %v", r, answer(s, r), s.Allowed(host, "/"+path), owner, everyone)
	}
	return strings.Join(lines, "\n")
}

func subscription(t *testing.T, s *Snapshot, key string) *Subscription {
	t.Helper()
	for _, sub := range s.Subscriptions {
		if sub.Key() == key {
			return sub
		}
	}
	t.Fatalf("there is no subscription %q", key)
	return nil
}
