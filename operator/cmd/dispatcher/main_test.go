package main

import (
	"context"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/serviceful/serviceful/operator/api/v1alpha1"
	"github.com/serviceful/serviceful/operator/internal/bus"
	"github.com/serviceful/serviceful/operator/internal/event"
	"github.com/serviceful/serviceful/operator/internal/names"
	"github.com/serviceful/serviceful/operator/internal/testkit/clustertest"
	"github.com/serviceful/serviceful/operator/internal/testkit/kubetest"
	"github.com/serviceful/serviceful/operator/internal/testkit/loopback"
	"github.com/serviceful/serviceful/operator/internal/wiring"
)

func TestMain(m *testing.M) { kubetest.Main(m) }

// What the dispatcher may do, which it shares with the gateway.
var files = []string{"../../../config/gateway/role.yaml", "../../../config/dispatcher/account.yaml"}

// rig is a dispatcher that runs in a cluster.
type rig struct {
	*clustertest.Cluster
	*clustertest.Program
	probes, metrics string

	mu  sync.Mutex
	got map[string]bool // ids of the events that a function was called with
}

func start(t *testing.T) *rig {
	t.Helper()
	c := clustertest.New(t, t.Setenv, "serviceful-dispatcher", files...)
	r := &rig{Cluster: c, probes: loopback.Address(t), metrics: loopback.Address(t), got: map[string]bool{}}
	cmd := command()
	cmd.SetArgs([]string{"--nats", c.NATS.URL, "--probes", r.probes, "--metrics", r.metrics})
	r.Program = c.Start(cmd.ExecuteContext)
	r.Eventually("it is ready", func() bool { return r.status("/readyz") == http.StatusOK && r.status("/healthz") == http.StatusOK })
	return r
}

func (r *rig) status(path string) int {
	resp, err := http.Get("http://" + r.probes + path)
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	return resp.StatusCode
}

func (r *rig) note(_ http.ResponseWriter, req *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.got[req.Header.Get("Ce-Id")] = true
}

func (r *rig) publish(id string) {
	r.Helper()
	e := &event.Event{Attributes: []event.Attribute{{Name: "specversion", Value: "1.0"}, {Name: "id", Value: id}, {Name: "source", Value: "/test"}, {Name: "type", Value: "in.happened.v1"}}}
	if err := r.Bus.PublishEvents(r.Context(), r.Namespace, []*event.Event{e}); err != nil {
		r.Fatal(err)
	}
}

// delivered publishes an event and waits until the function was called with it.
func (r *rig) delivered(id string) {
	r.Helper()
	r.publish(id)
	r.Eventually(id+" is delivered", func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.got[id]
	})
}

// settled reports whether nothing waits for a function's trigger or is under way.
func (r *rig) settled(function string) bool {
	r.Helper()
	found, err := bus.Layout{Bus: r.Bus}.Survey(r.Context(), r.Namespace, &wiring.Snapshot{}, time.Now())
	if err != nil {
		r.Fatal(err)
	}
	t := found.Triggers[names.Events(r.Namespace)+"/"+names.Consumer(function, "happened")]
	return t.Pending == 0 && t.InFlight == 0 && t.Trigger != ""
}

func onEvent() v1alpha1.Trigger {
	return v1alpha1.Trigger{Name: "happened", Event: &v1alpha1.EventSource{Types: []string{"in.happened.v1"}}}
}

// TestDispatcher is a dispatcher's life in a cluster.
func TestDispatcher(t *testing.T) {
	r := start(t)
	r.Function("offers", r.note, onEvent())
	r.delivered("first")
	r.Eventually("it is settled", func() bool { return r.settled("offers") })

	t.Run("Functions come and go", func(t *testing.T) {
		called := make(chan struct{}, 10)
		other := r.Function("other", func(http.ResponseWriter, *http.Request) { called <- struct{}{} }, onEvent())
		r.delivered("second")
		<-called
		if err := r.Kube.Delete(t.Context(), other); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("NATS restarts", func(t *testing.T) {
		r.NATS.Stop()
		r.Eventually("it is not ready", func() bool { return r.status("/readyz") == http.StatusServiceUnavailable })
		if status := r.status("/healthz"); status != http.StatusOK {
			t.Errorf("it is not alive without NATS: %d", status)
		}
		r.NATS.Start(t)
		r.Eventually("it is ready again", func() bool { return r.status("/readyz") == http.StatusOK })
		r.delivered("after NATS")
	})
	t.Run("the API server is away", func(t *testing.T) {
		r.Gate.Shut()
		r.delivered("without the API server")
		r.Function("late", func(http.ResponseWriter, *http.Request) {}, onEvent())
		r.Gate.Open()
		r.publish("after the API server")
		r.Eventually("what changed meanwhile is seen", func() bool { return r.settled("late") })
	})
	t.Run("metrics", func(t *testing.T) {
		resp, err := http.Get("http://" + r.metrics + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		scraped, _ := io.ReadAll(resp.Body)
		trigger := `{function="offers",namespace="` + r.Namespace + `",`
		for _, want := range []string{
			"serviceful_dispatcher_attempts_total" + trigger + `outcome="done",trigger="happened"}`, "serviceful_dispatcher_attempt_duration_seconds_bucket" + trigger,
			"serviceful_dispatcher_first_attempt_wait_seconds_count" + trigger, "serviceful_nats_connected 1", "go_goroutines",
		} {
			if !strings.Contains(string(scraped), "\n"+want) {
				t.Errorf("there is no %s", want)
			}
		}
	})
	r.Rights(files...)
	r.Stop()
	if err := r.End(); err != nil {
		t.Errorf("it ended with %v", err)
	}
}

// TestDrain checks that a dispatcher that is told to end lets a call under way
// end and settles it, and calls nothing more.
func TestDrain(t *testing.T) {
	r := start(t)
	began, end := make(chan struct{}, 1), make(chan struct{})
	r.Function("slow", func(http.ResponseWriter, *http.Request) {
		began <- struct{}{}
		<-end
	}, onEvent())
	r.publish("slow")
	<-began
	r.Stop()
	r.Eventually("it says that it stops", func() bool { return r.status("/readyz") != http.StatusOK })
	close(end)
	if err := r.End(); err != nil {
		t.Errorf("it ended with %v", err)
	}
	if !r.settled("slow") {
		t.Error("the call under way is not settled")
	}
	if len(began) > 0 {
		t.Error("it was called again")
	}
}

// TestCannotStart checks what a dispatcher says that lacks something.
func TestCannotStart(t *testing.T) {
	c := clustertest.New(t, t.Setenv, "serviceful-dispatcher", files...)
	away := loopback.Address(t)
	for name, test := range map[string]struct {
		args []string
		shut bool
		want string
	}{
		"no NATS":         {[]string{"--nats", "nats://" + away}, false, "connecting to NATS at nats://" + away},
		"cluster is away": {nil, true, "preparing to watch the cluster"},
		"no SMTP server":  {[]string{"--smtp", "nonsense"}, false, `--smtp "nonsense"`},
		"bad address":     {[]string{"--probes", "nowhere"}, false, "--probes: listening on nowhere"},
	} {
		t.Run(name, func(t *testing.T) {
			if c.Gate.Open(); test.shut {
				c.Gate.Shut()
			}
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			cmd := command()
			cmd.SetArgs(append([]string{"--nats", c.NATS.URL, "--probes", "127.0.0.1:0", "--metrics", ""}, test.args...))
			if err := cmd.ExecuteContext(ctx); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("it ended with %v, want %s", err, test.want)
			}
		})
	}
}
