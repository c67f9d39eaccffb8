package kube

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/serviceful/serviceful/operator/api/v1alpha1"
)

// TestWhatWires has the Functions wired anew for what the wiring goes by, and not
// for what the operator says of how they stand.
func TestWhatWires(t *testing.T) {
	condition := func(name string, status metav1.ConditionStatus, generation int64) func(client.Object) {
		return func(o client.Object) {
			fn := o.(*v1alpha1.Function)
			fn.Status.Conditions = append(fn.Status.Conditions, metav1.Condition{Type: name, Status: status, ObservedGeneration: generation})
		}
	}
	annotate := func(name string) func(client.Object) {
		return func(o client.Object) { o.SetAnnotations(map[string]string{name: "x"}) }
	}
	for name, test := range map[string]struct {
		before client.Object
		change func(client.Object)
		want   bool
	}{
		"nothing":                  {&v1alpha1.Function{}, func(client.Object) {}, false},
		"a spec":                   {&v1alpha1.Function{}, func(o client.Object) { o.SetGeneration(2) }, true},
		"another of the name":      {&v1alpha1.Function{}, func(o client.Object) { o.SetUID("other") }, true},
		"a finalizer":              {&v1alpha1.Function{}, func(o client.Object) { o.SetFinalizers([]string{"x"}) }, false},
		"Ready":                    {&v1alpha1.Function{}, condition(v1alpha1.ConditionReady, metav1.ConditionTrue, 1), false},
		"a count":                  {&v1alpha1.Function{}, func(o client.Object) { o.(*v1alpha1.Function).Status.Pending = 3 }, false},
		"consumers are there":      {&v1alpha1.Function{}, condition(v1alpha1.ConditionTriggersReady, metav1.ConditionTrue, 1), true},
		"consumers are on the way": {&v1alpha1.Function{}, condition(v1alpha1.ConditionTriggersReady, metav1.ConditionUnknown, 1), false},
		"a host":                   {namespaceMeta(), annotate(v1alpha1.HostAnnotation), true},
		"another annotation":       {namespaceMeta(), annotate("example.com/other"), false},
	} {
		t.Run(name, func(t *testing.T) {
			w := &World{changed: make(chan struct{}, 1)}
			test.before.SetGeneration(1)
			after := test.before.DeepCopyObject().(client.Object)
			test.change(after)
			w.onChange().OnUpdate(test.before, after)
			if got := len(w.changed) == 1; got != test.want {
				t.Errorf("it is wired anew: %t", got)
			}
		})
	}
}

// TestSecondSpec has new triggers tried again once their consumers are there: Ready
// they were before.
func TestSecondSpec(t *testing.T) {
	before := &v1alpha1.Function{ObjectMeta: metav1.ObjectMeta{Generation: 2}}
	before.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionTriggersReady, Status: metav1.ConditionTrue, ObservedGeneration: 1}}
	after := before.DeepCopy()
	after.Status.Conditions[0].ObservedGeneration = 2
	if wires(before) == wires(after) {
		t.Error("nobody hears of it")
	}
}
