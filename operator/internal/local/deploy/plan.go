package deploy

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/serviceful/serviceful/operator/api/v1alpha1"
	"github.com/serviceful/serviceful/operator/internal/invoke"
	"github.com/serviceful/serviceful/operator/internal/local/build"
	"github.com/serviceful/serviceful/operator/internal/local/process"
	"github.com/serviceful/serviceful/operator/internal/local/watch"
	"github.com/serviceful/serviceful/operator/internal/names"
)

// DevCommand is the annotation with the command that stands for the image on a
// laptop. sh runs it in the manifest's folder. It wins over a ko:// image.
const DevCommand = "serviceful.dev/dev-command"

const ko = "ko://"

// importPath is what may follow ko://; no pattern, no flag, no file path.
var importPath = regexp.MustCompile(`^[A-Za-z0-9_~][-A-Za-z0-9_~.+]*(/[-A-Za-z0-9_~.+]+)*$`)

// Plan is how a laptop gets the program of one Function: from a Go package, or a
// command.
type Plan struct {
	Function names.Function
	Dir      string // the manifest's folder, absolute: where the program runs
	Package  string // import path to build; "" for a command

	program process.Program // all that does not depend on the build
}

// NewPlan decides how fn, whose manifest is in dir, runs. What only a cluster can
// give is an error that says what to do, unless fn can do without:
//   - a variable with valueFrom is taken from the environment, by lookup under its
//     own name, or left out if the reference is optional;
//   - envFrom, and a mounted volume, is left out if optional; an emptyDir at /tmp
//     is the laptop's own /tmp.
func NewPlan(fn *v1alpha1.Function, dir string, lookup func(string) (string, bool)) (Plan, *invoke.StartError) {
	name := names.Function{Namespace: fn.Namespace, Name: fn.Name}
	plan := Plan{Function: name, Dir: dir}
	err := plan.setArgv(fn)
	if err == nil {
		plan.program.Env, err = environment(fn.Spec, lookup)
	}
	if err == nil {
		err = checkVolumes(fn.Spec)
	}
	if err != nil {
		return Plan{}, &invoke.StartError{Function: name, Reason: invoke.NotBuilt, Detail: err.Error()}
	}
	plan.program.Dir = dir
	plan.setScale(fn.Spec.Scale)
	return plan, nil
}

func (p *Plan) setArgv(fn *v1alpha1.Function) error {
	if command := strings.TrimSpace(fn.Annotations[DevCommand]); command != "" {
		p.program.Argv = shell(command)
		return nil
	}
	pkg, isGo := strings.CutPrefix(fn.Spec.Image, ko)
	switch {
	case !isGo:
		return fmt.Errorf("spec.image %q: a laptop runs no containers: use ko://<import path>, or set the annotation %s to a command",
			fn.Spec.Image, DevCommand)
	case !importPath.MatchString(pkg) || strings.Contains(pkg, "..."):
		return fmt.Errorf("spec.image %q: ko:// must be followed by the import path of a main package, such as ko://example.com/shop/functions/offers",
			fn.Spec.Image)
	case len(fn.Spec.Command) > 0:
		return fmt.Errorf("spec.command replaces the image's entry point, and on a laptop there is no image: use spec.args, or set the annotation %s",
			DevCommand)
	}
	p.Package = pkg
	p.program.Argv = slices.Concat([]string{""}, fn.Spec.Args)
	return nil
}

// shell is how to run command. A plain one replaces the shell, so that signals
// and the exit status are the program's own; one with operators, groups or
// assignments needs the shell.
func shell(command string) []string {
	if !strings.ContainsAny(command, ";&|(){}=\n") {
		command = "exec " + command
	}
	return []string{"sh", "-c", command}
}

func environment(spec v1alpha1.FunctionSpec, lookup func(string) (string, bool)) ([]string, error) {
	var env []string
	for i, variable := range spec.Env {
		value := variable.Value
		if variable.ValueFrom != nil {
			found, ok := lookup(variable.Name)
			if !ok && optional(*variable.ValueFrom) {
				continue
			}
			if !ok {
				return nil, fmt.Errorf("spec.env[%d]: %s comes from the cluster: on a laptop, export %s before serviceful dev",
					i, variable.Name, variable.Name)
			}
			value = found
		}
		env = append(env, variable.Name+"="+value)
	}
	for i, source := range spec.EnvFrom {
		for _, ref := range []*v1alpha1.EnvSource{source.SecretRef, source.ConfigMapRef} {
			if ref != nil && !isTrue(ref.Optional) {
				return nil, fmt.Errorf("spec.envFrom[%d]: a laptop has no %q: list the variables in spec.env with valueFrom and export them, or make the reference optional",
					i, ref.Name)
			}
		}
	}
	return env, nil
}

func optional(from v1alpha1.EnvVarSource) bool {
	for _, ref := range []*v1alpha1.KeySelector{from.SecretKeyRef, from.ConfigMapKeyRef} {
		if ref != nil {
			return isTrue(ref.Optional)
		}
	}
	return false
}

func checkVolumes(spec v1alpha1.FunctionSpec) error {
	for i, mount := range spec.VolumeMounts {
		at := slices.IndexFunc(spec.Volumes, func(v v1alpha1.Volume) bool { return v.Name == mount.Name })
		if at < 0 || dispensable(spec.Volumes[at]) || spec.Volumes[at].EmptyDir != nil && mount.MountPath == "/tmp" {
			continue
		}
		return fmt.Errorf("spec.volumeMounts[%d]: a laptop mounts nothing at %s: make the volume optional, and the path a variable in spec.env",
			i, mount.MountPath)
	}
	return nil
}

// dispensable tells whether a pod would start without what the volume shows.
func dispensable(v v1alpha1.Volume) bool {
	switch {
	case v.Secret != nil:
		return isTrue(v.Secret.Optional)
	case v.ConfigMap != nil:
		return isTrue(v.ConfigMap.Optional)
	case v.Projected != nil:
		return !slices.ContainsFunc(v.Projected.Sources, func(p v1alpha1.VolumeProjection) bool {
			return p.ServiceAccountToken != nil ||
				p.Secret != nil && !isTrue(p.Secret.Optional) || p.ConfigMap != nil && !isTrue(p.ConfigMap.Optional)
		})
	}
	return false
}

func isTrue(b *bool) bool { return b != nil && *b }

func (p *Plan) setScale(scale *v1alpha1.Scale) {
	p.program.Concurrency = v1alpha1.DefaultScaleConcurrency
	p.program.Idle = v1alpha1.DefaultIdle
	if scale == nil {
		return
	}
	if scale.Concurrency != nil {
		p.program.Concurrency = int(*scale.Concurrency)
	}
	if scale.Idle != nil {
		p.program.Idle = scale.Idle.Duration
	}
	if scale.Min != nil {
		p.program.Min = int(*scale.Min)
	}
}

// target is what to build.
func (p Plan) target() build.Target {
	return build.Target{Function: p.Function, Package: p.Package, Dir: p.Dir}
}

// sources is what to watch since made, when it was last built. The manifest's folder always counts, also while go
// cannot tell yet what a package is made of.
func (p Plan) sources(listed build.Sources, made time.Time) watch.Target {
	if p.Package == "" {
		return watch.Target{Function: p.Function, Since: made, Dir: p.Dir}
	}
	return watch.Target{
		Function: p.Function,
		Since:    made,
		Folders:  slices.Concat([]string{p.Dir}, listed.Folders),
		Files:    listed.Embedded,
	}
}
