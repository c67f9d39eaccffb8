package controller

import (
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/serviceful/serviceful/operator/api/v1alpha1"
	"github.com/serviceful/serviceful/operator/internal/bus"
)

// maxMessage keeps other people's messages within a condition's bounds.
const maxMessage = 2000

// set sets a condition for the spec as it is now.
func set(fn *v1alpha1.Function, condition string, status metav1.ConditionStatus, reason, format string, args ...any) {
	message := fmt.Sprintf(format, args...)
	if len(message) > maxMessage {
		message = message[:maxMessage] + "..."
	}
	meta.SetStatusCondition(&fn.Status.Conditions, metav1.Condition{
		Type: condition, Status: status, Reason: reason, Message: message, ObservedGeneration: fn.Generation,
	})
}

// isTrue reports whether a condition is True for the spec as it is now.
func isTrue(fn *v1alpha1.Function, condition string) bool {
	c := meta.FindStatusCondition(fn.Status.Conditions, condition)
	return c != nil && c.Status == metav1.ConditionTrue && c.ObservedGeneration == fn.Generation
}

// observeTriggers says how each trigger stands: what the whole set of Functions
// shows, what NATS refused, and what the survey counted.
func (r *reconciler) observeTriggers(p *pass) {
	old := map[string]v1alpha1.TriggerStatus{}
	for _, t := range p.fn.Status.Triggers {
		old[t.Name] = t
	}
	settledFor := isTrue(p.fn, v1alpha1.ConditionTriggersReady)
	seen := r.ledger.facts(p.name)
	var triggers []v1alpha1.TriggerStatus
	for i := range p.fn.Spec.Triggers {
		spec := &p.fn.Spec.Triggers[i]
		t := old[spec.Name] // its counts, until there are new ones
		t.Name, t.Ready, t.Reason, t.Message = spec.Name, true, v1alpha1.ReasonReady, ""
		count(&t, seen)
		async := spec.HTTP == nil || spec.HTTP.Async
		switch {
		case spec.Paused:
			t.Reason, t.Message = v1alpha1.ReasonPaused, "it is paused: what arrives waits"
		case seen != nil && seen.triggers[t.Name].Late:
			t.Message = "its startFrom lies before the event log: it started with the oldest event there was"
		}
		if reason, message := p.trouble(&t, async, settledFor, seen); reason != "" {
			t.Ready, t.Reason, t.Message = false, reason, message
		}
		triggers = append(triggers, t)
	}
	p.fn.Status.Triggers = triggers
	total(p.fn, seen)
	concludeTriggers(p.fn)
}

// trouble is why a trigger is not ready.
func (p *pass) trouble(t *v1alpha1.TriggerStatus, async, settled bool, seen *facts) (reason, message string) {
	for _, problem := range p.wired.Problems {
		if problem.Function == p.name && problem.Trigger == t.Name {
			return problem.Reason, problem.Message
		}
	}
	err := p.refused[t.Name]
	switch {
	case bus.IsConsumerLimit(err):
		return v1alpha1.ReasonConsumerLimit, "NATS takes no more consumers: raise its limit (max_consumers), or remove triggers"
	case errors.Is(err, bus.ErrQueueHeld):
		return v1alpha1.ReasonReconciling, "the trigger that had its queue before is being removed"
	case err != nil && !settled:
		return v1alpha1.ReasonReconciling, err.Error()
	case async && p.unlaid != nil && !settled:
		return v1alpha1.ReasonReconciling, p.unlaid.Error()
	case seen != nil && seen.triggers[t.Name].AtRisk:
		return v1alpha1.ReasonEventsAtRisk, "its oldest event that waits has passed half of the 7 days that the event log keeps it: see why calls fail, or raise delivery.concurrency"
	}
	return "", ""
}

// count takes over what the survey saw.
func count(t *v1alpha1.TriggerStatus, seen *facts) {
	if seen == nil {
		return
	}
	state := seen.triggers[t.Name]
	t.Pending, t.InFlight, t.Dead = state.Pending, state.InFlight, seen.dead[t.Name]
	settled := metav1.NewTime(state.Settled).Rfc3339Copy() // as precise as it is kept
	if !state.Settled.IsZero() && (t.LastDelivery == nil || t.LastDelivery.Before(&settled)) {
		t.LastDelivery = &settled
	}
}

// total adds up. Dead letters of triggers that are gone count too: somebody has
// to look at them.
func total(fn *v1alpha1.Function, seen *facts) {
	fn.Status.Pending = 0
	for _, t := range fn.Status.Triggers {
		fn.Status.Pending += t.Pending
	}
	if seen == nil {
		return
	}
	fn.Status.Dead = 0
	for _, n := range seen.dead {
		fn.Status.Dead += n
	}
}

// concludeTriggers makes one condition of all triggers: the first that is wrong,
// else the first that is not known yet.
func concludeTriggers(fn *v1alpha1.Function) {
	status, reason, message := metav1.ConditionTrue, v1alpha1.ReasonReady, "every trigger that is not paused calls the function"
	for _, t := range fn.Status.Triggers {
		switch {
		case t.Ready || status == metav1.ConditionFalse:
		case t.Reason != v1alpha1.ReasonReconciling:
			status, reason, message = metav1.ConditionFalse, t.Reason, "trigger "+t.Name+": "+t.Message
		case status == metav1.ConditionTrue:
			status, reason, message = metav1.ConditionUnknown, t.Reason, "trigger "+t.Name+": "+t.Message
		}
	}
	set(fn, v1alpha1.ConditionTriggersReady, status, reason, "%s", message)
}

// conclude computes Ready from the other conditions. What a step left as it was
// for another spec is not known for this one.
func conclude(fn *v1alpha1.Function) {
	fn.Status.ObservedGeneration = fn.Generation
	status, reason, message := metav1.ConditionTrue, v1alpha1.ReasonReady, "the function can be called by all its triggers"
	for _, name := range []string{v1alpha1.ConditionServiceReady, v1alpha1.ConditionTriggersReady, v1alpha1.ConditionBindingsReady} {
		c := meta.FindStatusCondition(fn.Status.Conditions, name)
		if c == nil || c.ObservedGeneration != fn.Generation {
			set(fn, name, metav1.ConditionUnknown, v1alpha1.ReasonReconciling, "it is being worked on")
			c = meta.FindStatusCondition(fn.Status.Conditions, name)
		}
		switch {
		case c.Status == metav1.ConditionTrue || status == metav1.ConditionFalse:
		case c.Status == metav1.ConditionFalse:
			status, reason, message = c.Status, c.Reason, c.Message
		case status == metav1.ConditionTrue:
			status, reason, message = metav1.ConditionUnknown, v1alpha1.ReasonReconciling, c.Message
		}
	}
	setReady(fn, status, reason, message)
}

// setReady sets Ready, and with it Stalled, which says that False is no mere
// "not yet".
func setReady(fn *v1alpha1.Function, status metav1.ConditionStatus, reason, message string) {
	set(fn, v1alpha1.ConditionReady, status, reason, "%s", message)
	if status == metav1.ConditionFalse {
		set(fn, v1alpha1.ConditionStalled, metav1.ConditionTrue, reason, "%s", message)
	} else {
		meta.RemoveStatusCondition(&fn.Status.Conditions, v1alpha1.ConditionStalled)
	}
}

// announce tells of a change of Ready as an event.
func (r *reconciler) announce(before, after *v1alpha1.Function) {
	was := meta.FindStatusCondition(before.Status.Conditions, v1alpha1.ConditionReady)
	is := meta.FindStatusCondition(after.Status.Conditions, v1alpha1.ConditionReady)
	if is == nil || is.Status == metav1.ConditionUnknown || was != nil && was.Status == is.Status && was.Reason == is.Reason {
		return
	}
	kind := corev1.EventTypeNormal
	if is.Status == metav1.ConditionFalse {
		kind = corev1.EventTypeWarning
	}
	r.recorder.Eventf(after, nil, kind, is.Reason, "Reconcile", "%s", is.Message)
}

// apiMessage is what the API server or a webhook says, without our own words.
func apiMessage(err error) string {
	var status apierrors.APIStatus
	if errors.As(err, &status) {
		return status.Status().Message
	}
	return err.Error()
}
