// Package deploy brings Functions into the laptop's world: it decides how each
// runs, builds it, hands it to the processes, and does so again when a source
// changes.
//
// It owns the order of these steps. It never reads a manifest, never starts a
// process itself and never calls a function. It may import api, names, invoke and
// the packages beside it.
package deploy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/serviceful/serviceful/operator/api/v1alpha1"
	"github.com/serviceful/serviceful/operator/internal/invoke"
	"github.com/serviceful/serviceful/operator/internal/local/build"
	"github.com/serviceful/serviceful/operator/internal/local/process"
	"github.com/serviceful/serviceful/operator/internal/local/watch"
	"github.com/serviceful/serviceful/operator/internal/names"
)

// Config is what a Deployer works with. Dir, Roots and Processes are required.
type Config struct {
	// Dir is the data folder: programs are built into <Dir>/build, and nothing in
	// it counts as a change.
	Dir string
	// Roots are the folders or files in which manifests are looked for.
	Roots []string
	// NoWatch follows no changes: Watch must not be called.
	NoWatch bool
	// Processes run what was built. Who stops them is the caller's matter.
	Processes *process.Processes
	// Progress gets a line when a build begins and ends; nil discards them.
	Progress io.Writer
	// Logger gets what cannot be watched; nil discards it.
	Logger *slog.Logger
}

func (c *Config) validate() error {
	switch {
	case c.Dir == "":
		return errors.New("deploy: Dir is empty")
	case len(c.Roots) == 0:
		return errors.New("deploy: Roots is empty")
	case c.Processes == nil:
		return errors.New("deploy: Processes is nil")
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return nil
}

// Deployment is one Function and where it was read.
type Deployment struct {
	Function *v1alpha1.Function // defaulted and valid
	Manifest string             // its file
}

// Deployer keeps the processes in step with manifests and sources.
type Deployer struct {
	config  Config
	builder *build.Builder
	watcher *watch.Watcher

	mu       sync.Mutex // held while building
	applied  int        // how often Apply was called
	known    map[names.Function]bool
	plans    map[names.Function]Plan // of those that can run
	restarts map[names.Function]int  // how often the source of a command changed
	made     map[names.Function]time.Time
}

// New begins to watch the roots, so that no change after it is missed. Watch must
// be called once, to tell them and to end it; with NoWatch neither happens.
func New(config Config) (*Deployer, error) {
	if err := config.validate(); err != nil {
		return nil, err
	}
	builder, err := build.New(filepath.Join(config.Dir, "build"), config.Progress)
	if err != nil {
		return nil, err
	}
	d := &Deployer{
		config: config, builder: builder,
		plans: map[names.Function]Plan{}, restarts: map[names.Function]int{}, made: map[names.Function]time.Time{},
	}
	if config.NoWatch {
		return d, nil
	}
	d.watcher, err = watch.New(watch.Config{Roots: config.Roots, Ignore: []string{config.Dir}, Logger: config.Logger})
	if err != nil {
		return nil, err
	}
	return d, nil
}

// Apply makes deployments the Functions of this laptop: it builds them, replaces
// the programs that differ and removes what is not among them. Calls in flight
// end on the old program. It returns, with reason NotBuilt, those that cannot run;
// such a function keeps the program it had.
func (d *Deployer) Apply(ctx context.Context, deployments []Deployment) map[names.Function]*invoke.StartError {
	d.mu.Lock()
	defer d.mu.Unlock()
	known := map[names.Function]bool{}
	plans := map[names.Function]Plan{}
	failed := map[names.Function]*invoke.StartError{}
	for _, deployment := range deployments {
		fn := names.Function{Namespace: deployment.Function.Namespace, Name: deployment.Function.Name}
		known[fn] = true
		dir, err := filepath.Abs(filepath.Dir(deployment.Manifest))
		if err != nil {
			failed[fn] = &invoke.StartError{Function: fn, Reason: invoke.NotBuilt, Detail: fmt.Sprintf("resolving the manifest's folder: %v", err)}
			continue
		}
		plan, failure := NewPlan(deployment.Function, dir, os.LookupEnv)
		if failure != nil {
			failed[fn] = failure
			continue
		}
		plans[fn] = plan
	}
	for fn := range d.known {
		if !known[fn] {
			d.config.Processes.Remove(fn)
		}
	}
	d.applied++
	d.known, d.plans = known, plans
	maps.Copy(failed, d.deploy(ctx, slices.Collect(maps.Values(plans))))
	for fn, err := range failed {
		d.config.Processes.Fail(fn, err)
	}
	return failed
}

// deploy builds plans and hands over the programs of those that could be built.
func (d *Deployer) deploy(ctx context.Context, plans []Plan) map[names.Function]*invoke.StartError {
	for _, plan := range plans {
		d.made[plan.Function] = time.Now()
	}
	results := d.builder.Build(ctx, targets(plans))
	failed := map[names.Function]*invoke.StartError{}
	for _, plan := range plans {
		fn, program := plan.Function, plan.program
		if plan.Package == "" {
			program.Revision = fmt.Sprintf("%s-%d", fn.Name, d.restarts[fn])
			d.config.Processes.Set(fn, program)
			continue
		}
		result := results[fn]
		if result.Err != nil {
			failed[fn] = result.Err
			continue
		}
		program.Argv = slices.Concat([]string{result.Path}, program.Argv[1:])
		program.Revision = fn.Name + "-" + result.Hash
		d.config.Processes.Set(fn, program)
	}
	return failed
}

func targets(plans []Plan) []build.Target {
	var all []build.Target
	for _, plan := range plans {
		if plan.Package != "" {
			all = append(all, plan.target())
		}
	}
	return all
}

// Watch rebuilds functions whose sources change, until ctx is done. A program that
// comes out the same is not restarted; one that does not build keeps the old one.
// For changed manifests it calls reload, which may call Apply. It must be called
// once, best when all is ready: it begins by asking go what the sources are.
func (d *Deployer) Watch(ctx context.Context, reload func(manifests []string)) {
	var watching sync.WaitGroup
	watching.Go(func() { d.watcher.Run(ctx) })
	defer watching.Wait()
	d.follow(ctx)
	for change := range d.watcher.Changes() {
		applied := d.note(change.Functions)
		if len(change.Manifests) > 0 {
			reload(change.Manifests)
		}
		d.rebuild(ctx, change.Functions, applied)
		d.follow(ctx)
	}
}

// note has commands whose source changed restarted when they are deployed next.
func (d *Deployer) note(changed []names.Function) (applied int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, fn := range changed {
		d.restarts[fn]++
	}
	return d.applied
}

// rebuild deploys the changed functions, unless Apply has done so since note.
func (d *Deployer) rebuild(ctx context.Context, changed []names.Function, applied int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.applied != applied {
		return
	}
	var plans []Plan
	for _, fn := range changed {
		if plan, ok := d.plans[fn]; ok {
			plans = append(plans, plan)
		}
	}
	for fn, err := range d.deploy(ctx, plans) {
		d.config.Processes.Fail(fn, err)
	}
}

// follow tells the watcher what the functions are made of now.
func (d *Deployer) follow(ctx context.Context) {
	d.mu.Lock()
	plans, made := slices.Collect(maps.Values(d.plans)), maps.Clone(d.made)
	d.mu.Unlock()
	listed, err := d.builder.Sources(ctx, targets(plans))
	if err != nil && ctx.Err() == nil {
		d.config.Logger.Warn("sources not listed", "error", err)
	}
	var all []watch.Target
	for _, plan := range plans {
		all = append(all, plan.sources(listed[plan.Function], made[plan.Function]))
	}
	d.watcher.Follow(all)
}
