package metrics

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/serviceful/serviceful/operator/internal/controller"
)

// Operator shows what the operator's survey saw last; nothing before it saw
// something. It is a prometheus.Collector, for the registry of the operator's
// framework.
type Operator struct {
	seen     atomic.Pointer[controller.Seen]
	readings []reading
}

var (
	_ controller.Meter     = (*Operator)(nil)
	_ prometheus.Collector = (*Operator)(nil)
)

// NewOperator has seen nothing yet.
func NewOperator() *Operator {
	o := &Operator{}
	o.seen.Store(&controller.Seen{})
	o.readings = []reading{
		newReading("serviceful_functions", "Functions by the status of their condition Ready: True, False or Unknown.", []string{"ready"}, o.functions),
		newReading("serviceful_trigger_pending_messages", "Messages that wait for a call, those to be repeated among them.", triggerLabels, o.pending),
		newReading("serviceful_trigger_dead_letters", "Dead letters that are kept.", triggerLabels, o.dead),
	}
	return o
}

// Surveyed is controller.Meter's.
func (o *Operator) Surveyed(s controller.Seen) { o.seen.Store(&s) }

// Describe is prometheus.Collector's.
func (o *Operator) Describe(to chan<- *prometheus.Desc) {
	for _, r := range o.readings {
		r.Describe(to)
	}
}

// Collect is prometheus.Collector's.
func (o *Operator) Collect(to chan<- prometheus.Metric) {
	for _, r := range o.readings {
		r.Collect(to)
	}
}

func (o *Operator) functions(emit func(float64, ...string)) {
	ready := o.seen.Load().Ready
	if ready == nil {
		return
	}
	for _, status := range []metav1.ConditionStatus{metav1.ConditionTrue, metav1.ConditionFalse, metav1.ConditionUnknown} {
		emit(float64(ready[status]), string(status))
	}
}

func (o *Operator) pending(emit func(float64, ...string)) {
	for k, n := range o.seen.Load().Pending {
		emit(float64(n), k.Function.Namespace, k.Function.Name, k.Trigger)
	}
}

func (o *Operator) dead(emit func(float64, ...string)) {
	for k, n := range o.seen.Load().Dead {
		emit(float64(n), k.Function.Namespace, k.Function.Name, k.Trigger)
	}
}
