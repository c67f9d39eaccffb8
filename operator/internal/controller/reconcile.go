package controller

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/serviceful/serviceful/operator/api/v1alpha1"
	"github.com/serviceful/serviceful/operator/internal/names"
	"github.com/serviceful/serviceful/operator/internal/wiring"
)

// Finalizer keeps a Function until nothing of its calls can be lost.
const Finalizer = "serviceful.dev/retire"

// catchUp bounds the wait for the cache. An event takes milliseconds; one that takes
// longer brings another pass.
const catchUp = 15 * time.Second

// pass is one look at a Function: what its steps found out for each other.
type pass struct {
	fn    *v1alpha1.Function
	name  names.Function
	wired *wiring.Snapshot

	accountTaken bool               // its account's name is another's: nothing may run as that
	service      *servingv1.Service // as the API server has it; nil: not there, or not as it should be
	unlaid       error              // why its streams are not there
	refused      map[string]error   // why a trigger has no consumer

	again time.Duration // look again after this; 0: when something changes
	why   string
}

// lookAgain asks for another pass, for a reason.
func (p *pass) lookAgain(after time.Duration, why string) {
	if p.again == 0 || after < p.again {
		p.again, p.why = after, why
	}
}

// Reconcile brings a Function to what it asks for. Each step sets its own
// condition, and fails for itself: without NATS a function still answers
// requests, and without Knative what is sent to it is still kept.
func (r *reconciler) Reconcile(ctx context.Context, req ctrl.Request) (_ ctrl.Result, err error) {
	p := &pass{fn: &v1alpha1.Function{}, name: names.Function{Namespace: req.Namespace, Name: req.Name}}
	missing := r.read(ctx, req.NamespacedName, p.fn)
	if client.IgnoreNotFound(missing) != nil {
		return ctrl.Result{}, missing
	}
	if p.wired, err = r.wiring(ctx); err != nil { // after the Function, so that it is no older
		return ctrl.Result{}, err
	}
	if missing != nil {
		return r.clearUp(ctx, p)
	}
	if !p.fn.DeletionTimestamp.IsZero() {
		return r.finalize(ctx, p)
	}
	if err := r.ensureFinalizer(ctx, p); err != nil {
		return ctrl.Result{}, err
	}
	stored := p.fn.DeepCopy()
	defer func() { err = errors.Join(err, r.patchStatus(ctx, stored, p.fn)) }()
	err = errors.Join(
		r.ensureAccount(ctx, p),
		r.ensureService(ctx, p), // before the streams: Knative takes longer, and works meanwhile
		r.ensureStreams(ctx, p),
		r.observeService(ctx, p),
	)
	r.observeTriggers(p)
	conclude(p.fn)
	return p.result(ctx, err)
}

// read waits until the cache has what was last written of a Function, but not for
// long: one that is gone in the meantime, unseen, would keep the worker.
func (r *reconciler) read(ctx context.Context, name client.ObjectKey, fn *v1alpha1.Function) error {
	waiting, cancel := context.WithTimeout(ctx, catchUp)
	defer cancel()
	err := r.client.Get(waiting, name, fn)
	if waiting.Err() != nil {
		return r.client.Get(ctx, name, fn, whatever)
	}
	return err
}

func (p *pass) result(ctx context.Context, err error) (ctrl.Result, error) {
	if err != nil {
		return ctrl.Result{}, err // looked at again with a growing pause
	}
	if p.again > 0 {
		ctrl.LoggerFrom(ctx).V(1).Info("looking again", "after", p.again.String(), "why", p.why)
	}
	return ctrl.Result{RequeueAfter: p.again}, nil
}

// ensureFinalizer comes before anything that must be removed with care.
func (r *reconciler) ensureFinalizer(ctx context.Context, p *pass) error {
	before := p.fn.DeepCopy()
	if !controllerutil.AddFinalizer(p.fn, Finalizer) {
		return nil
	}
	return r.patchFinalizers(ctx, p.fn, before)
}

// patchFinalizers fails if somebody else changed the list meanwhile, which a
// merge patch replaces.
func (r *reconciler) patchFinalizers(ctx context.Context, fn, before *v1alpha1.Function) error {
	err := r.client.Patch(ctx, fn, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}))
	if err != nil {
		return fmt.Errorf("changing the finalizers: %w", err)
	}
	return nil
}

// finalize removes what is the Function's: first what could still be called for
// it, so that no accepted call is lost, then what runs. Buckets stay, for they
// are the team's data.
func (r *reconciler) finalize(ctx context.Context, p *pass) (ctrl.Result, error) {
	if !controllerutil.ContainsFinalizer(p.fn, Finalizer) {
		return ctrl.Result{}, nil
	}
	waiting, err := r.retire(ctx, p)
	if err != nil || waiting {
		return p.result(ctx, errors.Join(err, r.explainDeletion(ctx, p, err)))
	}
	for _, o := range []client.Object{&servingv1.Service{}, &corev1.ServiceAccount{}} {
		if err := r.deleteOwned(ctx, p.fn, o); err != nil {
			return ctrl.Result{}, err
		}
	}
	before := p.fn.DeepCopy()
	controllerutil.RemoveFinalizer(p.fn, Finalizer)
	return ctrl.Result{}, client.IgnoreNotFound(r.patchFinalizers(ctx, p.fn, before))
}

// explainDeletion says what a deletion waits for.
func (r *reconciler) explainDeletion(ctx context.Context, p *pass, err error) error {
	stored, why := p.fn.DeepCopy(), p.why
	if err != nil {
		why = err.Error()
	}
	setReady(p.fn, metav1.ConditionUnknown, v1alpha1.ReasonReconciling, "it is being deleted: "+why)
	return r.patchStatus(ctx, stored, p.fn)
}

// deleteOwned deletes the object of the Function's name, if it is the
// Function's. Their owner would take them along, but later and not for sure.
func (r *reconciler) deleteOwned(ctx context.Context, fn *v1alpha1.Function, o client.Object) error {
	if err := r.client.Get(ctx, client.ObjectKeyFromObject(fn), o); err != nil {
		return client.IgnoreNotFound(err)
	}
	if !metav1.IsControlledBy(o, fn) {
		return nil
	}
	uid := o.GetUID()
	return client.IgnoreNotFound(r.client.Delete(ctx, o, client.Preconditions{UID: &uid}))
}

// clearUp is for a Function that is no more: calls may have been stored for it
// by a gateway that did not know yet.
func (r *reconciler) clearUp(ctx context.Context, p *pass) (ctrl.Result, error) {
	r.ledger.forget(p.name)
	_, err := r.retire(ctx, p)
	return p.result(ctx, err)
}

// patchStatus writes a status that has changed, and tells of a change of Ready.
func (r *reconciler) patchStatus(ctx context.Context, stored, fn *v1alpha1.Function) error {
	if equality.Semantic.DeepEqual(stored.Status, fn.Status) {
		return nil
	}
	changed := stored.DeepCopy()
	changed.Status = fn.Status
	if err := r.client.Status().Patch(ctx, changed, client.MergeFrom(stored)); err != nil {
		return client.IgnoreNotFound(err)
	}
	r.announce(stored, fn)
	return nil
}
