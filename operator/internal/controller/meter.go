package controller

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/serviceful/serviceful/operator/api/v1alpha1"
	"github.com/serviceful/serviceful/operator/internal/bus"
	"github.com/serviceful/serviceful/operator/internal/names"
	"github.com/serviceful/serviceful/operator/internal/wiring"
)

// Meter is told what each survey saw. It must not change it.
type Meter interface {
	Surveyed(s Seen)
}

// Seen is what a survey of all namespaces saw. Dead letters whose trigger is no
// more are added up, in each namespace, for a trigger without a name of a
// function without a name.
type Seen struct {
	Ready   map[metav1.ConditionStatus]int // Functions by their condition Ready
	Pending map[bus.DeadKey]int64          // messages that wait for a call, by trigger
	Dead    map[bus.DeadKey]int64          // dead letters, by trigger

	there map[bus.DeadKey]bool // the triggers that there are
}

func newSeen(wired *wiring.Snapshot) *Seen {
	s := &Seen{Pending: map[bus.DeadKey]int64{}, Dead: map[bus.DeadKey]int64{}, there: make(map[bus.DeadKey]bool, len(wired.Subscriptions))}
	for _, sub := range wired.Subscriptions {
		s.there[bus.DeadKey{Function: sub.Function, Trigger: sub.Trigger}] = true
	}
	return s
}

// ready counts the Functions that there are.
func (s *survey) ready(ctx context.Context) (map[metav1.ConditionStatus]int, error) {
	var list v1alpha1.FunctionList
	if err := s.client.List(ctx, &list, client.UnsafeDisableDeepCopy, whatever); err != nil {
		return nil, fmt.Errorf("listing the Functions: %w", err)
	}
	out := map[metav1.ConditionStatus]int{}
	for i := range list.Items {
		status := metav1.ConditionUnknown
		if c := meta.FindStatusCondition(list.Items[i].Status.Conditions, v1alpha1.ConditionReady); c != nil {
			status = c.Status
		}
		out[status]++
	}
	return out, nil
}

// add adds what was found in one namespace.
func (s *Seen) add(wired *wiring.Snapshot, namespace string, found *bus.Survey) {
	for _, t := range found.Triggers {
		if key := (bus.DeadKey{Function: t.Function, Trigger: t.Trigger}); s.there[key] {
			s.Pending[key] = t.Pending
		}
	}
	for key, n := range found.Dead {
		ofMail := key.Trigger == names.MailTrigger && wired.Functions[key.Function] != nil
		if !s.there[key] && !ofMail {
			key = bus.DeadKey{Function: names.Function{Namespace: namespace}}
		}
		s.Dead[key] += n
	}
}
