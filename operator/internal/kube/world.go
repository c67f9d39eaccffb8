package kube

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/serviceful/serviceful/operator/api/v1alpha1"
	"github.com/serviceful/serviceful/operator/internal/wiring"
)

// Labels that Knative gives to the Services of a revision (knative.dev/networking
// and serving), from where Kubernetes copies them to the EndpointSlices.
const (
	// labelServiceType tells them apart: the private one selects the pods, the
	// public one is where calls go.
	labelServiceType = "networking.internal.knative.dev/serviceType"
	labelRevision    = "serving.knative.dev/revision"
)

// Config is what a World needs; everything is required.
type Config struct {
	REST   *rest.Config
	Domain string // a namespace without a host of its own answers on <namespace>.<Domain>
	Logger *slog.Logger
}

// World is the cluster. It is of use between Start and the end of Start's
// context.
type World struct {
	cfg       Config
	cache     cache.Cache
	revisions *revisions
	changed   chan struct{} // has a token when the wiring may have changed
}

// New is a World that watches nothing yet.
func New(cfg Config) (*World, error) {
	if cfg.REST == nil || cfg.Domain == "" || cfg.Logger == nil {
		return nil, errors.New("kube: the configuration is not complete")
	}
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{v1alpha1.AddToScheme, corev1.AddToScheme, servingv1.AddToScheme, discoveryv1.AddToScheme} {
		if err := add(scheme); err != nil {
			return nil, err
		}
	}
	ours, err := labels.Parse(v1alpha1.FunctionLabel)
	if err != nil {
		return nil, err
	}
	fronts, err := labels.Parse(v1alpha1.FunctionLabel + "," + labelServiceType + "=Public")
	if err != nil {
		return nil, err
	}
	addresses, err := labels.Parse(v1alpha1.FunctionLabel + "," + labelServiceType + "=Private")
	if err != nil {
		return nil, err
	}
	c, err := cache.New(cfg.REST, cache.Options{
		Scheme:           scheme,
		DefaultTransform: cache.TransformStripManagedFields(),
		DefaultWatchErrorHandler: func(_ context.Context, r *toolscache.Reflector, err error) {
			if !errors.Is(err, io.EOF) && !apierrors.IsResourceExpired(err) { // the ordinary end of a watch
				cfg.Logger.Warn("the cluster cannot be watched; it is tried again", "kind", r.TypeDescription(), "error", err)
			}
		},
		ByObject: map[client.Object]cache.ByObject{
			&v1alpha1.Function{}:         {Transform: without(func(*v1alpha1.Function) {})},
			&servingv1.Service{}:         {Label: ours, Transform: without(func(s *servingv1.Service) { s.Spec = servingv1.ServiceSpec{} })},
			&corev1.Service{}:            {Label: fronts, Transform: without(func(s *corev1.Service) { s.Spec.Selector = nil })},
			&discoveryv1.EndpointSlice{}: {Label: addresses, Transform: without(func(s *discoveryv1.EndpointSlice) { s.Ports = nil })},
		},
	})
	if err != nil {
		return nil, fmt.Errorf("preparing to watch the cluster: %w", err)
	}
	return &World{cfg: cfg, cache: c, revisions: newRevisions(), changed: make(chan struct{}, 1)}, nil
}

// Start watches until ctx ends. It returns once everything that there is has
// been seen, and then again never waits for the API server: what it knows stays
// known while the server is away.
func (w *World) Start(ctx context.Context) error {
	watches := []struct {
		object   client.Object
		handlers toolscache.ResourceEventHandlerFuncs
	}{
		{&v1alpha1.Function{}, w.onChange()},
		{namespaceMeta(), w.onChange()},
		{&servingv1.Service{}, on(w.revisions.service, w.revisions.noService)},
		{&corev1.Service{}, on(w.revisions.front, w.revisions.noFront)},
		{&discoveryv1.EndpointSlice{}, on(w.revisions.slice, w.revisions.noSlice)},
	}
	var synced []toolscache.InformerSynced
	for _, watch := range watches {
		informer, err := w.cache.GetInformer(ctx, watch.object, cache.BlockUntilSynced(false))
		if err != nil {
			return fmt.Errorf("watching %T: %w", watch.object, err)
		}
		registration, err := informer.AddEventHandler(watch.handlers)
		if err != nil {
			return fmt.Errorf("watching %T: %w", watch.object, err)
		}
		synced = append(synced, registration.HasSynced)
	}
	go func() {
		if err := w.cache.Start(ctx); err != nil {
			w.cfg.Logger.Error("watching the cluster ended", "error", err)
		}
	}()
	if !toolscache.WaitForCacheSync(ctx.Done(), synced...) {
		return fmt.Errorf("waiting for the first sight of the cluster: %w", context.Cause(ctx))
	}
	return nil
}

// Compile wires the Functions that there are.
func (w *World) Compile(ctx context.Context) (*wiring.Snapshot, error) {
	var functions v1alpha1.FunctionList
	if err := w.cache.List(ctx, &functions, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("listing the Functions: %w", err)
	}
	namespaces := metav1.PartialObjectMetadataList{}
	namespaces.SetGroupVersionKind(schema.GroupVersionKind{Version: "v1", Kind: "NamespaceList"})
	if err := w.cache.List(ctx, &namespaces, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("listing the namespaces: %w", err)
	}
	hosts := wiring.Hosts{Domain: w.cfg.Domain, Namespace: map[string]string{}}
	for i := range namespaces.Items {
		if host := namespaces.Items[i].Annotations[v1alpha1.HostAnnotation]; host != "" {
			hosts.Namespace[namespaces.Items[i].Name] = host
		}
	}
	return wiring.Compile(functions.Items, hosts), nil
}

func namespaceMeta() *metav1.PartialObjectMetadata {
	m := &metav1.PartialObjectMetadata{}
	m.SetGroupVersionKind(schema.GroupVersionKind{Version: "v1", Kind: "Namespace"})
	return m
}

// without is an object as it is kept, without what is read by nobody here.
func without[T client.Object](take func(T)) toolscache.TransformFunc {
	return func(o any) (any, error) {
		if object, ok := o.(T); ok {
			object.SetManagedFields(nil)
			object.SetAnnotations(nil)
			object.SetOwnerReferences(nil)
			take(object)
		}
		return o, nil
	}
}

// onChange leaves one token, however much changes until it is taken.
func (w *World) onChange() toolscache.ResourceEventHandlerFuncs {
	token := func() {
		select {
		case w.changed <- struct{}{}:
		default:
		}
	}
	return toolscache.ResourceEventHandlerFuncs{
		AddFunc: func(any) { token() }, DeleteFunc: func(any) { token() },
		UpdateFunc: func(before, after any) {
			if wires(before) != wires(after) {
				token()
			}
		},
	}
}

// wired is what of a Function or a namespace the wiring goes by.
type wired struct {
	uid        types.UID
	generation int64
	host       string
	laid       int64 // the generation whose triggers are ready: what the operator makes for them is there
}

func wires(o any) (w wired) {
	if object, ok := o.(client.Object); ok {
		w = wired{uid: object.GetUID(), generation: object.GetGeneration(), host: object.GetAnnotations()[v1alpha1.HostAnnotation]}
	}
	if fn, ok := o.(*v1alpha1.Function); ok {
		if c := meta.FindStatusCondition(fn.Status.Conditions, v1alpha1.ConditionTriggersReady); c != nil && c.Status == metav1.ConditionTrue {
			w.laid = c.ObservedGeneration
		}
	}
	return w
}

// on calls set for an object that is there, as it is now, and unset for one that
// is gone.
func on[T client.Object](set, unset func(T)) toolscache.ResourceEventHandlerFuncs {
	call := func(f func(T), o any) {
		if gone, ok := o.(toolscache.DeletedFinalStateUnknown); ok {
			o = gone.Obj
		}
		if object, ok := o.(T); ok {
			f(object)
		}
	}
	return toolscache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { call(set, o) },
		UpdateFunc: func(_, o any) { call(set, o) },
		DeleteFunc: func(o any) { call(unset, o) },
	}
}
