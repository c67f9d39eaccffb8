package deploy

import (
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/serviceful/serviceful/operator/api/v1alpha1"
	"github.com/serviceful/serviceful/operator/internal/invoke"
)

func ptr[T any](v T) *T { return &v }

func function(change func(*v1alpha1.Function)) *v1alpha1.Function {
	fn := &v1alpha1.Function{ObjectMeta: metav1.ObjectMeta{Namespace: "coop", Name: "offers"}}
	fn.Spec.Image = "ko://example.com/shop/functions/offers"
	if change != nil {
		change(fn)
	}
	return fn
}

func dev(command string) func(*v1alpha1.Function) {
	return func(fn *v1alpha1.Function) {
		fn.Spec.Image = "registry.example.com/offers:v1"
		fn.Annotations = map[string]string{DevCommand: command}
	}
}

func TestPlan(t *testing.T) {
	secret := func(optional *bool) *v1alpha1.EnvVarSource {
		return &v1alpha1.EnvVarSource{SecretKeyRef: &v1alpha1.KeySelector{Name: "db", Key: "k", Optional: optional}}
	}
	tests := map[string]struct {
		change func(*v1alpha1.Function)
		pkg    string
		argv   []string
		env    []string
	}{
		"ko":                  {nil, "example.com/shop/functions/offers", []string{""}, nil},
		"ko with args":        {func(fn *v1alpha1.Function) { fn.Spec.Args = []string{"-v"} }, "example.com/shop/functions/offers", []string{"", "-v"}, nil},
		"a plain command":     {dev("python3 main.py"), "", []string{"sh", "-c", "exec python3 main.py"}, nil},
		"a compound command":  {dev("npm ci && node ."), "", []string{"sh", "-c", "npm ci && node ."}, nil},
		"an assignment":       {dev("DEBUG=1 node ."), "", []string{"sh", "-c", "DEBUG=1 node ."}, nil},
		"a command beside ko": {func(fn *v1alpha1.Function) { fn.Annotations = map[string]string{DevCommand: "./run"} }, "", []string{"sh", "-c", "exec ./run"}, nil},
		"a value":             {func(fn *v1alpha1.Function) { fn.Spec.Env = []v1alpha1.EnvVar{{Name: "A", Value: "b=c"}} }, "example.com/shop/functions/offers", []string{""}, []string{"A=b=c"}},
		"an exported secret": {func(fn *v1alpha1.Function) {
			fn.Spec.Env = []v1alpha1.EnvVar{{Name: "EXPORTED", ValueFrom: secret(nil)}}
		}, "example.com/shop/functions/offers", []string{""}, []string{"EXPORTED=yes"}},
		"an optional variable": {func(fn *v1alpha1.Function) {
			fn.Spec.Env = []v1alpha1.EnvVar{{Name: "A", ValueFrom: secret(ptr(true))}}
		}, "example.com/shop/functions/offers", []string{""}, nil},
		"optional envFrom": {func(fn *v1alpha1.Function) {
			fn.Spec.EnvFrom = []v1alpha1.EnvFromSource{{SecretRef: &v1alpha1.EnvSource{Name: "db", Optional: ptr(true)}}}
		}, "example.com/shop/functions/offers", []string{""}, nil},
		"volumes one can do without": {func(fn *v1alpha1.Function) {
			fn.Spec.Volumes = []v1alpha1.Volume{
				{Name: "unused", Secret: &v1alpha1.SecretVolume{SecretName: "x"}},
				{Name: "tmp", EmptyDir: &v1alpha1.EmptyDirVolume{}},
				{Name: "opt", Secret: &v1alpha1.SecretVolume{SecretName: "x", Optional: ptr(true)}},
				{Name: "map", ConfigMap: &v1alpha1.ConfigMapVolume{Name: "x", Optional: ptr(true)}},
				{Name: "proj", Projected: &v1alpha1.ProjectedVolume{Sources: []v1alpha1.VolumeProjection{{Secret: &v1alpha1.KeyProjection{Name: "x", Optional: ptr(true)}}}}},
			}
			fn.Spec.VolumeMounts = []v1alpha1.VolumeMount{
				{Name: "tmp", MountPath: "/tmp"}, {Name: "opt", MountPath: "/a"}, {Name: "map", MountPath: "/b"}, {Name: "proj", MountPath: "/c"},
			}
		}, "example.com/shop/functions/offers", []string{""}, nil},
	}
	lookup := func(name string) (string, bool) { return "yes", name == "EXPORTED" }
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			plan, err := NewPlan(function(test.change), "/shop/functions/offers", lookup)
			if err != nil {
				t.Fatal(err)
			}
			if plan.Package != test.pkg || !slices.Equal(plan.program.Argv, test.argv) || !slices.Equal(plan.program.Env, test.env) {
				t.Errorf("got %+v", plan)
			}
			if plan.program.Dir != "/shop/functions/offers" || plan.Dir != plan.program.Dir || plan.Function.String() != "coop/offers" {
				t.Errorf("got %+v", plan)
			}
		})
	}
}

func TestPlanRefuses(t *testing.T) {
	mount := func(v v1alpha1.Volume) func(*v1alpha1.Function) {
		return func(fn *v1alpha1.Function) {
			v.Name = "v"
			fn.Spec.Volumes = []v1alpha1.Volume{v}
			fn.Spec.VolumeMounts = []v1alpha1.VolumeMount{{Name: "v", MountPath: "/v"}}
		}
	}
	image := func(image string) func(*v1alpha1.Function) {
		return func(fn *v1alpha1.Function) { fn.Spec.Image = image }
	}
	tests := map[string]struct {
		change func(*v1alpha1.Function)
		want   string
	}{
		"an image":        {image("registry.example.com/offers:v1"), DevCommand},
		"no import path":  {image("ko://"), "import path"},
		"a relative path": {image("ko://./offers"), "import path"},
		"a pattern":       {image("ko://example.com/shop/..."), "import path"},
		"a flag":          {image("ko://-o=/etc/passwd"), "import path"},
		"an entry point":  {func(fn *v1alpha1.Function) { fn.Spec.Command = []string{"/bin/x"} }, "spec.args"},
		"a secret variable": {func(fn *v1alpha1.Function) {
			fn.Spec.Env = []v1alpha1.EnvVar{{Name: "PASSWORD", ValueFrom: &v1alpha1.EnvVarSource{}}}
		}, "spec.env[0]: PASSWORD"},
		"envFrom": {func(fn *v1alpha1.Function) {
			fn.Spec.EnvFrom = []v1alpha1.EnvFromSource{{ConfigMapRef: &v1alpha1.EnvSource{Name: "settings"}}}
		}, `spec.envFrom[0]: a laptop has no "settings"`},
		"a secret volume":    {mount(v1alpha1.Volume{Secret: &v1alpha1.SecretVolume{SecretName: "x"}}), "spec.volumeMounts[0]"},
		"a ConfigMap volume": {mount(v1alpha1.Volume{ConfigMap: &v1alpha1.ConfigMapVolume{Name: "x"}}), "/v"},
		"an emptyDir":        {mount(v1alpha1.Volume{EmptyDir: &v1alpha1.EmptyDirVolume{}}), "/v"},
		"a token": {mount(v1alpha1.Volume{Projected: &v1alpha1.ProjectedVolume{
			Sources: []v1alpha1.VolumeProjection{{ServiceAccountToken: &v1alpha1.TokenProjection{Path: "t"}}}}}), "/v"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := NewPlan(function(test.change), "/shop", func(string) (string, bool) { return "", false })
			if err == nil || err.Reason != invoke.NotBuilt || !strings.Contains(err.Detail, test.want) {
				t.Errorf("got %v, want it to say %q", err, test.want)
			}
		})
	}
}

func TestPlanScale(t *testing.T) {
	tests := map[string]struct {
		scale            *v1alpha1.Scale
		concurrency, min int
		idle             time.Duration
	}{
		"none":     {nil, 10, 0, time.Minute},
		"empty":    {&v1alpha1.Scale{}, 10, 0, time.Minute},
		"no limit": {&v1alpha1.Scale{Concurrency: ptr[int32](0)}, 0, 0, time.Minute},
		"all":      {&v1alpha1.Scale{Concurrency: ptr[int32](3), Min: ptr[int32](1), Idle: &metav1.Duration{Duration: 7 * time.Second}}, 3, 1, 7 * time.Second},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			plan, err := NewPlan(function(func(fn *v1alpha1.Function) { fn.Spec.Scale = test.scale }), "/shop", nil)
			if err != nil {
				t.Fatal(err)
			}
			p := plan.program
			if p.Concurrency != test.concurrency || p.Min != test.min || p.Idle != test.idle {
				t.Errorf("got %d, %d, %s", p.Concurrency, p.Min, p.Idle)
			}
		})
	}
}
