package kubetest

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/serviceful/serviceful/operator/api/v1alpha1"
)

var instances atomic.Int64

// Run makes a handler the ready instance of a Function, by what Knative would
// make of it: a Service whose traffic goes to a revision, and the revision's own
// Service and addresses.
func Run(tb testing.TB, kube client.Client, fn *v1alpha1.Function, h http.Handler) {
	tb.Helper()
	n := instances.Add(1)
	listener, err := net.Listen("tcp", fmt.Sprintf("127.0.%d.%d:0", 100+n/200, 10+n%200)) // each Service has an address of its own
	if err != nil {
		tb.Fatal(err)
	}
	instance := &httptest.Server{Listener: listener, Config: &http.Server{Handler: h}}
	instance.Start()
	tb.Cleanup(instance.Close)
	at := listener.Addr().(*net.TCPAddr)

	revision := fn.Name + "-00001"
	meta := func(name, kind string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Namespace: fn.Namespace, Name: name, Labels: map[string]string{
			v1alpha1.FunctionLabel: fn.Name, "networking.internal.knative.dev/serviceType": kind, "serving.knative.dev/revision": revision,
		}}
	}
	service := &servingv1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: fn.Namespace, Name: fn.Name, Labels: map[string]string{v1alpha1.FunctionLabel: fn.Name}}}
	service.Spec.Template.Spec.Containers = []corev1.Container{{Image: "example.com/function"}}
	yes, all := true, int64(100)
	for _, o := range []client.Object{
		service,
		&corev1.Service{ObjectMeta: meta(revision, "Public"), Spec: corev1.ServiceSpec{
			ClusterIP: at.IP.String(), Ports: []corev1.ServicePort{{Name: "http", Port: int32(at.Port)}},
		}},
		&discoveryv1.EndpointSlice{
			ObjectMeta: meta(revision+"-private", "Private"), AddressType: discoveryv1.AddressTypeIPv4,
			Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"10.0.0.1"}, Conditions: discoveryv1.EndpointConditions{Ready: &yes}}},
		},
	} {
		if err := kube.Create(tb.Context(), o); err != nil {
			tb.Fatal(err)
		}
	}
	service.Status.ObservedGeneration = service.Generation
	service.Status.Traffic = []servingv1.TrafficTarget{{RevisionName: revision, Percent: &all}}
	if err := kube.Status().Update(tb.Context(), service); err != nil {
		tb.Fatal(err)
	}
}
