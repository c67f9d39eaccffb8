// Package clustertest gives the tests of a program all that it has in a cluster:
// an API server where it has the rights of its account and no others, a NATS
// server, Functions that are wired and answer, and a life that ends when told to.
package clustertest

import (
	"context"
	"net/http"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nats-io/nats.go"

	"github.com/serviceful/serviceful/operator/api/v1alpha1"
	"github.com/serviceful/serviceful/operator/internal/bus"
	"github.com/serviceful/serviceful/operator/internal/testkit/kubetest"
	"github.com/serviceful/serviceful/operator/internal/testkit/natstest"
	"github.com/serviceful/serviceful/operator/internal/wiring"
)

// home is the namespace that Serviceful is installed in.
const home = "serviceful-system"

// wait bounds every wait of a test.
const wait = time.Minute

// Cluster is a namespace of a test's own, and what the programs need beside it.
type Cluster struct {
	testing.TB
	Namespace string
	Kube      client.Client // may do everything
	Gate      *kubetest.Gate
	NATS      *natstest.Remote
	Bus       *bus.Bus // the test's own

	mu        sync.Mutex
	functions map[string]v1alpha1.Function
}

// New is a cluster without Functions. Its KUBECONFIG is that of an account, with
// what the files of config/ grant it.
func New(tb testing.TB, setenv func(key, value string), account string, files ...string) *Cluster {
	tb.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{v1alpha1.AddToScheme, corev1.AddToScheme, discoveryv1.AddToScheme, rbacv1.AddToScheme, servingv1.AddToScheme} {
		if err := add(scheme); err != nil {
			tb.Fatal(err)
		}
	}
	kube, err := client.New(kubetest.Admin(tb), client.Options{Scheme: scheme})
	if err != nil {
		tb.Fatal(err)
	}
	c := &Cluster{TB: tb, Kube: kube, NATS: natstest.NewRemote(tb), functions: map[string]v1alpha1.Function{}}
	own := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "test-"}}
	_ = kube.Create(tb.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: home}}) // once for all tests
	if err := kube.Create(tb.Context(), own); err != nil {
		tb.Fatal(err)
	}
	c.Namespace = own.Name
	kubetest.Create(tb, kube, home, files...)
	c.Gate = kubetest.NewGate(tb)
	setenv("KUBECONFIG", c.Gate.Kubeconfig(tb, kube, home, account))
	nc, err := nats.Connect(c.NATS.URL, nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(nc.Close)
	if c.Bus, err = bus.New(nc); err != nil {
		tb.Fatal(err)
	}
	return c
}

// Function makes a Function with triggers that a handler answers, and does for it
// what the operator and Knative would do.
func (c *Cluster) Function(name string, h http.HandlerFunc, triggers ...v1alpha1.Trigger) *v1alpha1.Function {
	c.Helper()
	fn := &v1alpha1.Function{ObjectMeta: metav1.ObjectMeta{Namespace: c.Namespace, Name: name}}
	fn.Spec = v1alpha1.FunctionSpec{Image: "example.com/function", Emits: []string{"out.*"}, Triggers: triggers}
	c.Lay(*fn)
	kubetest.Run(c, c.Kube, fn, h)
	if err := c.Kube.Create(c.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: c.Namespace, Name: name}}); err != nil {
		c.Fatal(err)
	}
	if err := c.Kube.Create(c.Context(), fn); err != nil {
		c.Fatal(err)
	}
	return fn
}

// Lay makes the streams and consumers of a Function beside those that there are.
func (c *Cluster) Lay(fn v1alpha1.Function) {
	c.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.functions[fn.Name] = fn
	var all []v1alpha1.Function
	for _, f := range c.functions {
		all = append(all, f)
	}
	if err := (bus.Layout{Bus: c.Bus}).Apply(c.Context(), wiring.Compile(all, wiring.Hosts{Domain: "serviceful.local"})); err != nil {
		c.Fatal(err)
	}
}

// Program is one that runs.
type Program struct {
	c     *Cluster
	stop  context.CancelFunc
	ended chan error
}

// Start starts a program. If it still runs when the test ends, it is stopped.
func (c *Cluster) Start(run func(ctx context.Context) error) *Program {
	ctx, stop := context.WithCancel(context.WithoutCancel(c.Context()))
	p := &Program{c: c, stop: stop, ended: make(chan error, 1)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.ended <- run(ctx)
	}()
	c.Cleanup(func() {
		stop()
		<-done
	})
	return p
}

// Stop tells the program to end; End waits until it has.
func (p *Program) Stop() { p.stop() }

// End waits until the program has ended, and returns what it ended with.
func (p *Program) End() error {
	p.c.Helper()
	select {
	case err := <-p.ended:
		return err
	case <-time.After(wait):
		p.c.Fatal("the program does not end")
		return nil
	}
}

// Eventually waits until done says so, while the program runs.
func (p *Program) Eventually(what string, done func() bool) {
	p.c.Helper()
	for end := time.After(wait); !done(); {
		select {
		case <-time.After(20 * time.Millisecond):
		case err := <-p.ended:
			p.ended <- err
			p.c.Fatalf("it ended with %v before %s", err, what)
		case <-end:
			p.c.Fatalf("not within %s: %s", wait, what)
		}
	}
}

// Rights checks that the program asked for all that some roles grant and for
// nothing else.
func (c *Cluster) Rights(files ...string) {
	c.Helper()
	c.Gate.CheckRights(c, nil, files...)
}
