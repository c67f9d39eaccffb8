// Package kubetest gives the tests of a package a real Kubernetes API server,
// with etcd, the Function kind and Knative's kinds: what a controller talks to,
// without anything that runs a pod. A test plays Knative's part itself.
//
// The programs are those in the folder KUBEBUILDER_ASSETS, which
// `./hack/cluster/cluster assets` builds. Without them a test is skipped, or
// fails if E2E=require.
package kubetest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/yaml"

	"github.com/serviceful/serviceful/config/crd"
)

var (
	start  sync.Once
	server *envtest.Environment
	admin  *rest.Config
	failed error
)

// Main runs a package's tests and ends the API server, if one of them started it.
func Main(m *testing.M) {
	code := m.Run()
	if server != nil {
		if err := server.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, "stopping the API server:", err)
		}
	}
	os.Exit(code)
}

// Admin is a client's configuration that may do everything. The package's
// TestMain must call Main.
func Admin(tb testing.TB) *rest.Config {
	tb.Helper()
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		const how = "needs a Kubernetes API server: KUBEBUILDER_ASSETS=$(./hack/cluster/cluster assets) go test ..."
		if os.Getenv("E2E") == "require" {
			tb.Fatal(how)
		}
		tb.Skip(how)
	}
	start.Do(func() { failed = run() })
	if failed != nil {
		tb.Fatal(failed)
	}
	return rest.CopyConfig(admin)
}

// User is the configuration of somebody without any rights.
func User(tb testing.TB, name string) *rest.Config {
	tb.Helper()
	user, err := server.AddUser(envtest.User{Name: name}, Admin(tb))
	if err != nil {
		tb.Fatal(err)
	}
	return user.Config()
}

const serviceRange = "127.0.0.0/16"

func run() error {
	functions := &apiextensionsv1.CustomResourceDefinition{}
	if err := yaml.Unmarshal(crd.Functions, functions); err != nil {
		return fmt.Errorf("reading the Function kind: %w", err)
	}
	knative, err := moduleDir("knative.dev/serving")
	if err != nil {
		return err
	}
	server = &envtest.Environment{
		CRDs: []*apiextensionsv1.CustomResourceDefinition{functions},
		CRDDirectoryPaths: []string{
			filepath.Join(knative, "config/core/300-resources/service.yaml"),
			filepath.Join(knative, "config/core/300-resources/revision.yaml"),
		},
		ErrorIfCRDPathMissing:    true,
		ControlPlaneStartTimeout: 2 * time.Minute, // on a machine that is busy
	}
	// What a Service's address leads to, a test can listen on.
	server.ControlPlane.GetAPIServer().Configure().Set("service-cluster-ip-range", serviceRange)
	if admin, err = server.Start(); err != nil {
		return fmt.Errorf("starting the API server: %w", err)
	}
	admin.QPS = -1 // no client here has to spare it
	return nil
}

// moduleDir is where Go keeps a module that we depend on.
func moduleDir(module string) (string, error) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", module).Output()
	if err != nil {
		return "", fmt.Errorf("looking for module %s: %w", module, err)
	}
	return strings.TrimSpace(string(out)), nil
}
