package main

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/serviceful/serviceful/operator/api/v1alpha1"
	"github.com/serviceful/serviceful/operator/internal/testkit/clustertest"
	"github.com/serviceful/serviceful/operator/internal/testkit/kubetest"
	"github.com/serviceful/serviceful/operator/internal/testkit/loopback"
)

func TestMain(m *testing.M) { kubetest.Main(m) }

const role = "../../../config/gateway/role.yaml"

// gatewayRig is a gateway that runs in a cluster.
type gatewayRig struct {
	*clustertest.Cluster
	*clustertest.Program
	public, services, metrics string
}

func start(t *testing.T, flags ...string) *gatewayRig {
	t.Helper()
	c := clustertest.New(t, t.Setenv, "serviceful-gateway", role)
	r := &gatewayRig{Cluster: c, public: loopback.Address(t), services: loopback.Address(t), metrics: loopback.Address(t)}
	cmd := command()
	cmd.SetArgs(append([]string{
		"--nats", c.NATS.URL, "--listen", r.public, "--services", r.services, "--metrics", r.metrics, "--drain-delay", "1s",
	}, flags...))
	r.Program = c.Start(cmd.ExecuteContext)
	r.Eventually("it is ready", func() bool { return r.get(r.public, "/readyz") == http.StatusOK })
	return r
}

// do sends a request to the host of the test's namespace; the status is 0 where
// there was no answer.
func (r *gatewayRig) do(method, address, path, token, body string) (status int, answer string) {
	r.Helper()
	req, err := http.NewRequestWithContext(r.Context(), method, "http://"+address+path, strings.NewReader(body))
	if err != nil {
		r.Fatal(err)
	}
	req.Host = r.Namespace + ".serviceful.local"
	req.Header.Set("Authorization", "Bearer "+token)
	for key, value := range map[string]string{"Specversion": "1.0", "Id": "1", "Source": "/test", "Type": "out.happened.v1"} {
		req.Header.Set("Ce-"+key, value)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	all, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(all)
}

func (r *gatewayRig) get(address, path string) int {
	r.Helper()
	status, _ := r.do(http.MethodGet, address, path, "", "")
	return status
}

func onHTTP(name, path string, async bool) v1alpha1.Trigger {
	return v1alpha1.Trigger{Name: name, HTTP: &v1alpha1.HTTPSource{Path: path, Async: async}}
}

// TestGateway is a gateway's life in a cluster.
func TestGateway(t *testing.T) {
	r := start(t)
	r.Function("offers", func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, r.Header.Get("Serviceful-Trigger")+" "+r.Header.Get("Knative-Serving-Revision"))
	}, onHTTP("list", "/offers", false), onHTTP("redeem", "/redemptions", true))

	r.Eventually("the route is there", func() bool { return r.get(r.public, "/offers") == http.StatusOK })
	if _, answer := r.do(http.MethodGet, r.public, "/offers", "", ""); answer != "list offers-00001" {
		t.Errorf("the function answered %q", answer)
	}
	if status, answer := r.do(http.MethodPost, r.public, "/redemptions", "", "body"); status != http.StatusAccepted {
		t.Errorf("an async request: %d %s", status, answer)
	}

	t.Run("Functions come and go", func(t *testing.T) {
		other := r.Function("other", func(http.ResponseWriter, *http.Request) {}, onHTTP("other", "/other", false))
		r.Eventually("its route is there", func() bool { return r.get(r.public, "/other") == http.StatusOK })
		if err := r.Kube.Delete(t.Context(), other); err != nil {
			t.Fatal(err)
		}
		r.Eventually("its route is gone", func() bool { return r.get(r.public, "/other") == http.StatusNotFound })
	})
	t.Run("tokens", func(t *testing.T) {
		good := kubetest.Token(t, r.Kube, r.Namespace, "offers", v1alpha1.TokenAudience)
		for name, test := range map[string]struct {
			token string
			want  int
		}{
			"none":                  {"", http.StatusUnauthorized},
			"nonsense":              {"nonsense", http.StatusUnauthorized},
			"altered":               {good[:len(good)-8] + "AAAAAAAA", http.StatusUnauthorized},
			"for the API server":    {kubetest.Token(t, r.Kube, r.Namespace, "offers"), http.StatusUnauthorized},
			"of no function's":      {kubetest.Token(t, r.Kube, "serviceful-system", "serviceful-gateway", v1alpha1.TokenAudience), http.StatusUnauthorized},
			"the function's own":    {good, http.StatusAccepted},
			"the same, once known ": {good, http.StatusAccepted},
		} {
			if status, answer := r.do(http.MethodPost, r.services, "/v1/events", test.token, "data"); status != test.want {
				t.Errorf("%s: %d %s", name, status, answer)
			}
		}
	})
	t.Run("NATS restarts", func(t *testing.T) {
		r.NATS.Stop()
		r.Eventually("it notices", func() bool {
			_, scraped := r.do(http.MethodGet, r.metrics, "/metrics", "", "")
			return strings.Contains(scraped, "\nserviceful_nats_connected 0")
		})
		if status := r.get(r.public, "/offers"); status != http.StatusOK || r.get(r.public, "/readyz") != http.StatusOK {
			t.Errorf("a sync request without NATS: %d", status)
		}
		if status, _ := r.do(http.MethodPost, r.public, "/redemptions", "", "body"); status != http.StatusServiceUnavailable {
			t.Errorf("an async request without NATS: %d", status)
		}
		r.NATS.Start(t)
		r.Eventually("it takes async requests again", func() bool {
			status, _ := r.do(http.MethodPost, r.public, "/redemptions", "", "body")
			return status == http.StatusAccepted
		})
	})
	t.Run("the API server is away", func(t *testing.T) {
		token := kubetest.Token(t, r.Kube, r.Namespace, "offers", v1alpha1.TokenAudience)
		r.Gate.Shut()
		r.Function("late", func(http.ResponseWriter, *http.Request) {}, onHTTP("late", "/late", false))
		if status := r.get(r.public, "/offers"); status != http.StatusOK || r.get(r.public, "/readyz") != http.StatusOK {
			t.Errorf("a sync request without the API server: %d", status)
		}
		if status, answer := r.do(http.MethodPost, r.services, "/v1/events", token, "data"); status != http.StatusAccepted {
			t.Errorf("a new token without the API server: %d %s", status, answer)
		}
		r.Gate.Open()
		r.Eventually("what changed meanwhile is seen", func() bool { return r.get(r.public, "/late") == http.StatusOK })
	})
	t.Run("metrics", func(t *testing.T) {
		_, scraped := r.do(http.MethodGet, r.metrics, "/metrics", "", "")
		trigger := func(name string) string {
			return `{code="2xx",function="offers",kind="` + name + `",namespace="` + r.Namespace
		}
		for _, want := range []string{
			"serviceful_gateway_requests_total" + trigger("sync"), "serviceful_gateway_requests_total" + trigger("async"),
			`serviceful_store_failures_total{reason="unavailable"} 1`, `serviceful_services_calls_total{code="4xx",service="events"} 5`,
			"serviceful_nats_connected 1", "serviceful_nats_reconnects_total 1", "go_goroutines", "process_open_fds",
		} {
			if !strings.Contains(scraped, "\n"+want) {
				t.Errorf("there is no %s", want)
			}
		}
	})
	r.Rights(role)
	r.Stop()
	if err := r.End(); err != nil {
		t.Errorf("it ended with %v", err)
	}
}

// TestDrain checks that a gateway that is told to end drops no request.
func TestDrain(t *testing.T) {
	r := start(t)
	began, end := make(chan struct{}), make(chan struct{})
	r.Function("slow", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			close(began)
			<-end
		}
	}, onHTTP("slow", "/slow", false), onHTTP("fast", "/fast", false))
	r.Eventually("the route is there", func() bool { return r.get(r.public, "/fast") == http.StatusOK })
	answered := make(chan int, 1)
	go func() { answered <- r.get(r.public, "/slow") }()
	<-began
	r.Stop()
	r.Eventually("it says that it stops", func() bool { return r.get(r.public, "/readyz") == http.StatusServiceUnavailable })
	if status := r.get(r.public, "/fast"); status != http.StatusOK {
		t.Errorf("a new request while it drains: %d", status)
	}
	r.Eventually("it takes no more", func() bool { return r.get(r.public, "/fast") == 0 })
	close(end)
	if status := <-answered; status != http.StatusOK {
		t.Errorf("the request under way: %d", status)
	}
	if err := r.End(); err != nil {
		t.Errorf("it ended with %v", err)
	}
}

// TestCannotStart checks what a gateway says that lacks something.
func TestCannotStart(t *testing.T) {
	c := clustertest.New(t, t.Setenv, "serviceful-gateway", role)
	taken := loopback.Address(t)
	for name, test := range map[string]struct {
		nats, metrics, kubeconfig, want string
		shut                            bool
	}{
		"no NATS":         {nats: "nats://" + taken, want: "connecting to NATS at nats://" + taken},
		"no cluster":      {kubeconfig: t.TempDir() + "/none", want: "finding the API server"},
		"cluster is away": {shut: true, want: "preparing to watch the cluster"},
		"bad address":     {metrics: "nowhere", want: "--metrics: listening on nowhere"},
	} {
		t.Run(name, func(t *testing.T) {
			nats := c.NATS.URL
			if test.nats != "" {
				nats = test.nats
			}
			if test.kubeconfig != "" {
				t.Setenv("KUBECONFIG", test.kubeconfig)
			}
			if c.Gate.Open(); test.shut {
				c.Gate.Shut()
			}
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
			defer cancel()
			cmd := command()
			cmd.SetArgs([]string{"--nats", nats, "--listen", "127.0.0.1:0", "--services", "127.0.0.1:0", "--metrics", test.metrics})
			if err := cmd.ExecuteContext(ctx); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("it ended with %v, want %s", err, test.want)
			}
		})
	}
}
