package controller

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"time"

	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/serviceful/serviceful/operator/internal/bus"
	"github.com/serviceful/serviceful/operator/internal/names"
	"github.com/serviceful/serviceful/operator/internal/wiring"
)

// sweepEvery is how often calls are looked for whose trigger is gone: a gateway
// that did not know yet may have stored one after the trigger was retired. It
// reads the subjects of all calls that wait.
const sweepEvery = 10 * time.Minute

// survey compares NATS with what there should be, one namespace after the
// other. It notes what it saw, and has the Functions that it concerns looked at
// again. All that it changes itself is to remove what broken uploads left.
type survey struct {
	*reconciler
	swept time.Time
}

// NeedLeaderElection says that only the operator that acts has to know.
func (s *survey) NeedLeaderElection() bool { return true }

// Start surveys until ctx ends.
func (s *survey) Start(ctx context.Context) error {
	for tick := time.NewTicker(s.SurveyEvery); ; {
		if err := s.all(ctx); err != nil && ctx.Err() == nil {
			ctrl.LoggerFrom(ctx).Error(err, "surveying NATS") // it is tried again
		}
		select {
		case <-ctx.Done():
			tick.Stop()
			return nil
		case <-tick.C:
		}
	}
}

func (s *survey) all(ctx context.Context) error {
	wired, err := s.wiring(ctx)
	if err != nil {
		return err
	}
	namespaces, err := s.Surveyor.Namespaces(ctx)
	if err != nil {
		return err
	}
	for namespace := range wired.Namespaces() {
		if !slices.Contains(namespaces, namespace) {
			namespaces = append(namespaces, namespace)
		}
	}
	sweep := time.Since(s.swept) >= sweepEvery
	seen := newSeen(wired)
	var failed []error
	for _, namespace := range namespaces {
		failed = append(failed, s.namespace(ctx, wired, namespace, seen))
		if sweep {
			failed = append(failed, s.sweep(ctx, wired, namespace))
		}
	}
	if err := errors.Join(failed...); err != nil {
		return err
	}
	if sweep {
		s.swept = time.Now()
	}
	if s.Meter == nil {
		return nil
	}
	if seen.Ready, err = s.ready(ctx); err == nil {
		s.Meter.Surveyed(*seen)
	}
	return err
}

func (s *survey) namespace(ctx context.Context, wired *wiring.Snapshot, namespace string, seen *Seen) error {
	found, err := s.Surveyor.Survey(ctx, namespace, wired, time.Now())
	if err != nil {
		return err
	}
	seen.add(wired, namespace, found)
	concerned := map[names.Function]bool{}
	wanted := map[string]bool{}
	for _, sub := range wired.Subscriptions {
		wanted[sub.Key()] = true
		if t, ok := found.Triggers[sub.Key()]; ok && going(sub, t) || sub.Function.Namespace != namespace {
			continue
		}
		for f := range wired.Functions { // the mail relay is everyone's
			if f == sub.Function || sub.Function.Name == "" && f.Namespace == namespace {
				s.ledger.noteLaid(f, "")
				concerned[f] = true
			}
		}
	}
	for key, t := range found.Triggers {
		if !wanted[key] && t.Function.Name != "" {
			s.ledger.orphan(t.Function)
			concerned[t.Function] = true
		}
	}
	for f, seen := range byFunction(wired, namespace, found) {
		if !reflect.DeepEqual(s.ledger.facts(f), seen) {
			s.ledger.noteFacts(f, seen)
			concerned[f] = true
		}
	}
	for f := range concerned {
		s.kick(ctx, f)
	}
	return nil
}

// going reports whether a schedule has a clock, or a time that will set it.
func going(sub *wiring.Subscription, t bus.TriggerState) bool {
	return sub.Schedule == nil || t.Clock || t.Pending+t.InFlight > 0
}

func byFunction(wired *wiring.Snapshot, namespace string, found *bus.Survey) map[names.Function]*facts {
	out := map[names.Function]*facts{}
	for f := range wired.Functions {
		if f.Namespace == namespace {
			out[f] = &facts{triggers: map[string]bus.TriggerState{}, dead: map[string]int64{}}
		}
	}
	for _, t := range found.Triggers {
		if f := out[t.Function]; f != nil {
			f.triggers[t.Trigger] = t
		}
	}
	for key, n := range found.Dead {
		if f := out[key.Function]; f != nil {
			f.dead[key.Trigger] = n
		}
	}
	return out
}

// sweep looks for everything that a trigger left which is gone, and removes what
// broken uploads left.
func (s *survey) sweep(ctx context.Context, wired *wiring.Snapshot, namespace string) error {
	orphans, err := s.Remover.Orphans(ctx, namespace, wired)
	for _, o := range orphans {
		s.ledger.orphan(o.Function)
		s.kick(ctx, o.Function)
	}
	swept, failed := s.Sweeper.SweepObjects(ctx, namespace, time.Now())
	if swept > 0 {
		ctrl.LoggerFrom(ctx).Info("removed what broken uploads left", "namespace", namespace, "uploads", swept)
	}
	return errors.Join(err, failed)
}
