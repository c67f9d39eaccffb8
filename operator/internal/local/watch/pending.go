package watch

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/serviceful/serviceful/operator/internal/names"
)

// pending is the change that is not told yet.
type pending struct {
	since     time.Time // of its first event
	manifests map[string]bool
	functions map[names.Function]bool
}

func newPending() pending {
	return pending{manifests: map[string]bool{}, functions: map[names.Function]bool{}}
}

// wait is how long to wait for further events.
func (w *Watcher) wait(now time.Time) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.pending.since.IsZero() {
		w.pending.since = now
	}
	return max(0, min(settle, patience-now.Sub(w.pending.since)))
}

// settled is the pending change, which stays pending until it is told.
func (w *Watcher) settled() Change {
	w.mu.Lock()
	defer w.mu.Unlock()
	return Change{
		Manifests: slices.Sorted(maps.Keys(w.pending.manifests)),
		Functions: slices.SortedFunc(maps.Keys(w.pending.functions), func(a, b names.Function) int {
			return cmp.Compare(a.String(), b.String())
		}),
	}
}

// told forgets change, but not what Follow has found since it settled.
func (w *Watcher) told(change Change) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pending.since = time.Time{}
	for _, file := range change.Manifests {
		delete(w.pending.manifests, file)
	}
	for _, fn := range change.Functions {
		delete(w.pending.functions, fn)
	}
}

// everything counts as changed after events were lost.
func (w *Watcher) everything() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, root := range w.config.Roots {
		w.pending.manifests[root] = true
	}
	for _, target := range w.targets {
		w.pending.functions[target.Function] = true
	}
}
