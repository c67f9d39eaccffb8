// Package forward opens a connection to a pod through the API server, as
// `kubectl port-forward` does, without a port on this machine. So it is the
// cluster's own rules (pods/portforward) that say who may.
//
// It reads kubeconfig files, and imports nothing else of ours.
package forward

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"
	"k8s.io/streaming/pkg/httpstream"
)

// Config says which cluster, and what of it.
type Config struct {
	Kubeconfig string // a file; "": $KUBECONFIG, then ~/.kube/config, then the pod's own
	Context    string // of it; "": the current one
	Namespace  string // of Service
	Service    string // any ready pod behind it will do
	Port       int    // of the pod
}

// Forwarder makes connections to the pods behind a Service.
type Forwarder struct {
	cfg    Config
	rest   *rest.Config
	client *rest.RESTClient

	// Context is what the kubeconfig calls the cluster; "" inside of one.
	Context string
}

// New reads the kubeconfig; it does not yet talk to the cluster.
func New(cfg Config) (*Forwarder, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = cfg.Kubeconfig
	loader := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{CurrentContext: cfg.Context})
	config, err := loader.ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("reading the kubeconfig: %w", err)
	}
	f := &Forwarder{cfg: cfg, rest: config, Context: cfg.Context}
	if raw, err := loader.RawConfig(); err == nil && f.Context == "" {
		f.Context = raw.CurrentContext
	}
	if f.client, err = coreClient(config); err != nil {
		return nil, fmt.Errorf("preparing to talk to the cluster: %w", err)
	}
	return f, nil
}

// coreClient knows the kinds of core/v1 alone: a client of every kind takes
// memory for each of them.
func coreClient(config *rest.Config) (*rest.RESTClient, error) {
	scheme := runtime.NewScheme()
	if err := corev1.AddToScheme(scheme); err != nil {
		return nil, err
	}
	metav1.AddToGroupVersion(scheme, corev1.SchemeGroupVersion)
	own := rest.CopyConfig(config)
	own.APIPath, own.GroupVersion = "/api", &corev1.SchemeGroupVersion
	own.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	return rest.RESTClientFor(own)
}

// Dial opens a connection to a ready pod.
func (f *Forwarder) Dial(ctx context.Context) (net.Conn, error) {
	pod, err := f.pod(ctx)
	if err != nil {
		return nil, err
	}
	conn, err := f.dial(pod)
	if err != nil {
		return nil, fmt.Errorf("forwarding to pod %s/%s: %w", f.cfg.Namespace, pod, err)
	}
	return conn, nil
}

// pod is the name of a ready pod behind the Service.
func (f *Forwarder) pod(ctx context.Context) (string, error) {
	var service corev1.Service
	if err := f.client.Get().Namespace(f.cfg.Namespace).Resource("services").Name(f.cfg.Service).Do(ctx).Into(&service); err != nil {
		return "", fmt.Errorf("looking up service %s/%s: %w", f.cfg.Namespace, f.cfg.Service, err)
	}
	var pods corev1.PodList
	selector := labels.SelectorFromSet(service.Spec.Selector).String()
	err := f.client.Get().Namespace(f.cfg.Namespace).Resource("pods").Param("labelSelector", selector).Do(ctx).Into(&pods)
	if err != nil {
		return "", fmt.Errorf("looking up the pods of service %s/%s: %w", f.cfg.Namespace, f.cfg.Service, err)
	}
	for _, pod := range pods.Items {
		if ready(&pod) {
			return pod.Name, nil
		}
	}
	return "", fmt.Errorf("none of the %d pods of service %s/%s is ready", len(pods.Items), f.cfg.Namespace, f.cfg.Service)
}

func ready(pod *corev1.Pod) bool {
	if pod.DeletionTimestamp != nil {
		return false
	}
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// dial asks for WebSockets, as kubectl does, and for SPDY of a server that has
// none or behind a proxy that passes none.
func (f *Forwarder) dial(pod string) (net.Conn, error) {
	url := f.client.Post().Namespace(f.cfg.Namespace).Resource("pods").Name(pod).SubResource("portforward").URL()
	transport, upgrader, err := spdy.RoundTripperFor(f.rest)
	if err != nil {
		return nil, err
	}
	old := spdy.NewDialerForStreaming(upgrader, &http.Client{Transport: transport}, http.MethodPost, url)
	tunnel, err := portforward.NewSPDYOverWebsocketDialerForStreaming(url, f.rest)
	if err != nil {
		return nil, err
	}
	dialer := portforward.NewFallbackDialerForStreaming(tunnel, old, func(err error) bool {
		return httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err)
	})
	conn, _, err := dialer.Dial(portforward.PortForwardProtocolV1Name)
	if err != nil {
		return nil, err
	}
	local, err := join(conn, f.cfg.Port)
	if err != nil {
		_ = conn.Close()
	}
	return local, err
}

// join makes the two streams of a forwarded port, for errors and for data, and
// is a connection that speaks through them.
func join(conn httpstream.Connection, port int) (net.Conn, error) {
	headers := http.Header{}
	headers.Set(corev1.PortHeader, strconv.Itoa(port))
	headers.Set(corev1.PortForwardRequestIDHeader, "0")
	headers.Set(corev1.StreamType, corev1.StreamTypeError)
	failures, err := conn.CreateStream(headers)
	if err != nil {
		return nil, fmt.Errorf("opening the stream of errors: %w", err)
	}
	_ = failures.Close() // nothing is written to it
	headers.Set(corev1.StreamType, corev1.StreamTypeData)
	data, err := conn.CreateStream(headers)
	if err != nil {
		return nil, fmt.Errorf("opening the stream of data: %w", err)
	}
	ours, theirs := net.Pipe() // which has the deadlines that a stream lacks
	c := &connection{Conn: ours}
	go func() {
		_, _ = io.Copy(theirs, data)
		_ = data.Reset() // or what was not sent would hold up the stream of errors
		late := time.AfterFunc(failureTimeout, func() { _ = conn.Close() })
		c.note(failures)
		late.Stop()
		_ = theirs.Close()
		_ = conn.Close()
	}()
	go func() {
		_, _ = io.Copy(data, theirs)
		_ = conn.Close()
	}()
	return c, nil
}

// failureTimeout bounds the wait for the node's word on why a connection ended.
const failureTimeout = 2 * time.Second

// connection says why it ended, where the node said so.
type connection struct {
	net.Conn
	why atomic.Pointer[string]
}

func (c *connection) note(failures io.Reader) {
	text, err := io.ReadAll(io.LimitReader(failures, 4<<10))
	if why := strings.TrimSpace(string(text)); err == nil && why != "" {
		c.why.Store(&why)
	}
}

func (c *connection) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if why := c.why.Load(); errors.Is(err, io.EOF) && why != nil {
		err = errors.New(*why)
	}
	return n, err
}
