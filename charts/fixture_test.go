// Package charts tests the Helm chart without a cluster: what it renders, that
// it is what config/ says, and what it refuses. Its behaviour on a cluster is
// tested in operator/e2e.
package charts

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"k8s.io/apimachinery/pkg/util/yaml"
)

const (
	chart     = "serviceful"
	namespace = "serviceful-system"
)

// cases are the values that the chart is rendered with, files of testdata/values.
var cases = []string{"default", "existing-nats", "high-availability", "everything"}

// tools are the programs that ran already. The go command builds each once, and
// is not asked again.
var tools sync.Map

// program is the file of a pinned tool.
func program(t *testing.T, tool string) string {
	t.Helper()
	once, _ := tools.LoadOrStore(tool, sync.OnceValues(func() (string, error) {
		module := filepath.Join("..", "hack", "tools", tool, "go.mod")
		out, err := exec.Command("go", "tool", "-n", "-modfile="+module, tool).CombinedOutput()
		if err != nil {
			return "", fmt.Errorf("building %s: %w: %s", tool, err, out)
		}
		lines := strings.Split(strings.TrimSpace(string(out)), "\n") // downloads are told before
		return lines[len(lines)-1], nil
	}))
	path, err := once.(func() (string, error))()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// run runs a pinned tool in the folder of this package.
func run(t *testing.T, tool string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program(t, tool), args...)
	home := t.TempDir() // what this machine's user has set for Helm does not count
	cmd.Env = append(os.Environ(), "HELM_CACHE_HOME="+home, "HELM_CONFIG_HOME="+home, "HELM_DATA_HOME="+home, "KUBECONFIG=/dev/null")
	var out, failure bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &failure
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%s %s: %w: %s", tool, strings.Join(args, " "), err, failure.String())
	}
	return out.String(), nil
}

// mustRun is run that has to succeed.
func mustRun(t *testing.T, tool string, args ...string) string {
	t.Helper()
	out, err := run(t, tool, args...)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return out
}

// render is the chart with the values of a case, as for a cluster with Knative.
func render(t *testing.T, values string) string {
	t.Helper()
	return mustRun(t, "helm", "template", "serviceful", chart, "--namespace", namespace,
		"--api-versions", "serving.knative.dev/v1", "--values", valuesFile(values))
}

func valuesFile(values string) string { return filepath.Join("testdata", "values", values+".yaml") }

// object is one Kubernetes object.
type object map[string]any

// key names an object in its cluster.
func (o object) key() string {
	metadata, _ := o["metadata"].(map[string]any)
	return fmt.Sprint(o["kind"], " ", metadata["name"])
}

// decode returns the objects of a YAML text by their keys.
func decode(t *testing.T, text string) map[string]object {
	t.Helper()
	objects := map[string]object{}
	decoder := yaml.NewYAMLOrJSONDecoder(strings.NewReader(text), 4096)
	for {
		var o object
		err := decoder.Decode(&o)
		switch {
		case errors.Is(err, io.EOF):
			return objects
		case err != nil:
			t.Fatal(err)
		case len(o) == 0:
			continue
		case objects[o.key()] != nil:
			t.Errorf("%s is there twice", o.key())
		}
		objects[o.key()] = o
	}
}
