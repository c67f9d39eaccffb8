package controller

import (
	"context"
	"fmt"
	"maps"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/serviceful/serviceful/operator/api/v1alpha1"
	"github.com/serviceful/serviceful/operator/internal/render"
)

// fieldOwner is whom the API server knows as the owner of the fields we apply.
const fieldOwner = client.FieldOwner("serviceful")

// ensureAccount gives the function an account of its own. One of the name that
// is somebody else's is not used: whoever made it could speak as the function.
func (r *reconciler) ensureAccount(ctx context.Context, p *pass) error {
	wanted, found := render.ServiceAccount(p.fn), &corev1.ServiceAccount{}
	exists, err := r.find(ctx, p.fn, found)
	if err != nil {
		return fmt.Errorf("looking for the account: %w", err)
	}
	if exists && !metav1.IsControlledBy(found, p.fn) {
		p.accountTaken = true
		taken(p, "ServiceAccount")
		return nil
	}
	if exists && sameMeta(wanted, found) &&
		equality.Semantic.DeepDerivative(wanted.AutomountServiceAccountToken, found.AutomountServiceAccountToken) {
		return nil
	}
	return r.apply(ctx, wanted)
}

// find looks for the object of the Function's name: in the cache, which has ours
// only, then at the API server.
func (r *reconciler) find(ctx context.Context, fn *v1alpha1.Function, o client.Object) (exists bool, err error) {
	key := client.ObjectKeyFromObject(fn)
	err = r.client.Get(ctx, key, o)
	if apierrors.IsNotFound(err) {
		err = r.live.Get(ctx, key, o)
	}
	return err == nil, client.IgnoreNotFound(err)
}

// sameMeta says whether an object that exists is as it was rendered: its hash
// tells what we changed, and its labels whether somebody else took them away.
// What others add (Knative's webhook adds annotations and defaults) is theirs.
func sameMeta(wanted, found client.Object) bool {
	for k, v := range wanted.GetLabels() {
		if found.GetLabels()[k] != v {
			return false
		}
	}
	return found.GetAnnotations()[render.HashAnnotation] == wanted.GetAnnotations()[render.HashAnnotation]
}

// apply has the API server make the fields that are set here what they are, and
// leave every other alone.
func (r *reconciler) apply(ctx context.Context, o client.Object) error {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
	if err != nil {
		return fmt.Errorf("encoding a %s: %w", o.GetObjectKind().GroupVersionKind().Kind, err)
	}
	u := &unstructured.Unstructured{Object: content}
	maps.DeleteFunc(u.Object, func(field string, _ any) bool { return field == "status" }) // not ours
	err = r.client.Apply(ctx, client.ApplyConfigurationFromUnstructured(u), fieldOwner, client.ForceOwnership, whatever)
	if err != nil {
		return fmt.Errorf("applying %s %s: %w", u.GetKind(), o.GetName(), err)
	}
	return nil
}

// taken says that an object of the Function's name is not the Function's.
func taken(p *pass, kind string) {
	set(p.fn, v1alpha1.ConditionServiceReady, metav1.ConditionFalse, v1alpha1.ReasonNameTaken,
		"a %s named %q exists in namespace %q and is not this Function's: rename one of them", kind, p.fn.Name, p.fn.Namespace)
	p.lookAgain(foreignPause, "what is not ours is not watched")
}
