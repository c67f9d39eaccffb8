package e2e

import (
	"fmt"
	"strings"
	"testing"
)

// TestUpdate changes a function under load and then applies the old manifest
// again: no request fails, no call is lost, and what was applied last serves.
func TestUpdate(t *testing.T) {
	s := newSpace(t)
	r := newRecorder(t)
	version := func(v string) string { return s.stub("worker", workerRest, "RECORDER="+r.url, "VERSION="+v) }
	s.apply(version("old")+s.stub("source", sourceRest), "worker", "source")
	l := newLoad(s)
	l.messages()
	l.requests()
	l.goesOn(r)

	for _, v := range []string{"new", "old"} {
		s.apply(version(v), "worker")
		s.eventually("version "+v+" alone serves", func() bool {
			other := map[string]string{"new": "old", "old": "new"}[v]
			before, wrong := l.answered(v), l.answered(other)
			s.eventually("there are more answers", func() bool { return l.answered(v)+l.answered(other) >= before+wrong+20 })
			return l.answered(other) == wrong
		})
		l.goesOn(r)
	}
	l.delivered(r)
	l.noneFailed()
}

// noneFailed checks that there were synchronous requests, and that none failed.
func (l *load) noneFailed() {
	l.s.Helper()
	l.stop()
	if len(l.answers) == 0 {
		l.s.Error("no request was answered")
	}
	if len(l.failed) > 0 {
		l.s.Errorf("%d requests failed, besides %v: %s", len(l.failed), l.answers, strings.Join(l.failed[:min(len(l.failed), 10)], "\n"))
	}
}

// TestRollOut replaces the gateway, the dispatcher and the operator under load:
// nothing is refused or lost.
func TestRollOut(t *testing.T) {
	s := newSpace(t)
	r := newRecorder(t)
	s.apply(s.stub("worker", workerRest, "RECORDER="+r.url, "VERSION=1")+s.stub("source", sourceRest), "worker", "source")
	l := newLoad(s)
	l.messages()
	l.requests()
	long := make(chan string)
	go func() { // it lasts for longer than a pod of the gateway is given by Kubernetes' default
		a, err := s.call("POST", "/version?after=45s", "")
		long <- fmt.Sprint(a.status, " ", a.body, " ", err)
	}()
	for _, part := range []string{"gateway", "dispatcher", "operator"} {
		l.goesOn(r)
		s.restart(part)
	}
	if got := <-long; got != "200 1 <nil>" {
		t.Errorf("a call under way while the gateway was replaced: %s", got)
	}
	l.goesOn(r)
	if n := l.delivered(r); n > 0 {
		t.Errorf("%d messages were handled again, though every dispatcher ended in order", n)
	}
	l.noneFailed()
	if len(l.refused) > 0 {
		t.Errorf("%d messages were not accepted at once: %s", len(l.refused), strings.Join(l.refused[:min(len(l.refused), 10)], "\n"))
	}
}

// restart replaces the pods of a part.
func (s *space) restart(part string) {
	s.Helper()
	deployment := "deployment/serviceful-" + part
	s.kubectl("", "-n", system, "rollout", "restart", deployment)
	s.kubectl("", "-n", system, "rollout", "status", "--timeout=240s", deployment)
	s.eventually("the old "+part+" has ended", func() bool {
		pods := s.kubectl("", "-n", system, "get", "pods", "-l", "app.kubernetes.io/part-of=serviceful,app.kubernetes.io/name="+part, "-o", "name")
		return len(strings.Fields(pods)) == 1
	})
}

// TestOperatorRestart has a new operator look at Functions that are as they
// should be: it writes nothing. That it has looked is seen by a Function that is
// new to it, and by the Lease, which it holds.
func TestOperatorRestart(t *testing.T) {
	s := newSpace(t)
	s.apply(s.quick(), "membership", "offers", "notifications")
	versions := func() string {
		return s.kubectl("", "-n", s.name, "get", "functions,ksvc", "-o", `jsonpath={range .items[?(@.metadata.name!="late")]}{.kind}/{.metadata.name} {.metadata.resourceVersion}{"\n"}{end}`)
	}
	leader := func() string {
		return s.kubectl("", "-n", system, "get", "lease", "-o", "jsonpath={.items[*].spec.holderIdentity}")
	}
	s.eventually("all functions are at zero, and nothing is left to say of them", func() bool {
		before := versions()
		s.eventually("all functions are at zero", func() bool { return s.pods() == 0 })
		return versions() == before
	})
	before, old := versions(), leader()
	s.restart("operator")
	s.apply(s.stub("late", "scale: {max: 1}"), "late")
	if leader() == old {
		t.Errorf("the lease is still %s's", old)
	}
	if after := versions(); after != before || !strings.Contains(before, "membership") {
		t.Errorf("a new operator has changed something. Before:\n%s\nafter:\n%s", before, after)
	}
}
