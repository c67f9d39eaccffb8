package charts

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

// TestKnativeVersion installs, but for the objects themselves, in a cluster whose
// Knative is too old, new enough, or does not say.
func TestKnativeVersion(t *testing.T) {
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		if os.Getenv("E2E") == "require" {
			t.Fatal("there is no API server: set KUBEBUILDER_ASSETS")
		}
		t.Skip("there is no API server: set KUBEBUILDER_ASSETS")
	}
	const wait = 3 * time.Minute
	server := envtest.Environment{
		CRDDirectoryPaths:        []string{filepath.Join(moduleDir(t, "..", "knative.dev/serving"), "config/core/300-resources/service.yaml")},
		ErrorIfCRDPathMissing:    true,
		ControlPlaneStartTimeout: wait, ControlPlaneStopTimeout: wait,
	}
	admin, err := server.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Stop(); err != nil {
			t.Error(err)
		}
	})
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(kubeconfig, server.KubeConfig, 0o600); err != nil {
		t.Fatal(err)
	}
	kube, err := client.New(admin, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for namespace, test := range map[string]struct{ version, refused, notes string }{
		"old":      {"1.20.0", "Knative Serving in namespace old is 1.20.0. The oldest", ""},
		"enough":   {"v1.23.0", "", ""},
		"newer":    {"1.24.1", "", ""},
		"devel":    {"devel", "", "Not checked: the version of Knative Serving, which namespace devel"},
		"no-label": {"", "", "Not checked: the version of Knative Serving, which namespace no-label"},
	} {
		n := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}
		if test.version != "" {
			n.Labels = map[string]string{"app.kubernetes.io/version": test.version}
		}
		if err := kube.Create(t.Context(), n); err != nil {
			t.Fatal(err)
		}
		out, err := run(t, "helm", "install", "serviceful", chart, "--kubeconfig", kubeconfig, "--dry-run=server", "--set", "knative.namespace="+namespace)
		_, notes, _ := strings.Cut(out, "\nNOTES:\n")
		switch {
		case test.refused != "":
			if err == nil || !strings.Contains(err.Error(), test.refused) {
				t.Errorf("%s: %v, want %q", namespace, err, test.refused)
			}
		case err != nil:
			t.Errorf("%s: %v", namespace, err)
		case !strings.Contains(notes, test.notes) || strings.Contains(notes, "Not checked") != (test.notes != ""):
			t.Errorf("%s: it prints:\n%s", namespace, notes)
		}
	}
}
