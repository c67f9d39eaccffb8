package kube

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"knative.dev/pkg/apis"
	duckv1 "knative.dev/pkg/apis/duck/v1"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"github.com/serviceful/serviceful/operator/internal/invoke"
	"github.com/serviceful/serviceful/operator/internal/names"
)

var offers = names.Function{Namespace: "coop", Name: "offers"}

func worldOfNothing() *World {
	return &World{cfg: Config{Logger: slog.New(slog.DiscardHandler)}, revisions: newRevisions()}
}

// service is a Knative Service whose traffic goes to the revisions, by percent.
func service(change ...func(*servingv1.Service)) *servingv1.Service {
	s := &servingv1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: offers.Namespace, Name: offers.Name, Generation: 2}}
	s.Status.ObservedGeneration = 2
	for _, f := range change {
		f(s)
	}
	return s
}

func traffic(percents map[string]int64) func(*servingv1.Service) {
	return func(s *servingv1.Service) {
		for revision, percent := range percents {
			s.Status.Traffic = append(s.Status.Traffic, servingv1.TrafficTarget{RevisionName: revision, Percent: &percent})
		}
	}
}

func failed(s *servingv1.Service) {
	s.Status.Conditions = duckv1.Conditions{{Type: apis.ConditionReady, Status: "False", Reason: "RevisionFailed", Message: "the image cannot be pulled"}}
}

// front is the Service of a revision.
func front(revision, ip string) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: offers.Namespace, Name: revision}, Spec: corev1.ServiceSpec{ClusterIP: ip},
	}
}

// slice is an EndpointSlice of a revision: "+" is a ready address, "-" one that
// is not, "?" one of which nothing is said.
func slice(name, revision, endpoints string) *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Namespace: offers.Namespace, Name: name, Labels: map[string]string{labelRevision: revision}}}
	for _, sign := range endpoints {
		e := discoveryv1.Endpoint{Addresses: []string{"10.0.0.1"}}
		if ready := sign == '+'; sign != '?' {
			e.Conditions.Ready = &ready
		}
		s.Endpoints = append(s.Endpoints, e)
	}
	return s
}

func TestAcquire(t *testing.T) {
	tests := map[string]struct {
		service *servingv1.Service
		slices  []*discoveryv1.EndpointSlice
		address string
		warm    bool
		reason  invoke.StartReason
	}{
		"no service":           {reason: invoke.Unknown},
		"at zero":              {service: service(traffic(map[string]int64{"offers-00001": 100})), address: "offers-00001.coop.svc:80"},
		"its Service is known": {service: service(traffic(map[string]int64{"offers-00003": 100})), address: "10.96.0.3:80"},
		"warm": {
			service: service(traffic(map[string]int64{"offers-00001": 100})), slices: []*discoveryv1.EndpointSlice{slice("a", "offers-00001", "-+")},
			address: "offers-00001.coop.svc:80", warm: true,
		},
		"ready, as nothing is said": {
			service: service(traffic(map[string]int64{"offers-00001": 100})), slices: []*discoveryv1.EndpointSlice{slice("a", "offers-00001", "?")},
			address: "offers-00001.coop.svc:80", warm: true,
		},
		"another revision is warm": {
			service: service(traffic(map[string]int64{"offers-00002": 100})), slices: []*discoveryv1.EndpointSlice{slice("a", "offers-00001", "+"), slice("b", "offers-00002", "--")},
			address: "offers-00002.coop.svc:80",
		},
		"most of the traffic":      {service: service(traffic(map[string]int64{"offers-00001": 10, "offers-00002": 90})), address: "offers-00002.coop.svc:80"},
		"cannot start":             {service: service(failed), reason: invoke.Exited},
		"the new one cannot start": {service: service(failed, traffic(map[string]int64{"offers-00001": 100})), address: "offers-00001.coop.svc:80"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w := worldOfNothing()
			if test.service != nil {
				w.revisions.service(test.service)
			}
			for _, s := range test.slices {
				w.revisions.slice(s)
			}
			w.revisions.front(front("offers-00002", "10.96.0.2"))
			w.revisions.noFront(front("offers-00002", "10.96.0.2"))
			w.revisions.front(front("offers-00003", "10.96.0.3"))
			l, err := w.Acquire(t.Context(), offers)
			var start *invoke.StartError
			if errors.As(err, &start) != (test.reason != "") || start != nil && start.Reason != test.reason {
				t.Fatalf("error %v, want %q", err, test.reason)
			}
			if l.Address != test.address || test.address != "" && (l.Ready == nil) != test.warm {
				t.Errorf("address %q, warm %v", l.Address, l.Ready == nil)
			}
			if test.address == "" {
				return
			}
			if revision := test.service.Status.Traffic; !slices.ContainsFunc(revision, func(t servingv1.TrafficTarget) bool {
				return t.RevisionName == l.Header.Get("Knative-Serving-Revision")
			}) || l.Header.Get("Knative-Serving-Namespace") != "coop" {
				t.Errorf("headers %v", l.Header)
			}
		})
	}
}

// TestAcquireWaits checks that a call of a function that is being deployed waits
// for what becomes of it.
func TestAcquireWaits(t *testing.T) {
	tests := map[string]struct {
		then func(*World)
		want string // in the address or the error
	}{
		"until it is deployed": {func(w *World) { w.revisions.service(service(traffic(map[string]int64{"offers-00001": 100}))) }, "offers-00001."},
		"until it has failed":  {func(w *World) { w.revisions.service(service(failed)) }, "the image cannot be pulled"},
		"until it is removed":  {func(w *World) { w.revisions.noService(service()) }, "no Knative Service"},
		"not for ever":         {func(*World) {}, "still on its way"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := worldOfNothing()
				w.revisions.service(service())
				go func() {
					time.Sleep(time.Minute)
					w.revisions.service(service()) // nothing new
					time.Sleep(time.Minute)
					test.then(w)
				}()
				l, err := w.Acquire(t.Context(), offers)
				if !strings.Contains(fmt.Sprint(l.Address, err), test.want) {
					t.Errorf("lease of %q, %v; want %q", l.Address, err, test.want)
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				if _, err := w.Acquire(ctx, names.Function{Namespace: "coop", Name: "nobody"}); err == nil {
					t.Error("a lease of nobody")
				}
			})
		})
	}
}

func TestAcquireEndsWithItsCaller(t *testing.T) {
	w := worldOfNothing()
	w.revisions.service(service())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := w.Acquire(ctx, offers); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

// TestReadiness has slices come, change and go at random and checks that a
// lease's Ready is closed when, and only when, an address was ready since.
func TestReadiness(t *testing.T) {
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 0))
		r := newRevisions()
		ready := map[string]int{} // by slice
		revision := func(i int) string { return fmt.Sprint("offers-0000", i%2) }
		sum := func(of string) (n int) {
			for name, count := range ready {
				if revision(int(name[0]-'0')) == of {
					n += count
				}
			}
			return n
		}
		for range 200 {
			i := random.IntN(4)
			name, of := fmt.Sprint(i), revision(i)
			before := r.some(types.NamespacedName{Namespace: offers.Namespace, Name: of})
			wasReady := sum(of) > 0
			if random.IntN(4) == 0 {
				delete(ready, name)
				r.noSlice(slice(name, of, ""))
			} else {
				ready[name] = random.IntN(3)
				r.slice(slice(name, of, strings.Repeat("+", ready[name])+"-"))
			}
			if now := sum(of) > 0; isClosed(r.some(types.NamespacedName{Namespace: offers.Namespace, Name: of})) != now {
				t.Fatalf("seed %d: ready %v, want %v", seed, !now, now)
			} else if wasReady && !isClosed(before) {
				t.Fatalf("seed %d: what was ready is not", seed)
			}
		}
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// TestConcurrentUse is for the race detector.
func TestConcurrentUse(t *testing.T) {
	w := worldOfNothing()
	w.revisions.service(service(traffic(map[string]int64{"offers-00001": 100})))
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for j := range 200 {
				w.revisions.slice(slice(fmt.Sprint(i), "offers-00001", strings.Repeat("+", j%3)))
				if _, err := w.Acquire(t.Context(), offers); err != nil {
					t.Error(err)
				}
				w.revisions.service(service(traffic(map[string]int64{"offers-00001": 100})))
			}
		})
	}
	wg.Wait()
}

// TestWay reads answers that are of what stands before a function, and of functions.
func TestWay(t *testing.T) {
	for body, want := range map[string]map[int]invoke.Sign{
		"pending request queue full":                           {503: invoke.NotPassedOn, 502: invoke.Arrived},
		"context deadline exceeded":                            {503: invoke.NotPassedOn, 504: invoke.Arrived},
		"shutting down":                                        {503: invoke.NotPassedOn},
		"dial tcp 127.0.0.1:8080: connect: connection refused": {502: invoke.NotPassedOn, 503: invoke.Arrived},
		"dial tcp 10.2.0.7:8012: i/o timeout":                  {502: invoke.NotPassedOn},
		"dial tcp 10.2.0.9:5432: connect: connection refused":  {502: invoke.Arrived},
		"timed out dialing 10.2.0.7:8012 after 11.98s":         {502: invoke.NotPassedOn},
		"EOF":            {502: invoke.BrokeOff, 503: invoke.Arrived},
		"unexpected EOF": {502: invoke.BrokeOff},
		"read tcp 127.0.0.1:1->127.0.0.1:8080: read: connection reset by peer": {502: invoke.BrokeOff},
		"write tcp 127.0.0.1:1->127.0.0.1:8080: write: broken pipe":            {502: invoke.BrokeOff},
		"http: server closed idle connection":                                  {502: invoke.BrokeOff},
		"":                                                                     {502: invoke.Arrived, 503: invoke.Arrived},
		`{"error":"the dial tcp of my own upstream failed"}`:                   {502: invoke.Arrived, 503: invoke.Arrived},
	} {
		for status, want := range want {
			if got := way(status, body); got != want {
				t.Errorf("%d %q: %v, want %v", status, body, got, want)
			}
		}
	}
}
