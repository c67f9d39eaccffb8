// Package build turns Go import paths into programs with the go command, as ko
// turns them into images.
//
// It owns the go command and the build folder. It never runs what it built and
// never reads a manifest. It may import names and invoke.
package build

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"github.com/serviceful/serviceful/operator/internal/invoke"
	"github.com/serviceful/serviceful/operator/internal/names"
)

// Target is one function that is built from Go source.
type Target struct {
	Function names.Function
	Package  string // import path of a main package
	Dir      string // folder whose module resolves Package
}

// Result is what became of one target: a program, or Err.
type Result struct {
	// Path of the program. It stays until the second-next build of the function
	// that differs.
	Path string
	// Hash is 12 hexadecimal digits that differ when the program does.
	Hash string
	// Err, of reason NotBuilt, has the compiler's first message as its detail and
	// its first 20 lines.
	Err *invoke.StartError
}

// Builder builds into one folder, one Build at a time.
type Builder struct {
	dir      string
	commands chan struct{} // one slot per go command that may run now

	building sync.Mutex // held by Build

	mu       sync.Mutex // guards what follows
	progress io.Writer
	current  map[names.Function]string // paths given out last
}

// New returns a Builder that keeps programs in dir, where it finds those of an
// earlier run, and writes a line to progress when a function's build begins and
// ends; nil writes none.
func New(dir string, progress io.Writer) (*Builder, error) {
	absolute, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("resolving the build folder: %w", err)
	}
	return &Builder{
		dir:      absolute,
		commands: make(chan struct{}, runtime.GOMAXPROCS(0)),
		progress: cmp.Or(progress, io.Discard),
		current:  map[names.Function]string{},
	}, nil
}

// Build builds all targets, at most GOMAXPROCS go commands at once, and returns a
// result for each. What has not changed since the last build, of this run or an
// earlier one, is neither compiled nor linked again and gives the same result.
func (b *Builder) Build(ctx context.Context, targets []Target) map[names.Function]Result {
	b.building.Lock()
	defer b.building.Unlock()
	var (
		builds  sync.WaitGroup
		mu      sync.Mutex
		results = map[names.Function]Result{}
		began   = time.Now()
	)
	report := func(target Target, result Result) {
		switch {
		case result.Err == nil:
			b.printf("built %s in %.1fs\n", target.Function.Name, time.Since(began).Seconds())
		case ctx.Err() == nil:
			b.printf("%s did not build: %s\n", target.Function.Name, result.Err.Detail)
		}
		mu.Lock()
		defer mu.Unlock()
		results[target.Function] = result
	}
	for _, group := range groups(targets) {
		for _, target := range group.targets {
			b.printf("building %s ...\n", target.Function.Name)
		}
		builds.Go(func() { b.buildGroup(ctx, group, report) })
	}
	builds.Wait()
	return results
}

// buildGroup builds a group with one command, which reads their common imports
// once. When that fails, each package by itself tells whose the fault is.
func (b *Builder) buildGroup(ctx context.Context, g group, report func(Target, Result)) {
	out := filepath.Join(b.dir, g.folder)
	failed := b.goBuild(ctx, g.root, out, g.packages())
	if failed == nil || len(g.packages()) == 1 {
		for _, target := range g.targets {
			report(target, b.result(target, out, failed))
		}
		return
	}
	var builds sync.WaitGroup
	for _, target := range g.targets {
		builds.Go(func() {
			report(target, b.result(target, out, b.goBuild(ctx, g.root, out, []string{target.Package})))
		})
	}
	builds.Wait()
}

func (b *Builder) result(target Target, out string, failed *failure) Result {
	if failed == nil {
		path, hash, err := b.install(target.Function, filepath.Join(out, executable(target.Package)))
		if err == nil {
			return Result{Path: path, Hash: hash}
		}
		failed = &failure{detail: err.Error()}
	}
	return Result{Err: &invoke.StartError{
		Function: target.Function, Reason: invoke.NotBuilt, Detail: failed.detail, Lines: failed.lines,
	}}
}

// install gives the program a name of its own, so that the next build leaves a
// running one alone. A program that is there already has the same inode, because
// go build replaces what it changes.
func (b *Builder) install(fn names.Function, built string) (path, hash string, err error) {
	info, err := os.Stat(built)
	if err != nil {
		return "", "", fmt.Errorf("finding the program, which only a main package gives: %w", err)
	}
	prefix := filepath.Join(b.dir, fn.Namespace+"."+fn.Name+"-")
	installed, err := filepath.Glob(prefix + "????????????")
	if err != nil {
		return "", "", fmt.Errorf("listing programs: %w", err)
	}
	for _, old := range installed {
		if have, err := os.Stat(old); err == nil && os.SameFile(have, info) {
			b.retain(fn, old, installed)
			return old, old[len(prefix):], nil
		}
	}
	if hash, err = contentHash(built); err != nil {
		return "", "", fmt.Errorf("hashing the program: %w", err)
	}
	path = prefix + hash
	if err := place(built, path); err != nil {
		return "", "", fmt.Errorf("installing the program: %w", err)
	}
	b.retain(fn, path, installed)
	return path, hash, nil
}

// retain removes the function's programs except path and the one before it, which
// may be started until the caller has told its world of the new one.
func (b *Builder) retain(fn names.Function, path string, installed []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, old := range installed {
		if old != path && old != b.current[fn] {
			_ = os.Remove(old) // it is tried again at the next build
		}
	}
	b.current[fn] = path
}

// place makes path a second name of built, or a copy where links are not possible.
func place(built, path string) error {
	fresh := path + ".new"
	if err := os.Remove(fresh); err != nil && !os.IsNotExist(err) {
		return err
	}
	if os.Link(built, fresh) != nil {
		content, err := os.ReadFile(built)
		if err != nil {
			return err
		}
		if err := os.WriteFile(fresh, content, fs.FileMode(0o700)); err != nil {
			return err
		}
	}
	return os.Rename(fresh, path)
}

func contentHash(file string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil))[:12], nil
}

func (b *Builder) printf(format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	_, _ = fmt.Fprintf(b.progress, format, args...) // progress only
}
