package e2e

import (
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/serviceful/serviceful/operator/internal/testkit/smtpsink"
)

// TestSharedBucket has two functions share a bucket, one of which may only read.
func TestSharedBucket(t *testing.T) {
	t.Parallel()
	s := newSpace(t)
	function := func(name, access string) string {
		return s.stub(name, `
bindings: [{keyValue: {bucket: shared, access: `+access+`}}]
triggers: [{name: values, http: {methods: [GET, PUT], path: "/`+name+`/values/{key}"}}]`)
	}
	s.apply(function("writer", "ReadWrite")+function("reader", "Read"), "writer", "reader")
	s.mustCall(404, "GET", "/reader/values/colour", "")
	s.mustCall(200, "PUT", "/writer/values/colour", `"green"`)
	if a := s.mustCall(200, "GET", "/reader/values/colour", ""); a.body != `"green"` {
		t.Errorf("the reader sees %s", a.body)
	}
	s.mustCall(403, "PUT", "/reader/values/colour", `"red"`)
	if a := s.mustCall(200, "GET", "/writer/values/colour", ""); a.body != `"green"` {
		t.Errorf("the writer sees %s, which the reader must not have written", a.body)
	}
}

// TestPython has a function in Python, whose image was made without Docker, use
// each of the services: keys, events and mail.
func TestPython(t *testing.T) {
	t.Parallel()
	s := newSpace(t)
	sink := mailServer(s)
	r := newRecorder(t)
	manifest, err := os.ReadFile("../../examples/python-greeter/function.yaml")
	if err != nil {
		t.Fatal(err)
	}
	greeter := strings.NewReplacer("example.com/python-greeter:latest", os.Getenv("E2E_GREETER"), "namespace: coop", "namespace: "+s.name).Replace(string(manifest))
	s.kubectl("", "label", "namespace", s.name, "pod-security.kubernetes.io/enforce=restricted")
	s.apply(greeter+s.stub("listener", `
emits: [membership.member.joined.v1]
triggers:
- {name: publish, http: {methods: [POST], path: "/publish/{id}"}}
- {name: posted, event: {types: [greeter.greeting.posted.v1]}, path: /events}
- {name: greeted, event: {types: [greeter.member.greeted.v1]}, path: /events}`, "RECORDER="+r.url), "greeter", "listener")

	for _, visits := range []string{`"visits": 1`, `"visits": 2`} {
		if a := s.mustCall(200, "GET", "/greetings/Ada", ""); !strings.Contains(a.body, "Hello, Ada!") || !strings.Contains(a.body, visits) {
			t.Errorf("it answered %s, want %s", a.body, visits)
		}
	}
	call := s.mustCall(202, "POST", "/greetings/Ada", "Hi!")
	id := strings.TrimPrefix(call.header.Get("Location"), "/calls/")
	s.eventually("its greeting is heard", func() bool { return r.has("posted/" + id) })

	s.mustCall(http.StatusAccepted, "POST", "/publish/joined-1?type=membership.member.joined.v1", `{"number": "`+s.name+`"}`)
	s.eventually("its answer to an event is heard", func() bool { return r.has("greeted/greeted-joined-1") })
	s.eventually("its mail is there", func() bool {
		return slices.ContainsFunc(sink.Messages(), func(m smtpsink.Message) bool { return strings.Contains(m.Text, s.name) })
	})
}

// TestKubectl checks what a person sees of a Function that fails and is mended.
func TestKubectl(t *testing.T) {
	t.Parallel()
	s := newSpace(t)
	good := s.stub("stub", "scale: {max: 1}")
	s.kubectl(strings.Replace(good, os.Getenv("E2E_STUB"), "ko://example.com/stub", 1), "apply", "-f", "-")
	s.kubectl("", "-n", s.name, "wait", "--for=condition=Stalled", "--timeout=240s", "function/stub")
	if out, err := s.tryKubectl("", "-n", s.name, "wait", "--for=condition=Ready", "--timeout=1s", "fn/stub"); err == nil {
		t.Errorf("it is Ready without an image: %s", out)
	}
	s.apply(good, "stub")
	s.eventually("kubectl describe tells what happened", func() bool {
		text := s.kubectl("", "-n", s.name, "describe", "fn", "stub")
		_, events, _ := strings.Cut(text, "Events:")
		return strings.Contains(events, "ImageNotBuilt") && strings.Contains(events, "ko apply") && strings.Contains(events, "Ready")
	})
	if text := s.kubectl("", "explain", "function.spec.triggers.delivery.retry"); !strings.Contains(text, "Retry is") {
		t.Errorf("kubectl explain says:\n%s", text)
	}
	if text := s.kubectl("", "-n", s.name, "get", "fn"); !strings.Contains(text, "True") || !strings.Contains(text, "PENDING") {
		t.Errorf("kubectl get fn says:\n%s", text)
	}
}
