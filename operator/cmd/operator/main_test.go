package main

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	duckv1 "knative.dev/pkg/apis/duck/v1"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/serviceful/serviceful/operator/api/v1alpha1"
	"github.com/serviceful/serviceful/operator/internal/controller"
	"github.com/serviceful/serviceful/operator/internal/testkit/kubetest"
	"github.com/serviceful/serviceful/operator/internal/testkit/loopback"
	"github.com/serviceful/serviceful/operator/internal/testkit/natstest"
)

func TestMain(m *testing.M) { kubetest.Main(m) }

func TestRefusedFlags(t *testing.T) {
	for flag, want := range map[string]string{
		"--nats=":                   "--nats must not be empty",
		"--domain=Example.com":      "not a lower-case domain",
		"--domain=.example.com":     "not a lower-case domain",
		"--services-url=services":   "not a URL",
		"--services-url=ftp://host": "not a URL",
		"--max-timeout=1ms":         "less than a second",
		"--nats-replicas=2":         "not 1, 3 or 5",
		"--unknown":                 "unknown flag",
	} {
		cmd := command()
		cmd.SetArgs([]string{flag})
		if err := cmd.ExecuteContext(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", flag, err, want)
		}
	}
}

func TestKnativeIsMissing(t *testing.T) {
	found, err := discovery.NewDiscoveryClientForConfig(kubetest.Admin(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := checkKnative(found, servingv1.SchemeGroupVersion); err != nil {
		t.Error(err)
	}
	err = checkKnative(found, schema.GroupVersion{Group: "serving.example.com", Version: "v1"})
	if err == nil || !strings.Contains(err.Error(), "no Knative Serving") {
		t.Errorf("got %v", err)
	}
}

const home = "serviceful-system"

// files say what the operator may do in a cluster.
var files = []string{"../../../config/operator/account.yaml", "../../../config/rbac/operator_role.yaml"}

// unasked are rights that the API server looks for by itself, or that take more
// time to be used than a test has.
var unasked = map[string]string{
	"create services.serving.knative.dev":        "an apply that makes an object takes it",
	"create serviceaccounts":                     "an apply that makes an object takes it",
	"update functions/finalizers.serviceful.dev": "an admission plugin asks it of whoever makes a Function the owner",
	"patch events.events.k8s.io":                 "an event that comes again is counted",
	"patch events":                               "an event of the lease that comes again is counted",
}

// TestRun runs the program as it runs in a cluster: as its account with the rights
// that this has and no others, with a lease, until it is told to end. It uses all
// of them.
func TestRun(t *testing.T) {
	kube := admin(t)
	for _, o := range []client.Object{
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: home}},
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}},
	} {
		if err := kube.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	kubetest.Create(t, kube, home, files...)
	gate := kubetest.NewGate(t)
	t.Setenv("KUBECONFIG", gate.Kubeconfig(t, kube, home, "serviceful-operator"))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	probes, metrics := loopback.Address(t), loopback.Address(t)
	ended := make(chan error, 1)
	cmd := command()
	cmd.SetArgs([]string{
		"--nats", natstest.NewRemote(t).URL, "--leader-elect", "--namespace", home, "--metrics", metrics, "--probes", probes,
		"--services-url", "http://services/",
	})
	go func() { ended <- cmd.ExecuteContext(ctx) }()
	eventually(t, "it is ready", ended, func() bool {
		resp, err := http.Get("http://" + probes + "/readyz")
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
	fn := &v1alpha1.Function{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "offers"}, Spec: v1alpha1.FunctionSpec{Image: "x"}}
	if err := kube.Create(t.Context(), fn); err != nil {
		t.Fatal(err)
	}
	service := &servingv1.Service{}
	eventually(t, "there is a Knative Service", ended, func() bool {
		return kube.Get(t.Context(), client.ObjectKeyFromObject(fn), service) == nil
	})
	for _, e := range service.Spec.Template.Spec.Containers[0].Env {
		if e.Name == "K_SINK" && e.Value != "http://services/v1/events" {
			t.Errorf("K_SINK is %s", e.Value)
		}
	}
	eventually(t, "a survey is measured", ended, func() bool {
		resp, err := http.Get("http://" + metrics + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		scraped, _ := io.ReadAll(resp.Body)
		return strings.Contains(string(scraped), `serviceful_functions{ready="Unknown"} `) && strings.Contains(string(scraped), "workqueue_depth")
	})
	service.Status.LatestReadyRevisionName, service.Status.ObservedGeneration = "offers-00001", service.Generation
	service.Status.Conditions = duckv1.Conditions{{Type: servingv1.ServiceConditionReady, Status: corev1.ConditionTrue}}
	if err := kube.Status().Update(t.Context(), service); err != nil {
		t.Fatal(err)
	}
	eventually(t, "what runs is looked at, and told", ended, func() bool {
		return gate.Asked().HasAll("get revisions.serving.knative.dev", "create events.events.k8s.io")
	})
	if err := kube.Delete(t.Context(), fn); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is gone", ended, func() bool { return kube.Get(t.Context(), client.ObjectKeyFromObject(fn), fn) != nil })
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("it ended with %v", err)
	}
	gate.CheckRights(t, unasked, files...)
}

func eventually(t *testing.T, what string, ended chan error, done func() bool) {
	t.Helper()
	deadline := time.After(time.Minute)
	for !done() {
		select {
		case <-time.After(50 * time.Millisecond):
		case err := <-ended:
			t.Fatalf("it ended with %v before %s", err, what)
		case <-deadline:
			t.Fatalf("not within a minute: %s", what)
		}
	}
}

func admin(t *testing.T) client.Client {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{controller.AddToScheme, rbacv1.AddToScheme, authenticationv1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	c, err := client.New(kubetest.Admin(t), client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	return c
}
