// Package watch tells which manifests and which functions' sources have changed.
//
// It owns the file system watches. It never reads a file and never builds. It may
// import names.
package watch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
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
	// Since is when the function was last made from its sources. Follow tells of
	// files that are newer, as they may have changed before they were watched.
	Since time.Time
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
	noted  chan struct{} // Follow found something; buffered

	mu      sync.Mutex
	targets []Target
	folders map[string]bool // what is watched
	pending pending
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
	w := &Watcher{
		config: config, files: files,
		change: make(chan Change), noted: make(chan struct{}, 1),
		folders: map[string]bool{}, pending: newPending(),
	}
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
		if w.newer(target, w.addTarget(target)) {
			w.pending.functions[target.Function] = true
			select {
			case w.noted <- struct{}{}:
			default:
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
		quiet = time.NewTimer(0)
		out   chan Change // w.change while there is a settled change
		next  Change
	)
	<-quiet.C
	for {
		meant := false
		select {
		case <-ctx.Done():
			return
		case err := <-w.files.Errors:
			w.config.Logger.Warn("watching files failed", "error", err)
			w.everything()
			meant = true
		case event := <-w.files.Events:
			meant = w.handle(event)
		case <-w.noted:
			meant = true
		case <-quiet.C:
			next, out = w.settled(), w.change
		case out <- next:
			out = nil
			w.told(next)
		}
		if meant {
			out = nil
			quiet.Reset(w.wait(time.Now()))
		}
	}
}

// handle adds what an event means, and tells whether it means anything. The files
// of a new folder count as new: they may have been written before the watch.
func (w *Watcher) handle(event fsnotify.Event) bool {
	if event.Op == fsnotify.Chmod || w.ignored(event.Name) {
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	meant := w.note(event.Name)
	switch {
	case event.Has(fsnotify.Remove) || event.Has(fsnotify.Rename):
		meant = w.gone(event.Name) || meant
	case event.Has(fsnotify.Create) && isFolder(event.Name):
		for _, file := range w.addTree(event.Name) {
			meant = w.note(file) || meant
		}
	}
	return meant
}

// note adds what a change of path means.
func (w *Watcher) note(path string) bool {
	meant := false
	if isManifest(path) && w.underRoot(path) {
		w.pending.manifests[path] = true
		meant = true
	}
	for _, target := range w.targets {
		if target.includes(path) {
			w.pending.functions[target.Function] = true
			meant = true
		}
	}
	return meant
}

// gone adds what it means that path, if it was a folder, is no more. There may be
// no event for what was in it; and the watches, which would follow a folder that
// was moved and report it by its old name, are ended.
func (w *Watcher) gone(path string) bool {
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
		w.pending.manifests[path] = true
		meant = true
	}
	for _, target := range w.targets {
		if target.needs(path) {
			w.pending.functions[target.Function] = true
			meant = true
		}
	}
	return meant
}
