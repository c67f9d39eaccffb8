package controller

import (
	"context"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"knative.dev/pkg/apis"
	duckv1 "knative.dev/pkg/apis/duck/v1"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/yaml"

	"github.com/serviceful/serviceful/operator/api/v1alpha1"
	"github.com/serviceful/serviceful/operator/internal/bus"
	"github.com/serviceful/serviceful/operator/internal/render"
	"github.com/serviceful/serviceful/operator/internal/testkit/kubetest"
	"github.com/serviceful/serviceful/operator/internal/testkit/natstest"
)

func TestMain(m *testing.M) {
	log.SetLogger(logr.Discard()) // without a sink: a test says what is wrong
	kubetest.Main(m)
}

const image = "registry.example.com/offers:v1"

// world is an operator of a test's own: a namespace, a NATS server, and a
// manager that may do what its generated rights allow, and sees that namespace.
type world struct {
	t         *testing.T
	ns        string
	kube      client.Client // the test's hand
	nats      *bus.Embedded
	bus       *bus.Bus
	layout    bus.Layout
	operator  *reconciler
	writes    *journal // what the operator wrote
	stop      func()
	configure func(*Config)
}

// start is a world whose operator runs.
func start(t *testing.T, configure ...func(*Config)) *world {
	t.Helper()
	w := &world{t: t, kube: admin(t), nats: natstest.Server(t)}
	w.bus = natstest.Connect(t, w.nats)
	w.layout = bus.Layout{Bus: w.bus}
	w.ns = namespace(t, w.kube)
	w.configure = func(cfg *Config) {
		for _, f := range configure {
			f(cfg)
		}
	}
	w.operate(w.ns)
	return w
}

func scheme(t *testing.T) *runtime.Scheme {
	t.Helper()
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{AddToScheme, rbacv1.AddToScheme} {
		if err := add(s); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func admin(t *testing.T) client.Client {
	t.Helper()
	c, err := client.New(kubetest.Admin(t), client.Options{Scheme: scheme(t)})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// namespace is a new one. Its Functions lose their finalizers when the test ends.
func namespace(t *testing.T, kube client.Client) string {
	t.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "test-"}}
	if err := kube.Create(t.Context(), ns); err != nil {
		t.Fatal(err)
	}
	return ns.Name
}

// operate starts an operator; stop, or the end of the test, ends it.
func (w *world) operate(namespaces ...string) {
	w.t.Helper()
	w.writes = &journal{}
	as := kubetest.User(w.t, "operator")
	grant(w.t, w.kube, "operator")
	as.Wrap(func(next http.RoundTripper) http.RoundTripper { return w.writes.keep(next) })
	options := Cache()
	options.DefaultNamespaces = map[string]cache.Config{}
	for _, ns := range namespaces {
		options.DefaultNamespaces[ns] = cache.Config{}
	}
	yes := true
	mgr, err := ctrl.NewManager(as, ctrl.Options{
		Scheme: scheme(w.t), Cache: options, Client: Client(), Metrics: server.Options{BindAddress: "0"},
		Controller: config.Controller{SkipNameValidation: &yes},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	cfg := Config{
		Layout: w.layout, Remover: w.layout, Surveyor: w.layout, Sweeper: w.layout, Domain: "example.com",
		Settings:    render.Settings{ServicesURL: "http://services", MaxTimeout: 10 * time.Minute},
		SurveyEvery: 50 * time.Millisecond,
	}
	w.configure(&cfg)
	if w.operator, err = add(mgr, cfg); err != nil {
		w.t.Fatal(err)
	}
	w.run(mgr)
}

func (w *world) run(mgr ctrl.Manager) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(w.t.Context()))
	done := make(chan error, 1)
	go func() { done <- mgr.Start(ctx) }()
	stopped := false
	w.stop = func() {
		cancel()
		if !stopped {
			if err := <-done; err != nil {
				w.t.Errorf("the operator ended: %v", err)
			}
		}
		stopped = true
	}
	w.t.Cleanup(w.stop)
	if !mgr.GetCache().WaitForCacheSync(ctx) {
		w.t.Fatal("the cache did not fill")
	}
}

// grant gives a user the operator's rights, as they are generated.
func grant(t *testing.T, kube client.Client, user string) {
	t.Helper()
	file, err := os.ReadFile("../../../config/rbac/operator_role.yaml")
	if err != nil {
		t.Fatal(err)
	}
	role := &rbacv1.ClusterRole{}
	first, _, _ := strings.Cut(strings.TrimPrefix(string(file), "---\n"), "\n---\n")
	if err := yaml.UnmarshalStrict([]byte(first), role); err != nil {
		t.Fatal(err)
	}
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: role.Name},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role.Name},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: user}},
	}
	for _, o := range []client.Object{role, binding} {
		if err := kube.Create(t.Context(), o); err != nil && !apierrors.IsAlreadyExists(err) {
			t.Fatal(err)
		}
	}
}

// journal keeps the requests that are not mere reads.
type journal struct {
	mu    sync.Mutex
	lines []string
}

func (j *journal) keep(next http.RoundTripper) http.RoundTripper {
	return roundTrip(func(r *http.Request) (*http.Response, error) {
		if r.Method != http.MethodGet {
			j.mu.Lock()
			j.lines = append(j.lines, r.Method+" "+r.URL.Path)
			j.mu.Unlock()
		}
		return next.RoundTrip(r)
	})
}

// since is what was written after the first n.
func (j *journal) since(n int) []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.lines[n:])
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// create makes a Function of a spec in YAML.
func (w *world) create(name, spec string) *v1alpha1.Function {
	w.t.Helper()
	return w.createIn(w.ns, name, spec)
}

func (w *world) createIn(ns, name, spec string) *v1alpha1.Function {
	w.t.Helper()
	fn := &v1alpha1.Function{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}}
	if err := yaml.UnmarshalStrict([]byte("image: "+image+"\n"+spec), &fn.Spec); err != nil {
		w.t.Fatal(err)
	}
	if err := w.kube.Create(w.t.Context(), fn); err != nil {
		w.t.Fatal(err)
	}
	return fn
}

// change changes an object until nobody was faster.
func change[T client.Object](w *world, o T, f func(T)) {
	w.t.Helper()
	for {
		w.get(o)
		f(o)
		err := w.kube.Update(w.t.Context(), o)
		if err == nil {
			return
		}
		if !apierrors.IsConflict(err) {
			w.t.Fatal(err)
		}
	}
}

func (w *world) get(o client.Object) {
	w.t.Helper()
	if err := w.kube.Get(w.t.Context(), client.ObjectKeyFromObject(o), o); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) delete(o client.Object) {
	w.t.Helper()
	if err := w.kube.Delete(w.t.Context(), o); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) exists(o client.Object) bool {
	w.t.Helper()
	err := w.kube.Get(w.t.Context(), client.ObjectKeyFromObject(o), o)
	if err != nil && !apierrors.IsNotFound(err) {
		w.t.Fatal(err)
	}
	return err == nil
}

// service is the Knative Service of a Function, as soon as there is one.
func (w *world) service(fn *v1alpha1.Function) *servingv1.Service {
	w.t.Helper()
	s := &servingv1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: fn.Namespace, Name: fn.Name}}
	w.eventually("a Knative Service", func() bool { return w.exists(s) })
	return s
}

// knative plays Knative's part: it says how a Service stands.
func (w *world) knative(fn *v1alpha1.Function, ready corev1.ConditionStatus, reason, message string) {
	w.t.Helper()
	for {
		s := w.service(fn)
		s.Status.ObservedGeneration = s.Generation
		s.Status.Conditions = duckv1.Conditions{{Type: servingv1.ServiceConditionReady, Status: ready, Reason: reason, Message: message}}
		s.Status.Address = &duckv1.Addressable{URL: apis.HTTP(fn.Name + "." + fn.Namespace + ".svc.cluster.local")}
		if ready == corev1.ConditionTrue {
			s.Status.LatestReadyRevisionName = fn.Name + "-00001"
		}
		err := w.kube.Status().Update(w.t.Context(), s)
		if err == nil {
			return
		}
		if !apierrors.IsConflict(err) {
			w.t.Fatal(err)
		}
	}
}

// ready has Knative run a Function, and waits until it is Ready.
func (w *world) ready(fn *v1alpha1.Function) {
	w.t.Helper()
	w.knative(fn, corev1.ConditionTrue, "", "")
	w.condition(fn, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
}

// condition waits for a condition about the latest spec.
func (w *world) condition(fn *v1alpha1.Function, name string, status metav1.ConditionStatus, reason string) *metav1.Condition {
	w.t.Helper()
	var c *metav1.Condition
	w.eventually(fn.Name+": "+name+" "+string(status)+" "+reason, func() bool {
		w.get(fn)
		c = meta.FindStatusCondition(fn.Status.Conditions, name)
		return c != nil && c.Status == status && c.Reason == reason && c.ObservedGeneration == fn.Generation &&
			fn.Status.ObservedGeneration == fn.Generation
	}, func() any { return fn.Status })
	return c
}

// eventually polls until done answers true.
func (w *world) eventually(what string, done func() bool, state ...func() any) {
	w.t.Helper()
	deadline := time.After(2 * time.Minute)
	for !done() {
		select {
		case <-time.After(20 * time.Millisecond):
		case <-deadline:
			for _, s := range state {
				w.t.Logf("%+v", s())
			}
			w.t.Fatalf("not within two minutes: %s", what)
		}
	}
}

// reconcile looks at a Function once, besides the operator's own workers.
func (w *world) reconcile(fn *v1alpha1.Function) {
	w.t.Helper()
	if _, err := w.operator.Reconcile(w.t.Context(), ctrl.Request{NamespacedName: client.ObjectKeyFromObject(fn)}); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) reconcileFails(fn *v1alpha1.Function) {
	w.t.Helper()
	if _, err := w.operator.Reconcile(w.t.Context(), ctrl.Request{NamespacedName: client.ObjectKeyFromObject(fn)}); err == nil {
		w.t.Error("it worked")
	}
}
