package controller

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/serviceful/serviceful/operator/api/v1alpha1"
	"github.com/serviceful/serviceful/operator/internal/names"
	"github.com/serviceful/serviceful/operator/internal/wiring"
)

// wirings keeps the snapshot of all Functions until one of them changes.
type wirings struct {
	mu       sync.Mutex
	seen     map[types.UID]int64 // generation of each Function, which deleting it raises
	hosts    map[string]string   // by namespace
	snapshot *wiring.Snapshot
}

// wiring is the snapshot of all Functions there are. Those whose problems came or
// went with the latest change are looked at again.
func (r *reconciler) wiring(ctx context.Context) (*wiring.Snapshot, error) {
	snapshot, changed, err := r.compile(ctx)
	for _, f := range changed {
		r.kick(ctx, f)
	}
	return snapshot, err
}

// compile lists and compiles under one lock, so that no snapshot is older than
// one before it: by an older one, a trigger that is new would be gone.
func (r *reconciler) compile(ctx context.Context) (*wiring.Snapshot, []names.Function, error) {
	r.wirings.mu.Lock()
	defer r.wirings.mu.Unlock()
	functions, hosts, err := r.wired(ctx)
	if err != nil {
		return nil, nil, err
	}
	snapshot, changed := r.wirings.update(functions, wiring.Hosts{Domain: r.Domain, Namespace: hosts})
	return snapshot, changed, nil
}

// wired lists what is wired together. Nothing of it is copied or changed.
func (r *reconciler) wired(ctx context.Context) ([]v1alpha1.Function, map[string]string, error) {
	var list v1alpha1.FunctionList
	if err := r.client.List(ctx, &list, client.UnsafeDisableDeepCopy, whatever); err != nil {
		return nil, nil, fmt.Errorf("listing the Functions: %w", err)
	}
	namespaces := metav1.PartialObjectMetadataList{}
	namespaces.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("NamespaceList"))
	if err := r.client.List(ctx, &namespaces, client.UnsafeDisableDeepCopy, whatever); err != nil {
		return nil, nil, fmt.Errorf("listing the Namespaces: %w", err)
	}
	hosts := map[string]string{}
	for i := range namespaces.Items {
		if host := namespaces.Items[i].Annotations[v1alpha1.HostAnnotation]; host != "" {
			hosts[namespaces.Items[i].Name] = host
		}
	}
	return list.Items, hosts, nil
}

// update compiles if something has changed since the last time, and says whose
// problems are others now; mu is held.
func (w *wirings) update(functions []v1alpha1.Function, hosts wiring.Hosts) (_ *wiring.Snapshot, changed []names.Function) {
	seen := make(map[types.UID]int64, len(functions))
	for i := range functions {
		seen[functions[i].UID] = functions[i].Generation
	}
	if w.snapshot != nil && maps.Equal(seen, w.seen) && maps.Equal(hosts.Namespace, w.hosts) {
		return w.snapshot, nil
	}
	before := w.snapshot
	w.seen, w.hosts, w.snapshot = seen, hosts.Namespace, wiring.Compile(functions, hosts)
	if before == nil {
		return w.snapshot, nil // everyone is looked at now
	}
	old, current := problems(before), problems(w.snapshot)
	for f := range w.snapshot.Functions {
		if !slices.Equal(old[f], current[f]) {
			changed = append(changed, f)
		}
	}
	return w.snapshot, changed
}

func problems(s *wiring.Snapshot) map[names.Function][]wiring.Problem {
	out := map[names.Function][]wiring.Problem{}
	for _, p := range s.Problems {
		out[p.Function] = append(out[p.Function], p)
	}
	return out
}
