package metrics

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/serviceful/serviceful/operator/api/v1alpha1"
	"github.com/serviceful/serviceful/operator/internal/bus"
	"github.com/serviceful/serviceful/operator/internal/controller"
	"github.com/serviceful/serviceful/operator/internal/delivery"
	"github.com/serviceful/serviceful/operator/internal/dispatch"
	"github.com/serviceful/serviceful/operator/internal/invoke"
	"github.com/serviceful/serviceful/operator/internal/names"
	"github.com/serviceful/serviceful/operator/internal/wiring"
)

var offers = names.Function{Namespace: "coop", Name: "offers"}

type connection struct{}

func (connection) Connected() bool    { return true }
func (connection) Reconnects() uint64 { return 3 }

// snapshot has one function with a trigger of each kind, or nothing.
func snapshot(t testing.TB, there bool) *wiring.Snapshot {
	t.Helper()
	f := v1alpha1.Function{}
	f.Namespace, f.Name = offers.Namespace, offers.Name
	f.Spec.Triggers = []v1alpha1.Trigger{
		{Name: "list", HTTP: &v1alpha1.HTTPSource{Path: "/offers"}},
		{Name: "welcome", Event: &v1alpha1.EventSource{Types: []string{"member.joined"}}},
	}
	if !there {
		return wiring.Compile(nil, wiring.Hosts{Any: true})
	}
	return wiring.Compile([]v1alpha1.Function{f}, wiring.Hosts{Any: true})
}

// world has leases as it is told.
type world func() (invoke.Lease, error)

func (w world) Acquire(context.Context, names.Function) (invoke.Lease, error) { return w() }

// rig is all that can be measured.
type rig struct {
	*Metrics
	gateway    *Gateway
	dispatcher *Dispatcher
	world      *World
	lease      func() (invoke.Lease, error)
	operator   *Operator
	route      *wiring.Route
	sub        *wiring.Subscription
	services   http.Handler
}

func newRig(t *testing.T) *rig {
	t.Helper()
	m := New(connection{})
	s := snapshot(t, true)
	r := &rig{Metrics: m, gateway: m.Gateway(), dispatcher: m.Dispatcher(), operator: NewOperator(), route: s.Routes()[0], sub: s.Subscriptions[0]}
	r.world = m.World(world(func() (invoke.Lease, error) { return r.lease() }))
	r.lease = func() (invoke.Lease, error) { return invoke.Lease{Release: func() {}}, nil }
	r.services = m.Services(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			w.WriteHeader(http.StatusForbidden)
		}
		io.WriteString(w, "answer")
	}))
	m.registry.MustRegister(r.operator)
	return r
}

// use makes use of everything once.
func (r *rig) use(t *testing.T) {
	t.Helper()
	r.gateway.Begin(r.route)
	r.gateway.End(r.route, http.StatusOK, time.Second)
	r.dispatcher.Begin(r.sub)
	r.dispatcher.End(r.sub, dispatch.Attempt{Settled: true, Called: true, First: true, Verdict: delivery.Verdict{Action: delivery.Die, Reason: delivery.ReasonRejected}})
	r.lease = func() (invoke.Lease, error) {
		return invoke.Lease{Ready: make(chan struct{}), Release: func() {}}, nil
	}
	lease, err := r.world.Acquire(t.Context(), offers)
	if err != nil {
		t.Fatal(err)
	}
	lease.Release()
	key := bus.DeadKey{Function: offers, Trigger: "welcome"}
	r.operator.Surveyed(controller.Seen{Ready: map[metav1.ConditionStatus]int{"True": 1}, Pending: map[bus.DeadKey]int64{key: 2}, Dead: map[bus.DeadKey]int64{key: 3}})
}

// value is that of one series, as it is scraped; "" where there is none.
func (r *rig) value(t *testing.T, series string) string {
	t.Helper()
	w := httptest.NewRecorder()
	r.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	for line := range strings.Lines(w.Body.String()) {
		if rest, ok := strings.CutPrefix(line, series+" "); ok {
			return strings.TrimSpace(rest)
		}
	}
	return ""
}

// TestDocumented has docs/metrics.md list every metric, as it is, and no other.
func TestDocumented(t *testing.T) {
	r := newRig(t)
	r.use(t)
	families, err := r.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var rows []string
	for _, f := range families {
		if !strings.HasPrefix(f.GetName(), "serviceful_") {
			continue
		}
		var labels []string
		for _, l := range f.GetMetric()[0].GetLabel() {
			labels = append(labels, "`"+l.GetName()+"`")
		}
		rows = append(rows, fmt.Sprintf("`%s` %s %s %s", f.GetName(), strings.ToLower(f.GetType().String()), sorted(labels), f.GetHelp()))
	}
	text, err := os.ReadFile("../../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	var documented []string
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "| `serviceful_") {
			cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
			for i := range cells {
				cells[i] = strings.TrimSpace(cells[i])
			}
			cells[2] = sorted(strings.Fields(cells[2]))
			documented = append(documented, strings.Join(cells, " "))
		}
	}
	for _, row := range rows {
		if !slices.Contains(documented, row) {
			t.Errorf("docs/metrics.md lacks the row: %s", row)
		}
	}
	if len(documented) != len(rows) {
		t.Errorf("docs/metrics.md has %d metrics, there are %d", len(documented), len(rows))
	}
	problems, err := testutil.GatherAndLint(r.registry)
	if err != nil || len(problems) > 0 {
		t.Errorf("names: %v %v", problems, err)
	}
}

func sorted(s []string) string {
	slices.Sort(s)
	return strings.Join(s, " ")
}

func TestGateway(t *testing.T) {
	r := newRig(t)
	const labels = `function="offers",kind="sync",namespace="coop",trigger="list"}`
	r.gateway.Begin(r.route)
	if v := r.value(t, "serviceful_gateway_requests_in_flight{"+labels); v != "1" {
		t.Errorf("in flight: %q", v)
	}
	r.gateway.End(r.route, http.StatusTeapot, 3*time.Second)
	for status := range 700 {
		r.gateway.Begin(r.route)
		r.gateway.End(r.route, status, time.Millisecond)
	}
	for code, want := range map[string]string{"none": "200", "1xx": "100", "2xx": "100", "3xx": "100", "4xx": "101", "5xx": "100"} {
		if v := r.value(t, `serviceful_gateway_requests_total{code="`+code+`",`+labels); v != want {
			t.Errorf("%s: %q, want %s", code, v, want)
		}
	}
	if v := r.value(t, "serviceful_gateway_requests_in_flight{"+labels); v != "0" {
		t.Errorf("in flight: %q", v)
	}
	if v := r.value(t, `serviceful_gateway_request_duration_seconds_bucket{function="offers",kind="sync",namespace="coop",trigger="list",le="2.5"}`); v != "700" {
		t.Errorf("within 2.5 s: %q", v)
	}
}

// TestKeep checks that what is gone is dropped, but not under a request.
func TestKeep(t *testing.T) {
	r := newRig(t)
	r.use(t)
	const series = `serviceful_gateway_requests_total{code="2xx",function="offers",kind="sync",namespace="coop",trigger="list"}`
	r.gateway.Begin(r.route)
	r.Keep(snapshot(t, true))
	r.Keep(snapshot(t, false))
	if v := r.value(t, series); v != "1" {
		t.Errorf("under way: %q", v)
	}
	r.gateway.End(r.route, http.StatusOK, 0)
	if v := r.value(t, series); v != "2" {
		t.Errorf("ended: %q", v)
	}
	r.Keep(snapshot(t, false))
	if n, err := testutil.GatherAndCount(r.registry, "serviceful_gateway_requests_total", "serviceful_gateway_request_duration_seconds", "serviceful_gateway_requests_in_flight",
		"serviceful_dispatcher_attempts_total", "serviceful_dispatcher_attempt_duration_seconds", "serviceful_dispatcher_first_attempt_wait_seconds",
		"serviceful_dispatcher_dead_letters_total", "serviceful_dispatcher_messages_in_flight", "serviceful_instance_wait_duration_seconds", "serviceful_instance_waiting_calls"); n != 0 || err != nil {
		t.Errorf("%d series are left, %v", n, err)
	}
	r.use(t) // it comes back
	if v := r.value(t, series); v != "1" {
		t.Errorf("made again: %q", v)
	}
}

// TestKeepAtOnce has routes come and go under requests: nothing is counted where
// nobody looks, and all that began has ended.
func TestKeepAtOnce(t *testing.T) {
	r := newRig(t)
	var requests, changes sync.WaitGroup
	over := make(chan struct{})
	changes.Go(func() {
		for {
			select {
			case <-over:
				return
			default:
				r.Keep(snapshot(t, false))
			}
		}
	})
	for range 4 {
		requests.Go(func() {
			for range 2000 {
				r.gateway.Begin(r.route)
				r.gateway.End(r.route, http.StatusOK, 0)
			}
		})
	}
	requests.Wait()
	close(over)
	changes.Wait()
	r.gateway.routes.each(func(k routeKey, n int64) {
		if n != 0 {
			t.Errorf("%v: %d under way", k, n)
		}
	})
}

func TestOutcomes(t *testing.T) {
	for want, a := range map[string]dispatch.Attempt{
		"done":        {Settled: true, Called: true},
		"failed":      {Settled: true, Called: true, Verdict: delivery.Verdict{Action: delivery.Fail}},
		"retried":     {Settled: true, Called: true, Verdict: delivery.Verdict{Action: delivery.Retry}},
		"uncalled":    {Settled: true, Verdict: delivery.Verdict{Action: delivery.Retry}},
		"dead":        {Settled: true, Verdict: delivery.Verdict{Action: delivery.Die, Reason: delivery.ReasonMaxAge}},
		"filtered":    {Settled: true, Called: true, Filtered: true},
		"handed_back": {},
	} {
		r := newRig(t)
		r.dispatcher.Begin(r.sub)
		r.dispatcher.End(r.sub, a)
		for _, outcome := range outcomes {
			n := map[bool]string{true: "1", false: "0"}[outcome == want]
			if v := r.value(t, `serviceful_dispatcher_attempts_total{function="offers",namespace="coop",outcome="`+outcome+`",trigger="welcome"}`); v != n {
				t.Errorf("%s: %s is %q", want, outcome, v)
			}
		}
		if v := r.value(t, `serviceful_dispatcher_dead_letters_total{function="offers",namespace="coop",reason="MaxAge",trigger="welcome"}`); (v == "1") != (want == "dead") {
			t.Errorf("%s: %q dead letters", want, v)
		}
	}
}

func TestWorld(t *testing.T) {
	const labels = `{function="offers",namespace="coop"}`
	ready, released := make(chan struct{}), 0
	tests := map[string]struct {
		lease   func() (invoke.Lease, error)
		then    func()
		waiting string // before then
		waits   string // after the end
	}{
		"warm": {func() (invoke.Lease, error) { return invoke.Lease{Release: func() { released++ }}, nil }, func() {}, "0", "0"},
		"cold": {func() (invoke.Lease, error) { return invoke.Lease{Ready: ready, Release: func() { released++ }}, nil }, func() { close(ready) }, "1", "1"},
		"given up": {func() (invoke.Lease, error) {
			return invoke.Lease{Ready: make(chan struct{}), Release: func() { released++ }}, nil
		}, func() {}, "1", "1"},
		"cannot start": {func() (invoke.Lease, error) { return invoke.Lease{}, errors.New("no") }, func() {}, "0", "1"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.lease, released = test.lease, 0
			lease, err := r.world.Acquire(t.Context(), offers)
			if v := r.value(t, "serviceful_instance_waiting_calls"+labels); v != test.waiting {
				t.Errorf("%q wait, want %s", v, test.waiting)
			}
			test.then()
			if err == nil {
				lease.Release()
				if released != 1 {
					t.Errorf("released %d times", released)
				}
			}
			if v := r.value(t, "serviceful_instance_wait_duration_seconds_count"+labels); v != test.waits {
				t.Errorf("%q waits, want %s", v, test.waits)
			}
			if v := r.value(t, "serviceful_instance_waiting_calls"+labels); v != "0" {
				t.Errorf("%q wait in the end", v)
			}
		})
	}
}

func TestServices(t *testing.T) {
	r := newRig(t)
	for _, call := range [][2]string{
		{"POST", "/v1/events"}, {"GET", "/v1/buckets/a/keys/b"}, {"GET", "/v1/buckets/a/keys"}, {"POST", "/v1/mail"}, {"GET", "/"},
		{"GET", "/v1/eventsandmore"}, {"GET", "/v1/stores/a/objects"}, {"POST", "/v1/queues/a/messages"}, {"GET", "/v1/functions/a/"}, {"GET", "/healthz"}, {"GET", "/readyz"},
	} {
		w := httptest.NewRecorder()
		r.services.ServeHTTP(w, httptest.NewRequest(call[0], call[1], nil))
		if w.Body.String() != "answer" {
			t.Errorf("%s: %s", call, w.Body)
		}
	}
	for series, want := range map[string]string{
		`code="4xx",service="events"`: "1", `code="2xx",service="keys"`: "2", `code="4xx",service="mail"`: "1", `code="2xx",service="other"`: "2", `code="5xx",service="keys"`: "0",
		`code="2xx",service="objects"`: "1", `code="4xx",service="queues"`: "1", `code="2xx",service="functions"`: "1",
	} {
		if v := r.value(t, "serviceful_services_calls_total{"+series+"}"); v != want {
			t.Errorf("%s: %q, want %s", series, v, want)
		}
	}
}

func TestStoreFailures(t *testing.T) {
	r := newRig(t)
	for err, reason := range map[error]string{
		bus.ErrFull: "full", bus.ErrTooLarge: "too_large", bus.ErrUnavailable: "unavailable", context.DeadlineExceeded: "unavailable",
		bus.ErrConflict: "", bus.ErrNotFound: "", bus.ErrKeyReused: "",
	} {
		before := testutil.CollectAndCount(r.failures)
		was := testutil.ToFloat64(prometheus.Collector(r.failures.WithLabelValues("full")))
		wrapped := fmt.Errorf("storing: %w", err)
		if got := r.failed(wrapped); !errors.Is(got, err) {
			t.Errorf("%v became %v", wrapped, got)
		}
		if after := testutil.CollectAndCount(r.failures); after != before {
			t.Errorf("%v: a new reason", err)
		}
		if now := testutil.ToFloat64(r.failures.WithLabelValues("full")); (now > was) != (reason == "full") {
			t.Errorf("%v: full went from %v to %v", err, was, now)
		}
	}
	for reason, want := range map[string]string{"full": "1", "too_large": "1", "unavailable": "2"} {
		if v := r.value(t, `serviceful_store_failures_total{reason="`+reason+`"}`); v != want {
			t.Errorf("%s: %q, want %s", reason, v, want)
		}
	}
}
