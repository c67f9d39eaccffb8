package charts

import (
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/conf"
)

// differences are what the chart has by default and config/ has not, or the
// other way round, each as "<kind> <name> <field>" with its reason.
var differences = []struct{ what, why string }{
	{`^Namespace serviceful-system `, "helm install --create-namespace makes it; the notes say how to label it"},
	{`/metadata/labels/(helm\.sh~1chart|app\.kubernetes\.io~1(instance|managed-by|version)) `, "Helm's own labels"},
	{`^(ClusterRole|ClusterRoleBinding|NetworkPolicy|PodDisruptionBudget|Role|RoleBinding|ServiceAccount|CustomResourceDefinition) \S+ /metadata/labels/app\.kubernetes\.io~1(name|part-of) `, "one template names every object"},
	{`^ConfigMap serviceful-nats /metadata/labels/app\.kubernetes\.io~1(name|part-of) `, "one template names every object"},
	{`^CustomResourceDefinition \S+ /metadata/annotations/helm\.sh~1resource-policy `, "to uninstall is not to delete every Function"},
	{`^Deployment \S+ /spec/template/spec/containers/0/image `, "a chart has a version, and its images the same"},
	{`^Service serviceful-gateway /spec/type `, "it is a value"},
	{`^StatefulSet serviceful-nats /spec/template/metadata/annotations/serviceful\.dev~1config `, "a changed configuration rolls the servers; with kustomize its name changes"},
	{`^StatefulSet serviceful-nats /spec/template/spec/volumes/0/configMap/name `, "a changed configuration rolls the servers; with kustomize its name changes"},
}

// TestConfig renders the chart with its default values, and config/default, and
// compares them object by object: they install the same.
func TestConfig(t *testing.T) {
	t.Setenv("POD_NAME", "serviceful-nats-0") // nats.conf reads it
	chart, config := fields(t, render(t, "default")), fields(t, mustRun(t, "kustomize", "build", filepath.Join("..", "config", "default")))
	used := make([]bool, len(differences))
	for _, field := range union(chart, config) {
		c, k := chart[field], config[field]
		if c == k {
			continue
		}
		i := slices.IndexFunc(differences, func(d struct{ what, why string }) bool {
			return regexp.MustCompile(d.what).MatchString(field + " ")
		})
		if i < 0 {
			t.Errorf("%s: the chart has %q, config/ has %q", field, c, k)
			continue
		}
		used[i] = true
	}
	for i, d := range differences {
		if !used[i] {
			t.Errorf("there is no difference %s any more (%s)", d.what, d.why)
		}
	}
	if len(config) < 500 {
		t.Errorf("config/ has %d fields", len(config))
	}
}

// fields are all fields of all objects, by "<kind> <name> <JSON pointer>". What
// nats.conf says is taken as fields, too.
func fields(t *testing.T, text string) map[string]string {
	t.Helper()
	out := map[string]string{}
	for key, o := range decode(t, text) {
		if o["kind"] == "ConfigMap" {
			key = regexp.MustCompile(`-[a-z0-9]{10}$`).ReplaceAllString(key, "") // kustomize adds a hash
			o["metadata"].(map[string]any)["name"] = strings.TrimPrefix(key, "ConfigMap ")
			data := o["data"].(map[string]any)
			parsed, err := conf.Parse(data["nats.conf"].(string))
			if err != nil {
				t.Fatal(err)
			}
			data["nats.conf"] = parsed
		}
		flatten(key+" ", map[string]any(o), out)
	}
	return out
}

func flatten(at string, value any, out map[string]string) {
	switch v := value.(type) {
	case map[string]any:
		for name, child := range v {
			flatten(at+"/"+strings.NewReplacer("~", "~0", "/", "~1").Replace(name), child, out)
		}
	case []any:
		for i, child := range v {
			flatten(fmt.Sprintf("%s/%d", at, i), child, out)
		}
	default:
		out[at] = fmt.Sprint(v)
	}
}

func union(a, b map[string]string) []string {
	var all []string
	for _, m := range []map[string]string{a, b} {
		for field := range m {
			all = append(all, field)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}
