// Package metrics measures the loops for Prometheus, on a registry of its own.
//
// The loops tell it, through interfaces that they declare themselves, or it
// stands between them and what they use; none of them knows it. What each metric
// means is in docs/metrics.md.
package metrics

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/serviceful/serviceful/operator/internal/names"
	"github.com/serviceful/serviceful/operator/internal/wiring"
)

// Connection is a connection to NATS.
type Connection interface {
	Connected() bool
	Reconnects() uint64 // how often it was lost and made again
}

// Metrics are those of one program. What it measures of a trigger or a function
// that is gone is dropped by Keep.
type Metrics struct {
	registry *prometheus.Registry
	failures *prometheus.CounterVec
	keep     []func(*wiring.Snapshot)
}

// New measures the program itself, its connection to NATS, and nothing else yet.
func New(nats Connection) *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry()}
	m.registry.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "serviceful_nats_connected", Help: "Whether NATS can be reached: 1 or 0."}, func() float64 {
			if nats.Connected() {
				return 1
			}
			return 0
		}),
		prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "serviceful_nats_reconnects_total", Help: "Times that the connection to NATS was lost and made again."},
			func() float64 { return float64(nats.Reconnects()) }),
	)
	m.failures = m.counter("serviceful_store_failures_total", "Messages that were not stored, tries by the program itself included: full, too_large or unavailable.", "reason")
	for _, reason := range []string{"full", "too_large", "unavailable"} {
		m.failures.WithLabelValues(reason)
	}
	return m
}

// Handler serves GET /metrics.
func (m *Metrics) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{}))
	return mux
}

// Keep drops what is measured of triggers and functions that are not in s, once
// nothing of theirs is under way.
func (m *Metrics) Keep(s *wiring.Snapshot) {
	for _, keep := range m.keep {
		keep(s)
	}
}

func (m *Metrics) counter(name, help string, labels ...string) *prometheus.CounterVec {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	m.registry.MustRegister(c)
	return c
}

func (m *Metrics) histogram(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
	h := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}, labels)
	m.registry.MustRegister(h)
	return h
}

// calls are buckets, in seconds, from a warm function's answer to a long call.
var calls = []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60}

// waits are buckets, in seconds, from a fast start to what is given up.
var waits = []float64{.1, .25, .5, 1, 2, 3, 5, 10, 20, 30, 60, 120, 300}

// trigger names one, and labels what is measured of it.
type trigger struct {
	names.Function
	Trigger string
}

// triggerLabels and functionLabels are the labels of what is measured of each.
var (
	triggerLabels  = []string{"namespace", "function", "trigger"}
	functionLabels = []string{"namespace", "function"}
)

func (t trigger) labels() prometheus.Labels {
	return prometheus.Labels{"namespace": t.Namespace, "function": t.Name, "trigger": t.Trigger}
}

func functionLabelsOf(f names.Function) prometheus.Labels {
	return prometheus.Labels{"namespace": f.Namespace, "function": f.Name}
}

// reading is a gauge that is read when it is asked for.
type reading struct {
	desc *prometheus.Desc
	each func(emit func(value float64, labels ...string))
}

func newReading(name, help string, labels []string, each func(emit func(value float64, labels ...string))) reading {
	return reading{prometheus.NewDesc(name, help, labels, nil), each}
}

// Describe is prometheus.Collector's.
func (r reading) Describe(to chan<- *prometheus.Desc) { to <- r.desc }

// Collect is prometheus.Collector's.
func (r reading) Collect(to chan<- prometheus.Metric) {
	r.each(func(value float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(r.desc, prometheus.GaugeValue, value, labels...)
	})
}
