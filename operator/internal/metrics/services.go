package metrics

import (
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

// doors are the services by the beginning of their paths; all else is otherDoor.
var doors = map[string]string{
	"/v1/events": "events", "/v1/buckets": "keys", "/v1/stores": "objects", "/v1/queues": "queues", "/v1/functions": "functions", "/v1/mail": "mail",
}

const otherDoor = "other"

// Services is a services door whose calls are measured; its probes are not.
func (m *Metrics) Services(door http.Handler) http.Handler {
	calls := m.counter("serviceful_services_calls_total", "Calls at the services door that have ended, by service (events, keys, objects, queues, functions, mail or other) and class of their status.", "service", "code")
	series := map[string]*[len(codes)]prometheus.Counter{}
	for _, service := range append(slices.Collect(maps.Values(doors)), otherDoor) {
		series[service] = &[len(codes)]prometheus.Counter{}
		for i, code := range codes {
			series[service][i] = calls.WithLabelValues(service, code)
		}
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path := r.URL.EscapedPath()
		if path == "/healthz" || path == "/readyz" {
			door.ServeHTTP(w, r)
			return
		}
		seen := &statusWriter{ResponseWriter: w}
		defer func() { series[serviceOf(path)][class(seen.status)].Inc() }()
		door.ServeHTTP(seen, r)
	})
}

func serviceOf(path string) string {
	first, rest, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	second, _, _ := strings.Cut(rest, "/")
	if service, ok := doors["/"+first+"/"+second]; ok {
		return service
	}
	return otherDoor
}

// statusWriter remembers the status of an answer.
type statusWriter struct {
	http.ResponseWriter
	status int
}

// WriteHeader is http.ResponseWriter's.
func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// Write is http.ResponseWriter's.
func (w *statusWriter) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(p)
}

// Unwrap is http.ResponseController's way to the connection.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
