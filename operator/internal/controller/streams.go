package controller

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/serviceful/serviceful/operator/api/v1alpha1"
	"github.com/serviceful/serviceful/operator/internal/bus"
	"github.com/serviceful/serviceful/operator/internal/names"
	"github.com/serviceful/serviceful/operator/internal/wiring"
)

// inUsePause is when a removed trigger that is still called is looked at again.
const inUsePause = time.Second

// ensureStreams makes the streams of the namespace, and the buckets and
// consumers of the function, and removes the consumers of triggers that are
// gone. It does so when something has changed, or the survey missed something.
func (r *reconciler) ensureStreams(ctx context.Context, p *pass) error {
	wanted, laid := plan(p.wired, p.name), r.ledger.laid(p.name)
	if laid != wanted.key {
		if err := r.lay(ctx, p, wanted); err != nil {
			return err
		}
	}
	p.concludeBindings()
	if r.ledger.isOrphaned(p.name) || laid != "" && laid != wanted.key {
		r.ledger.orphan(p.name) // until they are retired, however many passes that takes
		if _, err := r.retire(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

// concludeBindings says whether what is bound can be used, once its buckets and
// stores are there: the functions among it must be.
func (p *pass) concludeBindings() {
	for _, problem := range p.wired.Problems {
		if problem.Function == p.name && problem.Trigger == "" {
			set(p.fn, v1alpha1.ConditionBindingsReady, metav1.ConditionFalse, problem.Reason, "%s", problem.Message)
			return
		}
	}
	set(p.fn, v1alpha1.ConditionBindingsReady, metav1.ConditionTrue, v1alpha1.ReasonReady, "every bound service can be used")
}

// planned is what a function needs in NATS.
type planned struct {
	streams   *wiring.Snapshot // without triggers: the streams, the function's buckets and stores, the relays of mail and retries
	consumers []*wiring.Subscription
	relays    map[string]*wiring.Subscription // of changes, by the stream of the bucket or store
	key       string                          // equal for equal plans
}

func plan(wired *wiring.Snapshot, name names.Function) planned {
	f := wired.Functions[name]
	if f == nil { // the snapshot is newer than the object: it is being deleted
		f = &wiring.Function{Name: name}
	}
	out := planned{
		streams: &wiring.Snapshot{Functions: map[names.Function]*wiring.Function{name: f}}, relays: map[string]*wiring.Subscription{},
	}
	var key strings.Builder
	for _, sub := range wired.Subscriptions {
		switch {
		case sub.Function == name:
			out.consumers = append(out.consumers, sub)
			fmt.Fprintln(&key, sub.Key(), sub.Filters, sub.InFlight(), sub.OrderBy, sub.Concurrency, sub.Paused, sub.Held)
			if sub.Schedule != nil {
				fmt.Fprintf(&key, "%q\n", sub.Schedule.Spec)
			}
		case sub.Function != names.Function{Namespace: name.Namespace}:
		case sub.RelaysChanges():
			out.relays[sub.Stream] = sub
		default:
			out.streams.Subscriptions = append(out.streams.Subscriptions, sub)
		}
	}
	fmt.Fprintln(&key, "buckets", slices.Sorted(maps.Keys(f.Buckets)), "stores", slices.Sorted(maps.Keys(f.Stores)))
	out.key = key.String()
	return out
}

// feeding is a trigger's subscription, and the relay that it hears of changes
// through, if it does.
func (w planned) feeding(sub *wiring.Subscription) *wiring.Snapshot {
	s := &wiring.Snapshot{Subscriptions: []*wiring.Subscription{sub}}
	if relay := w.relays[sub.Watched()]; relay != nil {
		s.Subscriptions = append(s.Subscriptions, relay)
	}
	return s
}

// lay makes what is planned. A trigger whose consumer is refused is no reason
// for the others to wait.
func (r *reconciler) lay(ctx context.Context, p *pass, wanted planned) error {
	if p.unlaid = r.Layout.Apply(ctx, wanted.streams); p.unlaid != nil {
		unavailable(p)
		return p.unlaid
	}
	p.refused = map[string]error{}
	var failed []error
	r.relaying.RLock()
	defer r.relaying.RUnlock()
	for _, sub := range wanted.consumers {
		err := r.Layout.Apply(ctx, wanted.feeding(sub))
		switch {
		case bus.IsConsumerLimit(err):
			p.lookAgain(refusedPause, "NATS takes no more consumers")
			p.refused[sub.Trigger] = err
		case errors.Is(err, bus.ErrQueueHeld): // until this pass or another Function's retires that one
			p.lookAgain(inUsePause, "another trigger still has the queue of trigger "+sub.Trigger)
			p.refused[sub.Trigger] = err
		case err != nil:
			p.refused[sub.Trigger] = err
			failed = append(failed, err)
		}
	}
	if len(p.refused) == 0 {
		r.ledger.noteLaid(p.name, wanted.key)
	}
	return errors.Join(failed...)
}

// unavailable says that NATS is not there, unless all was well for this spec:
// then it is the data plane that says so, call by call.
func unavailable(p *pass) {
	if !isTrue(p.fn, v1alpha1.ConditionBindingsReady) {
		set(p.fn, v1alpha1.ConditionBindingsReady, metav1.ConditionUnknown, v1alpha1.ReasonServiceUnavailable, "%v", p.unlaid)
	}
}

// retire removes the consumers of the function's triggers that are no more. As
// long as a dispatcher that has not heard of it still calls for one, that one
// waits, up to RetireWait; what is under way then may be called and be dead.
func (r *reconciler) retire(ctx context.Context, p *pass) (waiting bool, err error) {
	orphans, err := r.Remover.Orphans(ctx, p.name.Namespace, p.wired)
	if err != nil {
		return false, fmt.Errorf("looking for triggers that are gone: %w", err)
	}
	for _, o := range orphans {
		if o.Function != p.name && o.Function.Name != "" { // a relay is everyone's
			continue
		}
		inUse, err := r.Remover.InUse(ctx, o)
		if err != nil {
			return false, fmt.Errorf("removing trigger %q: %w", o.Trigger, err)
		}
		if inUse && time.Since(r.ledger.orphanedSince(o)) < r.RetireWait {
			waiting = true
			p.lookAgain(inUsePause, "trigger "+o.Trigger+" is gone and still called")
			continue
		}
		retire := r.retireOne
		if o.Function.Name == "" {
			retire = r.retireRelay
		}
		if err := retire(ctx, p, o); err != nil {
			return false, err
		}
	}
	if !waiting {
		r.ledger.unorphan(p.name)
	}
	return waiting, nil
}

func (r *reconciler) retireOne(ctx context.Context, p *pass, o bus.Orphan) error {
	buried, err := r.Remover.Retire(ctx, o, time.Now())
	if err != nil {
		return fmt.Errorf("removing trigger %q: %w", o.Trigger, err)
	}
	r.ledger.retired(o)
	ctrl.LoggerFrom(ctx).Info("trigger removed", "trigger", o.Trigger, "dead_calls", buried)
	if buried > 0 && p.fn.UID != "" {
		r.recorder.Eventf(p.fn, nil, corev1.EventTypeWarning, v1alpha1.ReasonTriggerRemoved, "RemoveTrigger",
			"trigger %s was removed: %d calls that waited for it are dead letters", o.Trigger, buried)
	}
	return nil
}

// retireRelay removes a relay of changes, unless somebody watches them by now. It
// is many Functions' relay: none of them makes it meanwhile, and each makes sure of
// it the next time.
func (r *reconciler) retireRelay(ctx context.Context, p *pass, o bus.Orphan) error {
	r.relaying.Lock()
	defer r.relaying.Unlock()
	wired, err := r.wiring(ctx)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(wired.Subscriptions, func(sub *wiring.Subscription) bool { return sub.RelaysChanges() && sub.Stream == o.Stream }) {
		r.ledger.retired(o)
		return nil
	}
	for f := range wired.Functions {
		if f.Namespace == o.Function.Namespace {
			r.ledger.noteLaid(f, "")
		}
	}
	return r.retireOne(ctx, p, o)
}
