package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/serviceful/serviceful/operator/internal/gateway"
	"github.com/serviceful/serviceful/operator/internal/wiring"
)

// Gateway measures the requests to routes.
type Gateway struct {
	routes *table[routeKey, *routeSeries]
}

var _ gateway.Meter = (*Gateway)(nil)

type routeKey struct {
	trigger
	async bool
}

var routeLabels = append(triggerLabels[:3:3], "kind")

func (k routeKey) labels() prometheus.Labels {
	labels := k.trigger.labels()
	labels["kind"] = kind(k.async)
	return labels
}

// routeSeries are the series of one route.
type routeSeries struct {
	requests [len(codes)]prometheus.Counter
	duration prometheus.Observer
}

// codes are the classes of a status, by its first digit.
var codes = [...]string{"none", "1xx", "2xx", "3xx", "4xx", "5xx"}

func class(status int) int {
	if c := status / 100; c >= 1 && c < len(codes) {
		return c
	}
	return 0
}

func kind(async bool) string {
	if async {
		return "async"
	}
	return "sync"
}

// Gateway measures a public door.
func (m *Metrics) Gateway() *Gateway {
	requests := m.counter("serviceful_gateway_requests_total", "Requests to routes that have ended, by the class of their status: none where the caller left or the answer broke off. An async one is 2xx once it is stored.",
		append(routeLabels[:4:4], "code")...)
	duration := m.histogram("serviceful_gateway_request_duration_seconds", "How long a request to a route took, to the end of its answer.", calls, routeLabels...)
	fill := func(k routeKey) *routeSeries {
		s := &routeSeries{duration: duration.With(k.labels())}
		for i, code := range codes {
			s.requests[i] = requests.WithLabelValues(k.Namespace, k.Name, k.Trigger, kind(k.async), code)
		}
		return s
	}
	drop := func(k routeKey) {
		duration.Delete(k.labels())
		requests.DeletePartialMatch(k.labels())
	}
	g := &Gateway{newTable(fill, drop)}
	m.registry.MustRegister(newReading("serviceful_gateway_requests_in_flight", "Requests to routes that are under way.", routeLabels,
		func(emit func(float64, ...string)) {
			g.routes.each(func(k routeKey, n int64) { emit(float64(n), k.Namespace, k.Name, k.Trigger, kind(k.async)) })
		}))
	m.keep = append(m.keep, func(s *wiring.Snapshot) {
		wanted := map[routeKey]bool{}
		for _, rt := range s.Routes() {
			wanted[keyOf(rt)] = true
		}
		g.routes.keep(func(k routeKey) bool { return wanted[k] })
	})
	return g
}

func keyOf(rt *wiring.Route) routeKey { return routeKey{trigger{rt.Function, rt.Trigger}, rt.Async} }

// Begin is gateway.Meter's.
func (g *Gateway) Begin(rt *wiring.Route) { g.routes.begin(keyOf(rt)) }

// End is gateway.Meter's.
func (g *Gateway) End(rt *wiring.Route, status int, took time.Duration) {
	s := g.routes.end(keyOf(rt)).value
	s.requests[class(status)].Inc()
	s.duration.Observe(took.Seconds())
}
