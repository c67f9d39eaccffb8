package knative_test

import (
	"os"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	servingconfig "knative.dev/serving/pkg/apis/config"
	autoscalerconfig "knative.dev/serving/pkg/autoscaler/config"
	"knative.dev/serving/pkg/gc"
	"sigs.k8s.io/yaml"
)

// patch reads the patch of a ConfigMap.
func patch(t *testing.T, name string) *corev1.ConfigMap {
	t.Helper()
	text, err := os.ReadFile(name + ".yaml")
	if err != nil {
		t.Fatal(err)
	}
	found := &corev1.ConfigMap{}
	if err := yaml.UnmarshalStrict(text, found); err != nil {
		t.Fatal(err)
	}
	if found.Name != name || found.Namespace != "knative-serving" {
		t.Fatalf("%s.yaml is of %s/%s", name, found.Namespace, found.Name)
	}
	return found
}

// TestKnativeReads has Knative's own code read each patch: what is meant arrives.
func TestKnativeReads(t *testing.T) {
	defaults, err := servingconfig.NewDefaultsConfigFromConfigMap(patch(t, servingconfig.DefaultsConfigName))
	if err != nil {
		t.Fatal(err)
	}
	if allowed, want := time.Duration(defaults.MaxRevisionTimeoutSeconds)*time.Second, time.Hour+5*time.Minute; allowed != want {
		t.Errorf("a request may take %v, want %v", allowed, want)
	}
	collector, err := gc.NewConfigFromConfigMapFunc(t.Context())(patch(t, gc.ConfigName))
	if err != nil {
		t.Fatal(err)
	}
	if collector.MinNonActiveRevisions != 1 || collector.MaxNonActiveRevisions != 3 {
		t.Errorf("%d to %d old revisions are kept", collector.MinNonActiveRevisions, collector.MaxNonActiveRevisions)
	}
	autoscaler, err := autoscalerconfig.NewConfigFromConfigMap(patch(t, autoscalerconfig.ConfigName))
	if err != nil {
		t.Fatal(err)
	}
	if !autoscaler.EnableScaleToZero {
		t.Error("nothing goes to zero")
	}
}
