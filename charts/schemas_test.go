package charts

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"sigs.k8s.io/yaml"
)

// TestConform checks every field of what is rendered, of config/ and of the
// reference functions against the schemas of their kinds: those of the pinned
// Kubernetes and Knative modules, closed, so that a field they lack is an error.
func TestConform(t *testing.T) {
	schemas, manifests := t.TempDir(), t.TempDir()
	kinds := map[any]bool{}
	add := func(name, text string) {
		write(t, filepath.Join(manifests, name+".yaml"), text)
		for _, o := range decode(t, text) {
			kinds[o["kind"]] = true
		}
	}
	add("config", mustRun(t, "kustomize", "build", filepath.Join("..", "config", "default")))
	for _, name := range cases {
		add(name, render(t, name))
	}
	writeBuiltIn(t, schemas, kinds)
	writeDefinitions(t, schemas, filepath.Join("..", "config", "crd", "serviceful.dev_functions.yaml"))
	knative := moduleDir(t, "..", "knative.dev/serving")
	writeDefinitions(t, schemas, filepath.Join(knative, "config", "core", "300-resources", "service.yaml"))

	args := []string{"-strict", "-summary", "-output", "text", "-skip", "PodMonitor", "-schema-location", filepath.Join(schemas, schemaName), manifests}
	for _, pattern := range []string{"../functions/*/function.yaml", "../examples/*/function.yaml", "../operator/internal/render/testdata/*.service.yaml"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("no file is %s (%v)", pattern, err)
		}
		args = append(args, files...)
	}
	t.Log(mustRun(t, "kubeconform", args...))

	wrong := filepath.Join(t.TempDir(), "wrong.yaml")
	write(t, wrong, strings.Replace(withoutDefinition(render(t, "default")), "replicas: 1", "replica: 1", 1))
	if out, err := run(t, "kubeconform", "-strict", "-schema-location", filepath.Join(schemas, schemaName), wrong); err == nil || !strings.Contains(out, "'replica' not allowed") {
		t.Errorf("a field that does not exist is not found: %v\n%s", err, out)
	}
}

// TestPodMonitor reads the PodMonitor as the Prometheus Operator does: it is not
// part of Kubernetes.
func TestPodMonitor(t *testing.T) {
	text, err := yaml.Marshal(decode(t, render(t, "everything"))["PodMonitor serviceful"])
	if err != nil {
		t.Fatal(err)
	}
	var monitor monitoringv1.PodMonitor
	if err := yaml.UnmarshalStrict(text, &monitor); err != nil {
		t.Fatal(err)
	}
	ends := monitor.Spec.PodMetricsEndpoints
	if len(ends) != 1 || ends[0].Port == nil || *ends[0].Port != "metrics" || ends[0].Interval != "15s" || monitor.Labels["release"] != "prometheus" {
		t.Errorf("got %s", text)
	}
}

// schemaName is how kubeconform looks for the schema of an object.
const schemaName = "{{.Group}}_{{.ResourceAPIVersion}}_{{.ResourceKind}}.json"

func schemaFile(dir, group, version, kind string) string {
	return filepath.Join(dir, fmt.Sprintf("%s_%s_%s.json", cmp.Or(group, version), version, strings.ToLower(kind)))
}

// writeBuiltIn writes the schemas of those of Kubernetes' own kinds that are
// wanted, from the OpenAPI documents in the module that hack/cluster builds
// Kubernetes from.
func writeBuiltIn(t *testing.T, dir string, wanted map[any]bool) {
	t.Helper()
	kubernetes := moduleDir(t, filepath.Join("..", "hack", "cluster", "parts", "kubernetes"), "k8s.io/kubernetes")
	documents, err := filepath.Glob(filepath.Join(kubernetes, "api", "openapi-spec", "v3", "*__v1_openapi.json"))
	if err != nil || len(documents) == 0 {
		t.Fatalf("there are no OpenAPI documents in %s (%v)", kubernetes, err)
	}
	for _, file := range documents {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var document struct {
			Components struct {
				Schemas map[string]map[string]any `json:"schemas"`
			} `json:"components"`
		}
		if err := json.Unmarshal(text, &document); err != nil {
			t.Fatal(err)
		}
		for _, schema := range document.Components.Schemas {
			closeObjects(schema)
		}
		for name, schema := range document.Components.Schemas {
			kinds, _ := schema["x-kubernetes-group-version-kind"].([]any)
			if len(kinds) != 1 {
				continue // shared by many, such as DeleteOptions
			}
			kind, _ := kinds[0].(map[string]any)
			if !wanted[kind["kind"]] {
				continue
			}
			root := map[string]any{"$ref": "#/components/schemas/" + name, "components": document.Components}
			writeJSON(t, schemaFile(dir, fmt.Sprint(kind["group"]), fmt.Sprint(kind["version"]), fmt.Sprint(kind["kind"])), root)
		}
	}
}

// writeDefinitions writes the schemas of the kinds that a file of
// CustomResourceDefinitions defines.
func writeDefinitions(t *testing.T, dir, file string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range decode(t, string(text)) {
		spec := o["spec"].(map[string]any)
		for _, v := range spec["versions"].([]any) {
			version := v.(map[string]any)
			schema := version["schema"].(map[string]any)["openAPIV3Schema"].(map[string]any)
			properties := schema["properties"].(map[string]any)
			for _, name := range []string{"apiVersion", "kind"} {
				properties[name] = map[string]any{"type": "string"}
			}
			properties["metadata"] = map[string]any{"type": "object"}
			closeObjects(schema)
			kind := spec["names"].(map[string]any)["kind"]
			writeJSON(t, schemaFile(dir, fmt.Sprint(spec["group"]), fmt.Sprint(version["name"]), fmt.Sprint(kind)), schema)
		}
	}
}

// closeObjects lets no object of a schema have a field that it does not name.
func closeObjects(node any) {
	switch n := node.(type) {
	case map[string]any:
		_, named := n["properties"].(map[string]any)
		_, more := n["additionalProperties"]
		if named && !more && n["x-kubernetes-preserve-unknown-fields"] != true {
			n["additionalProperties"] = false
		}
		for _, child := range n {
			closeObjects(child)
		}
	case []any:
		for _, child := range n {
			closeObjects(child)
		}
	}
}

// moduleDir is where Go keeps a module that the one in dir depends on.
func moduleDir(t *testing.T, dir, module string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "mod", "download", "-json", module)
	cmd.Dir = dir
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("looking for module %s: %v\n%s", module, err, out)
	}
	var found struct{ Dir string }
	if err := json.Unmarshal(out, &found); err != nil {
		t.Fatal(err)
	}
	return found.Dir
}

func writeJSON(t *testing.T, file string, value any) {
	t.Helper()
	text, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	write(t, file, string(text))
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
