package metrics

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/serviceful/serviceful/operator/internal/dispatch"
	"github.com/serviceful/serviceful/operator/internal/gateway"
	"github.com/serviceful/serviceful/operator/internal/invoke"
	"github.com/serviceful/serviceful/operator/internal/names"
	"github.com/serviceful/serviceful/operator/internal/wiring"
)

// World is a world of which is measured how long calls wait for an instance.
type World struct {
	inner     gateway.World
	functions *table[names.Function, prometheus.Observer]
}

var (
	_ gateway.World  = (*World)(nil)
	_ dispatch.World = (*World)(nil)
)

// World measures the waiting for instances of a world.
func (m *Metrics) World(inner gateway.World) *World {
	duration := m.histogram("serviceful_instance_wait_duration_seconds", "How long a call of a function without a ready instance waited for one, or until it was given up.", waits, functionLabels...)
	w := &World{inner: inner, functions: newTable(
		func(f names.Function) prometheus.Observer { return duration.With(functionLabelsOf(f)) },
		func(f names.Function) { duration.Delete(functionLabelsOf(f)) },
	)}
	m.registry.MustRegister(newReading("serviceful_instance_waiting_calls", "Calls that wait for a ready instance of their function.", functionLabels,
		func(emit func(float64, ...string)) {
			w.functions.each(func(f names.Function, n int64) { emit(float64(n), f.Namespace, f.Name) })
		}))
	m.keep = append(m.keep, func(s *wiring.Snapshot) {
		w.functions.keep(func(f names.Function) bool { return s.Functions[f] != nil })
	})
	return w
}

// Acquire is the inner world's. It costs nothing more than two atomic counts
// where there is a ready instance.
func (w *World) Acquire(ctx context.Context, f names.Function) (invoke.Lease, error) {
	begun := time.Now()
	w.functions.begin(f)
	lease, err := w.inner.Acquire(ctx, f)
	switch {
	case err != nil:
		w.waited(f, begun)
	case lease.Ready == nil:
		w.functions.end(f)
	default:
		lease.Release = w.watch(f, begun, lease)
	}
	return lease, err
}

// watch waits for a lease's instance, and is what releases the lease.
func (w *World) watch(f names.Function, begun time.Time, lease invoke.Lease) (release func()) {
	released := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() {
		select {
		case <-lease.Ready:
		case <-released:
		}
		w.waited(f, begun)
	})
	return func() {
		close(released)
		watching.Wait()
		lease.Release()
	}
}

func (w *World) waited(f names.Function, begun time.Time) {
	w.functions.end(f).value.Observe(time.Since(begun).Seconds())
}
