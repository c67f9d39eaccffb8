package kubetest

import (
	"encoding/pem"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Gate is a program's way to the API server. It notes what the program asks for,
// as the server's authorizer sees it, and can be shut.
type Gate struct {
	server *httptest.Server
	info   request.RequestInfoFactory
	shut   atomic.Bool

	mu    sync.Mutex
	asked sets.Set[string]
}

// NewGate is an open gate that ends with the test.
func NewGate(tb testing.TB) *Gate {
	tb.Helper()
	to := Admin(tb)
	transport, err := rest.TransportFor(&rest.Config{TLSClientConfig: rest.TLSClientConfig{CAData: to.CAData}}) // as whoever asks
	if err != nil {
		tb.Fatal(err)
	}
	target, err := url.Parse(to.Host)
	if err != nil {
		tb.Fatal(err)
	}
	g := &Gate{
		asked: sets.Set[string]{},
		info:  request.RequestInfoFactory{APIPrefixes: sets.NewString("api", "apis"), GrouplessAPIPrefixes: sets.NewString("api")},
	}
	silent := slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }, Transport: transport, FlushInterval: -1, ErrorLog: silent,
	}
	g.server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if g.shut.Load() {
			panic(http.ErrAbortHandler)
		}
		g.note(r)
		proxy.ServeHTTP(w, r)
	}))
	g.server.Config.ErrorLog = silent
	g.server.StartTLS()
	tb.Cleanup(func() {
		g.Shut()
		g.server.Close()
	})
	return g
}

// Shut has the API server be away: connections break, and new ones do too.
func (g *Gate) Shut() {
	g.shut.Store(true)
	g.server.CloseClientConnections()
}

// Open has the API server be back.
func (g *Gate) Open() { g.shut.Store(false) }

func (g *Gate) note(r *http.Request) {
	info, err := g.info.NewRequestInfo(r)
	if err != nil || !info.IsResourceRequest {
		return
	}
	resource := info.Resource
	if info.Subresource != "" {
		resource += "/" + info.Subresource
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.asked.Insert(right(info.Verb, resource, info.APIGroup))
}

// Asked are the rights that were made use of so far.
func (g *Gate) Asked() sets.Set[string] {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.asked.Clone()
}

// CheckRights checks that whoever came through the gate asked for all that some
// roles grant, and for nothing else. Besides are rights that are needed and not
// asked for, each with the reason.
func (g *Gate) CheckRights(tb testing.TB, besides map[string]string, files ...string) {
	tb.Helper()
	granted, asked := Rights(tb, files...), g.Asked()
	for right := range asked {
		if after, ok := strings.CutPrefix(right, "watch "); ok {
			asked.Insert("list " + after) // what a watch falls back to where a server does not stream lists
		}
	}
	for right := range granted.Difference(asked) {
		if besides[right] == "" {
			tb.Errorf("it may %s, and never does", right)
		}
	}
	for right := range asked.Difference(granted) {
		tb.Errorf("it asks to %s, and may not", right)
	}
	for right, why := range besides {
		if !granted.Has(right) || asked.Has(right) {
			tb.Errorf("it is no exception that it may %s: %s", right, why)
		}
	}
}

// Kubeconfig is a file by which a program comes through the gate as a
// ServiceAccount.
func (g *Gate) Kubeconfig(tb testing.TB, kube client.Client, namespace, account string) string {
	tb.Helper()
	file := filepath.Join(tb.TempDir(), "kubeconfig")
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: g.server.Certificate().Raw})
	err := clientcmd.WriteToFile(clientcmdapi.Config{
		CurrentContext: "test", Contexts: map[string]*clientcmdapi.Context{"test": {Cluster: "test", AuthInfo: "test"}},
		Clusters:  map[string]*clientcmdapi.Cluster{"test": {Server: g.server.URL, CertificateAuthorityData: certificate}},
		AuthInfos: map[string]*clientcmdapi.AuthInfo{"test": {Token: Token(tb, kube, namespace, account)}},
	}, file)
	if err != nil {
		tb.Fatal(err)
	}
	return file
}

// Token is a token of a ServiceAccount for some audiences; for none, it is one
// for the API server.
func Token(tb testing.TB, kube client.Client, namespace, account string, audiences ...string) string {
	tb.Helper()
	sa := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: account}}
	token := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{Audiences: audiences}}
	if err := kube.SubResource("token").Create(tb.Context(), sa, token); err != nil {
		tb.Fatal(err)
	}
	return token.Status.Token
}
