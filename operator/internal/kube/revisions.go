package kube

import (
	"net"
	"strconv"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
	"knative.dev/pkg/apis"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"github.com/serviceful/serviceful/operator/internal/names"
)

// revisions knows which revision serves each function, and which revisions have
// a ready address. Its zero value is not ready for use.
type revisions struct {
	mu        sync.Mutex
	functions map[names.Function]*serving
	slices    map[types.NamespacedName]addresses
	ready     map[types.NamespacedName]*readiness // by revision
	public    map[types.NamespacedName]string     // address of a revision's own Service
}

// serving is what the Knative Service of a function says.
type serving struct {
	revision string        // that calls go to; "": none yet
	failed   string        // why there is no revision, "" while it is on its way
	changed  chan struct{} // closed when this value is no longer the last one
}

// addresses is what one EndpointSlice adds to a revision.
type addresses struct {
	revision types.NamespacedName
	ready    int
}

// readiness is whether a revision has a ready address.
type readiness struct {
	slices    int
	addresses int
	some      chan struct{} // closed once there is one; replaced when the last one goes
}

func newRevisions() *revisions {
	return &revisions{
		functions: map[names.Function]*serving{}, slices: map[types.NamespacedName]addresses{},
		ready: map[types.NamespacedName]*readiness{}, public: map[types.NamespacedName]string{},
	}
}

// service notes a function's Knative Service.
func (r *revisions) service(s *servingv1.Service) {
	name := names.Function{Namespace: s.Namespace, Name: s.Name}
	next := &serving{revision: servingRevision(s), changed: make(chan struct{})}
	if c := s.Status.GetCondition(apis.ConditionReady); next.revision == "" && c.IsFalse() && s.Status.ObservedGeneration == s.Generation {
		next.failed = strings.TrimSpace(c.Reason + ": " + c.Message)
	}
	r.replace(name, next)
}

func (r *revisions) noService(s *servingv1.Service) {
	r.replace(names.Function{Namespace: s.Namespace, Name: s.Name}, nil)
}

func (r *revisions) replace(name names.Function, next *serving) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if last := r.functions[name]; last != nil {
		if next != nil && last.revision == next.revision && last.failed == next.failed {
			return
		}
		close(last.changed)
	}
	if next == nil {
		delete(r.functions, name)
		return
	}
	r.functions[name] = next
}

// servingRevision is the revision that most of a Service's traffic goes to. A
// revision gets traffic once it is ready, and so has been proven to start.
func servingRevision(s *servingv1.Service) string {
	revision, most := "", int64(0)
	for _, t := range s.Status.Traffic {
		if t.Percent != nil && *t.Percent > most {
			revision, most = t.RevisionName, *t.Percent
		}
	}
	return revision
}

// front notes a revision's own Service. Its address is taken from here and not
// from DNS, whose answer may be of a Service that is gone: a Function that was
// removed and made again has the same first revision.
func (r *revisions) front(s *corev1.Service) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if ip := s.Spec.ClusterIP; ip != "" && ip != corev1.ClusterIPNone {
		r.public[types.NamespacedName{Namespace: s.Namespace, Name: s.Name}] = net.JoinHostPort(ip, frontPort(s))
	}
}

// frontPort is where a revision's own Service takes HTTP/1.1: Knative's is 80.
func frontPort(s *corev1.Service) string {
	for _, p := range s.Spec.Ports {
		if p.Name == "http" {
			return strconv.Itoa(int(p.Port))
		}
	}
	return "80"
}

func (r *revisions) noFront(s *corev1.Service) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.public, types.NamespacedName{Namespace: s.Namespace, Name: s.Name})
}

// address is where a revision's own Service listens, "" while it is not known.
func (r *revisions) address(revision types.NamespacedName) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.public[revision]
}

// slice notes an EndpointSlice of a revision's private Service.
func (r *revisions) slice(s *discoveryv1.EndpointSlice) {
	ready := 0
	for _, e := range s.Endpoints {
		if e.Conditions.Ready == nil || *e.Conditions.Ready { // unset is ready (EndpointConditions)
			ready += len(e.Addresses)
		}
	}
	r.count(sliceName(s), addresses{types.NamespacedName{Namespace: s.Namespace, Name: s.Labels[labelRevision]}, ready})
}

func (r *revisions) noSlice(s *discoveryv1.EndpointSlice) { r.count(sliceName(s), addresses{}) }

func sliceName(s *discoveryv1.EndpointSlice) types.NamespacedName {
	return types.NamespacedName{Namespace: s.Namespace, Name: s.Name}
}

// count replaces what a slice adds to a revision. A revision without slices is
// gone, and forgotten.
func (r *revisions) count(slice types.NamespacedName, now addresses) {
	r.mu.Lock()
	defer r.mu.Unlock()
	before, known := r.slices[slice]
	if known && before.revision == now.revision {
		r.slices[slice] = now
		r.change(now.revision, 0, now.ready-before.ready)
		return
	}
	if known {
		delete(r.slices, slice)
		if r.change(before.revision, -1, -before.ready).slices == 0 {
			delete(r.ready, before.revision)
		}
	}
	if now.revision.Name != "" {
		r.slices[slice] = now
		r.change(now.revision, 1, now.ready)
	}
}

func (r *revisions) change(revision types.NamespacedName, slices, ready int) *readiness {
	state := r.readiness(revision)
	before := state.addresses
	state.slices, state.addresses = state.slices+slices, before+ready
	switch {
	case before == 0 && state.addresses > 0:
		close(state.some)
	case before > 0 && state.addresses == 0:
		state.some = make(chan struct{})
	}
	return state
}

func (r *revisions) readiness(revision types.NamespacedName) *readiness {
	state := r.ready[revision]
	if state == nil {
		state = &readiness{some: make(chan struct{})}
		r.ready[revision] = state
	}
	return state
}

// find is what the Knative Service of a function says, nil where there is none.
// It is not changed any more.
func (r *revisions) find(f names.Function) *serving {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.functions[f]
}

// some is closed when a revision has a ready address.
func (r *revisions) some(revision types.NamespacedName) <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.readiness(revision).some
}
