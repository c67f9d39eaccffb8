package manifest

import (
	"errors"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/serviceful/serviceful/operator/internal/testkit/kubetest"
)

func TestMain(m *testing.M) { kubetest.Main(m) }

// TestAPIServerSaysTheSame has a real API server refuse what TestRules has this
// package refuse: the same field, and the same words.
func TestAPIServerSaysTheSame(t *testing.T) {
	kube, err := client.New(kubetest.Admin(t), client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range specRules {
		t.Run(name, func(t *testing.T) {
			err := kube.Create(t.Context(), newObject(t, "offers", c.spec), client.DryRunAll)
			if !says(err, c.field, c.message) {
				t.Errorf("got %v, want %s: ... %s", err, c.field, c.message)
			}
		})
	}
	for _, name := range []string{strings.Repeat("a", 51), "1o", "o.f"} {
		if err := kube.Create(t.Context(), newObject(t, name, image), client.DryRunAll); !says(err, "<nil>", nameRule) && !says(err, "", nameRule) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := kube.Create(t.Context(), newObject(t, "offers", image), client.DryRunAll); err != nil {
		t.Errorf("a Function without a fault: %v", err)
	}
}

// TestAPIServerRefusesChanges changes what is there.
func TestAPIServerRefusesChanges(t *testing.T) {
	kube, err := client.New(kubetest.Admin(t), client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range changeRules {
		t.Run(name, func(t *testing.T) {
			old := newObject(t, "changed", c.old)
			if err := kube.Create(t.Context(), old); err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := kube.Delete(t.Context(), old); err != nil {
					t.Error(err)
				}
			}()
			changed := newObject(t, "changed", c.spec)
			changed.SetResourceVersion(old.GetResourceVersion())
			if err := kube.Update(t.Context(), changed, client.DryRunAll); !says(err, c.field, c.message) {
				t.Errorf("got %v, want %s: ... %s", err, c.field, c.message)
			}
			old.SetAnnotations(map[string]string{"a": "b"})
			if err := kube.Update(t.Context(), old, client.DryRunAll); err != nil {
				t.Errorf("another change: %v", err)
			}
		})
	}
}

func newObject(t *testing.T, name, spec string) *unstructured.Unstructured {
	t.Helper()
	o := &unstructured.Unstructured{}
	text := "apiVersion: serviceful.dev/v1alpha1\nkind: Function\nmetadata: {namespace: default, name: " + name + "}\nspec: {" + spec + "}\n"
	if err := yaml.Unmarshal([]byte(text), &o.Object); err != nil {
		t.Fatal(err)
	}
	return o
}

// says reports whether an object was refused for a field with these words.
func says(err error, field, message string) bool {
	var status apierrors.APIStatus
	if !errors.As(err, &status) || status.Status().Reason != metav1.StatusReasonInvalid {
		return false
	}
	for _, cause := range status.Status().Details.Causes {
		if cause.Field == field && strings.HasSuffix(cause.Message, message) {
			return true
		}
	}
	return false
}
