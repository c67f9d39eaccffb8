package metrics

import (
	"maps"
	"math"
	"runtime"
	"sync"
	"sync/atomic"
)

// table finds what is measured of a trigger or a function: without a lock and
// without an allocation where it was asked for before.
type table[K comparable, V any] struct {
	fill func(K) V // what is measured of a new key
	drop func(K)   // ends that

	mu      sync.Mutex // of changes
	current atomic.Pointer[map[K]*entry[V]]
}

// entry is what is measured of one key, and how much of its is under way: while
// something is, it stays, so that what was begun is ended in the same place.
type entry[V any] struct {
	value    V
	underWay atomic.Int64 // dropped or less: it is in no table any more
}

const dropped = math.MinInt64 / 2

func newTable[K comparable, V any](fill func(K) V, drop func(K)) *table[K, V] {
	t := &table[K, V]{fill: fill, drop: drop}
	t.current.Store(&map[K]*entry[V]{})
	return t
}

// begin notes that something is under way; end must follow.
func (t *table[K, V]) begin(k K) {
	for t.find(k).underWay.Add(1) <= 0 {
		runtime.Gosched() // it is being dropped: the table is about to be without it
	}
}

// end notes that something of k, which was begun, has ended.
func (t *table[K, V]) end(k K) *entry[V] {
	e := t.find(k)
	e.underWay.Add(-1)
	return e
}

func (t *table[K, V]) find(k K) *entry[V] {
	if e := (*t.current.Load())[k]; e != nil {
		return e
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	current := *t.current.Load()
	if e := current[k]; e != nil {
		return e
	}
	next := maps.Clone(current)
	next[k] = &entry[V]{value: t.fill(k)}
	t.current.Store(&next)
	return next[k]
}

// keep drops every entry but those that are wanted or have something under way.
func (t *table[K, V]) keep(wanted func(K) bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	next := maps.Clone(*t.current.Load())
	for k, e := range next {
		if !wanted(k) && e.underWay.CompareAndSwap(0, dropped) {
			t.drop(k)
			delete(next, k)
		}
	}
	t.current.Store(&next)
}

// each is how much is under way of every key.
func (t *table[K, V]) each(f func(K, int64)) {
	for k, e := range *t.current.Load() {
		if n := e.underWay.Load(); n >= 0 {
			f(k, n)
		}
	}
}
