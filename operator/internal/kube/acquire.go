package kube

import (
	"cmp"
	"context"
	"net/http"
	"regexp"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/serviceful/serviceful/operator/internal/invoke"
	"github.com/serviceful/serviceful/operator/internal/names"
)

// What tells the activator which revision a request is for
// (knative.dev/serving/pkg/activator, whose import would bring in all of it).
const (
	headerNamespace = "Knative-Serving-Namespace"
	headerRevision  = "Knative-Serving-Revision"
)

// way reads what Knative's activator and queue-proxy may have answered themselves. A
// 503 is of knative.dev/serving/pkg/queue (a full queue, a wait that took too long) or
// knative.dev/pkg/network/handlers (an instance that is going). A 502 has the error of
// the connection to the next one on the way, or to the function
// (knative.dev/pkg/network, ErrorHandler and DialWithBackOff; net/http, Transport).
func way(status int, body string) invoke.Sign {
	switch {
	case status == http.StatusServiceUnavailable && refusals[body], status == http.StatusBadGateway && unreached.MatchString(body):
		return invoke.NotPassedOn
	case status == http.StatusBadGateway && brokeOff.MatchString(body):
		return invoke.BrokeOff
	}
	return invoke.Arrived
}

var (
	refusals = map[string]bool{"pending request queue full": true, "context deadline exceeded": true, "shutting down": true}
	// The addresses are queue-proxy's, and the function's as queue-proxy has it: a
	// function that passes on such an error of its own upstream has been called.
	unreached = regexp.MustCompile(`^(dial tcp|timed out dialing) (127\.0\.0\.1:\d+|\S+:(8012|8112))\b`)
	brokeOff  = regexp.MustCompile(`^[^\n]*(EOF|connection reset by peer|broken pipe|use of closed network connection|server closed idle connection)$`)
)

// Acquire is the right to call a function. It waits for the function's first
// revision, which Knative proves to start, and not for a ready instance: where
// there is none, the request itself, waiting in Knative's activator, is what
// starts one.
func (w *World) Acquire(ctx context.Context, f names.Function) (invoke.Lease, error) {
	limit := time.NewTimer(invoke.StartLimit)
	defer limit.Stop()
	for {
		s := w.revisions.find(f)
		switch {
		case s == nil:
			return invoke.Lease{}, &invoke.StartError{Function: f, Reason: invoke.Unknown, Detail: "it has no Knative Service yet; kubectl describe function " + f.Name}
		case s.revision != "":
			return w.lease(f, s.revision), nil
		case s.failed != "":
			return invoke.Lease{}, &invoke.StartError{Function: f, Reason: invoke.Exited, Detail: s.failed}
		}
		select {
		case <-s.changed:
		case <-limit.C:
			return invoke.Lease{}, &invoke.StartError{Function: f, Reason: invoke.NeverListened, Detail: "its first revision is still on its way"}
		case <-ctx.Done():
			return invoke.Lease{}, ctx.Err()
		}
	}
}

// lease leads to a revision's own Service, which with Knative's burst capacity
// unlimited is always its activator: one hop less than the ingress. The activator
// is told the revision by headers (it takes them off), so that the function sees
// the caller's own Host.
func (w *World) lease(f names.Function, name string) invoke.Lease {
	revision := types.NamespacedName{Namespace: f.Namespace, Name: name}
	l := invoke.Lease{
		Address: cmp.Or(w.revisions.address(revision), name+"."+f.Namespace+".svc:80"),
		Header:  http.Header{headerNamespace: {f.Namespace}, headerRevision: {name}},
		Ready:   w.revisions.some(revision),
		Way:     way,
		Release: func() {},
	}
	select {
	case <-l.Ready:
		l.Ready = nil // warm: nothing to wait for
	default:
	}
	return l
}
