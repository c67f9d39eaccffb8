package controller

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/serviceful/serviceful/operator/api/v1alpha1"
	"github.com/serviceful/serviceful/operator/internal/names"
	"github.com/serviceful/serviceful/operator/internal/wiring"
)

const offers = `
bindings: [{keyValue: {bucket: things}}]
triggers:
- {name: list, http: {methods: [GET], path: /offers}}
- {name: redeem, http: {methods: [POST], path: /redeem, async: true}}
- {name: welcome, event: {types: [member.joined]}}
`

func TestReady(t *testing.T) {
	w := start(t)
	fn := w.create("offers", offers)
	digest := w.revision(fn, "offers-00001")
	w.condition(fn, v1alpha1.ConditionReady, metav1.ConditionUnknown, v1alpha1.ReasonReconciling)
	w.condition(fn, v1alpha1.ConditionTriggersReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
	w.condition(fn, v1alpha1.ConditionBindingsReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "offers"}}
	w.get(account)
	if *account.AutomountServiceAccountToken || !metav1.IsControlledBy(account, fn) {
		t.Errorf("account: %v", account)
	}
	if s := w.service(fn); !metav1.IsControlledBy(s, fn) || s.Spec.Template.Spec.Containers[0].Image != image {
		t.Errorf("service: %v", s)
	}
	if got := w.consumers(); !slices.Equal(got, []string{"EV/offers_welcome", "WORK/mail", "WORK/offers_redeem"}) {
		t.Errorf("consumers: %q", got)
	}

	w.ready(fn)
	if fn.Status.Image != digest || fn.Status.Address == nil || fn.Status.Address.URL != "http://offers."+w.ns+".svc.cluster.local" {
		t.Errorf("status: %+v", fn.Status)
	}
	if len(fn.Status.Triggers) != 3 || len(fn.Status.Conditions) != 4 {
		t.Errorf("status: %+v", fn.Status)
	}
	w.eventually("an event", func() bool { return slices.Contains(w.events(), "Normal Ready") }, func() any { return w.events() })
}

// consumers are what there is of them in the namespace, without its name.
func (w *world) consumers() (out []string) {
	w.t.Helper()
	s, err := w.layout.Survey(w.t.Context(), w.ns, &wiring.Snapshot{}, time.Now())
	if err != nil {
		w.t.Fatal(err)
	}
	for key := range s.Triggers {
		out = append(out, strings.Replace(key, "_"+w.ns, "", 1))
	}
	slices.Sort(out)
	return out
}

func (w *world) events() (out []string) {
	w.t.Helper()
	var list corev1.EventList
	if err := w.kube.List(w.t.Context(), &list); err != nil {
		w.t.Fatal(err)
	}
	for _, e := range list.Items {
		if e.Namespace == w.ns {
			out = append(out, e.Type+" "+e.Reason)
		}
	}
	return out
}

// TestSettled has a Function that is as it should be cost nothing but reads of
// the cache, even when the operator has just started.
func TestSettled(t *testing.T) {
	w := start(t)
	fn := w.create("offers", offers)
	w.ready(fn)
	service := w.service(fn)
	w.operatorSettled(fn)
	before := len(w.writes.since(0))
	for range 3 {
		w.reconcile(fn)
	}
	if wrote := w.writes.since(before); len(wrote) != 0 {
		t.Errorf("wrote %q", wrote)
	}

	w.stop()
	w.operate(w.ns)
	w.surveyed(fn)
	w.reconcile(fn)
	if wrote := w.writes.since(0); len(wrote) != 0 {
		t.Errorf("wrote after a restart: %q", wrote)
	}
	old, oldService := fn.DeepCopy(), service.DeepCopy()
	w.get(fn)
	w.get(service)
	if !reflect.DeepEqual(old, fn) {
		t.Errorf("a restart has changed the Function from %+v to %+v", old, fn)
	}
	if !reflect.DeepEqual(oldService, service) {
		t.Errorf("a restart has changed the Knative Service from %+v to %+v", oldService, service)
	}
}

// surveyed waits until the operator has looked at all triggers that NATS knows.
func (w *world) surveyed(fn *v1alpha1.Function) {
	w.t.Helper()
	known := 0
	for _, t := range fn.Spec.Triggers {
		if t.HTTP == nil || t.HTTP.Async {
			known++
		}
	}
	w.eventually("a survey", func() bool {
		seen := w.operator.ledger.facts(names.Function{Namespace: fn.Namespace, Name: fn.Name})
		return seen != nil && len(seen.triggers) == known
	})
}

// operatorSettled waits until a Ready Function gives the operator nothing more
// to say: its event is out, what the survey saw is in its status, and the cache
// has what was written, the Function and its Knative Service.
func (w *world) operatorSettled(fn *v1alpha1.Function) {
	w.t.Helper()
	w.surveyed(fn)
	w.cached(fn) // or this reconcile would tell of Ready once more
	w.reconcile(fn)
	w.eventually("its event", func() bool { return slices.Contains(w.events(), "Normal Ready") })
	w.cached(fn)
}

// cached waits until the cache has a Function and its Knative Service as they are.
func (w *world) cached(fn *v1alpha1.Function) {
	w.t.Helper()
	w.eventually("the cache is up to date", func() bool {
		w.get(fn)
		seen := func(live, cached client.Object) bool {
			err := w.operator.client.Get(w.t.Context(), client.ObjectKeyFromObject(fn), cached)
			return err == nil && cached.GetResourceVersion() == live.GetResourceVersion()
		}
		return seen(fn, &v1alpha1.Function{}) && seen(w.service(fn), &servingv1.Service{})
	})
}

func TestKnativeFails(t *testing.T) {
	w := start(t)
	fn := w.create("offers", offers)
	w.knative(fn, corev1.ConditionFalse, "RevisionMissing", "image cannot be pulled")
	c := w.condition(fn, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonServiceFailed)
	if c.Message != "RevisionMissing: image cannot be pulled" {
		t.Errorf("message: %s", c.Message)
	}
	w.eventually("an event", func() bool { return slices.Contains(w.events(), "Warning ServiceFailed") })
	w.ready(fn)

	change(w, fn, func(fn *v1alpha1.Function) { fn.Spec.Args = []string{"new"} })
	w.condition(fn, v1alpha1.ConditionReady, metav1.ConditionUnknown, v1alpha1.ReasonReconciling)
	w.eventually("the new args", func() bool { return len(w.service(fn).Spec.Template.Spec.Containers[0].Args) == 1 })
	w.ready(fn)
}

func TestImageNotBuilt(t *testing.T) {
	w := start(t)
	fn := w.create("offers", offers)
	w.ready(fn)
	change(w, fn, func(fn *v1alpha1.Function) { fn.Spec.Image = "ko://example.com/offers" })
	c := w.condition(fn, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonImageNotBuilt)
	if !strings.Contains(c.Message, "ko apply") {
		t.Errorf("message: %s", c.Message)
	}
	if got := w.service(fn).Spec.Template.Spec.Containers[0].Image; got != image {
		t.Errorf("what ran is now %s", got)
	}
}

func TestNameTaken(t *testing.T) {
	for name, foreign := range map[string]func(metav1.ObjectMeta) client.Object{
		"Service": func(m metav1.ObjectMeta) client.Object {
			return &corev1.Service{ObjectMeta: m, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}}}
		},
		"Knative Service": func(m metav1.ObjectMeta) client.Object {
			s := &servingv1.Service{ObjectMeta: m}
			s.Spec.Template.Spec.Containers = []corev1.Container{{Image: "theirs"}}
			return s
		},
		"ServiceAccount": func(m metav1.ObjectMeta) client.Object { return &corev1.ServiceAccount{ObjectMeta: m} },
		"one that claims to be ours": func(m metav1.ObjectMeta) client.Object {
			m.Labels = map[string]string{"app.kubernetes.io/managed-by": "serviceful"}
			return &corev1.ServiceAccount{ObjectMeta: m}
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := start(t)
			o := foreign(metav1.ObjectMeta{Namespace: w.ns, Name: "offers"})
			if err := w.kube.Create(t.Context(), o); err != nil {
				t.Fatal(err)
			}
			before := o.GetResourceVersion()
			fn := w.create("offers", offers)
			w.condition(fn, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonNameTaken)
			w.condition(fn, v1alpha1.ConditionTriggersReady, metav1.ConditionTrue, v1alpha1.ReasonReady) // calls are kept
			w.get(o)
			if o.GetResourceVersion() != before {
				t.Errorf("it was changed: %v", o)
			}
			w.delete(o)
			w.reconcile(fn)
			w.ready(fn)
		})
	}
}

// TestOthersChanges has the operator put back what it set, and leave alone what
// it did not.
func TestOthersChanges(t *testing.T) {
	w := start(t)
	fn := w.create("offers", offers)
	w.ready(fn)
	service := w.service(fn)
	change(w, service, func(s *servingv1.Service) { s.Spec.Template.Spec.Containers[0].Image = "evil" })
	w.eventually("its image again", func() bool { return w.service(fn).Spec.Template.Spec.Containers[0].Image == image })

	w.ready(fn)
	w.operatorSettled(fn) // or it would put its image back once more, over what comes now
	change(w, service, func(s *servingv1.Service) {
		s.Annotations["serving.knative.dev/creator"] = "somebody"
		s.Spec.Template.Spec.Containers[0].WorkingDir = "/" // as a default of the webhook would
	})
	w.ready(fn)
	w.operatorSettled(fn)
	before := w.service(fn).ResourceVersion
	w.reconcile(fn)
	if s := w.service(fn); s.Annotations["serving.knative.dev/creator"] != "somebody" || s.Spec.Template.Spec.Containers[0].WorkingDir != "/" || s.ResourceVersion != before {
		t.Errorf("what others set was taken away: %v", s)
	}

	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "offers"}}
	w.delete(account)
	w.eventually("its account again", func() bool { return w.exists(account) })
}

// TestAcrossFunctions is about what only the whole set shows.
func TestAcrossFunctions(t *testing.T) {
	w := start(t)
	older := w.create("a", "triggers: [{name: list, http: {path: /offers}}]")
	w.ready(older)
	newer := w.create("b", "triggers: [{name: list, http: {path: /offers}}, {name: other, http: {path: /other}}]")
	w.knative(newer, corev1.ConditionTrue, "", "")
	c := w.condition(newer, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonRouteTaken)
	if !strings.Contains(c.Message, "trigger list: ") || !strings.Contains(c.Message, w.ns+"/a") {
		t.Errorf("message: %s", c.Message)
	}
	if s := newer.Status.Triggers; s[0].Ready || s[0].Reason != v1alpha1.ReasonRouteTaken || !s[1].Ready {
		t.Errorf("triggers: %+v", s)
	}
	w.condition(older, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
	w.delete(older)
	w.condition(newer, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
}

// TestBoundFunction has a Function bind one that is not there yet, and then goes.
func TestBoundFunction(t *testing.T) {
	w := start(t)
	caller := w.create("caller", "bindings: [{function: {name: called}}]")
	c := w.condition(caller, v1alpha1.ConditionBindingsReady, metav1.ConditionFalse, v1alpha1.ReasonFunctionNotFound)
	if !strings.Contains(c.Message, `"called"`) {
		t.Errorf("it says %q", c.Message)
	}
	w.knative(caller, corev1.ConditionTrue, "", "")
	w.condition(caller, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonFunctionNotFound)
	called := w.create("called", "")
	w.condition(caller, v1alpha1.ConditionBindingsReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
	w.condition(caller, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
	w.delete(called)
	w.condition(caller, v1alpha1.ConditionBindingsReady, metav1.ConditionFalse, v1alpha1.ReasonFunctionNotFound)
}

func TestHostOfANamespace(t *testing.T) {
	w := start(t)
	w.stop()
	other := namespace(t, w.kube)
	w.operate(w.ns, other)
	host := "shop-" + w.ns + ".example.org"
	claims := w.create("claims", "triggers: [{name: list, http: {hosts: ["+host+"], path: /}}]")
	w.ready(claims)
	owner := w.createIn(other, "owner", "triggers: [{name: list, http: {path: /}}]")
	w.ready(owner)
	change(w, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: other}}, func(ns *corev1.Namespace) {
		ns.Annotations = map[string]string{v1alpha1.HostAnnotation: host}
	})
	w.condition(claims, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonRouteTaken)
	w.condition(owner, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
}

// TestEveryField has the Knative Service keep each field that a spec can set: one
// that Knative's kind does not know would be applied again and again.
func TestEveryField(t *testing.T) {
	w := start(t)
	fn := w.create("offers", `
command: [/offers]
args: [-v]
env:
- {name: PLAIN, value: x}
- {name: SECRET, valueFrom: {secretKeyRef: {name: s, key: k, optional: true}}}
- {name: CONFIG, valueFrom: {configMapKeyRef: {name: c, key: k}}}
envFrom: [{prefix: P_, configMapRef: {name: c, optional: true}}, {secretRef: {name: s}}]
resources: {requests: {cpu: 0.1, memory: 64Mi}, limits: {memory: 0.5Gi}}
imagePullSecrets: [{name: pull}]
timeout: 1m30s
scale: {min: 1, max: 7, concurrency: 0, idle: 90s}
volumes:
- {name: secret, secret: {secretName: s, items: [{key: k, path: p, mode: 256}], defaultMode: 256, optional: true}}
- {name: config, configMap: {name: c, items: [{key: k, path: p}], defaultMode: 420, optional: false}}
- {name: both, projected: {defaultMode: 292, sources: [{secret: {name: s, items: [{key: k, path: a}]}}, {configMap: {name: c, optional: true}}, {serviceAccountToken: {audience: vault, expirationSeconds: 600, path: t}}]}}
- {name: tmp, emptyDir: {medium: Memory, sizeLimit: 1Mi}}
volumeMounts:
- {name: secret, mountPath: /secret}
- {name: config, mountPath: /config, readOnly: true}
- {name: both, mountPath: /both}
- {name: tmp, mountPath: /tmp, subPath: x}
`)
	w.ready(fn)
	w.operatorSettled(fn)
	before := len(w.writes.since(0))
	w.reconcile(fn)
	if wrote := w.writes.since(before); len(wrote) != 0 || w.service(fn).Generation != 1 {
		t.Errorf("wrote %q, generation %d", wrote, w.service(fn).Generation)
	}
}

// TestRefused has what the API server does not take said in its words, and tried
// no more than now and then.
func TestRefused(t *testing.T) {
	w := start(t)
	fn := w.create("offers", "volumes: [{name: a, secret: {secretName: s}}]\nvolumeMounts: [{name: a, mountPath: /a}, {name: a, mountPath: /b}]\nresources: {requests: {cpu: 1}}")
	w.ready(fn)
	quota := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "none"}}
	quota.Spec.Hard = corev1.ResourceList{"count/services.serving.knative.dev": resource.MustParse("1")}
	if err := w.kube.Create(t.Context(), quota); err != nil {
		t.Fatal(err)
	}
	quota.Status.Hard, quota.Status.Used = quota.Spec.Hard, quota.Spec.Hard // as the quota controller does
	if err := w.kube.Status().Update(t.Context(), quota); err != nil {
		t.Fatal(err)
	}
	another := w.create("another", "")
	c := w.condition(another, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonServiceFailed)
	if !strings.Contains(c.Message, "exceeded quota: none") {
		t.Errorf("message: %s", c.Message)
	}
	w.delete(quota)
	w.reconcile(another)
	w.ready(another)
}
