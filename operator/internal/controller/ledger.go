package controller

import (
	"sync"
	"time"

	"github.com/serviceful/serviceful/operator/internal/bus"
	"github.com/serviceful/serviceful/operator/internal/names"
)

// ledger is what is known of NATS and of revisions, so that neither is asked
// again for each pass. It may be lost at any time: it is filled anew.
type ledger struct {
	mu        sync.Mutex
	entries   map[names.Function]*entry
	orphanage map[bus.Orphan]time.Time // since when each is known
}

type entry struct {
	laid            string // the plan that NATS was brought to; "": unknown
	orphaned        bool   // triggers that are gone have left something
	facts           *facts // what the survey saw last; nil: nothing yet
	revision, image string // "": its image has no digest
}

// facts are what the survey saw of one function.
type facts struct {
	triggers map[string]bus.TriggerState
	dead     map[string]int64
}

func newLedger() ledger {
	return ledger{entries: map[names.Function]*entry{}, orphanage: map[bus.Orphan]time.Time{}}
}

// of is a function's entry; mu is held.
func (l *ledger) of(f names.Function) *entry {
	e := l.entries[f]
	if e == nil {
		e = &entry{}
		l.entries[f] = e
	}
	return e
}

func (l *ledger) forget(f names.Function) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.entries, f)
}

func (l *ledger) laid(f names.Function) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.of(f).laid
}

func (l *ledger) noteLaid(f names.Function, key string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.of(f).laid = key
}

func (l *ledger) isOrphaned(f names.Function) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.of(f).orphaned
}

func (l *ledger) orphan(f names.Function) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.of(f).orphaned = true
}

func (l *ledger) unorphan(f names.Function) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e := l.entries[f]; e != nil {
		e.orphaned = false
	}
}

// orphanedSince is when an orphan was first asked about.
func (l *ledger) orphanedSince(o bus.Orphan) time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	since, ok := l.orphanage[o]
	if !ok {
		since = time.Now()
		l.orphanage[o] = since
	}
	return since
}

func (l *ledger) retired(o bus.Orphan) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.orphanage, o)
}

func (l *ledger) image(f names.Function, revision string) (image string, known bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e := l.of(f); e.revision == revision {
		return e.image, true
	}
	return "", false
}

func (l *ledger) noteImage(f names.Function, revision, image string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.of(f)
	e.revision, e.image = revision, image
}

func (l *ledger) facts(f names.Function) *facts {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.of(f).facts
}

func (l *ledger) noteFacts(f names.Function, seen *facts) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.of(f).facts = seen
}
