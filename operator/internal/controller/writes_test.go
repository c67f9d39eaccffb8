package controller

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	networkingv1alpha1 "knative.dev/networking/pkg/apis/networking/v1alpha1"
	"knative.dev/pkg/apis"
	duckv1 "knative.dev/pkg/apis/duck/v1"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/serviceful/serviceful/operator/api/v1alpha1"
)

// TestWrites counts what it takes to bring a Function from new to Ready, and from one
// spec to the next, through all that Knative says meanwhile: the API server validates
// each write, and tells every watcher of it.
func TestWrites(t *testing.T) {
	w := start(t)
	fn := w.create("offers", offers)
	w.revision(fn, "offers-00001")
	w.rollOut(fn, "offers-00001")
	w.wrote(0, "create event", "patch function", "patch function/status", "patch function/status", "patch service", "patch serviceaccount")

	before := len(w.writes.since(0))
	change(w, fn, func(fn *v1alpha1.Function) { fn.Spec.Args = []string{"new"} })
	w.revision(fn, "offers-00002")
	w.rollOut(fn, "offers-00002")
	w.wrote(before, "create event", "patch function/status", "patch function/status", "patch service")
}

// TestBareCache has a Function kept without its annotations, and the API server keep
// them.
func TestBareCache(t *testing.T) {
	w := start(t)
	fn := w.create("offers", offers)
	change(w, fn, func(fn *v1alpha1.Function) {
		fn.Annotations = map[string]string{corev1.LastAppliedConfigAnnotation: "{}", "example.com/other": "x"}
	})
	w.ready(fn)
	w.cached(fn)
	kept := &v1alpha1.Function{}
	if err := w.operator.client.Get(t.Context(), client.ObjectKeyFromObject(fn), kept); err != nil {
		t.Fatal(err)
	}
	if len(kept.Annotations)+len(kept.ManagedFields) > 0 || kept.Spec.Image != image {
		t.Errorf("it is kept as %+v", kept)
	}
	w.get(fn)
	if len(fn.Annotations) != 2 || len(fn.Finalizers) != 1 {
		t.Errorf("the API server has the annotations %v and the finalizers %v", fn.Annotations, fn.Finalizers)
	}
}

// late is a cache that never gets what was written.
type late struct{ client.Client }

func (late) Get(ctx context.Context, _ client.ObjectKey, _ client.Object, opts ...client.GetOption) error {
	if (&client.GetOptions{}).ApplyOptions(opts).DisableReadYourWritesConsistency {
		return nil
	}
	<-ctx.Done()
	return ctx.Err()
}

// TestLateCache has a pass begin with what there is, sooner or later.
func TestLateCache(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &reconciler{client: late{}}
		if err := r.read(t.Context(), client.ObjectKey{Name: "offers"}, &v1alpha1.Function{}); err != nil {
			t.Error(err)
		}
	})
}

// undigested is a cluster whose revisions have images without a digest.
type undigested struct {
	client.Reader
	asked int
}

func (u *undigested) Get(context.Context, client.ObjectKey, client.Object, ...client.GetOption) error {
	u.asked++
	return nil
}

// TestNoDigest has a revision read once, also when it says nothing of its image.
func TestNoDigest(t *testing.T) {
	live := &undigested{}
	r := &reconciler{live: live, ledger: newLedger()}
	p := &pass{fn: &v1alpha1.Function{Status: v1alpha1.FunctionStatus{Image: "of an earlier revision"}}}
	for range 2 {
		if err := r.observeImage(t.Context(), p, "offers-00002"); err != nil {
			t.Fatal(err)
		}
	}
	if live.asked != 1 || p.fn.Status.Image != "" {
		t.Errorf("asked %d times, and the image is %q", live.asked, p.fn.Status.Image)
	}
}

// wrote checks what the operator wrote after the first n requests.
func (w *world) wrote(n int, want ...string) {
	w.t.Helper()
	got := func() (out []string) {
		for _, line := range w.writes.since(n) {
			method, path, _ := strings.Cut(line, " ")
			_, path, _ = strings.Cut(path, "/namespaces/"+w.ns+"/")
			kind, object, _ := strings.Cut(path, "/")
			_, part, _ := strings.Cut(object, "/")
			kind = strings.TrimSuffix(kind, "s")
			if part != "" {
				kind += "/" + part
			}
			out = append(out, map[string]string{"POST": "create", "PATCH": "patch"}[method]+" "+kind)
		}
		slices.Sort(out)
		return out
	}
	w.eventually("an event", func() bool { return slices.Contains(got(), "create event") }) // it is sent beside the passes
	if wrote := got(); !slices.Equal(wrote, want) {
		w.t.Errorf("wrote %q, want %q", wrote, want)
	}
}

// revision is one of a Function, with the digest of its image.
func (w *world) revision(fn *v1alpha1.Function, name string) (digest string) {
	w.t.Helper()
	digest = "registry.example.com/offers@sha256:" + strings.Repeat(name[len(name)-1:], 64)
	revision := &servingv1.Revision{ObjectMeta: metav1.ObjectMeta{Namespace: fn.Namespace, Name: name}}
	revision.Spec.Containers = []corev1.Container{{Image: image}}
	if err := w.kube.Create(w.t.Context(), revision); err != nil {
		w.t.Fatal(err)
	}
	revision.Status.ContainerStatuses = []servingv1.ContainerStatus{{Name: "user-container", ImageDigest: digest}}
	if err := w.kube.Status().Update(w.t.Context(), revision); err != nil {
		w.t.Fatal(err)
	}
	return digest
}

// rollOut plays what Knative does until a Function's revision is ready. The operator
// looks at the Function after each step.
func (w *world) rollOut(fn *v1alpha1.Function, revision string) {
	w.t.Helper()
	w.condition(fn, v1alpha1.ConditionReady, metav1.ConditionUnknown, v1alpha1.ReasonReconciling)
	steps := steps(fn, revision)
	for i, step := range steps {
		w.step(fn, step)
		if i < len(steps)-1 {
			w.cached(fn)
			w.reconcile(fn)
		}
	}
	w.condition(fn, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
	w.operatorSettled(fn)
}

func (w *world) step(fn *v1alpha1.Function, change func(*servingv1.ServiceStatus)) {
	w.t.Helper()
	for {
		s := w.service(fn)
		s.Status.ObservedGeneration = s.Generation
		change(&s.Status)
		err := w.kube.Status().Update(w.t.Context(), s)
		if err == nil {
			return
		}
		if !apierrors.IsConflict(err) {
			w.t.Fatal(err)
		}
	}
}

// steps are the writes of a Service's status by which Knative brings it to a revision,
// made by Knative's own code.
func steps(fn *v1alpha1.Function, revision string) []func(*servingv1.ServiceStatus) {
	configuration, route, ingress, all := &servingv1.ConfigurationStatus{}, &servingv1.RouteStatus{}, networkingv1alpha1.IngressStatus{}, int64(100)
	configuration.InitializeConditions()
	route.InitializeConditions()
	return []func(*servingv1.ServiceStatus){
		func(s *servingv1.ServiceStatus) {
			s.InitializeConditions()
			s.MarkConfigurationNotReconciled()
			s.MarkRouteNotReconciled()
		},
		func(s *servingv1.ServiceStatus) {
			configuration.SetLatestCreatedRevisionName(revision)
			s.PropagateConfigurationStatus(configuration)
		},
		func(s *servingv1.ServiceStatus) {
			route.URL = apis.HTTP(fn.Name + "." + fn.Namespace + ".svc.cluster.local")
			route.MarkTLSNotEnabled("")
			route.MarkConfigurationNotReady(fn.Name)
			s.PropagateRouteStatus(route)
		},
		func(s *servingv1.ServiceStatus) {
			configuration.SetLatestReadyRevisionName(revision)
			s.PropagateConfigurationStatus(configuration)
		},
		func(s *servingv1.ServiceStatus) {
			route.MarkTrafficAssigned()
			route.MarkIngressNotConfigured()
			route.Traffic = []servingv1.TrafficTarget{{RevisionName: revision, Percent: &all}}
			route.Address = &duckv1.Addressable{URL: route.URL}
			s.PropagateRouteStatus(route)
		},
		func(s *servingv1.ServiceStatus) {
			ingress.InitializeConditions()
			ingress.MarkLoadBalancerNotReady()
			route.PropagateIngressStatus(ingress)
			s.PropagateRouteStatus(route)
		},
		func(s *servingv1.ServiceStatus) {
			ingress.MarkNetworkConfigured()
			ingress.MarkLoadBalancerReady(nil, nil)
			route.PropagateIngressStatus(ingress)
			s.PropagateRouteStatus(route)
		},
	}
}
