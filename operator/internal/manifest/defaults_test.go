package manifest

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"testing"
	"time"

	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"

	"github.com/serviceful/serviceful/operator/api/v1alpha1"
)

// TestDefaults holds the definition's defaults against the constants: those of
// a Function that never passed through an API server.
func TestDefaults(t *testing.T) {
	const trigger, deliver = "spec.triggers[].", "spec.triggers[].delivery."
	want := map[string]any{
		"spec.timeout":                    duration(v1alpha1.DefaultTimeout),
		"spec.scale":                      map[string]any{},
		"spec.scale.min":                  v1alpha1.DefaultScaleMin,
		"spec.scale.max":                  v1alpha1.DefaultScaleMax,
		"spec.scale.concurrency":          v1alpha1.DefaultScaleConcurrency,
		"spec.scale.idle":                 duration(v1alpha1.DefaultIdle),
		"spec.bindings[].keyValue.access": v1alpha1.DefaultAccess,
		"spec.bindings[].objects.access":  v1alpha1.DefaultAccess,
		trigger + "http.async":            false,
		trigger + "schedule.missed":       v1alpha1.DefaultMissed,
		trigger + "schedule.overlap":      false,
		deliver + "retry":                 v1alpha1.DefaultRetry,
		deliver + "backoffPolicy":         v1alpha1.DefaultBackoffPolicy,
		deliver + "backoffDelay":          v1alpha1.DefaultBackoffDelay,
		deliver + "maxAge":                duration(v1alpha1.DefaultMaxAge),
		"status":                          map[string]any{"observedGeneration": -1}, // nobody has looked at it yet
	}
	got := map[string]any{}
	visit(validator(t).structural, "", func(path string, s *schema.Structural) {
		if value := s.Default.Object; value != nil {
			if text, ok := value.(string); ok && s.Type == "string" {
				if d, err := time.ParseDuration(text); err == nil {
					value = duration(d)
				}
			}
			got[path] = value
		}
	})
	for _, path := range slices.Sorted(maps.Keys(merge(got, want))) {
		if g, w := jsonOf(t, got[path]), jsonOf(t, want[path]); g != w {
			t.Errorf("%s: the definition has %s, the constants have %s", path, g, w)
		}
	}
}

type duration time.Duration

func merge(a, b map[string]any) map[string]any {
	all := maps.Clone(a)
	maps.Copy(all, b)
	return all
}

func jsonOf(t *testing.T, value any) string {
	t.Helper()
	data, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// TestDefaulted looks at the Function that a program gets.
func TestDefaulted(t *testing.T) {
	functions, problems := readSpec(t, deliver(""))
	if len(problems) > 0 {
		t.Fatal(strs(problems))
	}
	spec := functions[0].Function.Spec
	got := []any{spec.Timeout.Duration, int(*spec.Scale.Max), spec.Scale.Idle.Duration, int(*spec.Triggers[0].Delivery.Retry), spec.Triggers[0].Delivery.MaxAge.Duration}
	want := []any{v1alpha1.DefaultTimeout, v1alpha1.DefaultScaleMax, v1alpha1.DefaultIdle, v1alpha1.DefaultRetry, v1alpha1.DefaultMaxAge}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
