package controller

import (
	"testing"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/serviceful/serviceful/operator/api/v1alpha1"
)

// kstatus is what tools that wait for objects of any kind make of a Function.
func (w *world) kstatus(fn *v1alpha1.Function) status.Status {
	w.t.Helper()
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("Function"))
	u.SetNamespace(fn.Namespace)
	u.SetName(fn.Name)
	w.get(u)
	result, err := status.Compute(u)
	if err != nil {
		w.t.Fatal(err)
	}
	return result.Status
}

// TestKstatus has a Function in each state and checks what kstatus makes of it:
// helm install --wait, Flux and Argo CD go by that.
func TestKstatus(t *testing.T) {
	w := start(t)
	want := func(fn *v1alpha1.Function, want status.Status) {
		t.Helper()
		if got := w.kstatus(fn); got != want {
			w.get(fn)
			t.Errorf("it is %s, want %s: %+v", got, want, fn.Status)
		}
	}
	unseen := w.createIn(namespace(t, w.kube), "offers", offers) // where no operator looks
	want(unseen, status.InProgressStatus)

	fn := w.create("offers", offers)
	w.condition(fn, v1alpha1.ConditionReady, metav1.ConditionUnknown, v1alpha1.ReasonReconciling)
	want(fn, status.InProgressStatus)
	w.ready(fn)
	want(fn, status.CurrentStatus)

	w.stop()
	change(w, fn, func(fn *v1alpha1.Function) { fn.Spec.Args = []string{"new"} })
	want(fn, status.InProgressStatus) // Ready is about what it was before
	w.operate(w.ns)
	w.condition(fn, v1alpha1.ConditionReady, metav1.ConditionUnknown, v1alpha1.ReasonReconciling)
	want(fn, status.InProgressStatus)

	w.knative(fn, corev1.ConditionFalse, "RevisionFailed", "it does not start")
	w.condition(fn, v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonServiceFailed)
	want(fn, status.FailedStatus)
	w.ready(fn)
	want(fn, status.CurrentStatus)

	change(w, fn, func(fn *v1alpha1.Function) { fn.Finalizers = append(fn.Finalizers, "example.com/hold") })
	w.delete(fn)
	want(fn, status.TerminatingStatus)
	change(w, fn, func(fn *v1alpha1.Function) { fn.Finalizers = nil })
}
