package controller

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/events"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/serviceful/serviceful/operator/api/v1alpha1"
	"github.com/serviceful/serviceful/operator/internal/bus"
	"github.com/serviceful/serviceful/operator/internal/names"
	"github.com/serviceful/serviceful/operator/internal/render"
	"github.com/serviceful/serviceful/operator/internal/wiring"
)

// Layout makes the streams, consumers and buckets that a snapshot needs.
type Layout interface {
	Apply(ctx context.Context, s *wiring.Snapshot) error
}

// Remover removes what a trigger that is no more has left.
type Remover interface {
	Orphans(ctx context.Context, namespace string, s *wiring.Snapshot) ([]bus.Orphan, error)
	InUse(ctx context.Context, o bus.Orphan) (bool, error)
	Retire(ctx context.Context, o bus.Orphan, now time.Time) (buried int, err error)
}

// Surveyor looks at what there is.
type Surveyor interface {
	Namespaces(ctx context.Context) ([]string, error)
	Survey(ctx context.Context, namespace string, wired *wiring.Snapshot, now time.Time) (*bus.Survey, error)
}

// Sweeper removes what is nobody's.
type Sweeper interface {
	SweepObjects(ctx context.Context, namespace string, now time.Time) (swept int, err error)
}

var (
	_ Layout   = bus.Layout{}
	_ Remover  = bus.Layout{}
	_ Surveyor = bus.Layout{}
	_ Sweeper  = bus.Layout{}
)

// Config is what the controller needs; the durations have defaults.
type Config struct {
	Layout   Layout
	Remover  Remover
	Surveyor Surveyor
	Sweeper  Sweeper
	Settings render.Settings
	Domain   string // a namespace's routes answer on <namespace>.<Domain>

	// Meter is told what each survey saw; nil: nobody is.
	Meter Meter
	// SurveyEvery is how often the status of the triggers is brought up to date.
	SurveyEvery time.Duration
	// RetireWait bounds the wait for the calls under way of a removed trigger.
	RetireWait time.Duration
}

const (
	defaultSurveyEvery = 30 * time.Second
	// defaultRetireWait is longer than a dispatcher needs to hear of the removal,
	// to end its calls and, when it was killed, to be missed.
	defaultRetireWait = time.Minute
	// workers reconcile at once: most of a reconcile is waiting for others.
	workers = 8
)

func (c Config) validate() error {
	switch {
	case c.Layout == nil || c.Remover == nil || c.Surveyor == nil || c.Sweeper == nil:
		return errors.New("controller: the configuration is not complete")
	case c.Settings.ServicesURL == "":
		return errors.New("controller: the services door has no URL")
	case c.Settings.MaxTimeout < time.Second:
		return fmt.Errorf("controller: the longest timeout %s is less than a second", c.Settings.MaxTimeout)
	case c.Domain == "":
		return errors.New("controller: there is no domain")
	}
	return nil
}

// AddToScheme registers every kind that the controller reads or writes.
func AddToScheme(scheme *runtime.Scheme) error {
	return errors.Join(v1alpha1.AddToScheme(scheme), servingv1.AddToScheme(scheme), corev1.AddToScheme(scheme))
}

// Its rights, verb by verb. Objects are applied, which takes create and patch.
// To put a Function as the owner into them takes the update of its finalizers
// where a cluster checks that (OwnerReferencesPermissionEnforcement). The last
// two are for the lease.
//
// +kubebuilder:rbac:groups=serviceful.dev,resources=functions,verbs=list;watch;patch
// +kubebuilder:rbac:groups=serviceful.dev,resources=functions/status,verbs=patch
// +kubebuilder:rbac:groups=serviceful.dev,resources=functions/finalizers,verbs=update
// +kubebuilder:rbac:groups=serving.knative.dev,resources=services,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=serving.knative.dev,resources=revisions,verbs=get
// +kubebuilder:rbac:groups="",resources=serviceaccounts,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups="",resources=services,verbs=get
// +kubebuilder:rbac:groups="",resources=namespaces,verbs=list;watch
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch
// +kubebuilder:rbac:groups=coordination.k8s.io,resources=leases,namespace=serviceful-system,verbs=get;create;update
// +kubebuilder:rbac:groups="",resources=events,namespace=serviceful-system,verbs=create;patch

// reconciler brings one Function at a time to what it asks for.
type reconciler struct {
	Config
	client   client.Client
	live     client.Reader // past the cache: for what is not ours, and rarely read
	recorder events.EventRecorder
	wirings  wirings
	ledger   ledger
	kicks    chan event.GenericEvent // Functions to be looked at again
	relaying sync.RWMutex            // held to remove a relay of changes, shared to make some
}

// Cache says what is kept of the cluster: what is ours, and of Namespaces their
// metadata, by the way they are read. Of a Function kubectl has put a copy into an
// annotation, and none of those is read.
func Cache() cache.Options {
	ours := cache.ByObject{Label: labels.SelectorFromSet(labels.Set{render.ManagedByLabel: render.ManagedBy})}
	return cache.Options{
		DefaultTransform: cache.TransformStripManagedFields(), // half of an object, and read by nobody
		ByObject: map[client.Object]cache.ByObject{
			&servingv1.Service{}: ours, &corev1.ServiceAccount{}: ours, &v1alpha1.Function{}: {Transform: bare},
		},
	}
}

// bare is a Function as it is kept.
func bare(o any) (any, error) {
	if fn, ok := o.(*v1alpha1.Function); ok {
		fn.ManagedFields, fn.Annotations = nil, nil
	}
	return o, nil
}

// Client says how the cluster is read: a Function not before the cache has what was
// last written of it. A pass that took an older one would write the same again, or
// find that what it has to say is there, and leave what was said since.
func Client() client.Options {
	yes := true
	return client.Options{Cache: &client.CacheOptions{EnableReadYourWritesConsistency: &yes}}
}

// whatever reads what the cache has, and waits for nobody's write.
const whatever = client.DisableReadYourWritesConsistency

// Add adds the controller and its survey to a manager, whose cache must be as
// Cache says and whose client as Client.
func Add(mgr ctrl.Manager, cfg Config) error {
	_, err := add(mgr, cfg)
	return err
}

func add(mgr ctrl.Manager, cfg Config) (*reconciler, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	cfg.SurveyEvery = cmp.Or(cfg.SurveyEvery, defaultSurveyEvery)
	cfg.RetireWait = cmp.Or(cfg.RetireWait, defaultRetireWait)
	r := &reconciler{
		Config: cfg, client: mgr.GetClient(), live: mgr.GetAPIReader(), recorder: mgr.GetEventRecorder("serviceful-operator"),
		ledger: newLedger(), kicks: make(chan event.GenericEvent),
	}
	if err := mgr.Add(&survey{reconciler: r}); err != nil {
		return nil, fmt.Errorf("adding the survey: %w", err)
	}
	err := ctrl.NewControllerManagedBy(mgr).
		Named("function").
		For(&v1alpha1.Function{}, builder.WithPredicates(predicate.GenerationChangedPredicate{})). // the rest of it is written here
		Owns(&servingv1.Service{}).
		Owns(&corev1.ServiceAccount{}).
		WatchesMetadata(&corev1.Namespace{}, handler.EnqueueRequestsFromMapFunc(r.functionsOf),
			builder.WithPredicates(predicate.AnnotationChangedPredicate{})). // for its host
		WatchesRawSource(source.Channel(r.kicks, &handler.EnqueueRequestForObject{})).
		WithOptions(controller.Options{MaxConcurrentReconciles: workers}).
		Complete(r)
	if err != nil {
		return nil, fmt.Errorf("adding the controller: %w", err)
	}
	return r, nil
}

// functionsOf are the requests for every Function of a namespace.
func (r *reconciler) functionsOf(ctx context.Context, namespace client.Object) []ctrl.Request {
	var list v1alpha1.FunctionList
	if err := r.client.List(ctx, &list, client.InNamespace(namespace.GetName()), whatever); err != nil {
		return nil // the cache is not ready: each is looked at anyway
	}
	out := make([]ctrl.Request, len(list.Items))
	for i := range list.Items {
		out[i].NamespacedName = client.ObjectKeyFromObject(&list.Items[i])
	}
	return out
}

// kick has a Function looked at again.
func (r *reconciler) kick(ctx context.Context, f names.Function) {
	fn := &v1alpha1.Function{}
	fn.Namespace, fn.Name = f.Namespace, f.Name
	select {
	case r.kicks <- event.GenericEvent{Object: fn}:
	case <-ctx.Done():
	}
}
