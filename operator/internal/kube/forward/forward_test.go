package forward_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/streaming/pkg/httpstream"
	"k8s.io/streaming/pkg/httpstream/spdy"

	"github.com/serviceful/serviceful/operator/internal/bus"
	"github.com/serviceful/serviceful/operator/internal/kube/forward"
	"github.com/serviceful/serviceful/operator/internal/testkit/natstest"
)

// apiServer stands in for an API server that knows SPDY alone, and for the node
// behind it.
type apiServer struct {
	t    *testing.T
	pods []corev1.Pod
	to   string // where the port of the pod that is ready leads
}

func (s *apiServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	const base = "/api/v1/namespaces/serviceful-system/"
	switch r.Method + " " + r.URL.Path {
	case "GET " + base + "services/serviceful-nats":
		answer(w, http.StatusOK, corev1.Service{
			TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Service"},
			Spec:     corev1.ServiceSpec{Selector: map[string]string{"app": "nats"}},
		})
	case "GET " + base + "pods":
		if got := r.URL.Query().Get("labelSelector"); got != "app=nats" {
			s.t.Errorf("asked for pods of %q", got)
		}
		answer(w, http.StatusOK, corev1.PodList{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "PodList"}, Items: s.pods})
	case "POST " + base + "pods/ready/portforward":
		s.forward(w, r)
	case "GET " + base + "pods/ready/portforward": // WebSockets
		answer(w, http.StatusBadRequest, metav1.Status{Status: metav1.StatusFailure, Message: "no WebSockets here"})
	default:
		answer(w, http.StatusForbidden, metav1.Status{
			TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: metav1.StatusFailure,
			Reason: metav1.StatusReasonForbidden, Code: http.StatusForbidden, Message: "you may not " + r.Method + " " + r.URL.Path,
		})
	}
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

// forward leads streams of data to s.to, as a node does.
func (s *apiServer) forward(w http.ResponseWriter, r *http.Request) {
	if _, err := httpstream.Handshake(r, w, []string{portforward.PortForwardProtocolV1Name}); err != nil {
		s.t.Error(err)
		return
	}
	streams := make(chan httpstream.Stream, 2)
	conn := spdy.NewResponseUpgrader().UpgradeResponse(w, r, func(stream httpstream.Stream, _ <-chan struct{}) error {
		streams <- stream
		return nil
	})
	if conn == nil {
		return
	}
	defer conn.Close()
	failures, data := <-streams, <-streams
	if data.Headers().Get(corev1.StreamType) != corev1.StreamTypeData || data.Headers().Get(corev1.PortHeader) != "4222" {
		s.t.Errorf("streams %v and %v", failures.Headers(), data.Headers())
	}
	pod, err := net.Dial("tcp", s.to)
	if err != nil {
		fmt.Fprintf(failures, "no such port: %v", err)
		_ = failures.Close()
		_ = data.Close()
		<-conn.CloseChan()
		return
	}
	defer pod.Close()
	go func() {
		_, _ = io.Copy(data, pod)
		_ = data.Close()
		_ = failures.Close()
	}()
	_, _ = io.Copy(pod, data)
}

func pod(name string, ready corev1.ConditionStatus) corev1.Pod {
	return corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Status:     corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: ready}}},
	}
}

// forwarder is one for a cluster behind a stand-in.
func forwarder(t *testing.T, s *apiServer, cfg forward.Config) (*forward.Forwarder, error) {
	t.Helper()
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	file := filepath.Join(t.TempDir(), "config")
	config := `
apiVersion: v1
kind: Config
current-context: mine
contexts:
- {name: mine, context: {cluster: c, user: u}}
clusters:
- {name: c, cluster: {server: "` + server.URL + `"}}
users:
- {name: u, user: {}}
`
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg.Kubeconfig, cfg.Namespace, cfg.Port = file, "serviceful-system", 4222
	return forward.New(cfg)
}

func mustForwarder(t *testing.T, s *apiServer, cfg forward.Config) *forward.Forwarder {
	t.Helper()
	f, err := forwarder(t, s, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// TestDial speaks NATS through the API server with the pod that is ready.
func TestDial(t *testing.T) {
	nats := natstest.Server(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() { _ = nats.Serve(l) }()
	ending := pod("ending", corev1.ConditionTrue)
	ending.DeletionTimestamp = &metav1.Time{Time: time.Now()}
	s := &apiServer{t: t, to: l.Addr().String(), pods: []corev1.Pod{{ObjectMeta: metav1.ObjectMeta{Name: "new"}}, ending, pod("starting", corev1.ConditionFalse), pod("ready", corev1.ConditionTrue)}}
	f := mustForwarder(t, s, forward.Config{Service: "serviceful-nats"})
	if f.Context != "mine" {
		t.Errorf("it is the cluster of context %q", f.Context)
	}
	nc, err := bus.Dial(bus.DialConfig{Dial: func() (net.Conn, error) { return f.Dial(t.Context()) }})
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	b, err := bus.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := b.Namespaces(t.Context()); err != nil || len(got) != 0 {
		t.Errorf("namespaces %v, %v", got, err)
	}
}

func TestDialInVain(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close() // nobody listens there
	all := []corev1.Pod{pod("ready", corev1.ConditionTrue)}
	tests := map[string]struct {
		server  *apiServer
		service string
		want    string
	}{
		"no right to it":      {&apiServer{pods: all}, "other", "looking up service serviceful-system/other: you may not GET"},
		"no pod":              {&apiServer{}, "serviceful-nats", "none of the 0 pods of service serviceful-system/serviceful-nats is ready"},
		"no pod that is well": {&apiServer{pods: []corev1.Pod{pod("a", corev1.ConditionFalse)}}, "serviceful-nats", "none of the 1 pods"},
		"no way to the pod":   {&apiServer{pods: []corev1.Pod{pod("other", corev1.ConditionTrue)}}, "serviceful-nats", "forwarding to pod serviceful-system/other: "},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			test.server.t = t
			c, err := mustForwarder(t, test.server, forward.Config{Service: test.service}).Dial(t.Context())
			if err == nil {
				c.Close()
			}
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
	t.Run("nobody in the pod", func(t *testing.T) {
		c, err := mustForwarder(t, &apiServer{t: t, pods: all, to: l.Addr().String()}, forward.Config{Service: "serviceful-nats"}).Dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := io.ReadAll(c); err == nil || !strings.Contains(err.Error(), "no such port") {
			t.Errorf("the connection ended with %v", err)
		}
	})
}

func TestNoSuchContext(t *testing.T) {
	if _, err := forwarder(t, &apiServer{t: t}, forward.Config{Context: "yours"}); err == nil || !strings.Contains(err.Error(), `"yours"`) {
		t.Errorf("got %v", err)
	}
}
