package controller

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"knative.dev/serving/pkg/apis/serving"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/serviceful/serviceful/operator/api/v1alpha1"
	"github.com/serviceful/serviceful/operator/internal/render"
)

const (
	// foreignPause is when a name that somebody else has is looked at again.
	foreignPause = 10 * time.Second
	// refusedPause is when something that was refused is tried again: it takes a
	// person to change that, here or there.
	refusedPause = time.Minute
)

// ensureService has the API server hold the Knative Service as it is rendered.
// It is applied only where that differs from what there is, so a settled
// Function costs no request: a hash tells our own changes, and a comparison of
// the fields that we set tells those of others.
func (r *reconciler) ensureService(ctx context.Context, p *pass) error {
	if p.accountTaken {
		return nil
	}
	if render.Unresolved(p.fn.Spec.Image) { // what runs, if it does, runs on
		set(p.fn, v1alpha1.ConditionServiceReady, metav1.ConditionFalse, v1alpha1.ReasonImageNotBuilt,
			"image %s is Go source, which a cluster cannot run: build, push and apply it with `ko apply -f <manifest>`, or write the image that your CI pushed", p.fn.Spec.Image)
		return nil
	}
	wanted, found := render.Service(p.fn, r.Settings), &servingv1.Service{}
	exists, err := r.find(ctx, p.fn, found)
	if err != nil {
		return fmt.Errorf("looking for the Knative Service: %w", err)
	}
	switch {
	case exists && !metav1.IsControlledBy(found, p.fn):
		taken(p, "Knative Service")
		return nil
	case exists && sameMeta(wanted, found) && equality.Semantic.DeepDerivative(wanted.Spec, found.Spec):
		p.service = found
		return nil
	case !exists:
		if foreign, err := r.foreignService(ctx, p); foreign || err != nil {
			return err
		}
	}
	err = r.apply(ctx, wanted)
	switch {
	case refused(err):
		set(p.fn, v1alpha1.ConditionServiceReady, metav1.ConditionFalse, v1alpha1.ReasonServiceFailed, "%s", apiMessage(err))
		p.lookAgain(refusedPause, "the Knative Service was refused")
		return nil
	case err != nil:
		set(p.fn, v1alpha1.ConditionServiceReady, metav1.ConditionUnknown, v1alpha1.ReasonReconciling, "%s", apiMessage(err))
	default:
		onItsWay(p)
	}
	return err
}

// foreignService looks for a Service of the function's name that Knative did not
// make: Knative would make one of its own there.
func (r *reconciler) foreignService(ctx context.Context, p *pass) (bool, error) {
	service := &corev1.Service{}
	err := r.live.Get(ctx, client.ObjectKeyFromObject(p.fn), service)
	if err != nil {
		return false, client.IgnoreNotFound(err)
	}
	if service.Labels[serving.ServiceLabelKey] == p.fn.Name {
		return false, nil // what an earlier Knative Service left behind, on its way out
	}
	taken(p, "Service")
	return true, nil
}

// refused reports whether the API server or a webhook does not want the object,
// whenever it comes.
func refused(err error) bool {
	return apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) || apierrors.IsForbidden(err)
}

// onItsWay says that Knative is at work, in the same words until it is done: its
// own change several times for each Function, and each would be a write that every
// watcher of Functions hears of.
func onItsWay(p *pass) {
	set(p.fn, v1alpha1.ConditionServiceReady, metav1.ConditionUnknown, v1alpha1.ReasonReconciling,
		"Knative is making it ready; how far it is: kubectl -n %s describe ksvc %s", p.fn.Namespace, p.fn.Name)
}

// observeService says how Knative gets on. What it found out, address and image, is
// said together with that it is done.
func (r *reconciler) observeService(ctx context.Context, p *pass) error {
	if p.service == nil {
		return nil
	}
	s := &p.service.Status
	ready := s.GetCondition(servingv1.ServiceConditionReady)
	switch {
	case s.ObservedGeneration != p.service.Generation || ready == nil || ready.IsUnknown():
		onItsWay(p)
		return nil
	case ready.IsTrue():
		set(p.fn, v1alpha1.ConditionServiceReady, metav1.ConditionTrue, v1alpha1.ReasonReady, "calls are answered, by an instance that runs or one that starts")
	default:
		set(p.fn, v1alpha1.ConditionServiceReady, metav1.ConditionFalse, v1alpha1.ReasonServiceFailed, "%s: %s", ready.Reason, ready.Message)
	}
	p.fn.Status.Address = nil
	if s.Address != nil && s.Address.URL != nil {
		p.fn.Status.Address = &v1alpha1.Address{URL: s.Address.URL.String()}
	}
	return r.observeImage(ctx, p, s.LatestReadyRevisionName)
}

// observeImage says by digest what runs. A revision never changes, so it is read
// once.
func (r *reconciler) observeImage(ctx context.Context, p *pass, revision string) error {
	if revision == "" {
		return nil
	}
	image, known := r.ledger.image(p.name, revision)
	if !known {
		found := &servingv1.Revision{}
		if err := r.live.Get(ctx, client.ObjectKey{Namespace: p.fn.Namespace, Name: revision}, found); err != nil {
			return client.IgnoreNotFound(err)
		}
		if of := found.Status.ContainerStatuses; len(of) > 0 { // an image of a registry that Knative does not ask has no digest
			image = of[0].ImageDigest
		}
		r.ledger.noteImage(p.name, revision, image)
	}
	p.fn.Status.Image = image
	return nil
}
