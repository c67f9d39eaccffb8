// Package watch tells which manifests and which functions' sources have changed.
//
// It owns the file system watches. It never reads a file and never builds. It may
// import names.
package watch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/serviceful/serviceful/operator/internal/names"
)

const (
	// settle is how long it must be quiet until a change is told: an editor's save
	// is several events.
	settle = 100 * time.Millisecond
	// patience bounds that wait when it is never quiet.
	patience = time.Second
)

// Target is one function and what it is made of.
type Target struct {
	Function names.Function
	// Dir, if set, is a folder of which every file counts, at any depth, except
	// manifests and what is ignored: the source of a command in any language. A
	// program that writes into this folder is restarted for it.
	Dir string
	// Folders are those whose Go sources, modules' files and C or assembler sources
	// count, at depth one.
	Folders []string
	// Files count too, and so do new ones beside them.
	Files []string
}

// Change is what has changed since the last one. Each list is sorted, and either
// may be empty.
type Change struct {
	// Manifests are the .yaml and .yml files under the roots that were written, made
	// or removed, folders that have gone, and roots of which events were lost.
	Manifests []string
	// Functions are those whose sources changed.
	Functions []names.Function
}

// Config says what to watch.
type Config struct {
	// Roots are the folders, or single files, in which manifests are looked for.
	Roots []string
	// Ignore are folders in which nothing counts, such as the data folder. Hidden
	// files and folders, __pycache__, node_modules and editors' backups never count.
	Ignore []string
	// Logger gets what cannot be watched; nil discards it.
	Logger *slog.Logger
}

// Watcher watches from New until Run has returned.
type Watcher struct {
	config Config
	files  *fsnotify.Watcher
	change chan Change

	mu      sync.Mutex
	targets []Target
	folders map[string]bool // what is watched
}

// New begins to watch the roots. Changes are kept until Run tells them.
func New(config Config) (*Watcher, error) {
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	config.Roots, config.Ignore = slices.Clone(config.Roots), slices.Clone(config.Ignore)
	for _, paths := range [][]string{config.Roots, config.Ignore} {
		for i, path := range paths {
			absolute, err := filepath.Abs(path)
			if err != nil {
				return nil, fmt.Errorf("resolving %s: %w", path, err)
			}
			paths[i] = absolute
		}
	}
	files, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, fmt.Errorf("beginning to watch files: %w", err)
	}
	w := &Watcher{config: config, files: files, change: make(chan Change), folders: map[string]bool{}}
	for _, root := range config.Roots {
		if err := w.addRoot(root); err != nil {
			return nil, errors.Join(fmt.Errorf("watching %s: %w", root, err), files.Close())
		}
	}
	return w, nil
}

// Follow replaces the functions whose sources are watched.
func (w *Watcher) Follow(targets []Target) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.targets = slices.Clone(targets)
	for _, target := range targets {
		if target.Dir != "" {
			w.addTree(target.Dir)
		}
		for _, file := range target.Files {
			w.add(filepath.Dir(file))
		}
		for _, folder := range target.Folders {
			w.add(folder)
			if parent := filepath.Dir(folder); slices.ContainsFunc(target.Folders, func(f string) bool { return within(f, parent) }) {
				w.add(parent) // sees the folder go and come back
			}
		}
	}
}

// Changes is where Run sends; one that nobody takes grows until somebody does.
func (w *Watcher) Changes() <-chan Change { return w.change }

// Run sends changes until ctx is done, then closes Changes. It must be called once.
func (w *Watcher) Run(ctx context.Context) {
	defer close(w.change)
	defer w.files.Close()
	var (
		pending = pending{manifests: map[string]bool{}, functions: map[names.Function]bool{}}
		quiet   = time.NewTimer(0)
		out     chan Change // w.change while there is a settled change
		next    Change
	)
	<-quiet.C
	for {
		select {
		case <-ctx.Done():
			return
		case err := <-w.files.Errors:
			w.config.Logger.Warn("watching files failed", "error", err)
			w.everything(&pending)
			out = nil
			quiet.Reset(pending.wait(time.Now()))
		case event := <-w.files.Events:
			if w.handle(event, &pending) {
				out = nil
				quiet.Reset(pending.wait(time.Now()))
			}
		case <-quiet.C:
			next, out = pending.change(), w.change
		case out <- next:
			pending.clear()
			out = nil
		}
	}
}

// pending is a change that is not told yet.
type pending struct {
	since     time.Time // of its first event
	manifests map[string]bool
	functions map[names.Function]bool
}

// wait is how long to wait for further events.
func (p *pending) wait(now time.Time) time.Duration {
	if p.since.IsZero() {
		p.since = now
	}
	return max(0, min(settle, patience-now.Sub(p.since)))
}

func (p *pending) change() Change {
	return Change{
		Manifests: slices.Sorted(maps.Keys(p.manifests)),
		Functions: slices.SortedFunc(maps.Keys(p.functions), func(a, b names.Function) int {
			return cmp.Compare(a.String(), b.String())
		}),
	}
}

func (p *pending) clear() {
	p.since = time.Time{}
	clear(p.manifests)
	clear(p.functions)
}

// handle adds what an event means, and tells whether it means anything. The files
// of a new folder count as new: they may have been written before the watch.
func (w *Watcher) handle(event fsnotify.Event, p *pending) bool {
	if event.Op == fsnotify.Chmod || w.ignored(event.Name) {
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	meant := w.note(event.Name, p)
	switch {
	case event.Has(fsnotify.Remove) || event.Has(fsnotify.Rename):
		meant = w.gone(event.Name, p) || meant
	case event.Has(fsnotify.Create) && isFolder(event.Name):
		for _, file := range w.addTree(event.Name) {
			meant = w.note(file, p) || meant
		}
	}
	return meant
}

// everything counts as changed after events were lost.
func (w *Watcher) everything(p *pending) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, root := range w.config.Roots {
		p.manifests[root] = true
	}
	for _, target := range w.targets {
		p.functions[target.Function] = true
	}
}

// note adds what a change of path means.
func (w *Watcher) note(path string, p *pending) bool {
	meant := false
	if isManifest(path) && w.underRoot(path) {
		p.manifests[path] = true
		meant = true
	}
	for _, target := range w.targets {
		if target.includes(path) {
			p.functions[target.Function] = true
			meant = true
		}
	}
	return meant
}

// gone adds what it means that path, if it was a folder, is no more. There may be
// no event for what was in it; and the watches, which would follow a folder that
// was moved and report it by its old name, are ended.
func (w *Watcher) gone(path string, p *pending) bool {
	if !w.folders[path] {
		return false
	}
	for folder := range w.folders {
		if within(path, folder) {
			_ = w.files.Remove(folder) // fails when the watch ended with the folder
			delete(w.folders, folder)
		}
	}
	meant := false
	if w.underRoot(path) {
		p.manifests[path] = true
		meant = true
	}
	for _, target := range w.targets {
		if target.needs(path) {
			p.functions[target.Function] = true
			meant = true
		}
	}
	return meant
}
