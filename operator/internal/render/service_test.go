package render_test

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"knative.dev/serving/pkg/apis/autoscaling"
	autoscalingv1alpha1 "knative.dev/serving/pkg/apis/autoscaling/v1alpha1"
	"sigs.k8s.io/yaml"

	"github.com/serviceful/serviceful/operator/api/v1alpha1"
	"github.com/serviceful/serviceful/operator/internal/render"
)

var update = flag.Bool("update", false, "write the golden files anew")

var settings = render.Settings{ServicesURL: "http://services.serviceful-system", MaxTimeout: 10 * time.Minute}

// function reads a spec in YAML.
func function(t *testing.T, spec string) *v1alpha1.Function {
	t.Helper()
	fn := &v1alpha1.Function{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "offers", UID: "4f1c"}}
	if err := yaml.UnmarshalStrict([]byte(spec), &fn.Spec); err != nil {
		t.Fatal(err)
	}
	return fn
}

const least = "image: registry.example.com/offers:v1\n"

// everything sets each field that reaches the pod.
const everything = `
image: registry.example.com/offers@sha256:0000000000000000000000000000000000000000000000000000000000000000
command: [/offers]
args: [-v]
env:
- {name: PLAIN, value: x}
- {name: SECRET, valueFrom: {secretKeyRef: {name: s, key: k, optional: true}}}
- {name: CONFIG, valueFrom: {configMapKeyRef: {name: c, key: k}}}
envFrom:
- {prefix: P_, configMapRef: {name: c, optional: true}}
- {secretRef: {name: s}}
resources: {requests: {cpu: 100m, memory: 64Mi}, limits: {memory: 128Mi}}
imagePullSecrets: [{name: pull}]
timeout: 1m30s
scale: {min: 1, max: 7, concurrency: 3, idle: 90s}
volumes:
- {name: secret, secret: {secretName: s, items: [{key: k, path: p, mode: 256}], defaultMode: 256, optional: true}}
- {name: config, configMap: {name: c, items: [{key: k, path: p}], defaultMode: 420, optional: false}}
- {name: both, projected: {defaultMode: 292, sources: [{secret: {name: s, items: [{key: k, path: a}]}}, {configMap: {name: c, optional: true}}, {serviceAccountToken: {audience: vault, expirationSeconds: 600, path: t}}]}}
- {name: tmp, emptyDir: {medium: Memory, sizeLimit: 1Mi}}
- {name: nobody, emptyDir: {}}
volumeMounts:
- {name: secret, mountPath: /secret, readOnly: true}
- {name: config, mountPath: /config, readOnly: true}
- {name: both, mountPath: /both}
- {name: tmp, mountPath: /tmp, subPath: x}
bindings:
- {keyValue: {bucket: offers}}
`

var specs = map[string]string{"least": least, "everything": everything}

func TestGolden(t *testing.T) {
	for name, spec := range specs {
		fn := function(t, spec)
		golden(t, name+".service.yaml", render.Service(fn, settings))
		golden(t, name+".account.yaml", render.ServiceAccount(fn))
	}
}

// TestToken checks that a function has a token if, and only if, some call to the
// services is allowed to it.
func TestToken(t *testing.T) {
	for spec, want := range map[string]bool{"": false, "emits: [a.b.v1]": true, "bindings: [{mail: {}}]": true} {
		pod := render.Service(function(t, least+spec), settings).Spec.Template.Spec.PodSpec
		volumes, mounts := len(pod.Volumes) == 1, len(pod.Containers[0].VolumeMounts) == 1
		if volumes != want || mounts != want {
			t.Errorf("%q: a volume is %t, and mounted %t", spec, volumes, mounts)
		}
	}
}

func golden(t *testing.T, name string, object any) {
	t.Helper()
	got, err := yaml.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s has changed (go test -update writes it anew):\n%s", file, got)
	}
}

// TestKnativeAccepts has Knative's own webhook code default and validate what is
// rendered: it is valid, and nothing that we set is changed, so an object that
// was applied is found to be as it should be.
func TestKnativeAccepts(t *testing.T) {
	for name, spec := range specs {
		t.Run(name, func(t *testing.T) {
			wanted := render.Service(function(t, spec), settings)
			found := wanted.DeepCopy()
			ctx := context.WithoutCancel(t.Context())
			found.SetDefaults(ctx)
			if err := found.Validate(ctx); err != nil {
				t.Error(err)
			}
			if !equality.Semantic.DeepDerivative(wanted.Spec, found.Spec) {
				t.Errorf("a default has changed what we set:\n%v\n%v", wanted.Spec, found.Spec)
			}
		})
	}
}

// TestPodFields wants every field of a spec in the pod: the kind's types have
// the pod's JSON, and none of it gets lost.
func TestPodFields(t *testing.T) {
	fn := function(t, everything)
	spec := render.Service(fn, settings).Spec.Template.Spec
	c := spec.Containers[0]
	for field, pair := range map[string][2]any{
		"env":              {fn.Spec.Env, c.Env[:len(fn.Spec.Env)]},
		"envFrom":          {fn.Spec.EnvFrom, c.EnvFrom},
		"resources":        {fn.Spec.Resources, c.Resources},
		"volumes":          {fn.Spec.Volumes[:4], spec.Volumes[:4]},
		"volumeMounts":     {fn.Spec.VolumeMounts[:2], c.VolumeMounts[:2]},
		"imagePullSecrets": {fn.Spec.ImagePullSecrets, spec.ImagePullSecrets},
	} {
		ours, pods := encode(t, pair[0]), encode(t, pair[1])
		if ours != pods {
			t.Errorf("%s: the Function has %s, the pod %s", field, ours, pods)
		}
	}
}

func encode(t *testing.T, v any) string {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var sorted any
	if err := json.Unmarshal(data, &sorted); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(sorted)
}

func TestTimeouts(t *testing.T) {
	for name, test := range map[string]struct {
		spec string
		want int64
	}{
		"default, and the start":   {least, 330},
		"a fraction is rounded up": {least + "timeout: 100ms", 301},
		"a trigger's is longer":    {least + "triggers: [{name: a, event: {types: [a]}, delivery: {timeout: PT1M40.5S}}]", 401},
		"a trigger's is shorter":   {least + "timeout: 60s\ntriggers: [{name: a, event: {types: [a]}, delivery: {timeout: PT1S}}]", 360},
		"what the cluster allows":  {least + "timeout: 1h", 600},
	} {
		spec := render.Service(function(t, test.spec), settings).Spec.Template.Spec
		if *spec.TimeoutSeconds != test.want || *spec.ResponseStartTimeoutSeconds != test.want {
			t.Errorf("%s: %d and %d seconds, want %d", name, *spec.TimeoutSeconds, *spec.ResponseStartTimeoutSeconds, test.want)
		}
	}
}

func TestScale(t *testing.T) {
	for spec, want := range map[string]string{
		"":                                "0 20 60s",
		"scale: {}":                       "0 20 60s",
		"scale: {min: 0, idle: 6s}":       "0 20 6s",
		"scale: {max: 1, idle: 6.5s}":     "0 1 7s",
		"scale: {min: 3, idle: 1h}":       "3 20 3600s",
		"scale: {min: 3, idle: 59m59.1s}": "3 20 3600s",
	} {
		service := render.Service(function(t, least+spec), settings)
		a := service.Spec.Template.Annotations
		if got := a[autoscaling.MinScaleAnnotationKey] + " " + a[autoscaling.MaxScaleAnnotationKey] + " " + a[autoscaling.WindowAnnotationKey]; got != want {
			t.Errorf("%q: %s, want %s", spec, got, want)
		}
		ctx := context.WithoutCancel(t.Context())
		service.SetDefaults(ctx)
		if err := service.Validate(ctx); err != nil {
			t.Errorf("%q: %v", spec, err)
		}
	}
	if n := render.Service(function(t, least+"scale: {concurrency: 0}"), settings).Spec.Template.Spec.ContainerConcurrency; *n != 0 {
		t.Errorf("no limit became %d", *n)
	}
}

// TestClusterDefaults has Knative's own code read the rendered annotations: each
// setting that decides when an instance starts and when the last one goes is said
// by us, and no default of a cluster has a part in it.
func TestClusterDefaults(t *testing.T) {
	annotations := render.Service(function(t, least), settings).Spec.Template.Annotations
	pa := &autoscalingv1alpha1.PodAutoscaler{ObjectMeta: metav1.ObjectMeta{Annotations: annotations}}
	if _, said := annotations[autoscaling.ClassAnnotationKey]; !said || pa.Class() != autoscaling.KPA {
		t.Errorf("the autoscaler is %q", pa.Class())
	}
	if n, said := pa.InitialScale(); !said || n != 1 {
		t.Errorf("a revision begins with %d instances", n)
	}
	if c, said := pa.TargetBC(); !said || c != -1 {
		t.Errorf("the burst capacity is %v", c)
	}
	for what, f := range map[string]func() (time.Duration, bool){
		"scale-down delay": pa.ScaleDownDelay, "retention": pa.ScaleToZeroPodRetention,
	} {
		if d, said := f(); !said || d != 0 {
			t.Errorf("the %s is %v", what, d)
		}
	}
	if d, said := pa.Window(); !said || d != v1alpha1.DefaultIdle {
		t.Errorf("the window is %v", d)
	}
}

// TestReadinessIsQuick wants the readiness probe that Knative's proxy polls with
// every 50 ms, without waiting for the kubelet (knative.dev/serving, pkg/queue/readiness
// and pkg/activator/net).
func TestReadinessIsQuick(t *testing.T) {
	service := render.Service(function(t, everything), settings)
	service.SetDefaults(context.WithoutCancel(t.Context()))
	c := service.Spec.Template.Spec.Containers[0]
	if c.StartupProbe != nil || c.ReadinessProbe == nil || c.ReadinessProbe.Exec != nil || c.ReadinessProbe.PeriodSeconds != 0 {
		t.Errorf("it starts with %v and is ready with %v", c.StartupProbe, c.ReadinessProbe)
	}
}

// TestHash wants another hash for what the API server has to hear of, and the
// same for all else.
func TestHash(t *testing.T) {
	hash := func(fn *v1alpha1.Function) string {
		return render.Service(fn, settings).Annotations[render.HashAnnotation]
	}
	first := hash(function(t, everything))
	same := function(t, everything)
	same.Generation, same.ResourceVersion, same.Status.Dead = 7, "9", 1
	same.Spec.Triggers = []v1alpha1.Trigger{{Name: "a", Event: &v1alpha1.EventSource{Types: []string{"a"}}}}
	if hash(same) != first {
		t.Error("a trigger changes the Knative Service")
	}
	other := function(t, everything)
	other.Spec.Args = nil
	if hash(other) == first {
		t.Error("a field that was removed does not change the hash")
	}
}

// TestRestricted checks what the pod security standard "restricted" forbids.
func TestRestricted(t *testing.T) {
	for name, spec := range specs {
		pod := render.Service(function(t, spec), settings).Spec.Template.Spec.PodSpec
		c := pod.Containers[0].SecurityContext
		if *c.AllowPrivilegeEscalation || !*c.RunAsNonRoot || c.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault ||
			len(c.Capabilities.Drop) != 1 || c.Capabilities.Drop[0] != "ALL" || len(c.Capabilities.Add) != 0 {
			t.Errorf("%s: %v", name, c)
		}
		if pod.HostNetwork || pod.HostPID || pod.HostIPC {
			t.Errorf("%s: the pod is in the node's namespaces", name)
		}
	}
}

// TestPlatformVariables has ours stand last and be the only ones of their names.
func TestPlatformVariables(t *testing.T) {
	env := render.Service(function(t, everything), settings).Spec.Template.Spec.Containers[0].Env
	got := map[string]string{}
	for _, e := range env[3:] {
		got[e.Name] = e.Value
	}
	want := map[string]string{
		"K_SINK":                "http://services.serviceful-system/v1/events",
		"SERVICEFUL_URL":        "http://services.serviceful-system",
		"SERVICEFUL_TOKEN_FILE": "/var/run/secrets/serviceful.dev/token",
	}
	if !maps.Equal(got, want) {
		t.Errorf("got %v", got)
	}
}

func TestOwner(t *testing.T) {
	fn := function(t, least)
	for _, o := range []metav1.Object{render.Service(fn, settings), render.ServiceAccount(fn)} {
		if !metav1.IsControlledBy(o, fn) {
			t.Errorf("%T: %v", o, o.GetOwnerReferences())
		}
	}
}
